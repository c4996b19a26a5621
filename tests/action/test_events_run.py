"""Each event from its recorded payload to what is registered and what GitHub is told, in the container."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from flyte_deploy.embedded import read_tasks
from tests.action.conftest import PYTHON, Job
from tests.action.payloads import payload
from tests.conftest import Write
from tests.engine import Engine
from tests.github.server import REPOSITORY, TOKEN, GitHub
from tests.github.server import running as github_running
from tests.harness.runner import Runner, Step
from tests.harness.services import Services

FLOW = """
import flyte
from datetime import timedelta

env = flyte.TaskEnvironment(name="{name}")

@env.task(triggers=flyte.Trigger("nightly", flyte.Cron("0 3 * * *")))
async def one({inputs}) -> int:
    return {value}
"""


@pytest.fixture
def github(engine: Engine, services_of_job: Services) -> Iterator[GitHub]:
    """GitHub where the job's containers reach it: the address of their network on this machine."""
    where = engine.docker("network", "inspect", services_of_job.network)
    with github_running(json.loads(where)[0]["IPAM"]["Config"][0]["Gateway"]) as server:
        yield server
        assert server.problems == []


def flow(name: str, value: str = "1", inputs: str = "x: int = 1") -> dict[str, str]:
    return {"flow.py": FLOW.format(name=name, value=value, inputs=inputs)}


class Repository:
    """A repository whose events run the action."""

    def __init__(self, job: Job, write: Write, services: Services, github: GitHub, files: Any) -> None:
        self.runner: Runner = job(write(files))
        self.runner.repository = REPOSITORY
        self.runner.api_url = github.url
        self.services = services
        self.github = github

    def event(self, event: str, sent: dict[str, Any], ref: str = "refs/heads/main", **with_: str) -> Step:
        self.runner.ref = ref
        inputs = {
            "project": "flytesnacks",
            "endpoint": self.services.endpoint,
            "insecure": "true",
            "python": PYTHON,
            "path": "flow.py",
            "all": "true",
            "github-token": TOKEN,
            **{name.replace("_", "-"): value for name, value in with_.items()},
        }
        return self.runner.run(inputs, event=event, payload=sent)

    def pull(self, action: str = "opened", **with_: str) -> Step:
        sent = payload(
            "pull_request",
            action,
            number=1,
            repository__full_name=REPOSITORY,
            repository__default_branch="main",
        )
        sent["pull_request"]["head"]["repo"]["full_name"] = REPOSITORY
        return self.event("pull_request", sent, "refs/pull/1/merge", domain="production", **with_)

    def push(self, **with_: str) -> Step:
        sent = payload("push", repository__full_name=REPOSITORY, repository__default_branch="main")
        head = self.runner.git("rev-parse", "HEAD").strip()
        self.github.branches["main"] = head
        return self.event("push", sent, domain="production", **with_)

    def versions(self, name: str) -> list[str]:
        return [task.version for task in read_tasks(self.services.data) if task.name == f"{name}.one"]

    def change(self, files: dict[str, str]) -> None:
        for path, text in files.items():
            (self.runner.workspace / path).write_text(text)
        self.runner.git("add", "-A")
        self.runner.git("-c", "user.name=M", "-c", "user.email=m@example.com", "commit", "-q", "-m", "Change")
        self.runner.own()


@pytest.fixture
def repository(job: Job, write: Write, services_of_job: Services, github: GitHub, request: Any) -> Repository:
    name = "".join(character for character in request.node.name if character.isalnum())[:30]
    made = Repository(job, write, services_of_job, github, flow(name))
    made.name = name  # type: ignore[attr-defined]
    return made


def name_of(repository: Repository) -> str:
    return str(repository.name)  # type: ignore[attr-defined]


