"""What the machine has mounted into the container, and closing it to the project's code."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from flyte_deploy.errors import DeployError
from flyte_deploy.isolation.certificates import holds_nothing_else
from flyte_deploy.isolation.inside import landlock

_OF_THE_KERNEL = frozenset(
    {"proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2", "devtmpfs", "securityfs", "debugfs"}
)
# Engines mount these files of their own into every container.
_OF_THE_ENGINE = frozenset(
    {
        "/etc/hosts",
        "/etc/hostname",
        "/etc/resolv.conf",
        "/dev/termination-log",
        "/sbin/docker-init",
        "/usr/sbin/docker-init",
    }
)
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
        """What a confinement closes besides the modes: all of it."""
        return (*self.folders, *self.left)

    def open(self) -> tuple[Path, ...]:
        """The mounts that stay within the code's reach."""
        return () if landlock.version() else self.left


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
        if point == "/" or point in _OF_THE_ENGINE or point.startswith("/proc/"):
            continue
        # Elsewhere a tmpfs is somebody's: Kubernetes and Docker keep secrets in one.
        if kind in _OF_THE_KERNEL and re.match("/(proc|sys|dev)(/|$)", point):
            continue
        found.append(Path(point))
    return found


def mounted() -> list[Path]:
    """The foreign mounts of this container."""
    return foreign_mounts(Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape"))


def close(mounts: Iterable[Path], needed: Iterable[Path]) -> Closed:
    """Close the folders of the container that hold mounts: only root can enter them from now on.

    The modes of what is mounted are those of the machine, and stay. Nothing has to be closed where these keep
    others out, in an empty folder that is needed, such as a tmpfs for temporary files, and in a file of
    certificates, such as those of the machine's authorities.

    Args:
        mounts: what is not to be reached.
        needed: what has to be reached; a folder on the way to it, or below it, stays open.

    Raises:
        DeployError: for a mount that is needed itself.
    """
    wanted = set(needed)
    on_the_way = {folder: path for path in wanted for folder in (path, *path.parents)}
    own = os.stat("/").st_dev
    folders: dict[Path, None] = {}
    left = []
    for mount in sorted(mounts):
        real = Path(os.path.realpath(mount))
        # The highest folder that holds nothing else but mounts would do too; the nearest is the surest.
        parent = next((folder for folder in real.parents if os.stat(folder).st_dev == own), Path("/"))
        if any(folder in folders for folder in (parent, *parent.parents)):
            continue
        mode = _mode(real)
        if real in on_the_way:
            if stat.S_ISDIR(mode) and not any(real.iterdir()):
                continue
            raise DeployError(
                f"{real} is mounted into the container, and has to be closed to the project's code; that"
                f" needs {on_the_way[real]}",
                mend="Name an interpreter that is not mounted, or mount the folder at another place.",
            )
        if parent in on_the_way or not wanted.isdisjoint(parent.parents):
            if mode & 0o007 and not (stat.S_ISREG(mode) and holds_nothing_else(real)):
                left.append(real)
            continue
        parent.chmod(0o700)
        folders[parent] = None
    return Closed(tuple(folders), tuple(left))


def _mode(path: Path) -> int:
    try:
        return os.lstat(path).st_mode
    except OSError:
        # Another mount hides it, or its file system lets not even root in.
        return 0
