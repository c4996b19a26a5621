"""Comments of pull requests and job summaries as GitHub's Markdown. Nothing is asked or sent here."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from flyte_deploy.errors import DeployError, NotWanted
from flyte_deploy.model import Deployment, Plan, PlannedImage
from flyte_deploy.report.escape import LONGEST, block, code
from flyte_deploy.report.page import FOLDED, Page, fitted
from flyte_deploy.report.sections import Shown, sections_of
from flyte_deploy.report.story import Closed, Story
from flyte_deploy.report.text import count, difference_summary, size_text
from flyte_deploy.secrets import SECRETS
from flyte_deploy.specs.changes import Difference

COMMENT_LIMIT = 65_536
"""Characters that GitHub takes in a comment."""

SUMMARY_LIMIT = 900 * 1024
"""Bytes: near a mebibyte a job summary vanishes without a word."""

_NAMED = 3
_LISTED = 20
_KEPT = "What was built and uploaded for it stays, and is taken where it is wanted."
PLANNED = ": what would be done"
"""What a title says of a plan."""

_DEPLOYED, _FAILED, _GIVEN_UP, _OVER = ": deployed", " failed", ": given up", ": over"
_FOOT = "<sub>[Workflow run]"
_RUN_OUTPUT = "output `plan` of the step"


def comment(story: Story | Closed, limit: int = COMMENT_LIMIT) -> str:
    """A run as a comment of a pull request, at most `limit` characters."""
    return fitted(_page(story, comment=True), limit, frame=FOLDED)


def summary(story: Story | Closed, limit: int = SUMMARY_LIMIT) -> str:
    """A run as a part of a job summary, at most `limit` bytes."""
    return fitted(_page(story, comment=False), limit, lambda text: len(text.encode()))


def _page(story: Story | Closed, *, comment: bool) -> Page:
    if isinstance(story, Closed):
        return _closed_page(story)
    noun, foot = _noun(story), _run_line(story.run_url, "" if story.plan else story.commit)
    elsewhere = f"[job summary]({_link(story.run_url)})" if story.run_url else ""
    outcome = story.outcome
    if isinstance(outcome, DeployError):
        head = partial(title_of, noun, _FAILED, story.root, story.target)
        done = _not_done(story)
        error = Shown("the error", _error_text(outcome))
        return Page(
            title_of(noun, _FAILED),
            lambda longest: [head(longest)],
            [error],
            [*([done] if done else []), *foot],
            elsewhere if comment else "the log of the run",
        )
    if isinstance(outcome, NotWanted):
        why, head = str(outcome), partial(title_of, noun, _GIVEN_UP, story.root, story.target)
        return Page(
            title_of(noun, _GIVEN_UP),
            lambda longest: [head(longest), f"Nothing was registered: {code(why, longest)}", _KEPT],
            (),
            foot,
        )
    plan = outcome.plan if isinstance(outcome, Deployment) else outcome
    word = _word(plan, done=isinstance(outcome, Deployment))
    return Page(
        title_of(noun, word),
        partial(_head, word, story, outcome, plan),
        sections_of(story),
        foot,
        elsewhere if comment else _RUN_OUTPUT,
    )


def title_of(noun: str, word: str, root: str = "", target: str = "", longest: int = LONGEST) -> str:
    """The first line; root and target tell a run from others that share the comment."""
    what = f" of {code(root, longest)}" if root not in ("", ".") else ""
    where = f" {'to' if word == _DEPLOYED else 'in'} {code(target, longest)}" if target else ""
    return f"### Flyte {noun}{what}{word}{where}"


def _head(word: str, story: Story, outcome: Plan | Deployment, plan: Plan, longest: int) -> list[str]:
    target = str(plan.target) if plan.target else story.target
    lines = [
        title_of(_noun(story), word, story.root, target, longest),
        " ".join(_where(story, plan, done=isinstance(outcome, Deployment))),
        block(plan.version, 2 * longest),
    ]
    if plan.difference is not None:
        lines += changes(plan.difference, longest)
    if isinstance(outcome, Deployment) and outcome.pruned:
        lines.append(f"Triggers removed: {_listed(outcome.pruned, longest)}")
    if story.why_plan:
        lines.append(f"Nothing was deployed: {code(story.why_plan, longest)}")
    lines.append(_time(outcome, plan))
    return lines


def _noun(story: Story) -> str:
    return {
        "preview": "preview",
        "push": "deployment",
        "release": "release",
        "plan": "plan",
        "action": "action",
    }[story.kind]


def _word(plan: Plan, *, done: bool) -> str:
    if not plan.has_changes:
        return ": nothing to do"
    return _DEPLOYED if done else PLANNED


def _where(story: Story, plan: Plan, *, done: bool) -> list[str]:
    environments = count(len(plan.environments), "environment")
    if plan.has_changes:
        verb = "Registered" if done else "Would register"
        words = [f"{verb} {count(len(plan.to_register), 'task')} of {environments}"]
    else:
        words = [f"Registered already: {count(len(plan.tasks), 'task')} of {environments}"]
    if story.commit:
        origin = "from commit" if plan.has_changes else "with the content of commit"
        words.append(f"{origin} {code(story.commit[:7])}")
    if story.console_url:
        words.append(f"- [tasks in Flyte's console]({_link(story.console_url)})")
    return words


def changes(difference: Difference, longest: int = LONGEST) -> list[str]:
    """What a difference comes to, and what of it breaks those who call the tasks."""
    lines = [f"Against {code(difference.against, longest)}: {difference_summary(difference)}"]
    breaking = difference.breaking
    if breaking:
        told: dict[str, list[str]] = {}
        for task, change in breaking[:_NAMED]:
            told.setdefault(code(task.name, longest), []).append(code(str(change), longest))
        tasks = "; ".join(f"{name}: {', '.join(changes)}" for name, changes in told.items())
        more = f"; and {len(breaking) - _NAMED:,} more below" if len(breaking) > _NAMED else ""
        lines.append(f"**Breaks callers:** {tasks}{more}")
    return lines


def _time(outcome: Plan | Deployment, plan: Plan) -> str:
    """How long it took, and what was there already."""
    words = [f"Took {plan.elapsed:.1f} s."]
    if not plan.to_register:
        words.append("Nothing had to be built, uploaded or registered.")
        return " ".join(words)
    done = isinstance(outcome, Deployment)
    if plan.bundle is not None:
        upload = "was uploaded" if done else "is to be uploaded"
        there = "was there already" if done else "is there already"
        uploads = outcome.uploaded if isinstance(outcome, Deployment) else plan.uploads
        words.append(f"The bundle ({size_text(plan.bundle.size)}) {upload if uploads else there}.")
    images = outcome.images if isinstance(outcome, Deployment) else plan.images
    built = [image for image in images if image.seconds is not None]
    cached = sum(1 for image in images if image.known and image.seconds is None)
    if built:
        words.append(f"{count(len(built), 'image')} built in {_build_seconds(plan, built):.0f} s.")
    if cached:
        words.append(f"{count(cached, 'image')} there already.")
    if plan.to_build and not done:
        words.append(f"{count(len(plan.to_build), 'image')} to be built.")
    return " ".join(words)


def _build_seconds(plan: Plan, built: Sequence[PlannedImage]) -> float:
    """Images are built side by side: the step's time is what was waited for."""
    steps = [step.seconds for step in plan.steps if step.name == "images"]
    return max(steps, default=0.0) or max(image.seconds or 0.0 for image in built)


