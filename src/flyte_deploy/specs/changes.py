"""The nouns of a difference: what a deploy changes for those who run the tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["new", "changed", "bundle", "unchanged", "gone"]
"""``bundle``: nothing but the code that goes along; ``gone``: registered, and no longer in the code."""


@dataclass(frozen=True)
class Change:
    """One thing about a task that changes.

    Args:
        aspect: ``input``, ``output``, ``resources``, ``image``, ``cache``, ``retries``, ``timeout``,
            ``secrets``, ``trigger``, ``environment variable``, ``reuse``, ``documentation``, ``default``,
            ``arguments``, ``SDK``, ``settings``, ``type``.
        name: what of it, where there are several: the input, the resource, the trigger.
        before: as it is registered, in words; empty where there is none.
        after: as it will be; empty where there is none.
        breaking: True where those who call the task as it is may fail.
    """

    aspect: str
    name: str = ""
    before: str = ""
    after: str = ""
    breaking: bool = False

    def __str__(self) -> str:
        what = f"{self.aspect} {self.name}".rstrip()
        if not self.before:
            return f"{what} added: {self.after}" if self.after else f"{what} changed"
        return f"{what}: {self.before} -> {self.after}" if self.after else f"{what} removed ({self.before})"


@dataclass(frozen=True)
class TaskDifference:
    """What becomes of one task. `before` is the version that is compared with, empty for a new task."""

    name: str
    environment: str
    state: State
    before: str = ""
    changes: tuple[Change, ...] = ()

    @property
    def breaking(self) -> tuple[Change, ...]:
        """The changes that may break who calls it."""
        return tuple(change for change in self.changes if change.breaking)


@dataclass(frozen=True)
class FileChange:
    """A file of the bundle that differs; `what` is ``added``, ``changed`` or ``removed``."""

    path: str
    what: str


@dataclass(frozen=True)
class Difference:
    """What a deploy changes, against what is registered.

    Args:
        against: project and domain that it was compared with.
        tasks: every task of the code in the order of registration, then those that are gone.
        files: the files of the bundle that differ; None where nobody recorded those of the one before.
    """

    against: str
    tasks: tuple[TaskDifference, ...]
    files: tuple[FileChange, ...] | None = None

    def of(self, state: State) -> tuple[TaskDifference, ...]:
        """The tasks in one state."""
        return tuple(task for task in self.tasks if task.state == state)

    @property
    def breaking(self) -> tuple[tuple[TaskDifference, Change], ...]:
        """All changes that may break who calls a task."""
        return tuple((task, change) for task in self.tasks for change in task.breaking)
