"""What the control plane is asked."""

from __future__ import annotations

import grpc
import pytest
from flyteidl2.project.project_service_pb2 import PROJECT_STATE_ARCHIVED, Domain, Project
from flyteidl2.task.task_definition_pb2 import TaskSpec
from flyteidl2.trigger.trigger_definition_pb2 import TriggerDetails

from flyte_deploy.controlplane import ControlPlane, Endpoint, Uploads
from flyte_deploy.controlplane.uploads import cluster_endpoint
from flyte_deploy.errors import DeployError
from flyte_deploy.model import RegisteredTask, Target
from flyte_deploy.stores import AlreadyExists
from tests.controlplane.server import TARGET, Fault, Server, serving

Code = grpc.StatusCode


def spec(environment: str, text: str = "") -> TaskSpec:
    answer = TaskSpec()
    answer.environment.name = environment
    answer.documentation.long_description = text
    return answer


def trigger(version: str, *, active: bool = True, cron: str = "0 * * * *") -> TriggerDetails:
    answer = TriggerDetails()
    answer.spec.task_version = version
    answer.spec.active = active
    answer.automation_spec.schedule.cron.expression = cron
    return answer


def test_project_and_domain_that_exist(server: Server, plane: ControlPlane) -> None:
    plane.check_target(TARGET)
    assert server.count() == {"GetProject": 1}


def test_an_unknown_project_says_which_there_are(server: Server, plane: ControlPlane) -> None:
    server.projects["garden"] = Project(id="garden")
    with pytest.raises(DeployError) as caught:
        plane.check_target(Target("shed", "development"))
    assert "there is no project 'shed'" in caught.value.what
    assert "garden, shop" in str(caught.value)
    assert caught.value.exit_status == 2


def test_an_unknown_project_where_listing_is_forbidden(server: Server, plane: ControlPlane) -> None:
    server.always["ListProjects"] = Fault(Code.PERMISSION_DENIED)
    with pytest.raises(DeployError, match="there is no project 'shed' in org 'acme'"):
        plane.check_target(Target("shed", "development", "acme"))


def test_an_unknown_domain_says_which_there_are(plane: ControlPlane) -> None:
    with pytest.raises(DeployError) as caught:
        plane.check_target(Target("shop", "staging"))
    assert "has no domain 'staging'" in caught.value.what
    assert "development, production" in str(caught.value)


def test_an_archived_project(server: Server, plane: ControlPlane) -> None:
    server.projects["old"] = Project(
        id="old", domains=[Domain(id="development")], state=PROJECT_STATE_ARCHIVED
    )
    with pytest.raises(DeployError, match="project 'old' is archived"):
        plane.check_target(Target("old", "development"))


def test_which_tasks_have_a_version(server: Server, plane: ControlPlane) -> None:
    names = [f"etl.t{number:04}" for number in range(1000)]
    for name in names:
        server.tasks[name, "v1"] = spec("etl")
    for name in names[:10]:
        server.tasks[name, "v2"] = spec("etl")
    for number in range(300):
        server.tasks[f"other.t{number}", "v1"] = spec("other")
    found = plane.registered_with_version(TARGET, "v1", [*names, "etl.new"])
    assert sorted(found) == names
    assert found[names[3]] == RegisteredTask(names[3], "v1", "etl")
    assert sorted(plane.registered_with_version(TARGET, "v2", names)) == names[:10]
    assert plane.registered_with_version(TARGET, "v3", names) == {}


def test_a_thousand_tasks_take_five_calls(server: Server, plane: ControlPlane) -> None:
    names = [f"etl.t{number}" for number in range(1000)]
    server.tasks.update({(name, "v1"): spec("etl") for name in names})
    assert len(plane.registered_with_version(TARGET, "v1", names)) == 1000
    assert server.count() == {"ListTasks": 5}


def test_one_name_and_no_name(server: Server, plane: ControlPlane) -> None:
    server.tasks["etl.a", "v1"] = spec("etl")
    assert plane.registered_with_version(TARGET, "v1", []) == {}
    assert server.calls == []
    assert sorted(plane.registered_with_version(TARGET, "v1", ["etl.a"])) == ["etl.a"]


def test_the_newest_version_of_each_task_of_environments(server: Server, plane: ControlPlane) -> None:
    for number in range(450):
        server.tasks[f"etl.t{number}", "v1"] = spec("etl")
    server.tasks["etl.t7", "v2"] = spec("etl")
    server.tasks["other.a", "v9"] = spec("other")
    for number in range(60):
        server.tasks[f"e{number}.a", "v1"] = spec(f"e{number}")
    found = plane.newest(TARGET, ["etl", *(f"e{number}" for number in range(60))])
    assert len(found) == 450 + 60
    assert found["etl.t7"] == RegisteredTask("etl.t7", "v2", "etl")
    assert found["etl.t8"].version == "v1"
    assert found["e59.a"] == RegisteredTask("e59.a", "v1", "e59")
    assert plane.newest(TARGET, ["nobody"]) == {}


def test_specs_are_read_side_by_side(server: Server, plane: ControlPlane) -> None:
    for number in range(40):
        server.tasks[f"etl.t{number}", "v1"] = spec("etl", f"text {number}")
    names = [f"etl.t{number}" for number in range(41)]
    found = plane.task_specs(TARGET, names, "v1", 4)
    assert sorted(found) == sorted(names[:40])
    assert TaskSpec.FromString(found["etl.t3"]) == spec("etl", "text 3")
    assert server.count() == {"GetTaskDetails": 41}
    assert server.most_in_flight <= 4


