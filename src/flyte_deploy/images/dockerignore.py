"""Ignore files as Docker reads them (github.com/moby/patternmatcher): patterns, and what they leave out."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from flyte_deploy.errors import DeployError

State = tuple[bool, ...]
"""Which patterns a folder, or one that it lies in, matches: what is below it matches these too."""


@dataclass(frozen=True)
class DockerIgnore:
    """The patterns of one ignore file, in order; the last that matches a path decides."""

    patterns: tuple[str, ...] = ()

    @cached_property
    def _compiled(self) -> tuple[tuple[re.Pattern[str], bool], ...]:
        return tuple(_compile(pattern) for pattern in self.patterns)

    @cached_property
    def has_exceptions(self) -> bool:
        """Whether something below a folder that is left out may be wanted again."""
        return any(exception for _, exception in self._compiled)

    @property
    def top(self) -> State:
        """The state of the context itself."""
        return (False,) * len(self._compiled)

    def judge(self, path: str, parent: State) -> tuple[bool, State]:
        """Whether a path is left out, and the state for what lies below it.

        Args:
            path: relative to the context, with slashes.
            parent: the state of the folder that it lies in.
        """
        out = False
        state = []
        for (expression, exception), above in zip(self._compiled, parent, strict=True):
            matches = above or expression.fullmatch(path) is not None
            state.append(matches)
            if matches:
                out = not exception
        return out, tuple(state)


def parse(text: str) -> tuple[str, ...]:
    """The patterns of an ignore file; comments and empty lines are none."""
    lines = (line.strip() for line in text.removeprefix("\ufeff").splitlines() if not line.startswith("#"))
    return tuple(line for line in lines if line and not line.startswith("#"))


def joined(patterns: Iterable[str]) -> str:
    """Patterns as an ignore file."""
    return "".join(f"{pattern}\n" for pattern in patterns)


def _compile(pattern: str) -> tuple[re.Pattern[str], bool]:
    exception = pattern.startswith("!")
    cleaned = posixpath.normpath(pattern[exception:].strip() or ".").lstrip("/")
    try:
        return re.compile(_expression(cleaned), re.DOTALL), exception
    except re.error:
        raise DeployError(
            f"the pattern {pattern!r} of an ignore file is malformed", mend="Correct its brackets."
        ) from None


def _expression(pattern: str) -> str:
    if pattern in (".", ""):
        return r"(?!)"
    text, position = "", 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if pattern.startswith("**", position - 1):
            position += 1
            if pattern.startswith("/", position):
                position += 1
            text += ".*" if position >= len(pattern) else "(.*/)?"
        elif character == "*":
            text += "[^/]*"
        elif character == "?":
            text += "[^/]"
        elif character in "[]":
            text += character
        elif character == "\\" and position < len(pattern):
            text += re.escape(pattern[position])
            position += 1
        else:
            # Ranges and negation belong to brackets.
            text += character if character in "^-" else re.escape(character)
    return text
