"""What is done for an event: recorded payloads against settings, without anything else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from flyte_deploy.action.event import Event
from flyte_deploy.action.events import FOREIGN, Facts, decide, tag_targets
from flyte_deploy.action.policy import applied, has_credentials
from flyte_deploy.errors import DeployError
from flyte_deploy.settings import Settings
from tests.action.payloads import REPOSITORY, names, payload

MAIN = Facts("refs/heads/master", "a" * 40, REPOSITORY, "Codertocat")
TAG = Facts("refs/tags/v1.2.0", "a" * 40, REPOSITORY, "Codertocat")
PULL = Facts("refs/pull/2/merge", "a" * 40, REPOSITORY, "Codertocat")


def settings(**given: Any) -> Settings:
    return Settings(**{"project": "team", "domain": "staging", "endpoint": "flyte.example.com", **given})


def refused(event: Event, facts: Facts, **given: Any) -> DeployError:
    with pytest.raises(DeployError) as caught:
        decide(event, facts, settings(**given))
    assert caught.value.exit_status == 2
    assert caught.value.mend
    return caught.value


def opened(action: str = "opened", **changes: object) -> Event:
    return Event("pull_request", payload("pull_request", action, **changes))


def test_a_push_to_the_default_branch_deploys() -> None:
    made = decide(Event("push", payload("push", repository__default_branch="master")), MAIN, settings())
    assert (made.do, made.target, made.branch, made.version) == ("push", "team/staging", "master", "")
    assert made.why == "a push to master"
    assert not applied(settings(), made).dry_run


def test_a_push_to_another_branch_is_a_plan_unless_insisted_on() -> None:
    event = Event("push", payload("push", repository__default_branch="main"))
    made = decide(event, MAIN, settings())
    assert made.do == "plan"
    assert made.why == "master is not the default branch, main (mode: push deploys it)"
    assert applied(settings(), made).dry_run
    assert decide(event, MAIN, settings(mode="push")).do == "push"


@pytest.mark.parametrize("action", ["opened", "synchronize", "reopened", "ready_for_review", "labeled"])
def test_a_pull_request_gets_a_preview(action: str) -> None:
    event = opened(action, pull_request__head__repo={"full_name": REPOSITORY})
    event.payload["number"] = 2  # type: ignore[index]
    made = decide(event, PULL, settings())
    assert made.do == "preview"
    assert made.target == "team/development"
    assert made.version == "pr-2-{content}"
    assert made.compare_to == "team/staging"
    assert not made.triggers
    assert made.head == event.payload["pull_request"]["head"]["sha"]
    after = applied(
        settings(bundle_store="s3://bucket/x/", cache_to=("type=registry,ref=r/c,mode=max",)), made
    )
    assert (after.project, after.domain, after.version) == ("team", "development", "pr-2-{content}")
    assert after.preview
    assert not after.triggers
    assert after.bundle_store == "s3://bucket/x/previews"
    assert after.cache_to == ("type=registry,ref=r/c-preview,mode=max",)
    assert after.reuse_from == ""
    assert applied(settings(), decide(event, PULL, settings(preview_triggers=True))).triggers


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"domain": "development"}, "where pushes are deployed to"),
        ({"preview_domain": "production"}, "where tags * are released to"),
        ({"tag_domains": "v*=a/development", "preview_project": "a"}, "where tags v* are released to"),
        ({"preview_project": "team", "preview_domain": "staging"}, "where pushes are deployed to"),
    ],
)
def test_a_preview_never_goes_where_anything_else_goes(given: dict[str, str], where: str) -> None:
    for action in ("opened", "closed"):
        assert where in refused(opened(action), PULL, **given).what


def test_a_preview_without_a_domain_for_pushes() -> None:
    made = decide(opened(), PULL, settings(domain=""))
    assert (made.do, made.compare_to) == ("preview", "")


@pytest.mark.parametrize(
    ("changes", "facts", "why"),
    [
        ({"pull_request__head__repo": {"full_name": "stranger/Hello-World"}}, PULL, "a fork's pull request"),
        ({"pull_request__head__repo": None}, PULL, "a fork's pull request"),
        ({}, Facts(PULL.ref, PULL.sha, REPOSITORY, "dependabot[bot]"), "Dependabot"),
        ({"pull_request__user__login": "dependabot[bot]"}, PULL, "Dependabot"),
        ({}, Facts(PULL.ref, PULL.sha, REPOSITORY, "x", credentials=False), "there are no credentials"),
    ],
)
def test_a_stranger_s_pull_request_is_planned_offline(
    changes: dict[str, Any], facts: Facts, why: str
) -> None:
    made = decide(opened(**changes), facts, settings())
    assert made.do == "plan"
    assert why in made.why
    assert made.offline
    after = applied(settings(), made)
    assert after.endpoint == ""
    assert after.dry_run
    assert not made.deploys
    if facts.credentials:
        closed = decide(opened("closed", **changes), facts, settings())
        assert closed.do == "skip"


def test_a_closed_pull_request() -> None:
    made = decide(opened("closed", pull_request__merged=True), PULL, settings())
    assert (made.do, made.merged, made.number, made.target) == ("close", True, 2, "team/development")


@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_events_with_the_repository_s_secrets_execute_nothing(name: str) -> None:
    event = Event(name, payload("workflow_run", "completed"))
    for mode in ("auto", "push", "preview", "release", "plan"):
        assert "executes no code of a pull request" in refused(event, MAIN, mode=mode).what
    made = decide(event, MAIN, settings(mode="post-comment", pr_number=7, plan_file=Path("plan.json")))
    assert "needs the plan to post" in refused(event, MAIN, mode="post-comment", pr_number=7).what
    if name == "workflow_run":
        assert (made.do, made.why) == (
            "skip",
            "the run that has ended was one of workflow_dispatch, not of a pull request",
        )
        return
    assert (made.do, made.number) == ("post-comment", 7)
    unknown = refused(event, MAIN, mode="post-comment", plan_file=Path("plan.json"))
    assert "needs to know the pull request" in unknown.what


@pytest.mark.parametrize("number", [0, 7])
def test_the_pull_request_of_a_run_is_known_by_its_commit(number: int) -> None:
    sent = payload("workflow_run", "completed", workflow_run__event="pull_request")
    run = sent["workflow_run"]
    given = {"mode": "post-comment", "pr_number": number, "plan_file": Path("plan.json")}
    made = decide(Event("workflow_run", sent), MAIN, settings(**given))
    assert (made.do, made.number) == ("post-comment", number)
    assert made.head == run["head_sha"]
    assert (made.source, made.branch) == ("octo-org/octo-repo", "main")
    run["head_repository"] = None
    gone = refused(Event("workflow_run", sent), MAIN, **given).what
    assert gone == "the event's payload has no workflow_run.head_repository.full_name"


def test_a_tag_is_a_release() -> None:
    event = Event("push", payload("push"))
    made = decide(event, TAG, settings())
    assert (made.do, made.target, made.version) == ("release", "team/production", "v1.2.0")
    assert made.reuse_from == "team/staging"
    assert made.reuse_branch == event.payload["repository"]["default_branch"]
    after = applied(settings(version="{short_sha}", overwrite=True), made)
    assert (after.version, after.reuse_version, after.reuse_from) == ("v1.2.0", "{short_sha}", "team/staging")
    assert after.reuse_branch == made.reuse_branch
    # What a workflow lets pushes do is not for tags.
    assert not after.overwrite
    assert not after.preview
    assert after.triggers
    alone = decide(event, TAG, settings(domain=""))
    assert alone.reuse_from == ""
    assert alone.notes
    assert decide(event, TAG, settings(domain="production")).reuse_from == ""


@pytest.mark.parametrize(
    ("tag", "target"),
    [("v1.2.0-rc1", "team/qa"), ("v1.2.0", "team/production"), ("nightly/1", "other/nightly")],
)
def test_tags_go_where_their_pattern_says(tag: str, target: str) -> None:
    facts = Facts(f"refs/tags/{tag}", "a" * 40, REPOSITORY)
    given = {"tag_domains": "v*-rc*=qa, v*=production,\nnightly/*=other/nightly"}
    made = decide(Event("push", payload("push")), facts, settings(**given))
    assert made.target == target
    assert "/" not in made.version


def test_a_tag_that_fits_nothing_and_a_list_that_is_none() -> None:
    event = Event("push", payload("push"))
    assert "fits no pattern: x*" in refused(event, TAG, tag_domains="x*=production").what
    for wrong in ("v*", "v*=", "=production", "v*=a/b/c"):
        assert "is no pattern of tags" in refused(event, TAG, tag_domains=wrong).what
    assert tag_targets(settings(tag_domains=" a = b ,, ")) == [("a", "team/b")]


def test_a_release_event() -> None:
    made = decide(Event("release", payload("release", "published")), TAG, settings())
    assert (made.do, made.version) == ("release", "0.0.1")
    for action in ("created", "edited", "deleted"):
        assert decide(Event("release", payload("release", action)), TAG, settings()).do == "skip"


@pytest.mark.parametrize("name", ["schedule", "workflow_dispatch", "repository_dispatch"])
def test_events_of_a_branch(name: str) -> None:
    example = {"repository": {"default_branch": "master"}}
    made = decide(Event(name, example), MAIN, settings())
    assert (made.do, made.target, made.branch) == ("push", "team/staging", "master")
    assert decide(Event(name, example), TAG, settings()).do == "release"
    assert decide(Event(name, {"repository": {"default_branch": "x"}}), MAIN, settings()).do == "plan"


def test_events_that_deploy_nothing() -> None:
    queue = Facts("refs/heads/gh-readonly-queue/main/pr-1", "a" * 40, REPOSITORY)
    merge = Event("merge_group", payload("merge_group", "checks_requested"))
    assert decide(merge, queue, settings()).do == "plan"
    assert "is not for this event" in refused(merge, queue, mode="push").what
    assert decide(Event("push", payload("push", deleted=True)), MAIN, settings()).do == "skip"
    assert decide(Event("delete", {"ref": "x"}), MAIN, settings()).do == "skip"
    for mode in ("plan",):
        assert decide(Event("push", payload("push")), MAIN, settings(mode=mode)).do == "plan"
        assert decide(opened(), PULL, settings(mode=mode)).do == "plan"


def test_modes_that_an_event_is_not_for() -> None:
    push = Event("push", payload("push"))
    assert "has no pull request to preview" in refused(push, MAIN, mode="preview").what
    assert "there is no tag to release" in refused(push, MAIN, mode="release").what
    for mode in ("push", "release"):
        assert "is not for pull requests" in refused(opened(), PULL, mode=mode).what


@pytest.mark.parametrize(
    ("event", "facts", "field"),
    [
        (Event("push", {}), MAIN, "repository.default_branch"),
        (Event("pull_request", {}), PULL, "number"),
        (Event("pull_request", {"number": 1, "pull_request": []}), PULL, "pull_request.head.sha"),
        (Event("pull_request", {"number": "1"}), PULL, "number"),
        (Event("release", {"action": "published", "release": None}), TAG, "release.tag_name"),
    ],
)
def test_a_payload_without_a_field(event: Event, facts: Facts, field: str) -> None:
    assert refused(event, facts).what == f"the event's payload has no {field}"


def test_no_recorded_event_ends_in_anything_but_a_policy_or_a_clear_error() -> None:
    for name in names():
        for facts in (MAIN, TAG, PULL, Facts()):
            event = Event(name, payload(name, _first_action(name)))
            try:
                found = decide(event, facts, settings()).why
            except DeployError as error:
                found = error.mend or ""
            assert found, (name, facts)


def _first_action(name: str) -> str:
    from tests.action.payloads import _all

    return str(_all()[name][0].get("action", ""))


@pytest.mark.parametrize(
    ("given", "environ", "expected"),
    [
        ({}, {}, False),
        ({}, {"FLYTE_API_KEY": "x"}, True),
        ({}, {"FLYTE_ADMIN_CLIENTSECRETENVVAR": "X"}, True),
        ({}, {"FLYTE_ADMIN_ENDPOINT": "x"}, False),
        ({"insecure": True}, {}, True),
        ({"endpoint": "embedded"}, {}, True),
        ({"endpoint": ""}, {}, False),
        ({"config_path": Path("config.yaml")}, {}, True),
    ],
)
def test_credentials(given: dict[str, Any], environ: dict[str, str], expected: bool) -> None:
    assert has_credentials(environ, settings(**given)) is expected


def test_the_table_of_the_documentation_names_every_event() -> None:
    page = (Path(__file__).parents[2] / "docs" / "previews.md").read_text(encoding="utf-8")
    table = page.partition("## Events")[2].partition("\n## ")[0]
    named = "push pull_request merge_group schedule workflow_dispatch repository_dispatch release delete"
    for name in (*FOREIGN, *named.split()):
        assert re.search(rf"`{name}`", table), name
