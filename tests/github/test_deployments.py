"""GitHub deployments, the state of branches and of pull requests."""

from __future__ import annotations

import pytest

from flyte_deploy.errors import DeployError
from flyte_deploy.github.client import Pull, Repository
from flyte_deploy.github.deployments import PREVIEWS, State, Tracked, end, start, supersede
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
    made, begun = [], []
    for number in (1, 1, 2):
        tracked = start(repository, commit=HEAD, environment=PREVIEWS, root="flows", number=number)
        tracked.status("success")
        begun.append(tracked)
        made.append(tracked.deployment.id)
    first, _, other = made
    assert github.deployments[first]["payload"] == {"flyte-deploy": "flows", "pull_request": 1}
    assert github.deployments[first]["transient_environment"]
    assert github.statuses[first][0]["auto_inactive"] is False
    assert supersede(begun[1], root="flows", number=1) == 1
    assert [github.states(one)[-1] for one in made] == ["inactive", "success", "success"]
    assert end(repository, root="flows", number=1) == 2
    assert [github.states(one)[-1] for one in made] == ["inactive", "inactive", "success"]
    # What is over is left alone.
    assert github.states(first).count("inactive") == 1
    assert end(repository, root="", number=2) == 0
    assert github.states(other)[-1] == "success"


def test_a_deployment_takes_the_place_of_those_before_it(github: GitHub, repository: Repository) -> None:
    def deployed(root: str, *states: State) -> Tracked:
        tracked = start(repository, commit=HEAD, environment="staging", root=root)
        for state in states:
            tracked.status(state)
        return tracked

    def last(*tracked: Tracked) -> list[str]:
        return [github.states(one.deployment.id)[-1] for one in tracked]

    replaced = deployed("", "success")
    neighbour = deployed("flows", "success")
    failed = deployed("", "failure")
    given_up = deployed("", "inactive")
    killed = deployed("")
    current = deployed("", "success")
    newer = deployed("")
    assert supersede(current, root="") == 2
    assert last(replaced, failed, given_up, killed, current) == [
        *("inactive", "failure", "inactive", "inactive", "success")
    ]
    # The legs of a matrix deploy other folders there; what began later is not older.
    assert last(neighbour, newer) == ["success", "in_progress"]
    newer.status("success")
    before = len(github.requests)
    assert supersede(newer, root="") == 1
    assert last(replaced, current, newer) == ["inactive", "inactive", "success"]
    # It does not look through what has been superseded before.
    assert len(github.requests) - before == 4
    assert not any(one["auto_inactive"] for of in github.statuses.values() for one in of)


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
    github.heads[1] = ("team/project", "team/feature", HEAD)
    assert repository.pull(1) == Pull(open=True, merged=False, head=HEAD)
    github.pulls[1] = "closed"
    assert repository.pull(1) == Pull(open=False, merged=False, head=HEAD)
    github.merged.add(1)
    assert repository.pull(1) == Pull(open=False, merged=True, head=HEAD)
    with pytest.raises(DeployError, match=r"looking up pull request #77: Not Found"):
        repository.pull(77)
