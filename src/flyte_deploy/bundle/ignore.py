"""What stays out of a bundle: what git and `.flyteignore` ignore, the SDK's standard list, credentials.

All paths here are relative to the root, POSIX, without a leading slash.
"""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from flyte_deploy.bundle.gitignore import Patterns
from flyte_deploy.bundle.reading import unreadable
from flyte_deploy.errors import DeployError
from flyte_deploy.leftovers import is_left_by_actions
from flyte_deploy.project.git import is_kept_apart, run_git, top_folder

# What Flyte's SDK leaves out of every bundle (matched as it does: `*` takes slashes too, and a pattern
# without one is anchored to the root, so `dist`, `build` and `env` are left out at the top only).
_STANDARD = (
    "*.pyc",
    "__pycache__",
    "*/__pycache__",
    ".cache",
    ".ruff_cache",
    "*/.ruff_cache",
    ".mypy_cache",
    "*/.mypy_cache",
    ".pytest_cache",
    "*/.pytest_cache",
    ".venv",
    "*/.venv",
    ".idea",
    "*/.idea",
    "venv",
    "env",
    "*.log",
    ".env",
    "*.egg-info",
    "*.egg",
    "dist",
    "build",
    "*.whl",
)
_is_standard = re.compile("|".join(fnmatch.translate(pattern) for pattern in _STANDARD)).match

_PATTERN_FILE_LIMIT = 1 << 20
_NESTED_CHECKOUTS_LIMIT = 20

# Said by git of a folder that is not ignored; it goes on without it.
_UNOPENED = re.compile(rb"could not open directory '(.+?)/?': Permission denied")

_KEY_NAMES = re.compile(r".*\.(?:pem|key|p8)|id_(?:rsa|dsa|ecdsa|ed25519)(?:_sk)?", re.IGNORECASE)
_KEY_BLOCK = re.compile(rb"^-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----", re.MULTILINE)
_ENV_TEMPLATES = (".env.example", ".env.sample", ".env.template")


def is_standard(path: str) -> bool:
    """Whether the SDK's standard list names a file or folder itself; those that it lies in do not count."""
    return _is_standard(path) is not None


def is_git_folder(name: str) -> bool:
    """Whether a file or folder of this name belongs to git itself: it may hold tokens and never ships."""
    return name.lower() == ".git"


def credential(name: str, open_file: Callable[[], bytes]) -> str | None:
    """What kind of credential a file of this name is, in words; None if it is none.

    Args:
        name: the file's name without its folder. A Python module is never taken for a credential.
        open_file: gives the beginning of the file's content; called only where the name is that of a key.
    """
    if name.endswith(".py"):
        return None
    if is_left_by_actions(name):
        return "Google Cloud credentials"
    if name == ".env" or (name.startswith(".env.") and name not in _ENV_TEMPLATES):
        return "environment variables"
    if _KEY_NAMES.fullmatch(name) and _KEY_BLOCK.search(open_file()):
        return "a private key"
    return None


class PatternFiles:
    """The ignore files of one name in a tree, each in force from its own folder down, deeper ones first.

    A file below an ignored folder is ignored, whatever a deeper ignore file says, as with git.

    Args:
        top: the folder from which on ignore files count; real.
        name: the ignore files' name.
    """

    def __init__(self, top: Path, name: str) -> None:
        self._top = top
        self._name = name
        self._patterns: dict[str, Patterns | None] = {}
        self._folders: dict[str, bool] = {"": False}

    def ignores(self, path: str, *, folder: bool = False) -> bool:
        """Whether `path`, relative to `top`, or a folder that it lies in, is ignored."""
        if not folder:
            return self._ignores_folder(_parent(path)) or self._names(path, folder=False)
        return self._ignores_folder(path)

    def _ignores_folder(self, path: str) -> bool:
        known = self._folders.get(path)
        if known is None:
            known = self._ignores_folder(_parent(path)) or self._names(path, folder=True)
            self._folders[path] = known
        return known

    def _names(self, path: str, *, folder: bool) -> bool:
        holder = _parent(path)
        while True:
            patterns = self._patterns_of(holder)
            if patterns is not None:
                below = path[len(holder) + 1 :] if holder else path
                verdict = patterns.verdict(os.fsencode(below), folder=folder)
                if verdict is not None:
                    return verdict
            if not holder:
                return False
            holder = _parent(holder)

    def _patterns_of(self, folder: str) -> Patterns | None:
        if folder not in self._patterns:
            self._patterns[folder] = _read_pattern_file(self._top / folder / self._name)
        return self._patterns[folder]


