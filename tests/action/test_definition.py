"""action.yml is the table of options, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields

import pytest
import yaml

from flyte_deploy.action.definition import definition
from flyte_deploy.action.inputs import INPUTS, given_inputs
from flyte_deploy.action.outputs import OUTPUTS
from flyte_deploy.settings import OPTIONS, Settings, options_of
from tests.harness.image import ROOT

DECLARED = yaml.safe_load((ROOT / "action.yml").read_text())


def test_the_file_is_in_step_with_the_table() -> None:
    again = "python -m flyte_deploy.action.definition > action.yml"
    assert (ROOT / "action.yml").read_text() == definition(), f"run: {again}"


def test_it_fits_its_schema() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-actions"]
    subprocess.run([*command, str(ROOT / "action.yml")], check=True, capture_output=True)


def test_inputs_and_flags_are_one_table() -> None:
    assert list(DECLARED["inputs"]) == list(INPUTS)
    flags = {option.name for option in options_of("deploy")}
    # What is about a terminal, and what is about the workspace and the runner.
    assert flags - set(INPUTS) == {"output-format", "verbose"}
    own = {option.name for option in OPTIONS if option.commands == ("action",)}
    assert set(INPUTS) - flags == own
    known = {field.name for field in fields(Settings)}
    assert {name for name in own if INPUTS[name].field not in known} == {"working-directory", "deadline"}


def test_required_are_the_issue_s() -> None:
    assert [name for name, one in DECLARED["inputs"].items() if one["required"]] == ["project"]


def test_every_output_is_declared() -> None:
    assert list(DECLARED["outputs"]) == list(OUTPUTS)


def test_what_the_runner_fills_in_says_nothing() -> None:
    defaults = {
        f"INPUT_{name.upper()}": one["default"]
        for name, one in DECLARED["inputs"].items()
        if "default" in one
    }
    assert given_inputs(defaults) == {}


@pytest.mark.parametrize("name", INPUTS)
def test_every_input_is_described_without_flags_of_the_command_line(name: str) -> None:
    text = DECLARED["inputs"][name]["description"]
    assert len(text) >= 20
    assert not any(f"--{flag}" in text for flag in INPUTS)
    assert text.endswith(".")


def test_a_release_runs_an_image_by_its_digest() -> None:
    image = f"docker://registry.example/octo/flyte-deploy-action@sha256:{'0' * 64}"
    assert yaml.safe_load(definition(image))["runs"] == {"using": "docker", "image": image}
