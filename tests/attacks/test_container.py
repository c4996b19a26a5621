"""The same attacks in the action's container, started as GitHub's runner starts it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.action.conftest import image, services_of_job
from tests.attacks.scene import (
    CERTIFICATE,
    CONTROL,
    PROJECT,
    WORD,
    Attempt,
    attempts,
    open_sockets,
    plant_checkout,
    plant_runner,
)
from tests.attacks.test_attacks import DENIALS, HELD, UNCONTROLLED
from tests.engine import Engine
from tests.harness.runner import Runner, Step
from tests.harness.services import Services
from tests.harness.tree import tree_digest
from tests.report.render import Page

__all__ = ["image", "services_of_job"]

ELSEWHERE = {"setuid_program"}
"""The image has none, which a test of its own says."""


@dataclass(frozen=True)
class Attacked:
    """A job whose checkout attacks, before and after its step."""

    runner: Runner
    step: Step
    mounts: list[str]
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
        plant_checkout(runner.workspace, PROJECT, {"ca.pem": f"{CERTIFICATE}{WORD}\n"})
        runner.own()
        before = _digests(runner)
        sockets, token = folder / "sockets", folder / "token"
        sockets.mkdir()
        token.write_text(WORD)
        _, _, *others = runner.mounts()
        mounts = [
            *others,
            *("-v", f"{sockets}/docker.sock:/var/run/docker.sock"),
            *("-v", f"{sockets}/datagrams.sock:/var/run/datagrams.sock"),
            *("-v", f"{token}:/srv/token:ro", "-v", f"{token}:/etc/npmrc:ro"),
        ]
        with open_sockets(sockets):
            step = runner.run(
                services_of_job.inputs,
                env={
                    "DEPLOYER_TOKEN": WORD,
                    "LD_PRELOAD": "/github/workspace/none.so",
                    "CURL_CA_BUNDLE": str(runner.workspace / "ca.pem"),
                },
                mounts=mounts,
                options=["--tmpfs", "/secrets/x"],
                during=lambda container: _plant_in_tmpfs(engine, container),
            )
            mounts += ["-v", f"{token}:/secrets/x/token"]
            yield Attacked(runner, step, mounts, before, _digests(runner))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _plant_in_tmpfs(engine: Engine, container: str) -> None:
    script = f"umask 022; echo {WORD} >/secrets/x/token"
    for _ in range(100):
        done = subprocess.run(
            ["docker", "exec", container, "/bin/bash", "-c", script],
            env=engine.environ(),
            capture_output=True,
            check=False,
        )
        if done.returncode == 0:
            return
        time.sleep(0.1)


@pytest.fixture(scope="module")
def controlled(attacked: Attacked, engine: Engine) -> dict[str, Attempt]:
    """The same probes in the same container as root, below a process 1 that holds the secret.

    The engine keeps some calls even from root, unless it is told not to.
    """
    python = "/usr/local/bin/python3"
    ran = subprocess.run(
        [
            *(
                "docker",
                "run",
                "--rm",
                *attacked.mounts,
                "-v",
                f"{CONTROL}:/control.py",
                "-e",
                f"TOKEN={WORD}",
            ),
            *("-e", "CURL_CA_BUNDLE=/github/workspace/ca.pem", "--cap-add", "NET_ADMIN"),
            *("--security-opt", "seccomp=unconfined", "--entrypoint", python, attacked.runner.image),
            *("/control.py", WORD, python, "/github/workspace/probes.py"),
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
    assert name not in HELD or WORD in attempt.got


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
    token = [f"{inside['home']}/notes"]
    folder = Path(tempfile.mkdtemp(prefix="flyte-deploy-runner-"))
    try:
        runner = Runner(
            engine,
            image,
            folder,
            network=services_of_job.network,
            inside=inside,
            unset=(
                "ACTIONS_RUNTIME_TOKEN",
                "ACTIONS_RUNTIME_URL",
                "ACTIONS_RESULTS_URL",
                "ACTIONS_CACHE_URL",
            ),
        )
        plant_runner(runner.paths)
        plant_checkout(runner.workspace, PROJECT, {})
        runner.own()
        before = _digests(runner)
        step = runner.run(
            {
                **services_of_job.inputs,
                "if-stale": "deploy",
                "pass-env": "ATTACK_PLACES",
            },
            env={"DEPLOYER_TOKEN": WORD, "ATTACK_PLACES": json.dumps({**places, "secrets": token})},
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

def work(x: str = text) -> int:
    return 1
work.__doc__ = text
work = env.task(short_name=text)(work)

@env.task
def other(x: int) -> int:
    raise ValueError(text)
"""
    broken = f"raise ValueError({HOSTILE!r})\n"
    # The SDK refuses such names; nothing keeps code from giving them afterwards.
    names = f"""
import flyte
text = {HOSTILE!r}
env = flyte.TaskEnvironment(name="hostile", image="registry.example/team/image:1")
object.__setattr__(env, "name", text)

@env.task
def work(x: int) -> int:
    return 1

other = flyte.TaskEnvironment(name="other", image="registry.example/team/image:1", depends_on=[env])

@other.task
def named(x: int) -> int:
    return 1
object.__setattr__(named, "name", text + "other")
"""
    folder = Path(tempfile.mkdtemp(prefix="flyte-deploy-runner-"))
    try:
        runner = Runner(engine, image, folder, network=services_of_job.network)
        plant_checkout(runner.workspace, None, {"flow.py": flow, "broken.py": broken, "n/names.py": names})
        runner.own()
        target = services_of_job.inputs
        step = runner.run(
            {**target, "path": "flow.py\nbroken.py", "all": "true", "ignore-load-errors": "true"}
        )
        failed = runner.run({**target, "path": "flow.py\nbroken.py", "all": "true"})
        named = runner.run({**target, "path": "n/names.py", "all": "true"})
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert step.status == 0, step.log
    assert failed.status == 1
    # Whatever becomes of such names, they are told.
    assert "forged" in named.log
    for one in (step, failed, named):
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
        page = Page(one.summary)
        assert page.problems == []
        assert "img" not in page.tags
        console = f"http://{services_of_job.endpoint}/v2/domain/development/project/flytesnacks/tasks"
        assert not [link for link in page.links if not link.startswith("https://") and link != console]
        assert "@octocat" not in page.outside
        assert "\x1b" not in one.summary
        assert one.environment == {}
        assert "forged" not in one.outputs
