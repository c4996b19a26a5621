"""Foreign text in Markdown: shown as it is written, whatever it is made of.

What is known to be secret is taken out first: written by numbers, nobody would know it again.
"""

from __future__ import annotations

import re

from flyte_deploy.report.text import plain
from flyte_deploy.secrets import SECRETS

# Inside <code> GitHub looks for no mentions, references and emoji; Markdown goes on there. These characters
# do nothing in the middle of a line; each other one is written by its number.
_ACTIVE = re.compile(r"[^\w ,./=(){}'\"+%;-]|_")
# They reorder or hide what stands around them.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202f\u205f-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]"
)
_WWW = re.compile(r"www\.", re.IGNORECASE)
LONGEST = 300
"""Characters of a name that are shown."""


def code(text: str, longest: int = LONGEST) -> str:
    """A text in one line, as code; good for the middle of a line and for a cell of a table."""
    return f"<code>{escaped(text, longest)}</code>"


def escaped(text: str, longest: int = LONGEST) -> str:
    """The same without the tags: to be put between those of ``<code>``."""
    line = one_line(text, longest)
    return _WWW.sub(lambda found: f"{found[0][:3]}&#46;", _ACTIVE.sub(_number, line))


def block(text: str, longest: int = 20_000) -> str:
    """A text of several lines as a block of code, which nothing in it can end."""
    lines = SECRETS.shortened(_visible(text), longest)
    ticks = max((len(run) for run in re.findall(r"`+", lines)), default=0)
    fence = "`" * max(3, ticks + 1)
    # What opens a comment there could be taken for a marker of ours, by our own search for them.
    return f"{fence}text\n{lines.replace('<!--', '<! --')}\n{fence}"


def one_line(text: str, longest: int = LONGEST) -> str:
    """A text in one line, without what is secret, hidden or too long; not escaped yet."""
    return SECRETS.shortened(" ".join(_visible(text).split()), longest)


def _visible(text: str) -> str:
    # Before anything about it is changed, and again by whoever shortens it.
    text = SECRETS.redact(text).encode("utf-8", "replace").decode()
    return _INVISIBLE.sub("", plain(text.replace("\r\n", "\n").replace("\r", "\n")))


def _number(found: re.Match[str]) -> str:
    # A comment before it parts the text: addresses of mail are looked for after references are read.
    return f"{'<!-- -->' if found[0] == '@' else ''}&#{ord(found[0])};"
