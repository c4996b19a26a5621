"""The container as GitHub's runner starts it: examples deployed, nothing left in the workspace."""

from __future__ import annotations

import json

from flyte_deploy.action.outputs import OUTPUTS
from flyte_deploy.embedded import read_tasks
from tests.action.conftest import PYTHON, Job
from tests.harness.image import ROOT
from tests.harness.services import Services
from tests.harness.tree import tree_digest

EXAMPLES = sorted(path.name for path in (ROOT / "examples").iterdir() if path.is_dir())


def target(services: Services) -> dict[str, str]:
    return {
        "project": "flytesnacks",
        "domain": "development",
        "endpoint": services.endpoint,
        "insecure": "true",
        "python": PYTHON,
    }


def test_it_deploys_and_finds_nothing_to_do_afterwards(job: Job, services_of_job: Services) -> None:
    runner = job(ROOT / "examples")
    before = tree_digest(runner.workspace)
    with_ = {**target(services_of_job), "path": ".", "working-directory": "chain"}

    first = runner.run(with_)

    assert first.status == 0, first.log
    assert set(first.outputs) == set(OUTPUTS)
    tasks = json.loads(first.outputs["tasks"])
    registered = [
        task.name for task in read_tasks(services_of_job.data) if task.version == first.outputs["version"]
    ]
    assert sorted(tasks) == sorted(registered)
    assert (first.outputs["registered"], first.outputs["unchanged"]) == (str(len(tasks)), "0")
    assert first.outputs["bundle-cached"] == "false"
    assert json.loads(first.outputs["plan"])["version"] == first.outputs["version"]
    assert first.annotations("error") == []
    assert first.groups[0] == "Settings"
    assert "Loading the code" in first.groups
    assert first.outputs["version"] in first.summary

    again = runner.run(with_)

    assert again.status == 0, again.log
    assert again.outputs["version"] == first.outputs["version"]
    assert (again.outputs["registered"], again.outputs["unchanged"]) == ("0", str(len(tasks)))
    assert again.outputs["bundle-cached"] == "true"
    assert again.outputs["bundle-digest"] == first.outputs["bundle-digest"]
    assert tree_digest(runner.workspace) == before
