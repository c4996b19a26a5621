"""One set of triggers a task name, replaced by whatever version brings some."""

from __future__ import annotations

import grpc
import pytest
from flyteidl2.common.identifier_pb2 import TriggerName
from flyteidl2.common.list_pb2 import Filter, ListRequest
from flyteidl2.task.common_pb2 import FIXED_RATE_UNIT_MINUTE, TYPE_SCHEDULE
from flyteidl2.task.task_definition_pb2 import TaskIdentifier, TaskName, TaskTriggersSummary
from flyteidl2.task.task_service_pb2 import DeployTaskRequest, ListTasksRequest
from flyteidl2.trigger.trigger_definition_pb2 import TriggerDetails
from flyteidl2.trigger.trigger_service_pb2 import (
    DeleteTriggersRequest,
    DeployTriggerRequest,
    GetTriggerDetailsRequest,
    ListTriggersRequest,
    UpdateTriggersRequest,
)

from flyte_deploy.embedded.cron import check_cron
from tests.embedded.conftest import PROJECT, Client, deployment, refusal


def with_triggers(version: str, **crons: str) -> DeployTaskRequest:
    request = deployment(version=version)
    for name, cron in crons.items():
        trigger = request.triggers.add(name=name)
        trigger.spec.active = True
        trigger.automation_spec.type = TYPE_SCHEDULE
        trigger.automation_spec.schedule.cron.expression = cron
    return request


def named(name: str) -> TriggerName:
    return TriggerName(project=PROJECT.name, domain=PROJECT.domain, task_name="env.task", name=name)


def details(client: Client, name: str) -> TriggerDetails:
    answer: TriggerDetails = client.triggers.GetTriggerDetails(
        GetTriggerDetailsRequest(name=named(name))
    ).trigger
    return answer


def living(client: Client) -> dict[str, bool]:
    answer = client.triggers.ListTriggers(ListTriggersRequest(project_id=PROJECT))
    return {trigger.id.name.name: trigger.active for trigger in answer.triggers}


def test_triggers_come_with_a_version_and_point_at_it(client: Client) -> None:
    client.tasks.DeployTask(with_triggers("v1", nightly="0 2 * * *"))
    found = details(client, "nightly")
    assert found.spec.task_version == "v1"
    assert found.spec.active
    assert found.automation_spec.schedule.cron.expression == "0 2 * * *"


def test_a_version_with_triggers_replaces_the_set(client: Client) -> None:
    client.tasks.DeployTask(with_triggers("v1", a="0 2 * * *", b="0 3 * * *"))
    client.tasks.DeployTask(with_triggers("v2", b="0 4 * * *", c="0 5 * * *"))
    assert sorted(living(client)) == ["b", "c"]
    assert details(client, "b").spec.task_version == "v2"
    assert details(client, "b").id.revision == 2
    assert refusal(lambda: details(client, "a"))[0] is grpc.StatusCode.NOT_FOUND


def test_so_does_one_that_is_not_the_newest(client: Client) -> None:
    client.tasks.DeployTask(with_triggers("v1", a="0 2 * * *"))
    client.tasks.DeployTask(with_triggers("v2", a="0 2 * * *"))
    client.tasks.DeployTask(with_triggers("v1", a="0 2 * * *"))
    assert details(client, "a").spec.task_version == "v1"


def test_a_version_without_triggers_leaves_the_old_ones(client: Client) -> None:
    client.tasks.DeployTask(with_triggers("v1", a="0 2 * * *"))
    client.tasks.DeployTask(deployment(version="v2"))
    assert details(client, "a").spec.task_version == "v1"


def test_a_paused_trigger_runs_again_after_a_deploy(client: Client) -> None:
    client.tasks.DeployTask(with_triggers("v1", a="0 2 * * *"))
    client.triggers.UpdateTriggers(UpdateTriggersRequest(names=[named("a"), named("none")], active=False))
    assert living(client) == {"a": False}
    assert not details(client, "a").spec.active
    client.tasks.DeployTask(with_triggers("v1", a="0 2 * * *"))
    assert living(client) == {"a": True}


def test_deleted_triggers_are_gone_and_can_come_back(client: Client) -> None:
    client.tasks.DeployTask(with_triggers("v1", a="0 2 * * *"))
    client.triggers.DeleteTriggers(DeleteTriggersRequest(names=[named("a"), named("none")]))
    assert living(client) == {}
    client.tasks.DeployTask(with_triggers("v1", a="0 2 * * *"))
    assert living(client) == {"a": True}


