"""What GitHub is told where a run does not go as it should, or its pull request does not stay as it was.

The action runs in this process here, with the project's code unconfined: what is tested are the order of its
steps and what the servers are asked.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flyteidl2.task.task_service_pb2 import DeployTaskRequest

from flyte_deploy.action import main
from flyte_deploy.controlplane import ControlPlane, Registration, register
from flyte_deploy.controlplane.channel import Endpoint
from flyte_deploy.embedded import Embedded, Fault, running
from tests.action.payloads import payload
from tests.conftest import Write
from tests.github import server as at_github
from tests.github.server import REPOSITORY, TOKEN, GitHub

FLOW = """
import flyte

env = flyte.TaskEnvironment(name="told", image="registry.example/team/image:1")

@env.task(triggers=flyte.Trigger("nightly", flyte.Cron("0 3 * * *")))
async def one({inputs}) -> int:
    return 1

@env.task
async def two() -> int:
    return 2
"""
OURS = {"preview_triggers": "true", "concurrency": "1"}


def flow(inputs: str = "x: int = 1") -> dict[str, str]:
    return {"flow.py": FLOW.format(inputs=inputs)}


@dataclass
class Here:
    """Runs the action in this process.

    Args:
        folder: for the files that a runner makes.
        write: writes the checkout.
        github: what is told.
        capture: reads the log.
    """

    folder: Path
    write: Write
    github: GitHub
    capture: pytest.CaptureFixture[str]
    plane: Embedded | None = None
    log: str = ""
    files: dict[str, Path] = field(default_factory=dict)

    def event(self, name: str, sent: dict[str, Any], ref: str = "refs/heads/main", **with_: str) -> int:
        """Run the step; inputs have an underscore for a dash. Its exit status."""
        assert self.plane is not None
        self.files = {one: self.folder / one for one in ("event", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        for path in self.files.values():
            path.write_text("")
        self.files["event"].write_text(json.dumps(sent))
        inputs = {
            "project": "flytesnacks",
            "domain": "production",
            "endpoint": self.plane.endpoint,
            "insecure": "true",
            "python": sys.executable,
            "path": "flow.py",
            "all": "true",
            "github_token": TOKEN,
            **with_,
        }
        try:
            return main.run(
                {
                    **{name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ},
                    "GITHUB_API_URL": self.github.url,
                    "GITHUB_EVENT_NAME": name,
                    "GITHUB_EVENT_PATH": str(self.files["event"]),
                    "GITHUB_OUTPUT": str(self.files["GITHUB_OUTPUT"]),
                    "GITHUB_STEP_SUMMARY": str(self.files["GITHUB_STEP_SUMMARY"]),
                    "GITHUB_REF": ref,
                    "GITHUB_REPOSITORY": REPOSITORY,
                    "GITHUB_RUN_ID": "1",
                    "GITHUB_SHA": "a" * 40,
                    "GITHUB_WORKSPACE": str(self.folder / "project"),
                    **{f"INPUT_{name.replace('_', '-').upper()}": value for name, value in inputs.items()},
                }
            )
        finally:
            self.log = self.capture.readouterr().out

    def pull(self, action: str = "opened", number: int = 1, **with_: str) -> int:
        """A pull request of the repository's own."""
        sent = payload("pull_request", action, number=number, repository__full_name=REPOSITORY)
        sent["pull_request"]["head"]["repo"]["full_name"] = REPOSITORY
        return self.event("pull_request", sent, f"refs/pull/{number}/merge", **{**OURS, **with_})

    def push(self, **with_: str) -> int:
        """A push to the default branch."""
        sent = payload("push", repository__full_name=REPOSITORY, repository__default_branch="main")
        return self.event("push", sent, **with_)

    @property
    def summary(self) -> str:
        return self.files["GITHUB_STEP_SUMMARY"].read_text()

    @property
    def states(self) -> list[list[str]]:
        """The statuses of each GitHub deployment, oldest first."""
        return [self.github.states(identity) for identity in self.github.deployments]

    def triggers(self) -> dict[str, str]:
        """The triggers that live, and the version that each fires."""
        assert self.plane is not None
        self.plane.tasks()
        connection = sqlite3.connect(self.plane.data / "control-plane.db")
        rows = connection.execute(
            "SELECT task_name, name, task_version FROM triggers WHERE deleted_at IS NULL"
        ).fetchall()
        connection.close()
        return {f"{task}/{name}": version for task, name, version in rows}

    def versions(self) -> list[str]:
        assert self.plane is not None
        return [f"{task.name} {task.version}" for task in self.plane.tasks()]


@pytest.fixture
def here(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Here]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BUILDX_CONFIG", str(tmp_path))
    # The streams of the tests stay as they are, and no place is made that only the container has.
    monkeypatch.setattr("os.dup2", lambda *_: None)
    monkeypatch.setattr("flyte_deploy.project.workplace.Container", lambda *_, **__: None)
    write(flow())
    with at_github.running() as github:
        yield Here(tmp_path, write, github, capsys)
        assert github.problems == []


