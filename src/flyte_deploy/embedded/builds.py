"""Image builds as runs: what the control plane knows of them, and who does the work."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from flyteidl2.common.identifier_pb2 import ActionIdentifier, RunIdentifier
from flyteidl2.common.phase_pb2 import (
    ACTION_PHASE_ABORTED,
    ACTION_PHASE_FAILED,
    ACTION_PHASE_INITIALIZING,
    ACTION_PHASE_QUEUED,
    ACTION_PHASE_RUNNING,
    ACTION_PHASE_SUCCEEDED,
    ACTION_PHASE_TIMED_OUT,
)
from flyteidl2.core.literals_pb2 import Literal, Primitive, Scalar
from flyteidl2.dataproxy.dataproxy_service_pb2 import (
    GetActionDataRequest,
    GetActionDataResponse,
    TailLogsRequest,
    TailLogsResponse,
)
from flyteidl2.logs.dataplane.payload_pb2 import LogLine
from flyteidl2.task.common_pb2 import Inputs, NamedLiteral, Outputs
from flyteidl2.task.run_pb2 import RunSpec
from flyteidl2.task.task_definition_pb2 import TaskSpec

DONE = frozenset((ACTION_PHASE_SUCCEEDED, ACTION_PHASE_FAILED, ACTION_PHASE_ABORTED, ACTION_PHASE_TIMED_OUT))
"""The phases that nothing follows."""

ACTION = "a0"
"""The name of a run's first action, the only one here."""

_LINES = 10_000
"""How many lines of a build's log are kept."""


@dataclass(frozen=True)
class Order:
    """What a run of ``build-image`` is asked for.

    Args:
        spec: a serialized ``ImageSpec``.
        context: the archive with the files of its context, None for none.
        target: what the image is called: ``name:tag``, or with a registry.
        secrets: what the task mounts: group and key of each.
    """

    spec: bytes
    context: Path | None
    target: str
    secrets: tuple[tuple[str, str], ...] = ()


class BuildFailed(Exception):  # noqa: N818 - what happened
    """The image could not be built, for the reason given."""


class Worker(Protocol):
    """Builds images and pushes them."""

    def build(self, order: Order, log: Callable[[str], None], stop: threading.Event) -> str:
        """Build, push, and return the image's full name; `log` takes lines, `stop` is set by an abort.

        Raises:
            BuildFailed: and for what reason.
        """


@dataclass
class Run:
    """A run, and what became of it so far. Times are in microseconds since 1970."""

    id: RunIdentifier
    task: TaskSpec
    spec: RunSpec
    inputs: Inputs
    cache_key: str
    created: int
    phase: int = ACTION_PHASE_QUEUED
    started: int = 0
    ended: int = 0
    image: str = ""
    error: str = ""
    cached: bool = False
    lines: list[str] = field(default_factory=list)
    changes: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def action(self) -> ActionIdentifier:
        """Its action."""
        return ActionIdentifier(run=self.id, name=ACTION)

    @property
    def done(self) -> bool:
        """Whether nothing more happens."""
        return self.phase in DONE


