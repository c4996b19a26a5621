"""The policy of events: from what happened, and what was asked for, to what is done. Nothing is asked here.

`docs/previews.md` has the table of events; a test holds the two together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from flyte_deploy.action.event import Event
from flyte_deploy.errors import DeployError
from flyte_deploy.settings import Settings

Do = Literal["push", "preview", "release", "plan", "close", "post-comment", "skip"]

FOREIGN = frozenset({"pull_request_target", "workflow_run", "issue_comment"})
"""Events that run with the repository's secrets on behalf of somebody who may have none."""

PULLS = frozenset({"pull_request", "pull_request_review", "pull_request_review_comment"})
"""Events that run the code of a pull request, without secrets where it is a fork's."""

DEPLOYING = frozenset({"push", "schedule", "workflow_dispatch", "repository_dispatch"})
"""Events that deploy by themselves: a branch or tag has changed, or somebody asks for it."""

CATCH_ALL = "*"
"""The pattern that every tag fits."""

_BRANCH, _TAG = "refs/heads/", "refs/tags/"
_FORBIDDEN = re.compile(r"[^A-Za-z0-9._-]+")
_DEPENDABOT = "dependabot[bot]"


@dataclass(frozen=True)
class Facts:
    """What is known of the job besides its event.

    Args:
        ref: ``refs/heads/…`` or ``refs/tags/…``, of GITHUB_REF.
        sha: the commit that the workflow runs for.
        repository: ``owner/name``.
        actor: who set it off.
        missing: why there is nothing to log in to the control plane with; empty where there is.
    """

    ref: str = ""
    sha: str = ""
    repository: str = ""
    actor: str = ""
    missing: str = ""


@dataclass(frozen=True)
class Policy:
    """What is done.

    Args:
        do: ``push``, ``preview`` and ``release`` deploy, ``plan`` says what would be, ``close`` ends a
            preview, ``post-comment`` posts a plan that another job made, ``skip`` is nothing at all.
        why: why that, in words.
        project: where to.
        domain: likewise.
        version: text or template of the version; empty for what was asked for.
        triggers: whether triggers go along.
        offline: whether the control plane is left alone.
        stranger: whether the code is that of somebody who has no secrets here: nothing is passed to it.
        compare_to: what the difference is taken against, as ``project/domain``; empty for the target.
        reuse_from: what bundle and images may be taken over from; empty for nothing.
        reuse_branch: the branch that it has to come from; empty where that is not known.
        number: the pull request, 0 for none.
        head: the pull request's head commit; of a push, or a tag, its commit.
        branch: the branch that a push is of, empty where it does not matter that it moves on; of a plan that
            is posted the pull request's.
        source: the repository of that branch, as ``owner/name``; set only for a plan that is posted.
        merged: of a pull request that is closed.
        notes: what a reader should know.
    """

    do: Do
    why: str
    project: str = ""
    domain: str = ""
    version: str = ""
    triggers: bool = True
    offline: bool = False
    stranger: bool = False
    compare_to: str = ""
    reuse_from: str = ""
    reuse_branch: str = ""
    number: int = 0
    head: str = ""
    branch: str = ""
    source: str = ""
    merged: bool = False
    notes: tuple[str, ...] = ()

    @property
    def target(self) -> str:
        """Project and domain, in words."""
        return f"{self.project}/{self.domain}"

    @property
    def deploys(self) -> bool:
        """Whether anything is registered."""
        return self.do in ("push", "preview", "release")


