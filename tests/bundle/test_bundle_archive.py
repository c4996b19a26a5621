"""The archive: that `tar` unpacks it to the same tree, that it is reproducible, and what goes wrong."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import pytest

from flyte_deploy.bundle import identify, select
from flyte_deploy.bundle.archive import pack, unpacked_size
from flyte_deploy.errors import DeployError
from flyte_deploy.model import Bundle


def tree(root: Path) -> Bundle:
    contents = {
        "a.py": b"print('a')\n",
        "empty": b"",
        "exactly/512": b"x" * 512,
        "big.bin": os.urandom(3_000_000) + b"a" * 2_000_000,
        "long/" + "n" * 90 + "/" + "m" * 200 + ".txt": b"long",
        "a b/ä\n.txt": b"odd",
        os.fsdecode(b"latin\xe9"): b"bytes",
        "back\\slash": b"\\",
        "-dash": b"-",
    }
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    (root / "run.sh").write_bytes(b"#!/bin/sh\n")
    (root / "run.sh").chmod(0o777)
    (root / "link.sh").symlink_to("run.sh")
    return identify(select(root, "all"))


def test_tar_unpacks_it_to_the_same_files(tmp_path: Path) -> None:
    root = tmp_path / "root"
    bundle = tree(root)
    archive = pack(bundle, tmp_path / bundle.archive_name)
    assert archive.path == tmp_path / bundle.archive_name
    out = tmp_path / "out"
    out.mkdir()
    result = subprocess.run(
        ["tar", "--overwrite", "-xvf", str(archive.path), "-C", str(out)], capture_output=True, check=True
    )
    assert result.stderr == b""
    unpacked = identify(select(out, "all"))
    assert unpacked.digest == bundle.digest
    assert [file.path for file in unpacked.files] == [file.path for file in bundle.files]
    assert (out / "link.sh").is_file()
    assert not (out / "link.sh").is_symlink()


def test_the_archive_says_nothing_of_the_machine(tmp_path: Path) -> None:
    bundle = tree(tmp_path / "root")
    archive = pack(bundle, tmp_path / "one.tar.gz")
    raw = (tmp_path / "one.tar.gz").read_bytes()
    assert (archive.size, archive.md5) == (len(raw), hashlib.md5(raw).digest())
    assert raw[3:8] == bytes(5)  # no flags (so no name), no time
    with tarfile.open(tmp_path / "one.tar.gz", encoding="utf-8", errors="surrogateescape") as tar:
        members = tar.getmembers()
    assert [member.name for member in members] == [file.path for file in bundle.files]
    assert all(member.isreg() and member.mode in (0o644, 0o755) for member in members)
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", 315532800)}
    assert len(gzip.decompress(raw)) == unpacked_size(bundle)


def test_packing_again_elsewhere_gives_the_same_bytes(tmp_path: Path) -> None:
    bundle = tree(tmp_path / "root")
    stream = io.BytesIO()
    first = pack(bundle, stream)
    assert first.path is None
    for path in (tmp_path / "root").rglob("*"):
        os.utime(path, (5, 5))
    (tmp_path / "root").rename(tmp_path / "elsewhere")
    again = pack(identify(select(tmp_path / "elsewhere", "all")), tmp_path / "again.tar.gz")
    assert (first.size, first.md5) == (again.size, again.md5)
    assert stream.getvalue() == (tmp_path / "again.tar.gz").read_bytes()


@pytest.mark.parametrize("content", [b"", b"print('b')\n", b"print('aa')\n", b"print('a')\n" * 300_000])
def test_a_file_that_changed_is_refused_and_nothing_is_left(tmp_path: Path, content: bytes) -> None:
    before = set(threading.enumerate())
    bundle = tree(tmp_path / "root")
    (tmp_path / "root/a.py").write_bytes(content)
    with pytest.raises(DeployError, match=r"a\.py changed while it was being packed"):
        pack(bundle, tmp_path / "x.tar.gz")
    assert [path.name for path in tmp_path.iterdir()] == ["root"]
    (tmp_path / "root/a.py").unlink()
    with pytest.raises(DeployError, match=r"a\.py vanished"):
        pack(bundle, tmp_path / "x.tar.gz")
    assert set(threading.enumerate()) <= before


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    bundle = tree(tmp_path / "root")
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(DeployError, match="disk is full"):
        pack(bundle, full)
    assert set(threading.enumerate()) <= before


def test_no_room_leaves_no_partial_file(tmp_path: Path) -> None:
    tree(tmp_path / "root")
    script = """
import pathlib, resource, sys
from flyte_deploy.bundle import identify, select
from flyte_deploy.bundle.archive import pack
folder = pathlib.Path(sys.argv[1])
bundle = identify(select(folder / "root", "all"))
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    pack(bundle, folder / "x.tar.gz")
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""
    result = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert "DeployError" in result.stderr
    assert "disk is full" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_a_destination_that_cannot_be_written(tmp_path: Path) -> None:
    bundle = tree(tmp_path / "root")
    with pytest.raises(DeployError, match="cannot be written"):
        pack(bundle, tmp_path / "missing" / "x.tar.gz")
