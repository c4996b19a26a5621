"""Which pull request a plan is posted to, of a run whose payload names none."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from flyte_deploy.action.events import Policy
from flyte_deploy.action.log import Log
from flyte_deploy.action.reviewer import Reviewer
from flyte_deploy.errors import DeployError
from flyte_deploy.github.client import Repository
from flyte_deploy.settings import Settings
from tests.github.server import REPOSITORY, TOKEN, GitHub, running

PLANNED, LATER = "b" * 40, "c" * 40
FORK = "stranger/project"


@pytest.fixture
def server() -> Iterator[GitHub]:
    with running() as github:
        github.pulls = {1: "open", 2: "open", 3: "open"}
        github.heads = {2: (FORK, "patch-1", PLANNED)}
        yield github
        assert github.problems == []


def reviewer(github: GitHub, number: int = 0) -> tuple[Reviewer, io.StringIO]:
    policy = Policy("post-comment", "", number=number, head=PLANNED, branch="patch-1", source=FORK)
    told = io.StringIO()
    repository = Repository(REPOSITORY, TOKEN, github.url, wait=5)
    return Reviewer(repository, policy, Settings(), "", "", Log(told)), told


@pytest.mark.parametrize("number", [0, 2])
def test_it_is_found_by_the_commit_of_the_run(server: GitHub, number: int) -> None:
    # Another fork of the same owner, and another branch of it.
    server.heads |= {1: ("stranger/other", "patch-1", PLANNED), 3: (FORK, "patch-2", PLANNED)}
    made, told = reviewer(server, number)
    assert made.whose_plan() == 2
    made.post(lambda _: "### the plan", 2)
    assert len(server.bodies(2)) == 1
    assert "::warning" not in told.getvalue()


@pytest.mark.parametrize("number", [0, 2])
def test_one_that_is_closed_gets_none(server: GitHub, number: int) -> None:
    server.pulls[2] = "closed"
    made, told = reviewer(server, number)
    assert made.whose_plan() == 0
    assert "no open pull request of stranger/project:patch-1 is at bbbbbbb" in told.getvalue()


def test_one_that_has_moved_on_gets_none(server: GitHub) -> None:
    server.heads[2] = (FORK, "patch-1", LATER)
    made, told = reviewer(server)
    assert made.whose_plan() == 0
    assert "no open pull request of stranger/project:patch-1 is at bbbbbbb" in told.getvalue()


def test_a_number_of_somebody_else_s_pull_request_is_refused(server: GitHub) -> None:
    server.heads[1] = (REPOSITORY, "feature", LATER)
    with pytest.raises(DeployError, match="#1 is not at bbbbbbb, the commit that was planned"):
        reviewer(server, 1)[0].whose_plan()


def test_several_at_one_commit_need_a_number(server: GitHub) -> None:
    server.heads[3] = server.heads[2]
    with pytest.raises(DeployError, match="several pull requests are at bbbbbbb: #2, #3"):
        reviewer(server)[0].whose_plan()
    assert reviewer(server, 3)[0].whose_plan() == 3
