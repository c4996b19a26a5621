"""How a project says what it needs installed: found in its files, nothing is run."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
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
_SCRIPT = re.compile(r"(?m)^# /// script\s*$")
_LOCAL = re.compile(r"^\s*(?:\.{0,2}/|file:|\.\s*$|\.\[)|@\s*file:")
_INCLUDED = re.compile(r"^\s*(?:-r|-c|--requirement|--constraint)[\s=]+(\S+)")
_EDITABLE = re.compile(r"^\s*(?:-e|--editable)[\s=]")


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
            return Way("uv", holder / "uv.lock", folder, _is_package(toml_of(project, top)))
        content = toml_of(project, top)
        if "project" in content or "build-system" in content:
            return Way("project", project, folder, _is_package(content))
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
        workspace = toml_of(above / "pyproject.toml", top).get("tool", {}).get("uv", {}).get("workspace")
        if not isinstance(workspace, Mapping):
            continue
        if _names(workspace.get("members"), above, folder) and not _names(
            workspace.get("exclude"), above, folder
        ):
            return above
    return None


def _names(patterns: object, above: Path, folder: Path) -> bool:
    for pattern in patterns if isinstance(patterns, list) else ():
        if (
            isinstance(pattern, str)
            and pattern
            and not pattern.startswith("/")
            and folder in above.glob(pattern)
        ):
            return True
    return False


def _is_package(content: Mapping[str, Any]) -> bool:
    """Whether uv would install the project itself, not only what it needs."""
    said = content.get("tool", {}).get("uv", {}).get("package")
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


def inputs_of(way: Way, top: Path) -> Iterator[tuple[str, bytes]] | None:
    """The files that decide what a way installs, each with its content, by their path below `top`.

    None where that cannot be said: something is built from folders of the checkout.
    """
    if way.kind == "requirements":
        files: dict[Path, bytes] = {}
        if not _follow(way.file, top, files):
            return None
        return ((str(path.relative_to(top)), content) for path, content in sorted(files.items()))
    if way.kind == "uv" and re.search(r'source = \{ directory = "', text_of(way.file, top)):
        return None
    return _project_files(way, top)


def _project_files(way: Way, top: Path) -> Iterator[tuple[str, bytes]]:
    if way.kind == "script":
        yield way.file.name, content_of(way.file, top)
        return
    # A workspace's other projects can be dependencies.
    names = {
        "pyproject.toml",
        "setup.py",
        "setup.cfg",
        "uv.toml",
        "uv.lock",
        ".python-version",
        "MANIFEST.in",
    }
    base = way.file.parent
    for folder, below, files in sorted(os.walk(base)):
        below[:] = [name for name in below if not name.startswith(".") and name != "node_modules"]
        for name in sorted(names.intersection(files)):
            path = Path(folder, name)
            yield str(path.relative_to(top)), content_of(path, top)
        if "pyproject.toml" in files or "setup.py" in files:
            # Which packages there are is written down when a project is installed editable.
            source = Path(folder, "src")
            places = [Path(folder), *([source] if source.is_dir() and not source.is_symlink() else [])]
            listed = sorted(entry.name for place in places for entry in os.scandir(place))
            yield f"{os.path.relpath(folder, top)}/*", "\n".join(listed).encode()


def _follow(file: Path, top: Path, found: dict[Path, bytes]) -> bool:
    """Read a requirements file with all that it includes; False where one names a folder that is built."""
    if file in found:
        return True
    content = content_of(file, top)
    found[file] = content
    for line in content.decode(errors="replace").splitlines():
        included = _INCLUDED.match(line)
        if included and "://" not in included[1]:
            if not _follow(Path(os.path.normpath(file.parent / included[1])), top, found):
                return False
        elif included or _EDITABLE.match(line) or _LOCAL.search(line):
            return False
    return True


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
    try:
        content: dict[str, Any] = tomllib.loads(content_of(path, top).decode())
        return content
    except (ValueError, RecursionError) as error:
        raise DeployError(f"{path.name} is no TOML: {error}", where=str(path), usage=True) from None


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
