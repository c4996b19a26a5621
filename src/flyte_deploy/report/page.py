"""A page that fits: what is left out where there is no room for all of it, and how that is said."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from flyte_deploy.report.escape import LONGEST
from flyte_deploy.report.sections import Section, Shown

FOLDED = "<!-- flyte-deploy folded -->"
"""The lines around what may be left out of a comment. Foreign text cannot hold it: `escape` sees to that."""

_FOLDED = re.compile(f"^{FOLDED}$.*^{FOLDED}$", re.MULTILINE | re.DOTALL)
_NAMES = (LONGEST, 80, 30)
# A diagram is all or nothing: it goes where tables were cut to this part of it.
_WHOLE = 4


@dataclass(frozen=True)
class Page:
    """What there is to say.

    Args:
        title: the first line where there is room for nothing else; no foreign text.
        head: the lines above, the title the first of them, given how many characters of a name are shown.
        sections: what can be shortened, or left out.
        foot: the lines below.
        elsewhere: where all of it can be read: Markdown of our own, empty where that is nowhere.
    """

    title: str
    head: Callable[[int], list[str]]
    sections: Sequence[Section | Shown]
    foot: list[str]
    elsewhere: str = ""


def fitted(page: Page, limit: int, measure: Callable[[str], int] = len, frame: str = "") -> str:
    """The page as Markdown, whole blocks of it: rows are left out of the middle of the longest sections,
    then sections, then parts of names.

    Args:
        page: what there is to say.
        limit: the most that `measure` may find of it.
        measure: of a text.
        frame: a line that is put around the sections.
    """
    last = ""
    for last in _candidates(page, limit, measure, frame):
        if measure(last) <= limit:
            return last
    return last[:limit]


def without_folded(text: str) -> str:
    """A page without what stands between its frames."""
    return _FOLDED.sub(
        lambda _: "The rest is in the summary of the run: there was no room for it here.", text
    )


def _candidates(page: Page, limit: int, measure: Callable[[str], int], frame: str) -> Iterator[str]:
    framed = [frame] if frame and page.sections else []
    for longest in _NAMES:
        head = page.head(longest)
        sections, left = list(page.sections), list[str]()
        while True:
            parts = [section.text(page.elsewhere) for section in sections]
            out = [_left_out(left, page.elsewhere)] if left else []
            text = _joined(*head, *framed, *parts, *out, *framed, *page.foot)
            if not sections or measure(text) <= limit:
                break
            index = max(range(len(sections)), key=lambda index: _weight(sections[index], parts[index]))
            halved = sections[index].halved()
            if halved is None:
                left.append(sections[index].title)
            sections[index : index + 1] = [] if halved is None else [halved]
        yield text
    title = page.head(_NAMES[-1])[0]
    yield _joined(title, *page.foot)
    yield _joined(page.title, *page.foot)
    yield page.title


def _weight(section: Section | Shown, text: str) -> int:
    return len(text) // (1 if section.halved() is not None else _WHOLE)


def _left_out(titles: list[str], elsewhere: str) -> str:
    return f"No room here for: {', '.join(titles)}{f' - {elsewhere}' if elsewhere else ''}"


def _joined(*parts: str) -> str:
    return "\n\n".join(parts) + "\n"
