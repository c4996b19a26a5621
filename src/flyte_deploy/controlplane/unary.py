"""Unary calls, many at a time, under one rule for what is tried again.

What is to be asked is written as a generator that yields calls and gets their answers: one for a page of a
list and the next, one for a registration and what may follow it. `run` carries many of them out side by side
in the caller's own thread, on the futures of grpc: measured against threads, that takes two thirds of the
processor time, and it can be interrupted at any moment.
"""

from __future__ import annotations

import heapq
import itertools
import random
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

import grpc
from google.protobuf.message import Message

from flyte_deploy.controlplane.bearer import Bearer, Shown
from flyte_deploy.controlplane.server import STRANGE, Server
from flyte_deploy.errors import DeployError

K = TypeVar("K")
T = TypeVar("T")

Code = grpc.StatusCode

_PATIENT = frozenset(
    {Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED, Code.ABORTED, Code.DEADLINE_EXCEEDED, Code.CANCELLED}
)
# One call in thousands ends so although it was carried out; a server that always does is broken.
_IMPATIENT = frozenset({Code.INTERNAL, Code.UNKNOWN})
_LET_IN = frozenset({Code.NOT_FOUND, Code.ALREADY_EXISTS, Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION})
_NO_CONTACT = frozenset({Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED})
_LONGEST_SAID = 2000
_TRIES_TO_LOG_IN = 3


_UNREACHABLE = (
    "Check the endpoint's host and port, whether it is reachable from here, and whether it speaks TLS (if"
    " not, add --insecure)."
)
_NO_LOGIN = "Over plaintext nobody logs in: leave out --insecure, and give the endpoint of its TLS."


@dataclass(frozen=True)
class Retry:
    """What is tried again, how often and for how long. All calls of this package are idempotent.

    A server that is away, overloaded or slow is given `budget` seconds from the first attempt. An answer that
    says that the server failed is asked for again `attempts` times in all. Nothing else is tried again. The
    wait between two attempts starts at `first_delay`, doubles up to `longest_delay`, and is shortened by
    chance to at least its half, so that many clients do not come back at once. A control plane that never
    answered at all is given up after `first_contact` seconds.
    """

    budget: float = 60.0
    first_contact: float = 5.0
    attempts: int = 5
    first_delay: float = 0.1
    longest_delay: float = 5.0

    def delay(self, code: Code, details: str, attempts: int, elapsed: float, answered: bool) -> float | None:
        """How long to wait before the next attempt, in seconds; None for no further one."""
        if code in _IMPATIENT:
            if attempts >= self.attempts:
                return None
        elif code not in _PATIENT or "larger than max" in details:
            return None
        longest = min(self.longest_delay, self.first_delay * 2.0 ** min(attempts - 1, 30))
        wait = random.uniform(0.5, 1.0) * longest  # noqa: S311
        budget = self.budget if answered or code not in _NO_CONTACT else self.first_contact
        return wait if elapsed + wait < budget else None


@dataclass(frozen=True)
class Call:
    """A call to make.

    Args:
        server: where to.
        method: a method of one of the server's stubs.
        request: what is sent.
        doing: what the user sees fail, such as ``registering task 'x'``.
        timeout: how long one attempt may take, in seconds.
        once: True where it is not tried again.
    """

    server: Server
    method: Any
    request: Message
    doing: str
    timeout: float = 20.0
    once: bool = False


class Refused(Exception):  # noqa: N818
    """A call that failed for good, thrown into the generator that made it.

    One that is not caught there becomes the `DeployError` that `in_words` makes of it.
    """

    def __init__(self, call: Call, code: Code, details: str) -> None:
        super().__init__(f"{code.name}: {details}")
        self.call = call
        self.code = code
        self.details = details

    def in_words(self) -> DeployError:
        """What happened, in the user's words."""
        said = " ".join(self.details.split()) or self.code.name
        if len(said) > _LONGEST_SAID:
            said = f"{said[:_LONGEST_SAID]}…"
        what, mend = _words(self.code, said, self.call)
        return DeployError(
            f"{self.call.doing} failed: {what}", where=str(self.call.server.endpoint), mend=mend
        )


