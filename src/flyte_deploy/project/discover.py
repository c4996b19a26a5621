"""The Python files below a folder that ``--recursive`` loads."""

from __future__ import annotations

import os
from pathlib import Path

from flyte_deploy.bundle.ignore import is_standard, visible_to_git


def python_files(folder: Path, root: Path) -> list[Path]:
    """The files to load, sorted by path.

    Left out are what git ignores, hidden folders, virtual environments and what the SDK's standard list
    names. `.flyteignore` does not count here, as it does not for Flyte's SDK.

    Args:
        folder: an absolute folder below `root`, or `root` itself.
        root: the folder that the standard list's patterns are relative to.
    """
    real = folder.resolve()
    visible = visible_to_git(real)
    return [
        folder / path
        for path in sorted(visible.files)
        if path.endswith(".py") and not _left_out(real, path, root)
    ]


def _left_out(folder: Path, path: str, root: Path) -> bool:
    parts = path.split("/")
    below = os.path.relpath(folder / path, root).split("/")
    if any(is_standard("/".join(below[:count])) for count in range(1, len(below) + 1)):
        return True
    folders = parts[:-1]
    if any(name.startswith(".") for name in folders):
        return True
    return any(
        (folder.joinpath(*folders[:count]) / "pyvenv.cfg").is_file() for count in range(1, len(folders) + 1)
    )
