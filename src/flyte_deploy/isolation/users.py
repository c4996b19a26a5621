"""A user for the project's code: one that owns nothing."""

from __future__ import annotations

import os
import pwd
import random
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from flyte_deploy.errors import DeployError

_CANDIDATES = (range(0x70000000, 0x7FFE0000), range(61184, 65520))
"""Numbers that nobody is given for good (systemd, "Users, Groups, UIDs and GIDs"): what is not assigned
at all, and users without a name. A container whose users are mapped may know the second alone."""

_ENTRIES_LIMIT = 2_000_000
_TRIES = 5000


def free_user(folders: Iterable[Path]) -> int:
    """A number that is no user or group here, runs nothing, and owns nothing in the folders.

    It is another one each time, out of very many: the kernel counts processes by user over all containers of
    a machine, and outside of a container everything of the user is ended, whoever started it.

    Args:
        folders: what is mounted into the container; they are looked through to the last file.

    Raises:
        DeployError: where there is none, or too much to look through.
    """
    taken = owners(folders) | {entry.pw_uid for entry in pwd.getpwall()} | _groups() | _running()
    for numbers in _known():
        for number in random.sample(numbers, min(len(numbers), _TRIES)):
            if number not in taken:
                return number
    raise DeployError("there is no user that owns nothing in the workspace, to run the project's code as")


def _known() -> Iterator[range]:
    """The candidates that the kernel lets somebody become here, see user_namespaces(7)."""
    mapped = []
    for name in ("uid_map", "gid_map"):
        lines = Path("/proc/self", name).read_text(encoding="ascii").splitlines()
        starts = [(int(line.split()[0]), int(line.split()[2])) for line in lines]
        mapped.append([range(start, start + count) for start, count in starts])
    for numbers in _CANDIDATES:
        if all(any(numbers[0] in one and numbers[-1] in one for one in ranges) for ranges in mapped):
            yield numbers


def owners(folders: Iterable[Path]) -> set[int]:
    """The users and groups that own something in folders, without following links.

    Raises:
        DeployError: where there is too much to look through.
    """
    found: set[int] = set()
    seen: set[tuple[int, int]] = set()
    pending = [str(folder) for folder in folders]
    for folder in pending:
        info = os.lstat(folder)
        found |= {info.st_uid, info.st_gid}
    entries = 0
    while pending:
        folder = pending.pop()
        try:
            scan = os.scandir(folder)
        except (NotADirectoryError, FileNotFoundError, PermissionError):
            continue
        with scan:
            for entry in scan:
                entries += 1
                info = entry.stat(follow_symlinks=False)
                found |= {info.st_uid, info.st_gid}
                if entry.is_dir(follow_symlinks=False):
                    # A mount may lie in another one.
                    place = (info.st_dev, info.st_ino)
                    if place not in seen:
                        seen.add(place)
                        pending.append(entry.path)
        if entries > _ENTRIES_LIMIT:
            raise DeployError(
                f"there are more than {_ENTRIES_LIMIT} files in the workspace and the runner's folders",
                mend="Remove what earlier steps left there.",
            )
    return found


def _running() -> set[int]:
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):
                found.add(os.stat(f"/proc/{name}").st_uid)
    return found


def _groups() -> set[int]:
    import grp

    return {entry.gr_gid for entry in grp.getgrall()}