def decide(event: Event, facts: Facts, settings: Settings) -> Policy:
    """Decide what is done for an event.

    Raises:
        DeployError: for an event that may not do what was asked for, for targets that must not be the same,
            for a tag that fits no pattern, and for a payload without a field that this takes.
    """
    mode = settings.mode
    if mode == "post-comment":
        return _post_comment(event, settings)
    if event.name in FOREIGN:
        raise DeployError(
            f"the event {event.name} runs with the repository's secrets, so that it executes no code of a"
            " pull request",
            where=f"on: {event.name}",
            mend="Use on: pull_request. To comment on the pull requests of forks, set mode: post-comment"
            " here and post the plan of a job without secrets.",
            usage=True,
        )
    if event.name in PULLS:
        return _pull_request(event, facts, settings)
    if mode == "preview":
        raise DeployError(
            f"the event {event.name or 'unknown'} has no pull request to preview",
            where="--mode",
            mend="Use on: pull_request, or leave out mode.",
            usage=True,
        )
    if event.payload.get("deleted") is True or event.name == "delete":
        return Policy("skip", f"{_short(str(event.payload.get('ref', facts.ref)))} was deleted")
    if mode == "plan":
        return _plan(settings, facts, "mode: plan")
    if event.name == "merge_group":
        return _plan(settings, facts, "a merge group is not merged yet", mode=mode)
    if event.name == "push" and facts.actor == _DEPENDABOT and facts.missing:
        return _plan(settings, facts, "a push of Dependabot has no secrets")
    if event.name == "release":
        return _release_event(event, facts, settings)
    tag = facts.ref.removeprefix(_TAG) if facts.ref.startswith(_TAG) else ""
    if mode == "release":
        return _release(tag, f"tag {tag}", event, facts, settings)
    if mode == "push":
        return _push(event, facts, settings)
    if event.name not in DEPLOYING:
        why = f"the event {event.name or 'unknown'} deploys nothing by itself (mode: push insists)"
        return _plan(settings, facts, why)
    if tag:
        return _release(tag, f"tag {tag}", event, facts, settings)
    # The payload of a schedule has no repository; it runs on the default branch alone.
    if event.name != "schedule":
        usual = _text(event.payload, "repository", "default_branch")
        if facts.ref != f"{_BRANCH}{usual}":
            why = f"{_short(facts.ref) or 'this'} is not the default branch, {usual} (mode: push deploys it)"
            return _plan(settings, facts, why)
    return _push(event, facts, settings)


def _push(event: Event, facts: Facts, settings: Settings) -> Policy:
    branch = facts.ref.removeprefix(_BRANCH) if facts.ref.startswith(_BRANCH) else ""
    kinds = {
        "push": f"a push to {branch or facts.ref}",
        "schedule": f"the schedule, on {branch}",
        "workflow_dispatch": f"started by hand, on {branch or facts.ref}",
        "repository_dispatch": f"a repository_dispatch, on {branch}",
    }
    return Policy(
        "push",
        kinds.get(event.name, f"the event {event.name or 'unknown'}, on {branch or facts.ref}"),
        project=settings.project,
        domain=settings.domain,
        head=facts.sha,
        branch=branch,
    )


def _pull_request(event: Event, facts: Facts, settings: Settings) -> Policy:
    payload = event.payload
    pull = payload.get("pull_request")
    pull = pull if isinstance(pull, dict) else {}
    # The payloads of reviews have it in the pull request alone.
    number = payload.get("number", pull.get("number"))
    if not isinstance(number, int):
        raise _missing("number")
    head = _text(payload, "pull_request", "head", "sha")
    if settings.mode in ("push", "release"):
        raise DeployError(
            f"mode {settings.mode} is not for pull requests: their code is not merged yet",
            where="--mode",
            mend="Leave out mode, or have the step run for pushes only.",
            usage=True,
        )
    who = f"pull request #{number}"
    stranger = _stranger(pull, facts)
    if payload.get("action") == "closed":
        return _closed(pull, number, head, stranger, facts, settings)
    if pull.get("state") == "closed":
        return Policy("skip", f"{who} is closed")
    project, domain = _preview_target(settings)
    base = f"{settings.project}/{settings.domain}" if settings.domain else ""
    planned = "mode: plan" if settings.mode == "plan" else ""
    if not (stranger or planned):
        _check_preview(settings, project, domain)
    why = stranger or ", ".join(filter(None, (planned, facts.missing)))
    offline = bool(stranger or facts.missing)
    given = {"discovery-network": settings.discovery_network != "none", "pass-env": bool(settings.pass_env)}
    left_out = [f"input {name}" for name, said in given.items() if said]
    return Policy(
        "plan" if why else "preview",
        f"{who}: {why}" if why else who,
        project=project,
        domain=domain,
        version=f"pr-{number}-{{content}}",
        triggers=settings.preview_triggers,
        offline=offline,
        stranger=bool(stranger),
        compare_to="" if offline else base,
        number=number,
        head=head,
        notes=(f"left out for a stranger's code: {', '.join(left_out)}",) if stranger and left_out else (),
    )


