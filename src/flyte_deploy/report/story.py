"""What a comment or a job summary tells: one run, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flyte_deploy.errors import DeployError, NotWanted
from flyte_deploy.model import Deployment, Plan

Kind = Literal["preview", "push", "release", "plan", "action"]


@dataclass(frozen=True)
class Story:
    """A run of the action.

    Args:
        kind: what it was for.
        outcome: what came of it.
        root: the project's folder in the repository, to tell several apart; empty for the repository itself.
        console_url: the tasks in Flyte's console, empty where that is not known.
        run_url: the workflow run; its page has the job's summary.
        commit: the commit deployed, its full SHA.
        why_plan: for a plan that stands in for a deployment, why there is none (a fork's pull request).
        begun: for a failure, the names of the steps that had begun by then; None where that is not known.
        target: where it was to be deployed, as ``project/domain``, for a failure; a plan knows its own.
    """

    kind: Kind
    outcome: Plan | Deployment | DeployError | NotWanted
    root: str = ""
    console_url: str = ""
    run_url: str = ""
    commit: str = ""
    why_plan: str = ""
    begun: frozenset[str] | None = None
    target: str = ""

    @property
    def plan(self) -> Plan | None:
        """The plan that was made, None for a failure and what was given up."""
        if isinstance(self.outcome, (DeployError, NotWanted)):
            return None
        return self.outcome.plan if isinstance(self.outcome, Deployment) else self.outcome


@dataclass(frozen=True)
class Closed:
    """A pull request that was closed, and what became of its preview.

    Args:
        target: where it was deployed, as ``project/domain``.
        versions: those that were registered for it and stay.
        removed: triggers that were removed, as ``task/trigger``.
        merged: whether it was merged.
        root: as of `Story`.
        run_url: the workflow run.
        problem: why its triggers could not be removed; None where they were.
    """

    target: str
    versions: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    merged: bool = False
    root: str = ""
    run_url: str = ""
    problem: DeployError | None = None
