"""Whether two registered specs have the same content."""

from __future__ import annotations

import base64
import gzip
import json
import re
import zlib
from pathlib import PurePosixPath

from flyteidl2.task.task_definition_pb2 import TaskSpec

from flyte_deploy.specs.walk import change_text

_ADDRESS = re.compile(rb"0x[0-9a-f]{9,16}")
_BEFORE_DIGEST = re.compile(r"^[a-z0-9]+://.*/(?=[0-9a-f]{64}(/|$))|^/(?=[0-9a-f]{64}(/|$))")
_IMAGE_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}")


def same_content(one: TaskSpec, other: TaskSpec) -> bool:
    """Whether two specs of one task differ only in where things came from or lie.

    Left out of the comparison: the source link, the folders of the bundle and of uploaded defaults (their
    names hold their digests), the digests of images and the runs that built them, memory addresses in names.
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
        change_text(parameter, _content_address)
    template = copy.task_template
    template.metadata.ClearField("image_build_run")
    template.metadata.code_bundle_uri = PurePosixPath(template.metadata.code_bundle_uri).name
    if template.HasField("container"):
        template.container.image = _IMAGE_DIGEST.sub("", template.container.image)
        _plain_arguments(template.container.args)
    text = copy.SerializeToString(deterministic=True)
    return _ADDRESS.sub(b"0x", text)


def _content_address(text: str) -> str:
    """An address less what comes before the digest of its content."""
    return _BEFORE_DIGEST.sub("", text)


def _plain_arguments(arguments: object) -> None:
    values = list(arguments)  # type: ignore[call-overload]
    for index, argument in enumerate(values[:-1]):
        following = values[index + 1]
        if argument == "--tgz":
            values[index + 1] = PurePosixPath(following).name
        elif argument == "--image-cache":
            values[index + 1] = _plain_image_cache(following)
    del arguments[:]  # type: ignore[attr-defined]
    arguments.extend(values)  # type: ignore[attr-defined]


def _plain_image_cache(text: str) -> str:
    try:
        cache = json.loads(gzip.decompress(base64.b64decode(text)))
        lookup = {name: _IMAGE_DIGEST.sub("", uri) for name, uri in cache["image_lookup"].items()}
    except (ValueError, OSError, EOFError, zlib.error, KeyError, AttributeError, TypeError):
        return text
    return json.dumps(lookup, sort_keys=True)
