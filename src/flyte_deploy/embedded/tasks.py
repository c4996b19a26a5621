"""Tasks and their versions."""

# ruff: noqa: ARG002, S608 - the arguments are the generated code's; names in SQL are of a fixed list

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from flyteidl2.task import task_service_connect
from flyteidl2.task.common_pb2 import TriggerAutomationSpec
from flyteidl2.task.task_definition_pb2 import (
    Task,
    TaskDetails,
    TaskIdentifier,
    TaskMetadata,
    TaskSpec,
    TaskSummary,
    TaskTriggersSummary,
)
from flyteidl2.task.task_service_pb2 import (
    DeployTaskRequest,
    DeployTaskResponse,
    GetTaskDetailsRequest,
    GetTaskDetailsResponse,
    ListTasksRequest,
    ListTasksResponse,
    ListVersionsRequest,
    ListVersionsResponse,
)

from flyte_deploy.embedded import listing
from flyte_deploy.embedded.common import LONG, SHORT, Context, cut, timestamp
from flyte_deploy.embedded.database import Database
from flyte_deploy.embedded.projects import require_project
from flyte_deploy.embedded.triggers import check_automation, replace_triggers

_COLUMNS = {
    "project": listing.TEXT,
    "domain": listing.TEXT,
    "name": listing.TEXT,
    "version": listing.TEXT,
    "environment": listing.TEXT,
    "function_name": listing.TEXT,
    "deployed_by": listing.TEXT,
    "created_at": listing.TIME,
    "updated_at": listing.TIME,
    "trigger_name": listing.TEXT,
    "total_triggers": listing.NUMBER,
    "active_triggers": listing.NUMBER,
    "env_description": listing.TEXT,
    "short_description": listing.TEXT,
}
_VERSION_COLUMNS = {"version": listing.TEXT, "created_at": listing.TIME}


_Key = tuple[str, ...]


@dataclass(frozen=True)
class _Found:
    """What a search found: the keys of the tasks, in order, and how many there are in its scope."""

    query: tuple[object, ...]
    keys: Sequence[_Key]
    total: int


