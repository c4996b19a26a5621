"""The content version: what is deployed, less what only says where it came from or goes to.

It is taken over the collector's bytes as they are. Version, project, domain, org, bundle address, images and
source links are placeholders or absent there, so that nothing has to be parsed, and neither our version nor
that of our protobuf can move it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from flyte_deploy.model import Environment, Task
from flyte_deploy.specs.walk import without_memory_addresses

LENGTH = 24
"""Hexadecimal digits of a content version: 96 bits."""

_FORMAT = b"flyte-deploy content 1"


def content_version(
    environments: Iterable[Environment], *, bundle_digest: str, images: Mapping[str, str]
) -> str:
    """The digest that identifies what would be deployed.

    Args:
        environments: all that is deployed; their order does not count.
        bundle_digest: the digest of the bundle's files, empty without a bundle.
        images: for each environment's name what identifies the content of its image.
    """
    digest = hashlib.sha256()
    _add(digest, _FORMAT, bundle_digest.encode())
    for environment in sorted(environments, key=lambda e: e.name):
        _add(digest, b"environment", environment.name.encode(), images.get(environment.name, "").encode())
        for task in sorted(environment.tasks, key=lambda t: t.name):
            _add(digest, b"task", task.name.encode(), task_content(task))
    return digest.hexdigest()[:LENGTH]


def task_content(task: Task) -> bytes:
    """A task's request without what differs from one process to the next."""
    return without_memory_addresses(task.request)


def _add(digest: hashlib._Hash, *parts: bytes) -> None:
    # Length first: no two sequences of parts run together to the same bytes.
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
