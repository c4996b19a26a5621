"""Process 1, as a process of its own that adopts orphans as process 1 does."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

PR_SET_CHILD_SUBREAPER = 36
BOOT = f"""
import ctypes, os, signal, sys, time
from flyte_deploy.action.supervise import supervise

assert ctypes.CDLL(None).prctl({PR_SET_CHILD_SUBREAPER}, 1, 0, 0, 0) == 0
# A signal without a handler does not end process 1.
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)

def work():
    WORK

sys.exit(supervise(work, DEADLINE, grace=GRACE))
"""
IGNORING = """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print(os.getpid(), flush=True)
    while True:
        time.sleep(600)
"""
OBEYING = """
    signal.signal(signal.SIGTERM, lambda *_: os._exit(5))
    print(os.getpid(), flush=True)
    while True:
        time.sleep(600)
"""
LEAVING_AN_ORPHAN = """
    reading, writing = os.pipe()
    if os.fork() == 0:
        orphan = os.fork()
        if orphan:
            os.write(writing, b"%d" % orphan)
        os._exit(0)
    os.wait()
    orphan = os.read(reading, 20).decode()
    for _ in range(300):
        # A process that has ended is there until somebody has collected it.
        if not os.path.exists("/proc/" + orphan):
            return 7
        time.sleep(0.1)
    return 8
"""


@contextmanager
def supervised(work: str, *, deadline: float = 3600, grace: float = 3600) -> Iterator[subprocess.Popen[str]]:
    script = BOOT.replace("    WORK", work.strip("\n")).replace("DEADLINE", str(deadline))
    command = [sys.executable, "-c", script.replace("GRACE", str(grace))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_what_nobody_waits_for_is_collected() -> None:
    with supervised(LEAVING_AN_ORPHAN) as process:
        assert process.wait(60) == 7


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_child_that_ignores_a_signal_is_killed(number: signal.Signals) -> None:
    with supervised(IGNORING, grace=0.2) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        assert process.wait(60) == 137


def test_more_signals_give_no_more_time() -> None:
    with supervised(IGNORING, grace=1) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for _ in range(300):
            process.send_signal(signal.SIGTERM)
            try:
                assert process.wait(0.1) == 137
                return
            except subprocess.TimeoutExpired:
                continue
    raise AssertionError("each signal gave it more time")


def test_a_child_that_obeys_has_its_own_exit_status() -> None:
    with supervised(OBEYING) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 5


@pytest.mark.parametrize(("work", "status"), [(OBEYING, 5), (IGNORING, 137)])
def test_at_the_deadline_it_is_told_to_end_and_then_made_to(work: str, status: int) -> None:
    with supervised(work, deadline=1, grace=60 if status == 5 else 0.2) as process:
        assert process.stdout is not None
        said = process.stdout.read()
        assert process.wait(60) == status
    assert "::error::the run took longer than the deadline of 1 s and is ended\n" in said