def test_from_a_pull_request_to_its_end(repository: Repository, github: GitHub) -> None:
    name = name_of(repository)
    pushed = repository.push()
    assert pushed.status == 0, pushed.log
    (production,) = repository.versions(name)

    first = repository.pull(preview_triggers="true")
    assert first.status == 0, first.log
    assert "event pull_request: preview" in first.shown
    assert first.outputs["version"].startswith("pr-1-")
    assert repository.versions(name) == [production, first.outputs["version"]]
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
    assert "Flyte preview failed" in github.bodies()[0]

    github.pulls[1] = "closed"
    closed = repository.pull("closed", preview_triggers="true")
    assert closed.status == 0, closed.log
    assert f"removed trigger {name}.one/nightly" in closed.shown
    (body,) = github.bodies()
    assert "Flyte preview: over" in body
    states = [github.states(one["id"])[-1] for one in github.deployments.values()]
    assert [state for state in states if state == "success"] == ["success"]  # production's

    # Nothing of production has changed by all that.
    assert [version for version in repository.versions(name) if not version.startswith("pr-1")] == [
        production
    ]


def test_a_preview_that_is_closed_while_it_runs_is_not_registered(
    repository: Repository, github: GitHub
) -> None:
    github.pulls[1] = "closed"
    step = repository.pull()
    assert step.status == 0, step.log
    assert "was closed meanwhile" in step.log
    assert repository.versions(name_of(repository)) == []


def test_a_push_that_was_overtaken_registers_nothing(repository: Repository, github: GitHub) -> None:
    def moves(method: str, path: str) -> None:
        github.branches["main"] = "b" * 40

    github.before = moves
    step = repository.push()
    assert step.status == 0, step.log
    assert "main has moved on to bbbbbbb" in step.log
    assert repository.versions(name_of(repository)) == []
    assert repository.push(if_stale="deploy").status == 0
    assert len(repository.versions(name_of(repository))) == 1


def test_a_release_takes_over_what_the_default_branch_has_deployed(repository: Repository) -> None:
    pushed = repository.push(tag_domains="*=production")
    assert pushed.status == 0, pushed.log
    repository.runner.git("tag", "v1.0.0")
    sent = payload("push", repository__full_name=REPOSITORY, repository__default_branch="main")
    sent["ref"] = "refs/tags/v1.0.0"
    released = repository.event("push", sent, "refs/tags/v1.0.0", domain="production")
    assert released.status == 0, released.log
    assert released.outputs["version"] == "v1.0.0"
    assert released.outputs["bundle-uri"] == pushed.outputs["bundle-uri"]
    assert "Uploading" not in " ".join(released.groups)
    # A tag that carries other content is refused.
    repository.change(flow(name_of(repository), value="2"))
    moved = repository.event("push", sent, "refs/tags/v1.0.0", domain="production")
    assert moved.status == 1
    assert "v1.0.0" in moved.shown


def test_a_fork_gets_a_plan_without_anything_else(repository: Repository, github: GitHub) -> None:
    sent = payload("pull_request", "opened", number=1, repository__default_branch="main")
    sent["pull_request"]["head"]["repo"]["full_name"] = "stranger/fork"
    step = repository.event("pull_request", sent, "refs/pull/1/merge", domain="production")
    assert step.status == 0, step.log
    assert "event pull_request: plan" in step.shown
    assert "what would be done" in step.summary
    assert repository.versions(name_of(repository)) == []
    assert github.requests == []


def test_events_that_run_for_strangers_are_refused(repository: Repository, github: GitHub) -> None:
    sent = payload("pull_request", "opened", number=1)
    step = repository.event("pull_request_target", sent, "refs/heads/main", domain="production")
    assert step.status == 2
    assert "executes no code of a pull request" in step.log
    # A plan that a safe job made may be posted.
    plan = {
        "schema": "flyte-deploy/plan/1",
        "version": "pr-1-abc",
        "content": "abc",
        "environments": [{"name": "e", "tasks": [{}]}],
        "difference": {"against": "p/d", "tasks": [{"name": "@octocat <img>", "state": "new"}]},
    }
    (repository.runner.workspace / "plan.json").write_text(json.dumps(plan))
    repository.runner.own()
    posted = repository.event(
        "workflow_run", sent, domain="production", mode="post-comment", pr_number="1", plan_file="plan.json"
    )
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
    assert repository.versions(name_of(repository))[-1].startswith("pr-1-")
    told = " ".join(command.message for command in step.annotations("warning"))
    assert "pull-requests: write" in told
    assert "deployments: write" in told


def test_a_preview_that_would_be_production_is_refused(repository: Repository) -> None:
    step = repository.pull(preview_domain="production")
    assert step.status == 2
    assert "preview-domain" in step.log
    assert repository.versions(name_of(repository)) == []
