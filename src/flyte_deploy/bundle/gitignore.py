"""The lines of a `.gitignore` file, with git's own meaning: bytes, and one path at a time.

A pattern is asked about a file or folder itself; that what lies below an ignored folder is ignored is for the
caller to see. (Libraries that answer for whole trees let ``!folder/`` bring back what a pattern of a file
above ignores, which git does not.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_CLASSES = {
    b"alnum": b"0-9A-Za-z",
    b"alpha": b"A-Za-z",
    b"blank": rb" \t",
    b"cntrl": rb"\x00-\x1f\x7f",
    b"digit": b"0-9",
    b"graph": rb"\x21-\x7e",
    b"lower": b"a-z",
    b"print": rb"\x20-\x7e",
    b"punct": rb"!-/:-@\[-`{-~",
    b"space": rb"\s",
    b"upper": b"A-Z",
    b"xdigit": b"0-9A-Fa-f",
}


@dataclass(frozen=True)
class _Pattern:
    expression: re.Pattern[bytes]
    negated: bool
    folders_only: bool
    whole_path: bool


class Patterns:
    """The patterns of one ignore file. The last one that fits decides.

    Args:
        content: the file's content. What is no pattern fits nothing, as with git.
    """

    def __init__(self, content: bytes) -> None:
        lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
        self._patterns = tuple(_parse(lines))[::-1]

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def verdict(self, path: bytes, *, folder: bool) -> bool | None:
        """Whether a path is ignored (True), expressly not ignored (False), or not spoken of (None).

        Args:
            path: relative to the folder of the ignore file.
            folder: whether it is a folder. A link to one is not.
        """
        name = path[path.rfind(b"/") + 1 :]
        for pattern in self._patterns:
            if pattern.folders_only and not folder:
                continue
            if pattern.expression.fullmatch(path if pattern.whole_path else name):
                return not pattern.negated
        return None


def _parse(lines: Iterable[bytes]) -> Iterable[_Pattern]:
    for raw in lines:
        line = raw.removesuffix(b"\r")
        if line.startswith(b"#"):
            continue
        text = _without_trailing_spaces(line)
        negated = text.startswith(b"!")
        text = text[negated:]
        folders_only = text.endswith(b"/")
        text = text.removesuffix(b"/")
        whole_path = b"/" in text
        expression = _translate(text.removeprefix(b"/"), whole_path)
        if expression is not None:
            yield _Pattern(re.compile(expression, re.DOTALL), negated, folders_only, whole_path)


def _without_trailing_spaces(line: bytes) -> bytes:
    kept = line.rstrip(b" ")
    escaped = (len(kept) - len(kept.rstrip(b"\\"))) % 2 and len(kept) < len(line)
    return kept + b" " if escaped else kept


def _translate(glob: bytes, whole_path: bool) -> bytes | None:
    """A regular expression for a glob; None for one that can fit nothing."""
    if not glob:
        return None
    some = b"[^/]" if whole_path else b"."
    result = b""
    at = 0
    while at < len(glob):
        char = glob[at : at + 1]
        if char == b"*":
            end = at
            while glob[end : end + 1] == b"*":
                end += 1
            rest = glob[end:]
            alone = (at == 0 or glob[at - 1 : at] == b"/") and (not rest or rest.startswith((b"/", b"\\/")))
            if end - at > 1 and alone and rest.startswith(b"/"):
                result += b"(?:.*/)?"
                end += 1
            else:
                result += b".*" if end - at > 1 and alone else some + b"*"
            at = end
        elif char == b"?":
            result += some
            at += 1
        elif char == b"[":
            bracket = _bracket(glob, at, whole_path)
            if bracket is None:
                return None
            result += bracket[0]
            at = bracket[1]
        else:
            at += char == b"\\"
            if at == len(glob):
                return None
            result += re.escape(glob[at : at + 1])
            at += 1
    return result


def _bracket(glob: bytes, at: int, whole_path: bool) -> tuple[bytes, int] | None:
    """The expression for the bracket that begins at `at`, and where it ends; None if it does not end."""
    at += 1
    negated = glob[at : at + 1] in (b"!", b"^")
    at += negated
    items: list[bytes] = []
    previous: int | None = None
    first = True
    while first or glob[at : at + 1] != b"]":
        first = False
        char = glob[at : at + 1]
        if not char:
            return None
        if char == b"-" and previous is not None and glob[at + 1 : at + 2] not in (b"", b"]"):
            at += 1 + (glob[at + 1 : at + 2] == b"\\")
            if at >= len(glob):
                return None
            if previous <= glob[at]:
                items.append(b"\\x%02x-\\x%02x" % (previous, glob[at]))
            previous = None
            at += 1
            continue
        if char == b"[" and glob[at + 1 : at + 2] == b":":
            end = glob.find(b"]", at + 2)
            if end < 0:
                return None
            if end > at + 2 and glob[end - 1 : end] == b":":
                members = _CLASSES.get(glob[at + 2 : end - 1])
                if members is None:
                    return None
                items.append(members)
                previous = None
                at = end + 1
                continue
        at += char == b"\\"
        if at >= len(glob):
            return None
        previous = glob[at]
        items.append(b"\\x%02x" % previous)
        at += 1
    slash = b"(?!/)" if whole_path else b""
    if not items:
        return slash + (b"." if negated else b"(?!)"), at + 1
    return slash + (b"[^" if negated else b"[") + b"".join(items) + b"]", at + 1
