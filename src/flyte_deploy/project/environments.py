"""Installed environments, each known by what it was made of, so that an equal one is not made again."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flyte_deploy import __version__
from flyte_deploy.errors import DeployError
from flyte_deploy.isolation.staging import Owner, copy_tree

_FORMAT = "2"
_COMPLETE = "complete"
_MACHINE = ("/etc/os-release", "/var/lib/dpkg/status", "/lib/apk/db/installed")
"""They tell one image from another, by what is installed in it: environments use its libraries."""


@dataclass(frozen=True)
class Installed:
    """An environment on disk.

    Args:
        folder: all of it.
        reused: whether it was there already.
    """

    folder: Path
    reused: bool = False

    @property
    def venv(self) -> Path:
        """The virtual environment."""
        return self.folder / "venv"

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.venv / "bin" / "python"

    @property
    def pythons(self) -> Path:
        """Where an interpreter goes that is downloaded for it."""
        return self.folder / "python"

    @property
    def complete(self) -> bool:
        """Whether it was made to its end."""
        return os.path.lexists(self.folder / _COMPLETE)

    def finish(self) -> None:
        """Say that it is made to its end."""
        mark = self.folder / _COMPLETE
        # What was installed could write here, and a link would be followed.
        if mark.is_dir() and not mark.is_symlink():
            shutil.rmtree(mark)
        mark.unlink(missing_ok=True)
        os.close(os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644))

    def has(self, package: str) -> bool:
        """Whether a distribution is installed in it; nothing is run or followed."""
        for library in ("lib", "lib64"):
            for folder in self.venv.glob(f"{library}/python*/site-packages"):
                if any(folder.glob(f"{package}-*.dist-info")):
                    return True
        return False


def key_of(inputs: Iterable[tuple[str, bytes]], *words: str) -> str:
    """A digest of what an environment is made of: files, words, the machine, this program.

    Args:
        inputs: files with their content.
        words: all else that decides: the interpreter, the arguments, where the project lies.
    """
    digest = hashlib.sha256()

    def add(data: bytes) -> None:
        digest.update(len(data).to_bytes(8, "big") + data)

    for path in map(Path, _MACHINE):
        add(path.read_bytes() if path.is_file() else b"")
    for word in (_FORMAT, __version__, sys.platform, platform.machine(), *platform.libc_ver(), *words):
        add(word.encode("utf-8", "surrogateescape"))
    for name, content in inputs:
        add(name.encode("utf-8", "surrogateescape"))
        add(content)
    return digest.hexdigest()[:32]


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process at a time for an environment.

    Raises:
        DeployError: where its parent cannot be written to.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        file = folder.with_name(f"{folder.name}.lock").open("w")
    except OSError as error:
        raise DeployError(
            f"no environment can be made: {error.strerror}",
            where=str(folder.parent),
            mend="Name another folder with --cache-dir.",
        ) from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def take(cache: Path, key: str, target: Path) -> bool:
    """Copy an environment out of a cache that anybody may have written to; False where it has none.

    The copy belongs to root: the code can use it and cannot change it. No link is followed.
    """
    source = Installed(cache / key)
    if not _is_folder(source.folder) or not source.complete or not _is_folder(source.venv):
        return False
    try:
        copy_tree(source.folder, target)
    except DeployError:
        shutil.rmtree(target, ignore_errors=True)
        return False
    return True


def keep(installed: Installed, cache: Path, key: str) -> None:
    """Copy an environment into a cache, for whoever owns that to read: folders 0o755, files 0o644 or 0o755.

    Raises:
        DeployError: where there is no room, or no permission.
    """
    try:
        made = [folder for folder in (cache, *cache.parents) if not folder.exists()]
        parent = made[-1].parent if made else cache
        info = parent.stat()
        owner = Owner(info.st_uid, info.st_gid)
        for folder in reversed(made):
            folder.mkdir(mode=0o755)
            folder.chmod(0o755)
            os.chown(folder, owner.uid, owner.gid)
        temporary = cache / f".{key}.{os.getpid()}"
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            copy_tree(installed.folder, temporary, owner=owner)
            if not os.path.lexists(cache / key):
                temporary.rename(cache / key)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise DeployError(f"the environment cannot be kept: {error.strerror}", where=str(cache)) from None


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
