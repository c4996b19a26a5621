"""What a deploy changes, against what is registered: asks the control plane for no more than it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from flyteidl2.task.task_definition_pb2 import TaskSpec
from flyteidl2.task.task_service_pb2 import DeployTaskRequest

from flyte_deploy.controlplane import LiveTrigger
from flyte_deploy.decision import Decision, Registry
from flyte_deploy.errors import DeployError
from flyte_deploy.model import Plan, RegisteredTask, Target, Task
from flyte_deploy.settings import Settings
from flyte_deploy.specs.changes import Difference, TaskDifference
from flyte_deploy.specs.difference import TriggerState, task_changes

_NAMED = 20


def find_difference(
    registry: Registry,
    target: Target,
    tasks: Sequence[Task],
    decision: Decision,
    *,
    make: Callable[[Task], DeployTaskRequest],
    base: Target | None,
    concurrency: int,
) -> Difference:
    """Compare each task with what is registered. Nothing but reads.

    The listing that the decision was made from says which tasks there are; specs are read only of those that
    are to be registered.

    Args:
        registry: the control plane.
        target: where the tasks go.
        tasks: those of the code.
        decision: what is to be done with them.
        make: makes the request of a task, with its triggers.
        base: what to compare with in place of the target, None for the target itself.
        concurrency: how many specs are read at a time.
    """
    against = base or target
    newest: Mapping[str, RegisteredTask] = decision.newest
    live: Mapping[str, Sequence[LiveTrigger]] = decision.triggers
    kept: set[str] = {task.name for task in tasks} - decision.reasons.keys()
    if against != target:
        newest = registry.newest(against, {task.environment for task in tasks})
        live = registry.triggers(against, [task.name for task in tasks])
        kept = set()
    specs = _specs(registry, against, [t.name for t in tasks if t.name not in kept], newest, concurrency)
    found = []
    for task in tasks:
        before = newest[task.name].version if task.name in newest else ""
        if task.name in kept:
            found.append(TaskDifference(task.name, task.environment, "unchanged", before))
        elif task.name not in specs:
            found.append(TaskDifference(task.name, task.environment, "new"))
        else:
            request = make(task)
            declared = request.triggers if task.triggers else ()
            state, changes = task_changes(
                specs[task.name],
                request.spec,
                [TriggerState.of(one.name, one.automation, one.spec) for one in live.get(task.name, ())],
                [TriggerState.of(one.name, one.automation_spec, one.spec) for one in declared],
            )
            found.append(TaskDifference(task.name, task.environment, state, before, changes))
    names = {task.name for task in tasks}
    gone = sorted((row.environment, name, row.version) for name, row in newest.items() if name not in names)
    found += [TaskDifference(name, environment, "gone", version) for environment, name, version in gone]
    return Difference(str(against), tuple(found))


def _specs(
    registry: Registry,
    target: Target,
    names: Iterable[str],
    newest: Mapping[str, RegisteredTask],
    concurrency: int,
) -> dict[str, TaskSpec]:
    by_version: dict[str, list[str]] = {}
    for name in names:
        if name in newest:
            by_version.setdefault(newest[name].version, []).append(name)
    specs: dict[str, TaskSpec] = {}
    for version, of_version in by_version.items():
        read = registry.task_specs(target, of_version, version, concurrency)
        specs.update({name: TaskSpec.FromString(data) for name, data in read.items()})
    return specs


def breaking_error(settings: Settings, plan: Plan) -> DeployError | None:
    """The error of a deploy, or its plan, that is not to break who calls its tasks; None where it may, or
    breaks nobody."""
    if not settings.fail_on_breaking or plan.difference is None or not plan.difference.breaking:
        return None
    difference, breaking = plan.difference, plan.difference.breaking
    lines = [f"{task.name}: {change}" for task, change in breaking]
    if len(lines) > _NAMED:
        lines = [*lines[:_NAMED], f"and {len(lines) - _NAMED} more"]
    return DeployError(
        f"{len(breaking)} changes may break who calls these tasks, against {difference.against}",
        where="--fail-on-breaking",
        details=tuple(lines),
        mend="Give new inputs a default and keep those that are used, or deploy without --fail-on-breaking.",
    )
