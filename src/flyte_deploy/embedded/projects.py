"""Projects and their domains."""

# ruff: noqa: ARG002, S608 - the arguments are the generated code's; names in SQL are of a fixed list

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from flyteidl2.common.list_pb2 import Filter, ListRequest
from flyteidl2.project import project_service_connect
from flyteidl2.project.project_service_pb2 import (
    PROJECT_STATE_ARCHIVED,
    CreateProjectRequest,
    CreateProjectResponse,
    Domain,
    GetProjectRequest,
    GetProjectResponse,
    ListProjectsRequest,
    ListProjectsResponse,
    Project,
    Projects,
    UpdateProjectRequest,
    UpdateProjectResponse,
)

from flyte_deploy.embedded import listing
from flyte_deploy.embedded.common import Context
from flyte_deploy.embedded.database import Database

DOMAINS = ("development", "staging", "production")
"""Every project has these."""

_COLUMNS = {
    "identifier": listing.TEXT,
    "name": listing.TEXT,
    "description": listing.TEXT,
    "labels": listing.TEXT,
    "state": listing.NUMBER,
    "created_at": listing.TIME,
    "updated_at": listing.TIME,
}


def create_missing(database: Database, identifiers: Sequence[str]) -> None:
    """Create the projects that are not there yet."""
    for identifier in identifiers:
        now = database.now()
        database.write(
            "INSERT OR IGNORE INTO projects VALUES (?, ?, '', x'', 0, ?, ?)", identifier, identifier, now, now
        )


def require_project(database: Database, identifier: str) -> None:
    """Check that a project exists.

    Raises:
        ConnectError: NOT_FOUND.
    """
    if not database.read("SELECT 1 FROM projects WHERE identifier = ?", identifier):
        raise ConnectError(Code.NOT_FOUND, f'project "{identifier}" not found')


class ProjectService(project_service_connect.ProjectService):
    """The API's service. Archived projects are not listed unless asked for."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_project(
        self,
        request: CreateProjectRequest,
        ctx: Context,
    ) -> CreateProjectResponse:
        project, now = _named(request.project), self._database.now()
        if self._database.read("SELECT 1 FROM projects WHERE identifier = ?", project.id):
            raise ConnectError(Code.ALREADY_EXISTS, f'project "{project.id}" already exists')
        self._database.write(
            "INSERT INTO projects VALUES (?, ?, ?, ?, ?, ?, ?)",
            project.id,
            project.name,
            project.description,
            project.labels.SerializeToString(),
            project.state,
            now,
            now,
        )
        await self._database.saved()
        return CreateProjectResponse()

    async def update_project(
        self,
        request: UpdateProjectRequest,
        ctx: Context,
    ) -> UpdateProjectResponse:
        project = _named(request.project)
        require_project(self._database, project.id)
        self._database.write(
            "UPDATE projects SET name = ?, description = ?, labels = ?, state = ?, updated_at = ?"
            " WHERE identifier = ?",
            project.name,
            project.description,
            project.labels.SerializeToString(),
            project.state,
            self._database.now(),
            project.id,
        )
        await self._database.saved()
        return UpdateProjectResponse()

    async def get_project(
        self,
        request: GetProjectRequest,
        ctx: Context,
    ) -> GetProjectResponse:
        if not request.id:
            raise listing.invalid("id is required")
        require_project(self._database, request.id)
        row = self._database.read("SELECT * FROM projects WHERE identifier = ?", request.id)[0]
        return GetProjectResponse(project=_project(row))

    async def list_projects(
        self,
        request: ListProjectsRequest,
        ctx: Context,
    ) -> ListProjectsResponse:
        conditions = _filters(request.filters) or [
            listing.Condition("state != ?", (PROJECT_STATE_ARCHIVED,)),
        ]
        order = listing.read_order([request.sort_by] if request.sort_by.key else [], _COLUMNS)
        offset = listing.read_token(request.token)
        condition, values = listing.where(*conditions)
        rows = self._database.read(
            f"SELECT * FROM projects WHERE {condition}"
            f" ORDER BY {order or 'created_at DESC'} LIMIT ? OFFSET ?",
            *values,
            request.limit or -1,
            offset,
        )
        token = str(offset + request.limit) if request.limit and len(rows) == request.limit else ""
        return ListProjectsResponse(projects=Projects(projects=map(_project, rows), token=token))


def _named(project: Project) -> Project:
    if not project.id:
        raise listing.invalid("project.id is required")
    return project


def _project(row: sqlite3.Row) -> Project:
    project = Project(
        id=row["identifier"],
        name=row["name"],
        description=row["description"],
        domains=[Domain(id=domain, name=domain.capitalize()) for domain in DOMAINS],
        state=row["state"],
    )
    if row["labels"]:
        project.labels.ParseFromString(row["labels"])
    return project


def _filters(text: str) -> list[listing.Condition]:
    """The filters of a text such as ``eq(state,1)+contains(name,foo)``."""
    conditions: list[listing.Condition] = []
    for part in text.split("+") if text.strip() else []:
        match = re.fullmatch(r"\s*(\w+)\s*\(\s*(\w+)\s*,(.*)\)\s*", part)
        if match is None:
            raise listing.invalid(f"invalid filter format: {part}")
        function, field, value = match[1].lower(), match[2], match[3].strip()
        if function == "value_in":
            values = [each.strip() for each in value.split(";")]
            given = Filter(function=Filter.VALUE_IN if len(values) > 1 else Filter.EQUAL, values=values)
        elif function in ("eq", "ne", "contains"):
            kinds = {"eq": Filter.EQUAL, "ne": Filter.NOT_EQUAL, "contains": Filter.CONTAINS}
            given = Filter(function=kinds[function], values=[value])
        else:
            raise listing.invalid(f"unsupported filter function: {function}")
        given.field = field
        conditions.extend(listing.read_page(ListRequest(filters=[given]), _COLUMNS).conditions)
    return conditions
