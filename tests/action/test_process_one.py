"""Process 1: signals, what is left behind, and variables of the workflow that would run code in it."""

from __future__ import annotations

import signal
import subprocess
import time
import uuid
from collections.abc import Iterator

import pytest

from tests.action.conftest import Job, target
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


def slow(runner: Runner, more: str = "") -> None:
    text = "\n".join(line.removeprefix("    ") for line in SLOW.format(more=more).splitlines())
    (runner.workspace / "flow.py").write_text(text)


def when_begun(engine: Engine, container: str, title: str) -> None:
    """Wait until a step of the pipeline has begun."""
    for _ in range(1200):
        ran = subprocess.run(
            ["docker", "logs", container],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=engine.environ(),
            check=False,
        )
        if f"::group::{title}" in ran.stdout:
            time.sleep(1)
            return
        time.sleep(0.1)
    raise AssertionError(f"it never came to {title}:\n{ran.stdout}")


BACKEND = "import time\ndef build_editable(*a): time.sleep(600)\n"
PYPROJECT = """
[project]
name = "flows"
version = "1"
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
FAST = """
import flyte
env = flyte.TaskEnvironment("env", image="registry.example/team/image:1")

@env.task
def work(x: int) -> int:
    return x
"""
VERIFIED = f"""
import time
if not __file__.startswith("/var/lib/flyte-deploy/checkout/"):
    time.sleep(600)
{FAST}
"""
BUILT = FAST.replace(
    'image="registry.example/team/image:1"',
    'image=flyte.Image.from_base("python:3.13-slim-trixie").clone(name="slow", extendable=True)'
    '.with_commands(["sleep 60123"])',
)
STEPS: dict[str, tuple[str, dict[str, str], dict[str, str]]] = {
    "install": (
        "Installing the project",
        {"flow.py": FAST, "pyproject.toml": PYPROJECT, "backend.py": BACKEND},
        {"python": ""},
    ),
    "load": ("Loading the code", {"flow.py": "import time; time.sleep(600)\n"}, {}),
    "verify": ("Loading 1 tasks from the bundle alone", {"flow.py": VERIFIED}, {}),
    "build": (
        "Building 1 images",
        {"flow.py": BUILT},
        {"registry": "registry:5000/slow", "insecure-registry": "registry:5000"},
    ),
    # It waits for an endpoint that accepts connections and says nothing.
    "compare": ("Identifying the content", {"flow.py": FAST}, {"endpoint": "silent:8090"}),
    "stage": ("Copying the checkout", {"flow.py": FAST, "many/0": ""}, {}),
    "upload": (
        "Uploading the bundle to s3://flows/bundles",
        {"flow.py": FAST},
        {"bundle-store": "s3://flows/bundles", "s3-endpoint": "http://silent:8091"},
    ),
}
MANY = 60_000
"""Files whose copying takes longer than a signal to come."""

SILENT = """
import http.server, socket, time

