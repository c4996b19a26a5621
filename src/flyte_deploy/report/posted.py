"""A plan that another job made, as a comment: its JSON is a stranger's, so all of it is shown as text."""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct

from flyte_deploy.errors import DeployError
from flyte_deploy.model import Target
from flyte_deploy.report.escape import block
from flyte_deploy.report.markdown import PLANNED, changes, title_of
from flyte_deploy.report.page import FOLDED, Page, fitted
from flyte_deploy.report.sections import changed_tasks
from flyte_deploy.report.text import count
from flyte_deploy.specs.changes import Difference

_LARGEST = 8 << 20


class _Environment(Struct, frozen=True):
    name: str
    tasks: tuple[msgspec.Raw, ...] = ()


class Posted(Struct, frozen=True):
    """What is read of a plan."""

    schema: str
    version: str
    content: str
    environments: tuple[_Environment, ...]
    target: Target | None = None
    root: str = ""
    difference: Difference | None = None


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

    def head(longest: int) -> list[str]:
        return [
            title_of("plan", PLANNED, plan.root, str(plan.target or ""), longest),
            (
                f"{count(tasks, 'task')} of {count(len(plan.environments), 'environment')}. Nothing was"
                " deployed: the plan was made by a job without secrets."
            ),
            block(plan.version, 2 * longest),
            *(changes(plan.difference, longest) if plan.difference else ()),
        ]

    sections = [changed_tasks(plan.difference, tasks)] if plan.difference else []
    return fitted(Page(title_of("plan", PLANNED), head, sections, []), limit, frame=FOLDED)


def _none(path: Path, why: str) -> DeployError:
    return DeployError(
        f"this is no plan: {why}",
        where=str(path),
        mend="Give output plan of a job that ran with mode: plan, as a file.",
        usage=True,
    )
