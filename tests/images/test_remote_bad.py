"""Builds in the backend that go wrong: one clear message each, and nothing is registered."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import pytest
from flyteidl2.common.identifier_pb2 import RunIdentifier
from flyteidl2.workflow.run_service_pb2 import AbortRunRequest
from flyteidl2.workflow.run_service_pb2_grpc import RunServiceStub

from flyte_deploy.bundle.archive import Archive
from flyte_deploy.controlplane import ControlPlane, Uploads
from flyte_deploy.controlplane.builds import BuildRuns
from flyte_deploy.controlplane.channel import Endpoint
from flyte_deploy.embedded import Fault, running
from flyte_deploy.embedded.builds import BuildFailed, Order
from flyte_deploy.model import Target
from flyte_deploy.stores.signed_url import SignedUrlStore
from tests.conftest import Write
from tests.deploy.conftest import FLYTE_DEPLOY, TARGET, Cli, Result

FLOW = """
import flyte

def env(name):
    image = flyte.Image.from_debian_base(name=name).with_commands(["echo {word}"])
    return flyte.TaskEnvironment(name=name, image=image)

one = env("one")
two = env("two")

@one.task
async def first() -> None: ...

@two.task
async def second() -> None: ...
"""


@dataclass
class Stub:
    """Builds nothing, in a way that a test decides."""

    how: Callable[[Order, Callable[[str], None], threading.Event], str]
    orders: list[Order] = field(default_factory=list)
    stopped: int = 0

    def build(self, order: Order, log: Callable[[str], None], stop: threading.Event) -> str:
        self.orders.append(order)
        try:
            return self.how(order, log, stop)
        finally:
            self.stopped += stop.is_set()


def good(order: Order, log: Callable[[str], None], _: threading.Event) -> str:
    for number in range(3):
        log(f"step {number} of {order.target.rpartition(':')[0]}")
        time.sleep(0.05)
    return f"r.internal/{order.target}@sha256:{'0' * 64}"


def bad(_: Order, log: Callable[[str], None], __: threading.Event) -> str:
    for number in range(100):
        log(f"line {number}")
    raise BuildFailed("denied: r.internal may not be pushed to")


def hangs(_: Order, log: Callable[[str], None], stop: threading.Event) -> str:
    log("waiting")
    stop.wait(60)
    raise BuildFailed("stopped")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@contextmanager
def plane(home: Path, how: Callable[..., str] | None, *faults: Fault) -> Iterator[tuple[Cli, Stub]]:
    stub = Stub(how) if how is not None else Stub(good)
    with running(worker=stub if how is not None else None, faults=faults) as server:
        yield Cli(server, home), stub


def deploy(cli: Cli, root: Path, *more: str, builder: str = "remote") -> Result:
    return cli.to_server("deploy", root, "--all", "flow.py", "--image-builder", builder, *more)


def failure(result: Result) -> str:
    assert result.status == 1, result.err
    assert "Traceback" not in result.err
    error = result.json["error"]
    return "\n".join([error["what"], *error["details"], error["mend"] or ""])


def methods(cli: Cli) -> list[str]:
    return [call.method for call in cli.server.calls()]


@pytest.fixture
def root(write: Write) -> Path:
    return write({"flow.py": FLOW.format(word="a")})


def test_a_backend_without_a_builder(root: Path, home: Path) -> None:
    with plane(home, None) as (cli, _):
        said = failure(deploy(cli, root))
        assert "this backend has no image builder" in said
        assert "--image-builder local" in said
        # auto builds here, and here there is nobody either.
        said = failure(
            cli.to_server(
                *(
                    "deploy",
                    root,
                    "--all",
                    "flow.py",
                    "--image-builder",
                    "auto",
                    "--registry",
                    "127.0.0.1:9/x",
                )
            )
        )
        assert "127.0.0.1:9" in said
        failed = deploy(cli, root, builder="auto")
        assert "there is no registry to push it to" in failed.json["error"]["what"]
        assert "DeployTask" not in methods(cli)


def test_auto_takes_the_backends_where_it_can(root: Path, home: Path, write: Write) -> None:
    with plane(home, good) as (cli, stub):
        done = deploy(cli, root, builder="auto")
        assert done.status == 0, done.err
        assert len(stub.orders) == 2
        # A Dockerfile is nothing for it.
        own = write(
            {
                "Dockerfile": "FROM x\n",
                "flow.py": """
                    import flyte
                    image = flyte.Image.from_dockerfile("Dockerfile", name="own", registry="127.0.0.1:9/x")
                    env = flyte.TaskEnvironment(name="env", image=image)

                    @env.task
                    async def one() -> None: ...
                    """,
            }
        )
        assert "127.0.0.1:9" in failure(deploy(cli, own, builder="auto"))
        refused = deploy(cli, own)
        assert refused.status == 2
        assert "has a Dockerfile of its own" in refused.json["error"]["what"]
        assert len(stub.orders) == 2


def test_a_build_that_fails(root: Path, home: Path) -> None:
    with plane(home, bad) as (cli, stub):
        said = failure(deploy(cli, root))
        assert "2 images cannot be built" in said
        assert "denied: r.internal may not be pushed to" in said
        assert "line 99" in said
        assert "line 50\n" not in said
        assert f"http://{cli.server.endpoint}/v2/domain/development/project/flytesnacks/runs/b" in said
        assert "DeployTask" not in methods(cli)
        # The same again is another attempt, which may succeed.
        stub.how = good
        done = deploy(cli, root)
        assert done.status == 0, done.err
        assert len(stub.orders) == 4


def test_a_build_that_takes_too_long(root: Path, home: Path) -> None:
    with plane(home, hangs) as (cli, stub):
        said = failure(deploy(cli, root, "--image-timeout", "2"))
        assert "takes more than 2 s (--image-timeout)" in said
        assert methods(cli).count("AbortRun") == 2
    assert stub.stopped == 2


@contextmanager
def started(
    cli: Cli, root: Path, home: Path, *more: str
) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A deploy whose two builds run, and their names."""
    command = [FLYTE_DEPLOY, "deploy", "--all", "flow.py", *TARGET, "--image-builder", "remote", *more]
    command += ["--endpoint", cli.server.endpoint, "--insecure"]
    process = subprocess.Popen(
        command,
        cwd=root,
        env={**os.environ, "HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    names: list[str] = []
    try:
        while len(names) < 2:
            line = process.stderr.readline()
            assert line, "it ended"
            found = re.search(r"/runs/(b[0-9a-f]+)", line)
            names += [found[1]] if found else []
        yield process, names
    finally:
        process.kill()
        process.wait()


def test_a_build_that_somebody_aborts(root: Path, home: Path) -> None:
    with plane(home, hangs) as (cli, _), started(cli, root, home) as (process, names):
        runs = RunServiceStub(grpc.insecure_channel(cli.server.endpoint))  # type: ignore[no-untyped-call]
        for name in names:
            run = RunIdentifier(project="flytesnacks", domain="development", name=name, org="127")
            runs.AbortRun(AbortRunRequest(run_id=run, reason="the queue is full"))
        _, said = process.communicate(timeout=20)
        assert process.returncode == 1
        assert said.count("its build was aborted: the queue is full") == 2


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_deploy_that_is_stopped_ends_its_builds(
    root: Path, home: Path, number: signal.Signals, keep: bool
) -> None:
    more = ("--keep-builds",) if keep else ()
    with plane(home, hangs) as (cli, _), started(cli, root, home, *more) as (process, _):
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
        assert process.returncode == 128 + number
        assert methods(cli).count("AbortRun") == (0 if keep else 2)
        assert ("builds go on: http" in said) == keep
        assert "DeployTask" not in methods(cli)


def test_streams_that_break_again_and_again(root: Path, home: Path) -> None:
    faults = [
        Fault("WatchActionDetails", times=1000, code="unavailable", when="after"),
        Fault("TailLogs", times=1000, code="unavailable", when="after"),
    ]
    with plane(home, good, *faults) as (cli, stub):
        done = deploy(cli, root)
        assert done.status == 0, done.err
        assert len(stub.orders) == 2
        assert all(f"step {number} of" in done.err for number in range(3))
        # No line twice.
        assert done.err.count("step 0 of one") == 1


def test_a_backend_without_streams_is_asked_again_and_again(root: Path, home: Path) -> None:
    faults = [
        Fault("WatchActionDetails", times=1000, code="unimplemented"),
        Fault("TailLogs", times=1000, code="unimplemented"),
    ]
    with plane(home, good, *faults) as (cli, _):
        done = deploy(cli, root)
        assert done.status == 0, done.err
        assert "GetActionDetails" in methods(cli)


def test_a_run_that_vanishes(root: Path, home: Path) -> None:
    faults = [Fault("WatchActionDetails", times=1000, code="not_found")]
    with plane(home, good, *faults) as (cli, _):
        assert "is not there any more" in failure(deploy(cli, root))


def test_a_secret_that_the_backend_does_not_have(write: Write, home: Path) -> None:
    def asks(order: Order, _: Callable[[str], None], __: threading.Event) -> str:
        raise BuildFailed(f"there is no secret {order.secrets}")

    code = FLOW.format(word="a").replace(
        ".with_commands(", '.with_apt_packages("x", secret_mounts="tok").with_commands('
    )
    with plane(home, asks) as (cli, stub):
        said = failure(deploy(cli, write({"flow.py": code})))
        assert "there is no secret (('', 'tok'),)" in said
        assert stub.orders[0].secrets == (("", "tok"),)


def test_an_image_that_expired_after_it_was_found(root: Path, home: Path) -> None:
    # Asked for first: one. Asked for when the other is built: none.
    with plane(home, good) as (cli, stub):
        assert deploy(cli, root).status == 0
        (root / "flow.py").write_text(FLOW.format(word="a").replace('env("two")', 'env("three")'))
        # The first look at both is answered, the look after the build is not.
        forgets = "DELETE FROM images WHERE name LIKE 'one:%'"
        made = stub.how

        def forgetful(order: Order, log: Callable[[str], None], stop: threading.Event) -> str:
            if order.target.startswith("three"):
                import sqlite3

                with sqlite3.connect(next(cli.server.data.glob("*.db")), timeout=10) as database:
                    database.execute(forgets)
            return made(order, log, stop)

        stub.how = forgetful
        done = deploy(cli, root)
        assert done.status == 0, done.err
        assert "not there any more, and built again: one:" in done.err
        assert [order.target.partition(":")[0] for order in stub.orders[2:]] == ["three", "one"]


def test_an_image_that_expired_while_the_bundle_was_sent(root: Path, home: Path) -> None:
    # Two looks of the first deploy, two of the second; the next two are in vain, and so are those at what the
    # runs of the first deploy have left.
    fault = Fault("GetImage", nth=5, times=4, code="not_found")
    with plane(home, good, fault) as (cli, stub):
        assert deploy(cli, root).status == 0
        before = len(stub.orders)
        done = deploy(cli, root, "--version", "other")
        assert done.status == 0, done.err
        assert len(done.json["registered"]) == 2
        assert len(stub.orders) == before + 2


def test_two_deploys_of_the_same_build_once(root: Path, home: Path) -> None:
    go = threading.Event()

    def waits(order: Order, log: Callable[[str], None], stop: threading.Event) -> str:
        go.wait(30)
        return good(order, log, stop)

    with plane(home, waits) as (cli, stub), started(cli, root, home) as (process, names):
        results: list[Result] = []
        thread = threading.Thread(target=lambda: results.append(deploy(cli, root)))
        thread.start()
        # Both runs are asked for by the second deploy, too.
        while methods(cli).count("CreateRun") < 4:
            time.sleep(0.05)
        go.set()
        thread.join()
        process.communicate(timeout=20)
        assert process.returncode == 0
        assert results[0].status == 0, results[0].err
        assert all(f"was started before: http://{cli.server.endpoint}" in results[0].err for _ in names)
        assert len(stub.orders) == 2


def test_a_name_that_another_build_has_taken(root: Path, home: Path) -> None:
    with plane(home, good) as (cli, stub):
        first = deploy(cli, root)
        assert first.status == 0
        names = re.findall(r"/runs/(b[0-9a-f]+)", first.err)
    with plane(home, good) as (cli, stub):
        # Somebody has runs of these names, of something else.
        for name in names:
            start(cli, name)
        done = deploy(cli, root)
        assert done.status == 0, done.err
        started = sorted(re.findall(r"is built by .*/runs/(b\S+)", done.err))
        assert started == sorted(f"{name}-2" for name in names)
        assert len(stub.orders) == 4


def start(cli: Cli, name: str) -> None:
    """A run of the build task, with inputs of its own."""
    target = Target("flytesnacks", "development", "127")
    with (
        ControlPlane(Endpoint.parse(cli.server.endpoint, insecure=True)) as server,
        TemporaryDirectory() as it,
    ):
        path = Path(it, "spec.pb")
        path.write_bytes(b"\n\x01x")
        archive = Archive(path, 3, hashlib.md5(path.read_bytes(), usedforsecurity=False).digest())
        store = SignedUrlStore(Uploads(server, target))
        spec = store.publish_object("0" * 64, "spec.pb", archive, lambda *_: None)
        inputs = {"spec": spec, "context": "", "target_image": "other:tag"}
        _, ours = BuildRuns(server, target).start(name, inputs)
    assert ours


def test_an_image_elsewhere_than_it_is_wanted_counts_as_absent(root: Path, home: Path) -> None:
    with plane(home, good) as (cli, stub):
        assert deploy(cli, root).status == 0
        # The stub says r.internal whatever it is told.
        done = deploy(cli, root, "--registry", "r.elsewhere/x", "--version", "v2")
        assert done.status == 0, done.err
        assert [order.target.startswith("r.elsewhere/x/") for order in stub.orders] == [
            False,
            False,
            True,
            True,
        ]


def test_serve_says_that_it_cannot_build(tmp_path: Path) -> None:
    command = [FLYTE_DEPLOY, "serve", "--port", "0", "--data", str(tmp_path / "data")]
    command += ["--build-registry", "127.0.0.1:9/x"]
    environment = {**os.environ, "DOCKER_HOST": "unix:///nowhere/docker.sock"}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True
    ) as server:
        assert server.stdout is not None
        assert "No images are built here" in server.stdout.readline()
        assert "listens on" in server.stdout.readline()
        server.terminate()
