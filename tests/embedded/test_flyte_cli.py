"""The unmodified `flyte` command line works against it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from flyteidl2.task.task_service_pb2 import DeployTaskRequest

from flyte_deploy.embedded import Embedded
from tests.conftest import Write

FLOW = """
    import flyte

    env = flyte.TaskEnvironment(name="tiny", image="python:3.13-slim")
    nightly = flyte.Trigger(name="nightly", automation=flyte.Cron("0 2 * * *"), inputs={"x": 4})


    @env.task(triggers=nightly)
    async def double(x: int) -> int:
        return 2 * x


    @env.task
    async def half(x: int = 2) -> float:
        return x / 2
"""

Flyte = Callable[..., str]


@pytest.fixture
def flyte(plane: Embedded, write: Write, tmp_path: Path) -> Flyte:
    root = write({"flow.py": FLOW})

    def run(verb: str, *rest: str) -> str:
        target = () if verb == "get project" else ("-p", "flytesnacks", "-d", "development")
        command = [
            str(Path(sys.executable).with_name("flyte")),
            *("--endpoint", f"dns:///{plane.endpoint}", "--insecure", "-of", "json-raw"),
            *verb.split(),
            *target,
            *rest,
        ]
        environ = {**os.environ, "DO_NOT_TRACK": "1", "HOME": str(tmp_path), "COLUMNS": "1000"}
        done = subprocess.run(command, cwd=root, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)

    return run


def test_deploy_and_get(flyte: Flyte, plane: Embedded) -> None:
    flyte("deploy", "flow.py", "env")
    assert sorted(task.name for task in plane.tasks()) == ["tiny.double", "tiny.half"]
    versions = {task.version for task in plane.tasks()}
    assert len(versions) == 1
    assert {call.method for call in plane.calls()} == {
        "SelectCluster",
        "CreateUploadLocation",
        "PUT",
        "UploadInputs",
        "DeployTask",
    }
    assert all(call.ok for call in plane.calls())

    request = DeployTaskRequest.FromString(next(iter(plane.deploy_requests())))
    arguments = list(request.spec.task_template.container.args)
    bundle = Path(arguments[arguments.index("--tgz") + 1].removeprefix("file://"))
    assert bundle.is_relative_to(plane.data)
    assert bundle.stat().st_size > 0

    tasks = json.loads(flyte("get task"))
    assert sorted(task["taskId"]["name"] for task in tasks) == ["tiny.double", "tiny.half"]
    assert versions.pop() in flyte("get task", "tiny.double")
    [trigger] = json.loads(flyte("get trigger"))
    assert trigger["id"]["name"]["taskName"] == "tiny.double"
    assert trigger["id"]["name"]["name"] == "nightly"
    [project] = json.loads(flyte("get project"))
    assert project["id"] == "flytesnacks"
