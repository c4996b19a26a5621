"""The workflows, the image's recipe and its scripts, as their checkers see them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flyte_deploy.action.inputs import INPUTS
from tests.harness.image import ROOT
from tests.harness.log import file_command

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
    # The one line of action.yml that it rewrites.
    assert "s|^  image: .*|" in release
    assert re.findall(r"^  image: .*$", (ROOT / "action.yml").read_text(), re.MULTILINE) == [
        '  image: "Dockerfile"'
    ]


DIGEST = f"sha256:{'5' * 64}"
DOCKER = f"""#!/bin/bash
printf '%s\\n' "$@" >>"$CALLS"
if [[ $1 == buildx && $2 == imagetools ]]; then echo '"{DIGEST}"'; fi
"""


def test_the_release_is_built_of_digests_by_a_builder_that_knows_zstd(tmp_path: Path) -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]
    (look,) = [step for step in jobs["check"]["steps"] if step.get("id") == "images"]
    steps = jobs["image"]["steps"]
    (number,) = [number for number, step in enumerate(steps) if step.get("name") == "Build and push"]
    assert any(
        step.get("uses", "").startswith("docker/setup-buildx-action@")
        and step["with"] == {"driver": "docker-container"}
        for step in steps[:number]
    )
    program, calls, output = tmp_path / "docker", tmp_path / "calls", tmp_path / "output"
    program.write_text(DOCKER)
    program.chmod(0o755)

    def run(step: dict[str, str], **more: str) -> None:
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "CALLS": str(calls), "GITHUB_OUTPUT": str(output)}
        environment |= more
        subprocess.run(["bash", "-e", "-c", step["run"]], cwd=ROOT, env=environment, check=True)

    run(look)
    images = file_command(output.read_text())["images"]
    run(
        steps[number], IMAGES=images, COMPRESSION="compression=zstd", IMAGE="x", VERSION="1", ARCHITECTURE="y"
    )

    # All that the image is made of, and nothing by its tag alone.
    dockerfile = (ROOT / "Dockerfile").read_text()
    declared = re.findall(r"^ARG (\w+)=(\S+)$", dockerfile, re.MULTILINE)
    stages = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    assert {f"${{{name}}}" for name, _ in declared} == set(stages)
    given = {line for line in calls.read_text().splitlines() if line.startswith("--build-arg=")}
    assert given == {f"--build-arg={name}={image}@{DIGEST}" for name, image in declared}


@pytest.mark.parametrize("platform", ["aarch64-unknown-linux-gnu", "x86_64-unknown-linux-gnu"])
def test_every_pin_has_a_wheel_for_both_architectures(platform: str, tmp_path: Path) -> None:
    command = [
        *(str(BIN / "uv"), "pip", "install", "--dry-run", "--no-deps", "--require-hashes"),
        *("--only-binary", ":all:", "--python-platform", platform, "--python-version", "3.13"),
        *("--target", str(tmp_path / "none"), "-r", str(ROOT / "requirements" / "runtime.txt")),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    # The control plane's channel and what it is checked with are compiled.
    assert {"grpcio", "protobuf"} <= set(re.findall(r"^ \+ ([\w-]+)==", ran.stderr, re.MULTILINE))
