"""Files that defaults and trigger inputs need besides the bundle: the collector captures, we upload."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flyte_deploy.bundle.reading import open_regular
from flyte_deploy.collector.inside import sdk
from flyte_deploy.collector.inside.capture import folder_digest
from flyte_deploy.collector.message import Capture
from flyte_deploy.errors import DeployError

if TYPE_CHECKING:
    from flyte_deploy.bundle.archive import Archive
    from flyte_deploy.stores.signed_url import SignedUrlStore


_DIGEST = re.compile(r"[0-9a-f]{64}")
_BUFFER = 1 << 20


@dataclass(frozen=True)
class CapturedFile:
    """A file as it was captured: its path below the address, where it lies now, its size in bytes, and its
    SHA-256 in hex."""

    path: str
    source: Path
    size: int
    sha256: str


@dataclass(frozen=True)
class Captured:
    """A file or a folder that is uploaded under the digest of its content.

    Args:
        digest: hex; of a file its SHA-256, of a folder that over its paths and contents.
        name: a file's name, empty for a folder.
        files: what there is to upload.
    """

    digest: str
    name: str
    files: tuple[CapturedFile, ...]

    @property
    def placeholder(self) -> str:
        """What stands for its address in requests."""
        return sdk.FILE.format(f"{self.digest}/{self.name}" if self.name else self.digest)

    @property
    def size(self) -> int:
        """The sum of the files' sizes, in bytes."""
        return sum(file.size for file in self.files)


def read_captured(folder: Path, captures: Sequence[Capture]) -> tuple[Captured, ...]:
    """Check what the collector captured: nothing but regular files inside the folder, of the digest it named.

    Raises:
        DeployError: where it is something else.
    """
    return tuple(_read(folder / capture.digest, capture) for capture in captures)


def _read(base: Path, capture: Capture) -> Captured:
    if not _DIGEST.fullmatch(capture.digest):
        raise DeployError(f"the collector captured what has no digest: {capture.digest[:80]!r}")
    files = []
    for path in capture.files:
        parts = path.split("/")
        if os.path.isabs(path) or any(part in ("", ".", "..") for part in parts):  # noqa: PTH117
            raise DeployError(f"the collector captured a file outside of its folder: {path[:200]!r}")
        source = base.joinpath(*parts)
        try:
            # No link on the way may lead anywhere else.
            if source.resolve(strict=True) != base.parent.resolve().joinpath(base.name, *parts):
                raise DeployError(f"the collector captured a link: {path!r}")
        except OSError as error:
            raise DeployError(f"what the collector captured cannot be read: {error}") from None
        size, sha256, _ = _hashed(source, path)
        files.append(CapturedFile(path, source, size, sha256))
    digests = {file.path: file.sha256 for file in files}
    digest = folder_digest(digests) if capture.folder else next(iter(digests.values()), "")
    if digest != capture.digest or (not capture.folder and [capture.name] != list(capture.files)):
        raise DeployError("what the collector captured is not what it said it was")
    return Captured(capture.digest, capture.name, tuple(files))


def publish_captured(
    captured: Sequence[Captured], store: SignedUrlStore, progress: Callable[[int, int], None]
) -> dict[str, str]:
    """Upload what is not there yet.

    Args:
        captured: all of them.
        store: the control plane's storage.
        progress: told of bytes sent and bytes in all, of each file.

    Returns:
        The address of each, by its placeholder.

    Raises:
        DeployError: for a file that is no longer the one that was identified.
    """
    addresses: dict[str, str] = {}
    for one in captured:
        address = ""
        for file in one.files:
            address = store.find_object(one.digest, file.path) or store.publish_object(
                one.digest, file.path, _archive(file), progress
            )
            if not one.name:
                address = address.removesuffix(f"/{file.path}")
        addresses[one.placeholder] = address
    return addresses


def _archive(file: CapturedFile) -> Archive:
    from flyte_deploy.bundle.archive import Archive

    size, sha256, md5 = _hashed(file.source, file.path)
    if (size, sha256) != (file.size, file.sha256):
        raise DeployError(f"{file.path} is no longer the file that was captured", where=file.path)
    # What is sent is held to its MD5 while it is sent.
    return Archive(file.source, size, md5)


def _hashed(path: Path, name: str) -> tuple[int, str, bytes]:
    """The size, the SHA-256 in hex and the MD5 of a regular file; no link is followed."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    size = 0
    with os.fdopen(open_regular(path, name), "rb", buffering=0) as stream:
        while data := stream.read(_BUFFER):
            size += len(data)
            sha256.update(data)
            md5.update(data)
    return size, sha256.hexdigest(), md5.digest()
