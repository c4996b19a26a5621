"""Triggers: one set a task name, each pointing at a version of the task."""

# ruff: noqa: ARG002, S608 - the arguments are the generated code's; names in SQL are of a fixed list

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from flyteidl2.common.identifier_pb2 import TriggerIdentifier, TriggerName
from flyteidl2.task.common_pb2 import (
    TYPE_NONE,
    TYPE_SCHEDULE,
    TriggerAutomationSpec,
    TriggerAutomationSpecType,
)
from flyteidl2.task.task_definition_pb2 import TaskIdentifier, TaskTrigger
from flyteidl2.trigger import trigger_service_connect
from flyteidl2.trigger.trigger_definition_pb2 import Trigger, TriggerDetails, TriggerSpec, TriggerStatus
from flyteidl2.trigger.trigger_service_pb2 import (
    DeleteTriggersRequest,
    DeleteTriggersResponse,
    DeployTriggerRequest,
    DeployTriggerResponse,
    GetTriggerDetailsRequest,
    GetTriggerDetailsResponse,
    ListTriggersRequest,
    ListTriggersResponse,
    UpdateTriggersRequest,
    UpdateTriggersResponse,
)

from flyte_deploy.embedded import listing
from flyte_deploy.embedded.common import SHORT, Context, cut, timestamp
from flyte_deploy.embedded.cron import check_cron
from flyte_deploy.embedded.database import Database

_COLUMNS = {
    "project": listing.TEXT,
    "domain": listing.TEXT,
    "task_name": listing.TEXT,
    "name": listing.TEXT,
    "active": listing.BOOLEAN,
    "deployed_at": listing.TIME,
    "updated_at": listing.TIME,
    "task_version": listing.TEXT,
    "automation_type": listing.TEXT,
}


