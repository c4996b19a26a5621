"""What the control plane is asked."""

from __future__ import annotations

import base64
import hashlib
import urllib.request
from collections import Counter

import grpc
import pytest
from flyteidl2.project.project_service_pb2 import PROJECT_STATE_ARCHIVED, Project, UpdateProjectRequest
from flyteidl2.task.task_definition_pb2 import TaskSpec
from flyteidl2.trigger.trigger_definition_pb2 import TriggerDetails

from flyte_deploy.controlplane import ControlPlane, Endpoint, Uploads
from flyte_deploy.controlplane.uploads import cluster_endpoint
from flyte_deploy.embedded import Embedded
from flyte_deploy.errors import DeployError
from flyte_deploy.model import RegisteredTask, Target
from flyte_deploy.stores import AlreadyExists
from tests.controlplane.server import TARGET, Fault, Server, put, registration, request, serving

Code = grpc.StatusCode


def register_all(plane: ControlPlane, names: list[str], version: str = "v1") -> None:
    """Register tasks, one version after the other."""
    assert put(plane, [registration(name, version=version) for name in names], concurrency=32).complete


def counted(embedded: Embedded) -> Counter[str]:
    """How often each method was called."""
    return Counter(call.method for call in embedded.calls())


def test_project_and_domain_that_exist(embedded: Embedded, plane: ControlPlane) -> None:
    plane.check_target(TARGET)
    assert counted(embedded) == {"GetProject": 1}


def test_an_unknown_project_says_which_there_are(plane: ControlPlane) -> None:
    with pytest.raises(DeployError) as caught:
        plane.check_target(Target("shed", "development"))
    assert "there is no project 'shed'" in caught.value.what
    assert "The projects are shop." in str(caught.value)
    assert caught.value.exit_status == 2


def test_an_unknown_project_where_listing_is_forbidden(server: Server, client: ControlPlane) -> None:
    server.always["ListProjects"] = Fault(Code.PERMISSION_DENIED)
    with pytest.raises(DeployError, match="there is no project 'shed' in org 'acme'"):
        client.check_target(Target("shed", "development", "acme"))


def test_an_unknown_domain_says_which_there_are(plane: ControlPlane) -> None:
    with pytest.raises(DeployError) as caught:
        plane.check_target(Target("shop", "testing"))
    assert "has no domain 'testing'" in caught.value.what
    assert "development, staging, production" in str(caught.value)
    assert caught.value.exit_status == 2


def test_an_archived_project(plane: ControlPlane) -> None:
    project = Project(id="shop", name="shop", state=PROJECT_STATE_ARCHIVED)
    plane.server.projects.UpdateProject(UpdateProjectRequest(project=project))
    with pytest.raises(DeployError, match="project 'shop' is archived"):
        plane.check_target(TARGET)


def test_which_tasks_have_a_version(embedded: Embedded, plane: ControlPlane) -> None:
    names = [f"etl.t{number:03}" for number in range(450)]
    others = [f"other.t{number}" for number in range(250)]
    register_all(plane, [*names, *others])
    register_all(plane, names[:10], "v2")
    found = plane.registered_with_version(TARGET, "v1", [*names, "etl.new"])
    assert sorted(found) == names
    assert found[names[3]] == RegisteredTask(names[3], "v1", "etl")
    assert sorted(plane.registered_with_version(TARGET, "v2", names)) == names[:10]
    assert plane.registered_with_version(TARGET, "v3", names) == {}
    elsewhere = Target("shop", "production")
    assert plane.registered_with_version(elsewhere, "v1", names) == {}


def test_a_thousand_tasks_take_five_calls(embedded: Embedded, plane: ControlPlane) -> None:
    names = [f"etl.t{number}" for number in range(1000)]
    register_all(plane, names)
    assert len(plane.registered_with_version(TARGET, "v1", names)) == 1000
    assert counted(embedded)["ListTasks"] == 5


def test_one_name_and_no_name(embedded: Embedded, plane: ControlPlane) -> None:
    register_all(plane, ["etl.a"])
    assert plane.registered_with_version(TARGET, "v1", []) == {}
    assert counted(embedded)["ListTasks"] == 0
    assert sorted(plane.registered_with_version(TARGET, "v1", ["etl.a"])) == ["etl.a"]


