"""Writing into a request what was not known when it was serialized."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from flyteidl2.common.identifier_pb2 import RunIdentifier
from flyteidl2.task.task_service_pb2 import DeployTaskRequest
from google.protobuf.message import DecodeError

from flyte_deploy.collector.inside import sdk
from flyte_deploy.errors import DeployError
from flyte_deploy.model import BuildRun, Target, Task
from flyte_deploy.specs import placeholders
from flyte_deploy.specs.container import primary
from flyte_deploy.specs.image import without_rebuilds
from flyte_deploy.specs.walk import change_text

_LABEL = 63


@dataclass(frozen=True)
class Stamps:
    """What is written into every request of a deployment.

    Args:
        target: where it is registered; nothing that the collector says decides that.
        version: the version.
        bundle_uri: the bundle's address, empty without a bundle.
        bundle_digest: the bundle's digest, empty without a bundle.
        images: the image of each environment, by name.
        image_cache: the image cache as tasks carry it, see `image_cache`.
        captured: the addresses of files that defaults and trigger inputs need, by placeholder.
        image_runs: the backend's runs that built images, by environment.
    """

    target: Target
    version: str
    bundle_uri: str
    bundle_digest: str
    images: Mapping[str, str]
    image_cache: str
    captured: Mapping[str, str] = field(default_factory=dict)
    image_runs: Mapping[str, BuildRun] = field(default_factory=dict)

    def values(self) -> dict[str, str]:
        """The text of each placeholder."""
        return {
            sdk.VERSION: self.version,
            sdk.PROJECT: self.target.project,
            sdk.DOMAIN: self.target.domain,
            sdk.ORG: self.target.org,
            sdk.BUNDLE: self.bundle_uri,
            sdk.BUNDLE_DIGEST: self.bundle_digest,
            sdk.IMAGE_CACHE: self.image_cache,
            **{placeholders.image(name): uri for name, uri in self.images.items()},
            **self.captured,
        }


def image_cache(template: str, images: Mapping[str, str], runs: Mapping[str, BuildRun]) -> str:
    """The image cache in its transport form: the SDK's JSON, compressed and in base64.

    Args:
        template: the SDK's own JSON, with placeholders for addresses.
        images: the image of each environment, by name. Environments of the template that are not among them
            are not deployed, and left out.
        runs: the runs that built images, by environment's name.
    """
    cache = json.loads(template)
    cache["image_lookup"] = {name: images[name] for name in cache.get("image_lookup", {}) if name in images}
    if runs and "build_run_ids" in cache:
        cache["build_run_ids"] = {name: dataclasses.asdict(runs[name]) for name in sorted(runs)}
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as stream:
        stream.write(json.dumps(cache, separators=(",", ":")).encode())
    return base64.b64encode(buffer.getvalue()).decode()


def stamper(stamps: Stamps) -> Callable[[Task, str, Mapping[str, bool]], DeployTaskRequest]:
    """A function that makes the request to send of a task.

    Its arguments: the task, its source link (empty for none), and which of its triggers are active, by name.
    It raises `DeployError` where the collector's bytes are no request, or where a placeholder is left.
    """
    values = stamps.values()

    def fill_in(text: str) -> str:
        return placeholders.replace(text, values) if placeholders.MARK in text else text

    def stamp(task: Task, link: str, active: Mapping[str, bool]) -> DeployTaskRequest:
        request = DeployTaskRequest()
        try:
            request.ParseFromString(task.request)
        except DecodeError:
            raise DeployError(f"the collector's request for task '{task.name}' cannot be read") from None
        change_text(request, fill_in)
        _own_identity(request, task, stamps)
        if link:
            request.spec.documentation.source_code.link = link
        for trigger in request.triggers:
            trigger.spec.active = active.get(trigger.name, False)
        run = stamps.image_runs.get(task.environment)
        if run is not None:
            request.spec.task_template.metadata.image_build_run.CopyFrom(
                RunIdentifier(org=run.org, project=run.project, domain=run.domain, name=run.name)
            )
        _stamp_actor(request, stamps)
        if placeholders.MARK.encode() in request.SerializeToString():
            raise DeployError(f"a placeholder was left in the request for task '{task.name}'")
        return request

    return stamp


def _own_identity(request: DeployTaskRequest, task: Task, stamps: Stamps) -> None:
    """Project, domain, org, name and version are the deployer's word, whatever the message says."""
    for identity in (request.task_id, request.spec.task_template.id):
        identity.org = stamps.target.org
        identity.project = stamps.target.project
        identity.domain = stamps.target.domain
        identity.name = task.name
        identity.version = stamps.version
    # The SDK cuts the name there to what a label of Kubernetes holds.
    if request.spec.environment.name not in ("", task.environment, task.environment[:_LABEL]):
        raise DeployError(
            f"the request for task '{task.name}' says that it belongs to environment"
            f" '{request.spec.environment.name}', not to '{task.environment}'"
        )


def _stamp_actor(request: DeployTaskRequest, stamps: Stamps) -> None:
    """Give a reusable environment's actor a version that moves with the code and the image.

    The SDK hashes both into it; it hashed their placeholders here. An actor whose version stays would go on
    running the old code.
    """
    template = request.spec.task_template
    if template.type != "actor" or "version" not in template.custom.fields:
        return
    basis = template.custom["version"]
    image = without_rebuilds(primary(template).image)
    text = f"{basis}\0{stamps.bundle_digest}\0{image}\0{request.spec.environment.name}"
    template.custom["version"] = hashlib.sha256(text.encode()).hexdigest()[:15]