@pytest.fixture
def serving(here: Here, tmp_path: Path) -> Iterator[Callable[..., Here]]:
    """Starts the control plane, with faults."""
    started: list[Any] = []

    def serve(*faults: Fault) -> Here:
        started.append(running(tmp_path / "server", faults=faults))
        here.plane = started[0].__enter__()
        return here

    yield serve
    for one in started:
        one.__exit__(None, None, None)


def closed_when(github: GitHub, method: str, end: str, nth: int = 1, *, merged: bool = False) -> None:
    """Have somebody close the pull request right before a request."""
    seen: list[str] = []

    def before(asked: str, path: str) -> None:
        if asked == method and path.endswith(end):
            seen.append(path)
            if len(seen) == nth:
                github.pulls[1] = "closed"
                github.merged.update({1} if merged else ())

    github.before = before


@pytest.mark.parametrize("merged", [True, False])
def test_a_preview_that_is_closed_at_its_very_end_is_cleaned_up(
    serving: Callable[..., Here], merged: bool
) -> None:
    here = serving()
    # The second status is the last: success.
    closed_when(here.github, "POST", "/statuses", 2, merged=merged)
    assert here.pull() == 0, here.log
    assert here.states == [["in_progress", "success", "inactive"]]
    assert "removed trigger told.one/nightly" in here.log
    assert here.triggers() == {}
    (body,) = here.github.bodies()
    assert "preview: over" in body
    assert f"The pull request was {'merged' if merged else 'closed'}." in body


def test_a_preview_that_fails_while_it_is_closed_is_cleaned_up(serving: Callable[..., Here]) -> None:
    # The first task is registered with its trigger, the second one is not.
    here = serving(Fault("DeployTask", nth=2, times=9, code="permission_denied"))
    closed_when(here.github, "POST", "/statuses", 2, merged=True)
    assert here.pull() == 1
    assert len(here.versions()) == 1
    assert here.states == [["in_progress", "failure", "inactive"]]
    assert here.triggers() == {}
    (body,) = here.github.bodies()
    assert "preview: over" in body
    assert "The pull request was merged." in body
    # The step says what failed.
    assert "1 tasks could not be registered" in here.log


def test_a_preview_that_fails_says_so(serving: Callable[..., Here]) -> None:
    here = serving(Fault("DeployTask", nth=2, times=9, code="permission_denied"))
    assert here.pull() == 1
    assert here.states == [["in_progress", "failure"]]
    (body,) = here.github.bodies()
    assert "preview failed" in body
    assert "1 tasks are registered (told.one)" in body
    assert "some tasks may be registered" in body


def test_closing_goes_on_where_the_control_plane_fails(serving: Callable[..., Here]) -> None:
    here = serving(Fault("DeleteTriggers", times=99, code="permission_denied"))
    assert here.pull() == 0, here.log
    here.github.pulls[1] = "closed"
    assert here.pull("closed") == 1
    assert here.states == [["in_progress", "success", "inactive"]]
    (body,) = here.github.bodies()
    assert "preview: over" in body
    assert "could not be cleaned up" in body
    assert "deleting triggers" in body
    assert "Nothing runs them" not in body
    assert "deleting triggers" in here.log
    assert "deleting triggers" in here.summary
    assert here.triggers() != {}


def test_an_old_preview_behind_many_newer_versions_loses_its_triggers(
    serving: Callable[..., Here],
) -> None:
    here = serving()
    assert here.pull() == 0, here.log
    (preview,) = {version.split()[1] for version in here.versions()}
    assert here.triggers() == {"told.one/nightly": preview}
    overtake(here, 210)
    assert here.pull("closed") == 0, here.log
    assert here.triggers() == {}
    (body,) = here.github.bodies()
    assert preview in body


def overtake(here: Here, times: int) -> None:
    """Register so many newer versions of each task, without triggers."""
    assert here.plane is not None
    requests: list[DeployTaskRequest] = []
    for data in list(here.plane.deploy_requests()):
        for number in range(times):
            request = DeployTaskRequest.FromString(data)
            request.ClearField("triggers")
            request.task_id.version = request.spec.task_template.id.version = f"pr-2-{number}"
            requests.append(request)
    with ControlPlane(Endpoint.parse(here.plane.endpoint, insecure=True)) as plane:
        made = [
            Registration(f"{one.task_id.name} {one.task_id.version}", lambda one=one: one)  # type: ignore[misc]
            for one in requests
        ]
        outcome = register(plane, made, concurrency=8, same=lambda *_: True, listen=lambda _: None)
    assert outcome.complete


