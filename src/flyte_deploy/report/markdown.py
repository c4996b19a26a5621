"""Comments of pull requests and job summaries as GitHub's Markdown. Nothing is asked or sent here."""

from __future__ import annotations

from collections.abc import Callable

from flyte_deploy.errors import DeployError
from flyte_deploy.model import Deployment, Plan
from flyte_deploy.report.escape import block, code
from flyte_deploy.report.sections import Section, sections_of
from flyte_deploy.report.story import Closed, Story
from flyte_deploy.report.text import difference_summary, size_text

COMMENT_LIMIT = 65_536
"""Characters that GitHub takes in a comment."""

SUMMARY_LIMIT = 900 * 1024
"""Bytes: near a mebibyte a job summary vanishes without a word."""

_NAMED = 3


def comment(story: Story | Closed, limit: int = COMMENT_LIMIT) -> str:
    """A run as a comment of a pull request, at most `limit` characters."""
    return _fitted(story, limit, len)


def summary(story: Story | Closed, limit: int = SUMMARY_LIMIT) -> str:
    """A run as a part of a job summary, at most `limit` bytes."""
    return _fitted(story, limit, lambda text: len(text.encode()))


def _fitted(story: Story | Closed, limit: int, measure: Callable[[str], int]) -> str:
    """The page, with rows left out of the middle of its longest sections until it fits."""
    if isinstance(story, Closed):
        return _closed(story)
    head, sections = _head(story), sections_of(story)
    while True:
        parts = [section.text(story.summary_url) for section in sections]
        text = "\n\n".join([*head, *parts, *_foot(story)]) + "\n"
        if measure(text) <= limit:
            return text
        sections = _shorter(sections, parts)
        if not sections:
            return _cut(text, limit, measure)


def _shorter(sections: list[Section], parts: list[str]) -> list[Section]:
    """The sections with the longest one halved, or left out where it has nothing that could be."""
    if not sections:
        return []
    longest = max(range(len(sections)), key=lambda index: len(parts[index]))
    halved = sections[longest].halved()
    return [*sections[:longest], *([halved] if halved else []), *sections[longest + 1 :]]


def _cut(text: str, limit: int, measure: Callable[[str], int]) -> str:
    while measure(text) > limit:
        text = text[: len(text) - max(1, measure(text) - limit)]
    return text


def _head(story: Story) -> list[str]:
    outcome = story.outcome
    root = f" of {code(story.root)}" if story.root not in ("", ".") else ""
    if isinstance(outcome, DeployError):
        return [f"### Flyte {_noun(story)}{root} failed", *_failure(story, outcome)]
    plan = outcome.plan if isinstance(outcome, Deployment) else outcome
    done = isinstance(outcome, Deployment)
    lines = [f"### Flyte {_noun(story)}{root}: {_title(plan, done=done)}"]
    lines.append(" ".join(_where(story, plan, done=done)))
    lines.append(block(plan.version))
    lines += _changes(plan)
    if story.why_plan:
        lines.append(f"Nothing was deployed: {code(story.why_plan)}")
    lines.append(_time(outcome))
    return lines


def _noun(story: Story) -> str:
    return {
        "preview": "preview",
        "push": "deployment",
        "release": "release",
        "plan": "plan",
        "manual": "deployment",
    }[story.kind]


def _title(plan: Plan, *, done: bool) -> str:
    if not plan.has_changes:
        return "nothing to do"
    return "deployed" if done else "what would be done"


def _where(story: Story, plan: Plan, *, done: bool) -> list[str]:
    tasks = len(plan.to_register) if plan.has_changes else len(plan.tasks)
    verb = ("Registered" if done else "Would register") if plan.has_changes else "Registered already:"
    words = [f"{verb} {_count(tasks, 'task')} of {_count(len(plan.environments), 'environment')}"]
    if plan.target:
        words.append(f"{'in' if not plan.has_changes else 'to'} {code(str(plan.target))}")
    if story.commit:
        words.append(f"from commit {code(story.commit[:7])}")
    if story.console_url:
        words.append(f"- [tasks in Flyte's console]({_link(story.console_url)})")
    return words


