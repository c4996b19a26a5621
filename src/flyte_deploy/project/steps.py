"""Running the steps of an installation: confined in the container, as the user on the command line."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flyte_deploy.errors import DeployError
from flyte_deploy.isolation.confinement import Confinement, failed

STEP_TIMEOUT = 1800.0
"""How long a step may take, in seconds."""

_LINES = 400
_LINE_LIMIT = 2000


@dataclass(frozen=True)
class Finished:
    """How a step ended.

    Args:
        status: its exit status; negative: the signal.
        lines: the last lines that it printed, of both its streams.
    """

    status: int
    lines: tuple[str, ...]


def run_step(
    command: Sequence[str], *, environment: Mapping[str, str], folder: Path, confinement: Confinement | None
) -> Finished:
    """Run a program to its end and end all that it started.

    Args:
        command: the program and its arguments, nothing secret among them.
        environment: its whole environment.
        folder: where it runs.
        confinement: None where it runs as the user that runs this.

    Raises:
        DeployError: where it is not there, takes longer than `STEP_TIMEOUT`, or cannot be confined.
    """
    started = confinement.command(command, folder) if confinement else list(command)
    try:
        process = subprocess.Popen(
            started,
            env=dict(environment),
            # The folder may be the code's own: it is entered as the code's user.
            cwd="/" if confinement else folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise DeployError(f"{command[0]} does not start: {error.strerror or error}") from None
    until = time.monotonic() + STEP_TIMEOUT
    try:
        lines = _read(process, until)
        # It may go on after it has closed its output.
        status = process.wait(max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        lines = None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if confinement:
            confinement.end_all()
        assert process.stdout is not None
        process.stdout.close()
    if lines is None:
        raise DeployError(f"{Path(command[0]).name} took longer than {STEP_TIMEOUT:g} s and was ended")
    error_ = failed(status, lines)
    if error_ is not None:
        raise error_
    return Finished(status, tuple(lines))


def _read(process: subprocess.Popen[bytes], until: float) -> deque[str]:
    """The last lines that a process prints until it ends, or `until`."""
    assert process.stdout is not None
    lines: deque[str] = deque(maxlen=_LINES)
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            left = until - time.monotonic()
            if left <= 0:
                break
            if not selector.select(min(left, 0.5)):
                # What it started in the background may hold its output open.
                if process.poll() is not None:
                    break
                continue
            chunk = os.read(process.stdout.fileno(), 1 << 16)
            if not chunk:
                break
            *complete, pending = (pending + chunk).split(b"\n")
            pending = pending[-_LINE_LIMIT:]
            lines.extend(_text(line) for line in complete)
    if pending:
        lines.append(_text(pending))
    return lines


def _text(line: bytes) -> str:
    return line[-_LINE_LIMIT:].decode("utf-8", "replace").rstrip("\r")