def test_the_newest_version_of_each_task_of_environments(plane: ControlPlane) -> None:
    register_all(plane, [f"etl.t{number}" for number in range(450)])
    register_all(plane, ["etl.t7"], "v2")
    register_all(plane, [f"e{number}.a" for number in range(60)])
    register_all(plane, ["other.a"], "v9")
    # What is replaced does not become the newest again.
    register_all(plane, ["etl.t7"])
    found = plane.newest(TARGET, ["etl", *(f"e{number}" for number in range(60))])
    assert len(found) == 450 + 60
    assert found["etl.t7"] == RegisteredTask("etl.t7", "v2", "etl")
    assert found["etl.t8"].version == "v1"
    assert found["e59.a"] == RegisteredTask("e59.a", "v1", "e59")
    assert plane.newest(TARGET, ["nobody"]) == {}
    assert plane.newest(TARGET, []) == {}


def test_specs_that_are_there(plane: ControlPlane) -> None:
    names = [f"etl.t{number}" for number in range(40)]
    assert put(plane, [registration(name, text=name) for name in names]).complete
    found = plane.task_specs(TARGET, [*names, "etl.new"], "v1", 4)
    assert sorted(found) == sorted(names)
    assert TaskSpec.FromString(found["etl.t3"]) == request("etl.t3", text="etl.t3").spec
    assert plane.task_specs(TARGET, names, "v2", 4) == {}


def test_no_more_reads_in_flight_than_asked_for(server: Server, client: ControlPlane) -> None:
    client.task_specs(TARGET, [f"etl.t{number}" for number in range(40)], "v1", 4)
    assert server.count() == {"GetTaskDetails": 40}
    assert server.most_in_flight <= 4


def test_the_target_is_named_in_every_request(server: Server, client: ControlPlane) -> None:
    target = Target("shop", "production", "acme")
    client.registered_with_version(target, "v1", ["etl.a"])
    client.task_specs(target, ["etl.a"], "v1", 1)
    listing = server.requests("ListTasks")[0].project_id
    reading = server.requests("GetTaskDetails")[0].task_id
    assert (listing.organization, listing.name, listing.domain) == ("acme", "shop", "production")
    assert (reading.org, reading.project, reading.domain) == ("acme", "shop", "production")


def test_triggers_of_tasks(embedded: Embedded, plane: ControlPlane) -> None:
    many = tuple(f"t{number:03}" for number in range(220))
    ones = [
        registration("etl.a", triggers=many),
        registration("etl.b", version="v2", triggers=("nightly",), active=False),
        registration("etl.c"),
        registration("other.a", triggers=("hourly",)),
    ]
    assert put(plane, ones).complete
    found = plane.triggers(TARGET, ["etl.a", "etl.b", "etl.c"])
    assert sorted(found) == ["etl.a", "etl.b"]
    assert tuple(one.name for one in found["etl.a"]) == many
    (one,) = found["etl.b"]
    assert (str(one), one.task_name, one.version, one.active) == ("etl.b/nightly", "etl.b", "v2", False)
    assert one.automation.schedule.cron.expression == "0 3 * * *"
    assert one.spec.task_version == "v2"
    assert counted(embedded)["GetTriggerDetails"] == 221
    assert sorted(plane.triggers(TARGET, ["other.a"])) == ["other.a"]
    assert plane.triggers(TARGET, ["etl.c"]) == {}


def _trigger(version: str) -> TriggerDetails:
    answer = TriggerDetails()
    answer.spec.task_version = version
    return answer


def test_a_trigger_that_goes_while_it_is_looked_at(server: Server, client: ControlPlane) -> None:
    server.triggers["etl.a", "nightly"] = _trigger("v1")
    server.always["GetTriggerDetails"] = Fault(Code.NOT_FOUND)
    assert client.triggers(TARGET, ["etl.a"]) == {}


def test_a_control_plane_that_cannot_filter_triggers(server: Server, client: ControlPlane) -> None:
    server.triggers["etl.a", "nightly"] = _trigger("v1")
    server.triggers["other.a", "hourly"] = _trigger("v1")
    server.faults["ListTriggers"] = [Fault(Code.INVALID_ARGUMENT, "invalid filter field: task_name")]
    assert sorted(client.triggers(TARGET, ["etl.a"])) == ["etl.a"]


def test_a_control_plane_without_triggers(server: Server, client: ControlPlane) -> None:
    server.always["ListTriggers"] = Fault(Code.UNIMPLEMENTED)
    assert client.triggers(TARGET, ["etl.a"]) == {}


def test_triggers_are_deleted(plane: ControlPlane) -> None:
    assert put(plane, [registration("etl.a", triggers=("a", "b", "c"))]).complete
    stale = plane.triggers(TARGET, ["etl.a"])["etl.a"][:2]
    plane.delete_triggers(TARGET, stale)
    plane.delete_triggers(TARGET, stale)
    plane.delete_triggers(TARGET, [])
    assert [one.name for one in plane.triggers(TARGET, ["etl.a"])["etl.a"]] == ["c"]


