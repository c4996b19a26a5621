"""What docs/backends.md says to copy is what the command line and the workflows understand."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flyte_deploy.settings import OPTIONS
from tests.harness.image import ROOT

PAGE = (ROOT / "docs" / "backends.md").read_text()
FLAGS = {flag for option in OPTIONS for flag in (option.flag, *option.other)}
COMMANDS = re.findall(
    r"flyte-deploy deploy (.*?)(?=\n\s*\n|\n      - |\n        env|```|\Z)", PAGE, re.DOTALL
)


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 6


def test_the_workflows_fit_their_schema(tmp_path: Path) -> None:
    whole = [
        block for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if block.startswith("name:")
    ]
    assert len(whole) == 5
    for number, text in enumerate(whole):
        path = tmp_path / f"{number}.yml"
        path.write_text(text)
        schema = ["-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(path)]
        subprocess.run([sys.executable, *schema], check=True, capture_output=True)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_of_a_command_is_one(command: str) -> None:
    flags = [word for word in shlex.split(command) if word.startswith("--")]
    assert flags
    assert set(flags) <= FLAGS


def test_every_flag_of_the_text_is_one() -> None:
    section = PAGE.partition("## The control plane")[2]
    named = set(re.findall(r"`(--[a-z-]+)", section))
    assert {"--api-key", "--ca-cert", "--http-proxy"} <= named <= FLAGS


def test_the_keys_of_config_yaml_are_those_of_the_table() -> None:
    keys = {option.config_key for option in OPTIONS}
    assert {f"admin.{name}" for name in re.findall(r"`admin\.(\w+)`", PAGE)} <= keys
    (example,) = [
        block for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if block.startswith("admin:")
    ]
    assert {f"admin.{name}" for name in yaml.safe_load(example)["admin"]} <= keys
