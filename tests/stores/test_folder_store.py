"""A folder as a store."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flyte_deploy.bundle import identify, select
from flyte_deploy.bundle.archive import Archive, pack
from flyte_deploy.errors import DeployError
from flyte_deploy.model import Bundle
from flyte_deploy.stores import Store, open_store


def ignore(done: int, total: int) -> None:
    pass


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "shared disk" / "bundles"


@pytest.fixture
def store(folder: Path) -> Store:
    return open_store(f"file://{folder}", uploads=None)


def test_publish_and_find(store: Store, folder: Path, bundle: Bundle, archive: Archive) -> None:
    assert store.find(bundle) is None
    assert not folder.exists()
    seen: list[tuple[int, int]] = []
    address = store.publish(bundle, lambda done, total: seen.append((done, total)))
    assert address == f"file://{folder}/{bundle.digest}.tar.gz"
    assert archive.path is not None
    assert Path(address.removeprefix("file://")).read_bytes() == archive.path.read_bytes()
    assert seen[-1] == (archive.size, archive.size)
    assert store.find(bundle) == address
    assert [path.name for path in folder.iterdir()] == [bundle.archive_name]
    assert str(folder) in store.describe()


def test_others_may_read_what_the_umask_allows(
    store: Store, folder: Path, bundle: Bundle, archive: Archive
) -> None:
    before = os.umask(0o027)
    try:
        store.publish(bundle, ignore)
    finally:
        os.umask(before)
    assert (folder / bundle.archive_name).stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("keep", [0, 5, 1000, -9, -8, -4, -1])
def test_a_truncated_file_is_not_trusted_and_is_replaced(
    store: Store, folder: Path, bundle: Bundle, archive: Archive, keep: int
) -> None:
    store.publish(bundle, ignore)
    path = folder / bundle.archive_name
    whole = path.read_bytes()
    path.write_bytes(whole[:keep])
    assert store.find(bundle) is None
    store.publish(bundle, ignore)
    assert path.read_bytes() == whole
    assert store.find(bundle)


def test_a_damaged_or_foreign_file_is_not_trusted(
    store: Store, folder: Path, tmp_path: Path, bundle: Bundle, archive: Archive
) -> None:
    store.publish(bundle, ignore)
    path = folder / bundle.archive_name
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    assert store.find(bundle) is None
    path.write_bytes(b"\0" * archive.size)
    assert store.find(bundle) is None
    (tmp_path / "other").mkdir()
    (tmp_path / "other/b.py").write_text("b\n" * 100_000)
    pack(identify(select(tmp_path / "other", "all")), path)
    assert store.find(bundle) is None


def test_many_writers_do_no_harm(store: Store, folder: Path, bundle: Bundle, archive: Archive) -> None:
    def write(_: int) -> str | None:
        store.publish(bundle, ignore)
        return store.find(bundle)

    with ThreadPoolExecutor(8) as pool:
        assert None not in list(pool.map(write, range(24)))
    assert [path.name for path in folder.iterdir()] == [bundle.archive_name]


def test_files_that_changed_are_not_stored(store: Store, folder: Path, bundle: Bundle) -> None:
    bundle.files[-1].source.write_bytes(b"other")
    with pytest.raises(DeployError, match="changed"):
        store.publish(bundle, ignore)
    assert list(folder.iterdir()) == []


def test_a_full_disk_leaves_nothing(folder: Path, bundle: Bundle) -> None:
    project = bundle.files[0].source.parent
    script = """
import pathlib, resource, sys
from flyte_deploy.bundle import identify, select
from flyte_deploy.stores import open_store
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
bundle = identify(select(pathlib.Path(sys.argv[2]), "all"))
try:
    open_store("file://" + sys.argv[1], uploads=None).publish(bundle, print)
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""
    result = subprocess.run(
        [sys.executable, "-c", script, str(folder), str(project)], capture_output=True, text=True, check=False
    )
    assert "DeployError" in result.stderr
    assert "full" in result.stderr
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be(tmp_path: Path, bundle: Bundle, archive: Archive) -> None:
    (tmp_path / "file").touch()
    store = open_store(f"file://{tmp_path}/file/bundles", uploads=None)
    assert store.find(bundle) is None
    with pytest.raises(DeployError, match="cannot be written"):
        store.publish(bundle, ignore)
