"""Registering, reading and listing tasks."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import grpc
import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from flyteidl2.app.app_payload_pb2 import ListRequest as ListApps
from flyteidl2.app.app_service_pb2_grpc import AppServiceStub
from flyteidl2.common.list_pb2 import Filter, ListRequest, Sort
from flyteidl2.secret.payload_pb2 import ListSecretsRequest
from flyteidl2.secret.secret_connect import SecretServiceClientSync
from flyteidl2.task.task_definition_pb2 import Task, TaskDetails, TaskIdentifier, TaskName
from flyteidl2.task.task_service_connect import TaskServiceClientSync
from flyteidl2.task.task_service_pb2 import (
    DeployTaskRequest,
    GetTaskDetailsRequest,
    ListTasksRequest,
    ListTasksResponse,
    ListVersionsRequest,
)

from flyte_deploy.embedded import READS, Embedded, Fault, running
from tests.embedded.conftest import PROJECT, Client, Connect, deployment, refusal

EVERYTHING = [("env.a", "v1"), ("env.b", "v1"), ("other.a", "v1"), ("env.a", "v2"), ("env.b", "v3")]


@pytest.fixture
def filled(client: Client) -> Client:
    for name, version in EVERYTHING:
        client.tasks.DeployTask(deployment(name, version))
    return client


def details(client: Client, name: str = "env.task", version: str = "v1") -> TaskDetails:
    task = TaskIdentifier(project=PROJECT.name, domain=PROJECT.domain, name=name, version=version)
    found: TaskDetails = client.tasks.GetTaskDetails(GetTaskDetailsRequest(task_id=task)).details
    return found


def listing(client: Client, *filters: Filter, **request: Any) -> ListTasksResponse:
    scoped = ListTasksRequest(project_id=PROJECT, request=ListRequest(filters=filters, **request))
    answer: ListTasksResponse = client.tasks.ListTasks(scoped)
    return answer


def names(tasks: Iterable[Task]) -> list[tuple[str, str]]:
    return [(task.task_id.name, task.task_id.version) for task in tasks]


def test_a_task_is_read_back_as_it_was_registered(client: Client) -> None:
    request = deployment(text="as it was")
    client.tasks.DeployTask(request)
    found = details(client)
    assert found.spec == request.spec
    assert found.task_id.name == "env.task"
    assert found.metadata.short_name == "task"
    assert found.metadata.environment_name == "env"


def test_registering_again_replaces_the_spec_and_keeps_the_creation_time(client: Client) -> None:
    client.tasks.DeployTask(deployment(version="A", text="first"))
    client.tasks.DeployTask(deployment(version="B"))
    created = details(client, version="A").metadata.deployed_at
    client.tasks.DeployTask(deployment(version="A", text="second"))
    again = details(client, version="A")
    assert again.spec.task_template.container.args == ["second"]
    assert again.metadata.deployed_at == created
    assert names(listing(client).tasks) == [("env.task", "B")]


def test_creation_times_increase_strictly(client: Client) -> None:
    futures = [client.tasks.DeployTask.future(deployment(f"env.t{number}")) for number in range(100)]
    for future in futures:
        future.result()
    times = [task.metadata.deployed_at.ToNanoseconds() for task in listing(client, limit=200).tasks]
    assert len(times) == 100
    assert all(later > earlier for later, earlier in itertools.pairwise(times))


def test_a_list_has_the_latest_version_of_each_task(filled: Client) -> None:
    answer = listing(filled)
    assert names(answer.tasks) == [("env.b", "v3"), ("env.a", "v2"), ("other.a", "v1")]
    assert (answer.metadata.total, answer.metadata.filtered_total) == (3, 3)


def test_a_version_is_looked_for_before_the_latest(filled: Client) -> None:
    answer = listing(filled, Filter(field="version", function=Filter.EQUAL, values=["v1"]))
    assert sorted(names(answer.tasks)) == [("env.a", "v1"), ("env.b", "v1"), ("other.a", "v1")]
    answer = listing(filled, Filter(field="version", function=Filter.EQUAL, values=["v3"]))
    assert names(answer.tasks) == [("env.b", "v3")]
    assert (answer.metadata.total, answer.metadata.filtered_total) == (3, 1)


@pytest.mark.parametrize(
    ("field", "function", "values", "found"),
    [
        ("environment", Filter.VALUE_IN, ["other", "none"], {"other.a"}),
        ("environment", Filter.VALUE_IN, ["other", "env"], {"env.a", "env.b", "other.a"}),
        ("environment", Filter.EQUAL, ["env"], {"env.a", "env.b"}),
        ("name", Filter.EQUAL, ["env.a"], {"env.a"}),
        ("name", Filter.NOT_EQUAL, ["env.a"], {"env.b", "other.a"}),
        ("name", Filter.CONTAINS, ["env."], {"env.a", "env.b"}),
        ("name", Filter.CONTAINS, ["ENV."], set()),
        ("name", Filter.CONTAINS_CASE_INSENSITIVE, ["ENV."], {"env.a", "env.b"}),
        ("name", Filter.ENDS_WITH, [".a"], {"env.a", "other.a"}),
        ("name", Filter.NOT_ENDS_WITH, [".a"], {"env.b"}),
        ("function_name", Filter.EQUAL, ["a"], {"env.a", "other.a"}),
        ("created_at", Filter.GREATER_THAN, ["2020-01-01T00:00:00Z"], {"env.a", "env.b", "other.a"}),
        ("created_at", Filter.LESS_THAN, ["2020-01-01T00:00:00+00:00"], set()),
        ("total_triggers", Filter.GREATER_THAN, ["0"], set()),
    ],
)
def test_filters(
    filled: Client, field: str, function: Filter.Function, values: list[str], found: set[str]
) -> None:
    answer = listing(filled, Filter(field=field, function=function, values=values))
    assert {task.task_id.name for task in answer.tasks} == found


def test_filters_are_joined(filled: Client) -> None:
    answer = listing(
        filled,
        Filter(field="environment", function=Filter.EQUAL, values=["env"]),
        Filter(field="version", function=Filter.EQUAL, values=["v2"]),
    )
    assert names(answer.tasks) == [("env.a", "v2")]


def test_paging(filled: Client) -> None:
    order = [Sort(key="name", direction=Sort.ASCENDING)]
    first = listing(filled, limit=2, sort_by_fields=order)
    second = listing(filled, limit=2, sort_by_fields=order, token=first.token)
    assert [task.task_id.name for task in first.tasks] == ["env.a", "env.b"]
    assert [task.task_id.name for task in second.tasks] == ["other.a"]
    assert (first.token, second.token) == ("2", "")
    assert first.metadata.filtered_total == 3


def test_a_last_page_that_is_full_has_a_token(filled: Client) -> None:
    last = listing(filled, limit=3)
    assert last.token == "3"
    after = listing(filled, limit=3, token=last.token)
    assert (list(after.tasks), after.token) == ([], "")


def test_the_old_way_to_sort_still_works(filled: Client) -> None:
    answer = listing(filled, sort_by=Sort(key="created_at", direction=Sort.ASCENDING))
    assert names(answer.tasks) == [("other.a", "v1"), ("env.a", "v2"), ("env.b", "v3")]


def test_pages_hold_fifty_unless_told_otherwise(client: Client) -> None:
    for number in range(51):
        client.tasks.DeployTask.future(deployment(f"env.t{number}")).result()
    answer = listing(client)
    assert (len(answer.tasks), answer.token) == (50, "50")
    assert len(listing(client, limit=200).tasks) == 51


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"limit": 201}, "exceeds maximum of 200"),
        ({"token": "x"}, "invalid token"),
        ({"sort_by_fields": [Sort(key="spec")]}, "invalid sort field: spec"),
        ({"filters": [Filter(field="spec", values=["x"])]}, "invalid filter field: spec"),
        ({"filters": [Filter(field="name")]}, "filter name has no values"),
        ({"filters": [Filter(field="name", function=Filter.EXISTS, values=["x"])]}, "unsupported filter"),
    ],
)
def test_wrong_lists_are_refused(client: Client, request_: dict[str, Any], words: str) -> None:
    request = ListTasksRequest(project_id=PROJECT, request=ListRequest(**request_))
    status, said = refusal(lambda: client.tasks.ListTasks(request))
    assert status is grpc.StatusCode.INVALID_ARGUMENT
    assert words in said


def test_value_in_of_one_value_fails_as_in_the_backend(client: Client) -> None:
    one = Filter(field="name", function=Filter.VALUE_IN, values=["env.a"])
    assert refusal(lambda: listing(client, one))[0] is grpc.StatusCode.INTERNAL


def test_other_projects_and_domains_are_not_listed(filled: Client) -> None:
    elsewhere = deployment("env.elsewhere")
    elsewhere.task_id.domain = "production"
    filled.tasks.DeployTask(elsewhere)
    assert "env.elsewhere" not in dict(names(listing(filled).tasks))
    everywhere = ListTasksRequest(org="any", request=ListRequest(limit=200))
    assert len(filled.tasks.ListTasks(everywhere).tasks) == 4


def test_versions(filled: Client) -> None:
    task = TaskName(project=PROJECT.name, domain=PROJECT.domain, name="env.a")
    first = filled.tasks.ListVersions(ListVersionsRequest(task_name=task, request=ListRequest(limit=1)))
    second = filled.tasks.ListVersions(
        ListVersionsRequest(task_name=task, request=ListRequest(limit=1, token=first.token))
    )
    assert [each.version for each in (*first.versions, *second.versions)] == ["v2", "v1"]
    assert first.versions[0].deployed_at == details(filled, "env.a", "v2").metadata.deployed_at


def test_what_is_not_there(client: Client) -> None:
    assert refusal(lambda: details(client))[0] is grpc.StatusCode.NOT_FOUND
    request = deployment()
    request.task_id.project = "nobodys"
    status, said = refusal(lambda: client.tasks.DeployTask(request))
    assert status is grpc.StatusCode.NOT_FOUND
    assert 'project "nobodys" not found' in said


def test_an_unknown_domain_is_accepted_as_by_the_backend(client: Client) -> None:
    request = deployment()
    request.task_id.domain = "nobodys"
    client.tasks.DeployTask(request)


def changed(**fields: str) -> DeployTaskRequest:
    request = deployment()
    for field, value in fields.items():
        setattr(request.task_id, field, value)
    return request


def in_spec(**fields: str) -> DeployTaskRequest:
    request = deployment()
    for field, value in fields.items():
        setattr(request.spec, field, value)
    return request


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (changed(version=""), "task_id.version: "),
        (changed(version="v" * 64), "task_id.version: "),
        (changed(name="n" * 256), "task_id.name: "),
        (changed(org="o" * 64), "task_id.org: "),
        (in_spec(short_name="s" * 64), "spec.short_name: "),
        (DeployTaskRequest(), "task_id: value is required"),
    ],
)
def test_the_rules_of_the_api_hold(client: Client, request_: DeployTaskRequest, words: str) -> None:
    status, said = refusal(lambda: client.tasks.DeployTask(request_))
    assert status is grpc.StatusCode.INVALID_ARGUMENT
    assert words in said
    assert "task_id.org: must be at least" not in said


def test_what_the_rules_allow_at_their_edges(client: Client, plane: Embedded) -> None:
    client.tasks.DeployTask(changed(version="v" * 63, name="n" * 255, org="o" * 63))
    client.tasks.DeployTask(changed(org=""))
    assert len(plane.tasks()) == 2


def test_descriptions_are_cut_but_not_within_a_character(client: Client, plane: Embedded) -> None:
    request = deployment()
    request.spec.environment.description = "e" * 300
    request.spec.documentation.short_description = "s" + "ä" * 200
    request.spec.documentation.long_description = "l" * 3000
    client.tasks.DeployTask(request)
    found = details(client)
    assert found.spec.environment.description == "e" * 255
    assert found.spec.documentation.short_description == "s" + "ä" * 127
    assert found.spec.documentation.long_description == "l" * 2048
    assert found.metadata.short_description == "s" + "ä" * 127
    # What was sent is kept whole.
    assert [DeployTaskRequest.FromString(sent) for sent in plane.deploy_requests()] == [request]


def test_connect_over_http_1_says_the_same(plane: Embedded, client: Client) -> None:
    with TaskServiceClientSync(f"http://{plane.endpoint}") as connect:
        connect.deploy_task(deployment(text="by connect"))
        task = deployment().task_id
        found = connect.get_task_details(GetTaskDetailsRequest(task_id=task)).details
        with pytest.raises(ConnectError) as caught:
            connect.deploy_task(changed(version=""))
    assert found == details(client)
    assert caught.value.code is Code.INVALID_ARGUMENT


def test_services_that_are_not_there_are_unimplemented(plane: Embedded) -> None:
    with grpc.insecure_channel(plane.endpoint) as channel:
        status, _ = refusal(lambda: AppServiceStub(channel).List(ListApps()))  # type: ignore[no-untyped-call]
    with (
        SecretServiceClientSync(f"http://{plane.endpoint}") as secrets,
        pytest.raises(ConnectError) as caught,
    ):
        secrets.list_secrets(ListSecretsRequest())
    assert status is grpc.StatusCode.UNIMPLEMENTED
    assert caught.value.code is Code.UNIMPLEMENTED
    assert [(call.method, call.code) for call in plane.calls()] == [
        ("/flyteidl2.app.AppService/List", "unimplemented"),
        ("/flyteidl2.secret.SecretService/ListSecrets", "unimplemented"),
    ]


def test_the_call_log_tells_reads_from_writes(plane: Embedded, client: Client) -> None:
    listing(client)
    refusal(lambda: details(client))
    assert {call.method for call in plane.calls()} <= READS
    client.tasks.DeployTask(deployment())
    assert [(call.method, call.code, call.ok) for call in plane.calls()] == [
        ("ListTasks", "ok", True),
        ("GetTaskDetails", "not_found", False),
        ("DeployTask", "ok", True),
    ]
    assert not {call.method for call in plane.calls()} <= READS


def test_a_request_that_was_refused_is_no_registration(plane: Embedded, client: Client) -> None:
    refusal(lambda: client.tasks.DeployTask(changed(version="")))
    assert list(plane.deploy_requests()) == []
    assert [call.code for call in plane.calls()] == ["invalid_argument"]


def test_faults_before_and_after(connect: Connect) -> None:
    faults = [
        Fault("DeployTask", nth=2, code="unavailable"),
        Fault("DeployTask", nth=3, times=2, code="internal", when="after"),
    ]
    with running(faults=faults) as plane:
        client = connect(plane.endpoint)
        answers = []
        for number in range(1, 6):
            try:
                client.tasks.DeployTask(deployment(f"env.t{number}"))
                answers.append("ok")
            except grpc.RpcError as error:
                answers.append(error.code().name)
        assert answers == ["ok", "UNAVAILABLE", "INTERNAL", "INTERNAL", "ok"]
        assert [task.name for task in plane.tasks()] == ["env.t1", "env.t3", "env.t4", "env.t5"]
        assert [call.code for call in plane.calls()] == ["ok", "unavailable", "internal", "internal", "ok"]


def test_more_than_a_thousand_calls_on_one_connection(client: Client, plane: Embedded) -> None:
    # A server that closes the connection after so many answers some of them UNAVAILABLE.
    waiting = [client.tasks.DeployTask.future(deployment(f"env.t{number}")) for number in range(1100)]
    for future in waiting:
        future.result()
    assert len(plane.tasks()) == 1100