def test_an_internal_error_is_one_line_that_asks_to_report_it(
    serving: Callable[..., Here], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = serving()

    def fail(*_: object, **__: object) -> None:
        raise LookupError("what nobody expected")

    monkeypatch.setattr("flyte_deploy.carry_out.register", fail)
    assert here.pull() == 1
    (error,) = [line for line in here.log.splitlines() if line.startswith("::error ")]
    assert "internal error: LookupError: what nobody expected" in error
    assert "report it" in error
    assert "Traceback" not in here.log
    assert here.states == [["in_progress", "failure"]]
    (body,) = here.github.bodies()
    assert "preview failed" in body
    assert "internal error: LookupError" in body
    assert "internal error: LookupError" in here.summary


@pytest.mark.parametrize("hangs", [False, True])
def test_a_run_that_is_cancelled_says_so(
    serving: Callable[..., Here], monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    here, over = serving(), threading.Event()

    def interrupt(*_: object, **__: object) -> None:
        if hangs:
            # GitHub keeps everybody waiting from now on: the step ends all the same.
            monkeypatch.setattr(main, "_BUDGET", 0.1)
            here.github.before = lambda *_: (over.wait(), None)[1]
        raise KeyboardInterrupt

    monkeypatch.setattr("flyte_deploy.carry_out.register", interrupt)
    with pytest.raises(KeyboardInterrupt):
        here.push()
    assert "the run was cancelled" in here.summary
    if hangs:
        over.set()
        return
    assert here.states == [["in_progress", "failure"]]
    (made,) = here.github.deployments.values()
    assert "cancelled" in here.github.statuses[made["id"]][-1]["description"]


def test_what_breaks_callers_fails_a_plan_too(serving: Callable[..., Here]) -> None:
    here = serving()
    assert here.push() == 0, here.log
    here.write(flow("y: str"))
    assert here.pull(mode="plan", no_difference="true") == 0, here.log
    assert here.pull(mode="plan", no_difference="true", fail_on_breaking="true") == 1
    assert "may break who calls these tasks" in here.log
    assert "input `fail-on-breaking`" in here.log
    # What was planned is told all the same.
    assert "changed" in here.files["GITHUB_OUTPUT"].read_text()
    assert "Breaks callers" in here.summary
    (body,) = here.github.bodies()
    assert "Breaks callers" in body
    assert "preview failed" not in body
    merging = payload("merge_group", "checks_requested")
    assert here.event("merge_group", merging, no_difference="true", fail_on_breaking="true") == 1
    assert "Breaks callers" in here.summary


def test_production_is_the_domain_of_that_name(serving: Callable[..., Here]) -> None:
    here = serving()
    tags = {"tag_domains": "v*-rc*=staging, v*=production", "domain": "development", "preview_domain": "x"}
    sent = payload("push", repository__full_name=REPOSITORY, repository__default_branch="main")
    for tag in ("v1-rc1", "v1"):
        ref = f"refs/tags/{tag}"
        assert here.event("push", {**sent, "ref": ref}, ref, **tags) == 0, here.log
    assert here.push() == 0, here.log
    assert here.push(dry_run="true") == 0, here.log
    made = here.github.deployments.values()
    assert [(one["environment"], one["production_environment"]) for one in made] == [
        ("staging", False),
        ("production", True),
        ("production", True),
    ]
    assert [states[-1] for states in here.states] == ["success", "inactive", "success"]


def test_without_a_token_a_preview_works(serving: Callable[..., Here]) -> None:
    here = serving()
    assert here.pull(github_token="") == 0, here.log
    assert len(here.versions()) == 2
    assert "::warning title=flyte-deploy::without github-token nobody sees whether the pull" in here.log
    assert here.github.requests == []


def test_a_pull_request_that_github_does_not_know(serving: Callable[..., Here]) -> None:
    here = serving()
    assert here.pull(number=77) == 0, here.log
    assert len(here.versions()) == 2
    assert "commenting on pull request #77: Not Found" in here.log
    assert "looking up pull request #77: Not Found" in here.log
    assert here.states == [["in_progress", "success"]]
    plan = {"schema": "flyte-deploy/plan/1", "version": "v", "content": "c", "environments": []}
    (here.folder / "project/plan.json").write_text(json.dumps(plan))
    sent = payload("pull_request", "opened", number=1)
    asked = {"mode": "post-comment", "plan_file": "plan.json"}
    # It is all that there was to do.
    assert here.event("workflow_dispatch", sent, **asked, pr_number="77") == 1
    assert "commenting on pull request #77: Not Found" in here.log
    assert here.event("workflow_dispatch", sent, **asked, pr_number="1") == 0, here.log


def test_comments_that_others_delete_or_double(serving: Callable[..., Here]) -> None:
    here = serving()
    assert here.pull() == 0, here.log
    (body,) = here.github.bodies()
    here.github.comments.clear()
    assert here.pull("synchronize") == 0, here.log
    (again,) = here.github.bodies()
    assert again.partition("\n")[0] == body.partition("\n")[0]
    here.github.comment(body)
    assert here.pull("synchronize") == 0, here.log
    assert len(here.github.bodies()) == 1
    here.github.comments.clear()
    # The end is not worth a comment of its own.
    assert here.pull("closed") == 0, here.log
    assert here.github.bodies() == []
