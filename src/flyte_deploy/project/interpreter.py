"""Which Python the project's code runs in."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from flyte_deploy.errors import DeployError


def find_interpreter(asked: str, start: Path, environ: Mapping[str, str] = os.environ) -> str:
    """The interpreter to run the collector in.

    The first of: the one asked for, that of the active virtual environment, that of a virtual environment
    beside `start` or above it (``.venv`` or ``venv``), the one that runs this.

    Args:
        asked: a path or a command's name, empty if none was named.
        start: the folder of the code.
        environ: the environment variables.

    Raises:
        DeployError: where the one that was asked for is not there.
    """
    if asked:
        found = shutil.which(asked, path=environ.get("PATH"))
        if found is None:
            raise DeployError(
                f"there is no Python interpreter '{asked}'",
                where="--python",
                mend="Give the path of an interpreter, such as .venv/bin/python.",
                usage=True,
            )
        return found
    return neighbouring(start, environ) or sys.executable


def neighbouring(start: Path, environ: Mapping[str, str] = os.environ) -> str | None:
    """The interpreter of the active virtual environment, or else of one beside `start` or above it."""
    folders = [Path(environ["VIRTUAL_ENV"])] if environ.get("VIRTUAL_ENV") else []
    for folder in (start, *start.parents):
        folders += [folder / ".venv", folder / "venv"]
    for folder in folders:
        executable = folder / "bin" / "python"
        if (folder / "pyvenv.cfg").is_file() and os.access(executable, os.X_OK):
            return str(executable)
    return None