def _stranger(pull: Mapping[str, Any], facts: Facts) -> str:
    """Why nobody here vouches for a pull request's code; empty where somebody does."""
    head = pull.get("head")
    repository = head.get("repo") if isinstance(head, dict) else None
    # The repository of a fork that was deleted is null.
    source = repository.get("full_name") if isinstance(repository, dict) else None
    if source is None or source != (facts.repository or source):
        return "a fork's pull request has no secrets, and its code is nobody's here"
    if _DEPENDABOT in (facts.actor, _author(pull)):
        return "a pull request of Dependabot has no secrets"
    return ""


def _closed(
    pull: Mapping[str, Any], number: int, head: str, stranger: str, facts: Facts, settings: Settings
) -> Policy:
    merged = pull.get("merged") is True
    why = f"pull request #{number} was {'merged' if merged else 'closed'}"
    if stranger:
        return Policy("skip", f"{why}: {stranger}, so there is no preview")
    if settings.mode == "plan":
        return Policy("skip", f"{why}: mode: plan ends no preview")
    project, domain = _preview_target(settings)
    _check_preview(settings, project, domain)
    if facts.missing:
        return Policy("skip", f"{why}, and its preview is not ended: {facts.missing}")
    return Policy("close", why, project=project, domain=domain, number=number, head=head, merged=merged)


def _preview_target(settings: Settings) -> tuple[str, str]:
    return settings.preview_project or settings.project, settings.preview_domain


def _check_preview(settings: Settings, project: str, domain: str) -> None:
    """Refuse to preview where anything else is deployed: a preview would become the newest there."""
    others: dict[str, str] = {}
    if settings.domain:
        others[f"{settings.project}/{settings.domain}"] = "where pushes are deployed to"
    for pattern, target in tag_targets(settings):
        others[target] = f"where tags {pattern} are released to"
    where = others.get(f"{project}/{domain}")
    if where is not None:
        raise DeployError(
            f"previews would be deployed to {project}/{domain}, {where}",
            where="--preview-domain",
            mend="A preview would become the newest version there: name another one with --preview-domain or"
            " --preview-project.",
            usage=True,
        )


def _release_event(event: Event, facts: Facts, settings: Settings) -> Policy:
    action = event.payload.get("action")
    if action not in ("published", "released", "prereleased"):
        return Policy("skip", f"a release was {action or 'touched'}, not published")
    tag = _text(event.payload, "release", "tag_name")
    if settings.mode == "auto" and event.payload["release"].get("prerelease") is True:
        patterns = [pattern for pattern, _ in tag_targets(settings) if pattern != CATCH_ALL]
        if not any(fnmatchcase(tag, pattern) for pattern in patterns):
            why = f"{tag} is a pre-release, and no pattern of tag-domains but {CATCH_ALL} names it"
            return _plan(settings, facts, why)
        return _release(tag, f"pre-release {tag}", event, facts, settings, catch_all=False)
    return _release(tag, f"release {tag}", event, facts, settings)


def _release(
    tag: str, why: str, event: Event, facts: Facts, settings: Settings, *, catch_all: bool = True
) -> Policy:
    if not tag:
        raise DeployError(
            "there is no tag to release",
            where="--mode",
            mend="Have the workflow run for tags (on: push: tags:), or leave out mode.",
            usage=True,
        )
    targets = [one for one in tag_targets(settings) if catch_all or one[0] != CATCH_ALL]
    target = next((where for pattern, where in targets if fnmatchcase(tag, pattern)), "")
    if not target:
        raise DeployError(
            f"the tag {tag} fits no pattern: {', '.join(pattern for pattern, _ in targets)}",
            where="--tag-domains",
            mend="Add one that it fits, such as *=production, or have the workflow not run for it.",
            usage=True,
        )
    project, _, domain = target.rpartition("/")
    repository = event.payload.get("repository")
    pushed = f"{settings.project}/{settings.domain}" if settings.domain else ""
    notes: tuple[str, ...] = ()
    if not pushed:
        notes = ("without input domain nobody knows what the default branch deploys: nothing is taken over",)
    return Policy(
        "release",
        f"{why} to {target}",
        project=project,
        domain=domain,
        version=_FORBIDDEN.sub("-", tag).strip("-._"),
        reuse_from=pushed if pushed != target else "",
        reuse_branch=str(repository.get("default_branch") or "") if isinstance(repository, dict) else "",
        head=facts.sha,
        notes=notes,
    )


