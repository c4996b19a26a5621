"""What is done for an event: recorded payloads against settings, without anything else."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pytest

from flyte_deploy.action.event import Event
from flyte_deploy.action.events import DEPLOYING, FOREIGN, PULLS, Facts, decide, tag_targets
from flyte_deploy.action.policy import applied, missing_login, unchecked
from flyte_deploy.errors import DeployError
from flyte_deploy.settings import Settings
from tests.action.payloads import REPOSITORY, names, payload

MAIN = Facts("refs/heads/master", "a" * 40, REPOSITORY, "Codertocat")
TAG = Facts("refs/tags/v1.2.0", "a" * 40, REPOSITORY, "Codertocat")
PULL = Facts("refs/pull/2/merge", "a" * 40, REPOSITORY, "Codertocat")
NOTHING = "there is nothing to log in to the control plane with"
DEPENDABOT = "dependabot[bot]"


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
    event = opened(action, pull_request__head__repo={"full_name": REPOSITORY}, number=2)
    made = decide(event, PULL, settings())
    assert made.do == "preview"
    assert made.target == "team/development"
    assert made.version == "pr-2-{content}"
    assert made.compare_to == "team/staging"
    assert not made.triggers
    assert made.head == event.payload["pull_request"]["head"]["sha"]
    given = {"pass_env": ("TOKEN",), "discovery_network": "allow"}
    after = applied(
        settings(bundle_store="s3://bucket/x/", cache_to=("type=registry,ref=r/c,mode=max",), **given), made
    )
    assert (after.project, after.domain, after.version) == ("team", "development", "pr-2-{content}")
    assert after.preview
    assert not after.triggers
    assert (after.bundle_store, after.base_store) == ("s3://bucket/x/previews", "s3://bucket/x/")
    assert (after.pass_env, after.discovery_network) == (("TOKEN",), "allow")
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
        ({}, Facts(PULL.ref, PULL.sha, REPOSITORY, DEPENDABOT), "Dependabot"),
        ({"pull_request__user__login": DEPENDABOT}, PULL, "Dependabot"),
        ({}, Facts(PULL.ref, PULL.sha, REPOSITORY, "x", missing=NOTHING), NOTHING),
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
    closed = decide(opened("closed", **changes), facts, settings())
    assert closed.do == "skip"
    assert why in closed.why


def test_the_code_of_a_stranger_gets_nothing_that_the_workflow_would_pass() -> None:
    given = settings(pass_env=("TOKEN",), discovery_network="allow")
    made = decide(opened(pull_request__head__repo=None), PULL, given)
    after = applied(given, made)
    assert (after.pass_env, after.discovery_network) == ((), "none")
    assert made.notes == ("left out for a stranger's code: input discovery-network, input pass-env",)
    assert decide(opened(pull_request__head__repo=None), PULL, settings()).notes == ()


def test_a_closed_pull_request() -> None:
    made = decide(opened("closed", pull_request__merged=True), PULL, settings())
    assert (made.do, made.merged, made.number, made.target) == ("close", True, 2, "team/development")
    planned = decide(opened("closed"), PULL, settings(mode="plan"))
    assert (planned.do, planned.why) == ("skip", "pull request #2 was closed: mode: plan ends no preview")


@pytest.mark.parametrize("name", sorted(PULLS - {"pull_request"}))
def test_a_review_is_an_event_of_its_pull_request(name: str) -> None:
    action = "submitted" if name == "pull_request_review" else "created"
    made = decide(Event(name, payload(name, action, pull_request__number=2)), PULL, settings())
    assert (made.do, made.number, made.version) == ("preview", 2, "pr-2-{content}")
    fork = payload(name, action, pull_request__head__repo={"full_name": "stranger/Hello-World"})
    assert decide(Event(name, fork), PULL, settings()).offline
    closed = decide(Event(name, payload(name, action, pull_request__state="closed")), PULL, settings())
    assert closed.do == "skip"
    assert "is closed" in closed.why


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


@pytest.mark.parametrize(
    ("tag_domains", "do", "target"),
    [
        ("*=production", "plan", "team/staging"),
        ("v*=production", "plan", "team/staging"),
        ("*=production, 0.*-rc*=qa", "release", "team/qa"),
        ("0.*=production", "release", "team/production"),
    ],
)
def test_a_pre_release_is_planned_unless_a_pattern_names_it(tag_domains: str, do: str, target: str) -> None:
    sent = payload("release", "published", release__tag_name="0.1.0-rc1", release__prerelease=True)
    made = decide(Event("release", sent), TAG, settings(tag_domains=tag_domains))
    assert (made.do, made.target) == (do, target)
    assert "pre-release" in made.why
    if do == "plan" and tag_domains.startswith("*"):
        # It is insisted on.
        assert decide(Event("release", sent), TAG, settings(mode="release")).target == "team/production"


@pytest.mark.parametrize("name", ["schedule", "workflow_dispatch", "repository_dispatch"])
def test_events_of_a_branch(name: str) -> None:
    example = {"repository": {"default_branch": "master"}}
    made = decide(Event(name, example), MAIN, settings())
    assert (made.do, made.target, made.branch) == ("push", "team/staging", "master")
    assert decide(Event(name, example), TAG, settings()).do == "release"
    if name == "schedule":
        # Its payload has no repository, and it runs on the default branch alone.
        assert decide(Event(name, {"schedule": "0 3 * * *"}), MAIN, settings()).do == "push"
    else:
        assert decide(Event(name, {"repository": {"default_branch": "x"}}), MAIN, settings()).do == "plan"


@pytest.mark.parametrize(
    "name", sorted({"create", ""} | set(names()) - DEPLOYING - FOREIGN - PULLS - {"release", "delete"})
)
def test_any_other_event_is_a_plan_unless_insisted_on(name: str) -> None:
    event = Event(name, payload(name, _first_action(name)) if name in names() else {})
    for facts in (MAIN, TAG):
        made = decide(event, facts, settings())
        assert made.do == "plan"
        assert "deploys nothing by itself" in made.why or name == "merge_group"
    if name != "merge_group":
        assert decide(event, MAIN, settings(mode="push")).do == "push"


def test_without_credentials_a_plan_is_offline_and_a_push_an_error_to_come() -> None:
    alone = Facts(MAIN.ref, MAIN.sha, REPOSITORY, "Codertocat", missing=NOTHING)
    merge = Event("merge_group", payload("merge_group", "checks_requested"))
    push = Event("push", payload("push", repository__default_branch="main"))
    for event, mode in ((merge, "auto"), (push, "auto"), (push, "plan"), (opened(), "plan")):
        made = decide(event, alone, settings(mode=mode))
        assert (made.do, made.offline) == ("plan", True)
        assert any(NOTHING in text for text in (made.why, *made.notes))
        assert not decide(event, MAIN, settings(mode=mode)).offline
    nowhere = decide(merge, MAIN, settings(domain=""))
    assert nowhere.offline
    assert nowhere.notes == ("nothing is compared: there is no input domain to compare with",)
    push = Event("push", payload("push", repository__default_branch="master"))
    made = decide(push, alone, settings())
    assert (made.do, made.offline) == ("push", False)
    assert decide(push, Facts(MAIN.ref, MAIN.sha, REPOSITORY, DEPENDABOT), settings()).do == "push"
    made = decide(push, Facts(MAIN.ref, MAIN.sha, REPOSITORY, DEPENDABOT, NOTHING), settings(mode="push"))
    assert (made.do, made.offline) == ("plan", True)
    assert "Dependabot" in made.why


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
        (Event("pull_request_review", {"pull_request": {"number": 1}}), PULL, "pull_request.head.sha"),
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


PROVES = {"ACTIONS_ID_TOKEN_REQUEST_URL": "https://x", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "x"}
KEY = base64.b64encode(b"flyte.example.com:client:a-secret:org").decode()


@pytest.mark.parametrize(
    ("given", "environ", "missing"),
    [
        ({}, {}, NOTHING),
        ({}, {**PROVES, "FLYTE_SOMETHING_KEY": "x"}, NOTHING),
        ({"config_path": Path("config.yaml")}, {}, NOTHING),
        ({"auth_type": "Pkce"}, {}, NOTHING),
        ({"endpoint": ""}, {}, "no control plane is named"),
        ({"insecure": True}, {}, ""),
        ({"endpoint": "embedded"}, {}, ""),
        ({"api_key": KEY}, {}, ""),
        ({"client_id": "c", "client_secret_env": "MINE"}, {"MINE": "a-secret"}, ""),
        ({"client_id": "c", "client_secret_env": "MINE"}, {"MINE": ""}, NOTHING),
        ({"auth_type": "ClientSecret", "client_id": "c"}, {}, "there is no client's secret to log in with"),
        # A mistake, which the deploy says.
        ({"client_secret_env": "MINE"}, {"MINE": "a-secret"}, ""),
        ({"client_id": "c", "client_secret_file": Path(__file__)}, {}, ""),
        ({"client_id": "c", "client_secret_file": Path("/none")}, {}, NOTHING),
        ({"auth_type": "ExternalCommand", "auth_command": ("token",)}, {}, ""),
        ({"auth_type": "ExternalCommand"}, {}, "the external command to log in with is not named"),
        ({"proxy_command": ("token",)}, {}, ""),
        ({"auth_type": "GitHub"}, PROVES, ""),
        ({"auth_type": "GitHub"}, {}, "the job has no identity token of GitHub's (id-token: write)"),
    ],
)
def test_credentials(given: dict[str, Any], environ: dict[str, str], missing: str) -> None:
    assert missing_login(environ, settings(**given)) == missing


@pytest.mark.parametrize(
    ("cache", "own", "read"),
    [
        ("host/name:x", "host/name:x-preview", ""),
        ("type=registry,ref=r/c,mode=max", "type=registry,ref=r/c-preview,mode=max", ""),
        ("type=gha,mode=max", "type=gha,mode=max,scope=buildkit-preview", ""),
        ("type=gha,scope=x", "type=gha,scope=x-preview", ""),
        ("type=s3,region=r,bucket=b", "type=s3,region=r,bucket=b,name=buildkit-preview", ""),
        ("type=s3,bucket=b,name=x;y", "type=s3,bucket=b,name=x-preview;y-preview", ""),
        ("type=azblob,account_url=u", "type=azblob,account_url=u,name=buildkit-preview", ""),
        ("type=local,dest=/x,mode=max", "type=local,dest=/x-preview,mode=max", "type=local,src=/x-preview"),
        ("type=inline", "type=inline", ""),
    ],
)
def test_a_preview_writes_layers_where_no_other_build_does(cache: str, own: str, read: str) -> None:
    after = applied(settings(cache_to=(cache,), cache_from=("there",)), decide(opened(), PULL, settings()))
    assert after.cache_to == (own,)
    assert after.cache_from == ("there", read or own)


def test_what_is_not_checked_without_a_token() -> None:
    push = decide(Event("push", payload("push", repository__default_branch="master")), MAIN, settings())
    preview = decide(opened(), PULL, settings())
    assert "whether master moves on" in unchecked(applied(settings(), push), push)
    assert unchecked(settings(if_stale="deploy"), push) == ""
    assert unchecked(settings(dry_run=True), push) == ""
    assert "whether the pull request is closed" in unchecked(applied(settings(), preview), preview)
    assert unchecked(settings(), decide(Event("push", payload("push")), TAG, settings())) == ""


def test_the_table_of_the_documentation_names_every_event() -> None:
    page = (Path(__file__).parents[2] / "docs" / "previews.md").read_text(encoding="utf-8")
    table = page.partition("## Events")[2].partition("\n## ")[0]
    for name in (*FOREIGN, *PULLS, *DEPLOYING, "merge_group", "release", "delete"):
        assert re.search(rf"`{name}`", table), name
    assert "any other" in table
