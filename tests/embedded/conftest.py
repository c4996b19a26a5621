"""Clients of an embedded control plane."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import pytest
from flyteidl2.cluster.service_pb2_grpc import ClusterServiceStub
from flyteidl2.common.identifier_pb2 import ProjectIdentifier
from flyteidl2.dataproxy.dataproxy_service_pb2_grpc import DataProxyServiceStub
from flyteidl2.project.project_service_pb2_grpc import ProjectServiceStub
from flyteidl2.task.task_service_pb2 import DeployTaskRequest
from flyteidl2.task.task_service_pb2_grpc import TaskServiceStub
from flyteidl2.trigger.trigger_service_pb2_grpc import TriggerServiceStub

from flyte_deploy.embedded import Embedded, running

PROJECT = ProjectIdentifier(name="flytesnacks", domain="development")


class Client:
    """Stubs of the API's services over one channel of gRPC."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.clusters: Any = ClusterServiceStub(channel)  # type: ignore[no-untyped-call]
        self.data: Any = DataProxyServiceStub(channel)  # type: ignore[no-untyped-call]
        self.projects: Any = ProjectServiceStub(channel)  # type: ignore[no-untyped-call]
        self.tasks: Any = TaskServiceStub(channel)  # type: ignore[no-untyped-call]
        self.triggers: Any = TriggerServiceStub(channel)  # type: ignore[no-untyped-call]


Connect = Callable[[str], Client]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Connects to an endpoint, until the test ends."""
    with ExitStack() as channels:
        # Channels of one process share their connections otherwise.
        options = [("grpc.use_local_subchannel_pool", 1)]
        yield lambda endpoint: Client(
            channels.enter_context(grpc.insecure_channel(endpoint, options=options))
        )


@pytest.fixture
def plane() -> Iterator[Embedded]:
    with running() as embedded:
        yield embedded


@pytest.fixture
def client(plane: Embedded, connect: Connect) -> Client:
    return connect(plane.endpoint)


def deployment(name: str = "env.task", version: str = "v1", text: str = "") -> DeployTaskRequest:
    """A small request that registers a task."""
    request = DeployTaskRequest()
    task = request.task_id
    task.project, task.domain, task.name, task.version = "flytesnacks", "development", name, version
    request.spec.environment.name = name.partition(".")[0]
    request.spec.task_template.container.image = "python:3.13-slim"
    request.spec.task_template.container.args.append(text)
    return request


def refusal(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    """The status and the words that a call is refused with."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details() or ""
