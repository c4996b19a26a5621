"""The workflows, the image's recipe and its scripts, as their checkers see them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import yaml

from flyte_deploy.action.inputs import INPUTS
from tests.harness.image import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
BIN = Path(sys.executable).parent


def test_zizmor_finds_nothing() -> None:
    command = [str(BIN / "zizmor"), "--offline", "--persona", "pedantic", ".github/workflows", "action.yml"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "No findings to report" in ran.stdout + ran.stderr


def test_hadolint_finds_nothing() -> None:
    ran = subprocess.run([BIN / "hadolint", ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stdout


def test_every_action_is_pinned_to_a_commit() -> None:
    used = [use for path in WORKFLOWS for use in re.findall(r"uses: (\S+)", path.read_text())]
    assert used
    assert [use for use in used if use != "./" and not re.search(r"@[0-9a-f]{40}$", use)] == []


def test_the_examples_are_deployed_with_inputs_that_exist() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/examples.yml").read_text())["jobs"]
    (step,) = [step for step in jobs["deploy"]["steps"] if step.get("uses") == "./"]
    assert set(step["with"]) <= set(INPUTS)
    for leg in jobs["deploy"]["strategy"]["matrix"]["include"]:
        assert (ROOT / "examples" / leg["example"] / leg["root"]).is_dir()


def test_the_release_finds_what_it_reads_and_writes() -> None:
    release = (ROOT / ".github/workflows/release.yml").read_text()
    assert "s/^ARG BASE=//p" in release
    assert len(re.findall(r"^ARG BASE=\S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)) == 1
    # The one line of action.yml that it rewrites.
    assert "s|^  image: .*|" in release
    assert re.findall(r"^  image: .*$", (ROOT / "action.yml").read_text(), re.MULTILINE) == [
        '  image: "Dockerfile"'
    ]
