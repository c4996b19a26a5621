"""Files for build contexts. Descriptions are not trusted: what goes in lies in the checkout.

`.git` folders, `__pycache__` and the credentials that google-github-actions/auth leaves never go in. Modes
are 0o644 and 0o755.
"""

# Paths are strings here: there can be hundreds of thousands.
# ruff: noqa: PTH110, PTH112, PTH113, PTH116, PTH118, PTH119

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flyte_deploy.bundle.ignore import is_git_folder
from flyte_deploy.errors import DeployError
from flyte_deploy.images.dockerignore import DockerIgnore, State
from flyte_deploy.images.recipe import ContextFile
from flyte_deploy.leftovers import PATTERNS, is_left_by_actions
from flyte_deploy.project.git import top_folder

NEVER = ("**/.git", "**/__pycache__", *(f"**/{pattern}" for pattern in PATTERNS))
"""What never goes into a context, as patterns of an ignore file."""

_ENTRIES_LIMIT = 500_000


@dataclass(frozen=True)
class Checkout:
    """The folder that everything in a build context has to lie in.

    Args:
        root: absolute and real.
        where: the place in the code that errors name.
    """

    root: str
    where: str | None = None

    def real(self, path: str, what: str) -> str:
        """The real path of a file or folder that exists in the checkout.

        Args:
            path: absolute.
            what: what it is to the image, for errors: ``requirements file``.

        Raises:
            DeployError: where it does not exist, lies elsewhere, belongs to git or holds credentials.
        """
        self.plain(path, what)
        real = os.path.realpath(path)
        shown = self.shown(path)
        # Before it is looked at: whether something exists elsewhere is nobody's business.
        if real != self.root and not real.startswith(os.path.join(self.root, "")):
            raise self.error(
                f"the {what} {shown} lies outside of the checkout {self.root}",
                "What goes into an image has to lie in the checkout; a link does not change where it lies.",
            )
        if any(is_git_folder(part) for part in os.path.relpath(real, self.root).split("/")):
            raise self.error(f"the {what} {shown} belongs to git, whose files may hold credentials", None)
        if is_left_by_actions(os.path.basename(real)):
            raise self.error(f"the {what} {shown} holds Google Cloud credentials", None)
        if not os.path.exists(real):
            raise self.error(
                f"the {what} {shown} does not exist",
                "Paths are relative to the working directory; Path(__file__).parent / … is safer.",
            )
        return real

    def file(self, path: str, what: str) -> str:
        """The real path of a regular file.

        Raises:
            DeployError: as `real`, and where it is no file.
        """
        real = self.real(path, what)
        if not os.path.isfile(real):
            raise self.error(f"the {what} {self.shown(path)} is no file", None)
        return real

    def folder(self, path: str, what: str) -> str:
        """The real path of a folder.

        Raises:
            DeployError: as `real`, and where it is no folder.
        """
        real = self.real(path, what)
        if not os.path.isdir(real):
            raise self.error(f"the {what} {self.shown(path)} is no folder", None)
        return real

    def text(self, path: str, what: str) -> str:
        """What is in a text file.

        Raises:
            DeployError: as `file`, and where it cannot be read.
        """
        try:
            return Path(self.file(path, what)).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise self.error(f"the {what} {self.shown(path)} cannot be read: {error}", None) from None

    def tree(self, folder: str, ignore: DockerIgnore, what: str) -> Iterator[tuple[str, str]]:
        """The files below a folder that are not left out, as pairs of a relative path and a real path.

        As with Flyte's SDK, a link to a file is what it leads to, and one to a folder is passed over.

        Args:
            folder: its real path.
            ignore: patterns relative to it.
            what: what the folder is to the image, for errors.

        Raises:
            DeployError: for links that lead out of the checkout, odd names, and what may not be read.
        """
        pending: list[tuple[str, State]] = [("", ignore.top)]
        seen = 0
        while pending:
            below, state = pending.pop()
            try:
                with os.scandir(os.path.join(folder, below)) as scan:
                    entries = sorted(scan, key=lambda entry: entry.name)
            except OSError as error:
                raise self.unreadable(os.path.join(folder, below), error) from None
            seen += len(entries)
            if seen > _ENTRIES_LIMIT:
                raise self.error(
                    f"the {what} {self.shown(folder)} holds more than {_ENTRIES_LIMIT} files",
                    "Leave folders out with a .dockerignore file.",
                )
            for entry in entries:
                path = f"{below}/{entry.name}" if below else entry.name
                if _never(entry.name):
                    continue
                out, inner = ignore.judge(path, state)
                if entry.is_dir(follow_symlinks=False):
                    if not out or ignore.has_exceptions:
                        pending.append((path, inner))
                elif not out:
                    real = self._file_of(entry, what)
                    if real is not None:
                        self.plain(path, what)
                        yield path, real

    def _file_of(self, entry: os.DirEntry[str], what: str) -> str | None:
        """The real path of an entry that is a file, or a link to one."""
        if entry.is_symlink():
            if not os.path.exists(entry.path) and os.path.realpath(entry.path).startswith(
                os.path.join(self.root, "")
            ):
                return None  # leads nowhere
            real = self.real(entry.path, f"link in the {what},")
            return real if os.path.isfile(real) else None
        return entry.path if entry.is_file(follow_symlinks=False) else None

    def context_file(self, path: str, source: str) -> ContextFile:
        """A file of the context that is a copy of a real path."""
        try:
            executable = os.stat(source, follow_symlinks=False).st_mode & stat.S_IXUSR
        except OSError as error:
            raise self.unreadable(source, error) from None
        return ContextFile(path, 0o755 if executable else 0o644, Path(source))

    def plain(self, text: str, what: str) -> str:
        """A text that has no line break or other control character, and is what it was.

        Raises:
            DeployError: where it has one.
        """
        if any(ord(character) < 32 or ord(character) == 127 for character in text):
            raise self.error(f"the {what} {text!r} has a line break or another control character in it", None)
        return text

    def shown(self, path: str) -> str:
        """A path as it is named in errors: relative to the checkout where it is written below it."""
        prefix = os.path.join(self.root, "")
        return path.removeprefix(prefix) or path

    def error(self, what: str, mend: str | None) -> DeployError:
        """An error about the image."""
        return DeployError(what, where=self.where, mend=mend, usage=True)

    def unreadable(self, path: str, error: OSError) -> DeployError:
        """The error for a file or folder that cannot be read."""
        reason = error.strerror or str(error)
        return self.error(f"{self.shown(path)} cannot be put into the image: {reason}", None)


def find_checkout(root: Path, folder: Path) -> Path:
    """The checkout of a project, as a real path.

    It is the git repository that the root lies in; without one the working directory where that holds the
    root, since what the code names is relative to it; else the root.
    """
    real = root.resolve()
    top = top_folder(real)
    if top is not None:
        return top
    current = folder.resolve()
    return current if real.is_relative_to(current) and current != Path(current.anchor) else real


def _never(name: str) -> bool:
    return is_git_folder(name) or name == "__pycache__" or is_left_by_actions(name)