def _changes(plan: Plan) -> list[str]:
    if plan.difference is None:
        return []
    difference = plan.difference
    lines = [f"Against {code(difference.against)}: {difference_summary(difference)}"]
    breaking = difference.breaking
    if breaking:
        told = [f"{code(task.name)} {code(str(change))}" for task, change in breaking[:_NAMED]]
        more = f", and {len(breaking) - _NAMED} more below" if len(breaking) > _NAMED else ""
        lines.append(f"**Breaks callers:** {', '.join(told)}{more}")
    return lines


def _time(outcome: Plan | Deployment) -> str:
    plan = outcome.plan if isinstance(outcome, Deployment) else outcome
    words = [f"Took {sum(step.seconds for step in plan.steps):.1f} s."]
    if plan.bundle is not None and isinstance(outcome, Deployment) and plan.has_changes:
        size = size_text(plan.bundle.size)
        words.append(f"The bundle ({size}) was {'uploaded' if outcome.uploaded else 'there already'}.")
    images = outcome.images if isinstance(outcome, Deployment) else plan.images
    if images:
        built = [image for image in images if image.seconds is not None]
        cached = sum(1 for image in images if image.known and image.seconds is None)
        if built:
            seconds = sum(image.seconds or 0 for image in built)
            words.append(f"{_count(len(built), 'image')} built in {seconds:.0f} s.")
        if cached:
            words.append(f"{_count(cached, 'image')} there already.")
        to_build = len(plan.to_build)
        if to_build and not isinstance(outcome, Deployment):
            words.append(f"{_count(to_build, 'image')} to be built.")
    return " ".join(words)


def _failure(story: Story, error: DeployError) -> list[str]:
    done = (
        "Some tasks may be registered; the same run, repeated, completes them."
        if story.written
        else "Nothing was registered."
    )
    return [_error(error), done]


def _error(error: DeployError) -> str:
    lines = [error.what, *([f"where: {error.where}"] if error.where else [])]
    lines += [f"  {line}" for detail in error.details for line in detail.splitlines()]
    lines += [error.mend] if error.mend else []
    return block("\n".join(lines))


def _closed(closed: Closed) -> str:
    root = f" of {code(closed.root)}" if closed.root not in ("", ".") else ""
    what = "merged" if closed.merged else "closed"
    lines = [f"### Flyte preview{root}: over", f"The pull request was {what}."]
    if closed.problem is not None:
        lines.append(f"What its preview has left in {code(closed.target)} could not be cleaned up:")
        lines.append(_error(closed.problem))
        lines.append("Its triggers may still fire: run the workflow again.")
        return "\n\n".join([*lines, *_run_line(closed.run_url)]) + "\n"
    if closed.removed:
        lines.append(f"Triggers removed from {code(closed.target)}: {_listed(closed.removed)}")
    kept = f" ({_listed(closed.versions)})" if closed.versions else ""
    lines.append(
        f"What was registered for it in {code(closed.target)} stays{kept}: Flyte deletes no versions."
        " Nothing runs them by itself any more."
    )
    lines += _run_line(closed.run_url)
    return "\n\n".join(lines) + "\n"


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(code(name) for name in names[:20])
    return f"{shown} and {len(names) - 20} more" if len(names) > 20 else shown


def _foot(story: Story) -> list[str]:
    return _run_line(story.run_url)


def _run_line(url: str) -> list[str]:
    return [f"<sub>[Workflow run]({_link(url)})</sub>"] if url else []


def _link(url: str) -> str:
    """An address, fit to stand in a Markdown link."""
    return "".join(
        character if character.isalnum() or character in "-._~:/?#&=+,;@%" else f"%{ord(character):02X}"
        for character in url
        if character.isascii()
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
