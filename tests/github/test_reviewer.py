"""What a run tells its pull request: which comment, and when there is none."""

from __future__ import annotations

import io
from typing import Any

import pytest

from flyte_deploy.action.events import Policy
from flyte_deploy.action.log import Log
from flyte_deploy.action.reviewer import Reviewer
from flyte_deploy.errors import DeployError
from flyte_deploy.github.client import Repository
from flyte_deploy.github.comments import put_comment
from flyte_deploy.github.marker import key_of, parts_of
from flyte_deploy.model import Target
from flyte_deploy.report.json import plan_json
from flyte_deploy.report.markdown import comment
from flyte_deploy.report.posted import Posted, posted, read_posted
from flyte_deploy.report.story import Closed, Story
from flyte_deploy.settings import Settings
from tests.github.server import GitHub
from tests.report import plans
from tests.report.render import Page

CLOSED = Closed("flytesnacks/development", ("pr-1-a",), merged=True)


def reviewer(repository: Repository, do: Any = "preview", **given: Any) -> Reviewer:
    return Reviewer(
        repository,
        Policy(do, "a test", "flytesnacks", "development", number=1),
        Settings(github_deployment="off", **given),
        "",
        "",
        Log(io.StringIO()),
    )


def told(reviewer: Reviewer) -> str:
    stream = reviewer.log._stream
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()


def deployed(version: str = "pr-1-a") -> Story:
    return Story("preview", plans.deployed(plans.plan(plans.SMALL, plans.SMALL_STATES, version=version)))


def test_under_new_nothing_is_deleted_when_it_is_over(github: GitHub, repository: Repository) -> None:
    ours = reviewer(repository, comment="new")
    for version in ("pr-1-a", "pr-1-b", "pr-1-c"):
        ours.comment(deployed(version))
    ours.close(CLOSED)
    bodies = github.bodies()
    assert len(bodies) == 4
    for version, body in zip(("pr-1-a", "pr-1-b", "pr-1-c"), bodies, strict=False):
        assert version in body
    assert "### Flyte preview: over" in bodies[3]
    assert not any(method == "DELETE" for method, _, _ in github.requests)


@pytest.mark.parametrize("how", ["always", "new", "changes"])
def test_the_end_of_a_preview_that_never_was_is_not_told(
    github: GitHub, repository: Repository, how: str
) -> None:
    reviewer(repository, comment=how).close(CLOSED)
    assert github.bodies() == []


@pytest.mark.parametrize("how", ["always", "changes"])
def test_the_end_of_a_preview_stands_in_its_comment(github: GitHub, repository: Repository, how: str) -> None:
    ours = reviewer(repository, comment=how)
    ours.comment(deployed())
    ours.close(CLOSED)
    (body,) = github.bodies()
    assert "### Flyte preview: over" in body


def test_posted_plans_for_two_targets_stand_side_by_side(
    github: GitHub, repository: Repository, tmp_path: Any
) -> None:
    ours = reviewer(repository, "post-comment")
    reviewer(repository).comment(deployed())
    for domain, root in (("staging", ""), ("production", ""), ("production", "apps/a"), ("staging", "")):
        made = plans.plan(plans.SMALL, plans.SMALL_STATES, target=Target("flytesnacks", domain))
        file = tmp_path / "plan.json"
        file.write_bytes(plan_json(made, root))
        plan = read_posted(file)
        assert (str(plan.target), plan.root) == (f"flytesnacks/{domain}", root)
        ours.post(lambda room, plan=plan: posted(plan, room), 1, str(plan.target), plan.root)  # type: ignore[misc]
    titles = [body.split("### ")[1].partition("\n")[0] for body in github.bodies()]
    assert titles == [
        "Flyte preview: deployed to <code>flytesnacks/development</code>",
        "Flyte plan: what would be done in <code>flytesnacks/staging</code>",
        "Flyte plan: what would be done in <code>flytesnacks/production</code>",
        "Flyte plan of <code>apps/a</code>: what would be done in <code>flytesnacks/production</code>",
    ]


def test_a_posted_plan_says_what_breaks(tmp_path: Any) -> None:
    file = tmp_path / "plan.json"
    file.write_bytes(plan_json(plans.small()))
    text = posted(read_posted(file), 60_000)
    assert "**Breaks callers:** <code>train.fit</code>: <code>input name removed (str)</code>" in text
    assert "1 new, 2 changed, 2 unchanged but for the bundle, 2 unchanged, 1 gone" in text
    file.write_bytes(plan_json(plans.hostile(tuple(name for name in plans.HOSTILE if name != "\ud800"))))
    for limit in (60_000, 6_000, 1_000, 200):
        text = posted(read_posted(file), limit)
        assert len(text) <= limit
        page = Page(text)
        assert page.problems == []
        assert page.links == []
        assert not page.tags & {"img", "script", "b"}
    file.write_bytes(plan_json(plans.small()).replace(b'"state": "new"', b'"state": "evil"'))
    with pytest.raises(DeployError, match="this is no plan"):
        read_posted(file)
    assert posted(Posted("", "v", "c", ()), 1000).startswith("### Flyte plan: what would be done\n")


def test_who_is_written_over_each_time_says_so(github: GitHub, repository: Repository) -> None:
    key, part = key_of("a"), key_of("b")

    def forget(method: str, path: str) -> None:
        # Somebody puts the comment back to what it was whenever it is read again.
        if method == "GET" and path.endswith("/comments"):
            for one in github.comments.values():
                one["body"] = one["body"].replace("### hello", "### other")

    github.before = forget

    def put() -> str:
        return put_comment(
            repository,
            1,
            key=key,
            part=part,
            render=lambda _: "### hello",
            shared=True,
            pause=lambda _: None,
        )

    with pytest.raises(DeployError, match="changed by others each of 8 times") as caught:
        put()
    assert "#issuecomment-" in (caught.value.where or "")
    ours = reviewer(repository)
    ours._try(put)
    assert "::warning" in told(ours)


def test_legs_without_room_lose_what_is_folded_first(github: GitHub, repository: Repository) -> None:
    """Each says what it deployed, what breaks and where its run is, however many share the comment."""
    run = "https://github.com/team/project/actions/runs/1"
    legs = [f"apps/leg-{number:02d}" for number in range(12)]
    for leg in legs:
        story = Story("preview", plans.deployed(plans.large()), root=leg, run_url=run)
        put_comment(
            repository,
            1,
            key=key_of("g"),
            part=key_of(leg),
            render=lambda room, story=story: comment(story, room),  # type: ignore[misc]
            shared=True,
            pause=lambda _: None,
        )
    (body,) = github.bodies()
    assert len(body) <= 65_536
    assert Page(body).problems == []
    parts = parts_of(body)
    assert len(parts) == len(legs)
    for leg, text in zip(legs, parts.values(), strict=True):
        assert f"### Flyte preview of <code>{leg}</code>: deployed" in text
        assert "**Breaks callers:**" in text
        assert f"[Workflow run]({run})" in text
        assert text.count("<details>") == text.count("</details>")
