"""What docs/backends.md says of the control plane is what the table of options has."""

from __future__ import annotations

import re

import yaml

from flyte_deploy.settings import OPTIONS
from tests.harness.image import ROOT

PAGE = (ROOT / "docs" / "backends.md").read_text()
FLAGS = {flag for option in OPTIONS for flag in (option.flag, *option.other)}


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
