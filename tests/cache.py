"""What tests keep between runs, outside the repository."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def cache_folder() -> Path:
    """The folder for what is slow to make."""
    folder = Path(os.environ.get("FLYTE_DEPLOY_CACHE") or Path.home() / ".cache" / "flyte-deploy")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def uv_program() -> Path:
    """The program itself; what lies on PATH may be a script that only this user can run."""
    for candidate in (
        Path(sys.executable).with_name("uv"),
        Path(sys.base_prefix) / "bin" / "uv",
        Path(shutil.which("uv") or "/nonexistent"),
    ):
        if candidate.is_file() and candidate.read_bytes()[:4] == b"\x7fELF":
            return candidate
    raise AssertionError("uv is not installed")
