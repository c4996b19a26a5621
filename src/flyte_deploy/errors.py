"""What can go wrong, as one exception that always says what, where and how to mend it."""

from __future__ import annotations

from flyte_deploy.secrets import SECRETS

_LONGEST = 4000
_MOST_DETAILS = 300


def bounded(text: str, most: int = _LONGEST) -> str:
    """A text of at most so many characters, and how many more there were: the project's code writes some."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most} characters more)"


class NotWanted(Exception):  # noqa: N818 - not a failure
    """What was to be registered is no longer wanted, for the reason given; nothing is registered."""


class DeployError(Exception):
    """A failure that the user can act on.

    Args:
        what: one sentence: what is wrong, naming the thing by its own name.
        where: the file and line (``path/to/file.py:12``), setting or address it is about, if there is one.
        mend: one sentence that says how to mend it, if that is known.
        usage: True where the input itself is wrong (exit status 2 instead of 1).
        details: further lines, shown indented: the user's own frames, the conflicting names.

    What is known to be secret is hidden in all of them, and what is very long is cut.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        mend: str | None = None,
        usage: bool = False,
        details: tuple[str, ...] = (),
    ) -> None:
        self.what = _told(what)
        super().__init__(self.what)
        self.where = _told(where) if where else where
        self.mend = _told(mend) if mend else mend
        self.usage = usage
        self.details = tuple(map(_told, _both_ends(details)))

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.what}" if self.where else self.what]
        lines += [f"  {line}" for line in self.details]
        if self.mend:
            lines.append(f"  {self.mend}")
        return "\n".join(lines)

    @property
    def exit_status(self) -> int:
        """2 for usage and bad input, 1 for everything else."""
        return 2 if self.usage else 1


def _both_ends(lines: tuple[str, ...]) -> tuple[str, ...]:
    """At most `_MOST_DETAILS` lines. The last ones say what came of it."""
    if len(lines) <= _MOST_DETAILS:
        return lines
    half = (_MOST_DETAILS - 1) // 2
    return (*lines[:half], f"… {len(lines) - 2 * half} lines are left out …", *lines[-half:])


def _told(text: str) -> str:
    # First what is secret: a half of it would not be known as such.
    return bounded(SECRETS.redact(text))
