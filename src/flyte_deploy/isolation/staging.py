"""Copying trees that are not trusted, quickly and without following a link.

Used for the staged copy of a checkout and for installed environments that come from a cache.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flyte_deploy.errors import DeployError
from flyte_deploy.leftovers import is_left_by_actions

ENTRIES_LIMIT = 1_000_000
"""More files and folders than this are not copied."""

_THREADS = 4
_BATCH = 64
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Copied:
    """How many files were copied, and how many bytes."""

    files: int
    size: int


@dataclass(frozen=True)
class Owner:
    """Who a copy belongs to."""

    uid: int
    gid: int


def is_left_out(name: str) -> bool:
    """Whether what has this name never goes into a staged copy: git's folder, and credentials of actions."""
    return name.lower() == ".git" or is_left_by_actions(name)


def read_file(path: Path, limit: int) -> bytes | None:
    """A regular file's content, no link followed; None where it is none, or larger than `limit` bytes."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                content = stream.read(limit + 1)
                return content if len(content) <= limit else None
    return None


def copy_tree(
    source: Path,
    target: Path,
    *,
    owner: Owner | None = None,
    leave_out: Callable[[str, str], bool] | None = None,
) -> Copied:
    """Copy a tree, with the times of its files; links are copied as links.

    Files get the mode 0o644 or 0o755, folders 0o755. What is no file, folder or link is left out. Nothing is
    shared with the source but, where the file system can, blocks that are copied when written to.

    Args:
        source: an existing folder.
        target: a folder that does not exist; its parent does.
        owner: who all of it belongs to; None for whoever copies.
        leave_out: told each entry's name and path; true for what is not copied, with all below it.

    Raises:
        DeployError: for what cannot be read, a full disk, and more than `ENTRIES_LIMIT` entries.
    """
    files = size = 0
    pool = ThreadPoolExecutor(_THREADS)
    try:
        batches = []
        batch: list[tuple[str, str]] = []
        for path, copy in _folders_and_links(str(source), str(target), owner, leave_out):
            batch.append((path, copy))
            if len(batch) == _BATCH:
                batches.append(pool.submit(_copy_files, batch, owner))
                batch = []
        batches.append(pool.submit(_copy_files, batch, owner))
        for done in batches:
            copied = done.result()
            files += copied.files
            size += copied.size
    finally:
        # Whoever is interrupted does not wait for all that is left.
        pool.shutdown(cancel_futures=True)
    return Copied(files, size)


def _folders_and_links(
    source: str, target: str, owner: Owner | None, leave_out: Callable[[str, str], bool] | None
) -> Iterator[tuple[str, str]]:
    """Make the folders and links of a copy, and give its files: their path and that of the copy."""
    entries = 0
    pending = [(source, target)]
    while pending:
        folder, copy = pending.pop()
        try:
            os.mkdir(copy, 0o755)
            # The deployer's umask is not the code's.
            os.chmod(copy, 0o755)  # noqa: S103
            _own(copy, owner)
            with os.scandir(folder) as scan:
                found = list(scan)
        except OSError as error:
            raise _failed(folder, error) from None
        entries += len(found)
        if entries > ENTRIES_LIMIT:
            raise DeployError(f"there are more than {ENTRIES_LIMIT} files to copy", where=source)
        for entry in found:
            if leave_out is not None and leave_out(entry.name, entry.path):
                continue
            there = os.path.join(copy, entry.name)
            if entry.is_symlink():
                # It may have gone by now.
                with suppress(FileNotFoundError):
                    os.symlink(os.readlink(entry.path), there)
                    _own(there, owner)
            elif entry.is_dir(follow_symlinks=False):
                pending.append((entry.path, there))
            elif entry.is_file(follow_symlinks=False):
                yield entry.path, there


def _own(path: str, owner: Owner | None) -> None:
    if owner is not None:
        os.chown(path, owner.uid, owner.gid, follow_symlinks=False)


def _copy_files(batch: list[tuple[str, str]], owner: Owner | None) -> Copied:
    files = size = 0
    for path, copy in batch:
        try:
            size += _copy_file(path, copy, owner)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _failed(path, error) from None
        files += 1
    return Copied(files, size)


def _copy_file(path: str, copy: str, owner: Owner | None) -> int:
    # A pipe that has taken its place is not waited for, a link not followed.
    source = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        info = os.fstat(source)
        if not stat.S_ISREG(info.st_mode):
            return 0
        target = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _copy_content(source, target, info.st_size)
            if owner is not None:
                os.fchown(target, owner.uid, owner.gid)
            os.fchmod(target, 0o755 if info.st_mode & 0o111 else 0o644)
            os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns))
        finally:
            os.close(target)
        return info.st_size
    finally:
        os.close(source)


def _copy_content(source: int, target: int, size: int) -> None:
    """As little work as the file systems allow: shared blocks, a copy inside the kernel, a copy by hand."""
    try:
        while size > 0 and (copied := os.copy_file_range(source, target, 1 << 30)):
            size -= copied
        return
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
            raise
    # From where it stopped: both descriptors stand there.
    while copied := os.sendfile(target, source, None, 1 << 30):
        size -= copied


def _failed(path: str, error: OSError) -> DeployError:
    if error.errno in _FULL:
        return DeployError(
            "the disk is full: there is no room for a copy of the checkout",
            where=path,
            mend="Make room, or check out less.",
        )
    return DeployError(f"{path} cannot be copied: {error.strerror or error}", where=path)
