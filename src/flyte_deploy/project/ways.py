"""How a project says what it needs installed: found in its files, nothing is run."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from flyte_deploy.errors import DeployError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Kind = Literal["uv", "project", "requirements", "script"]

_FILE_LIMIT = 64 << 20
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
_SCRIPT = re.compile(r"(?m)^# /// script\s*$")


@dataclass(frozen=True)
class Way:
    """A way to install a project.

    Args:
        kind: ``uv`` (a lock file), ``project`` (``pyproject.toml`` without one), ``requirements``, ``script``
            (a header in the file itself, PEP 723).
        file: what says so.
        folder: where the installer works.
        built: whether the project itself is a package, installed editable.
    """

    kind: Kind
    file: Path
    folder: Path
    built: bool = False


def find_way(install: str, start: Path, scripts: tuple[Path, ...], top: Path) -> Way | None:
    """The way of the nearest folder that has one, from the code's upwards.

    Args:
        install: ``auto``, or the way that it has to be.
        start: the code's folder.
        scripts: the files that were named.
        top: the folder to stop at, `start` or above.

    Raises:
        DeployError: where files cannot be read, and where several could be meant.
    """
    folders = [folder for folder in (start, *start.parents) if folder.is_relative_to(top)]
    for folder in folders:
        found = _in_folder(folder, folders, install, top)
        if found is not None:
            return found
    if install in ("auto", "script") and len(scripts) == 1 and _SCRIPT.search(text_of(scripts[0], top)):
        return Way("script", scripts[0], scripts[0].parent)
    return None


def _in_folder(folder: Path, folders: list[Path], install: str, top: Path) -> Way | None:
    project = folder / "pyproject.toml"
    if install in ("auto", "uv") and project.is_file():
        holder = _lock_holder(folder, folders, top)
        if holder is not None:
            return Way("uv", holder / "uv.lock", folder, is_package(toml_of(project, top)))
        content = toml_of(project, top)
        if "project" in content or "build-system" in content:
            return Way("project", project, folder, is_package(content))
    if install in ("auto", "requirements"):
        file = _requirements(folder)
        if file is not None:
            return Way("requirements", file, folder)
    return None


def _lock_holder(folder: Path, folders: list[Path], top: Path) -> Path | None:
    """The folder with the lock file that holds for a project: its own, or that of the workspace it is in."""
    if (folder / "uv.lock").is_file():
        return folder
    for above in folders[folders.index(folder) + 1 :]:
        if not (above / "uv.lock").is_file() or not (above / "pyproject.toml").is_file():
            continue
        workspace = table(toml_of(above / "pyproject.toml", top), "tool", "uv", "workspace")
        if _names(workspace.get("members"), above, folder) and not _names(
            workspace.get("exclude"), above, folder
        ):
            return above
    return None


def _names(patterns: object, above: Path, folder: Path) -> bool:
    return any(
        pattern and not pattern.startswith("/") and folder in above.glob(pattern)
        for pattern in texts(patterns)
    )


def is_package(content: Mapping[str, Any]) -> bool:
    """Whether uv would install the project itself, not only what it needs."""
    said = table(content, "tool", "uv").get("package")
    return said if isinstance(said, bool) else "build-system" in content


def _requirements(folder: Path) -> Path | None:
    plain = folder / "requirements.txt"
    if plain.is_file():
        return plain
    others = sorted(path for path in folder.glob("requirements*.txt") if path.is_file())
    if len(others) > 1:
        raise DeployError(
            "there are several files of requirements: " + ", ".join(path.name for path in others),
            where=str(folder),
            mend=f"Say which: install: requirements, with install-args: -r {others[0].name}.",
            usage=True,
        )
    return others[0] if others else None


def lock_of(script: Path) -> Path:
    """Where the lock of a script lies, if it has one."""
    return script.with_name(f"{script.name}.lock")


def content_of(path: Path, top: Path) -> bytes:
    """A file's content.

    Raises:
        DeployError: where it lies outside `top`, or cannot be read.
    """
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(os.path.realpath(top)):
        raise DeployError(f"{path.name} leads out of the checkout", where=str(path))
    try:
        with open(real, "rb", opener=_without_waiting) as stream:
            return stream.read(_FILE_LIMIT)
    except OSError as error:
        raise DeployError(f"{path.name} cannot be read: {error.strerror}", where=str(path)) from None


def text_of(path: Path, top: Path) -> str:
    """A file's text, see `content_of`."""
    return content_of(path, top).decode(errors="replace")


def toml_of(path: Path, top: Path) -> dict[str, Any]:
    """A TOML file.

    Raises:
        DeployError: see `content_of`, and for what is no TOML.
    """
    return parsed(content_of(path, top), path.name, str(path))


def parsed(content: bytes, what: str, where: str) -> dict[str, Any]:
    """TOML.

    Raises:
        DeployError: where it is none: `what`, in `where`.
    """
    try:
        found: dict[str, Any] = tomllib.loads(content.decode())
        return found
    except (ValueError, RecursionError) as error:
        raise DeployError(f"{what} is no TOML: {error}", where=where, usage=True) from None


def name_of(content: Mapping[str, Any]) -> str:
    """The name in a pyproject.toml; empty where there is none, or none that can be one."""
    name = (table(content, "project") or table(content, "tool", "poetry")).get("name")
    return name if isinstance(name, str) and _NAME.fullmatch(name) else ""


def table(content: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """The table under these keys; empty where there is none."""
    for key in keys:
        found = content.get(key)
        content = found if isinstance(found, Mapping) else {}
    return content


def texts(listed: object) -> tuple[str, ...]:
    """The strings of a list; none where it is no list."""
    return tuple(one for one in listed if isinstance(one, str)) if isinstance(listed, list) else ()


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
