"""Which files go into a bundle.

Everything that is known of the files comes from the project, which may be a stranger's: names of modules,
patterns, links. So every file is resolved, and one that lies outside the root, or in a `.git` folder, is
refused.
"""

# Paths are strings here: a Path would lose the spelling of what user code gave, and most of the speed.
# ruff: noqa: PTH100, PTH111, PTH112, PTH114, PTH115, PTH116, PTH117, PTH118, PTH119, PTH120

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from flyte_deploy.bundle.ignore import (
    FlyteIgnore,
    Visible,
    credential,
    is_git_folder,
    is_standard,
    visible_to_git,
)
from flyte_deploy.bundle.reading import open_regular, unreadable
from flyte_deploy.errors import DeployError
from flyte_deploy.model import Location

CopyStyle = Literal["loaded_modules", "all", "none"]

_ENTRIES_LIMIT = 500_000
_KEY_BEGINNING = 64 << 10
_NAMED = 20
_INSTALLED = {"site-packages", "dist-packages"}
_SPECIAL = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True)
class ModuleFile:
    """A module's file, absolute, and how the module is needed."""

    path: Path
    reason: Literal["imported", "lazy import"] = "imported"


@dataclass(frozen=True)
class Include:
    """An environment's `include`: files, folders and globs, relative to the folder of `declared_in`.

    `declared_in` is absolute; `location` is what an error names.
    """

    environment: str
    patterns: tuple[str, ...]
    declared_in: Path
    location: Location | None = None


@dataclass(frozen=True)
class SelectedFile:
    """A file that goes into the bundle as `path` (relative to the root, POSIX) with the content of `source`.

    `source` is a real path below the real root. `reason` is ``imported``, ``lazy import``, ``include`` or
    ``all``.
    """

    path: str
    source: Path
    reason: str


@dataclass(frozen=True)
class Selection:
    """The files of a bundle, sorted by path, and what a reader should know of those left out."""

    files: tuple[SelectedFile, ...]
    warnings: tuple[str, ...] = ()


def select(
    root: Path,
    copy_style: CopyStyle,
    *,
    modules: Iterable[ModuleFile] = (),
    includes: Iterable[Include] = (),
    interpreter_paths: Iterable[Path] = (),
) -> Selection:
    """Choose a bundle's files.

    Args:
        root: the folder that the bundle's paths are relative to.
        copy_style: ``loaded_modules`` takes the modules' files and the includes; ``all`` the whole tree less
            what git ignores, `.flyteignore` names and the SDK's standard list leaves out, and the includes;
            ``none`` the includes alone.
        modules: the modules that were imported or are imported lazily. Those outside the root and those
            that are installed are passed over. With ``all`` they are only compared with the tree.
        includes: of every environment. Folders and globs are filtered as the whole tree is, files are not.
        interpreter_paths: folders whose files are installed, not the project's: prefixes, site-packages, the
            standard library. One that holds the root is not used.

    Returns:
        The files, each with one reason; empty only for ``none``.

    Raises:
        DeployError: for links that lead out of the root, includes that match nothing or lie outside, files
            and folders that may not be read, and where nothing is left to bundle.
    """
    tree = _Tree(root)
    installed = _Installed(tree.real_root, interpreter_paths)
    chosen: dict[str, SelectedFile] = {}

    def choose(files: Iterable[SelectedFile]) -> None:
        for file in files:
            chosen.setdefault(file.path, file)

    if copy_style == "loaded_modules":
        choose(_module_files(tree, sorted(modules, key=lambda module: module.reason), installed))
    for include in includes:
        choose(_included(tree, include))
    if copy_style == "all":
        if tree.real_root in ("/", os.path.realpath(os.path.expanduser("~"))):
            tree.warnings.append(f"the root {root} is the home folder, and all of it is bundled")
        choose(SelectedFile(name, Path(real), "all") for name, real in tree.walk(""))
        _compare_with_modules(tree, chosen, modules, installed)
    if not chosen and copy_style != "none":
        raise _nothing(root, copy_style)
    return Selection(
        tuple(sorted(chosen.values(), key=lambda file: os.fsencode(file.path))),
        (*tree.warnings, *tree.left_out()),
    )


