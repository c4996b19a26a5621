"""A control plane that misbehaves on request, for the answers that the embedded one does not give."""
# The methods are named as in the API.
# ruff: noqa: N802

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from flyteidl2.cluster.payload_pb2 import SelectClusterResponse
from flyteidl2.cluster.service_pb2_grpc import add_ClusterServiceServicer_to_server
from flyteidl2.common.list_pb2 import Filter
from flyteidl2.dataproxy.dataproxy_service_pb2 import CreateUploadLocationResponse
from flyteidl2.dataproxy.dataproxy_service_pb2_grpc import add_DataProxyServiceServicer_to_server
from flyteidl2.project.project_service_pb2 import (
    Domain,
    GetProjectResponse,
    ListProjectsResponse,
    Project,
    Projects,
)
from flyteidl2.project.project_service_pb2_grpc import add_ProjectServiceServicer_to_server
from flyteidl2.task.common_pb2 import TYPE_SCHEDULE
from flyteidl2.task.task_definition_pb2 import Task, TaskSpec
from flyteidl2.task.task_service_pb2 import (
    DeployTaskRequest,
    DeployTaskResponse,
    GetTaskDetailsResponse,
    ListTasksResponse,
)
from flyteidl2.task.task_service_pb2_grpc import add_TaskServiceServicer_to_server
from flyteidl2.trigger.trigger_service_pb2 import (
    DeleteTriggersResponse,
    GetTriggerDetailsResponse,
    ListTriggersResponse,
)
from flyteidl2.trigger.trigger_service_pb2_grpc import add_TriggerServiceServicer_to_server

from flyte_deploy.controlplane import ControlPlane, Endpoint, Outcome, Registration, Retry, register
from flyte_deploy.model import Progress, Target

TARGET = Target("shop", "development")
QUICK = Retry(budget=5.0, first_contact=1.0, first_delay=0.01, longest_delay=0.05)
METHODS = (
    "GetProject",
    "ListProjects",
    "DeployTask",
    "GetTaskDetails",
    "ListTasks",
    "ListTriggers",
    "GetTriggerDetails",
    "DeleteTriggers",
    "SelectCluster",
    "CreateUploadLocation",
)


@dataclass(frozen=True)
class Fault:
    """An answer given instead of the right one; `applied` where the call is carried out all the same."""

    code: grpc.StatusCode
    details: str = "broken on request"
    applied: bool = False


@dataclass
class Server:
    """What the server holds, how it misbehaves, and what it was asked."""

    port: int = 0
    projects: dict[str, Project] = field(default_factory=dict)
    tasks: dict[tuple[str, str], TaskSpec] = field(default_factory=dict)
    triggers: dict[tuple[str, str], Any] = field(default_factory=dict)
    objects: set[str] = field(default_factory=set)
    cluster: str = ""
    replaces: bool = True
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    always: dict[str, Fault] = field(default_factory=dict)
    refused: dict[str, Fault] = field(default_factory=dict)
    """By the name of the task that is registered."""
    before: Callable[[str, Any], None] = lambda method, request: None
    calls: list[tuple[str, Any]] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def count(self) -> Counter[str]:
        return Counter(method for method, _ in self.calls)

    def requests(self, method: str) -> list[Any]:
        return [request for name, request in self.calls if name == method]

    def plane(self, retry: Retry = QUICK, **options: Any) -> ControlPlane:
        return ControlPlane(Endpoint(self.address, insecure=True), retry=retry, **options)

    def answer(self, method: str, request: Any, context: grpc.ServicerContext) -> Any:
        with self.lock:
            self.calls.append((method, request))
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            fault = self.always.get(method)
            if method == "DeployTask":
                fault = self.refused.get(request.task_id.name, fault)
            if self.faults.get(method):
                fault = self.faults[method].pop(0)
        try:
            self.before(method, request)
            if fault is None or fault.applied:
                with self.lock:
                    answer = getattr(self, method)(request, context)
            if fault is not None:
                context.abort(fault.code, fault.details)
            return answer
        finally:
            with self.lock:
                self.in_flight -= 1

    def GetProject(self, request: Any, context: grpc.ServicerContext) -> Any:
        if request.id not in self.projects:
            context.abort(grpc.StatusCode.NOT_FOUND, "project not found")
        return GetProjectResponse(project=self.projects[request.id])

    def ListProjects(self, request: Any, context: grpc.ServicerContext) -> Any:
        return ListProjectsResponse(projects=Projects(projects=self.projects.values()))

    def DeployTask(self, request: Any, context: grpc.ServicerContext) -> Any:
        key = (request.task_id.name, request.task_id.version)
        if key in self.tasks and not self.replaces:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, "task exists")
        self.tasks[key] = request.spec
        return DeployTaskResponse()

    def GetTaskDetails(self, request: Any, context: grpc.ServicerContext) -> Any:
        key = (request.task_id.name, request.task_id.version)
        if key not in self.tasks:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such task")
        answer = GetTaskDetailsResponse()
        answer.details.spec.CopyFrom(self.tasks[key])
        return answer

    def ListTasks(self, request: Any, context: grpc.ServicerContext) -> Any:
        newest: dict[str, Task] = {}
        for (name, version), spec in self.tasks.items():
            row = Task()
            row.task_id.name, row.task_id.version = name, version
            row.metadata.environment_name = spec.environment.name
            columns = {"name": name, "version": version, "environment": spec.environment.name}
            if _matches(columns, request.request.filters, context):
                newest.pop(name, None)
                newest[name] = row
        rows, token = _page([newest[name] for name in sorted(newest)], request.request, context)
        return ListTasksResponse(tasks=rows, token=token)

    def ListTriggers(self, request: Any, context: grpc.ServicerContext) -> Any:
        found = []
        for (task_name, name), details in sorted(self.triggers.items()):
            if _matches({"task_name": task_name}, request.request.filters, context):
                trigger = ListTriggersResponse().triggers.add()
                trigger.id.name.task_name, trigger.id.name.name = task_name, name
                trigger.active = details.spec.active
                found.append(trigger)
        rows, token = _page(found, request.request, context)
        return ListTriggersResponse(triggers=rows, token=token)

    def GetTriggerDetails(self, request: Any, context: grpc.ServicerContext) -> Any:
        details = self.triggers.get((request.name.task_name, request.name.name))
        if details is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such trigger")
        return GetTriggerDetailsResponse(trigger=details)

    def DeleteTriggers(self, request: Any, context: grpc.ServicerContext) -> Any:
        for name in request.names:
            self.triggers.pop((name.task_name, name.name), None)
        return DeleteTriggersResponse()

    def SelectCluster(self, request: Any, context: grpc.ServicerContext) -> Any:
        return SelectClusterResponse(cluster_endpoint=self.cluster)

    def CreateUploadLocation(self, request: Any, context: grpc.ServicerContext) -> Any:
        path = f"{request.filename_root}/{request.filename}"
        if path in self.objects and not request.content_md5:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, f"{path} exists")
        return CreateUploadLocationResponse(
            signed_url=f"http://{self.address}/put/{path}", native_url=f"s3://b/{path}", headers={"x-a": "b"}
        )