def test_a_trigger_of_its_own(client: Client) -> None:
    client.tasks.DeployTask(deployment())
    request = DeployTriggerRequest(name=named("a"))
    request.spec.task_version = "v1"
    request.automation_spec.type = TYPE_SCHEDULE
    request.automation_spec.schedule.rate.value = 5
    request.automation_spec.schedule.rate.unit = FIXED_RATE_UNIT_MINUTE
    answer = client.triggers.DeployTrigger(request).trigger
    assert answer == details(client, "a")
    assert living(client) == {"a": False}


def test_lists_by_task_and_version(client: Client) -> None:
    client.tasks.DeployTask(with_triggers("v1", a="0 2 * * *", b="0 3 * * *"))
    task = TaskName(project=PROJECT.name, domain=PROJECT.domain, name="env.task")
    other = TaskName(project=PROJECT.name, domain=PROJECT.domain, name="env.other")
    version = TaskIdentifier(project=PROJECT.name, domain=PROJECT.domain, name="env.task", version="v2")
    assert len(client.triggers.ListTriggers(ListTriggersRequest(task_name=task)).triggers) == 2
    assert not client.triggers.ListTriggers(ListTriggersRequest(task_name=other)).triggers
    assert not client.triggers.ListTriggers(ListTriggersRequest(task_id=version)).triggers
    paused = ListRequest(filters=[Filter(field="active", function=Filter.EQUAL, values=["false"])])
    request = ListTriggersRequest(project_id=PROJECT, request=paused)
    assert not client.triggers.ListTriggers(request).triggers
    page = client.triggers.ListTriggers(ListTriggersRequest(task_name=task, request=ListRequest(limit=1)))
    assert (len(page.triggers), page.token) == (1, "1")


def test_a_task_says_what_triggers_it_has(client: Client) -> None:
    def summary() -> TaskTriggersSummary:
        [task] = client.tasks.ListTasks(ListTasksRequest(project_id=PROJECT)).tasks
        found: TaskTriggersSummary = task.metadata.triggers_summary
        return found

    client.tasks.DeployTask(with_triggers("v1", a="0 2 * * *"))
    assert (summary().details.name, summary().details.active) == ("a", True)
    client.tasks.DeployTask(with_triggers("v1", a="0 2 * * *", b="0 3 * * *"))
    client.triggers.UpdateTriggers(UpdateTriggersRequest(names=[named("a")], active=False))
    assert (summary().stats.total, summary().stats.active) == (2, 1)


def test_a_wrong_cron_expression_registers_nothing(client: Client) -> None:
    request = with_triggers("v1", good="0 2 * * *", bad="0 25 * * *")
    status, said = refusal(lambda: client.tasks.DeployTask(request))
    assert status is grpc.StatusCode.INVALID_ARGUMENT
    assert 'trigger "bad" has invalid cron expression: hour: 25 is not between 0 and 23' in said
    assert not client.tasks.ListTasks(ListTasksRequest(project_id=PROJECT)).tasks
    assert living(client) == {}


@pytest.mark.parametrize(
    "expression",
    [
        "* * * * *",
        "*/15 0-6,18-23/2 1,15 JAN-mar MON",
        "? ? ? ? ?",
        "5/10 * * * 6",
        "@daily",
        "@every 1h30m",
        "CRON_TZ=Europe/Berlin 0 9 * * *",
        "TZ=UTC @hourly",
    ],
)
def test_cron_expressions(expression: str) -> None:
    check_cron(expression)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("", "expected exactly 5 fields, found 0"),
        ("* * * *", "expected exactly 5 fields, found 4"),
        ("* * * * * *", "expected exactly 5 fields, found 6"),
        ("60 * * * *", "minute: 60 is not between 0 and 59"),
        ("* * 0 * *", "day of month: 0 is not"),
        ("* * * * 7", "day of week: 7 is not"),
        ("* * * foo *", "month: not a number"),
        ("*/0 * * * *", "minute: not a step"),
        ("5-1 * * * *", "minute: the range ends"),
        ("1-2-3 * * * *", "minute: not a number"),
        ("@sometimes", "unrecognized descriptor"),
        ("@every day", "unrecognized descriptor"),
        ("CRON_TZ=Nowhere/Town 0 9 * * *", "unknown time zone 'Nowhere/Town'"),
    ],
)
def test_wrong_cron_expressions(expression: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_cron(expression)


def test_a_wrong_time_zone() -> None:
    with pytest.raises(ValueError, match="unknown time zone"):
        check_cron("0 9 * * *", "Nowhere/Town")
