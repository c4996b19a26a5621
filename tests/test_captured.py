"""Captured files between the look at them and their upload: nothing else is sent in their place."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from flyte_deploy.captured import publish_captured, read_captured
from flyte_deploy.collector.message import Capture
from flyte_deploy.errors import DeployError
from flyte_deploy.stores.signed_url import SignedUrlStore
from tests.stores.storage import ControlPlane, Storage, running

CONTENT = b"a,b\n" * 200_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "captures" / DIGEST
    folder.mkdir(parents=True)
    (folder / "data.csv").write_bytes(CONTENT)
    (tmp_path / "secret").write_bytes(b"planted-secret")
    return folder / "data.csv"


def linked(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.parents[2] / "secret")


def changed(file: Path) -> None:
    file.write_bytes(CONTENT[:-1] + b"x")


def changed_while_sent(file: Path) -> None:
    """Nothing, until the first bytes are on their way."""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (linked, "data.csv cannot be read"),
        (changed, "data.csv is no longer the file that was captured"),
        (changed_while_sent, "data.csv changed while it was uploaded"),
    ],
)
def test_what_is_no_longer_what_was_captured_is_not_sent(
    file: Path, change: Callable[[Path], None], said: str
) -> None:
    captured = read_captured(file.parents[1], [Capture(DIGEST, "data.csv", False, ("data.csv",))])
    change(file)

    def progress(done: int, total: int) -> None:
        if change is changed_while_sent:
            file.write_bytes(b"planted-secret" * 100_000)

    storage = Storage()
    with running(storage):
        store = SignedUrlStore(ControlPlane(storage), attempts=1)
        with pytest.raises(DeployError) as raised:
            publish_captured(captured, store, progress)
        assert storage.objects == {}
    assert said in str(raised.value)
    assert b"planted-secret" not in b"".join(storage.objects.values())
