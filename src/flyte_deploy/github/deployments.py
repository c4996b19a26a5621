"""GitHub deployments and their statuses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from flyte_deploy.github.client import Repository
from flyte_deploy.secrets import SECRETS

PERMISSION = "deployments: write"
PREVIEWS = "preview"
"""The GitHub environment of all previews: one for each pull request would stay forever."""

State = Literal["in_progress", "success", "failure", "inactive"]
_LONGEST = 140
"""Characters of a description, in GitHub's API."""
_LOOKED_AT = 30
"""Older deployments that are looked at, each with a request of its own."""


@dataclass(frozen=True)
class Tracked:
    """A GitHub deployment of this run."""

    repository: Repository
    deployment: Any
    environment: str

    def status(self, state: State, *, description: str = "", url: str = "", log_url: str = "") -> None:
        """Set its status.

        Args:
            state: GitHub's word for it.
            description: in a line.
            url: where what is deployed can be seen.
            log_url: the workflow run.

        Raises:
            DeployError: where GitHub refuses.
        """
        _status(
            self.repository,
            self.deployment,
            state,
            self.environment,
            description=description,
            url=url,
            log_url=log_url,
        )


def start(
    repository: Repository,
    *,
    commit: str,
    environment: str,
    root: str,
    number: int = 0,
    description: str = "",
    production: bool = False,
) -> Tracked:
    """Create a deployment, in progress.

    Args:
        repository: where.
        commit: the commit deployed: of a pull request its head.
        environment: the GitHub environment; previews share one.
        root: the project's folder, to tell the projects of a repository apart.
        number: the pull request, 0 for none.
        description: in a line.
        production: whether users are served there.

    Raises:
        DeployError: where GitHub refuses.
    """
    with repository.asking("creating a deployment", PERMISSION):
        made = repository.repository.create_deployment(
            commit,
            task=_task(root, number),
            # It would merge the default branch into it, and wait for checks: ours among them.
            auto_merge=False,
            required_contexts=[],
            environment=environment,
            description=SECRETS.redact(description)[:_LONGEST],
            payload={"flyte-deploy": root or ".", **({"pull_request": number} if number else {})},
            transient_environment=bool(number),
            production_environment=production,
        )
    tracked = Tracked(repository, made, environment)
    tracked.status("in_progress")
    return tracked


def end(repository: Repository, *, root: str, number: int, log_url: str = "") -> int:
    """Set all deployments of a pull request inactive; returns how many they were.

    Raises:
        DeployError: where GitHub refuses.
    """
    with repository.asking("ending deployments", PERMISSION):
        found = list(_deployments(repository, PREVIEWS, root, number))
        for one in found:
            if _state(one) != "inactive":
                _status(repository, one, "inactive", PREVIEWS, log_url=log_url)
    return len(found)


def supersede(tracked: Tracked, *, root: str, number: int = 0, log_url: str = "") -> int:
    """Set those inactive that a deployment takes the place of: older ones of the same folder there.

    GitHub's `auto_inactive` would go by the GitHub environment alone, where other folders, and the previews
    of other pull requests, go on. Those that failed stay as they are.

    Raises:
        DeployError: where GitHub refuses.
    """
    repository, ours = tracked.repository, int(tracked.deployment.id)
    ended = 0
    with repository.asking("ending deployments", PERMISSION):
        found = _deployments(repository, tracked.environment, root, number)
        succeeded = False
        for one in islice((one for one in found if one.id < ours), _LOOKED_AT):
            state = _state(one)
            if state == "inactive" and succeeded:
                # What lies before has been superseded with it.
                break
            succeeded = succeeded or state == "success"
            if state not in ("inactive", "failure", "error"):
                _status(repository, one, "inactive", tracked.environment, log_url=log_url)
                ended += 1
    return ended


def _deployments(repository: Repository, environment: str, root: str, number: int) -> Iterable[Any]:
    """The deployments of a folder there, or of its previews; the newest first."""
    found: Iterable[Any] = repository.repository.get_deployments(
        environment=environment, task=_task(root, number)
    )
    return found


def _state(deployment: Any) -> str:
    newest = next(iter(deployment.get_statuses()), None)
    return "" if newest is None else str(newest.state)


def _status(
    repository: Repository,
    deployment: Any,
    state: State,
    environment: str,
    *,
    description: str = "",
    url: str = "",
    log_url: str = "",
) -> None:
    with repository.asking("setting the status of a deployment", PERMISSION):
        deployment.create_status(
            state,
            environment=environment,
            description=SECRETS.redact(description)[:_LONGEST],
            target_url=SECRETS.redact(log_url),
            environment_url=SECRETS.redact(url),
            # `supersede` does it, for what is really replaced.
            auto_inactive=False,
        )


def _task(root: str, number: int) -> str:
    where = f":{root}" if root not in ("", ".") else ""
    return f"flyte-preview-{number}{where}" if number else f"flyte-deploy{where}"
