"""Certificates of authorities: the one part of a file that may be shown to the project's code."""

from __future__ import annotations

import os
import re
from pathlib import Path

from flyte_deploy.isolation.staging import read_file

_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")
_LIMIT = 16 << 20


def certificates_in(path: Path) -> bytes:
    """The certificates of a PEM file and nothing else of it; empty where there are none.

    Args:
        path: links are followed, but not into the kernel's own folders, whose files tell of processes.
    """
    return b"".join(block + b"\n" for block in _BLOCK.findall(_content(path)))


def holds_nothing_else(path: Path) -> bool:
    """Whether a file holds certificates alone, beside comments."""
    content = _content(path)
    rest = _BLOCK.sub(b"", content)
    return rest != content and all(line[:1] in (b"", b"#") for line in map(bytes.strip, rest.splitlines()))


def _content(path: Path) -> bytes:
    real = Path(os.path.realpath(path))
    if any(real.is_relative_to(folder) for folder in ("/proc", "/sys", "/dev")):
        return b""
    return read_file(real, _LIMIT) or b""