class _Tree:
    """The files below a root: where a path leads, and which of them a walk finds."""

    def __init__(self, root: Path) -> None:
        self.given_root = os.path.abspath(root)
        self.real_root = os.path.realpath(root)
        if not os.path.isdir(self.real_root):
            raise DeployError("the root is not a folder", where=str(root), usage=True)
        self.warnings: list[str] = []
        self._credentials: dict[str, str] = {}
        self._special: dict[str, str] = {}
        self._dangling: dict[str, str] = {}
        self._loops: dict[str, str] = {}
        self._real_folders: dict[str, str] = {}
        self._entries = 0

    @cached_property
    def _visible(self) -> Visible:
        visible = visible_to_git(Path(self.real_root))
        if visible.warning:
            self.warnings.append(visible.warning)
        return visible

    @cached_property
    def _flyteignore(self) -> FlyteIgnore:
        return FlyteIgnore(Path(self.real_root))

    def name(self, path: str) -> str | None:
        """The path relative to the root that a file or folder is known by, "" for the root itself.

        Links on the way are kept: a package that is reached through a link is imported under the link's
        name. None for what is outside.
        """
        parts = path.split("/")
        if ".." in parts:
            last = len(parts) - parts[::-1].index("..")
            path = os.path.join(os.path.realpath("/".join(parts[:last])), *parts[last:])
        path = os.path.normpath(path)
        for top in (self.given_root, self.real_root):
            below = _below(path, top)
            if below is not None:
                return below
        folder = path
        while folder != os.path.dirname(folder):
            folder = os.path.dirname(folder)
            if self.real_folder(folder) == self.real_root:
                return _below(path, folder)
        return _below(self.real(path), self.real_root)

    def path(self, name: str) -> str:
        """The absolute path of a name."""
        return os.path.join(self.real_root, name) if name else self.real_root

    def real_folder(self, folder: str) -> str:
        known = self._real_folders.get(folder)
        if known is None:
            known = self._real_folders[folder] = os.path.realpath(folder)
        return known

    def real(self, path: str) -> str:
        """As `os.path.realpath`, quick for many files of few folders."""
        folder, name = os.path.split(path)
        joined = os.path.join(self.real_folder(folder), name)
        return os.path.realpath(joined) if os.path.islink(joined) else joined

    def inside(self, name: str, *, ignorable: bool) -> str:
        """The real path of a name, which lies in the root.

        Args:
            name: relative to the root.
            ignorable: whether `.flyteignore` is a way out of an error.

        Raises:
            DeployError: where it leads out of the root or into a `.git` folder.
        """
        real = self.real(self.path(name))
        below = _below(real, self.real_root)
        if below is None:
            raise self._leads_out(name, ignorable)
        if any(is_git_folder(part) for part in below.split("/")):
            raise DeployError(
                "git's own files are never bundled, as they may hold credentials",
                where=name,
                mend=f"Remove it, or what leads to it: it is {below}.",
            )
        return real

    def _leads_out(self, name: str, ignorable: bool) -> DeployError:
        link = self.path(name)
        parts = name.split("/")
        for count in range(1, len(parts) + 1):
            candidate = self.path("/".join(parts[:count]))
            if os.path.islink(candidate) and _below(os.path.realpath(candidate), self.real_root) is None:
                link = candidate
                break
        target = os.path.realpath(link)
        or_ignore = ", or leave it out with .flyteignore" if ignorable else ""
        common = os.path.commonpath([self.real_root, target])
        return DeployError(
            f"the link leads out of the root {self.real_root}, to {target}",
            where=os.path.relpath(link, self.real_root),
            mend=f"Use --root-dir {common}, which holds both{or_ignore}."
            if common != "/"
            else f"Put what it leads to in its place{or_ignore}.",
        )

    def walk(self, start: str, *, levels: int = 0) -> Iterator[tuple[str, str]]:
        """The files below a folder that are not left out, as pairs of a name and a real path.

        Links are followed. What lies behind a link to a folder is judged by git's rules for that folder,
        unless these ignore the folder as a whole: then linking to it was the choice to have it.

        Args:
            start: the folder's name. What ignores the folder itself ignores all of it, but for the standard
                list, which is for what lies below.
            levels: how many levels of folders are looked at; 0 for all.

        Raises:
            DeployError: for links that lead out and folders that may not be read.
        """
        real_start = self.inside(start, ignorable=True)
        if start and self._flyteignore.ignores(start, folder=True):
            return
        judged_start = real_start == self.path(start) or self._judged(real_start)
        pending: list[tuple[str, str, bool, tuple[str, ...]]] = [
            (start, real_start, judged_start, (real_start,))
        ]
        while pending:
            folder, real_folder, judged, chain = pending.pop()
            for entry in self._scan(folder, real_folder):
                name = f"{folder}/{entry.name}" if folder else entry.name
                own = os.path.join(real_folder, entry.name)
                if is_git_folder(entry.name):
                    continue
                is_folder = entry.is_dir(follow_symlinks=False)
                if self._ignored(name, own, judged, is_folder):
                    continue
                real = own
                if entry.is_symlink():
                    try:
                        is_folder = stat.S_ISDIR(os.stat(own).st_mode)
                    except PermissionError as error:
                        raise unreadable(name, error) from error
                    except OSError:
                        self._dangling[name] = os.readlink(own)
                        continue
                    if is_folder and (self._flyteignore.ignores(name, folder=True) or is_standard(name)):
                        continue
                    real = self.inside(name, ignorable=True)
                if is_folder:
                    if is_standard(name) or (levels and len(chain) >= levels):
                        continue
                    if real in chain:
                        self._loops[name] = ""
                        continue
                    inner = judged if real == own else self._judged(real)
                    pending.append((name, real, inner, (*chain, real)))
                elif self._ships(name, real):
                    yield name, real

    def _judged(self, real_folder: str) -> bool:
        return (_below(real_folder, self.real_root) or "") in self._visible.folders

    def _ignored(self, name: str, own: str, judged: bool, folder: bool) -> bool:
        if judged:
            below = _below(own, self.real_root) or ""
            if below not in (self._visible.folders if folder else self._visible.files):
                return True
            if below != name and self._flyteignore.ignores(below, folder=folder):
                return True
        return self._flyteignore.ignores(name, folder=folder)

    def _ships(self, name: str, real: str) -> bool:
        def beginning() -> bytes:
            descriptor = open_regular(real, name)
            try:
                return os.read(descriptor, _KEY_BEGINNING)
            except OSError as error:
                raise unreadable(name, error) from error
            finally:
                os.close(descriptor)

        try:
            kind = stat.S_IFMT(os.lstat(real).st_mode)
        except OSError as error:
            raise unreadable(name, error) from error
        if kind != stat.S_IFREG:
            self._special[name] = _SPECIAL.get(kind, "not a file")
            return False
        for last in {os.path.basename(name), os.path.basename(real)}:
            what = credential(last, beginning)
            if what is not None:
                self._credentials[name] = what
                return False
        return not is_standard(name)

    def _scan(self, folder: str, real_folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(real_folder) as scan:
                entries = list(scan)
        except OSError as error:
            raise unreadable(folder or self.real_root, error) from error
        self._entries += len(entries)
        if self._entries > _ENTRIES_LIMIT:
            raise DeployError(
                f"there are more than {_ENTRIES_LIMIT} files to look at",
                where=self.real_root,
                mend="Leave folders out with .flyteignore; links to each other multiply what they hold.",
            )
        return entries

    def left_out(self) -> Iterator[str]:
        """What was passed over, in words."""
        if self._credentials:
            yield (
                f"left out, as they hold credentials: {_listed(self._credentials)}; "
                "one that is needed is bundled if an environment's `include` has its exact name"
            )
        if self._special:
            yield f"left out, as they are no files: {_listed(self._special)}"
        if self._dangling:
            yield f"left out, links that lead nowhere: {_listed(self._dangling)}"
        if self._loops:
            yield f"left out, links to a folder that they are in: {_listed(self._loops)}"


class _Installed:
    """Tells the interpreter's and its packages' files from the project's."""

    def __init__(self, real_root: str, folders: Iterable[Path]) -> None:
        paths = {path for folder in folders for path in (os.path.normpath(folder), os.path.realpath(folder))}
        # A prefix such as /usr may hold the project too; its site-packages are known by their name.
        self._folders = tuple(path + "/" for path in sorted(paths) if _below(real_root, path) is None)

    def __call__(self, path: str, name: str | None) -> bool:
        """Whether a file is installed; `name` is its name below the root, None where it is outside."""
        parts = (path if name is None else name).split("/")
        return path.startswith(self._folders) or not _INSTALLED.isdisjoint(parts)


def _module_files(
    tree: _Tree, modules: Iterable[ModuleFile], installed: _Installed
) -> Iterator[SelectedFile]:
    for name, reason in _project_modules(tree, modules, installed):
        yield SelectedFile(name, Path(tree.inside(name, ignorable=False)), reason)


def _project_modules(
    tree: _Tree, modules: Iterable[ModuleFile], installed: _Installed
) -> Iterator[tuple[str, str]]:
    """The names and reasons of modules that are the project's own and have a file."""
    gone: list[str] = []
    for module in modules:
        path = str(module.path)
        name = tree.name(path) if os.path.isabs(path) and _can_exist(path) else None
        if not name or installed(path, name):
            continue
        real = tree.real(tree.path(name))
        if installed(real, _below(real, tree.real_root)):
            continue
        try:
            kind = os.stat(real).st_mode
        except (FileNotFoundError, NotADirectoryError):
            gone.append(name)  # or never there: some modules make their file's name up
            continue
        except OSError as error:
            raise unreadable(name, error) from error
        if stat.S_ISREG(kind):
            yield name, module.reason
    if gone:
        tree.warnings.append(f"left out, imported but no longer there: {_listed(dict.fromkeys(gone, ''))}")


def _compare_with_modules(
    tree: _Tree, chosen: dict[str, SelectedFile], modules: Iterable[ModuleFile], installed: _Installed
) -> None:
    missing = {name: "" for name, _ in _project_modules(tree, modules, installed) if name not in chosen}
    if missing:
        tree.warnings.append(
            "imported, but left out as git, .flyteignore or the standard list ignores them: "
            f"{_listed(missing)}; name them in an environment's `include` if they are needed"
        )


def _included(tree: _Tree, include: Include) -> Iterator[SelectedFile]:
    for pattern in include.patterns:
        found = False
        if not include.declared_in.is_absolute():
            raise _include_error(
                include,
                f"the file that declares environment {include.environment!r} is not known, so that its "
                f"include {pattern!r} cannot be found",
                "Create the environment in a module's file.",
            )
        if not _can_exist(pattern):
            raise _include_error(
                include,
                f"include {pattern!r} of environment {include.environment!r} can be no file's name",
                "Correct the entry.",
            )
        path = os.path.join(os.path.dirname(include.declared_in), pattern)
        # Code opens it by the name it has beside its module; Flyte's SDK bundles it by its real name.
        paths = dict.fromkeys((os.path.normpath(path), os.path.realpath(path)))
        names = [name for name in dict.fromkeys(map(tree.name, paths)) if name is not None]
        if not names:
            raise _include_outside(tree, include, pattern, os.path.realpath(path))
        for name in names:
            for file, real in _matches(tree, include, pattern, name):
                found = True
                if real:
                    yield SelectedFile(file, Path(real), "include")
        if not found:
            raise _include_error(
                include,
                f"include {pattern!r} of environment {include.environment!r} matches no file",
                f"It is looked for as {next(iter(paths))}; correct the entry or add the file.",
            )


def _matches(tree: _Tree, include: Include, pattern: str, name: str) -> Iterator[tuple[str, str]]:
    """Files that an include's name stands for; a pair of empty strings for a folder that has none left."""
    try:
        kind = os.stat(tree.path(name)).st_mode
    except (FileNotFoundError, NotADirectoryError):
        yield from _glob(tree, name)
        return
    except OSError as error:
        raise unreadable(name, error) from error
    if stat.S_ISREG(kind):
        yield name, tree.inside(name, ignorable=False)
    elif stat.S_ISDIR(kind):
        files = list(tree.walk(name))
        if not files:
            tree.warnings.append(
                f"include {pattern!r} of environment {include.environment!r} brings no file: "
                "everything in it is ignored, or it is empty"
            )
            yield "", ""
        yield from files
    else:
        raise _include_error(
            include,
            f"include {pattern!r} of environment {include.environment!r} is "
            + _SPECIAL.get(stat.S_IFMT(kind), "not a file"),
            "Only files and folders can be bundled.",
        )


def _glob(tree: _Tree, name: str) -> Iterator[tuple[str, str]]:
    parts = name.split("/")
    literal = next((index for index, part in enumerate(parts) if any(c in part for c in "*?[")), None)
    if literal is None:
        return
    start, pattern = "/".join(parts[:literal]), parts[literal:]
    if not os.path.isdir(tree.path(start)):
        return
    cut = len(start) + 1 if start else 0
    for file, real in tree.walk(start, levels=0 if "**" in pattern else len(pattern)):
        if _fits(file[cut:].split("/"), pattern):
            yield file, real


def _fits(parts: list[str], pattern: list[str]) -> bool:
    """Whether a path fits a glob whose ``**`` stands for any number of folders; hidden names want a dot."""

    def skip(states: set[int]) -> set[int]:
        for state in sorted(states):
            while state < len(pattern) and pattern[state] == "**":
                state += 1  # noqa: PLW2901
                states.add(state)
        return states

    states = skip({0})
    for part in parts:
        following: set[int] = set()
        for state in states:
            if state == len(pattern):
                continue
            wanted = pattern[state]
            if part.startswith(".") and not wanted.startswith("."):
                continue
            if wanted == "**":
                following.add(state)
            elif fnmatch.fnmatchcase(part, wanted):
                following.add(state + 1)
        states = skip(following)
    return len(pattern) in states


def _include_outside(tree: _Tree, include: Include, pattern: str, real: str) -> DeployError:
    common = os.path.commonpath([tree.real_root, real])
    return _include_error(
        include,
        f"include {pattern!r} of environment {include.environment!r} lies outside the root {tree.real_root}: "
        f"it is {real}",
        f"Use --root-dir {common}, which holds both."
        if common != "/"
        else "Put the file below the root, and name it relative to the file that declares the environment.",
    )


def _include_error(include: Include, what: str, mend: str) -> DeployError:
    return DeployError(what, where=str(include.location or include.declared_in), mend=mend)


def _nothing(root: Path, copy_style: str) -> DeployError:
    if copy_style == "all":
        mend = "All in it is ignored by git, .flyteignore or the standard list; see `git status --ignored`."
    else:
        mend = "No imported module lies below it; choose another with --root-dir."
    return DeployError("there is no file to bundle below the root", where=str(root), mend=mend)


def _can_exist(path: str) -> bool:
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def _below(path: str, folder: str) -> str | None:
    if path == folder:
        return ""
    prefix = folder if folder.endswith("/") else folder + "/"
    return path[len(prefix) :] if path.startswith(prefix) else None


def _listed(names: dict[str, str]) -> str:
    shown = [f"{name} ({why})" if why else name for name, why in sorted(names.items())[:_NAMED]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
