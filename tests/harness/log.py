"""What the runner makes of a step's output, and of the files that it leaves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_PROPERTY = re.compile(r"(\w+)=([^,]*)")
_V2 = re.compile(r"^\s*::(?P<name>[A-Za-z-]+)(?: (?P<properties>[^:]*(?:=[^:]*)?))?::(?P<data>.*)$")
_V1 = re.compile(r"##\[(?P<name>[A-Za-z-]+)(?: (?P<properties>[^\]]*))?\](?P<data>.*)$")


@dataclass(frozen=True)
class Command:
    """A workflow command that the runner recognizes in a line."""

    name: str
    message: str
    properties: Mapping[str, str]


def lines_of(output: str) -> list[str]:
    """The lines as the runner sees them: a bare carriage return ends one too."""
    return re.split(r"\r\n|\n|\r", output)


def commands_of(output: str) -> list[Command]:
    """Every workflow command of an output: ``::name::`` after leading blanks, ``##[name]`` anywhere."""
    found = []
    for line in lines_of(output):
        match = _V2.match(line) or _V1.search(line)
        if match is None:
            continue
        properties = {
            key: _unescape(value, ":,") for key, value in _PROPERTY.findall(match["properties"] or "")
        }
        found.append(Command(match["name"], _unescape(match["data"]), properties))
    return found


def masked(output: str, commands: list[Command]) -> str:
    """What a reader of the log sees: masked values as ``***``, commands not at all."""
    shown = "\n".join(line for line in lines_of(output) if not _V2.match(line))
    for command in commands:
        if command.name == "add-mask" and command.message:
            shown = shown.replace(command.message, "***")
    return shown


def file_command(text: str) -> dict[str, str]:
    """The values of a file such as GITHUB_OUTPUT, read as the runner reads it.

    Raises:
        AssertionError: for what the runner refuses.
    """
    values: dict[str, str] = {}
    lines = iter(text.split("\n")[:-1] if text.endswith("\n") else text.split("\n"))
    for line in lines:
        if not line:
            continue
        equals, heredoc = line.find("="), line.find("<<")
        if equals >= 0 and (heredoc < 0 or equals < heredoc):
            values[line[:equals]] = line[equals + 1 :]
            continue
        assert heredoc >= 0, f"invalid format {line!r}"
        name, delimiter = line[:heredoc], line[heredoc + 2 :]
        value = []
        for following in lines:
            if following == delimiter:
                break
            value.append(following)
        else:
            raise AssertionError(f"matching delimiter not found {delimiter!r}")
        values[name] = "\n".join(value)
    return values


def _unescape(text: str, more: str = "") -> str:
    for character in f"\r\n{more}%":
        text = text.replace(f"%{ord(character):02X}", character)
    return text
