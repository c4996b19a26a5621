"""A process for code that is not ours: what it prints is bounded, and it is gone, with all that it started,
before anything that it said is used."""

from __future__ import annotations

import os
import re
import secrets
import selectors
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from flyte_deploy.errors import DeployError
from flyte_deploy.isolation.confinement import Confinement, failed

OUTPUT_LIMIT = 1 << 20
"""How much of what user code prints is shown, in bytes for each of its two streams."""

LINE_LIMIT = 256 << 20
"""The longest line that is taken from such a process, in bytes."""

ANSWER_LIMIT = 2 << 30
"""How much is taken from it at all, in bytes."""

_MARK = "FLYTE_DEPLOY_RUN"
# The traceback that Python's fault handler prints, innermost frame first.
_FAULT_FRAME = re.compile(r'^  File "(?P<file>[^"]+)", line (?P<line>\d+) in ')


class IsolatedProcess:
    """A running child with a pipe to it and a pipe from it, besides its output.

    Args:
        command: the command line; the file descriptors to read from and to write to are appended.
        document: what it reads from its pipe.
        environment: its whole environment.
        folder: its working directory.
        on_line: told of every line that it prints, within `OUTPUT_LIMIT`.
        confinement: what it is confined to; None where it runs as the user that runs this.
    """

    def __init__(
        self,
        command: list[str],
        *,
        document: bytes,
        environment: Mapping[str, str],
        folder: Path,
        on_line: Callable[[str], None],
        confinement: Confinement | None = None,
    ) -> None:
        self._confinement = confinement
        self._mark = secrets.token_hex(16)
        request_read, request_write = os.pipe()
        answer_read, answer_write = os.pipe()
        try:
            command = [*command, str(request_read), str(answer_write)]
            if confinement is not None:
                command = confinement.command(command, folder, keep=(request_read, answer_write))
                # The folder may be the code's own: it is entered as the code's user.
                folder = Path("/")
            self._process = subprocess.Popen(
                command,
                pass_fds=(request_read, answer_write),
                env={**environment, _MARK: self._mark},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except BaseException:
            for fd in (request_read, request_write, answer_read, answer_write):
                os.close(fd)
            raise
        os.close(request_read)
        os.close(answer_write)
        self._answer = answer_read
        self._last: deque[str] = deque(maxlen=200)
        self.suppressed = 0
        self._pumps = [
            threading.Thread(target=self._pump, args=(stream, on_line), daemon=True)
            for stream in (self._process.stdout, self._process.stderr)
        ]
        self._pumps.append(threading.Thread(target=_feed, args=(request_write, document), daemon=True))
        for pump in self._pumps:
            pump.start()

    def lines(self, patience: Callable[[], float]) -> Iterator[bytes]:
        """The lines of its answer, as they come.

        Args:
            patience: how many more seconds the next bytes may take; asked before each wait.

        Raises:
            TimeoutError: when they took longer.
            DeployError: for an answer of more than `ANSWER_LIMIT` bytes, or a line of more than `LINE_LIMIT`.
        """
        buffer = bytearray()
        size = 0
        with selectors.DefaultSelector() as selector:
            selector.register(self._answer, selectors.EVENT_READ)
            while True:
                if not selector.select(max(0.0, patience())):
                    raise TimeoutError
                chunk = os.read(self._answer, 1 << 20)
                if not chunk:
                    return
                buffer += chunk
                size += len(chunk)
                if len(buffer) > LINE_LIMIT or size > ANSWER_LIMIT:
                    raise DeployError("the answer of the project's code is larger than is taken")
                if b"\n" in chunk:
                    *complete, rest = bytes(buffer).split(b"\n")
                    buffer = bytearray(rest)
                    yield from complete

    def not_confined(self, status: int) -> DeployError | None:
        """The error for one that was never started since it could not be confined."""
        return failed(status, self._last) if self._confinement is not None else None

    def where(self, root: Path) -> str:
        """``path:line`` of the user's own frame that the fault handler printed last, or nothing."""
        inside = f"{root}{os.sep}"
        for line in self._last:
            match = _FAULT_FRAME.match(line)
            if match and match["file"].startswith(inside):
                return f"{Path(match['file']).relative_to(root)}:{match['line']}"
        return ""

    def ask_where(self) -> None:
        """Have it print where it is, for `where`."""
        self._last.clear()
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGUSR1)
        time.sleep(0.3)

    def end(self) -> int:
        """End it and everything that it started, and return its exit status (negative: the signal)."""
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            # It leaves by itself after its last word; what follows is for what does not.
            self._process.wait(0.2)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        status = self._process.wait()
        if self._confinement is not None:
            self._confinement.end_all()
        else:
            _end_marked(self._mark)
        for pump in self._pumps:
            pump.join(2)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        os.close(self._answer)
        return status

    def _pump(self, stream: object, on_line: Callable[[str], None]) -> None:
        shown = 0
        pending = b""
        while chunk := os.read(stream.fileno(), 1 << 16):  # type: ignore[attr-defined]
            if shown >= OUTPUT_LIMIT:
                self.suppressed += len(chunk)
                # The fault handler's frames are wanted even after a flood.
                self._last.extend(chunk[-4096:].decode("utf-8", "replace").splitlines())
                continue
            shown += len(chunk)
            *complete, pending = (pending + chunk).split(b"\n")
            for line in complete:
                text = line.decode("utf-8", "replace").rstrip("\r")
                self._last.append(text)
                on_line(text)
        if pending:
            on_line(pending.decode("utf-8", "replace"))


def in_isolated_process() -> bool:
    """Whether this process, or one that it descends from, is such a child."""
    return _MARK in os.environ


def _feed(fd: int, document: bytes) -> None:
    with suppress(BrokenPipeError), os.fdopen(fd, "wb") as stream:
        stream.write(document)


def _end_marked(mark: str) -> None:
    """Kill what left the process group: everything whose environment still bears the run's mark."""
    folder = Path("/proc")
    wanted = f"{_MARK}={mark}".encode()
    # Three looks, since a process may fork while it is being looked for.
    for _ in range(3):
        found = False
        for entry in folder.iterdir() if folder.is_dir() else ():
            if entry.name.isdigit():
                with suppress(OSError):
                    if wanted in (entry / "environ").read_bytes().split(b"\0"):
                        os.kill(int(entry.name), signal.SIGKILL)
                        found = True
        if not found:
            return


@contextmanager
def ended(process: IsolatedProcess) -> Iterator[IsolatedProcess]:
    """End the process on the way out, also when what is waited for never comes."""
    try:
        yield process
    except BaseException:
        process.end()
        raise
