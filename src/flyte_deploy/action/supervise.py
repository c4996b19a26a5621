"""Process 1 of the container.

It hands signals on, collects children that nobody waits for, and sees to it that the container ends: the
runner sends SIGINT, after 7.5 s SIGTERM, and after 2.5 s more it ends the Docker client and leaves the
container alone with its work (actions/runner, ProcessInvoker).
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

GRACE = 9.0
"""Seconds from the first signal until everything is killed: before the runner turns away."""

_FORWARDED = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})


def supervise(work: Callable[[], int], deadline: float, grace: float = GRACE) -> int:
    """Run `work` in a child process and answer its exit status.

    When this returns nothing that the child left behind runs any more, if this is process 1.

    Args:
        work: what the child does; its result is the exit status.
        deadline: seconds after which the child is told to end, by SIGTERM, and then made to.
        grace: seconds that the child has to end after a signal; further signals do not prolong it.
    """
    waited = {*_FORWARDED, signal.SIGCHLD}
    # Blocked signals wait for us, also those that process 1 would ignore for want of a handler.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        _become(work, before)
    try:
        return _watch(child, waited, deadline, grace)
    finally:
        if os.getpid() == 1:
            with suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _become(work: Callable[[], int], mask: Iterable[int]) -> None:
    status = 1
    try:
        # A process 1 may have been started with them ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        status = work()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _watch(child: int, waited: set[signal.Signals], deadline: float, grace: float) -> int:
    ends = time.monotonic() + deadline
    killing = False
    while True:
        received = signal.sigtimedwait(waited, max(0.0, min(ends - time.monotonic(), 3600.0)))
        number = received.si_signo if received else 0
        if number in _FORWARDED:
            _send(child, number)
            ends = min(ends, time.monotonic() + grace)
            killing = True
        status = _reap(child)
        if status is not None:
            return status
        if time.monotonic() < ends:
            continue
        if killing:
            _send(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return 128 + signal.SIGKILL
        sys.stdout.write(f"\n::error::the run took longer than the deadline of {deadline:g} s and is ended\n")
        sys.stdout.flush()
        _send(child, signal.SIGTERM)
        ends = time.monotonic() + grace
        killing = True


def _reap(child: int) -> int | None:
    """Collect everything that has ended; the exit status of the child if it is among it."""
    found: int | None = None
    while True:
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if ended == 0:
            return found
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            found = code if code >= 0 else 128 - code


def _send(child: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(child, number)
