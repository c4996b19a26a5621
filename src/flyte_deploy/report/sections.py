"""The folded parts of a page: tables that can be shortened, a diagram, blocks of code."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from flyte_deploy.model import Bundle, Deployment, Plan, PlannedImage
from flyte_deploy.report.escape import LONGEST, block, code
from flyte_deploy.report.mermaid import draw
from flyte_deploy.report.story import Story
from flyte_deploy.report.text import size_text
from flyte_deploy.secrets import SECRETS
from flyte_deploy.specs.changes import Difference, TaskDifference

_ORDER = {"breaking": 0, "changed": 1, "new": 2, "gone": 3, "bundle": 4, "unchanged": 5}
_FEWEST = 4
_FEWEST_CHARACTERS = 200
_MOST_QUIET = 40
_MOST_FILES = 1000


@dataclass(frozen=True)
class Section:
    """A folded part of a page.

    Args:
        title: its line when it is folded; Markdown and HTML of our own.
        header: lines above the rows.
        rows: lines that can be left out.
        footer: lines below them.
        total: how many rows there were.
        opened: whether it is unfolded at first.
    """

    title: str
    header: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    footer: tuple[str, ...] = ()
    total: int = 0
    opened: bool = False

    def text(self, elsewhere: str = "") -> str:
        """The section as Markdown; rows that were left out are counted in the middle."""
        left = self.total - len(self.rows) if self.total else 0
        lines = [*self.header]
        if left:
            half = (len(self.rows) + 1) // 2
            lines += self.rows[:half]
            # A row of its own where the rows are a table's.
            if self.header:
                lines += [f"| … {left:,} more |{' |' * (self.header[0].count('|') - 2)}"]
            else:
                lines += [f"- … {left:,} more"]
            lines += self.rows[half:]
        else:
            lines += self.rows
        body = "\n".join(lines)
        where = f"\n\nAll of them: {elsewhere}" if left and elsewhere else ""
        footer = "\n\n".join(["", *self.footer]) if self.footer else ""
        state = " open" if self.opened else ""
        return f"<details{state}><summary>{self.title}</summary>\n\n{body}{where}{footer}\n\n</details>"

    def halved(self) -> Section | None:
        """The section with half of its rows, the first and the last; None where that would be too few."""
        kept = len(self.rows) // 2
        if kept < _FEWEST:
            return None
        half = (kept + 1) // 2
        rows = (*self.rows[:half], *self.rows[len(self.rows) - (kept - half) :])
        return replace(self, rows=rows, total=self.total or len(self.rows))


@dataclass(frozen=True)
class Shown:
    """A text that is shown as it is written, not folded.

    Args:
        title: what it is, where it has to be left out; Markdown of our own.
        what: the text.
        longest: how many characters of it are shown.
    """

    title: str
    what: str
    longest: int = 20_000

    def text(self, elsewhere: str = "") -> str:
        """The text as a block of code."""
        cut = len(self.what) > self.longest
        where = f"\n\nAll of it: {elsewhere}" if cut and elsewhere else ""
        return f"{block(self.what, self.longest)}{where}"

    def halved(self) -> Shown | None:
        """The text with more of its middle left out; None where too little would be left."""
        kept = min(len(self.what), self.longest) // 2
        return replace(self, longest=kept) if kept >= _FEWEST_CHARACTERS else None


def sections_of(story: Story) -> list[Section]:
    """The folded parts of a run, the most wanted first."""
    plan = story.plan
    if plan is None:
        return []
    return list(_sections(story, plan))


def _sections(story: Story, plan: Plan) -> Iterator[Section]:
    yield changed_tasks(plan.difference, len(plan.tasks)) if plan.difference else _tasks(plan)
    if (graph := _graph(plan)) is not None:
        yield graph
    images = story.outcome.images if isinstance(story.outcome, Deployment) else plan.images
    if images:
        yield _images(images)
    if plan.bundle is not None:
        yield _files(plan.bundle, plan.difference)
    if plan.warnings or plan.notes:
        yield _messages(plan)
    if plan.tasks and isinstance(story.outcome, Deployment):
        yield _run(plan)


def changed_tasks(difference: Difference, count: int) -> Section:
    """The tasks, `count` in the code, and what changes about each."""
    ordered = sorted(difference.tasks, key=lambda task: _ORDER[_state(task)])
    gone = len(difference.of("gone"))
    title = f"Tasks ({count:,}, and {gone:,} gone)" if gone else f"Tasks ({count:,})"
    header = ("| Task | State | What changes |", "|---|---|---|")
    return Section(title, header, tuple(_task_rows(ordered)))


def _tasks(plan: Plan) -> Section:
    rows = [
        f"| {code(one.task.name)} | {'registered' if one.action == 'register' else 'kept'} |"
        for one in plan.tasks
    ]
    return Section(f"Tasks ({len(plan.tasks):,})", ("| Task | State |", "|---|---|"), tuple(rows))


def _task_rows(ordered: list[TaskDifference]) -> list[str]:
    """A row for each task; where many stay as they are, one for each environment of those, or for all."""
    loud = [task for task in ordered if task.state not in ("bundle", "unchanged")]
    quiet = ordered[len(loud) :]
    rows = [f"| {code(task.name)} | {_words(task)} | {_what(task)} |" for task in loud]
    if len(quiet) <= _MOST_QUIET:
        return rows + [f"| {code(task.name)} | {_words(task)} | |" for task in quiet]
    counts = Counter((_words(task), task.environment) for task in quiet)
    if len(counts) <= _MOST_QUIET:
        return rows + [
            f"| {number:,} tasks of {code(environment)} | {words} | |"
            for (words, environment), number in counts.items()
        ]
    environments = Counter(words for words, _ in counts)
    tasks = Counter(_words(task) for task in quiet)
    return rows + [
        f"| {tasks[words]:,} tasks of {number:,} environments | {words} | |"
        for words, number in environments.items()
    ]


def _state(task: TaskDifference) -> str:
    return "breaking" if task.breaking else task.state


def _words(task: TaskDifference) -> str:
    return {
        "breaking": "**breaking**",
        "changed": "changed",
        "new": "new",
        "gone": "gone from the code",
        "bundle": "unchanged but for the bundle",
        "unchanged": "unchanged",
    }[_state(task)]


def _what(task: TaskDifference) -> str:
    parts = []
    for change in task.changes:
        text = code(str(change))
        parts.append(f"**{text}**" if change.breaking else text)
    return "<br>".join(parts)


def _graph(plan: Plan) -> Section | None:
    states = {}
    of_environment: dict[str, list[TaskDifference]] = {}
    for task in plan.difference.tasks if plan.difference else ():
        of_environment.setdefault(task.environment, []).append(task)
    for one in plan.environments:
        name = one.environment.name
        found = {_state(task) for task in of_environment.get(name, ())}
        if plan.difference is None:
            found = {"new" if task.action == "register" else "unchanged" for task in one.tasks}
        if "breaking" in found:
            states[name] = "breaking"
        elif found and found <= {"new"}:
            states[name] = "new"
        elif found & {"changed", "new", "gone"}:
            states[name] = "changed"
        else:
            states[name] = "unchanged"
    edges = [(one.environment.name, other) for one in plan.environments for other in one.depends_on]
    drawing = draw(states, edges)
    if not drawing.text:
        return None
    body = ("```mermaid", drawing.text, "```")
    footer = ("An arrow leads from an environment to those that depend on it.",)
    if drawing.note:
        footer = (f"{footer[0]} {drawing.note[0].upper()}{drawing.note[1:]}.",)
    # A diagram cannot be shortened by lines: it is one row.
    return Section(f"Environments ({len(states):,})", (), ("\n".join(body),), footer)


def _images(images: tuple[PlannedImage, ...]) -> Section:
    rows = []
    for image in images:
        there = "was there" if image.known else "to be built" if image.asked else "not looked for"
        built = f"{image.seconds:.1f} s" if image.seconds is not None else there
        digest = f"<br>{code(image.digest)}" if image.digest else ""
        environments = code(", ".join(image.environments))
        rows.append(f"| {code(image.reference)}{digest} | {built} | {environments} |")
    header = ("| Image and its digest | Built in | Environments |", "|---|---|---|")
    return Section(f"Images ({len(images):,})", header, tuple(rows))


def _files(bundle: Bundle, difference: Difference | None) -> Section:
    changed = {file.path: file.what for file in (difference.files or ())} if difference else {}
    # What changed first: among thousands nobody would find it.
    ordered = sorted(bundle.files, key=lambda file: (file.name not in changed, -file.size, file.path))
    removed = [f"| {code(path)} | | removed |" for path, what in changed.items() if what == "removed"]
    rows = removed + [
        f"| {code(file.name)} | {size_text(file.size)} | {changed.get(file.name, '')} |"
        for file in ordered[:_MOST_FILES]
    ]
    header = ("| File | Size | Change |", "|---|---|---|")
    footer: tuple[str, ...] = ()
    if len(ordered) > _MOST_FILES:
        footer = (f"{len(ordered) - _MOST_FILES:,} smaller ones are not listed.",)
    title = f"Bundle ({len(bundle.files):,} files, {size_text(bundle.size)}, {code(bundle.digest[:12])})"
    return Section(title, header, tuple(rows), footer)


def _messages(plan: Plan) -> Section:
    rows = [f"- Warning: {code(text, 4 * LONGEST)}" for text in plan.warnings]
    rows += [f"- {code(text, 4 * LONGEST)}" for text in plan.notes]
    title = f"Warnings ({len(plan.warnings):,})" if plan.warnings else "Notes"
    return Section(title, (), tuple(rows))


def _run(plan: Plan) -> Section:
    changed = {task.name for task in plan.difference.tasks if task.changes} if plan.difference else set()
    names = [one.task.name for one in plan.tasks]
    name = next((one for one in names if one in changed), names[0])
    where = f" -p {plan.target.project} -d {plan.target.domain}" if plan.target else ""
    command = f"flyte run{where} deployed-task {shlex.quote(SECRETS.redact(f'{name}:{plan.version}'))}"
    return Section("Run a task of this version", (), (block(command),))
