"""Bundles in a folder, for a disk that the task containers share."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import zlib
from pathlib import Path
from typing import BinaryIO, cast

from isal import igzip

from flyte_deploy.bundle.archive import pack, unpacked_size
from flyte_deploy.errors import DeployError
from flyte_deploy.model import Bundle
from flyte_deploy.stores import Listen

_BUFFER = 1 << 20


def open_folder(address: str) -> FolderStore:
    """The store at ``file:///absolute/path``, taken as it is written: Flyte decodes no ``%20`` either.

    Raises:
        DeployError: if the path is not absolute.
    """
    path = address.removeprefix("file://")
    if not path.startswith("/") or "\0" in path:
        raise DeployError(
            f"{address!r} does not name a folder",
            where="--bundle-store",
            mend="Write three slashes and an absolute path: file:///absolute/path.",
            usage=True,
        )
    return FolderStore(Path(path))


class FolderStore:
    """A folder with one file a bundle, named by its digest. It is made when the first bundle is published.

    An archive vouches for itself: gzip ends with a checksum and the length of what was packed, and the bundle
    says what that length must be. So there is nothing beside the archive that could be lost, or belong to
    another writer's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def describe(self) -> str:
        """The place, in words for people."""
        return f"the folder {self._folder}"

    def find(self, bundle: Bundle) -> str | None:
        """As `Store.find`. Reads the archive to its end, about 1 GB/s of what was packed."""
        path = self._folder / bundle.archive_name
        try:
            with path.open("rb") as stream:
                whole = _is_whole(stream, unpacked_size(bundle))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _failed("cannot be read", error, path) from error
        return self._address(bundle) if whole else None

    def publish(self, bundle: Bundle, progress: Listen) -> str:
        """As `Store.publish`: packs under another name, and renames what is complete and on the disk."""
        path = self._folder / bundle.archive_name
        partial = self._folder / f".{bundle.archive_name}.{secrets.token_hex(8)}.partial"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with partial.open("xb") as target:
                archive = pack(bundle, cast("BinaryIO", _Watched(target, path, progress)))
                target.flush()
                os.fsync(target.fileno())
            progress(archive.size, archive.size)
            partial.replace(path)
            _sync_folder(self._folder)
        except OSError as error:
            raise _failed("cannot be written", error, path) from error
        finally:
            with contextlib.suppress(OSError):
                partial.unlink()
        return self._address(bundle)

    def _address(self, bundle: Bundle) -> str:
        return f"file://{self._folder / bundle.archive_name}"


class _Watched:
    """A file that tells how much was written, and says itself why it cannot be."""

    def __init__(self, stream: BinaryIO, path: Path, progress: Listen) -> None:
        self._stream = stream
        self._path = path
        self._progress = progress
        self._done = 0

    def write(self, data: bytes) -> int:
        try:
            self._stream.write(data)
        except OSError as error:
            raise _failed("cannot be written", error, self._path) from error
        self._done += len(data)
        self._progress(self._done, 0)
        return len(data)

    def flush(self) -> None:
        pass


def _is_whole(stream: BinaryIO, size: int) -> bool:
    found = 0
    buffer = bytearray(_BUFFER)
    try:
        with igzip.IGzipFile(fileobj=stream, mode="rb") as content:  # type: ignore[no-untyped-call]
            # No further than needed, whatever the file unpacks to.
            while found <= size and (count := content.readinto(buffer)):
                found += count
    except (EOFError, zlib.error, igzip.BadGzipFile):
        return False
    return found == size


def _sync_folder(folder: Path) -> None:
    # So that the rename survives a power failure; some network file systems cannot.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _failed(what: str, error: OSError, path: Path) -> DeployError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DeployError(
            "the disk of the bundle store is full",
            where=str(path),
            mend="Make room, or choose another folder.",
        )
    if isinstance(error, PermissionError):
        return DeployError(
            f"no permission: the bundle store {what}",
            where=str(path),
            mend="Give the user that runs this access to the folder.",
        )
    return DeployError(f"the bundle store {what}: {error.strerror or error}", where=str(path))
