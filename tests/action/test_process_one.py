"""Process 1: signals, what is left behind, and variables of the workflow that would run code in it."""

from __future__ import annotations

import signal
import time

import pytest

from tests.action.conftest import PYTHON, Job
from tests.engine import Engine
from tests.harness.image import ROOT
from tests.harness.runner import Runner, send
from tests.harness.services import Services

SLOW = """
    import flyte, os, signal, subprocess, sys, time
    {more}
    print("LOADING", flush=True)
    time.sleep(600)
    env = flyte.TaskEnvironment("slow")
"""


def target(services: Services) -> dict[str, str]:
    return {
        "project": "flytesnacks",
        "domain": "development",
        "endpoint": services.endpoint,
        "insecure": "true",
        "python": PYTHON,
    }


def slow(runner: Runner, more: str = "") -> None:
    text = "\n".join(line.removeprefix("    ") for line in SLOW.format(more=more).splitlines())
    (runner.workspace / "flow.py").write_text(text)


def when_loading(engine: Engine, container: str) -> None:
    import subprocess

    for _ in range(600):
        ran = subprocess.run(
            ["docker", "top", container, "-eo", "pid,args"],
            capture_output=True,
            text=True,
            env=engine.environ(),
            check=False,
        )
        if PYTHON in ran.stdout:
            time.sleep(1)
            return
        time.sleep(0.1)
    raise AssertionError("it never came to loading")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it(
    number: signal.Signals, status: int, job: Job, engine: Engine, services_of_job: Services
) -> None:
    runner = job()
    slow(runner)

    def during(container: str) -> None:
        when_loading(engine, container)
        send(engine, container, number)

    step = runner.run(target(services_of_job), during=during)

    assert step.status == status, step.log
    assert ("interrupted" if status == 130 else "terminated") in step.log
    names = [command.name for command in step.commands]
    assert names.count("group") == names.count("endgroup")


def test_it_ends_by_itself_at_the_deadline(job: Job, services_of_job: Services) -> None:
    runner = job()
    slow(runner, "subprocess.Popen(['sleep', '1000'], start_new_session=True)")

    step = runner.run({**target(services_of_job), "deadline": "4"})

    assert step.status == 143, step.log
    assert "deadline of 4 s" in step.annotations("error")[0].message


PLANTED = {
    "PYTHONPATH": "/github/workspace/planted",
    "PYTHONSTARTUP": "/github/workspace/planted/json.py",
    "PYTHONHOME": "/github/workspace/planted",
    "BASH_ENV": "/github/workspace/planted/bash_env",
    "ENV": "/github/workspace/planted/bash_env",
    "LD_PRELOAD": "/github/workspace/planted/preload.so",
    "LD_LIBRARY_PATH": "/github/workspace/planted",
    "GIT_SSH_COMMAND": "/github/workspace/planted/bash_env",
    "PATH": "/github/workspace/planted:/usr/bin:/bin",
}


@pytest.fixture
def planted(job: Job) -> Runner:
    """A checkout whose files say so when they are run."""
    runner = job(ROOT / "examples" / "single_file")
    folder = runner.workspace / "planted"
    folder.mkdir()
    for module in ("json.py", "sitecustomize.py", "usercustomize.py", "flyte_deploy.py", "click.py"):
        (folder / module).write_text("print('PLANTED ran')\n")
    (folder / "bash_env").write_text("#!/bin/bash\necho PLANTED ran\n")
    (folder / "preload.so").write_text("no library\n")
    for program in ("git", "python3", "docker", "uv", "env", "bash"):
        (folder / program).write_text("#!/bin/sh\necho PLANTED ran\n")
        (folder / program).chmod(0o755)
    for module in ("json.py", "click.py"):
        (runner.workspace / module).write_text("print('PLANTED ran')\n")
    return runner


def test_variables_of_the_workflow_run_nothing_in_it(planted: Runner, services_of_job: Services) -> None:
    step = planted.run({**target(services_of_job), "path": "weather.py", "all": "true"}, env=PLANTED)
    assert step.status == 0, step.log
    assert "PLANTED" not in step.log
    # The loader complains of a library that it cannot preload.
    assert "preload" not in step.log


@pytest.mark.parametrize(
    ("entrypoint", "arguments", "seen"),
    [
        ("/bin/bash", ("-c", ":"), "cannot be preloaded"),
        ("/bin/bash", ("-c", ":"), "PLANTED ran"),
        ("/usr/local/bin/python3", ("-c", "import json"), "PLANTED ran"),
    ],
)
def test_the_control_does_run_them(
    planted: Runner, engine: Engine, entrypoint: str, arguments: tuple[str, ...], seen: str
) -> None:
    import subprocess

    variables = {name: value for name, value in PLANTED.items() if name not in {"PYTHONHOME", "PATH"}}
    ran = subprocess.run(
        [
            *("docker", "run", "--rm", "-v", f"{planted.workspace}:/github/workspace"),
            *(part for name, value in variables.items() for part in ("-e", f"{name}={value}")),
            *("--entrypoint", entrypoint, planted.image, *arguments),
        ],
        env=engine.environ(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert seen in ran.stdout + ran.stderr


def test_the_image_has_no_setuid_program_and_all_that_it_needs(image: str, engine: Engine) -> None:
    def inside(script: str) -> str:
        return engine.docker("run", "--rm", "--entrypoint", "/bin/bash", image, "-c", script)

    assert inside("find / -xdev -perm /6000 -type f") == ""
    versions = inside("docker --version; docker buildx version; uv --version; git --version")
    assert [line.split()[0] for line in versions.splitlines()] == [
        "Docker",
        "github.com/docker/buildx",
        "uv",
        "git",
    ]
    assert inside("find /opt -perm /022 ! -type l | head -3") == ""
