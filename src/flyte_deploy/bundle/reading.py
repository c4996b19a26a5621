"""Opening the project's files, and what is said where that fails."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from flyte_deploy.errors import DeployError


def open_regular(path: Path | str, name: str) -> int:
    """A file descriptor to read a file from.

    It neither waits for a named pipe nor follows a link that has taken the file's place.

    Args:
        path: a real path.
        name: what the file is called in an error.

    Raises:
        DeployError: if it may not be read, has vanished, or is no regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise unreadable(name, error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DeployError(f"{name} is no longer a file", where=name)
    return descriptor


def unreadable(name: str, error: OSError) -> DeployError:
    """The error for a file or folder that cannot be read."""
    if isinstance(error, PermissionError):
        return DeployError(
            f"no permission to read {name}",
            where=name,
            mend="Give the user that runs this access to it, or leave it out with .flyteignore.",
        )
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return DeployError(
            f"{name} vanished while the bundle was being made",
            where=name,
            mend="Run the command again when nothing writes into the project.",
        )
    return DeployError(f"{name} cannot be read: {error.strerror or error}", where=name)
