"""The files of a build's context: which of a checkout's go in, and that nothing else does."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from flyte_deploy.errors import DeployError
from flyte_deploy.images.dockerignore import Ignore
from flyte_deploy.images.recipe import ContextFile

_NEVER_FOLDERS = frozenset({".git", "__pycache__"})
_FILES_AT_MOST = 200_000


def never(name: str) -> bool:
    """Whether files or folders of that name go into no context: repositories, compiled files, credentials."""
    return (
        name in _NEVER_FOLDERS
        or name.endswith((".pyc", ".pyo"))
        or (name.startswith("gha-creds-") and name.endswith(".json"))
    )


@dataclass
class Context:
    """A context that is being put together, of files of a checkout.

    Args:
        checkout: the folder that everything has to lie in; real.
        ignore: what is left out of folders; a file that is named itself is taken.
        where: the place in the code that the image is declared at, for errors.
    """

    checkout: Path
    ignore: Ignore = field(default_factory=Ignore)
    where: str = ""
    _files: dict[str, ContextFile] = field(default_factory=dict)

    @property
    def files(self) -> tuple[ContextFile, ...]:
        """The files so far, by path."""
        return tuple(self._files[path] for path in sorted(self._files))

    def below(self, path: str, what: str) -> str:
        """Where something lies in the checkout, with slashes.

        Raises:
            DeployError: where it is not there, lies elsewhere, or has a name that cannot be written in a
                Dockerfile.
        """
        real = Path(path).resolve()
        if not real.exists():
            raise self._error(
                f"{what} {path} does not exist", "A relative path is relative to the working directory."
            )
        if not real.is_relative_to(self.checkout):
            raise self._error(
                f"{what} {path} is outside of the project, {self.checkout}",
                "What goes into an image has to lie in the checkout.",
            )
        relative = real.relative_to(self.checkout).as_posix()
        if any(character in relative for character in "\n\r\0"):
            raise self._error(f"{what} {relative!r} has a line break in its name", "Rename it.")
        return relative

    def add_file(self, path: str, what: str) -> str:
        """Take a file; returns its path in the context, which is the one in the checkout."""
        relative = self.below(path, what)
        if not (self.checkout / relative).is_file():
            raise self._error(f"{what} {path} is no file", "Name a file.")
        self._put(relative)
        return relative

    def add_folder(self, path: str, what: str, *, also: Iterable[str] = ()) -> str:
        """Take a folder's files, less what is left out; returns its path in the context.

        Args:
            path: the folder.
            what: what it is, for errors.
            also: files to take whatever the patterns say.
        """
        relative = self.below(path, what)
        folder = self.checkout / relative
        if not folder.is_dir():
            raise self._error(f"{what} {path} is no folder", "Name a folder.")
        for below in self._walk(folder):
            if not self.ignore.matches(below):
                self._put((PurePosixPath(relative) / below).as_posix())
        for file in also:
            if file:
                self._put(self.below(file, what))
        return relative

    def add_paths(self, prefix: str, paths: Iterable[str]) -> None:
        """Take files of the checkout, by paths relative to `prefix`, a folder in it."""
        for path in paths:
            self._put((PurePosixPath(prefix) / path).as_posix())

    def add_as(self, path: str, relative: str) -> None:
        """Take a file of the checkout under another path in the context."""
        self._put(relative, path)

    def add_content(self, path: str, content: bytes) -> str:
        """Take a file that is made for the build."""
        self._files[path] = ContextFile(path, content=content)
        return path

    def _put(self, relative: str, path: str = "") -> None:
        path = path or relative
        if path in self._files:
            return
        source = self.checkout / relative
        # A link's target counts: it is what would be read.
        self.below(str(source), "the file")
        mode = source.stat().st_mode
        if not stat.S_ISREG(mode):
            return
        if len(self._files) >= _FILES_AT_MOST:
            raise self._error(
                f"the image's files are more than {_FILES_AT_MOST}", "Leave some out with .dockerignore."
            )
        executable = bool(mode & 0o111)
        self._files[path] = ContextFile(path, mode=0o755 if executable else 0o644, source=source)

    def _walk(self, folder: Path) -> Iterator[str]:
        for here, folders, files in os.walk(folder):
            folders[:] = sorted(name for name in folders if not never(name))
            base = Path(here).relative_to(folder).as_posix()
            for name in [*folders, *files]:
                path = Path(here, name)
                if name in folders and not path.is_symlink():
                    continue
                if never(name) or not path.exists():  # a link that leads nowhere
                    continue
                relative = name if base == "." else f"{base}/{name}"
                if path.is_symlink() and path.is_dir():
                    raise self._error(
                        f"{path.relative_to(self.checkout)} is a link to a folder",
                        "Leave it out with .dockerignore, or put the folder itself there.",
                    )
                if "\n" in relative or "\r" in relative:
                    raise self._error(f"the file {relative!r} has a line break in its name", "Rename it.")
                yield relative

    def _error(self, what: str, mend: str) -> DeployError:
        return DeployError(what, where=self.where or None, mend=mend, usage=True)
