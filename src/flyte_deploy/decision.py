"""Which version a deployment gets, and which tasks remain to be registered, given what is there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from flyteidl2.task.task_definition_pb2 import TaskSpec
from flyteidl2.task.task_service_pb2 import DeployTaskRequest

from flyte_deploy.controlplane import LiveTrigger
from flyte_deploy.errors import DeployError
from flyte_deploy.model import RegisteredTask, Target, Task
from flyte_deploy.specs.same import same_content
from flyte_deploy.version import SHORTEN, check_version

Make = Callable[[Task, str], DeployTaskRequest]
"""Makes the request of a task under a version."""


class Registry(Protocol):
    """What this step asks of a control plane: nothing but reads."""

    def registered_with_version(
        self, target: Target, version: str, names: Iterable[str]
    ) -> dict[str, RegisteredTask]:
        """Those of the named tasks that have the version."""

    def newest(self, target: Target, environments: Iterable[str]) -> dict[str, RegisteredTask]:
        """The newest version of each task of the environments."""

    def task_specs(
        self, target: Target, names: Iterable[str], version: str, concurrency: int
    ) -> dict[str, bytes]:
        """The serialized specs of tasks under a version."""

    def triggers(self, target: Target, task_names: Iterable[str]) -> dict[str, tuple[LiveTrigger, ...]]:
        """The triggers of tasks, by task name."""


@dataclass(frozen=True)
class Decision:
    """What is to be done.

    Args:
        version: the version that all tasks end up with.
        reasons: why a task is to be registered, by name; tasks that are not in it are there already.
        triggers: the live triggers of all tasks, by task name.
        stale: live triggers of tasks whose code has none any more.
        notes: what a reader should know.
        newest: the newest version of each task that is registered in the environments, also of those that
            are gone from the code.
    """

    version: str
    reasons: Mapping[str, str] = field(default_factory=dict)
    triggers: Mapping[str, tuple[LiveTrigger, ...]] = field(default_factory=dict)
    stale: tuple[LiveTrigger, ...] = ()
    notes: tuple[str, ...] = ()
    newest: Mapping[str, RegisteredTask] = field(default_factory=dict)


def decide(
    registry: Registry,
    target: Target,
    tasks: Sequence[Task],
    version: str,
    *,
    by_content: bool,
    make: Make,
    overwrite: bool,
    concurrency: int,
    complete: bool = False,
) -> Decision:
    """Decide what is to be registered.

    Args:
        registry: the control plane.
        target: where.
        tasks: all tasks of the deployment.
        version: the version, rendered.
        by_content: True where the version names the content: what has it is the same.
        make: makes a task's request, to compare specs where the version says nothing of the content.
        overwrite: True where another content under the same version is to be replaced.
        concurrency: how many specs are read at a time.
        complete: True where it is enough that all tasks have the version, newest or not: previews of several
            pull requests alternate.

    Raises:
        DeployError: where the version exists with other content and `overwrite` is not set.
    """
    names = [task.name for task in tasks]
    newest = registry.newest(target, {task.environment for task in tasks})
    triggers = registry.triggers(target, names)
    if by_content:
        decided, present, notes = free_version(registry, target, names, version, newest, complete=complete)
        reasons = {name: "new" for name in names if name not in present}
    else:
        decided, notes = version, ()
        present = set(registry.registered_with_version(target, version, names))
        reasons = {name: "new" for name in names if name not in present}
        changed = _changed(registry, target, tasks, present, version, make, concurrency)
        if changed and not overwrite:
            raise _conflict(changed, version)
        reasons.update(dict.fromkeys(changed, "other content is registered under this version"))
        notes = _not_newest(newest, [n for n in names if n not in reasons], version)
    for name in reasons:
        if name in newest and reasons[name] == "new":
            reasons[name] = f"replaces {newest[name].version} as the newest"
    for task in tasks:
        if task.triggers and task.name not in reasons:
            difference = trigger_difference(make(task, decided), triggers.get(task.name, ()), decided)
            if difference:
                reasons[task.name] = difference
    stale = tuple(trigger for task in tasks if not task.triggers for trigger in triggers.get(task.name, ()))
    return Decision(decided, reasons, triggers, stale, notes, newest)


def free_version(
    registry: Registry,
    target: Target,
    names: Sequence[str],
    base: str,
    newest: Mapping[str, RegisteredTask],
    *,
    complete: bool = False,
    shorten: str = SHORTEN,
) -> tuple[str, set[str], tuple[str, ...]]:
    """The version for this content, which of the tasks have it, and what to say of it.

    It is the lowest number that is free, or that has some of the tasks or all of them as their newest. One
    that is older than something else cannot become the newest again by being registered once more.
    """
    number = 1
    while True:
        version = base if number == 1 else f"{base}-{number}"
        check_version(version, shorten)
        present = set(registry.registered_with_version(target, version, names))
        if complete or all(name in newest and newest[name].version == version for name in present):
            break
        number += 1
    note = ""
    if number > 1 and len(present) < len(names):
        note = (
            f"this content was registered before, as {base}, and something else since: it is registered"
            f" again as {version}, so that it is the newest"
        )
    elif present and len(present) < len(names):
        note = f"{len(present)} of {len(names)} tasks have version {version} already: the rest is completed"
    return version, present, (note,) if note else ()


def _changed(
    registry: Registry,
    target: Target,
    tasks: Sequence[Task],
    present: set[str],
    version: str,
    make: Make,
    concurrency: int,
) -> list[str]:
    specs = registry.task_specs(target, sorted(present), version, concurrency)
    changed = []
    for task in tasks:
        if task.name in specs:
            there = TaskSpec()
            there.ParseFromString(specs[task.name])
            if not same_content(there, make(task, version).spec):
                changed.append(task.name)
    return changed


def _conflict(changed: Sequence[str], version: str) -> DeployError:
    return DeployError(
        f"version '{version}' is registered with other content",
        where="--version",
        details=tuple(changed),
        mend="Choose another version (the default, {content}, is never in conflict), or replace what is"
        " registered with --overwrite.",
    )


def _not_newest(newest: Mapping[str, RegisteredTask], kept: Sequence[str], version: str) -> tuple[str, ...]:
    older = [name for name in kept if name in newest and newest[name].version != version]
    if not older:
        return ()
    note = (
        f"{len(older)} of the tasks have a newer version than {version}, such as {older[0]} with"
        f" {newest[older[0]].version}: what is registered stays as it is, and is not the newest"
    )
    return (note,)


def trigger_difference(request: DeployTaskRequest, live: Sequence[LiveTrigger], version: str) -> str:
    """How the live triggers of a task differ from those of its code, in words; empty where they do not.

    Whether a trigger is active belongs to whoever set it last and does not count. Inputs that the backend
    keeps elsewhere cannot be compared; the version says whether they changed.
    """
    there = {trigger.name: trigger for trigger in live}
    for trigger in request.triggers:
        other = there.pop(trigger.name, None)
        if other is None:
            return f"trigger {trigger.name} is missing"
        if other.version != version:
            return f"trigger {trigger.name} points at version {other.version}"
        if other.automation != trigger.automation_spec:
            return f"trigger {trigger.name} has another schedule"
    if there:
        return f"trigger {next(iter(there))} is gone from the code"
    return ""


def active_triggers(task: Task, live: Sequence[LiveTrigger], *, insist: bool) -> dict[str, bool]:
    """Which of a task's triggers are sent as active.

    A trigger that lives keeps the state that somebody gave it; a new one has the state that the code says.
    With `insist` the code has the last word.
    """
    there = {trigger.name: trigger.active for trigger in live}
    return {
        trigger.name: trigger.active if insist else there.get(trigger.name, trigger.active)
        for trigger in task.triggers
    }
