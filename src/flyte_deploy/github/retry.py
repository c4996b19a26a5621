"""What is tried again at GitHub, and how long that may be waited for."""

from __future__ import annotations

import time
from typing import Any

from github import GithubRetry, RateLimitExceededExceedsMaxWait

_ATTEMPTS = 4
_METHODS = frozenset({"GET", "POST", "PATCH", "DELETE"})
"""A POST whose answer is lost may have been obeyed: a second comment is taken into the first one, an older
deployment is set inactive, a second status says the same."""
_PASSING = (429, *range(500, 600))
"""PyGithub adds 403, where that is a limit of the rate."""


class Waiting(GithubRetry):
    """PyGithub's way to try again, which knows 429 and gives up where GitHub wants too long a wait.

    https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
    """

    def increment(
        self, method: str | None = None, url: str | None = None, response: Any = None, *rest: Any, **more: Any
    ) -> Any:
        """What is left of the attempts.

        Raises:
            RateLimitExceededExceedsMaxWait: where the wait is too long.
        """
        wait = None if response is None else self._asked_for(response)
        if wait is not None and self.max_rate_limit_wait is not None and wait > self.max_rate_limit_wait:
            message = f"requests are limited for {wait:.0f} s more"
            raise RateLimitExceededExceedsMaxWait(
                response.status, {"message": message}, dict(response.headers), wait=wait
            )
        left = super().increment(method, url, response, *rest, **more)
        if wait is not None:
            left.get_backoff_time = lambda: wait  # type: ignore[method-assign]
        return left

    def _asked_for(self, response: Any) -> float | None:
        """The seconds that an answer asks to wait, where PyGithub does not look for itself."""
        asked = self.get_retry_after(response)
        if asked is not None or response.status != 429:
            return asked
        reset = response.headers.get("X-RateLimit-Reset", "")
        if response.headers.get("X-RateLimit-Remaining") == "0" and reset.isdigit():
            # It is not said when in that second.
            return max(0.0, int(reset) - time.time()) + 1
        return self.secondary_rate_wait


def waiting(longest: float) -> Waiting:
    """Four attempts, with at most `longest` seconds before one that a limit of the rate holds up."""
    return Waiting(
        total=_ATTEMPTS,
        allowed_methods=_METHODS,
        status_forcelist=list(_PASSING),
        secondary_rate_wait=min(60.0, longest),
        max_rate_limit_wait=longest,
        backoff_factor=0.5,
        backoff_max=10,
    )
