"""GitHub deployments and their statuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from flyte_deploy.github.client import Repository

PERMISSION = "deployments: write"
PREVIEWS = "preview"
"""The GitHub environment of all previews: one for each pull request would stay forever."""

State = Literal["in_progress", "success", "failure", "inactive"]
_LONGEST = 140
"""Characters of a description, in GitHub's API."""


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
    with repository.asking("creating a deployment", PERMISSION) as ask:
        made = ask(
            lambda: repository.repository.create_deployment(
                commit,
                task=_task(root, number),
                # It would merge the default branch into it, and wait for checks: ours among them.
                auto_merge=False,
                required_contexts=[],
                environment=environment,
                description=repository.redacted(description)[:_LONGEST],
                payload={"flyte-deploy": root or ".", **({"pull_request": number} if number else {})},
                transient_environment=bool(number),
                production_environment=production,
            )
        )
    tracked = Tracked(repository, made, environment)
    tracked.status("in_progress")
    return tracked


def end(
    repository: Repository, *, environment: str, root: str, number: int, log_url: str = "", but: int = 0
) -> int:
    """Set all deployments of a pull request inactive, but one; returns how many they were.

    Raises:
        DeployError: where GitHub refuses.
    """
    with repository.asking("ending deployments", PERMISSION) as ask:
        found = ask(
            lambda: list(
                repository.repository.get_deployments(environment=environment, task=_task(root, number))
            )
        )
        others = [one for one in found if one.id != but]
        for one in others:
            newest = next(iter(one.get_statuses()), None)
            if newest is None or newest.state != "inactive":
                _status(repository, one, "inactive", environment, log_url=log_url)
    return len(others)


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
    with repository.asking("setting the status of a deployment", PERMISSION) as ask:
        ask(
            lambda: deployment.create_status(
                state,
                environment=environment,
                description=repository.redacted(description)[:_LONGEST],
                target_url=repository.redacted(log_url),
                environment_url=repository.redacted(url),
                # Previews of other pull requests go on.
                auto_inactive=environment != PREVIEWS,
            )
        )


def _task(root: str, number: int) -> str:
    where = f":{root}" if root not in ("", ".") else ""
    return f"flyte-preview-{number}{where}" if number else f"flyte-deploy{where}"
