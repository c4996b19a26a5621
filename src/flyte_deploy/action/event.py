"""The event that the workflow runs for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flyte_deploy.errors import DeployError

# https://docs.github.com/actions/reference/events-that-trigger-workflows
_OF_WHAT_IS_MERGED = frozenset(
    {"", "push", "create", "release", "schedule", "workflow_dispatch", "repository_dispatch"}
)
_LARGEST = 64 << 20


@dataclass(frozen=True)
class Event:
    """What happened: GitHub's name for it, and its payload as GitHub sent it."""

    name: str
    payload: Mapping[str, Any]

    @property
    def untrusted(self) -> bool:
        """Whether it is about code that is not merged: nothing that it leaves is taken for what is."""
        return self.name not in _OF_WHAT_IS_MERGED


def read_event(environ: Mapping[str, str]) -> Event:
    """The event of the environment.

    Raises:
        DeployError: where its file is absent or broken.
    """
    name, path = environ.get("GITHUB_EVENT_NAME", ""), environ.get("GITHUB_EVENT_PATH", "")
    if not path:
        raise _broken("there is no event file", "environment GITHUB_EVENT_PATH")
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            payload = json.loads(file.read(_LARGEST))
    except OSError as error:
        raise _broken(f"the event file cannot be read: {error.strerror}", path) from None
    except (ValueError, RecursionError):
        raise _broken("the event file is no JSON", path) from None
    if not isinstance(payload, dict):
        raise _broken("the event file holds no object", path)
    return Event(name, payload)


def _broken(what: str, where: str) -> DeployError:
    mend = "The runner writes it for every job; a step before this one may have changed it or its variable."
    return DeployError(what, where=where, mend=mend, usage=True)
