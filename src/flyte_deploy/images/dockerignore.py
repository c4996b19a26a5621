"""Patterns of a ``.dockerignore``, as Docker reads them.

Source: Docker's documentation of the file and `filepath.Match` of Go. A pattern is relative to the
context's root, ``**`` stands for any number of folders, ``!`` takes back, the last one that matches decides,
and what matches a folder matches all below it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class Ignore:
    """Patterns in order, each with whether it takes back."""

    patterns: tuple[tuple[re.Pattern[str], bool], ...] = ()

    @classmethod
    def parse(cls, lines: Iterable[str]) -> Ignore:
        """Read lines of a file; comments and empty ones do not count, nor do patterns that are none."""
        found = []
        for line in lines:
            if line.startswith("#") or not line.strip():
                continue
            text = line.strip()
            back = text.startswith("!")
            text = posixpath.normpath(text.removeprefix("!").strip()).lstrip("/")
            if text not in ("", "."):
                found.append((_pattern(text), back))
        return cls(tuple(found))

    def matches(self, path: str) -> bool:
        """Whether a path, with slashes and relative to the context, is left out."""
        left_out = False
        parts = path.split("/")
        paths = ["/".join(parts[: length + 1]) for length in range(len(parts))]
        for pattern, back in self.patterns:
            if back == left_out and any(pattern.fullmatch(one) for one in paths):
                left_out = not back
        return left_out


@lru_cache(maxsize=1024)
def _pattern(text: str) -> re.Pattern[str]:
    parts: list[str] = []
    position = 0
    while position < len(text):
        rest = text[position:]
        if rest.startswith("**/"):
            parts.append("(?:.*/)?")
            position += 3
        elif rest.startswith("**"):
            parts.append(".*")
            position += 2
        elif rest[0] == "*":
            parts.append("[^/]*")
            position += 1
        elif rest[0] == "?":
            parts.append("[^/]")
            position += 1
        elif rest[0] == "\\" and len(rest) > 1:
            parts.append(re.escape(rest[1]))
            position += 2
        elif rest[0] == "[" and "]" in rest[2:]:
            end = rest.index("]", 2)
            inner = rest[1:end].replace("\\", "\\\\").replace("[", "\\[")
            parts.append(f"[{inner}]")
            position += end + 1
        else:
            parts.append(re.escape(rest[0]))
            position += 1
    try:
        return re.compile("".join(parts), re.DOTALL)
    except re.error:
        return re.compile(re.escape(text))
