"""Each event from its recorded payload to what is registered and what GitHub is told, in the container."""

from __future__ import annotations

import json

import pytest

from tests.action.conftest import Job
from tests.action.payloads import payload
from tests.action.repository import Repository, flow
from tests.conftest import Write
from tests.github.server import GitHub
from tests.harness.services import Services


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
    assert "### Flyte deployment: given up" in step.summary
    assert "main has moved on to bbbbbbb" in step.summary
    assert repository.versions() == []
    assert repository.push(if_stale="deploy").status == 0
    assert len(repository.versions()) == 1


def test_a_release_takes_over_what_the_default_branch_has_deployed(repository: Repository) -> None:
    pushed = repository.push(tag_domains="*=production")
    assert pushed.status == 0, pushed.log
    released = repository.tag("v1.0.0")
    assert released.status == 0, released.log
    assert released.outputs["version"] == "v1.0.0"
    assert released.outputs["bundle-uri"] == pushed.outputs["bundle-uri"]
    assert "Uploading" not in " ".join(released.groups)
    record = json.loads(released.outputs["record"])
    assert (record["version"], record["domain"]) == ("v1.0.0", "production")
    assert released.outputs["record-uri"] == ""
    # A tag that carries other content is refused.
    repository.change(flow(repository.name, value="2"))
    moved = repository.tag("v1.0.0")
    assert moved.status == 1
    assert "v1.0.0" in moved.shown


def test_a_fork_gets_a_plan_without_anything_else(repository: Repository, github: GitHub) -> None:
    sent = payload("pull_request", "opened", number=1, repository__default_branch="main")
    sent["pull_request"]["head"]["repo"]["full_name"] = "stranger/fork"
    step = repository.event("pull_request", sent, "refs/pull/1/merge")
    assert step.status == 0, step.log
    assert "event pull_request: plan" in step.shown
    assert "what would be done" in step.summary
    assert repository.versions() == []
    assert github.requests == []


def test_events_that_run_for_strangers_are_refused(repository: Repository, github: GitHub) -> None:
    sent = payload("pull_request", "opened", number=1)
    step = repository.event("pull_request_target", sent, "refs/heads/main")
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
    from tests.github.server import Fault

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
