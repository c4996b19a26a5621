"""Which triggers go along when a registered version is registered again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flyteidl2.task.task_definition_pb2 import TaskTrigger

from flyte_deploy.controlplane import ControlPlane, LiveTrigger
from flyte_deploy.errors import DeployError
from flyte_deploy.model import Target
from flyte_deploy.records.record import Record
from flyte_deploy.releases.telling import Telling
from flyte_deploy.settings import Settings
from flyte_deploy.specs.carry import trigger_of

_NAMED = 20


def triggers_to_carry(
    settings: Settings,
    plane: ControlPlane,
    source: Target,
    target: Target,
    kind: str,
    record: Record | None,
    names: Sequence[str],
    telling: Telling,
) -> dict[str, list[TaskTrigger]]:
    """The triggers that go along with each task.

    The control plane knows those that live, which fire the newest version that had any; a record knows those
    of its own version.
    """
    lives = plane.triggers(target, names)
    if not settings.triggers:
        _leave_triggers(lives, telling)
        return {}
    found: dict[str, list[TaskTrigger]] = {}
    lost: dict[str, str] = {}
    there = lives if source == target else plane.triggers(source, names)
    for name in names:
        active = {one.name: one.active for one in lives.get(name, ())}
        if record is not None:
            declared = [TaskTrigger.FromString(data) for data in record.trigger_bytes(name)]
            for one in declared:
                one.spec.active = active.get(one.name, one.spec.active)
            found[name] = declared
            continue
        live = there.get(name, ())
        elsewhere = [one for one in live if one.version != settings.version]
        if elsewhere and kind == "promote":
            lost[name] = f"{elsewhere[0].name} fires version {elsewhere[0].version}"
        found[name] = [
            trigger_of(one.name, one.spec, one.automation, active=active.get(one.name, one.active))
            for one in live
        ]
    if lost:
        raise DeployError(
            f"the triggers that version '{settings.version}' had are not known any more",
            where=f"{source}",
            details=tuple(f"{name}: {why}" for name, why in list(lost.items())[:_NAMED]),
            mend="A record would know them (--bundle-store names where it lies). --no-triggers leaves them"
            " out: those that live in the target go on as they are.",
        )
    if kind == "rollback" and record is None and any(found.values()):
        telling.note("no record says which triggers that version had: those that live now will fire it")
    _leave_triggers({name: live for name, live in lives.items() if not found.get(name)}, telling)
    return found


def _leave_triggers(lives: Mapping[str, Sequence[LiveTrigger]], telling: Telling) -> None:
    left = [f"{one} fires {one.version}" for live in lives.values() for one in live]
    if left:
        telling.warn(f"triggers that stay as they are: {', '.join(left[:_NAMED])}")
