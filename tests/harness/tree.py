"""A digest of a folder: names, kinds, modes, owners, contents, times of change of files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def tree_digest(folder: Path) -> dict[str, str]:
    """What stands below a folder, by path; two that are equal are the same to a user and to git."""
    found: dict[str, str] = {}
    for parent, names, files in os.walk(folder):
        for name in (*names, *files):
            path = Path(parent, name)
            status = path.lstat()
            if path.is_symlink():
                content = str(path.readlink())
            elif path.is_file():
                content = hashlib.sha256(path.read_bytes()).hexdigest() + f" {status.st_mtime_ns}"
            else:
                content = ""
            found[str(path.relative_to(folder))] = (
                f"{status.st_mode:o} {status.st_uid}:{status.st_gid} {content}"
            )
    return found
