"""The step's outputs: what they are, and how they are written so that no value can forge another."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

from flyte_deploy.errors import DeployError
from flyte_deploy.model import Deployment, Plan, PlannedImage
from flyte_deploy.secrets import SECRETS

OUTPUTS: dict[str, str] = {
    "version": "Version that the tasks have.",
    "content": "The content version: a digest of code, images and tasks, for expect-content.",
    "environments": "JSON list of the environments' names, dependencies first.",
    "tasks": "JSON list of the tasks' names.",
    "images": "JSON object: environment to the image that its tasks run in.",
    "image-digests": "JSON object: image, without its digest, to its digest (sha256:...). What is not built "
    "yet is left out.",
    "bundle-uri": "Address of the code bundle; empty where there is none, or it is still to be uploaded.",
    "bundle-digest": "SHA-256 of the bundle's content, in hex; empty without a bundle.",
    "bundle-cached": "true where the bundle was there already and nothing was uploaded.",
    "images-built": "How many images were built.",
    "images-cached": "How many images were there already.",
    "registered": "How many tasks were registered (with dry-run: would be).",
    "unchanged": "How many tasks were there already.",
    "changed": "JSON list of the tasks that are new, changed or gone, against what was registered.",
    "record": "The record of this deployment as JSON (docs/releases.md); empty where nothing was registered "
    "and no record was missing. Where it is longer than 256 KiB, the name of a file, as for plan.",
    "record-uri": "Address of that record; empty where no store keeps records.",
    "console-url": "Address of Flyte's console for the project and domain; empty where that is not known.",
    "plan": "The plan as JSON (docs/output.schema.json). Where it is longer than 256 KiB, as plan-file.",
    "plan-file": "Name of a file that holds the plan, relative to ${{ runner.temp }}.",
}
"""Every output and what it holds."""

NOTHING = {"registered": "0", "changed": "[]"}
"""The outputs of a run that ends well without a plan: later steps need not know of the ways to do nothing."""

MOST_INLINE = 256 * 1024
"""Bytes of an output: GitHub allows a mebibyte for all outputs of a job."""


def outputs_of(
    outcome: Plan | Deployment, document: bytes, file: str, record: str = "", console: str = ""
) -> dict[str, str]:
    """The values of all outputs for a plan or a deployment.

    Args:
        outcome: it.
        document: it, as JSON.
        file: the name of the file that holds the document; empty where there is none.
        record: the record of a deployment as JSON, or the name of a file that holds it.
        console: the address of its tasks in Flyte's console.
    """
    plan = outcome.plan if isinstance(outcome, Deployment) else outcome
    deployment = outcome if isinstance(outcome, Deployment) else None
    images = deployment.images if deployment and deployment.images else plan.images
    bundle = plan.bundle
    return {
        "version": plan.version,
        "content": plan.content,
        "environments": _json([one.environment.name for one in plan.environments]),
        "tasks": _json([one.task.name for one in plan.tasks]),
        "images": _json(_by_environment(plan, images)),
        "image-digests": _json({image.reference: image.digest for image in images if image.digest}),
        "bundle-uri": (deployment.bundle_uri if deployment else "") or plan.bundle_address,
        "bundle-digest": bundle.digest if bundle else "",
        "bundle-cached": "true" if bundle and not plan.uploads else "false",
        "images-built": str(sum(1 for image in images if image.seconds is not None)),
        "images-cached": str(sum(1 for image in images if image.known and image.seconds is None)),
        "registered": str(len(plan.to_register)),
        "unchanged": str(len(plan.tasks) - len(plan.to_register)),
        "changed": _json(_changed(plan)),
        "record": record,
        "record-uri": deployment.record_uri if deployment else "",
        "console-url": console,
        "plan": file if file and len(document) > MOST_INLINE else document.decode(),
        "plan-file": file,
    }


def _changed(plan: Plan) -> list[str]:
    if plan.difference is None:
        return []
    return [task.name for task in plan.difference.tasks if task.state in ("new", "changed", "gone")]


def console_url(plan: Plan, insecure: bool = False) -> str:
    """The page of the project and domain in Flyte's console, of an endpoint that has one.

    Args:
        plan: says where.
        insecure: whether the endpoint is spoken to in plaintext where its own form does not say it.
    """
    if plan.target is None or not plan.endpoint or plan.endpoint == "embedded":
        return ""
    form, _, rest = plan.endpoint.rpartition("://")
    host = rest.strip("/")
    scheme = form if form in ("http", "https") else "http" if insecure else "https"
    # Flyte's local cluster has its console on another port, as its SDK knows.
    host = "localhost:8080" if host == "localhost:8090" else host
    return f"{scheme}://{host}/v2/domain/{plan.target.domain}/project/{plan.target.project}/tasks"


def keep_file(what: str, document: bytes, environ: Mapping[str, str]) -> str:
    """Write a document into the runner's temporary folder, and return the file's name; empty without one.

    What is known to be secret is hidden in it.

    Args:
        what: it is: ``plan``, ``record``.
        document: in UTF-8.
        environ: names the folder.

    Raises:
        DeployError: where it cannot be written.
    """
    folder = environ.get("RUNNER_TEMP", "")
    if not folder:
        return ""
    name = f"flyte-deploy-{what}-{secrets.token_hex(8)}.json"
    path = Path(folder) / name
    try:
        path.write_text(SECRETS.redact(document.decode()), encoding="utf-8")
        # A later step is another user.
        path.chmod(0o644)
    except OSError as error:
        raise DeployError(
            f"the {what} cannot be written: {error.strerror}", where="environment RUNNER_TEMP"
        ) from None
    return name


def write(outputs: Mapping[str, str], environ: Mapping[str, str]) -> None:
    """Append outputs to the file that the runner reads them from; nothing where there is none.

    What is known to be secret is hidden in them. Each value is framed by a delimiter that nobody can know.

    Raises:
        DeployError: where the file cannot be written.
    """
    path = environ.get("GITHUB_OUTPUT", "")
    if not path:
        return
    text = "".join(_framed(name, SECRETS.redact(value)) for name, value in outputs.items())
    try:
        with open(path, "a", encoding="utf-8") as file:  # noqa: PTH123
            file.write(text)
    except OSError as error:
        raise DeployError(
            f"the step's outputs cannot be written: {error.strerror}", where=f"GITHUB_OUTPUT, {path}"
        ) from None


def dropped(outputs: Mapping[str, str], masked: Iterable[str]) -> list[str]:
    """The outputs that GitHub drops when another job asks for them, since they hold something masked."""
    masks = list(masked)
    return [name for name, value in outputs.items() if any(mask in value for mask in masks)]


def _framed(name: str, value: str) -> str:
    delimiter = f"flyte_deploy_{secrets.token_hex(16)}"
    return f"{name}<<{delimiter}{os.linesep}{value}{os.linesep}{delimiter}{os.linesep}"


def _by_environment(plan: Plan, images: Iterable[PlannedImage]) -> dict[str, str]:
    built = {name: image.address for image in images for name in image.environments}
    return {
        one.environment.name: built.get(one.environment.name, one.image)
        for one in plan.environments
        if one.image or one.environment.name in built
    }


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
