"""Registering tasks, in order, many at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import grpc
from flyteidl2.task.task_definition_pb2 import TaskIdentifier, TaskSpec
from flyteidl2.task.task_service_pb2 import DeployTaskRequest

from flyte_deploy.clock import Listen
from flyte_deploy.controlplane.client import ControlPlane
from flyte_deploy.controlplane.triggers import list_triggers, read_trigger
from flyte_deploy.controlplane.unary import Call, Refused, Work, run
from flyte_deploy.errors import DeployError
from flyte_deploy.model import Progress, Target

Code = grpc.StatusCode
Same = Callable[[TaskSpec, TaskSpec], bool]

_NAMED = 20
"""How many tasks are listed by name."""


@dataclass(frozen=True)
class Registration:
    """A task to register. `make` makes its request, and is called just before that is sent."""

    name: str
    make: Callable[[], DeployTaskRequest]


@dataclass(frozen=True)
class Outcome:
    """What came of registering; as text it says so.

    Args:
        registered: names of the tasks that are registered, in the order in which they were confirmed.
        failed: those that are not, and why.
        uncertain: those that were under way when it was interrupted.
        not_started: those that nothing was sent for.
    """

    registered: tuple[str, ...]
    failed: tuple[tuple[str, DeployError], ...] = ()
    uncertain: tuple[str, ...] = ()
    not_started: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether everything is registered."""
        return not (self.failed or self.uncertain or self.not_started)

    def __str__(self) -> str:
        parts = [f"{len(self.registered)} tasks are registered{_named(self.registered)}"]
        if self.uncertain:
            parts.append(f"{len(self.uncertain)} may be{_named(self.uncertain)}")
        if self.not_started:
            parts.append(f"{len(self.not_started)} are not{_named(self.not_started)}")
        return ", ".join(parts)


def _named(names: tuple[str, ...]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f" ({', '.join(names[:_NAMED])}{more})"


class Interrupted(KeyboardInterrupt):
    """Registering was interrupted; `outcome` says what is registered by then."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


def register(
    control_plane: ControlPlane,
    registrations: Sequence[Registration],
    *,
    concurrency: int,
    same: Same,
    listen: Listen,
) -> Outcome:
    """Register tasks.

    They are started in the order given, which is to have dependencies before dependents, with `concurrency`
    of them in flight; after a failure no further one is started, and those in flight are waited for. A
    dependent may so be under way together with what it depends on. That is safe, for a registration refers
    to no other one: the control plane does not look at dependencies, a task resolves those it calls when it
    runs. Waiting for each environment's answers before the next would make a chain of environments take as
    many round trips as it has links.

    A call whose answer was lost is repeated, or its result read back: registering is idempotent for equal
    content. A control plane that does not replace what is there says ALREADY_EXISTS; then what is there is
    compared.

    Args:
        control_plane: where.
        registrations: what, in order.
        concurrency: how many at a time.
        same: whether two specs have the same content.
        listen: is told of each task that is registered.

    Raises:
        Interrupted: for a KeyboardInterrupt; what was in flight is cancelled.
    """
    registered: list[str] = []
    failed: list[tuple[str, DeployError]] = []
    started: list[str] = []

    def works() -> Iterator[tuple[str, Work[None]]]:
        for one in registrations:
            if failed:
                return
            started.append(one.name)
            yield one.name, _register(control_plane, one, same)

    def outcome() -> Outcome:
        settled = {*registered, *(name for name, _ in failed)}
        return Outcome(
            registered=tuple(registered),
            failed=tuple(failed),
            uncertain=tuple(name for name in started if name not in settled),
            not_started=tuple(one.name for one in registrations[len(started) :]),
        )

    try:
        with closing(run(works(), concurrency=concurrency, retry=control_plane.retry)) as ended:
            for name, result in ended:
                if isinstance(result, DeployError):
                    failed.append((name, result))
                else:
                    registered.append(name)
                    listen(Progress("register", name, len(registered), len(registrations)))
    except KeyboardInterrupt:
        raise Interrupted(outcome()) from None
    return outcome()


def verify(
    control_plane: ControlPlane, target: Target, version: str, names: Iterable[str]
) -> tuple[str, ...]:
    """Read back which of the named tasks have the version; returns those that do not, sorted."""
    asked = set(names)
    return tuple(sorted(asked - control_plane.registered_with_version(target, version, asked).keys()))


def _register(control_plane: ControlPlane, registration: Registration, same: Same) -> Work[None]:
    request = registration.make()
    server = control_plane.server
    try:
        yield Call(server, server.tasks.DeployTask, request, f"registering task '{registration.name}'")
    except Refused as refused:
        if refused.code is Code.ALREADY_EXISTS:
            yield from _check_existing(control_plane, request, same)
        elif refused.code in (Code.INTERNAL, Code.UNKNOWN) and not request.triggers:
            # What cannot be seen in a spec, its triggers, would have to be believed.
            if not (yield from _is_there(control_plane, request, same)):
                raise
        else:
            raise


def _is_there(control_plane: ControlPlane, request: DeployTaskRequest, same: Same) -> Work[bool]:
    """Whether a task is there with the content of the request, asked once."""
    identity = request.task_id
    try:
        spec = yield from control_plane.task_spec(
            _target(identity), identity.name, identity.version, once=True
        )
    except Refused:
        return False
    return spec is not None and same(spec, request.spec)


def _check_existing(control_plane: ControlPlane, request: DeployTaskRequest, same: Same) -> Work[None]:
    """Accept what a control plane that replaces nothing already has, if that is what was sent."""
    identity = request.task_id
    target = _target(identity)
    spec = yield from control_plane.task_spec(target, identity.name, identity.version)
    if spec is None or not same(spec, request.spec):
        raise DeployError(
            f"task '{identity.name}' is registered under version '{identity.version}' with other content,"
            " and the control plane replaces nothing",
            where=str(control_plane.endpoint),
            mend="Choose another version; the default, {content}, is never in conflict.",
        )
    missing = {trigger.name for trigger in request.triggers}
    for pair in (yield from list_triggers(control_plane.server, target, [identity.name])) if missing else ():
        live = yield from read_trigger(control_plane.server, target, *pair)
        if live is not None and live.version == identity.version:
            missing.discard(live.name)
    if missing:
        raise DeployError(
            f"task '{identity.name}' is registered under version '{identity.version}' already, and the"
            f" control plane did not set its triggers: {', '.join(sorted(missing))}",
            where=str(control_plane.endpoint),
            mend="Choose another version: triggers are set together with a new one.",
        )


def _target(identity: TaskIdentifier) -> Target:
    return Target(identity.project, identity.domain, identity.org)
