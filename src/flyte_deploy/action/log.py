"""The log of a step: groups, annotations, masks, and foreign text that cannot act as any of them.

What the runner does with a line is that of actions/runner, `ActionCommand.cs`: ``::command::`` counts after
leading blanks, ``##[command]`` anywhere, and a bare carriage return ends a line too.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from flyte_deploy.errors import DeployError
from flyte_deploy.model import Progress
from flyte_deploy.report.text import plain, progress_lines
from flyte_deploy.secrets import SECRETS

MOST_ANNOTATIONS = 10
"""GitHub shows ten errors and ten warnings of a step; more are lines of the log."""

_PLACE = re.compile(r"^(?P<file>[^\s:][^:]*):(?P<line>\d+)(?:: (?P<rest>.*))?$")
_LINES = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")


# What problem matchers of other steps annotate: those of setup-python, gcc, tsc, dotnet, eslint.
_SEVERITY = r"(?:fatal )?(?:error|warning|info|note)\b"
_MATCHED = (
    (re.compile(r'^(\s*)(?=File ")'), r"\1| "),
    (re.compile(rf"^(\s+)(?=\d+:\d+\s+{_SEVERITY})", re.IGNORECASE), r"\1| "),
    (re.compile(rf"(\d\)?)(?=:\s+{_SEVERITY})", re.IGNORECASE), r"\1 "),
    (re.compile(rf"(\d\s)(?=\s*-\s+{_SEVERITY})", re.IGNORECASE), r"\1- "),
    (re.compile(r"(\sline\s\d+)(?=,\scol\s)"), r"\1 "),
)


def harmless(text: str) -> str:
    """One line of a log that is shown as it reads and does nothing, whatever the text is.

    Neither is it a command of the runner nor what problem matchers make annotations of.
    """
    line = plain(_LINES.sub(" ", text)).replace("##[", "# #[")
    for pattern, broken in _MATCHED:
        line = pattern.sub(broken, line)
    stripped = line.lstrip()
    return f"{line[: len(line) - len(stripped)]}: {stripped[1:]}" if stripped.startswith("::") else line


def command(name: str, message: str, **properties: str) -> str:
    """A workflow command as a line; nothing in the message or a property can end it or start another."""
    told = ",".join(f"{key}={_escape(value, ':,')}" for key, value in properties.items() if value)
    return f"::{name} {told}::{_escape(message)}" if told else f"::{name}::{_escape(message)}"


def _escape(text: str, more: str = "") -> str:
    # GitHub's own escapes, @actions/core `command.ts`.
    for character in f"%\r\n{more}":
        text = text.replace(character, f"%{ord(character):02X}")
    return text


class Log:
    """Writes to the one stream that the runner reads. It may be told things from any thread.

    Args:
        stream: where it writes.
        root: the folder that places of errors are relative to.
        workspace: the top of the repository, which annotations are relative to.
        debug: whether debug lines are written; the runner shows them where it was asked to.
    """

    def __init__(self, stream: TextIO, *, debug: bool = False) -> None:
        self.root = self.workspace = Path.cwd()
        self.debugs = debug
        self._stream = stream
        self._lock = threading.RLock()
        self._open = ""
        self._last: dict[str, int] = {}
        self._annotated = {"error": 0, "warning": 0}
        self._warned: set[str] = set()

    def mask(self, secrets: Iterable[str]) -> None:
        """Have the runner put ``***`` for these, from the next line on."""
        for secret in secrets:
            with self._lock:
                self._stream.write(f"{command('add-mask', secret)}\n")
                self._stream.flush()

    def line(self, text: str = "") -> None:
        """Lines of text, each made harmless."""
        for part in text.split("\n"):
            self._write(harmless(part))

    def debug(self, text: str) -> None:
        """Lines that are shown only where the runner is asked to debug."""
        if self.debugs:
            for part in text.split("\n"):
                self._write(command("debug", plain(part).replace("##[", "# #[")))

    @contextmanager
    def group(self, title: str) -> Iterator[None]:
        """Folded lines."""
        started = time.perf_counter()
        self._begin(title)
        try:
            yield
        finally:
            self._end(title, time.perf_counter() - started)

    def listen(self, progress: Progress) -> None:
        """What happens in the pipeline: a group for each of its steps."""
        with self._lock:
            if progress.kind == "step":
                self._begin(progress.text)
            elif progress.kind == "done":
                self._end(progress.text, progress.seconds)
            elif progress.kind == "warning":
                self.warning(progress.text)
            elif progress.kind == "build":
                self.debug(progress.text)
            else:
                for text in progress_lines(progress, self._last):
                    self._write(harmless(text))

    def warning(self, text: str) -> None:
        """An annotation, each text once."""
        with self._lock:
            if text in self._warned:
                return
            self._warned.add(text)
            found = _PLACE.match(text)
            where = f"{found['file']}:{found['line']}" if found and found["rest"] else ""
            self._annotate("warning", found["rest"] if found and where else text, where)

    def error(self, error: DeployError) -> None:
        """An annotation at the place that the error is about, with all that is known about it.

        Where the error is one for several places, each of them gets one of its own.
        """
        with self._lock:
            if self._open:
                self._end(self._open, None)
            text = [error.what]
            if error.where and not self._place(error.where):
                text.append(f"where: {error.where}")
            text += [*error.details, *([error.mend] if error.mend else [])]
            self._annotate("error", "\n".join(text), error.where or "")
            for detail in error.details:
                found = _PLACE.match(detail)
                if found and found["rest"] and not error.where:
                    self._annotate("error", found["rest"], f"{found['file']}:{found['line']}")

    def _annotate(self, level: str, text: str, where: str) -> None:
        message = "\n".join(plain(part).replace("##[", "# #[") for part in _LINES.split(text))
        place = self._place(where)
        self._annotated[level] += 1
        if self._annotated[level] > MOST_ANNOTATIONS:
            for part in f"{level.capitalize()}: {f'{where}: ' if where else ''}{message}".split("\n"):
                self._write(harmless(part))
            return
        self._write(command(level, message, title="flyte-deploy", **place))

    def _place(self, where: str) -> dict[str, str]:
        """Properties of an annotation: the file, relative to the repository, and the line."""
        found = _PLACE.match(where)
        name, line = (found["file"], found["line"]) if found else (where, "")
        if not name or any(character in name for character in "\0\n\r"):
            return {}
        try:
            path = (self.root / name).resolve()
            file = str(path.relative_to(self.workspace.resolve())) if path.is_file() else ""
        except (OSError, ValueError):
            return {}
        if not file:
            return {}
        return {"file": file, "line": line} if line else {"file": file}

    def _begin(self, title: str) -> None:
        with self._lock:
            if self._open:
                self._write("::endgroup::")
            self._open = title
            self._write(command("group", plain(_LINES.sub(" ", title)).replace("##[", "# #[")))

    def _end(self, title: str, seconds: float | None) -> None:
        with self._lock:
            if self._open == title:
                self._open = ""
                self._write("::endgroup::")
            if seconds is not None:
                self._write(harmless(f"{title}: {seconds:.2f} s"))

    def _write(self, line: str) -> None:
        with self._lock:
            self._stream.write(f"{SECRETS.redact(line)}\n")
            self._stream.flush()
