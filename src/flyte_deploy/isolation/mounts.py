"""What the machine has mounted into the container, and closing it to the project's code."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from flyte_deploy.isolation.inside import landlock

_OF_THE_KERNEL = frozenset(
    {"proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2", "devtmpfs", "securityfs", "debugfs"}
)
# Docker mounts these files of its own.
_OF_DOCKER = frozenset({"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"})
_ESCAPED = re.compile(r"\\(\d{3})")


@dataclass(frozen=True)
class Closed:
    """What was closed.

    Args:
        folders: these, which only root can enter now.
        left: mounts that lie in a folder that has to stay open; Landlock alone can close them.
    """

    folders: tuple[Path, ...]
    left: tuple[Path, ...]

    def by_landlock(self) -> tuple[Path, ...]:
        """What a confinement closes besides the modes: all of it, less single files.

        These are the container's own configuration, such as authorities that are mounted into ``/etc``.
        """
        return (*self.folders, *(mount for mount in self.left if not mount.is_file()))

    def open(self) -> tuple[Path, ...]:
        """The mounts that stay within the code's reach."""
        shut = self.by_landlock() if landlock.version() else ()
        return tuple(mount for mount in self.left if mount not in shut)


def foreign_mounts(mountinfo: str) -> list[Path]:
    """What is mounted besides the container's own root and what every container has.

    Args:
        mountinfo: the text of ``/proc/self/mountinfo`` (proc_pid_mountinfo(5)).
    """
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        point = _ESCAPED.sub(lambda match: chr(int(match[1], 8)), before.split(" ")[4])
        kind = after.split(" ")[0]
        if point == "/" or point in _OF_DOCKER or point.startswith(("/proc/", "/sys/", "/dev/")):
            continue
        # A socket or folder that comes from the machine's own tmpfs is no folder of the container's.
        if kind in _OF_THE_KERNEL and before.split(" ")[3] == "/":
            continue
        found.append(Path(point))
    return found


def mounted() -> list[Path]:
    """The foreign mounts of this container."""
    return foreign_mounts(Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape"))


def close(mounts: Iterable[Path], needed: Iterable[Path]) -> Closed:
    """Close the folders of the container that hold mounts: only root can enter them from now on.

    The modes of what is mounted are those of the machine, and stay.

    Args:
        mounts: what is not to be reached.
        needed: what has to be reached; a folder on the way to it stays open.
    """
    open_folders = {folder for path in needed for folder in (path, *path.parents)}
    own = os.stat("/").st_dev
    folders: dict[Path, None] = {}
    left = []
    for mount in sorted(mounts):
        real = Path(os.path.realpath(mount))
        # The highest folder that holds nothing else but mounts would do too; the nearest is the surest.
        parent = next((folder for folder in real.parents if os.stat(folder).st_dev == own), Path("/"))
        if any(folder in folders for folder in (parent, *parent.parents)):
            continue
        if parent in open_folders:
            left.append(mount)
            continue
        parent.chmod(0o700)
        folders[parent] = None
    return Closed(tuple(folders), tuple(left))
