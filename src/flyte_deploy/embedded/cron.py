"""Which cron expressions the backend takes: those of robfig/cron's standard parser."""

from __future__ import annotations

import re
import zoneinfo

_MONTHS = {
    "jan": 1,
    "feb": 2,
    "mar": 3,
    "apr": 4,
    "may": 5,
    "jun": 6,
    "jul": 7,
    "aug": 8,
    "sep": 9,
    "oct": 10,
    "nov": 11,
    "dec": 12,
}
_DAYS = {"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 6, _DAYS),
)
_DESCRIPTORS = {"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"}
_DURATION = re.compile(r"[-+]?((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))+")


def check_cron(expression: str, timezone: str = "") -> None:
    """Check a cron expression: five fields, or a descriptor such as ``@daily`` or ``@every 2h``.

    The timezone may stand in front of it (``CRON_TZ=Europe/Berlin 0 9 * * *``) or be given apart.

    Raises:
        ValueError: with what is wrong, in words.
    """
    if timezone:
        _check_timezone(timezone)
    elif match := re.match(r"(?:CRON_)?TZ=(\S*)\s+", expression):
        _check_timezone(match[1])
        expression = expression[match.end() :]
    if expression.startswith("@"):
        _check_descriptor(expression)
        return
    parts = expression.split()
    if len(parts) != len(_FIELDS):
        raise ValueError(f"expected exactly 5 fields, found {len(parts)}: {expression!r}")
    for part, (name, lowest, highest, names) in zip(parts, _FIELDS, strict=True):
        for piece in part.split(","):
            _check_range(piece, name, lowest, highest, names)


def _check_descriptor(expression: str) -> None:
    if expression in _DESCRIPTORS:
        return
    keyword, _, duration = expression.partition(" ")
    if keyword != "@every" or not _DURATION.fullmatch(duration):
        raise ValueError(f"unrecognized descriptor: {expression!r}")


def _check_range(piece: str, name: str, lowest: int, highest: int, names: dict[str, int]) -> None:
    span, slash, step = piece.partition("/")
    if slash and (not _decimal(step) or int(step) == 0):
        raise ValueError(f"{name}: not a step: {piece!r}")
    first, dash, last = span.partition("-")
    if first in ("*", "?"):
        return
    numbers = []
    for text in (first, last) if dash else (first,):
        number = names.get(text.lower(), int(text) if _decimal(text) else None)
        if number is None:
            raise ValueError(f"{name}: not a number: {piece!r}")
        if not lowest <= number <= highest:
            raise ValueError(f"{name}: {number} is not between {lowest} and {highest}: {piece!r}")
        numbers.append(number)
    if numbers[0] > numbers[-1]:
        raise ValueError(f"{name}: the range ends before it begins: {piece!r}")


def _decimal(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _check_timezone(name: str) -> None:
    if name in ("", "UTC", "Local"):
        return
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        # A slim image has no time zones at all: then nothing can be said about one.
        if zoneinfo.available_timezones():
            raise ValueError(f"unknown time zone {name!r}") from None
