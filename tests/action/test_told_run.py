"""What GitHub is told by containers: of steps that a signal ends, and by the legs of a matrix."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flyteidl2.task.task_service_pb2 import DeployTaskRequest

from flyte_deploy.embedded import Embedded, Fault, running
from flyte_deploy.github.marker import parts_of
from tests.action.conftest import Job
from tests.action.repository import Repository, flow
from tests.conftest import Write
from tests.engine import Engine
from tests.github.server import GitHub
from tests.harness.runner import send
from tests.harness.services import Services

MANY = """
import flyte

env = flyte.TaskEnvironment(name="ended", image="registry.example/team/image:1")

for number in range(5):
    async def work(x: int = 1) -> int:
        return x
    work.__name__ = work.__qualname__ = f"work_{number}"
    globals()[work.__name__] = env.task(work)
"""
TASKS = [f"ended.work_{number}" for number in range(5)]


@pytest.fixture
def stuck(engine: Engine, services_of_job: Services, tmp_path: Path) -> Iterator[Embedded]:
    """A control plane that containers reach, which never answers the third registration."""
    found = json.loads(engine.docker("network", "inspect", services_of_job.network))
    fault = Fault("DeployTask", nth=3, delay=600)
    with running(tmp_path / "stuck", host=found[0]["IPAM"]["Config"][0]["Gateway"], faults=[fault]) as plane:
        yield plane


def when(true: Callable[[], bool]) -> None:
    for _ in range(1200):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError("it never comes to that")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_tasks_are_registered(
    number: signal.Signals,
    status: int,
    job: Job,
    write: Write,
    engine: Engine,
    services_of_job: Services,
    github: GitHub,
    stuck: Embedded,
) -> None:
    def during(container: str) -> None:
        when(lambda: len(stuck.tasks()) == 2)
        send(engine, container, number)

    repository = Repository(job(write({"flow.py": MANY})), services_of_job, github, during=during)
    asked = {"endpoint": stuck.endpoint, "concurrency": "1"}
    ended = repository.pull(**asked)  # type: ignore[arg-type]

    assert ended.status == status, ended.log
    assert ("interrupted" if number == signal.SIGINT else "terminated") in ended.log
    state = f"2 tasks are registered ({TASKS[0]}, {TASKS[1]})"
    assert state in ended.log
    assert state in ended.summary
    (first,) = github.deployments
    assert github.states(first) == ["in_progress", "failure"]
    (body,) = github.bodies()
    assert "the run was cancelled" in body
    assert state in body

    repository.during = lambda container: None
    again = repository.pull("synchronize", **asked)  # type: ignore[arg-type]

    assert again.status == 0, again.log
    assert again.outputs["registered"] == "3"
    registered = [DeployTaskRequest.FromString(data).task_id for data in stuck.deploy_requests()]
    assert Counter(one.name for one in registered) == Counter(TASKS)
    assert {one.version for one in registered} == {again.outputs["version"]}
    (body,) = github.bodies()
    assert again.outputs["version"] in body
    assert "cancelled" not in body
    assert github.states(first)[-1] == "failure"
    assert github.states(max(github.deployments))[-1] == "success"


def test_the_legs_of_a_matrix_share_a_comment(
    job: Job, write: Write, services_of_job: Services, github: GitHub
) -> None:
    legs = ("ingest", "report", "training")
    files = {f"{leg}/flow.py": flow(f"leg_{leg}")["flow.py"] for leg in legs}
    first = Repository(job(write(files)), services_of_job, github)
    copies = [Repository(job(), services_of_job, github) for _ in legs[1:]]
    for copy in copies:
        shutil.copytree(first.runner.workspace, copy.runner.workspace, dirs_exist_ok=True)
        copy.runner.own()

    with ThreadPoolExecutor(len(legs)) as pool:
        running_ = [
            pool.submit(checkout.pull, working_directory=leg, comment_group="flyte")
            for leg, checkout in zip(legs, (first, *copies), strict=True)
        ]
        steps = dict(zip(legs, (future.result() for future in running_), strict=True))

    for step in steps.values():
        assert step.status == 0, step.log
    (body,) = github.bodies()
    parts = list(parts_of(body).values())
    assert len(parts) == len(legs)
    for leg, part in zip(legs, parts, strict=True):
        assert f"Flyte preview of <code>{leg}</code>" in part.strip().partition("\n")[0]
        assert [other for other in legs if f"leg_{other}.one" in part] == [leg]
        assert [other for other in legs if steps[other].outputs["version"] in part] == [leg]
    # None of them has taken another's place.
    assert [github.states(one) for one in github.deployments] == [["in_progress", "success"]] * len(legs)
