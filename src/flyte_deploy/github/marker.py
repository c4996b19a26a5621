"""The comments of ours, known by a hidden marker; several steps may share one, a part for each."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

_FIRST = "<!-- flyte-deploy comment {} -->"
_BEGIN, _END = "<!-- flyte-deploy part {} -->", "<!-- flyte-deploy end {} -->"
_PART = re.compile(
    r"^<!-- flyte-deploy part ([0-9a-f]{16}) -->\n(.*?)\n?^<!-- flyte-deploy end \1 -->$",
    re.DOTALL | re.MULTILINE,
)


def key_of(*parts: str) -> str:
    """A name for a comment, or a part of one, made of what tells it from others."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def is_ours(body: str, key: str) -> bool:
    """Whether a body is that of the comment: the marker is its first line, nowhere else."""
    return body.replace("\r\n", "\n").partition("\n")[0].strip() == _FIRST.format(key)


def parts_of(body: str) -> dict[str, str]:
    """The parts of a comment's body, by key."""
    return {match[1]: match[2] for match in _PART.finditer(body.replace("\r\n", "\n"))}


def composed(key: str, parts: Mapping[str, str]) -> str:
    """The body of a comment, its parts in the order of their text, so that all who share it agree."""
    lines = [_FIRST.format(key)]
    for part, text in sorted(parts.items(), key=_title):
        lines += [_BEGIN.format(part), "", text.strip("\n"), "", _END.format(part)]
    return "\n".join(lines) + "\n"


def _title(item: tuple[str, str]) -> tuple[str, str]:
    """A part's first line, and its key where that is the same."""
    return item[1].strip("\n").partition("\n")[0], item[0]


def room(parts: Mapping[str, str], part: str, limit: int) -> int:
    """How many characters one part may have where all others stay, or share what there is fairly."""
    others = {name: text for name, text in parts.items() if name != part}
    used = len(composed("0" * 16, {**others, part: ""}))
    fair = limit // (len(others) + 1) - 200
    return max(fair, limit - used - 50)
