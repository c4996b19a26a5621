"""Files that serializing would upload: defaults of parameters that are files, folders or tables.

The SDK uploads them while it serializes, under random names. Here they are copied into a folder that the
parent gave, and a placeholder with the digest of their content stands in the request: the parent uploads them
under that digest, once.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import sdk

_UNUSUAL = re.compile(r"[^A-Za-z0-9._-]+")


class Capture:
    """Takes the place of the SDK's uploads.

    Args:
        folder: where copies go, each below the digest of its content. Empty if nothing may be captured.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._captured: dict[str, dict[str, Any]] = {}

    @property
    def captured(self) -> list[dict[str, Any]]:
        """What was captured, each once."""
        return list(self._captured.values())

    @contextmanager
    def instead_of_uploading(self) -> Iterator[None]:
        """Capture what the SDK would upload."""
        from flyte import remote

        original = remote.upload_file, remote.upload_dir
        remote.upload_file, remote.upload_dir = _Upload(self._file), _Upload(self._directory)
        try:
            yield
        finally:
            remote.upload_file, remote.upload_dir = original

    def _file(self, fp: Any, *_: Any, fname: str | None = None, **__: Any) -> tuple[str, str]:
        """As `flyte.remote.upload_file`: the MD5 that the SDK puts beside a file, and its address."""
        path = Path(fp)
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        name = _UNUSUAL.sub("_", fname or path.name)
        self._keep(digest, name, {name: path}, folder=False)
        return hashlib.md5(content, usedforsecurity=False).hexdigest(), sdk.FILE.format(f"{digest}/{name}")

    def _directory(self, dir_path: Any, *_: Any, **__: Any) -> str:
        """As `flyte.remote.upload_dir`: the folder's address."""
        root = Path(dir_path)
        files = {
            path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*")) if path.is_file()
        }
        if not files:
            raise ValueError(f"the folder {root} is empty")
        digest = folder_digest(
            {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
        )
        self._keep(digest, "", files, folder=True)
        return sdk.FILE.format(digest)

    def _keep(self, digest: str, name: str, files: dict[str, Path], *, folder: bool) -> None:
        key = f"{digest}/{name}"
        if not self._folder or key in self._captured:
            return
        for below, path in files.items():
            target = os.path.join(self._folder, digest, below)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copyfile(path, target)
        self._captured[key] = {"digest": digest, "name": name, "folder": folder, "files": sorted(files)}


def folder_digest(files: dict[str, str]) -> str:
    """The digest of a folder: over the paths of its files and the SHA-256 of each, in hex."""
    lines = [f"{digest} {path}\n" for path, digest in sorted(files.items())]
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


class _Upload:
    """Looks like the SDK's functions that can be called with and without `await`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._function(*arguments, **named)

    async def aio(self, *arguments: Any, **named: Any) -> Any:
        return self._function(*arguments, **named)