class TriggerService(trigger_service_connect.TriggerService):
    """The API's service, less the history of revisions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def deploy_trigger(
        self,
        request: DeployTriggerRequest,
        ctx: Context,
    ) -> DeployTriggerResponse:
        check_automation(request.name.name, request.automation_spec)
        name = request.name
        if request.revision:
            rows = self._database.read(
                "SELECT revision FROM triggers"
                " WHERE project = ? AND domain = ? AND task_name = ? AND name = ?",
                *_key(name),
            )
            if rows and rows[0]["revision"] != request.revision:
                raise ConnectError(
                    Code.INTERNAL, "optimistic lock failure: trigger was modified concurrently"
                )
        _save(self._database, name, request.spec, request.automation_spec)
        _refresh(self._database, name, request.spec.task_version)
        await self._database.saved()
        return DeployTriggerResponse(trigger=_details(find_trigger(self._database, name)))

    async def get_trigger_details(
        self,
        request: GetTriggerDetailsRequest,
        ctx: Context,
    ) -> GetTriggerDetailsResponse:
        return GetTriggerDetailsResponse(trigger=_details(find_trigger(self._database, request.name)))

    async def list_triggers(
        self,
        request: ListTriggersRequest,
        ctx: Context,
    ) -> ListTriggersResponse:
        page = listing.read_page(request.request, _COLUMNS)
        condition, values = listing.where(
            listing.Condition("deleted_at IS NULL"), *page.conditions, *_scope(request)
        )
        rows = self._database.read(
            f"SELECT * FROM triggers WHERE {condition}"
            f" ORDER BY {page.order or 'active DESC, updated_at DESC'} LIMIT ? OFFSET ?",
            *values,
            page.limit,
            page.offset,
        )
        return ListTriggersResponse(triggers=map(_trigger, rows), token=page.token(len(rows)))

    async def update_triggers(
        self,
        request: UpdateTriggersRequest,
        ctx: Context,
    ) -> UpdateTriggersResponse:
        for name in request.names:
            rows = _living(self._database, name)
            if rows and rows[0]["active"] != request.active:
                self._database.write(
                    "UPDATE triggers SET active = ?, updated_at = ?, revision = revision + 1"
                    " WHERE project = ? AND domain = ? AND task_name = ? AND name = ?",
                    request.active,
                    self._database.now(),
                    *_key(name),
                )
                _refresh(self._database, name, rows[0]["task_version"])
        await self._database.saved()
        return UpdateTriggersResponse()

    async def delete_triggers(
        self,
        request: DeleteTriggersRequest,
        ctx: Context,
    ) -> DeleteTriggersResponse:
        for name in request.names:
            _delete(self._database, name)
        await self._database.saved()
        return DeleteTriggersResponse()


def check_automation(name: str, automation: TriggerAutomationSpec) -> None:
    """Check what fires a trigger.

    Raises:
        ConnectError: INVALID_ARGUMENT for a cron expression that is none.
    """
    schedule = automation.schedule
    try:
        kind = schedule.WhichOneof("expression")
        if kind == "cron_expression":
            check_cron(schedule.cron_expression)
        elif kind == "cron":
            check_cron(schedule.cron.expression, schedule.cron.timezone)
    except ValueError as error:
        raise listing.invalid(f'trigger "{name}" has invalid cron expression: {error}') from None


def replace_triggers(database: Database, task: TaskIdentifier, triggers: Iterable[TaskTrigger]) -> None:
    """Give a task name these triggers instead of those it has, all pointing at the version named."""
    names = {trigger.name for trigger in triggers}
    of_task = (task.project, task.domain, task.name)
    for row in database.read(
        "SELECT name FROM triggers WHERE project = ? AND domain = ? AND task_name = ? AND deleted_at IS NULL",
        *of_task,
    ):
        if row["name"] not in names:
            _delete(database, _name(*of_task, row["name"]))
    for trigger in triggers:
        spec = TriggerSpec(
            active=trigger.spec.active,
            task_version=task.version,
            description=cut(trigger.spec.description, SHORT),
            run_spec=trigger.spec.run_spec if trigger.spec.HasField("run_spec") else None,
        )
        if trigger.spec.HasField("offloaded_input_data"):
            spec.offloaded_input_data.CopyFrom(trigger.spec.offloaded_input_data)
        elif trigger.spec.HasField("inputs"):
            spec.inputs.CopyFrom(trigger.spec.inputs)
        _save(database, _name(*of_task, trigger.name), spec, trigger.automation_spec)
    _refresh(database, _name(*of_task, ""), task.version)


def find_trigger(database: Database, name: TriggerName) -> sqlite3.Row:
    """The row of a trigger that lives.

    Raises:
        ConnectError: NOT_FOUND.
    """
    rows = _living(database, name)
    if not rows:
        raise ConnectError(Code.NOT_FOUND, f"trigger not found: {'/'.join(_key(name))}")
    return rows[0]


def _living(database: Database, name: TriggerName) -> list[sqlite3.Row]:
    return database.read(
        "SELECT * FROM triggers WHERE project = ? AND domain = ? AND task_name = ? AND name = ?"
        " AND deleted_at IS NULL",
        *_key(name),
    )


def _save(database: Database, name: TriggerName, spec: TriggerSpec, given: TriggerAutomationSpec) -> None:
    automation = TriggerAutomationSpec()
    automation.CopyFrom(given)
    # The backend knows schedules only.
    automation.type = TYPE_SCHEDULE if automation.HasField("schedule") else TYPE_NONE
    now = database.now()
    database.write(
        "INSERT INTO triggers VALUES (?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, NULL)"
        " ON CONFLICT (project, domain, task_name, name) DO UPDATE SET"
        " revision = revision + 1, deployed_at = excluded.deployed_at, deleted_at = NULL,"
        " updated_at = CASE WHEN active != excluded.active THEN excluded.updated_at ELSE updated_at END,"
        " active = excluded.active, task_version = excluded.task_version,"
        " automation_type = excluded.automation_type, automation_spec = excluded.automation_spec,"
        " spec = excluded.spec",
        *_key(name),
        spec.task_version,
        spec.active,
        TriggerAutomationSpecType.Name(automation.type),
        spec.SerializeToString(),
        automation.SerializeToString(),
        now,
        now,
    )


def _delete(database: Database, name: TriggerName) -> None:
    rows = _living(database, name)
    if rows:
        database.write(
            "UPDATE triggers SET deleted_at = ?, active = 0, revision = revision + 1"
            " WHERE project = ? AND domain = ? AND task_name = ? AND name = ?",
            database.now(),
            *_key(name),
        )
        _refresh(database, name, rows[0]["task_version"])


def _refresh(database: Database, name: TriggerName, version: str) -> None:
    """Write into a version of a task what it says about its triggers."""
    of_task = (name.project, name.domain, name.task_name)
    rows = database.read(
        "SELECT name, active, automation_spec FROM triggers"
        " WHERE project = ? AND domain = ? AND task_name = ? AND task_version = ? AND deleted_at IS NULL",
        *of_task,
        version,
    )
    single = rows[0] if len(rows) == 1 else None
    database.write(
        "UPDATE tasks SET trigger_name = ?, trigger_automation_spec = ?,"
        " total_triggers = ?, active_triggers = ?"
        " WHERE project = ? AND domain = ? AND name = ? AND version = ?",
        single["name"] if single else None,
        single["automation_spec"] if single else None,
        len(rows),
        sum(row["active"] for row in rows),
        *of_task,
        version,
    )


def _scope(request: ListTriggersRequest) -> list[listing.Condition]:
    if request.HasField("project_id"):
        return [listing.equal(project=request.project_id.name, domain=request.project_id.domain)]
    if request.HasField("task_name"):
        task = request.task_name
        return [listing.equal(project=task.project, domain=task.domain, task_name=task.name)]
    if request.HasField("task_id"):
        version = request.task_id
        return [
            listing.equal(
                project=version.project,
                domain=version.domain,
                task_name=version.name,
                task_version=version.version,
            )
        ]
    return []


def _key(name: TriggerName) -> tuple[str, str, str, str]:
    return name.project, name.domain, name.task_name, name.name


def _name(project: str, domain: str, task_name: str, name: str) -> TriggerName:
    return TriggerName(project=project, domain=domain, task_name=task_name, name=name)


def _identifier(row: sqlite3.Row) -> TriggerIdentifier:
    name = _name(row["project"], row["domain"], row["task_name"], row["name"])
    return TriggerIdentifier(name=name, revision=row["revision"])


def _status(row: sqlite3.Row) -> TriggerStatus:
    return TriggerStatus(deployed_at=timestamp(row["deployed_at"]), updated_at=timestamp(row["updated_at"]))


def _automation(row: sqlite3.Row) -> TriggerAutomationSpec:
    return TriggerAutomationSpec.FromString(row["automation_spec"])


def _details(row: sqlite3.Row) -> TriggerDetails:
    spec = TriggerSpec.FromString(row["spec"])
    spec.active = bool(row["active"])
    return TriggerDetails(
        id=_identifier(row), spec=spec, status=_status(row), automation_spec=_automation(row)
    )


def _trigger(row: sqlite3.Row) -> Trigger:
    return Trigger(
        id=_identifier(row),
        status=_status(row),
        active=bool(row["active"]),
        automation_spec=_automation(row),
    )
