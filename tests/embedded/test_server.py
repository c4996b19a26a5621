"""Starting, stopping, restarting and being killed."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import pytest
from flyteidl2.dataproxy.dataproxy_service_pb2 import CreateUploadLocationResponse
from flyteidl2.project.project_service_pb2 import (
    PROJECT_STATE_ARCHIVED,
    CreateProjectRequest,
    GetProjectRequest,
    ListProjectsRequest,
    ListProjectsResponse,
    Project,
    UpdateProjectRequest,
)
from flyteidl2.task.task_service_pb2_grpc import TaskServiceStub

from flyte_deploy.embedded import Fault, read_calls, read_deploy_requests, read_tasks, running, serve
from flyte_deploy.errors import DeployError
from tests.embedded.conftest import Client, Connect, deployment, refusal
from tests.embedded.test_uploads import ask, put, stored, wait_for

SERVE = """
import sys
from pathlib import Path
from flyte_deploy.embedded import serve
serve(port=0, data=Path(sys.argv[1]), on_ready=lambda endpoint: print(endpoint, flush=True))
"""


@contextmanager
def child(data: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`serve` in a process of its own, and where it listens."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(data)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def test_a_restart_keeps_everything(tmp_path: Path, connect: Connect) -> None:
    data = tmp_path / "not" / "there yet"
    with running(data) as plane:
        client = connect(plane.endpoint)
        client.tasks.DeployTask(deployment("env.a", "v1"))
        location = ask(client, filename_root="kept", add_content_md5_metadata=True)
        put(location)
        client.tasks.DeployTask(deployment("env.a", "v2"))
    with running(data) as plane:
        client = connect(plane.endpoint)
        client.tasks.DeployTask(deployment("env.a", "v3"))
        assert [task.version for task in plane.tasks()] == ["v1", "v2", "v3"]
        assert [call.method for call in plane.calls()] == [
            "DeployTask",
            "CreateUploadLocation",
            "PUT",
            "DeployTask",
            "DeployTask",
        ]
        assert len(list(plane.deploy_requests())) == 3
        # Signed before the restart, and still valid; what lies there is still known.
        location.signed_url = location.signed_url.replace(location.signed_url.split("/")[2], plane.endpoint)
        assert put(location).status == 200
        assert ask(client, filename_root="kept").signed_url
    # Also when it runs no more.
    assert len(plane.tasks()) == len(read_tasks(data)) == 3
    assert len(read_calls(data)) == 7


def test_a_folder_of_its_own_is_removed() -> None:
    with running() as plane:
        data = plane.data
        assert data.is_dir()
    assert not data.exists()


def test_calls_under_way_end_before_it_does(tmp_path: Path, connect: Connect) -> None:
    with running(tmp_path, faults=[Fault("DeployTask", delay=600)]) as plane:
        client = connect(plane.endpoint)
        waiting = client.tasks.DeployTask.future(deployment())
        # Calls of one connection begin in their order.
        ask(client)
    waiting.result(timeout=20)
    assert [task.name for task in plane.tasks()] == ["env.task"]


def begin_upload(location: CreateUploadLocationResponse) -> socket.socket:
    """Send the greater part of an upload, and no more."""
    parts = urlsplit(location.signed_url)
    headers = {"Host": parts.netloc, **location.headers, "Content-Length": "9000000"}
    lines = [f"PUT {parts.path}?{parts.query} HTTP/1.1", *(f"{name}: {headers[name]}" for name in headers)]
    connection = socket.create_connection((parts.hostname, parts.port or 80))
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + b"x" * 4_000_000)
    return connection


def test_it_does_not_wait_for_an_upload_that_does_not_go_on(tmp_path: Path, connect: Connect) -> None:
    with running(tmp_path) as plane:
        location = ask(connect(plane.endpoint))
        connection = begin_upload(location)
        wait_for(lambda: any((tmp_path / "incoming").iterdir()))
    connection.close()
    assert [call.code for call in plane.calls()] == ["ok", "Canceled"]
    assert list((tmp_path / "incoming").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_ends_on_a_signal(tmp_path: Path, number: signal.Signals, connect: Connect) -> None:
    with child(tmp_path) as (process, endpoint):
        connect(endpoint).tasks.DeployTask(deployment())
        process.send_signal(number)
        output, errors = process.communicate(timeout=20)
        assert (process.returncode, output, errors) == (0, "", "")
    assert [task.name for task in read_tasks(tmp_path)] == ["env.task"]


def test_killed_at_any_moment_it_has_what_it_acknowledged(tmp_path: Path, connect: Connect) -> None:
    acknowledged: list[str] = []
    with child(tmp_path) as (process, endpoint):
        client = connect(endpoint)
        location = ask(client, filename="whole")
        put(location)
        waiting = {f"env.t{n}": client.tasks.DeployTask.future(deployment(f"env.t{n}")) for n in range(400)}
        for number, (name, future) in enumerate(waiting.items()):
            try:
                future.result()
                acknowledged.append(name)
            except grpc.RpcError:
                break
            if number == 150:
                process.send_signal(signal.SIGKILL)
    assert len(acknowledged) >= 150
    with running(tmp_path) as plane:
        tasks = [task.name for task in plane.tasks()]
        assert set(acknowledged) <= set(tasks)
        assert len(tasks) == len(set(tasks)) == len(list(plane.deploy_requests()))
        assert stored(location).exists()
        # It goes on as if nothing had been.
        client = connect(plane.endpoint)
        for name in waiting:
            client.tasks.DeployTask(deployment(name))
        assert len(plane.tasks()) == 400
    with sqlite3.connect(tmp_path / "control-plane.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()


def test_killed_during_an_upload_nothing_is_left_of_it(tmp_path: Path, connect: Connect) -> None:
    with child(tmp_path) as (process, endpoint):
        location = ask(connect(endpoint))
        with begin_upload(location):
            wait_for(lambda: any(file.stat().st_size for file in (tmp_path / "incoming").iterdir()))
            process.kill()
            process.wait()
    with running(tmp_path):
        assert list((tmp_path / "incoming").iterdir()) == []
        assert not stored(location).exists()


def test_a_folder_has_one_server(tmp_path: Path) -> None:
    with running(tmp_path) as plane, pytest.raises(DeployError) as caught, running(tmp_path):
        pass
    assert f"which listens on {plane.endpoint} (process {os.getpid()})" in str(caught.value)
    assert "name another folder with --data" in str(caught.value)
    with running(tmp_path):
        pass


def test_a_port_that_is_in_use(tmp_path: Path) -> None:
    with running() as plane, pytest.raises(DeployError) as caught:
        serve(port=int(plane.endpoint.partition(":")[2]), data=tmp_path)
    assert caught.value.where == plane.endpoint
    assert "Address already in use" in str(caught.value)


def test_a_host_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="cannot listen"):
        serve(host="no.such.host.invalid", data=tmp_path)


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DeployError) as caught, running(tmp_path / "file" / "data"):
        pass
    assert caught.value.where == str(tmp_path / "file" / "data")


def test_a_database_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "control-plane.db").write_text("this is no database, whatever its name says" * 100)
    with pytest.raises(DeployError, match="cannot be used"), running(tmp_path):
        pass


def test_a_database_of_another_time(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "control-plane.db")
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(DeployError, match="has format 99"), running(tmp_path):
        pass


def test_projects(connect: Connect) -> None:
    with running(projects=["one", "two"]) as plane:
        projects = connect(plane.endpoint).projects
        found = projects.GetProject(GetProjectRequest(id="one")).project
        assert [domain.id for domain in found.domains] == ["development", "staging", "production"]
        assert listed(projects.ListProjects(ListProjectsRequest())) == {"one", "two"}
        assert refusal(lambda: projects.GetProject(GetProjectRequest(id="flytesnacks"))) == (
            grpc.StatusCode.NOT_FOUND,
            'project "flytesnacks" not found',
        )
        assert (
            refusal(lambda: projects.GetProject(GetProjectRequest()))[0] is grpc.StatusCode.INVALID_ARGUMENT
        )

        projects.CreateProject(CreateProjectRequest(project=Project(id="three", name="The third")))
        assert projects.GetProject(GetProjectRequest(id="three")).project.name == "The third"
        again = CreateProjectRequest(project=Project(id="three"))
        assert refusal(lambda: projects.CreateProject(again))[0] is grpc.StatusCode.ALREADY_EXISTS

        archived = Project(id="two", state=PROJECT_STATE_ARCHIVED)
        projects.UpdateProject(UpdateProjectRequest(project=archived))
        assert listed(projects.ListProjects(ListProjectsRequest())) == {"one", "three"}
        assert listed(projects.ListProjects(ListProjectsRequest(filters="eq(state, 1)"))) == {"two"}
        both = ListProjectsRequest(filters="eq(state,0)+contains(name,third)")
        assert listed(projects.ListProjects(both)) == {"three"}
        status, _ = refusal(lambda: projects.ListProjects(ListProjectsRequest(filters="state = 1")))
        assert status is grpc.StatusCode.INVALID_ARGUMENT
        page = projects.ListProjects(ListProjectsRequest(limit=1))
        assert page.projects.token == "1"


def listed(answer: ListProjectsResponse) -> set[str]:
    return {project.id for project in answer.projects.projects}


def test_many_clients_at_once() -> None:
    clients, tasks = 200, 10

    async def client(endpoint: str, number: int) -> None:
        # A connection each.
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(endpoint, options=options) as channel:
            stub = TaskServiceStub(channel)  # type: ignore[no-untyped-call]
            for task in range(tasks):
                await stub.DeployTask(deployment(f"env{number}.t{task}"), timeout=60)

    async def everybody(endpoint: str) -> None:
        await asyncio.gather(*(client(endpoint, number) for number in range(clients)))

    with running() as plane:
        asyncio.run(everybody(plane.endpoint))
        assert len({task.name for task in plane.tasks()}) == clients * tasks
        assert len(plane.calls()) == clients * tasks


def test_the_log_of_a_folder_can_be_read_by_another_process(tmp_path: Path, connect: Connect) -> None:
    with child(tmp_path) as (_, endpoint):
        client: Client = connect(endpoint)
        client.tasks.DeployTask(deployment())
        assert list(read_deploy_requests(tmp_path)) == [deployment().SerializeToString()]
