"""Plans, deployments and errors as JSON. The schema stands in ``docs/output.schema.json``."""

from __future__ import annotations

from typing import Any

import msgspec

from flyte_deploy.errors import DeployError
from flyte_deploy.model import (
    Bundle,
    Deployment,
    Environment,
    Plan,
    PlannedEnvironment,
    PlannedImage,
    PlannedTask,
)
from flyte_deploy.secrets import SECRETS
from flyte_deploy.specs.changes import Difference

SCHEMA = "flyte-deploy/{}/1"


def plan_json(plan: Plan, root: str = "") -> bytes:
    """A plan as one JSON document; `root` is the project's folder in its repository, empty for the whole."""
    return encoded({"schema": SCHEMA.format("plan"), **({"root": root} if root else {}), **_plan(plan)})


def deployment_json(deployment: Deployment) -> bytes:
    """A deployment as one JSON document: its plan, and what came of it."""
    return encoded(
        {
            "schema": SCHEMA.format("deployment"),
            **_plan(deployment.plan),
            "bundle_uri": deployment.bundle_uri,
            "uploaded": deployment.uploaded,
            "images": [_image(image) for image in deployment.images],
            "registered": list(deployment.registered),
            "pruned": list(deployment.pruned),
            "record": msgspec.json.decode(deployment.record) if deployment.record else None,
            "record_uri": deployment.record_uri,
        }
    )


def error_json(error: DeployError) -> bytes:
    """An error as one JSON document."""
    return encoded(
        {
            "schema": SCHEMA.format("error"),
            "error": {
                "what": error.what,
                "where": error.where,
                "mend": error.mend,
                "details": list(error.details),
            },
        }
    )


def _plan(plan: Plan) -> dict[str, Any]:
    target = plan.target
    return {
        "target": {"project": target.project, "domain": target.domain, "org": target.org} if target else None,
        "endpoint": plan.endpoint,
        "version": plan.version,
        "content": plan.content,
        "changes": plan.has_changes,
        "python": plan.python,
        "sdk": plan.sdk,
        "bundle": _bundle(plan.bundle, plan) if plan.bundle else None,
        "captured": [{"name": one.name, "digest": one.digest, "size": one.size} for one in plan.captured],
        "images": [_image(image) for image in plan.images],
        "environments": [_environment(environment) for environment in plan.environments],
        "difference": _difference(plan.difference) if plan.difference else None,
        "stale_triggers": list(plan.stale_triggers),
        "warnings": list(plan.warnings),
        "notes": list(plan.notes),
        "steps": [{"name": step.name, "seconds": round(step.seconds, 4)} for step in plan.steps],
    }


def _bundle(bundle: Bundle, plan: Plan) -> dict[str, Any]:
    return {
        "digest": bundle.digest,
        "size": bundle.size,
        "store": plan.bundle_store,
        "address": plan.bundle_address,
        "upload": plan.uploads,
        "files": [
            {
                "path": file.name,
                "size": file.size,
                "mode": f"{file.mode:04o}",
                "sha256": file.sha256,
                "reason": file.reason,
            }
            for file in bundle.files
        ],
    }


def _image(image: PlannedImage) -> dict[str, Any]:
    return {
        "reference": image.reference,
        "environments": list(image.environments),
        "digest": image.digest,
        "build": not image.known,
        "seconds": image.seconds,
    }


def _environment(planned: PlannedEnvironment) -> dict[str, Any]:
    environment: Environment = planned.environment
    return {
        "name": environment.name,
        "variable": environment.variable,
        "module": environment.module,
        "location": msgspec.to_builtins(environment.location),
        "description": environment.description,
        "reason": planned.reason,
        "depends_on": list(planned.depends_on),
        "image": planned.image,
        "include": list(environment.include),
        "tasks": [_task(task) for task in planned.tasks],
    }


def _task(planned: PlannedTask) -> dict[str, Any]:
    task: dict[str, Any] = msgspec.to_builtins(planned.task)
    # The request is what was serialized, with placeholders: nothing for readers of a report.
    del task["request"], task["environment"]
    return {**task, "action": planned.action, "why": planned.why}


def _difference(difference: Difference) -> dict[str, Any]:
    return {
        "against": difference.against,
        "breaking": len(difference.breaking),
        "tasks": msgspec.to_builtins(difference.tasks),
        "files": msgspec.to_builtins(difference.files),
    }


def encoded(document: dict[str, Any]) -> bytes:
    """One JSON document, without what is known to be secret."""
    return msgspec.json.format(msgspec.json.encode(SECRETS.redacted(document)), indent=2)
