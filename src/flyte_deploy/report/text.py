"""Plans, deployments and progress as text for a terminal or a log."""

from __future__ import annotations

import re
import textwrap
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

from flyte_deploy.model import Bundle, Deployment, Plan, PlannedEnvironment, Progress, Task
from flyte_deploy.secrets import SECRETS
from flyte_deploy.specs.changes import Change, Difference, State

SHOWN_FILES = 15
"""How many files of a bundle a plan lists, the largest first; JSON has them all."""

SHOWN_TASKS = 100
"""How many tasks a plan describes one by one; of more, each environment says how many it has."""

SHOWN_CHANGES = 50
"""How many kinds of change a plan lists."""

_ALIKE = 3
"""With more tasks that have the same changes, those are said once."""

_NAMED = 20

_LONGEST_DEFAULT = 200
_MARK = 32 << 20
"""Every how many bytes an upload of unknown size says a word."""

# Terminal escapes, what turns the order of letters around, and whatever else is no text: what user code
# prints is shown, not obeyed.
_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b.|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
)


def plain(text: str) -> str:
    """A text without characters that a terminal would act on."""
    return _CONTROL.sub("", text.replace("\t", "    "))


def size_text(size: float) -> str:
    """A number of bytes as people write it."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 10 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def listener(stream: TextIO) -> Callable[[Progress], None]:
    """A function that writes what happens to a stream, a line each. It may be called from any thread."""
    lock = threading.Lock()
    last: dict[str, int] = {}

    def listen(progress: Progress) -> None:
        with lock:
            for line in progress_lines(progress, last):
                stream.write(f"{line}\n")
            stream.flush()

    return listen


def progress_lines(progress: Progress, last: dict[str, int]) -> Iterator[str]:
    """What is said of something that happened. `last` is a memory of the caller, empty at first."""
    text = plain(progress.text)
    if progress.kind == "step":
        yield f"{text} …"
    elif progress.kind == "load":
        failed = "  failed" if progress.data.get("failed") else ""
        yield f"  {progress.done} of {progress.total}  {text}  {progress.seconds:.2f} s{failed}"
    elif progress.kind == "output":
        yield f"  | {text}"
    elif progress.kind in ("upload", "register") and progress.total:
        # In tenths: a log is not a terminal.
        tenth = progress.done * 10 // progress.total
        if last.get(progress.kind) != tenth:
            last[progress.kind] = tenth
            if progress.kind == "upload":
                yield f"  {size_text(progress.done)} of {size_text(progress.total)}"
            else:
                yield f"  {progress.done} of {progress.total} tasks"
    elif progress.kind == "image":
        yield f"  {text}"
    elif progress.kind == "upload":
        # It is packed while it is sent: how much it will be is not known yet.
        mark = progress.done // _MARK
        if last.get("sent", 0) != mark:
            last["sent"] = mark
            yield f"  {size_text(progress.done)} so far"
    elif progress.kind == "warning":
        yield f"Warning: {text}"
    elif progress.kind == "note":
        yield f"Note: {text}"


def plan_text(plan: Plan) -> str:
    """A plan: what would be bundled, uploaded and registered, in which order and why."""
    where = f" to {plan.target}" if plan.target else ""
    at = f" at {plan.endpoint}" if plan.endpoint else ""
    lines = ["", f"Plan: deploy{where}{at}", f"  version  {plan.version}"]
    if plan.version != plan.content:
        lines.append(f"  content  {plan.content}")
    lines += [f"  {line}" for line in _bundle_lines(plan)]
    for upload in plan.captured:
        lines.append(f"  default  {plain(upload.name)}, {size_text(upload.size)}, {upload.digest[:12]}")
    for image in plan.images:
        state = "is there" if image.known else "to be built" if image.asked else "not looked for"
        lines.append(f"  image    {plain(image.reference)}  {state}")
    lines.append(f"  python   {plan.python}, flyte {plan.sdk}")
    lines += ["", "In this order:"]
    briefly = len(plan.tasks) > SHOWN_TASKS
    for number, environment in enumerate(plan.environments, start=1):
        lines += [f"  {line}" for line in _environment_lines(number, environment, briefly=briefly)]
    if briefly:
        lines.append("      (the plan as JSON describes each task)")
    if plan.difference is not None:
        lines += ["", *difference_lines(plan.difference)]
    lines += ["", *_notes(plan), summary(plan)]
    return "\n".join(lines)


def difference_lines(difference: Difference) -> Iterator[str]:
    """What changes about each task, what breaks callers first; those that stay as they are left out.

    Tasks with the same changes are told of together, and of very many kinds of change the first ones.
    """
    told = difference_summary(difference)
    yield plain(f"Against {difference.against}: {told}")
    groups: dict[tuple[State, tuple[Change, ...]], list[str]] = {}
    for task in sorted(difference.tasks, key=lambda task: not task.breaking):
        if task.state in ("new", "changed", "gone"):
            groups.setdefault((task.state, task.changes), []).append(task.name)
    for (state, changes), names in list(groups.items())[:SHOWN_CHANGES]:
        alike = len(names) > _ALIKE
        word = "" if state == "changed" else f"  {_STATES[state]}"
        for name in [f"{len(names):,} tasks"] if alike else names:
            yield plain(f"  {_SIGNS[state]} {name}{word}")
            for change in changes:
                yield plain(f"      {change}{'  (breaking)' if change.breaking else ''}")
        if alike:
            yield from _named(names)
    left = sum(len(names) for names in list(groups.values())[SHOWN_CHANGES:])
    if left:
        yield f"  and {count(left, 'task')} more with other changes (the plan as JSON has all)"
    for file in (difference.files or ())[:SHOWN_FILES]:
        yield plain(f"  file {file.path} {file.what}")
    more = len(difference.files or ()) - SHOWN_FILES
    if more > 0:
        yield f"  and {count(more, 'file')} more"


def _named(names: Sequence[str]) -> Iterator[str]:
    left = len(names) - _NAMED
    text = ", ".join(plain(name) for name in names[:_NAMED]) + (f" and {left:,} more" if left > 0 else "")
    lines = textwrap.wrap(text, 96, break_long_words=False, break_on_hyphens=False)
    yield from (f"      {'in ' if not index else '   '}{line}" for index, line in enumerate(lines))


_SIGNS: dict[State, str] = {"new": "+", "changed": "~", "gone": "-"}
_STATES: dict[State, str] = {
    "new": "new",
    "changed": "changed",
    "bundle": "unchanged but for the bundle",
    "unchanged": "unchanged",
    "gone": "gone from the code; what is registered stays",
}


def difference_summary(difference: Difference) -> str:
    """A difference in a line: how many tasks are in each state, how many changes break."""
    parts = [
        f"{len(tasks):,} {_STATES[state].partition(';')[0]}"
        for state in _STATES
        if (tasks := difference.of(state))
    ]
    if difference.breaking:
        parts.append(f"{count(len(difference.breaking), 'breaking change')}")
    return ", ".join(parts) + "." if parts else "no tasks."


def summary(plan: Plan) -> str:
    """A plan in a sentence."""
    register, tasks = len(plan.to_register), len(plan.tasks)
    if not plan.has_changes:
        return f"Nothing to do: all {count(tasks, 'task')} of version {plan.version} are registered."
    parts = []
    if plan.uploads:
        parts.append("upload the bundle")
    if plan.to_build:
        parts.append(f"build {count(len(plan.to_build), 'image')}")
    if register:
        kept = f" ({tasks - register} are there)" if register < tasks else ""
        parts.append(f"register {count(register, 'task')}{kept}")
    if plan.prune and plan.stale_triggers:
        parts.append(f"remove {count(len(plan.stale_triggers), 'trigger')}")
    return f"To do: {', '.join(parts)}."


def deployment_text(deployment: Deployment) -> str:
    """What a deploy did."""
    plan = deployment.plan
    lines = [""]
    if not plan.has_changes:
        lines.append(summary(plan))
    else:
        uploaded = ""
        if plan.bundle is not None:
            uploaded = ", bundle uploaded" if deployment.uploaded else ", the bundle was there"
        lines.append(
            f"Registered {count(len(deployment.registered), 'task')} of {len(plan.tasks)}"
            f" in {count(len(plan.environments), 'environment')}{uploaded}."
        )
    if deployment.pruned:
        lines.append(f"Removed {count(len(deployment.pruned), 'trigger')}: {', '.join(deployment.pruned)}.")
    lines.append(f"  version  {plan.version}")
    lines.append(f"  target   {plan.target} at {plan.endpoint}")
    if deployment.bundle_uri:
        lines.append(f"  bundle   {deployment.bundle_uri}")
    for image in deployment.images:
        took = f"  built in {image.seconds:.1f} s" if image.seconds is not None else "  was there"
        lines.append(f"  image    {plain(image.address)}{took}")
    if plan.has_changes:
        first = plan.tasks[0].task.name if plan.tasks else ""
        lines.append(f"  run      flyte run deployed-task {first}")
    lines.append(f"  time     {_times(plan)}")
    return "\n".join(lines)


def _times(plan: Plan) -> str:
    return f"{plan.elapsed:.2f} s ({', '.join(f'{step.name} {step.seconds:.2f}' for step in plan.steps)})"


def _bundle_lines(plan: Plan) -> Iterator[str]:
    bundle = plan.bundle
    if bundle is None:
        yield "bundle   none: the tasks' code is in their images"
        return
    yield f"bundle   {count(len(bundle.files), 'file')}, {size_text(bundle.size)}, {bundle.digest[:12]}"
    if plan.bundle_address:
        yield f"         is there: {plan.bundle_address}"
    elif plan.uploads:
        yield f"         to be uploaded to {plan.bundle_store}"
    yield from _file_lines(bundle)


def _file_lines(bundle: Bundle) -> Iterator[str]:
    largest = sorted(bundle.files, key=lambda file: (-file.size, file.path))[:SHOWN_FILES]
    for file in sorted(largest, key=lambda file: file.path):
        yield f"         {plain(file.name)}  {size_text(file.size)}  {file.reason}"
    more = len(bundle.files) - len(largest)
    if more:
        yield f"         and {more:,} smaller ones"


def _environment_lines(number: int, planned: PlannedEnvironment, *, briefly: bool) -> Iterator[str]:
    environment = planned.environment
    place = f"  {environment.location}" if environment.location else ""
    depends = f", after {', '.join(planned.depends_on)}" if planned.depends_on else ""
    if briefly:
        register = sum(1 for one in planned.tasks if one.action == "register")
        kept = len(planned.tasks) - register
        amounts = ((register, "to register"), (kept, "there"))
        counts = ", ".join(f"{amount:,} {what}" for amount, what in amounts if amount)
        yield plain(f"{number:>3} {environment.name}  {counts}  ({planned.reason}{depends}){place}")
        return
    yield plain(f"{number:>3} {environment.name}  ({planned.reason}{depends}){place}")
    if planned.image:
        yield plain(f"      image {planned.image}")
    for one in planned.tasks:
        sign = "+" if one.action == "register" else "="
        yield plain(f"    {sign} {signature(one.task)}  {one.why}")
        details = _details(one.task)
        if details:
            yield plain(f"        {details}")


def signature(task: Task) -> str:
    """A task as one would declare it."""
    parameters = ", ".join(
        f"{p.name}: {p.type}" + (f" = {_default(p.default)}" if p.default is not None else "")
        for p in task.parameters
    )
    outputs = ", ".join(output.type for output in task.outputs)
    if len(task.outputs) > 1:
        outputs = f"({outputs})"
    return f"{task.name}({parameters})" + (f" -> {outputs}" if outputs else "")


def _default(text: str) -> str:
    return SECRETS.shortened(text, _LONGEST_DEFAULT)


def _details(task: Task) -> str:
    parts = [f"{name} {amount}" for name, amount in task.resources.items()]
    if task.kind != "python":
        parts.append(f"kind {task.kind}")
    if task.cache != "disable":
        parts.append(f"cache {task.cache}")
    if task.retries:
        parts.append(f"retries {task.retries}")
    if task.timeout:
        parts.append(f"timeout {task.timeout:g} s")
    if task.secrets:
        parts.append(f"secrets {' '.join(task.secrets)}")
    parts += [f"trigger {trigger.name} ({trigger.schedule})" for trigger in task.triggers]
    if task.reuse:
        parts.append(f"reused: {task.reuse}")
    return ", ".join(parts)


def _notes(plan: Plan) -> Sequence[str]:
    return [*(f"Warning: {plain(w)}" for w in plan.warnings), *(f"Note: {plain(n)}" for n in plan.notes)]


def count(number: int, noun: str) -> str:
    """A number of things in words."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
