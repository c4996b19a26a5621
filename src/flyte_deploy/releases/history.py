"""The deployments of a target, as the control plane lists them and records explain them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from flyte_deploy.controlplane import ControlPlane
from flyte_deploy.controlplane.versions import list_tasks, list_versions
from flyte_deploy.errors import DeployError
from flyte_deploy.model import Target
from flyte_deploy.records.record import Record, find
from flyte_deploy.settings import Settings


@dataclass(frozen=True)
class Deployed:
    """A version that is registered.

    Args:
        version: its name.
        created: when its youngest task was registered, UTC, ISO 8601.
        tasks: those that have it.
        newest: for how many of them it is the newest.
        record: what its record says, None where there is none.
        problem: why its record cannot be read.
    """

    version: str
    created: str
    tasks: tuple[str, ...]
    newest: int
    record: Record | None = field(default=None)
    problem: str = ""


def history(settings: Settings, plane: ControlPlane) -> list[Deployed]:
    """The newest deployments of the settings' target, the newest first, with their records."""
    target = Target(settings.project, settings.domain, settings.org)
    return [_with_record(settings, target, one) for one in recent(plane, target, settings.limit)]


def _with_record(settings: Settings, target: Target, one: Deployed) -> Deployed:
    try:
        return replace(one, record=find(settings, target, one.version))
    except DeployError as error:
        return replace(one, problem=f"{error.what} ({error.where})")


def recent(plane: ControlPlane, target: Target, limit: int) -> list[Deployed]:
    """The newest deployments of a target, the newest first: versions, with the tasks that have them."""
    rows = list_tasks(plane, target)
    newest = {row.name: row.version for row in rows}
    found: dict[str, Deployed] = {}
    for one in list_versions(plane, target, newest, limit):
        known = found.get(one.version)
        tasks = (*known.tasks, one.name) if known else (one.name,)
        latest = (known.newest if known else 0) + (newest[one.name] == one.version)
        created = one.created.isoformat(timespec="seconds").replace("+00:00", "Z")
        last = max(known.created, created) if known else created
        found[one.version] = Deployed(one.version, last, tasks, latest)
    return sorted(found.values(), key=lambda one: (one.created, one.version), reverse=True)[:limit]
