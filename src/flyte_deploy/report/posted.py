"""A plan that another job made, as a comment: its JSON is a stranger's, so all of it is shown as text."""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct

from flyte_deploy.errors import DeployError
from flyte_deploy.report.escape import block, code

_LARGEST = 8 << 20
_SHOWN = 100
_CHANGES = 10


class _Target(Struct, frozen=True):
    project: str
    domain: str


class _Change(Struct, frozen=True):
    aspect: str
    name: str = ""
    before: str = ""
    after: str = ""
    breaking: bool = False


class _Task(Struct, frozen=True):
    name: str
    state: str
    changes: tuple[_Change, ...] = ()


class _Difference(Struct, frozen=True):
    against: str
    tasks: tuple[_Task, ...]


class _Environment(Struct, frozen=True):
    name: str
    tasks: tuple[msgspec.Raw, ...] = ()


class Posted(Struct, frozen=True):
    """What is read of a plan."""

    schema: str
    version: str
    content: str
    environments: tuple[_Environment, ...]
    target: _Target | None = None
    difference: _Difference | None = None


def read_posted(path: Path) -> Posted:
    """Read a plan as ``--output-format json`` writes it.

    Raises:
        DeployError: for a file that is none.
    """
    try:
        with path.open("rb") as stream:
            plan = msgspec.json.decode(stream.read(_LARGEST + 1), type=Posted)
    except OSError as error:
        raise _none(path, error.strerror or str(error)) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise _none(path, str(error)[:200]) from None
    if not plan.schema.startswith("flyte-deploy/plan/"):
        raise _none(path, f"its schema is {plan.schema[:60]!r}")
    return plan


def posted(plan: Posted, limit: int) -> str:
    """A plan as Markdown of at most `limit` characters."""
    tasks = sum(len(environment.tasks) for environment in plan.environments)
    where = f" for {code(f'{plan.target.project}/{plan.target.domain}')}" if plan.target else ""
    lines = [
        "### Flyte plan: what would be done",
        (
            f"{tasks} tasks of {len(plan.environments)} environments{where}. Nothing was deployed: the"
            " plan was made by a job without secrets."
        ),
        block(plan.version),
    ]
    rows: list[str] = []
    if plan.difference is not None:
        lines.append(f"Against {code(plan.difference.against)}:")
        for task in plan.difference.tasks:
            if task.state in ("new", "changed", "gone"):
                rows.append(f"- {code(task.name)} {code(task.state)}")
                rows += [f"  - {code(_words(change))}" for change in task.changes[:_CHANGES]]
    shown = rows[:_SHOWN]
    while True:
        left = len(rows) - len(shown)
        more = [f"and {left} lines more"] if left else []
        text = "\n\n".join([*lines, *(["\n".join(shown)] if shown else []), *more]) + "\n"
        if len(text) <= limit or not shown:
            return text[:limit]
        shown = shown[: len(shown) // 2]


def _words(change: _Change) -> str:
    what = f"{change.aspect} {change.name}".rstrip()
    told = f"{what}: {change.before or '-'} -> {change.after or '-'}"
    return f"{told} (breaks callers)" if change.breaking else told


def _none(path: Path, why: str) -> DeployError:
    return DeployError(
        f"this is no plan: {why}",
        where=str(path),
        mend="Give output plan of a job that ran with mode: plan, as a file.",
        usage=True,
    )