def _matches(columns: dict[str, str], filters: Any, context: grpc.ServicerContext) -> bool:
    for one in filters:
        if one.field not in columns:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"invalid filter field: {one.field}")
        if one.function == Filter.VALUE_IN and len(one.values) == 1:
            context.abort(grpc.StatusCode.INTERNAL, "unable to convert string to array")
        if columns[one.field] not in one.values:
            return False
    return True


def _page(rows: list[Any], request: Any, context: grpc.ServicerContext) -> tuple[list[Any], str]:
    limit = request.limit or 50
    if limit > 200:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "invalid limit")
    start = int(request.token or 0)
    some = rows[start : start + limit]
    return some, str(start + limit) if len(some) == limit else ""


@contextmanager
def serving(certificate: tuple[bytes, bytes] | None = None) -> Iterator[Server]:
    """Run a server on a port of its own; with a key and a certificate it speaks TLS."""
    server = Server()
    server.projects["shop"] = Project(id="shop", domains=[Domain(id="development"), Domain(id="production")])
    methods = type("Methods", (), {name: _method(server, name) for name in METHODS})()
    running = grpc.server(ThreadPoolExecutor(64), options=[("grpc.so_reuseport", 0)])
    for add in (
        add_TaskServiceServicer_to_server,
        add_TriggerServiceServicer_to_server,
        add_ProjectServiceServicer_to_server,
        add_ClusterServiceServicer_to_server,
        add_DataProxyServiceServicer_to_server,
    ):
        add(_Unimplemented(methods), running)  # type: ignore[no-untyped-call]
    if certificate is None:
        server.port = running.add_insecure_port("127.0.0.1:0")
    else:
        server.port = running.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([certificate]))
    running.start()
    try:
        yield server
    finally:
        running.stop(0).wait()


class _Unimplemented:
    """Gives the methods that there are, and UNIMPLEMENTED for the others."""

    def __init__(self, methods: Any) -> None:
        self._methods = methods

    def __getattr__(self, name: str) -> Any:
        return getattr(
            self._methods, name, lambda _, context: context.abort(grpc.StatusCode.UNIMPLEMENTED, "")
        )


def _method(server: Server, name: str) -> Any:
    return lambda self, request, context: server.answer(name, request, context)


def request(
    name: str, version: str = "v1", text: str = "", triggers: tuple[str, ...] = (), active: bool = True
) -> DeployTaskRequest:
    """A registration that the API's rules allow. What is before the name's dot is the environment."""
    made = DeployTaskRequest()
    for identity in (made.task_id, made.spec.task_template.id):
        identity.project, identity.domain, identity.org = TARGET.project, TARGET.domain, TARGET.org
        identity.name, identity.version = name, version
    made.spec.environment.name = name.partition(".")[0]
    made.spec.documentation.long_description = text
    for trigger in triggers:
        one = made.triggers.add(name=trigger)
        one.spec.active = active
        one.automation_spec.type = TYPE_SCHEDULE
        one.automation_spec.schedule.cron.expression = "0 3 * * *"
    return made


def registration(name: str, **options: Any) -> Registration:
    """The registration of `request`."""
    return Registration(name, lambda: request(name, **options))


def put(
    plane: ControlPlane,
    registrations: list[Registration],
    concurrency: int = 8,
    listen: Callable[[Progress], None] = lambda progress: None,
) -> Outcome:
    """Register them; specs are the same when they are equal."""
    return register(
        plane, registrations, concurrency=concurrency, same=lambda one, other: one == other, listen=listen
    )


def names_of(count: int) -> list[str]:
    """Names of tasks, ten to an environment."""
    return [f"e{number // 10}.t{number}" for number in range(count)]


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for something that happens in another thread; fails where it does not."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)
