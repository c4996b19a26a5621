"""Running a command and saying how long it took and how much memory it and its children held together."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Run:
    """One run of a command. `memory` is the peak of all its processes' proportional set sizes, in bytes.

    `seconds` is None where it was ended because it had taken too long.
    """

    seconds: float | None
    memory: int
    output: str
    status: int


def run(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    limit: float = 600,
    memory: bool = False,
) -> Run:
    """Run a command to its end, or to `limit` seconds.

    Args:
        command: the command line.
        folder: its working directory.
        environment: variables to add to this process's own.
        limit: seconds.
        memory: True to look at its memory thirty times a second, which costs some time itself.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    peak = [0]
    done = threading.Event()

    def watch() -> None:
        while memory and not done.wait(1 / 30):
            peak[0] = max(peak[0], memory_of(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        output, _ = process.communicate(timeout=limit)
        seconds: float | None = time.perf_counter() - started
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        seconds = None
    finally:
        done.set()
        watcher.join()
    return Run(seconds, peak[0], output, process.returncode)


def memory_of(pid: int) -> int:
    """The proportional set sizes of a process and all below it, in bytes."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    total = 0
    waiting = [pid]
    while waiting:
        current = waiting.pop()
        waiting += children.get(current, [])
        try:
            lines = Path(f"/proc/{current}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


@contextmanager
def control_plane(
    command: Sequence[str], data: Path, *more: str, environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """An embedded control plane in a process of its own, with its data in `data`; gives its endpoint."""
    process = subprocess.Popen(
        [*command, "serve", "--port", "0", "--data", str(data), *more],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield next(word for word in line.split() if word.startswith("127.0.0.1:"))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
