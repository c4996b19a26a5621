from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stores.servers import programs

from .identity import Identity, serving


@pytest.fixture(autouse=True)
def _plain_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cloud, proxy or job of the machine that the tests run on."""
    programs()
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in list(os.environ):
        if name.upper().endswith("_PROXY") or name.startswith(("AWS_", "GOOGLE_", "ACTIONS_", "GITHUB_")):
            monkeypatch.delenv(name)


@pytest.fixture
def identity() -> Iterator[Identity]:
    with serving() as running:
        yield running
