"""The record of a deployment: what it was made from, what it replaced, who did it."""

from __future__ import annotations

import base64
import datetime as dt
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from flyte_deploy.cloud import CloudSettings
from flyte_deploy.errors import DeployError
from flyte_deploy.model import Target
from flyte_deploy.records.shelf import Shelf, open_shelf
from flyte_deploy.settings import Settings

if TYPE_CHECKING:
    from google.protobuf.message import Message

SCHEMA = "flyte-deploy/record/1"


class Record(Struct, frozen=True, kw_only=True):
    """A deployment, besides what its tasks' specs hold.

    `kind` is ``deploy``, ``promote`` or ``rollback``; `source` says what was promoted or restored, as
    ``project/domain version``. `tasks` maps a task to its environment, `files` a path in the bundle to its
    SHA-256, `images` an environment to the address of its image, `replaced` a task to the version that was
    its newest before. `triggers` maps a task to its triggers, each a serialized ``TaskTrigger`` in base64:
    the control plane forgets those of a version that is not the newest. `created` is UTC, ISO 8601.
    """

    schema: str = SCHEMA
    kind: str = "deploy"
    source: str = ""
    version: str
    content: str = ""
    org: str = ""
    project: str
    domain: str
    created: str
    root: str = ""
    commit: str = ""
    branch: str = ""
    tag: str = ""
    repository: str = ""
    event: str = ""
    run: str = ""
    actor: str = ""
    bundle_uri: str = ""
    bundle_digest: str = ""
    files: dict[str, str] = {}
    images: dict[str, str] = {}
    tasks: dict[str, str] = {}
    registered: tuple[str, ...] = ()
    replaced: dict[str, str] = {}
    triggers: dict[str, tuple[str, ...]] = {}

    def trigger_bytes(self, task: str) -> tuple[bytes, ...]:
        """The serialized triggers of a task."""
        return tuple(base64.b64decode(text) for text in self.triggers.get(task, ()))


def encoded(triggers: Iterable[Message]) -> tuple[str, ...]:
    """Triggers as a record holds them."""
    return tuple(base64.b64encode(one.SerializeToString()).decode() for one in triggers)


def origin_of(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Who is at work and why, as a job of GitHub says it; nothing outside of one but the user's name."""
    server = environ.get("GITHUB_SERVER_URL", "https://github.com")
    repository, run = environ.get("GITHUB_REPOSITORY", ""), environ.get("GITHUB_RUN_ID", "")
    return {
        "repository": repository,
        "event": environ.get("GITHUB_EVENT_NAME", ""),
        "run": f"{server}/{repository}/actions/runs/{run}" if repository and run else "",
        "actor": environ.get("GITHUB_TRIGGERING_ACTOR") or environ.get("GITHUB_ACTOR") or _user(environ),
    }


def now() -> str:
    """The time, as records have it."""
    return dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


def encode(record: Record) -> bytes:
    """A record as JSON."""
    return msgspec.json.format(msgspec.json.encode(record), indent=1)


def decode(data: bytes, where: str) -> Record:
    """Read a record.

    Raises:
        DeployError: where it is corrupt, or of a version that this one does not know.
    """
    try:
        record = msgspec.json.decode(data, type=Record)
        for task in record.triggers:
            record.trigger_bytes(task)
    except (msgspec.DecodeError, ValueError) as error:
        raise _corrupt(where, str(error)) from None
    if record.schema != SCHEMA:
        raise _corrupt(where, f"its schema is {record.schema}, not {SCHEMA}")
    return record


def _corrupt(where: str, why: str) -> DeployError:
    return DeployError(
        f"the record of the deployment is corrupt: {why}",
        where=where,
        mend="Remove it: what is registered says the rest.",
    )


def record_name(target: Target, version: str) -> str:
    """Where a record lies in its store."""
    return "/".join(
        ("records", *((target.org,) if target.org else ()), target.project, target.domain, f"{version}.json")
    )


def shelf_of(settings: Settings) -> Shelf | None:
    """Where the records of these settings lie; None where they could not be read."""
    return open_shelf(settings.bundle_store, CloudSettings.of(settings))


def keep(settings: Settings, record: Record) -> tuple[bytes, str]:
    """Put a record into its store, with what one that is there says of other tasks of that version.

    Returns:
        It as JSON, and its address, empty where the store cannot be read or written.

    Raises:
        DeployError: where it cannot be written.
    """
    shelf = shelf_of(settings)
    if shelf is None:
        return encode(record), ""
    name = record_name(Target(record.project, record.domain, record.org), record.version)
    try:
        there = shelf.get(name)
        before = None if there is None else decode(there, name)
    except DeployError:
        # A corrupt one is replaced, and whoever may only write writes.
        before = None
    data = encode(_merged(before, record))
    return data, shelf.put(name, data)


def is_kept(settings: Settings, target: Target, version: str) -> bool:
    """Whether there is a record of a deployment, readable or not; True where no store could have one.

    Raises:
        DeployError: where the store cannot be asked.
    """
    shelf = shelf_of(settings)
    return shelf is None or shelf.has(record_name(target, version))


def _merged(before: Record | None, record: Record) -> Record:
    """A deployment that was completed: what was registered at first is part of it."""
    if before is None:
        return record
    return msgspec.structs.replace(
        record,
        images=before.images | record.images,
        tasks=before.tasks | record.tasks,
        registered=tuple(dict.fromkeys((*before.registered, *record.registered))),
        # What it replaced at first: after that it has replaced itself.
        replaced=record.replaced | before.replaced,
        triggers={
            **{name: of_task for name, of_task in before.triggers.items() if name not in record.tasks},
            **record.triggers,
        },
    )


def find(settings: Settings, target: Target, version: str) -> Record | None:
    """The record of a deployment, None where there is none or its store cannot be read.

    Raises:
        DeployError: where it is corrupt, or the store cannot be asked.
    """
    shelf = shelf_of(settings)
    name = record_name(target, version)
    data = shelf.get(name) if shelf is not None else None
    return None if data is None else decode(data, f"{settings.bundle_store}/{name}")


def _user(environ: Mapping[str, str]) -> str:
    return environ.get("USER") or environ.get("LOGNAME") or ""