class Store(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_response(404 if self.path.strip("/").count("/") else 200)
        self.end_headers()

    def do_GET(self):
        self.send_error(404)

    def do_PUT(self):
        time.sleep(3600)

    do_POST = do_PUT

control_plane = socket.create_server(("", 8090))
http.server.ThreadingHTTPServer(("", 8091), Store).serve_forever()
"""


@pytest.fixture
def silent(engine: Engine, image: str, services_of_job: Services) -> Iterator[None]:
    """A control plane that nobody gets an answer from, and a store that takes an upload and says nothing."""
    container = engine.docker(
        *("run", "-d", "--init", "--network", services_of_job.network, "--network-alias", "silent"),
        *("--entrypoint", "/usr/local/bin/python3", image, "-c", SILENT),
    ).strip()
    yield
    engine.docker("rm", "--force", container)


def running_like(word: str) -> list[str]:
    lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in lines.splitlines() if word in line]


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.usefixtures("silent")
def test_a_signal_ends_it(
    step: str, number: signal.Signals, status: int, job: Job, engine: Engine, services_of_job: Services
) -> None:
    title, files, inputs = STEPS[step]
    runner = job()
    for name, text in files.items():
        (runner.workspace / name).parent.mkdir(exist_ok=True)
        (runner.workspace / name).write_text(text)
    if step == "stage":
        for one in range(1, MANY):
            (runner.workspace / f"many/{one}").hardlink_to(runner.workspace / "many/0")

    def during(container: str) -> None:
        when_begun(engine, container, title)
        send(engine, container, number)

    keys = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "a-secret-of-somebody"}
    ended = runner.run({**target(services_of_job), **inputs}, env=keys, during=during)

    assert ended.status == status, ended.log
    assert ("interrupted" if status == 130 else "terminated") in ended.log
    if step != "compare":
        assert ended.groups[-1].startswith(title)
    names = [command.name for command in ended.commands]
    assert names.count("group") == names.count("endgroup")
    assert running_like("sleep 60123") == []


def test_it_ends_by_itself_at_the_deadline(job: Job, services_of_job: Services) -> None:
    runner = job()
    slow(runner, "subprocess.Popen(['sleep', '1000'], start_new_session=True)")

    step = runner.run({**target(services_of_job), "deadline": "4"})

    assert step.status == 143, step.log
    assert "deadline of 4 s" in step.annotations("error")[0].message


STUBBORN = """
import signal, subprocess, sys, time
from flyte_deploy.action.supervise import supervise

def work():
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    subprocess.Popen(["/bin/sleep", "60321"], start_new_session=True)
    print("AT WORK", flush=True)
    while True:
        time.sleep(600)

sys.exit(supervise(work, 3600, grace=3))
"""


def test_it_ends_by_itself_where_the_runner_has_given_up(engine: Engine, image: str) -> None:
    name = f"stubborn_{uuid.uuid4().hex}"
    python = ("--entrypoint", "/opt/flyte-deploy/bin/python", image, "-I", "-c", STUBBORN)
    with subprocess.Popen(
        ["docker", "run", "--name", name, *python],
        env=engine.environ(),
        stdout=subprocess.PIPE,
        text=True,
    ) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "AT WORK\n"
        # What the runner does, in less time: after these two it ends Docker's client and leaves.
        send(engine, name, signal.SIGINT)
        send(engine, name, signal.SIGTERM)
        client.kill()
    assert running_like("sleep 60321") != []

    assert engine.docker("wait", name).strip() == "137"

    engine.docker("rm", name)
    assert running_like("sleep 60321") == []


PLANTED = {
    "PYTHONPATH": "/github/workspace/planted",
    "PYTHONSTARTUP": "/github/workspace/planted/json.py",
    "PYTHONHOME": "/github/workspace/planted",
    "BASH_ENV": "/github/workspace/planted/bash_env",
    "ENV": "/github/workspace/planted/bash_env",
    "LD_PRELOAD": "/github/workspace/planted/preload.so",
    "LD_LIBRARY_PATH": "/github/workspace/planted",
    "LD_TRACE_LOADED_OBJECTS": "1",
    "LD_SHOW_AUXV": "1",
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
    assert step.outputs["registered"] != ""
    # The loader complains of a library that it cannot preload, and shows what it is asked to show.
    assert "preload" not in step.log
    assert "AT_PAGESZ" not in step.log


@pytest.mark.parametrize(
    ("entrypoint", "arguments", "without", "seen"),
    [
        ("/bin/bash", ("-c", ":"), "LD_TRACE_LOADED_OBJECTS", "cannot be preloaded"),
        ("/bin/bash", ("-c", ":"), "LD_TRACE_LOADED_OBJECTS", "AT_PAGESZ"),
        ("/bin/bash", ("-c", ":"), "LD_TRACE_LOADED_OBJECTS", "PLANTED ran"),
        ("/usr/local/bin/python3", ("-c", "import json"), "LD_TRACE_LOADED_OBJECTS", "PLANTED ran"),
        ("/bin/bash", ("-c", "exit 3"), "LD_PRELOAD", "libc.so.6 =>"),
    ],
)
def test_the_control_does_run_them(
    planted: Runner, engine: Engine, entrypoint: str, arguments: tuple[str, ...], without: str, seen: str
) -> None:
    variables = {
        name: value for name, value in PLANTED.items() if name not in {"PYTHONHOME", "PATH", without}
    }
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
