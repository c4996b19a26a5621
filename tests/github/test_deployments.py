"""GitHub deployments, the state of branches and of pull requests."""

from __future__ import annotations

import pytest

from flyte_deploy.errors import DeployError
from flyte_deploy.github.client import Repository
from flyte_deploy.github.deployments import PREVIEWS, end, start
from tests.github.server import Fault, GitHub

HEAD = "b" * 40


def test_a_deployment_and_its_statuses(github: GitHub, repository: Repository) -> None:
    tracked = start(
        repository,
        commit=HEAD,
        environment="production",
        root="",
        description="v1 hunter2-hunter2 " + "x" * 300,
        production=True,
    )
    tracked.status(
        "success", url="https://flyte.example.com/v2", log_url="https://github.com/x/actions/runs/1"
    )
    ((identity, made),) = github.deployments.items()
    assert made["ref"] == HEAD
    assert made["auto_merge"] is False
    assert made["required_contexts"] == []
    assert made["production_environment"]
    assert not made["transient_environment"]
    assert len(made["description"]) == 140
    assert "hunter2" not in made["description"]
    assert github.states(identity) == ["in_progress", "success"]
    assert github.statuses[identity][-1]["environment_url"] == "https://flyte.example.com/v2"


def test_a_preview_s_deployments_end_with_it(github: GitHub, repository: Repository) -> None:
    made = []
    for number in (1, 1, 2):
        tracked = start(repository, commit=HEAD, environment=PREVIEWS, root="flows", number=number)
        tracked.status("success")
        made.append(tracked.deployment.id)
    first, second, other = made
    assert github.deployments[first]["payload"] == {"flyte-deploy": "flows", "pull_request": 1}
    assert github.deployments[first]["transient_environment"]
    assert github.statuses[first][0]["auto_inactive"] is False
    assert end(repository, environment=PREVIEWS, root="flows", number=1, but=second) == 1
    assert [github.states(one)[-1] for one in made] == ["inactive", "success", "success"]
    assert end(repository, environment=PREVIEWS, root="flows", number=1) == 2
    assert [github.states(one)[-1] for one in made] == ["inactive", "inactive", "success"]
    # What is over is left alone.
    assert github.states(first).count("inactive") == 1
    assert end(repository, environment=PREVIEWS, root="", number=2) == 0
    assert github.states(other)[-1] == "success"


def test_a_token_without_permission(github: GitHub, repository: Repository) -> None:
    github.faults.append(
        Fault("POST", "deployments", 403, {"message": "Resource not accessible by integration"}, times=9)
    )
    with pytest.raises(DeployError) as caught:
        start(repository, commit=HEAD, environment="staging", root="")
    assert "add `deployments: write` to the job's permissions" in (caught.value.mend or "")


def test_where_a_branch_and_a_pull_request_are(github: GitHub, repository: Repository) -> None:
    github.branches["team/feature"] = HEAD
    assert repository.branch_head("team/feature") == HEAD
    with pytest.raises(DeployError, match="looking up branch gone"):
        repository.branch_head("gone")
    assert repository.pull_is_open(1)
    github.pulls[1] = "closed"
    assert not repository.pull_is_open(1)