def test_an_upload_and_a_look_at_it(embedded: Embedded, plane: ControlPlane) -> None:
    uploads, body = Uploads(plane, TARGET), b"a bundle"
    absent = _look(uploads)
    location = uploads.create_upload_location(
        filename="x.tar.gz",
        filename_root="abc",
        content_md5=hashlib.md5(body).digest(),
        content_length=len(body),
        add_content_md5_metadata=True,
    )
    assert location.native_url == absent
    assert location.native_url.endswith("/shop/development/abc/x.tar.gz")
    assert location.headers["Content-MD5"] == base64.b64encode(hashlib.md5(body).digest()).decode()
    headers = {**location.headers, "Content-Length": str(len(body))}
    with urllib.request.urlopen(
        urllib.request.Request(location.signed_url, data=body, method="PUT", headers=headers)
    ) as answer:
        assert answer.status == 200
    with pytest.raises(AlreadyExists, match="already exists"):
        _look(uploads)
    assert counted(embedded) == {"SelectCluster": 1, "CreateUploadLocation": 3, "PUT": 1}


def test_what_is_asked_for_an_upload(server: Server, client: ControlPlane) -> None:
    location = Uploads(client, Target("shop", "development", "acme")).create_upload_location(
        filename="x.tar.gz",
        filename_root="abc",
        content_md5=b"m" * 16,
        content_length=7,
        add_content_md5_metadata=True,
    )
    assert location.headers == {"x-a": "b"}
    (request,) = server.requests("CreateUploadLocation")
    assert (request.org, request.project, request.domain) == ("acme", "shop", "development")
    assert (request.content_md5, request.content_length) == (b"m" * 16, 7)
    assert request.add_content_md5_metadata


def _look(uploads: Uploads) -> str:
    return uploads.create_upload_location(
        filename="x.tar.gz",
        filename_root="abc",
        content_md5=None,
        content_length=None,
        add_content_md5_metadata=False,
    ).native_url


def test_an_upload_that_is_too_large(plane: ControlPlane) -> None:
    with pytest.raises(DeployError, match=r"content_length .* exceeds maximum"):
        Uploads(plane, TARGET).create_upload_location(
            filename="x.tar.gz",
            filename_root="abc",
            content_md5=b"m" * 16,
            content_length=10**12,
            add_content_md5_metadata=True,
        )


def test_the_cluster_that_is_selected_is_called(server: Server, client: ControlPlane) -> None:
    with serving() as cluster:
        server.cluster = f"http://{cluster.address}"
        uploads = Uploads(client, TARGET)
        assert _look(uploads) == _look(uploads) == "s3://b/abc/x.tar.gz"
        assert server.count() == {"SelectCluster": 1}
        assert cluster.count() == {"CreateUploadLocation": 2}


@pytest.mark.parametrize("scheme", ["http://", "https://", ""])
def test_the_control_plane_itself_is_selected(server: Server, client: ControlPlane, scheme: str) -> None:
    server.cluster = f"{scheme}{server.address}"
    _look(Uploads(client, TARGET))
    assert server.count() == {"SelectCluster": 1, "CreateUploadLocation": 1}


def test_a_control_plane_that_selects_no_cluster(server: Server, client: ControlPlane) -> None:
    server.always["SelectCluster"] = Fault(Code.UNIMPLEMENTED)
    _look(Uploads(client, TARGET))
    assert server.count() == {"SelectCluster": 1, "CreateUploadLocation": 1}


@pytest.mark.parametrize(
    ("answer", "own", "expected"),
    [
        ("", Endpoint("a:443"), Endpoint("a:443")),
        ("http://a", Endpoint("a:443"), Endpoint("a:443")),
        ("https://A/", Endpoint("a:443"), Endpoint("a:443")),
        ("dns:///a:443", Endpoint("a:443"), Endpoint("a:443")),
        ("http://b", Endpoint("a:443"), Endpoint("b:443")),
        ("b:8090", Endpoint("a:80", insecure=True), Endpoint("b:8090", insecure=True)),
        ("https://b", Endpoint("a:80", insecure=True), Endpoint("b:443")),
    ],
)
def test_where_a_selected_cluster_is(answer: str, own: Endpoint, expected: Endpoint) -> None:
    assert cluster_endpoint(answer, own) == expected


def test_a_selected_cluster_without_an_address(server: Server, client: ControlPlane) -> None:
    server.cluster = "http://two words"
    with pytest.raises(DeployError, match="names a cluster at 'http://two words'"):
        _look(Uploads(client, TARGET))
