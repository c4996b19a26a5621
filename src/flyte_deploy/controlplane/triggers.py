"""The triggers that live on a control plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import grpc
from flyteidl2.common.identifier_pb2 import TriggerName
from flyteidl2.task.common_pb2 import TriggerAutomationSpec
from flyteidl2.trigger.trigger_definition_pb2 import TriggerSpec
from flyteidl2.trigger.trigger_service_pb2 import (
    DeleteTriggersRequest,
    GetTriggerDetailsRequest,
    ListTriggersRequest,
)

from flyte_deploy.controlplane.listing import one_of, page, project_id
from flyte_deploy.controlplane.server import Server
from flyte_deploy.controlplane.unary import Call, Refused, Work
from flyte_deploy.model import Target

Code = grpc.StatusCode


@dataclass(frozen=True)
class LiveTrigger:
    """A trigger as the control plane has it.

    `version` is the version of the task that it fires; `spec` and `automation` are the API's own messages.
    """

    name: str
    task_name: str
    version: str
    active: bool
    spec: TriggerSpec
    automation: TriggerAutomationSpec

    def __str__(self) -> str:
        return f"{self.task_name}/{self.name}"


def list_triggers(server: Server, target: Target, task_names: Sequence[str]) -> Work[list[tuple[str, str]]]:
    """The work of listing the triggers of tasks: pairs of task name and trigger name."""
    try:
        return (yield from _pages(server, target, task_names, filtered=True))
    except Refused as refused:
        if refused.code is Code.UNIMPLEMENTED:
            return []
        if refused.code is not Code.INVALID_ARGUMENT:
            raise
    # It cannot filter by task: all of the project, then.
    return (yield from _pages(server, target, task_names, filtered=False))


def _pages(
    server: Server, target: Target, task_names: Sequence[str], *, filtered: bool
) -> Work[list[tuple[str, str]]]:
    filters = [one_of("task_name", task_names)] if filtered else []
    known = set(task_names)
    found: list[tuple[str, str]] = []
    token = ""
    while True:
        request = ListTriggersRequest(
            request=page(token, filters, ["task_name", "name"]), project_id=project_id(target)
        )
        answer = yield Call(server, server.triggers.ListTriggers, request, "listing triggers")
        for trigger in answer.triggers:
            name = trigger.id.name
            if name.task_name in known:
                found.append((name.task_name, name.name))
        if not answer.token or answer.token == token:
            return found
        token = answer.token


def read_trigger(server: Server, target: Target, task_name: str, name: str) -> Work[LiveTrigger | None]:
    """The work of reading a trigger, for a list does not say its version; None where it is gone."""
    request = GetTriggerDetailsRequest(name=_name(target, task_name, name))
    doing = f"reading trigger '{task_name}/{name}'"
    try:
        answer = yield Call(server, server.triggers.GetTriggerDetails, request, doing)
    except Refused as refused:
        if refused.code is Code.NOT_FOUND:
            return None
        raise
    trigger = answer.trigger
    return LiveTrigger(
        name=name,
        task_name=task_name,
        version=trigger.spec.task_version,
        active=trigger.spec.active,
        spec=trigger.spec,
        automation=trigger.automation_spec,
    )


def delete_triggers(server: Server, target: Target, triggers: Sequence[LiveTrigger]) -> Work[None]:
    """The work of deleting triggers."""
    request = DeleteTriggersRequest(names=[_name(target, one.task_name, one.name) for one in triggers])
    yield Call(server, server.triggers.DeleteTriggers, request, "deleting triggers")


def _name(target: Target, task_name: str, name: str) -> TriggerName:
    return TriggerName(
        org=target.org, project=target.project, domain=target.domain, task_name=task_name, name=name
    )
