"""Whether two registered specs have the same content."""

from __future__ import annotations

import base64
import gzip
import json
import re
import zlib
from collections.abc import Callable
from pathlib import PurePosixPath

from flyteidl2.core.tasks_pb2 import TaskTemplate
from flyteidl2.task.task_definition_pb2 import TaskSpec

from flyte_deploy.specs.container import change_container, with_options
from flyte_deploy.specs.image import without_rebuilds
from flyte_deploy.specs.walk import change_text, without_memory_addresses

_BEFORE_DIGEST = re.compile(r"^[a-z0-9]+://.*/(?=[0-9a-f]{64}(/|$))|^/(?=[0-9a-f]{64}(/|$))")


def same_content(one: TaskSpec, other: TaskSpec) -> bool:
    """Whether two specs of one task differ only in where things came from or lie.

    Left out of the comparison: the source link, the folders of the bundle and of uploaded defaults (their
    names hold their digests), the digests of images that were built and the runs that built them, memory
    addresses in names.
    """
    return comparable(one) == comparable(other)


def comparable(spec: TaskSpec) -> bytes:
    """The spec as bytes, less what `same_content` leaves out."""
    copy = TaskSpec()
    copy.CopyFrom(spec)
    copy.documentation.ClearField("source_code")
    # The backend cuts descriptions.
    copy.documentation.short_description = copy.documentation.short_description[:255]
    copy.documentation.long_description = copy.documentation.long_description[:2048]
    copy.environment.description = copy.environment.description[:255]
    for parameter in copy.default_inputs:
        change_text(parameter, content_address)
    template = copy.task_template
    template.metadata.ClearField("image_build_run")
    template.metadata.code_bundle_uri = PurePosixPath(template.metadata.code_bundle_uri).name
    change_container(template, image=without_rebuilds, args=_plain_arguments)
    change_image_of_actor(template, without_rebuilds)
    return without_memory_addresses(copy.SerializeToString(deterministic=True))


def content_address(text: str) -> str:
    """An address less what comes before the digest of its content."""
    return _BEFORE_DIGEST.sub("", text)


def change_image_of_actor(template: TaskTemplate, change: Callable[[str], str]) -> None:
    """Change the image that a reusable environment's actor names besides its container."""
    fields = template.custom.fields
    if template.type != "actor" or "spec" not in fields:
        return
    spec = fields["spec"].struct_value.fields
    if "container_image" in spec:
        spec["container_image"].string_value = change(spec["container_image"].string_value)


def _plain_arguments(arguments: list[str]) -> list[str]:
    return with_options(
        arguments, {"--tgz": lambda uri: PurePosixPath(uri).name, "--image-cache": _plain_image_cache}
    )


def _plain_image_cache(text: str) -> str:
    try:
        cache = json.loads(gzip.decompress(base64.b64decode(text)))
        lookup = {name: without_rebuilds(uri) for name, uri in cache["image_lookup"].items()}
    except (ValueError, OSError, EOFError, zlib.error, KeyError, AttributeError, TypeError):
        return text
    return json.dumps(lookup, sort_keys=True)