Work = Generator[Call, Any, T]
"""Yields calls, gets their answers, returns what came of them."""


def _words(code: Code, said: str, call: Call) -> tuple[str, str | None]:
    if STRANGE.search(said) or "<html" in said.lower():
        return (
            f"what answers is no control plane, but a web server, a proxy or a login page: {said}",
            "Check the endpoint, and HTTPS_PROXY and NO_PROXY.",
        )
    if code in _NO_CONTACT and not call.server.answered:
        return f"the control plane cannot be reached: {said}", _UNREACHABLE
    if code is Code.UNAVAILABLE:
        return f"the control plane is not available: {said}", "Try again later."
    if code is Code.DEADLINE_EXCEEDED:
        return f"the control plane did not answer within {call.timeout:g} s", "Try again later."
    if code is Code.RESOURCE_EXHAUSTED:
        if "larger than max" in said:
            return f"the message is too large for the control plane: {said}", None
        return f"the control plane is overloaded: {said}", "Try again with a lower --concurrency."
    if code is Code.UNAUTHENTICATED:
        return f"the control plane wants a login: {said}", _NO_LOGIN
    if code is Code.PERMISSION_DENIED:
        return f"it is not allowed: {said}", "Ask for the right to do this in this project and domain."
    if code is Code.UNIMPLEMENTED:
        return (
            f"the server does not know this call: {said}",
            "Check that the endpoint is that of a Flyte 2 control plane.",
        )
    if code is Code.INVALID_ARGUMENT:
        return f"the control plane does not accept it: {said}", None
    if code in _IMPATIENT:
        return f"the control plane failed: {said}", "The control plane's own log says more."
    return said, None


@dataclass(eq=False)
class _Flight(Generic[K]):
    """A generator under way, and the call that it waits for."""

    key: K
    work: Work[Any]
    call: Call | None = None
    future: Any = None
    attempts: int = 0
    started: float = 0.0
    shown: Shown = field(default_factory=Shown)
    turned_away: int = 0
    error: DeployError | None = None

    def send(self, done: SimpleQueue[_Flight[K]], retry: Retry) -> None:
        call = self.call
        assert call is not None
        try:
            self.shown = call.server.show()
        except DeployError as error:
            self.error = error
            done.put(self)
            return
        timeout = call.timeout if call.server.answered else min(call.timeout, 2 * retry.first_contact)
        self.attempts += 1
        self.future = call.method.future(call.request, timeout=timeout, metadata=self.shown.headers)
        self.future.add_done_callback(lambda _: done.put(self))


@dataclass(frozen=True)
class _Finished(Generic[T]):
    result: T | DeployError


