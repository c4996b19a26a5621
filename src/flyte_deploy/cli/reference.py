"""The reference of commands and settings, made from the table: ``python -m flyte_deploy.cli.reference``."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from flyte_deploy.cli import group
from flyte_deploy.cli.commands import default_of, flags_of
from flyte_deploy.config_file import SEARCHED
from flyte_deploy.settings import OPTIONS, Option

_STATUS = (
    ("0", "Done; also when there was nothing to do."),
    ("1", "Failed. What was registered is listed, and the same command completes it."),
    ("2", "Wrong usage or bad input; nothing was written."),
    ("3", "`plan --detailed-exitcode`: a deploy would change something."),
    ("130", "Interrupted by Ctrl-C."),
    ("143", "Interrupted by SIGTERM."),
)


def reference() -> str:
    """The page as Markdown."""
    return "\n".join(_page()) + "\n"


def _page() -> Iterator[str]:
    yield "# Commands and settings"
    yield ""
    yield "<!-- Made by `python -m flyte_deploy.cli.reference > docs/reference.md`; a test checks it. -->"
    yield ""
    yield "## Commands"
    yield ""
    for name, command in group.commands.items():
        usage = (
            " PATH [ENV ...]" if any(each.param_type_name == "argument" for each in command.params) else ""
        )
        yield f"- `flyte-deploy {name}{usage}`: {(command.help or '').splitlines()[0]}"
    yield "- `flyte-deploy --version`: the version of flyte-deploy itself."
    yield ""
    yield "`-h` explains each of them. Without `--all` and `--recursive` the first argument is a Python file"
    yield "and the others are environments in it; with one of them every argument is a path."
    yield ""
    yield "## Exit status"
    yield ""
    yield "| Status | Meaning |"
    yield "|---|---|"
    for status, meaning in _STATUS:
        yield f"| {status} | {meaning} |"
    yield ""
    yield "## Where a setting comes from"
    yield ""
    yield "First wins: the flag; the variable `FLYTE_DEPLOY_*`; the variables of Flyte's SDK; Flyte's"
    yield "`config.yaml`; the default. An empty variable counts as not set, an empty flag does not:"
    yield '`--endpoint ""` works offline although the configuration names an endpoint. A variable or a key'
    yield "that switches something says `true` or `false`. Images add up: of two that have one name the"
    yield "earlier source wins. In a variable several images and environments are separated by spaces,"
    yield "commas or lines, several paths by lines. `flyte-deploy plan --show-settings` prints each value"
    yield "and where it came from."
    yield ""
    yield "`config.yaml` is the file that `--config` names, or the first of:"
    yield ""
    for number, place in enumerate(SEARCHED, 1):
        yield f"{number}. {_cell(place)}"
    yield ""
    yield "## Settings"
    for section in dict.fromkeys(option.section for option in OPTIONS):
        yield ""
        yield f"### {section}"
        for option in OPTIONS:
            if option.section == section:
                yield ""
                yield from _option(option)


def _option(option: Option) -> Iterator[str]:
    metavar = "|".join(option.choices) or option.metavar
    names = [option.flag] if option.argument else flags_of(option)
    title = ", ".join(f"`{name}`" for name in names)
    yield f"#### {title}{f' `{metavar}`' if metavar else ''}"
    yield ""
    yield _cell(option.help)
    yield ""
    if default := default_of(option):
        yield f"- Default: {_cell(default)}"
    yield "- Environment: " + ", ".join(f"`{name}`" for name in (option.variable, *option.variables))
    if option.config_key:
        yield f"- `config.yaml`: `{option.config_key}`"
    yield "- Commands: " + ", ".join(f"`{name}`" for name in option.commands)


def _cell(text: str) -> str:
    return text.replace("<", "&lt;")


if __name__ == "__main__":
    sys.stdout.write(reference())
