from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from flyte_deploy.bundle import identify, select
from flyte_deploy.bundle.archive import Archive, pack
from flyte_deploy.model import Bundle

from .storage import ControlPlane, Storage, running


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    (tmp_path / "project").mkdir()
    (tmp_path / "project/a.py").write_text("print('a')\n")
    (tmp_path / "project/random.bin").write_bytes(os.urandom(3_000_000))
    return identify(select(tmp_path / "project", "all"))


@pytest.fixture
def archive(tmp_path: Path, bundle: Bundle) -> Archive:
    return pack(bundle, tmp_path / bundle.archive_name)


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    storage = Storage()
    with running(storage):
        yield storage


@pytest.fixture
def control_plane(storage: Storage) -> ControlPlane:
    return ControlPlane(storage)
