"""A repository at GitHub, through PyGithub: retries, rate limits, and errors in words."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from flyte_deploy.errors import DeployError
from flyte_deploy.secrets import SECRETS

_LONGEST_WAIT = 90.0
"""Seconds that are waited for a rate limit: nobody wants a job to hang for the comment."""


@dataclass(frozen=True)
class Pull:
    """The state of a pull request, and the commit that it is at."""

    open: bool
    merged: bool
    head: str


class Repository:
    """A repository, asked with a token.

    Args:
        name: ``owner/name``.
        token: it is sent to `api_url` and shown nowhere.
        api_url: of GitHub, or of an Enterprise Server.
        wait: seconds that may be waited for a limit of the rate; where GitHub wants more, it is an error.
    """

    def __init__(
        self,
        name: str,
        token: str,
        api_url: str = "https://api.github.com",
        wait: float = _LONGEST_WAIT,
    ) -> None:
        from flyte_deploy.github.retry import waiting
        from github import Auth, Github

        # Its own lines would stand between ours.
        logging.getLogger("github").setLevel(logging.CRITICAL)
        self.name = name
        self.api_url = api_url
        # Nobody else masks what is sent there.
        SECRETS.add(token)
        self._github = Github(
            auth=Auth.Token(token),
            base_url=api_url,
            retry=waiting(wait),
            timeout=20,
            per_page=100,
            seconds_between_requests=0,
            seconds_between_writes=0,
            lazy=True,
        )

    def __repr__(self) -> str:
        return f"Repository({self.name!r})"

    @property
    def repository(self) -> Any:
        """PyGithub's own, not asked for yet."""
        return self._github.get_repo(self.name)

    def login(self) -> str | None:
        """Who the token belongs to; None for the token of an app, which may not ask."""
        from github import GithubException

        try:
            with self.asking("asking who the token belongs to", ""):
                return str(self._github.get_user().login)
        except DeployError as error:
            cause = error.__cause__
            if isinstance(cause, GithubException) and cause.status in (401, 403, 404):
                return None
            raise

    def branch_head(self, branch: str) -> str:
        """The commit that a branch is at."""
        with self.asking(f"looking up branch {branch}", "contents: read"):
            return str(self.repository.get_git_ref(f"heads/{branch}").object.sha)

    def pull(self, number: int) -> Pull:
        """The state of a pull request."""
        with self.asking(f"looking up pull request #{number}", "pull-requests: read"):
            found = self.repository.get_pull(number)
            return Pull(found.state == "open", bool(found.merged), str(found.head.sha))

    def pulls_at(self, source: str, branch: str, commit: str) -> list[int]:
        """The open pull requests of a branch that are at a commit.

        Args:
            source: the branch's repository, as ``owner/name``.
            branch: its name.
            commit: in full.
        """
        owner = source.partition("/")[0]
        with self.asking(f"looking up pull requests of {owner}:{branch}", "pull-requests: read"):
            heads = [
                (pull.number, pull.head.sha, pull.head.repo and pull.head.repo.full_name)
                for pull in self.repository.get_pulls(state="open", head=f"{owner}:{branch}")
            ]
        # An owner may have two forks with that branch.
        return [number for number, sha, name in heads if (sha, name) == (commit, source)]

    @contextmanager
    def asking(self, doing: str, permission: str) -> Iterator[None]:
        """What goes wrong inside becomes a `DeployError`.

        Args:
            doing: what is asked for, in words.
            permission: what the token needs for it.
        """
        import requests

        from github import GithubException

        try:
            yield
        except GithubException as error:
            raise self._explained(error, doing, permission) from error
        except requests.exceptions.RetryError as error:
            reason = SECRETS.redact(str(error))
            raise DeployError(
                f"GitHub keeps refusing: {doing}: {reason[:300]}",
                where=self.api_url,
                mend="It has trouble, or limits the requests of this token: run it again later.",
            ) from error
        except (requests.RequestException, OSError, ValueError, KeyError, TypeError) as error:
            # An answer of another shape comes from a proxy or a login page.
            reason = SECRETS.redact(f"{type(error).__name__}: {error}")
            raise DeployError(
                f"GitHub cannot be reached: {doing}: {reason[:300]}",
                where=self.api_url,
                mend="Look at the network of the runner, HTTPS_PROXY and GITHUB_API_URL.",
            ) from error

    def _explained(self, error: Any, doing: str, permission: str) -> DeployError:
        from github import RateLimitExceededException

        data = error.data if isinstance(error.data, dict) else {}
        said = SECRETS.redact(str(data.get("message") or error.message or "no reason given"))[:300]
        what = f"GitHub refuses ({error.status}): {doing}: {said}"
        mend = "The log of the run says more with debug logging."
        if isinstance(error, RateLimitExceededException) or error.status == 429:
            mend = "Too many requests were made with this token: run it again later."
        elif error.status == 401:
            mend = "The token is not valid (any more): give input github-token the job's own, github.token."
        elif error.status in (403, 404) and permission:
            mend = f"The token may lack a permission: add `{permission}` to the job's permissions."
            if error.status == 404:
                mend += " Or there is no such thing in this repository."
        elif error.status == 422:
            details = "; ".join(str(one)[:200] for one in data.get("errors") or ())
            what = f"{what}{f' ({SECRETS.redact(details)})' if details else ''}"
        elif error.status >= 500:
            mend = "GitHub has trouble: run it again later."
        return DeployError(what, where=self.api_url, mend=mend)
