"""All tasks of a project and domain, and all their versions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from flyteidl2.common.list_pb2 import ListRequest, Sort
from flyteidl2.task.task_definition_pb2 import TaskName
from flyteidl2.task.task_service_pb2 import ListTasksRequest, ListVersionsRequest

from flyte_deploy.controlplane.client import ControlPlane
from flyte_deploy.controlplane.listing import PAGE, one_of, page, project_id
from flyte_deploy.controlplane.unary import Call, Work, run_all
from flyte_deploy.model import RegisteredTask, Target


@dataclass(frozen=True)
class TaskVersion:
    """A version of a task and when it was created, UTC."""

    name: str
    version: str
    created: dt.datetime


def list_tasks(plane: ControlPlane, target: Target, version: str = "") -> list[RegisteredTask]:
    """All tasks of a target with their newest version, by name; or those that have `version`, with that."""
    return plane.do(_tasks(plane, target, version))


def list_versions(
    plane: ControlPlane, target: Target, names: Iterable[str], limit: int | None = None
) -> list[TaskVersion]:
    """The versions of tasks, newest first, at most `limit` of each; a call for each page of each task."""
    works = (_versions(plane, target, name, limit) for name in names)
    rows = run_all(works, concurrency=plane.concurrency, retry=plane.retry)
    return [row for of_task in rows for row in of_task]


def versions_before(
    plane: ControlPlane, target: Target, names: Iterable[str], version: str
) -> dict[str, str]:
    """What tasks that have a version as their newest had before; those that had none are left out."""
    rows = list_versions(plane, target, names, 2)
    return {row.name: row.version for row in rows if row.version != version}


def _tasks(plane: ControlPlane, target: Target, version: str) -> Work[list[RegisteredTask]]:
    filters = [one_of("version", [version])] if version else []
    rows: list[RegisteredTask] = []
    token = ""
    while True:
        request = ListTasksRequest(request=page(token, filters, ["name"]), project_id=project_id(target))
        answer = yield Call(plane.server, plane.server.tasks.ListTasks, request, "listing tasks")
        rows.extend(
            RegisteredTask(row.task_id.name, row.task_id.version, row.metadata.environment_name)
            for row in answer.tasks
        )
        if not answer.token or answer.token == token:
            return [row for row in rows if not version or row.version == version]
        token = answer.token


def _versions(plane: ControlPlane, target: Target, name: str, limit: int | None) -> Work[list[TaskVersion]]:
    rows: list[TaskVersion] = []
    token = ""
    while True:
        request = ListVersionsRequest(
            request=ListRequest(
                limit=PAGE if limit is None else min(limit, PAGE),
                token=token,
                sort_by_fields=[Sort(key="created_at", direction=Sort.DESCENDING)],
            ),
            task_name=TaskName(org=target.org, project=target.project, domain=target.domain, name=name),
        )
        doing = f"listing the versions of task '{name}'"
        answer = yield Call(plane.server, plane.server.tasks.ListVersions, request, doing)
        rows.extend(
            TaskVersion(name, row.version, row.deployed_at.ToDatetime(tzinfo=dt.timezone.utc))
            for row in answer.versions
        )
        enough = limit is not None and len(rows) >= limit
        if enough or not answer.token or answer.token == token:
            return rows[:limit]
        token = answer.token