def tag_targets(settings: Settings) -> list[tuple[str, str]]:
    """The patterns of tags and where they are released to, as ``project/domain``, in order.

    Raises:
        DeployError: for what is no list of patterns and domains.
    """
    found = []
    for entry in re.split(r"[,\n]", settings.tag_domains):
        pattern, equals, target = (part.strip() for part in entry.partition("="))
        if not entry.strip():
            continue
        if not equals or not pattern or not target or target.count("/") > 1:
            raise DeployError(
                f"{entry.strip()!r} is no pattern of tags with a domain",
                where="--tag-domains",
                mend="Write PATTERN=DOMAIN, such as 'v*-rc*=staging, v*=production'.",
                usage=True,
            )
        found.append((pattern, target if "/" in target else f"{settings.project}/{target}"))
    return found


def _plan(settings: Settings, facts: Facts, why: str, mode: str = "auto") -> Policy:
    if mode not in ("auto", "plan"):
        raise DeployError(
            f"mode {mode} is not for this event: {why}",
            where="--mode",
            mend="Leave out mode, or have the step run for other events.",
            usage=True,
        )
    blind = facts.missing or ("" if settings.domain else "there is no input domain to compare with")
    return Policy(
        "plan",
        why,
        project=settings.project,
        domain=settings.domain,
        offline=bool(blind),
        notes=(f"nothing is compared: {blind}",) if blind else (),
    )


def _post_comment(event: Event, settings: Settings) -> Policy:
    if settings.plan_file is None:
        raise DeployError(
            "mode post-comment needs the plan to post",
            where="--plan-file",
            mend="Download what the job without secrets has uploaded, and name the file with --plan-file.",
            usage=True,
        )
    if event.name == "workflow_run":
        # Of a fork's pull request the payload has no number, and the artifact's is a stranger's word: it is
        # looked up by the commit.
        of = _text(event.payload, "workflow_run", "event")
        if of != "pull_request":
            return Policy("skip", f"the run that has ended was one of {of}, not of a pull request")
        whose = f"pull request #{settings.pr_number}" if settings.pr_number else "the run's pull request"
        return Policy(
            "post-comment",
            f"a plan is posted to {whose}",
            number=settings.pr_number,
            head=_text(event.payload, "workflow_run", "head_sha"),
            branch=_text(event.payload, "workflow_run", "head_branch"),
            source=_text(event.payload, "workflow_run", "head_repository", "full_name"),
        )
    number = settings.pr_number or event.payload.get("number")
    if not isinstance(number, int) or number < 1:
        raise DeployError(
            "mode post-comment needs to know the pull request",
            where="--pr-number",
            mend="Have the step run on: workflow_run, whose payload tells, or give it with --pr-number.",
            usage=True,
        )
    return Policy("post-comment", f"a plan is posted to pull request #{number}", number=number)


def _author(pull: Mapping[str, Any]) -> str:
    user = pull.get("user")
    return str(user.get("login", "")) if isinstance(user, dict) else ""


def _text(payload: Mapping[str, Any], *path: str) -> str:
    value: Any = payload
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    if not isinstance(value, str) or not value:
        raise _missing(".".join(path))
    return value


def _missing(field: str) -> DeployError:
    return DeployError(
        f"the event's payload has no {field}",
        where="environment GITHUB_EVENT_PATH",
        mend="The runner writes it; where this is no runner of GitHub's, say with --mode what is to be done.",
        usage=True,
    )


def _short(ref: str) -> str:
    return ref.removeprefix(_BRANCH).removeprefix(_TAG)