def _error_text(error: DeployError) -> str:
    lines = [error.what, *([f"where: {error.where}"] if error.where else [])]
    lines += [f"  {line}" for detail in error.details for line in detail.splitlines()]
    lines += [error.mend] if error.mend else []
    return "\n".join(lines)


def _not_done(story: Story) -> str:
    """What is there, and what is not, although the run did not end well."""
    if story.begun is None:
        return ""
    if "register" in story.begun:
        return (
            "Bundle and images are published, and some tasks may be registered: the same run, repeated, does"
            " what is missing."
        )
    if story.begun & {"publish", "captured", "images"}:
        return (
            "Nothing was registered. The bundle or images may be published already: the same run, repeated,"
            " takes what is there."
        )
    return "Nothing was published or registered."


def _closed_page(closed: Closed) -> Page:
    title, foot = title_of("preview", _OVER), _run_line(closed.run_url)
    if closed.problem is None:
        return Page(title, partial(_closed, closed), (), foot)
    error = Shown("the error", _error_text(closed.problem))
    again = "Its triggers may still fire: run the workflow again."
    return Page(title, partial(_not_cleaned, closed), [error], [again, *foot], "the log of the run")


def _not_cleaned(closed: Closed, longest: int) -> list[str]:
    what = "What its preview has left there could not be cleaned up:"
    return [*_over(closed, longest), what]


def _over(closed: Closed, longest: int) -> list[str]:
    how = "merged" if closed.merged else "closed"
    return [title_of("preview", _OVER, closed.root, closed.target, longest), f"The pull request was {how}."]


def _closed(closed: Closed, longest: int) -> list[str]:
    lines = _over(closed, longest)
    if closed.removed:
        lines.append(f"Triggers removed: {_listed(closed.removed, longest)}")
    stays = (
        "Flyte deletes no versions: what was registered for it stays, and nothing runs it by itself any more."
    )
    lines.append(stays)
    if closed.versions:
        lines.append(f"Versions: {_listed(closed.versions, longest)}")
    return lines


def _listed(names: Sequence[str], longest: int) -> str:
    shown = ", ".join(code(name, longest) for name in names[:_LISTED])
    return f"{shown} and {len(names) - _LISTED:,} more" if len(names) > _LISTED else shown


def _run_line(url: str, commit: str = "") -> list[str]:
    of = f" of commit {code(commit[:7])}" if commit else ""
    return [f"{_FOOT}({_link(url)}){of}</sub>"] if url else []


def is_foot(line: str) -> bool:
    """Whether a page's last line is its link to the workflow run."""
    return line.startswith(_FOOT)


def _link(url: str) -> str:
    """An address, fit to stand in a Markdown link."""
    url = SECRETS.redact(url)
    return "".join(
        character if character.isalnum() or character in "-._~:/?#&=+,;@%" else f"%{ord(character):02X}"
        for character in url
        if character.isascii()
    )
