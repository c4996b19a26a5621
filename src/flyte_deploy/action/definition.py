"""``action.yml``, made from the table of options: ``python -m flyte_deploy.action.definition``."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator

from flyte_deploy.action.inputs import INPUTS, default_input
from flyte_deploy.action.outputs import OUTPUTS
from flyte_deploy.settings import Option

_FLAG = re.compile(r"--([a-z][a-z0-9-]+)")


def definition(image: str = "Dockerfile") -> str:
    """The file as YAML.

    Args:
        image: what runs: the Dockerfile beside it, or ``docker://HOST/NAME@sha256:…`` of a release.
    """
    return "\n".join(_lines(image)) + "\n"


def description(option: Option) -> str:
    """What an input is for, and what happens where it is left out."""
    text = option.help.replace("PATH", "path")
    text = _FLAG.sub(lambda found: f"`{found[1]}`" if found[1] in INPUTS else found[0], text)
    text = text.replace("May be given several times.", "Several are written in lines.")
    if option.choices:
        text += f" One of: {', '.join(option.choices)}."
    usual = option.action_default_text or option.default_text
    if not usual and not default_input(option) and option.default not in ("", (), False):
        usual = str(option.default)
    if usual and option.name != "working-directory":
        text += f" Default: {usual}."
    return text


def _lines(image: str) -> Iterator[str]:
    yield "# Made by `python -m flyte_deploy.action.definition > action.yml`; a test checks it."
    yield "name: Flyte deploy"
    yield "description: Takes a Flyte 2 project from a commit to registered, runnable tasks."
    yield "branding:"
    yield "  icon: upload-cloud"
    yield "  color: purple"
    yield "inputs:"
    for name, option in INPUTS.items():
        yield f"  {name}:"
        yield f"    description: {json.dumps(description(option))}"
        yield f"    required: {'true' if option.required else 'false'}"
        if not option.required:
            yield f"    default: {json.dumps(default_input(option))}"
    yield "outputs:"
    for name, text in OUTPUTS.items():
        # An expression in a description would be read as one.
        yield f"  {name}:"
        yield f"    description: {json.dumps(text.replace('${{ runner.temp }}', 'runner.temp'))}"
    yield "runs:"
    yield "  using: docker"
    yield f"  image: {json.dumps(image)}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", default="Dockerfile", help="what runs: Dockerfile, or docker://…")
    sys.stdout.write(definition(parser.parse_args().image))
