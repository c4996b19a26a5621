"""The digest: what moves it and what does not, and what is said of large bundles and changing files."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flyte_deploy.bundle import Include, Selection, identify, select
from flyte_deploy.errors import DeployError
from flyte_deploy.model import Bundle


def bundle(root: Path) -> Bundle:
    return identify(select(root, "all"))


def test_the_digest_is_the_documented_one(tmp_path: Path) -> None:
    (tmp_path / "b.sh").write_bytes(b"#!/bin/sh\n")
    (tmp_path / "b.sh").chmod(0o755)
    (tmp_path / "ä").write_bytes(b"")
    found = bundle(tmp_path)
    framed = b"flyte-deploy bundle 1\0" + (2).to_bytes(8, "big")
    for path, mode, content in ((b"b.sh", 0o755, b"#!/bin/sh\n"), ("ä".encode(), 0o644, b"")):
        framed += (
            len(path).to_bytes(8, "big") + path + mode.to_bytes(4, "big") + len(content).to_bytes(8, "big")
        )
        framed += hashlib.sha256(content).digest()
    assert found.digest == hashlib.sha256(framed).hexdigest()
    assert found.archive_name == f"{found.digest}.tar.gz"
    assert [(file.path, file.mode, file.size) for file in found.files] == [
        ("b.sh", 0o755, 10),
        ("ä", 0o644, 0),
    ]


def test_only_paths_x_bits_and_contents_count(tmp_path: Path) -> None:
    digests = []
    for number, order in enumerate((["a.py", "d/b.py"], ["d/b.py", "a.py"])):
        root = tmp_path / str(number)
        for name in order:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(f"# {name}\n")
            os.utime(root / name, (number * 1e9, number * 1e9))
            (root / name).chmod((0o600, 0o666)[number])
        digests.append(bundle(root).digest)
    assert digests[0] == digests[1]
    root = tmp_path / "0"
    (root / "a.py").chmod(0o700)
    executable = bundle(root).digest
    (root / "a.py").write_text("# b.py\n")
    changed = bundle(root).digest
    (root / "a.py").rename(root / "c.py")
    assert len({digests[0], executable, changed, bundle(root).digest}) == 4


def test_contents_cannot_move_between_files(tmp_path: Path) -> None:
    for name, texts in (("one", ("ab", "c")), ("two", ("a", "bc"))):
        (tmp_path / name).mkdir()
        for file, text in zip("xy", texts, strict=True):
            (tmp_path / name / file).write_text(text)
    assert bundle(tmp_path / "one").digest != bundle(tmp_path / "two").digest


@pytest.mark.parametrize(
    "environment", [{"LC_ALL": "C", "PYTHONUTF8": "0"}, {"PYTHONUTF8": "1", "TZ": "Asia/Tokyo"}]
)
def test_the_locale_does_not_count(tmp_path: Path, environment: dict[str, str]) -> None:
    for name in ("ä.py".encode(), b"z\xff.txt", "日".encode()):
        Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).write_bytes(name)
    script = (
        "import sys, pathlib; from flyte_deploy.bundle import *;"
        "print(identify(select(pathlib.Path(sys.argv[1]), 'all')).digest)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env={**os.environ, "PYTHONCOERCECLOCALE": "0", **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    assert result.stdout.strip() == bundle(tmp_path).digest


def test_many_files_keep_their_order(tmp_path: Path) -> None:
    for number in range(500):
        (tmp_path / f"{number:03}").write_text(str(number))
    files = bundle(tmp_path).files
    assert [file.path for file in files] == [f"{number:03}" for number in range(500)]
    assert all(file.sha256 == hashlib.sha256(str(n).encode()).hexdigest() for n, file in enumerate(files))


def test_a_large_bundle_names_its_largest_files(tmp_path: Path) -> None:
    for number in range(1, 8):
        with (tmp_path / f"f{number}.bin").open("wb") as file:
            file.truncate(number * 4_000_000)
    (warning,) = bundle(tmp_path).warnings
    assert "112 MB" in warning
    assert (
        "f7.bin (28.0 MB), f6.bin (24.0 MB), f5.bin (20.0 MB), f4.bin (16.0 MB), f3.bin (12.0 MB)" in warning
    )
    assert "f2.bin" not in warning
    (tmp_path / "f7.bin").unlink()
    assert bundle(tmp_path).warnings == ()


def test_a_file_that_vanishes_or_turns_into_something_else(tmp_path: Path) -> None:
    (tmp_path / "a.py").touch()
    (tmp_path / "b.py").touch()
    selection = select(tmp_path, "all")
    (tmp_path / "b.py").unlink()
    with pytest.raises(DeployError, match=r"b\.py vanished"):
        identify(selection)
    os.mkfifo(tmp_path / "b.py")
    with pytest.raises(DeployError, match=r"b\.py is no longer a file"):
        identify(selection)
    (tmp_path / "b.py").unlink()
    (tmp_path / "b.py").symlink_to("/etc/passwd")
    with pytest.raises(DeployError, match=r"b\.py"):
        identify(selection)


def test_no_files_are_a_bundle_too(tmp_path: Path) -> None:
    empty = identify(Selection(()))
    assert (empty.files, empty.size) == ((), 0)
    (tmp_path / "a").touch()
    other = identify(select(tmp_path, "none", includes=[Include("e", ("a",), tmp_path / "e.py")]))
    assert other.digest != empty.digest