class TaskService(task_service_connect.TaskService):
    """The API's service. Registering a version again replaces it, and leaves its time of creation."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._found: _Found | None = None

    async def deploy_task(
        self,
        request: DeployTaskRequest,
        ctx: Context,
    ) -> DeployTaskResponse:
        await deploy(self._database, request)
        return DeployTaskResponse()

    async def get_task_details(
        self,
        request: GetTaskDetailsRequest,
        ctx: Context,
    ) -> GetTaskDetailsResponse:
        row = _find(self._database, request.task_id)
        details = TaskDetails(
            task_id=_identifier(row), metadata=_metadata(row), spec=_spec(self._database, row)
        )
        return GetTaskDetailsResponse(details=details)

    async def list_tasks(
        self,
        request: ListTasksRequest,
        ctx: Context,
    ) -> ListTasksResponse:
        page = listing.read_page(request.request, _COLUMNS)
        scope = []
        if request.HasField("project_id"):
            scope.append(listing.equal(project=request.project_id.name, domain=request.project_id.domain))
        known = [
            listing.equal(deployed_by=each.deployed_by)
            for each in request.known_filters
            if each.HasField("deployed_by")
        ]
        condition, values = listing.where(*scope, *page.conditions, *known)
        order = page.order or "created_at DESC"
        found = self._search(f"{condition} GROUP BY project, domain, name ORDER BY {order}", values, scope)
        keys = found.keys[page.offset : page.offset + page.limit]
        tasks = [_task(_read(self._database, key)) for key in keys]
        response = ListTasksResponse(tasks=tasks, token=page.token(len(tasks)))
        response.metadata.SetInParent()
        if tasks:
            # The backend has the counts from the rows.
            response.metadata.filtered_total = len(found.keys)
            response.metadata.total = found.total
        return response

    def _search(
        self, condition: str, values: tuple[object, ...], scope: Sequence[listing.Condition]
    ) -> _Found:
        """The answer to a search, from memory if it is the one before and nothing was written since."""
        query = (self._database.changes, condition, values)
        if self._found is None or self._found.query != query:
            # SQLite takes the columns of a group from the row that has the maximum.
            rows = self._database.read(
                f"SELECT project, domain, name, version, max(created_at) FROM tasks WHERE {condition}",
                *values,
            )
            within, bounds = listing.where(*scope)
            counted = self._database.read(
                f"SELECT count(*) FROM (SELECT DISTINCT project, domain, name FROM tasks WHERE {within})",
                *bounds,
            )
            self._found = _Found(query, [tuple(row)[:4] for row in rows], counted[0][0])
        return self._found

    async def list_versions(
        self,
        request: ListVersionsRequest,
        ctx: Context,
    ) -> ListVersionsResponse:
        page = listing.read_page(request.request, _VERSION_COLUMNS)
        task = request.task_name
        condition, values = listing.where(
            listing.equal(project=task.project, domain=task.domain, name=task.name), *page.conditions
        )
        rows = self._database.read(
            f"SELECT version, created_at FROM tasks WHERE {condition}"
            f" ORDER BY {page.order or 'created_at DESC'} LIMIT ? OFFSET ?",
            *values,
            page.limit,
            page.offset,
        )
        versions = [
            ListVersionsResponse.VersionResponse(
                version=row["version"], deployed_at=timestamp(row["created_at"])
            )
            for row in rows
        ]
        return ListVersionsResponse(versions=versions, token=page.token(len(rows)))


async def deploy(database: Database, request: DeployTaskRequest) -> None:
    """Register a version of a task, in place of an earlier one of that name.

    Raises:
        ConnectError: NOT_FOUND for a project that is not there, and for triggers that are none.
    """
    task = request.task_id
    require_project(database, task.project)
    for trigger in request.triggers:
        check_automation(trigger.name, trigger.automation_spec)
    environment, documentation = request.spec.environment, request.spec.documentation
    now = database.now()
    stored = database.write("INSERT INTO requests (body) VALUES (?)", request.SerializeToString())
    database.write(
        "INSERT INTO tasks (project, domain, name, version, environment, function_name, env_description,"
        " short_description, created_at, updated_at, request) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (project, domain, name, version) DO UPDATE SET environment = excluded.environment,"
        " function_name = excluded.function_name, env_description = excluded.env_description,"
        " short_description = excluded.short_description, updated_at = excluded.updated_at,"
        " request = excluded.request",
        task.project,
        task.domain,
        task.name,
        task.version,
        environment.name,
        _function(task.name, environment.name),
        cut(environment.description, SHORT) or None,
        cut(documentation.short_description, SHORT) or None,
        now,
        now,
        stored,
    )
    if request.triggers:
        replace_triggers(database, task, request.triggers)
    await database.saved()


def find_spec(database: Database, task: TaskIdentifier) -> TaskSpec:
    """The spec of a version of a task, its descriptions cut.

    Raises:
        ConnectError: NOT_FOUND.
    """
    return _spec(database, _find(database, task))


def _find(database: Database, task: TaskIdentifier) -> sqlite3.Row:
    return _read(database, (task.project, task.domain, task.name, task.version))


def _read(database: Database, key: _Key) -> sqlite3.Row:
    rows = database.read(
        "SELECT * FROM tasks WHERE project = ? AND domain = ? AND name = ? AND version = ?", *key
    )
    if not rows:
        raise ConnectError(Code.NOT_FOUND, f"task not found: {'/'.join(key)}")
    return rows[0]


def _spec(database: Database, row: sqlite3.Row) -> TaskSpec:
    body = database.read("SELECT body FROM requests WHERE id = ?", row["request"])[0]["body"]
    spec = DeployTaskRequest.FromString(body).spec
    if spec.HasField("environment"):
        spec.environment.description = cut(spec.environment.description, SHORT)
    if spec.HasField("documentation"):
        spec.documentation.short_description = cut(spec.documentation.short_description, SHORT)
        spec.documentation.long_description = cut(spec.documentation.long_description, LONG)
    return spec


def _function(name: str, environment: str) -> str:
    """A task's name less that of its environment, or what follows its last dot."""
    prefix = f"{environment}."
    return name[len(prefix) :] if environment and name.startswith(prefix) else name.rpartition(".")[2]


def _task(row: sqlite3.Row) -> Task:
    return Task(task_id=_identifier(row), metadata=_metadata(row), task_summary=TaskSummary())


def _identifier(row: sqlite3.Row) -> TaskIdentifier:
    # The backend does not answer an organization.
    return TaskIdentifier(
        project=row["project"], domain=row["domain"], name=row["name"], version=row["version"]
    )


def _metadata(row: sqlite3.Row) -> TaskMetadata:
    metadata = TaskMetadata(
        short_name=row["function_name"],
        environment_name=row["environment"],
        deployed_at=timestamp(row["created_at"]),
        short_description=row["short_description"] or "",
    )
    total, active = row["total_triggers"], row["active_triggers"]
    if total == 1:
        metadata.triggers_summary.details.CopyFrom(
            TaskTriggersSummary.TriggerDetails(
                name=row["trigger_name"],
                active=active > 0,
                automation_spec=TriggerAutomationSpec.FromString(row["trigger_automation_spec"]),
            )
        )
    elif total:
        metadata.triggers_summary.stats.total = total
        metadata.triggers_summary.stats.active = active
    return metadata