class Runs:
    """The runs of one server's life, by project, domain and name; whoever watches is told of changes.

    Everything but the building itself happens in the server's event loop.
    """

    def __init__(self, background: Executor, worker: Worker | None) -> None:
        self.worker = worker
        self._background = background
        self._runs: dict[tuple[str, str, str], Run] = {}
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def find(self, run: RunIdentifier) -> Run | None:
        """The run of that name."""
        return self._runs.get((run.project, run.domain, run.name))

    def named(self, run: RunIdentifier) -> RunIdentifier:
        """The name itself, or a new one where it has none. The first character is a letter."""
        name = run.name or "r" + secrets.token_hex(9)
        return RunIdentifier(org=run.org, project=run.project, domain=run.domain, name=name)

    def cached(self, run: Run) -> Run | None:
        """An earlier run with the same inputs in the same project and domain, if that succeeded."""
        for other in self._runs.values():
            same = (other.id.project, other.id.domain, other.cache_key) == (
                run.id.project,
                run.id.domain,
                run.cache_key,
            )
            if same and run.cache_key and other.phase == ACTION_PHASE_SUCCEEDED:
                return other
        return None

    def start(self, run: Run, order: Order, done: Callable[[Run], None]) -> None:
        """Keep a run and begin its work; `done` is called when the image is there."""
        self._runs[run.id.project, run.id.domain, run.id.name] = run
        task = asyncio.ensure_future(self._work(run, order, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def keep(self, run: Run) -> None:
        """Keep a run that is over already."""
        self._runs[run.id.project, run.id.domain, run.id.name] = run
        await self._tell(run)

    async def abort(self, run: Run, reason: str) -> None:
        """End a run's work, if it has not ended."""
        if not run.done:
            run.stop.set()
            run.error = reason
            await self._enter(run, ACTION_PHASE_ABORTED)

    async def close(self) -> None:
        """Tell all runs to end, and whoever watches one that there is no more to come."""
        for run in self._runs.values():
            run.stop.set()
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    async def ended(self) -> None:
        """Wait until all work has ended."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def states(self, run: Run) -> AsyncIterator[int]:
        """A number at once and after each change, until the run is over, or the server ends."""
        seen = -1
        while True:
            async with self._changed:
                while run.changes == seen and not self._closed:
                    await self._changed.wait()
                seen = run.changes
                done = run.done or self._closed
            yield seen
            if done:
                return

    async def _work(self, run: Run, order: Order, done: Callable[[Run], None]) -> None:
        assert self.worker is not None
        loop = asyncio.get_running_loop()
        await self._enter(run, ACTION_PHASE_INITIALIZING)
        await self._enter(run, ACTION_PHASE_RUNNING)

        def log(line: str) -> None:
            asyncio.run_coroutine_threadsafe(self._log(run, line), loop)

        try:
            image = await loop.run_in_executor(self._background, self.worker.build, order, log, run.stop)
        except BuildFailed as failure:
            await self._fail(run, str(failure))
        except Exception as error:
            await self._fail(run, f"{type(error).__name__}: {error}")
        else:
            if not run.done:
                run.image = image
                done(run)
                await self._enter(run, ACTION_PHASE_SUCCEEDED)

    async def _fail(self, run: Run, message: str) -> None:
        if not run.done:
            run.error = message
            await self._enter(run, ACTION_PHASE_FAILED)

    async def _log(self, run: Run, line: str) -> None:
        if len(run.lines) < _LINES:
            run.lines.append(line)
            await self._tell(run)

    async def _enter(self, run: Run, phase: int) -> None:
        if run.done:
            return
        run.phase = phase
        now = time.time_ns() // 1000
        if phase == ACTION_PHASE_RUNNING:
            run.started = now
        elif run.done:
            run.ended = now
        await self._tell(run)

    async def _tell(self, run: Run) -> None:
        async with self._changed:
            run.changes += 1
            self._changed.notify_all()


def find_run(runs: Runs, name: RunIdentifier) -> Run:
    """The run of that name.

    Raises:
        ConnectError: NOT_FOUND.
    """
    run = runs.find(name)
    if run is None:
        raise ConnectError(Code.NOT_FOUND, f"run {name.project}/{name.domain}/{name.name} not found")
    return run


def action_data(runs: Runs, request: GetActionDataRequest) -> GetActionDataResponse:
    """The inputs of an action, and its outputs if it has ended well."""
    run = find_run(runs, request.action_id.run)
    outputs = Outputs()
    if run.phase == ACTION_PHASE_SUCCEEDED:
        value = Literal(scalar=Scalar(primitive=Primitive(string_value=run.image)))
        outputs.literals.append(NamedLiteral(name="o0", value=value))
    return GetActionDataResponse(inputs=run.inputs, outputs=outputs)


async def log_lines(runs: Runs, request: TailLogsRequest) -> AsyncIterator[TailLogsResponse]:
    """The lines of a run's log, from its beginning to its end."""
    run = find_run(runs, request.action_id.run)
    sent = 0
    async for _ in runs.states(run):
        lines = run.lines[sent:]
        sent += len(lines)
        if lines:
            logs = TailLogsResponse.Logs(lines=[LogLine(message=line) for line in lines])
            yield TailLogsResponse(logs=[logs])
