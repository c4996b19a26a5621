"""The control plane: what it is asked, and what it is told but for registrations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, TypeVar

import grpc
from flyteidl2.auth.auth_service_pb2 import GetOAuth2MetadataRequest, GetPublicClientConfigRequest
from flyteidl2.common.list_pb2 import Filter
from flyteidl2.project.project_service_pb2 import (
    PROJECT_STATE_ARCHIVED,
    PROJECT_STATE_SYSTEM_ARCHIVED,
    GetProjectRequest,
    ListProjectsRequest,
)
from flyteidl2.task.task_definition_pb2 import TaskIdentifier, TaskSpec
from flyteidl2.task.task_service_pb2 import GetTaskDetailsRequest, ListTasksRequest
from google.protobuf.message import Message

from flyte_deploy.controlplane.bearer import Bearer
from flyte_deploy.controlplane.channel import Endpoint
from flyte_deploy.controlplane.line import Line
from flyte_deploy.controlplane.listing import PAGE, chunks, one_of, page, project_id
from flyte_deploy.controlplane.oauth import Provider
from flyte_deploy.controlplane.server import Server
from flyte_deploy.controlplane.triggers import LiveTrigger, delete_triggers, list_triggers, read_trigger
from flyte_deploy.controlplane.unary import Call, Refused, Retry, Work, run_all
from flyte_deploy.errors import DeployError
from flyte_deploy.login import Login
from flyte_deploy.model import RegisteredTask, Target
from flyte_deploy.tls import Network

_ENVIRONMENTS = 20
"""Environments asked for in one listing: a few pages, and listings go side by side."""

T = TypeVar("T")


class ControlPlane:
    """A control plane of Flyte, asked through its API; a context manager.

    Its methods block, may be called from any thread, and raise `DeployError` for whatever goes wrong.
    Nothing is sent before the first of them.

    Args:
        endpoint: where it is.
        concurrency: how many reads are in flight at a time.
        retry: what is tried again.
        network: whom to trust, and which way to go.
        login: how to log in; None where nobody does. It counts for clusters that the control plane names too.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        concurrency: int = 32,
        retry: Retry | None = None,
        network: Network | None = None,
        login: Login | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.concurrency = concurrency
        self.retry = retry or Retry()
        self._network = network or Network()
        self._bearer = None if login is None else Bearer(login, endpoint.host, self._network, self._provider)
        self._lines: list[Line] = []
        self.server = self._server(endpoint)
        self._others: dict[str, Server] = {}

    def __enter__(self) -> ControlPlane:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all channels; calls in flight are cancelled."""
        for line in self._lines:
            line.close()

    def check_target(self, target: Target) -> None:
        """Check that project and domain exist.

        Raises:
            DeployError: naming what does exist where one of them does not; for an archived project; and
                where the control plane cannot be reached.
        """
        self.do(self._check_target(target))

    def registered_with_version(
        self, target: Target, version: str, names: Iterable[str]
    ) -> dict[str, RegisteredTask]:
        """Those of the named tasks that have the version."""
        asked = sorted(set(names))
        of_version = one_of("version", [version])
        works = (
            self._tasks(target, [of_version, one_of("name", chunk)], limit=len(chunk))
            for chunk in chunks(asked, PAGE)
        )
        rows = run_all(works, concurrency=self.concurrency, retry=self.retry)
        known = set(asked)
        return {
            row.name: row for page in rows for row in page if row.version == version and row.name in known
        }

    def newest(self, target: Target, environments: Iterable[str]) -> dict[str, RegisteredTask]:
        """The newest version of each task of the environments, by task name."""
        asked = sorted(set(environments))
        works = (
            self._tasks(target, [one_of("environment", chunk)]) for chunk in chunks(asked, _ENVIRONMENTS)
        )
        rows = run_all(works, concurrency=self.concurrency, retry=self.retry)
        return {row.name: row for page in rows for row in page}

    def task_specs(
        self, target: Target, names: Iterable[str], version: str, concurrency: int
    ) -> dict[str, bytes]:
        """The serialized ``TaskSpec`` of tasks under a version, less those that do not have it."""
        asked = sorted(set(names))
        works = (self.task_spec(target, name, version) for name in asked)
        specs = run_all(works, concurrency=concurrency, retry=self.retry)
        return {
            name: spec.SerializeToString(deterministic=True)
            for name, spec in zip(asked, specs, strict=True)
            if spec is not None
        }

    def triggers(self, target: Target, task_names: Iterable[str]) -> dict[str, tuple[LiveTrigger, ...]]:
        """The triggers of tasks, by task name and sorted by their own; tasks without any are not in it."""
        server = self.server
        listing = (list_triggers(server, target, chunk) for chunk in chunks(sorted(set(task_names)), PAGE))
        listed = run_all(listing, concurrency=self.concurrency, retry=self.retry)
        reading = (read_trigger(server, target, *pair) for pairs in listed for pair in sorted(pairs))
        found: dict[str, tuple[LiveTrigger, ...]] = {}
        for trigger in run_all(reading, concurrency=self.concurrency, retry=self.retry):
            if trigger is not None:
                found[trigger.task_name] = (*found.get(trigger.task_name, ()), trigger)
        return found

    def delete_triggers(self, target: Target, triggers: Sequence[LiveTrigger]) -> None:
        """Delete triggers; one that is gone already is no error."""
        for start in range(0, len(triggers), PAGE):
            self.do(delete_triggers(self.server, target, triggers[start : start + PAGE]))

    def do(self, work: Work[T]) -> T:
        """Carry out one piece of work."""
        return run_all([work], concurrency=1, retry=self.retry)[0]

    def other(self, endpoint: Endpoint) -> Server:
        """The server at another endpoint, on a channel that is kept."""
        if endpoint.address == self.endpoint.address:
            return self.server
        if endpoint.address not in self._others:
            self._others[endpoint.address] = self._server(endpoint)
        return self._others[endpoint.address]

    def _server(self, endpoint: Endpoint) -> Server:
        line = Line(endpoint, self._network)
        self._lines.append(line)
        return Server(line, self._bearer.show if self._bearer else None, self._bearer)

    def _provider(self, bearer: Bearer) -> Provider | None:
        """The identity provider that the control plane names; nobody logs in to ask that."""
        asking = Server(self._lines[0], bearer.show_proxy)
        works = (
            _metadata(asking, asking.auth.GetOAuth2Metadata, GetOAuth2MetadataRequest()),
            _metadata(asking, asking.auth.GetPublicClientConfig, GetPublicClientConfigRequest()),
        )
        metadata, config = run_all(works, concurrency=2, retry=self.retry)
        if metadata is None or not metadata.token_endpoint:
            return None
        return Provider(
            metadata.token_endpoint,
            config.audience if config else "",
            tuple(config.scopes) if config else (),
            (config.authorization_metadata_key.lower() if config else "") or "authorization",
        )

    def task_spec(
        self, target: Target, name: str, version: str, *, once: bool = False
    ) -> Work[TaskSpec | None]:
        """The work of reading one spec; None where the task does not have the version."""
        identity = TaskIdentifier(
            org=target.org, project=target.project, domain=target.domain, name=name, version=version
        )
        try:
            answer = yield Call(
                self.server,
                self.server.tasks.GetTaskDetails,
                GetTaskDetailsRequest(task_id=identity),
                f"reading task '{name}'",
                once=once,
            )
        except Refused as refused:
            if refused.code is grpc.StatusCode.NOT_FOUND:
                return None
            raise
        spec: TaskSpec = answer.details.spec
        return spec

    def _tasks(
        self, target: Target, filters: Sequence[Filter], limit: int | None = None
    ) -> Work[list[RegisteredTask]]:
        """All pages of a listing, a row for each name. It ends early once `limit` rows are there."""
        rows: list[RegisteredTask] = []
        token = ""
        while True:
            request = ListTasksRequest(request=page(token, filters, ["name"]), project_id=project_id(target))
            answer = yield Call(self.server, self.server.tasks.ListTasks, request, "listing tasks")
            rows.extend(
                RegisteredTask(row.task_id.name, row.task_id.version, row.metadata.environment_name)
                for row in answer.tasks
            )
            if not answer.token or answer.token == token or (limit is not None and len(rows) >= limit):
                return rows
            token = answer.token

    def _check_target(self, target: Target) -> Work[None]:
        projects = self.server.projects
        try:
            answer = yield Call(
                self.server,
                projects.GetProject,
                GetProjectRequest(id=target.project, org=target.org),
                f"looking up project '{target.project}'",
            )
        except Refused as refused:
            if refused.code is not grpc.StatusCode.NOT_FOUND:
                raise
            raise (yield from self._no_project(target)) from None
        project = answer.project
        if project.state in (PROJECT_STATE_ARCHIVED, PROJECT_STATE_SYSTEM_ARCHIVED):
            raise DeployError(
                f"project '{target.project}' is archived",
                where="--project",
                mend="Name another project, or have this one activated.",
                usage=True,
            )
        domains = [domain.id for domain in project.domains]
        # The backend itself accepts any domain.
        if domains and target.domain not in domains:
            raise DeployError(
                f"project '{target.project}' has no domain '{target.domain}'",
                where="--domain",
                mend=f"Its domains are {', '.join(domains)}.",
                usage=True,
            )

    def _no_project(self, target: Target) -> Work[DeployError]:
        there: list[str] = []
        try:
            answer = yield Call(
                self.server,
                self.server.projects.ListProjects,
                ListProjectsRequest(limit=100, org=target.org),
                "listing projects",
                once=True,
            )
            there = sorted(project.id for project in answer.projects.projects)
        except Refused:
            # What was asked is answered without: the list is a help only.
            pass
        return DeployError(
            f"there is no project '{target.project}'" + (f" in org '{target.org}'" if target.org else ""),
            where="--project",
            mend=f"The projects are {', '.join(there)}." if there else "Create it, or name another one.",
            usage=True,
        )


def _metadata(server: Server, method: Any, request: Message) -> Work[Any]:
    """The work of one question of how to log in; None where it is not known there."""
    try:
        return (yield Call(server, method, request, "asking how to log in"))
    except Refused as refused:
        if refused.code in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND):
            return None
        raise