@dataclass(eq=False)
class _Run(Generic[K]):
    retry: Retry
    done: SimpleQueue[_Flight[K]] = field(default_factory=SimpleQueue)
    flying: set[_Flight[K]] = field(default_factory=set)
    waiting: list[tuple[float, int, _Flight[K]]] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def go_on(self, flight: _Flight[K], answer: Any) -> _Finished[Any] | None:
        """Hand an answer, or a `Refused` or `DeployError`, to the generator; send the call it makes next."""
        try:
            failed = isinstance(answer, Exception)
            call = flight.work.throw(answer) if failed else flight.work.send(answer)
        except StopIteration as stop:
            self.flying.discard(flight)
            return _Finished(stop.value)
        except Refused as refused:
            self.flying.discard(flight)
            return _Finished(refused.in_words())
        except DeployError as error:
            self.flying.discard(flight)
            return _Finished(error)
        flight.call, flight.attempts, flight.started = call, 0, time.monotonic()
        flight.turned_away = 0
        self.flying.add(flight)
        flight.send(self.done, self.retry)
        return None

    def next_done(self) -> _Flight[K] | None:
        """The next flight whose call has ended; None where it was time to send one again instead."""
        timeout = None
        if self.waiting:
            timeout = max(0.0, self.waiting[0][0] - time.monotonic())
        try:
            return self.done.get(timeout=timeout)
        except Empty:
            _, _, flight = heapq.heappop(self.waiting)
            flight.send(self.done, self.retry)
            return None

    def landed(self, flight: _Flight[K]) -> _Finished[Any] | None:
        call = flight.call
        assert call is not None
        server = call.server
        if flight.error is not None:
            return self.go_on(flight, flight.error)
        code: Code = flight.future.code()
        if code is Code.OK:
            server.answered = True
            flight.shown.accepted()
            return self.go_on(flight, flight.future.result())
        details = flight.future.details() or ""
        looking = min(3.0, self.retry.first_contact)
        if not server.answered and server.answers_strangely(details):
            flight.send(self.done, self.retry)
            return None
        if code is Code.UNAUTHENTICATED and server.bearer is not None:
            server.answered = True
            return self.turned_away(flight, server.bearer, details)
        if code not in _NO_CONTACT:
            server.answered = True
            if code in _LET_IN:
                flight.shown.accepted()
        elif not server.answered:
            found = server.diagnose(looking)
            if found is True:
                flight.send(self.done, self.retry)
                return None
            if isinstance(found, DeployError):
                return self.go_on(flight, found)
        elapsed = time.monotonic() - flight.started
        delay = None
        if not call.once:
            delay = self.retry.delay(code, details, flight.attempts, elapsed, call.server.answered)
        if delay is None:
            return self.go_on(flight, Refused(call, code, details))
        heapq.heappush(self.waiting, (time.monotonic() + delay, next(self.numbers), flight))
        return None

    def turned_away(self, flight: _Flight[K], bearer: Bearer, details: str) -> _Finished[Any] | None:
        """A call that was not let in: sent once more where there is another token."""
        assert flight.call is not None
        flight.turned_away += 1
        try:
            again = flight.turned_away < _TRIES_TO_LOG_IN and bearer.refused(flight.shown)
        except DeployError as error:
            return self.go_on(flight, error)
        if again:
            flight.send(self.done, self.retry)
            return None
        said = " ".join(details.split())[:_LONGEST_SAID] or "UNAUTHENTICATED"
        where = str(flight.call.server.endpoint)
        return self.go_on(flight, bearer.error(flight.call.doing, where, said))

    def cancel(self) -> None:
        flying, self.flying, self.waiting = self.flying, set(), []
        for flight in flying:
            if flight.future is not None:
                flight.future.cancel()
            flight.work.close()


def run(
    works: Iterable[tuple[K, Work[T]]], *, concurrency: int, retry: Retry
) -> Generator[tuple[K, T | DeployError], None, None]:
    """Carry out works side by side, and give what comes of each as it ends.

    `works` is drawn from only when a place is free, after all results so far were taken: it may stop when a
    result says so. Closing the generator cancels what is in flight.
    """
    state: _Run[K] = _Run(retry)
    source = iter(works)
    more = True
    try:
        while more or state.flying:
            while more and len(state.flying) < concurrency:
                try:
                    key, work = next(source)
                except StopIteration:
                    more = False
                    break
                finished = state.go_on(_Flight(key, work), None)
                if finished is not None:
                    yield key, finished.result
            if not state.flying:
                continue
            flight = state.next_done()
            finished = state.landed(flight) if flight is not None else None
            if flight is not None and finished is not None:
                yield flight.key, finished.result
    finally:
        state.cancel()


def run_all(works: Iterable[Work[T]], *, concurrency: int, retry: Retry) -> list[T]:
    """Carry out works side by side, and return their results, in the order of the works.

    Raises:
        DeployError: the first that comes of any of them; the others are cancelled.
    """
    results: dict[int, T] = {}
    with closing(run(enumerate(works), concurrency=concurrency, retry=retry)) as ended:
        for index, result in ended:
            if isinstance(result, DeployError):
                raise result
            results[index] = result
    return [results[index] for index in sorted(results)]
