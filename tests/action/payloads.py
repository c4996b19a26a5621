"""Payloads of events as GitHub sends them: @octokit/webhooks-examples, which tools/contracts fetches."""

from __future__ import annotations

import copy
import json
from functools import lru_cache
from typing import Any

from tests.report.render import contracts

REPOSITORY = "Codertocat/Hello-World"


@lru_cache(maxsize=1)
def _all() -> dict[str, list[dict[str, Any]]]:
    events = json.loads((contracts() / "webhooks.json").read_text(encoding="utf-8"))
    return {event["name"]: event["examples"] for event in events}


def payload(name: str, action: str = "", **changes: object) -> dict[str, Any]:
    """An example of an event, less what a job's event file lacks; dotted names change it."""
    for example in _all()[name]:
        in_repository = example.get("repository", {}).get("full_name") == REPOSITORY
        if example.get("action", "") == action and (in_repository or name not in ("pull_request", "push")):
            found = copy.deepcopy(example)
            break
    else:
        raise LookupError(f"no example of {name} {action}")
    for path, value in changes.items():
        *folders, last = path.split("__")
        place = found
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = value
    return found


def names() -> list[str]:
    return sorted(_all())
