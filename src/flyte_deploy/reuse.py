"""Bundle and images of a registered deployment that has the same content: nothing is made twice."""

from __future__ import annotations

import re
from dataclasses import dataclass

from flyteidl2.task.task_definition_pb2 import TaskSpec

from flyte_deploy import version as versions
from flyte_deploy.cloud import CloudSettings
from flyte_deploy.controlplane import ControlPlane, Uploads
from flyte_deploy.errors import DeployError
from flyte_deploy.identify import Identified
from flyte_deploy.model import PlannedImage, Target
from flyte_deploy.records.record import find
from flyte_deploy.settings import Settings
from flyte_deploy.specs.container import primary

_IMAGE = re.compile(r"(?P<reference>.+:(?P<tag>[\w.-]+))@sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Reused:
    """What a registered deployment of the same content has.

    Args:
        source: where it is registered.
        version: its version.
        bundle: the address of its bundle, empty where its tasks have none.
        images: those of the environments whose images are built, by digest.
        why_not: why nothing can be taken over; the other fields mean nothing then.
    """

    source: Target
    version: str
    bundle: str = ""
    images: tuple[PlannedImage, ...] = ()
    why_not: str = ""


def find_reusable(settings: Settings, identified: Identified, plane: ControlPlane) -> Reused:
    """Look for a deployment of the same content where `--reuse-from` says.

    It counts only where every task has the version that the content has there, and bundle and images are
    those of the content: the bundle by its digest, the images by their tags, which are digests of what they
    are built from. One whose record says that it came from another branch than `--reuse-branch` does not.
    Nothing but reads.

    Raises:
        DeployError: where the control plane or a store cannot be asked.
    """
    source = target_of(settings.reuse_from, settings)
    template = settings.reuse_version or versions.DEFAULT
    values = identified.version_values
    if settings.reuse_branch:
        # The checkout of a tag is on no branch.
        values["branch"] = settings.reuse_branch
    try:
        name = versions.render(template, values)
    except DeployError as error:
        return _not(Reused(source, template), error.what)
    found = Reused(source, name)
    names = [task.name for task in identified.tasks]
    present = plane.registered_with_version(source, name, names)
    if len(present) < len(names):
        return _not(found, f"{len(names) - len(present)} of {len(names)} tasks are not registered there")
    why_not = _of_another_branch(settings, source, name)
    if why_not:
        return _not(found, why_not)
    first = {one.name: one.environment.tasks[0].name for one in identified.resolved if one.environment.tasks}
    read = plane.task_specs(source, first.values(), name, settings.concurrency)
    specs = {environment: TaskSpec.FromString(read[task]) for environment, task in first.items()}
    addresses = {spec.task_template.metadata.code_bundle_uri for spec in specs.values()}
    bundle = ""
    if identified.bundle is not None:
        if len(addresses) != 1 or not (bundle := addresses.pop()).endswith(identified.bundle.archive_name):
            return _not(found, "its tasks have another bundle")
        if bundle_is_there(settings, source, bundle, plane) is False:
            return _not(found, f"its bundle is gone: {bundle}")
    images = []
    for wanted in identified.images.wanted:
        image = primary(specs[wanted.environments[0]].task_template).image
        match = _IMAGE.fullmatch(image)
        if match is None or match["tag"] != wanted.tag:
            return _not(found, f"environment {wanted.environments[0]} has another image: {image}")
        images.append(PlannedImage(match["reference"], wanted.environments, image, asked=True))
    return Reused(source, name, bundle, tuple(images))


def _of_another_branch(settings: Settings, source: Target, version: str) -> str:
    if not settings.reuse_branch:
        return ""
    try:
        record = find(settings, source, version)
    except DeployError as error:
        return f"{error.what} ({error.where})"
    if record is None or record.branch in ("", settings.reuse_branch):
        return ""
    return f"it was deployed from branch {record.branch}, not from {settings.reuse_branch}"


def _not(found: Reused, why: str) -> Reused:
    return Reused(found.source, found.version, why_not=why)


def target_of(text: str, settings: Settings) -> Target:
    """The target that ``[PROJECT/]DOMAIN`` names."""
    project, _, domain = text.rpartition("/")
    return Target(project or settings.project, domain, settings.org)


def bundle_is_there(settings: Settings, source: Target, address: str, plane: ControlPlane) -> bool | None:
    """Whether a registered bundle is where its tasks look for it; None where nobody can be asked.

    Args:
        settings: how clouds are reached.
        source: project and domain that it was registered in.
        address: of the archive, ``…/<digest>.tar.gz``.
        plane: the control plane, asked about what lies in its own storage.
    """
    folder, _, name = address.rpartition("/")
    digest = name.removesuffix(".tar.gz")
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        return None
    from flyte_deploy.records.shelf import open_shelf
    from flyte_deploy.stores.signed_url import SignedUrlStore

    if folder.endswith(f"/{digest}"):
        # Only the control plane's own storage has a folder for each.
        return SignedUrlStore(Uploads(plane, source)).find_object(digest, name) is not None
    try:
        shelf = open_shelf(folder, CloudSettings.of(settings))
    except DeployError:
        return None
    return None if shelf is None else shelf.has(name)
