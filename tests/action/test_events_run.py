"""Each event from its recorded payload to what is registered and what GitHub is told, in the container."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from flyte_deploy.action.events import FOREIGN
from flyte_deploy.action.outputs import NOTHING
from flyte_deploy.embedded import LoginSide, Tls
from flyte_deploy.embedded import running as control_plane
from tests.action.conftest import Job
from tests.action.payloads import payload
from tests.action.repository import Repository, flow
from tests.conftest import Write
from tests.github.server import REPOSITORY, Fault, GitHub
from tests.harness.services import Services
from tests.login.provider import CLIENT, SECRET, Provider, providing
from tests.registries.servers import Authority

NOSY = """
import os, socket
try:
    reaches = bool(socket.socket())
except OSError:
    reaches = False
print(f"passed: {os.environ.get('PASSED')}, network: {reaches}")
"""


@pytest.fixture
def repository(
    job: Job, write: Write, services_of_job: Services, github: GitHub, request: pytest.FixtureRequest
) -> Repository:
    name = "".join(character for character in request.node.name if character.isalnum())[:30]
    return Repository(job(write(flow(name))), services_of_job, github, name)


def test_from_a_pull_request_to_its_end(repository: Repository, github: GitHub) -> None:
    name = repository.name
    pushed = repository.push()
    assert pushed.status == 0, pushed.log
    (production,) = repository.versions()

    first = repository.pull(preview_triggers="true")
    assert first.status == 0, first.log
    assert "event pull_request: preview" in first.shown
    assert first.outputs["version"].startswith("pr-1-")
    assert repository.versions() == [production, first.outputs["version"]]
    (body,) = github.bodies()
    assert first.outputs["version"] in body
    (deployment,) = [one for one in github.deployments.values() if one["environment"] == "preview"]
    assert github.states(deployment["id"]) == ["in_progress", "success"]

    # The same again: nothing is registered, and the comment stays one.
    again = repository.pull("synchronize", preview_triggers="true")
    assert again.status == 0, again.log
    assert again.outputs["registered"] == "0"
    assert len(github.bodies()) == 1

    # One that breaks callers.
    repository.change(flow(name, inputs="y: str"))
    breaking = repository.pull("synchronize", preview_triggers="true")
    assert breaking.status == 0, breaking.log
    (body,) = github.bodies()
    assert "Breaks callers" in body
    refused = repository.pull("synchronize", preview_triggers="true", fail_on_breaking="true")
    assert refused.status == 1
    for page in (github.bodies()[0], refused.summary):
        assert "Flyte preview failed" in page
        assert "Nothing was published or registered." in page

    github.pulls[1] = "closed"
    closed = repository.pull("closed", preview_triggers="true")
    assert closed.status == 0, closed.log
    assert closed.outputs == NOTHING
    assert f"removed trigger {name}.one/nightly" in closed.shown
    (body,) = github.bodies()
    assert "Flyte preview: over" in body
    states = [github.states(one["id"])[-1] for one in github.deployments.values()]
    assert [state for state in states if state == "success"] == ["success"]  # production's

    # Nothing of production has changed by all that.
    assert [version for version in repository.versions() if not version.startswith("pr-1")] == [production]


def test_a_preview_that_is_closed_while_it_runs_is_not_registered(
    repository: Repository, github: GitHub
) -> None:
    github.pulls[1] = "closed"
    step = repository.pull()
    assert step.status == 0, step.log
    assert "was closed meanwhile" in step.log
    assert repository.versions() == []


def test_a_push_that_was_overtaken_registers_nothing(repository: Repository, github: GitHub) -> None:
    def moves(method: str, path: str) -> None:
        github.branches["main"] = "b" * 40

    github.before = moves
    step = repository.push()
    assert step.status == 0, step.log
    assert "main has moved on to bbbbbbb" in step.log
    assert step.outputs == NOTHING
    assert "### Flyte deployment: given up" in step.summary
    assert "main has moved on to bbbbbbb" in step.summary
    assert repository.versions() == []
    insisted = repository.push(if_stale="deploy", github_token="")
    assert insisted.status == 0
    assert insisted.annotations("warning") == []
    assert len(repository.versions()) == 1
    # Who cannot ask says so.
    repository.change(flow(repository.name, value="2"))
    blind = repository.push(github_token="")
    assert blind.status == 0, blind.log
    assert [one.message.partition(":")[0] for one in blind.annotations("warning")] == [
        "without github-token nobody sees whether main moves on meanwhile"
    ]
    # So does a token that may not.
    repository.change(flow(repository.name, value="3"))
    github.before = lambda method, path: None
    refused = {"message": "Resource not accessible by integration"}
    github.faults = [Fault("GET", "/repos/.*/git/ref.*", 403, refused, times=9)]
    denied = repository.push()
    assert denied.status == 0, denied.log
    assert "contents: read" in " ".join(one.message for one in denied.annotations("warning"))


def test_a_release_takes_over_what_the_default_branch_has_deployed(repository: Repository) -> None:
    pushed = repository.push(domain="staging")
    assert pushed.status == 0, pushed.log
    released = repository.tag("v1.0.0", domain="staging")
    assert released.status == 0, released.log
    assert "event push: release, tag v1.0.0 to flytesnacks/production" in released.shown
    assert released.outputs["version"] == "v1.0.0"
    assert released.outputs["bundle-uri"] == pushed.outputs["bundle-uri"]
    taken = f"registered in flytesnacks/staging as {pushed.outputs['version']}: nothing is built or uploaded"
    assert taken in released.shown
    assert "Uploading" not in " ".join(released.groups)
    record = json.loads(released.outputs["record"])
    assert (record["version"], record["domain"]) == ("v1.0.0", "production")
    assert released.outputs["record-uri"] == ""
    # GitHub's release of that tag finds it done; a pre-release that only * fits is a plan.
    again = repository.release("v1.0.0", domain="staging")
    assert again.status == 0, again.log
    assert (again.outputs["version"], again.outputs["registered"]) == ("v1.0.0", "0")
    planned = repository.release("v1.1.0-rc1", prerelease=True, domain="staging")
    assert planned.status == 0, planned.log
    assert "event release: plan, v1.1.0-rc1 is a pre-release" in planned.shown
    # Patterns send tags elsewhere; one that fits nothing is an error.
    patterns = {"domain": "development", "tag_domains": "v*-rc*=staging"}
    candidate = repository.tag("v1.1.0-rc1", **patterns)
    assert candidate.status == 0, candidate.log
    assert "release, tag v1.1.0-rc1 to flytesnacks/staging" in candidate.shown
    nowhere = repository.tag("x1", **patterns)
    assert nowhere.status == 2
    assert "the tag x1 fits no pattern: v*-rc*" in nowhere.log
    assert repository.versions() == [pushed.outputs["version"], "v1.0.0", "v1.1.0-rc1"]
    # A tag that carries other content is refused.
    repository.change(flow(repository.name, value="2"))
    moved = repository.tag("v1.0.0", domain="staging")
    assert moved.status == 1
    assert "v1.0.0" in moved.shown


def test_events_of_a_branch(repository: Repository) -> None:
    ours = {"repository": {"full_name": REPOSITORY, "default_branch": "main"}}
    others = {"repository": {"full_name": REPOSITORY, "default_branch": "trunk"}}
    for event, sent, done in (
        ("merge_group", payload("merge_group", "checks_requested"), "plan, a merge group is not merged yet"),
        ("issues", payload("issues", "opened"), "plan, the event issues deploys nothing by itself"),
        ("workflow_dispatch", others, "plan, main is not the default branch, trunk"),
        ("delete", payload("delete"), "skip, "),
    ):
        step = repository.event(event, sent)
        assert step.status == 0, step.log
        assert f"event {event}: {done}" in step.shown
    assert repository.versions() == []
    scheduled = repository.event("schedule", {"schedule": "0 3 * * *"}, if_stale="deploy")
    assert scheduled.status == 0, scheduled.log
    for event in ("workflow_dispatch", "repository_dispatch"):
        step = repository.event(event, ours, if_stale="deploy")
        assert step.status == 0, step.log
        assert f"event {event}: push" in step.shown
        assert step.outputs["registered"] == "0"
    assert repository.versions() == [scheduled.outputs["version"]]
    broken = repository.event("push", {"ref": "refs/heads/main"})
    assert broken.status == 2
    assert "the event's payload has no repository.default_branch" in broken.log


def test_what_was_approved_is_what_is_deployed(repository: Repository) -> None:
    repository.change(flow(repository.name, value="3"))
    planned = repository.push(mode="plan")
    assert planned.status == 0, planned.log
    content = json.loads(planned.outputs["plan"])["content"]
    repository.change(flow(repository.name, value="2"))
    refused = repository.push(expect_content=content)
    assert refused.status == 1
    assert f"not {content}, which was expected" in refused.log
    assert repository.versions() == []
    repository.change(flow(repository.name, value="3"))
    approved = repository.push(expect_content=content)
    assert approved.status == 0, approved.log
    assert repository.versions() == [content]


def test_without_credentials_a_pull_request_is_planned_and_a_push_fails(
    repository: Repository, github: GitHub, tmp_path: Path
) -> None:
    authority = Authority.make(tmp_path / "authority")
    shutil.copy(authority.ca, repository.runner.workspace / "ca.pem")
    repository.runner.own()
    repository.runner.network = "host"
    tls = Tls(authority.certificate, authority.key)
    with providing(Provider(), authority) as provider:
        login = LoginSide(provider.accepts, provider.url)
        with control_plane(tmp_path / "server", login=login, tls=tls) as server:
            where: dict[str, Any] = {
                "endpoint": f"dns:///localhost:{server.endpoint.rpartition(':')[2]}",
                "insecure": "false",
                "ca_cert": "ca.pem",
                "client_id": CLIENT,
                "client_secret_env": "OURS",
            }
            planned = repository.pull(**where)
            assert planned.status == 0, planned.log
            assert "plan, pull request #1: there is nothing to log in to the control" in planned.shown
            closed = repository.pull("closed", **where)
            assert closed.status == 0, closed.log
            assert "and its preview is not ended: there is nothing to log in" in closed.shown
            assert server.calls() == []
            assert github.requests == []
            pushed = repository.push(**where)
            assert pushed.status != 0
            assert "the client's secret in the variable OURS: not set" in pushed.log
            repository.runner.environment["OURS"] = "wrong-secret"
            wrong = repository.pull(**where)
            assert wrong.status == 1, wrong.log
            assert server.tasks() == []
            repository.runner.environment["OURS"] = SECRET
            right = repository.pull(**where)
            assert right.status == 0, right.log
            assert {task.version for task in server.tasks()} == {right.outputs["version"]}


def test_a_preview_says_which_files_differ_from_what_the_base_runs(
    repository: Repository, tmp_path: Path
) -> None:
    store = tmp_path / "bundles"
    store.mkdir()
    repository.options = ("-v", f"{store}:/mnt/bundles")
    kept: dict[str, Any] = {"bundle_store": "file:///mnt/bundles", "domain": "staging"}
    assert repository.push(**kept).status == 0
    repository.change(flow(repository.name, value="2"))
    preview = repository.pull(**kept)
    assert preview.status == 0, preview.log
    difference = json.loads(preview.outputs["plan"])["difference"]
    assert difference["files"] == [{"path": "flow.py", "what": "changed"}]
    names = {str(path.relative_to(store)) for path in store.rglob("*") if path.is_file()}
    ours = {name for name in names if name.startswith("previews/")}
    assert f"previews/records/flytesnacks/development/{preview.outputs['version']}.json" in ours
    assert len(names - ours) == len(ours) == 2


def test_a_fork_gets_a_plan_without_anything_else(repository: Repository, github: GitHub) -> None:
    (repository.runner.workspace / "flow.py").write_text(NOSY + flow(repository.name)["flow.py"])
    repository.runner.own()
    repository.runner.environment["PASSED"] = "a-value"
    passed: dict[str, Any] = {"pass_env": "PASSED", "discovery_network": "allow"}
    strangers: list[dict[str, Any]] = [{"head": "stranger/fork"}, {"author": "dependabot[bot]"}]
    for whose in strangers:
        step = repository.pull(**whose, **passed)
        assert step.status == 0, step.log
        assert "event pull_request: plan" in step.shown
        assert "left out for a stranger's code: input discovery-network, input pass-env" in step.shown
        assert "passed: None, network: False" in step.shown
        assert "what would be done" in step.summary
    assert repository.versions() == []
    assert github.requests == []


def test_events_that_run_for_strangers_are_refused(repository: Repository, github: GitHub) -> None:
    sent = payload("pull_request", "opened", number=1)
    for event in sorted(FOREIGN):
        step = repository.event(event, sent, mode="push")
        assert step.status == 2
        assert "executes no code of a pull request" in step.log
    # A plan that a safe job made may be posted.
    plan = {
        "schema": "flyte-deploy/plan/1",
        "version": "pr-1-abc",
        "content": "abc",
        "environments": [{"name": "e", "tasks": [{}]}],
        "difference": {
            "against": "p/d",
            "tasks": [{"name": "@octocat <img>", "environment": "e", "state": "new"}],
        },
    }
    (repository.runner.workspace / "plan.json").write_text(json.dumps(plan))
    repository.runner.own()
    github.heads[1] = ("stranger/fork", "patch-1", "b" * 40)
    ended = payload(
        "workflow_run",
        "completed",
        workflow_run__event="pull_request",
        workflow_run__head_branch="patch-1",
        workflow_run__head_sha="b" * 40,
        workflow_run__head_repository={"full_name": "stranger/fork"},
    )
    posted = repository.event("workflow_run", ended, mode="post-comment", plan_file="plan.json")
    assert posted.status == 0, posted.log
    (body,) = github.bodies()
    assert "what would be done" in body
    assert "@octocat" not in body
    assert "<img>" not in body


def test_a_token_without_permission_is_a_warning(repository: Repository, github: GitHub) -> None:
    refused = {"message": "Resource not accessible by integration"}
    github.faults = [
        Fault("POST", "/repos/.*", 403, refused, times=50),
        Fault("GET", "/repos/.*/issues/.*", 403, refused, times=50),
    ]
    step = repository.pull()
    assert step.status == 0, step.log
    assert repository.versions()[-1].startswith("pr-1-")
    told = " ".join(command.message for command in step.annotations("warning"))
    assert "pull-requests: write" in told
    assert "deployments: write" in told


def test_a_preview_that_would_be_production_is_refused(repository: Repository) -> None:
    step = repository.pull(preview_domain="production")
    assert step.status == 2
    assert "preview-domain" in step.log
    assert repository.versions() == []