def test_the_target_is_named_in_every_request(server: Server, plane: ControlPlane) -> None:
    target = Target("shop", "production", "acme")
    plane.registered_with_version(target, "v1", ["etl.a"])
    plane.task_specs(target, ["etl.a"], "v1", 1)
    listing = server.requests("ListTasks")[0].project_id
    reading = server.requests("GetTaskDetails")[0].task_id
    assert (listing.organization, listing.name, listing.domain) == ("acme", "shop", "production")
    assert (reading.org, reading.project, reading.domain) == ("acme", "shop", "production")


def test_triggers_of_tasks(server: Server, plane: ControlPlane) -> None:
    for number in range(450):
        server.triggers["etl.a", f"t{number:03}"] = trigger("v1")
    server.triggers["etl.b", "nightly"] = trigger("v2", active=False, cron="0 3 * * *")
    server.triggers["other.a", "hourly"] = trigger("v1")
    found = plane.triggers(TARGET, ["etl.a", "etl.b", "etl.c"])
    assert sorted(found) == ["etl.a", "etl.b"]
    assert [one.name for one in found["etl.a"]] == [f"t{number:03}" for number in range(450)]
    (one,) = found["etl.b"]
    assert (str(one), one.task_name, one.version, one.active) == ("etl.b/nightly", "etl.b", "v2", False)
    assert one.automation.schedule.cron.expression == "0 3 * * *"
    assert one.spec.task_version == "v2"
    assert len(server.requests("GetTriggerDetails")) == 451


def test_a_trigger_that_goes_while_it_is_looked_at(server: Server, plane: ControlPlane) -> None:
    server.triggers["etl.a", "nightly"] = trigger("v1")
    server.always["GetTriggerDetails"] = Fault(Code.NOT_FOUND)
    assert plane.triggers(TARGET, ["etl.a"]) == {}


def test_a_control_plane_that_cannot_filter_triggers(server: Server, plane: ControlPlane) -> None:
    server.triggers["etl.a", "nightly"] = trigger("v1")
    server.triggers["other.a", "hourly"] = trigger("v1")
    server.faults["ListTriggers"] = [Fault(Code.INVALID_ARGUMENT, "invalid filter field: task_name")]
    assert sorted(plane.triggers(TARGET, ["etl.a"])) == ["etl.a"]


def test_a_control_plane_without_triggers(server: Server, plane: ControlPlane) -> None:
    server.always["ListTriggers"] = Fault(Code.UNIMPLEMENTED)
    assert plane.triggers(TARGET, ["etl.a"]) == {}


def test_triggers_are_deleted(server: Server, plane: ControlPlane) -> None:
    for name in ("a", "b", "c"):
        server.triggers["etl.a", name] = trigger("v1")
    stale = plane.triggers(TARGET, ["etl.a"])["etl.a"][:2]
    plane.delete_triggers(TARGET, stale)
    plane.delete_triggers(TARGET, stale)
    plane.delete_triggers(TARGET, [])
    assert sorted(server.triggers) == [("etl.a", "c")]


def test_an_upload_location(server: Server, plane: ControlPlane) -> None:
    location = Uploads(plane, Target("shop", "development", "acme")).create_upload_location(
        filename="x.tar.gz",
        filename_root="abc",
        content_md5=b"m" * 16,
        content_length=7,
        add_content_md5_metadata=True,
    )
    assert location.native_url == "s3://b/abc/x.tar.gz"
    assert location.signed_url.endswith("/put/abc/x.tar.gz")
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


def test_an_object_that_is_there(server: Server, plane: ControlPlane) -> None:
    server.objects.add("abc/x.tar.gz")
    with pytest.raises(AlreadyExists, match="exists"):
        _look(Uploads(plane, TARGET))


def test_an_upload_that_is_too_large(server: Server, plane: ControlPlane) -> None:
    server.always["CreateUploadLocation"] = Fault(Code.INVALID_ARGUMENT, "content_length exceeds 100 bytes")
    with pytest.raises(DeployError, match="content_length exceeds 100 bytes"):
        _look(Uploads(plane, TARGET))


def test_the_cluster_that_is_selected_is_called(server: Server, plane: ControlPlane) -> None:
    with serving() as cluster:
        server.cluster = f"http://{cluster.address}"
        uploads = Uploads(plane, TARGET)
        assert _look(uploads) == _look(uploads) == "s3://b/abc/x.tar.gz"
        assert server.count() == {"SelectCluster": 1}
        assert cluster.count() == {"CreateUploadLocation": 2}


@pytest.mark.parametrize("scheme", ["http://", "https://", ""])
def test_the_control_plane_itself_is_selected(server: Server, plane: ControlPlane, scheme: str) -> None:
    server.cluster = f"{scheme}{server.address}"
    _look(Uploads(plane, TARGET))
    assert server.count() == {"SelectCluster": 1, "CreateUploadLocation": 1}


def test_a_control_plane_that_selects_no_cluster(server: Server, plane: ControlPlane) -> None:
    server.always["SelectCluster"] = Fault(Code.UNIMPLEMENTED)
    _look(Uploads(plane, TARGET))
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


def test_a_selected_cluster_without_an_address(server: Server, plane: ControlPlane) -> None:
    server.cluster = "http://two words"
    with pytest.raises(DeployError, match="names a cluster at 'http://two words'"):
        _look(Uploads(plane, TARGET))
