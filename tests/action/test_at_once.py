"""Two previews, a push and a release of one repository at the same time, against one control plane."""

from __future__ import annotations

import shutil
import sqlite3
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from flyteidl2.task.task_service_pb2 import DeployTaskRequest

from flyte_deploy.embedded import read_deploy_requests
from tests.action.conftest import Job
from tests.action.repository import Repository
from tests.conftest import Write
from tests.github.server import GitHub
from tests.harness.runner import Step
from tests.harness.services import Services

FLOW = """
import flyte

common = flyte.TaskEnvironment(name="at_once_common")
env = flyte.TaskEnvironment(name="at_once", depends_on=[common])

for number in range(12):
    async def work(x: int = {value}) -> int:
        return x
    work.__name__ = work.__qualname__ = f"work_{{number}}"
    decorate = (env if number % 2 else common).task
    trigger = flyte.Trigger("nightly", flyte.Cron("0 3 * * *"))
    globals()[work.__name__] = decorate(work, triggers=trigger if number < 4 else ())
"""
TASKS = {f"at_once{'' if number % 2 else '_common'}.work_{number}" for number in range(12)}
FIRING = {f"at_once{'' if number % 2 else '_common'}.work_{number}" for number in range(4)}
TARGETS = {"domain": "staging", "tag_domains": "v*=production"}


def flow(value: int) -> dict[str, str]:
    return {"flow.py": FLOW.format(value=value)}


def test_two_previews_a_push_and_a_release(
    job: Job, write: Write, services_of_job: Services, github: GitHub
) -> None:
    github.pulls = {1: "open", 2: "open"}
    main = Repository(job(write(flow(1))), services_of_job, github)
    deployed = main.push(**TARGETS)
    assert deployed.status == 0, deployed.log
    before = main.tag("v0.9.0", **TARGETS)
    assert before.status == 0, before.log
    # Each in a checkout of its own, as on a runner of its own.
    copies = [Repository(job(), services_of_job, github) for _ in range(3)]
    for value, copy in enumerate(copies, 2):
        shutil.copytree(main.runner.workspace, copy.runner.workspace, dirs_exist_ok=True)
        copy.change(flow(value))
    first, second, newer = copies

    with ThreadPoolExecutor(4) as pool:
        running = {
            "pr-1": pool.submit(first.pull, number=1, preview_triggers="true", **TARGETS),
            "pr-2": pool.submit(second.pull, number=2, **TARGETS),
            "push": pool.submit(newer.push, **TARGETS),
            "release": pool.submit(main.tag, "v1.0.0", **TARGETS),
        }
        steps = {name: future.result() for name, future in running.items()}

    for step in steps.values():
        assert step.status == 0, step.log
    assert steps["pr-1"].outputs["version"].startswith("pr-1-")
    assert steps["pr-2"].outputs["version"].startswith("pr-2-")
    assert steps["release"].outputs["version"] == "v1.0.0"
    found = registered(services_of_job.data)
    expected = {
        ("development", "pr-1"): (steps["pr-1"], 2),
        ("development", "pr-2"): (steps["pr-2"], 3),
        ("staging", "before"): (deployed, 1),
        ("staging", "push"): (steps["push"], 4),
        ("production", "before"): (before, 1),
        ("production", "release"): (steps["release"], 1),
    }
    assert set(found) == {(domain, step.outputs["version"]) for (domain, _), (step, _) in expected.items()}
    for (domain, _), (step, value) in expected.items():
        check(found[domain, step.outputs["version"]], step, value)
    # A release runs what the default branch has deployed, a preview's bundle lies apart.
    assert steps["release"].outputs["bundle-uri"] == deployed.outputs["bundle-uri"]
    assert len({step.outputs["bundle-uri"] for step in steps.values()}) == 4

    # Triggers: where they point now, and how often they were written. Production's by its two releases,
    # staging's by its two pushes, the previews' by the one that asked for them.
    assert triggers(services_of_job.data) == {
        (domain, name): (version, times)
        for domain, version, times in (
            ("development", steps["pr-1"].outputs["version"], 1),
            ("staging", steps["push"].outputs["version"], 2),
            ("production", "v1.0.0", 2),
        )
        for name in FIRING
    }
    # Each pull request was told of its own.
    for number in (1, 2):
        (body,) = github.bodies(number)
        assert steps[f"pr-{number}"].outputs["version"] in body
        assert steps[f"pr-{3 - number}"].outputs["version"] not in body


def check(requests: list[DeployTaskRequest], step: Step, value: int) -> None:
    """Every task once, with its own default and the bundle that the step says."""
    assert sorted(request.task_id.name for request in requests) == sorted(TASKS)
    for request in requests:
        identity = request.spec.task_template.id
        assert (identity.domain, identity.version) == (request.task_id.domain, request.task_id.version)
        assert step.outputs["bundle-uri"] in request.spec.task_template.container.args
        (default,) = request.spec.default_inputs
        assert default.parameter.default.scalar.primitive.integer == value


def registered(data: Path) -> dict[tuple[str, str], list[DeployTaskRequest]]:
    """All that was ever registered of these tasks, by domain and version."""
    found = defaultdict(list)
    for one in map(DeployTaskRequest.FromString, read_deploy_requests(data)):
        if one.task_id.name in TASKS:
            found[one.task_id.domain, one.task_id.version].append(one)
    return found


def triggers(data: Path) -> dict[tuple[str, str], tuple[str, int]]:
    """The triggers that live: the version that each fires, and how many times it was written."""
    connection = sqlite3.connect(data / "control-plane.db")
    rows = connection.execute(
        "SELECT domain, task_name, task_version, revision FROM triggers"
        " WHERE deleted_at IS NULL AND task_name LIKE 'at_once%'"
    ).fetchall()
    connection.close()
    return {(domain, name): (version, times) for domain, name, version, times in rows}