def _read_pattern_file(file: Path) -> Patterns | None:
    try:
        # Like git, no symbolic links: one could lead anywhere.
        if not stat.S_ISREG(file.lstat().st_mode):
            return None
        with file.open("rb") as stream:
            content = stream.read(_PATTERN_FILE_LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unreadable(str(file), error) from error
    if len(content) > _PATTERN_FILE_LIMIT:
        raise DeployError("an ignore file of more than 1 MiB is not read", where=str(file))
    return Patterns(content) or None


class FlyteIgnore:
    """The `.flyteignore` files from the checkout's top (or the root, without a checkout) down."""

    def __init__(self, root: Path) -> None:
        top = top_folder(root) or root
        self._prefix = _prefix(root, top)
        self._files = PatternFiles(top, ".flyteignore")

    def ignores(self, path: str, *, folder: bool = False) -> bool:
        """Whether `path`, relative to the root, or a folder that it lies in, is ignored."""
        return self._files.ignores(self._prefix + path, folder=folder)


@dataclass(frozen=True)
class Visible:
    """What git does not ignore below a root: files, links to folders among them, and their folders.

    `warning` says so where git could not be asked although there is a checkout.
    """

    files: frozenset[str]
    folders: frozenset[str]
    warning: str = ""


def visible_to_git(root: Path) -> Visible:
    """What lies below the root and is tracked by git, or neither tracked nor ignored.

    Files of submodules and of nested checkouts are judged by their own git. Where git cannot be used, the
    `.gitignore` files are read instead; without git it is not known what is tracked. Nothing is written,
    and nothing that a checkout configures is run.

    Args:
        root: a real path.

    Raises:
        DeployError: for a folder that is not ignored and may not be read.
    """
    top = top_folder(root)
    listed = _ask_git(root, top) if top is not None else None
    warning = ""
    if listed is None:
        listed = set(_read_patterns(root, top or root))
        if top is not None:
            warning = (
                f"git cannot be used in {top}; the .gitignore files were read instead, "
                "so a tracked file that they name is left out"
            )
    folders: set[str] = set()
    for path in listed:
        folder = _parent(path)
        while folder not in folders:
            folders.add(folder)
            folder = _parent(folder)
    return Visible(frozenset(listed), frozenset(folders), warning)


def _ask_git(folder: Path, top: Path, depth: int = 0) -> set[str] | None:
    arguments = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    result = run_git(folder, top, *arguments, timeout=120)
    if result is None or result.returncode != 0:
        return None
    unopened = _UNOPENED.search(result.stderr)
    if unopened is not None:
        raise unreadable(os.fsdecode(unopened[1]), PermissionError())
    files: set[str] = set()
    for entry in {os.fsdecode(name).rstrip("/") for name in result.stdout.split(b"\0") if name}:
        # A folder in the list is a submodule or a nested checkout, which git does not look into.
        nested = folder / entry
        try:
            is_folder = stat.S_ISDIR(nested.lstat().st_mode)
        except OSError:
            continue  # tracked, and deleted in the worktree
        if not is_folder:
            files.add(entry)
            continue
        inner: set[str] | None = None
        # In a copy whose git is kept apart nothing that looks like git's is.
        if top_folder(nested) == nested:
            inner = _ask_git(nested, nested, depth + 1) if depth < _NESTED_CHECKOUTS_LIMIT else set()
        elif not is_kept_apart(nested):
            continue
        paths: Iterable[str] = _read_patterns(nested, nested) if inner is None else inner
        files.update(f"{entry}/{path}" for path in paths)
    return files


def _read_patterns(root: Path, top: Path) -> Iterator[str]:
    patterns = PatternFiles(top, ".gitignore")
    prefix = _prefix(root, top)
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(root / folder) as scan:
                entries = list(scan)
        except OSError as error:
            raise unreadable(folder or str(root), error) from error
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if is_git_folder(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                if not patterns.ignores(prefix + path, folder=True):
                    pending.append(path)
            elif not patterns.ignores(prefix + path):
                yield path


def _prefix(root: Path, top: Path) -> str:
    relative = root.relative_to(top).as_posix()
    return "" if relative == "." else relative + "/"


def _parent(path: str) -> str:
    return path.rpartition("/")[0]
