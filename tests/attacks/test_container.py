"""The same attacks in the action's container, started as GitHub's runner starts it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.action.conftest import image, services_of_job
from tests.attacks.scene import PROJECT, WORD, Attempt, attempts, plant_checkout, plant_runner
from tests.attacks.test_attacks import DENIALS, UNCONTROLLED
from tests.engine import Engine
from tests.harness.runner import Runner, Step
from tests.harness.services import Services
from tests.harness.tree import tree_digest

__all__ = ["image", "services_of_job"]

# Nothing listens there in a container.
ELSEWHERE = {"abstract_socket", "loopback", "datagram", "inherited_descriptors"}


@dataclass(frozen=True)
class Attacked:
    """A job whose checkout attacks, before and after its step."""

    runner: Runner
    step: Step
    before: dict[str, dict[str, str]]
    after: dict[str, dict[str, str]]

    @property
    def attempts(self) -> dict[str, Attempt]:
        return attempts(self.step.log.splitlines())


def _digests(runner: Runner) -> dict[str, dict[str, str]]:
    return {name: tree_digest(runner.paths[name]) for name in ("workspace", "home")}


@pytest.fixture(scope="module")
def attacked(engine: Engine, image: str, services_of_job: Services) -> Iterator[Attacked]:
    folder = Path(tempfile.mkdtemp(prefix="flyte-deploy-runner-"))
    try:
        runner = Runner(engine, image, folder, network=services_of_job.network)
        plant_runner(runner.paths)
        plant_checkout(runner.workspace, PROJECT, {})
        runner.own()
        before = _digests(runner)
        step = runner.run(
            {
                "project": "flytesnacks",
                "domain": "development",
                "endpoint": services_of_job.endpoint,
                "insecure": "true",
            },
            env={"DEPLOYER_TOKEN": WORD, "LD_PRELOAD": "/github/workspace/none.so"},
        )
        yield Attacked(runner, step, before, _digests(runner))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def controlled(attacked: Attacked, engine: Engine) -> dict[str, Attempt]:
    """The same probes in the same container as root, below a process 1 that holds the secret."""
    mounts = attacked.runner.mounts()
    code = (
        "import subprocess, sys; held = sys.argv[1] * 3;"
        " sys.exit(subprocess.call([sys.executable, '/github/workspace/probes.py']))"
    )
    ran = subprocess.run(
        [
            *("docker", "run", "--rm", *mounts, "-e", f"TOKEN={WORD}", "-e", 'ATTACK_PLACES={"victim": 1}'),
            *("--entrypoint", "/usr/local/bin/python3", attacked.runner.image, "-c", code, WORD),
        ],
        env=engine.environ(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    return attempts(ran.stdout.splitlines())


@pytest.mark.parametrize("name", sorted(DENIALS))
def test_is_denied(attacked: Attacked, name: str) -> None:
    assert attacked.step.status == 0, attacked.step.log
    attempt = attacked.attempts[name]
    assert attempt.got == ""
    assert re.search(DENIALS[name], attempt.denied), attempt.denied


@pytest.mark.parametrize("name", sorted(set(DENIALS) - UNCONTROLLED - ELSEWHERE))
def test_succeeds_as_root(controlled: dict[str, Attempt], name: str) -> None:
    attempt = controlled[name]
    assert attempt.denied == ""


def test_nothing_of_the_job_has_changed(attacked: Attacked) -> None:
    assert attacked.before == attacked.after
    assert attacked.step.environment == {}
    assert "forged" not in attacked.step.outputs
    assert "forged" not in attacked.step.summary


def test_other_places_of_the_mounts_hold_too(engine: Engine, image: str, services_of_job: Services) -> None:
    """Another runner of the same workflows: folders right below the root, HOME that of root, no token."""
    inside = {
        "runner_temp": "/temp",
        "home": "/root",
        "workflow": "/workflow",
        "file_commands": "/commands",
        "workspace": "/home/mona/flows",
    }
    places = {name: inside[name] for name in ("home", "workspace")}
    places |= {"temp": inside["runner_temp"], "commands": inside["file_commands"]}
    folder = Path(tempfile.mkdtemp(prefix="flyte-deploy-runner-"))
    try:
        runner = Runner(engine, image, folder, network=services_of_job.network, inside=inside)
        plant_runner(runner.paths)
        plant_checkout(runner.workspace, PROJECT, {})
        runner.own()
        before = _digests(runner)
        step = runner.run(
            {
                "project": "flytesnacks",
                "domain": "development",
                "endpoint": services_of_job.endpoint,
                "insecure": "true",
                "if-stale": "deploy",
                "pass-env": "ATTACK_PLACES",
            },
            env={"DEPLOYER_TOKEN": WORD, "ATTACK_PLACES": json.dumps(places)},
        )
        after = _digests(runner)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert step.status == 0, step.log
    assert step.outputs["registered"] != ""
    # It said nothing of a mount that is within reach.
    assert step.annotations("warning") == []
    found = attempts(step.log.splitlines())
    assert set(found) == set(DENIALS)
    for name, attempt in found.items():
        assert attempt.got == "", name
        assert re.search(DENIALS[name], attempt.denied), (name, attempt.denied)
    assert after == before


HOSTILE = (
    "x\n::set-output name=forged::yes\r::error::forged\r\n##[add-mask]innocent %0A::warning::forged"
    " ::stop-commands::abc <img src=x onerror=1> [a](javascript:1) @octocat | `x` \x1b[2J\x1b]0;title\x07"
    " \u202e\u2028::notice::forged"
)


def test_names_and_texts_of_the_code_act_on_nothing(
    engine: Engine, image: str, services_of_job: Services
) -> None:
    flow = f"""
import sys
import flyte
text = {HOSTILE!r}
print(text)
print(text, file=sys.stderr)
env = flyte.TaskEnvironment(name="hostile", description=text, image="registry.example/team/image:1")

@env.task(short_name=text)
def work(x: str = text) -> int:
    return 1
work.__doc__ = text

@env.task
def other(x: int) -> int:
    raise ValueError(text)
"""
    broken = f"raise ValueError({HOSTILE!r})\n"
    folder = Path(tempfile.mkdtemp(prefix="flyte-deploy-runner-"))
    try:
        runner = Runner(engine, image, folder, network=services_of_job.network)
        plant_checkout(runner.workspace, None, {"flow.py": flow, "broken.py": broken})
        runner.own()
        target = {
            "project": "flytesnacks",
            "domain": "development",
            "endpoint": services_of_job.endpoint,
            "insecure": "true",
        }
        step = runner.run({**target, "ignore-load-errors": "true"})
        failed = runner.run(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert step.status == 0, step.log
    assert failed.status == 1
    for one in (step, failed):
        assert {command.name for command in one.commands} <= {
            "add-mask",
            "group",
            "endgroup",
            "error",
            "warning",
        }
        masks = [command.message for command in one.commands if command.name == "add-mask"]
        assert "innocent" not in " ".join(masks)
        assert not any(command.message == "forged" for command in one.commands)
        assert "\x1b" not in one.log
        assert "\u202e" not in one.log
        for raw in ("<img", "](javascript", "\x1b"):
            assert raw not in "\n".join(line for line in one.summary.splitlines() if line[:4] != "    ")
        assert one.environment == {}
    assert "forged" not in step.outputs
