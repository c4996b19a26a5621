"""The staged copy of a checkout: what is in it, whose it is, and what is not."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest

from flyte_deploy.errors import DeployError
from flyte_deploy.isolation import staging
from flyte_deploy.isolation.confinement import Confinement
from flyte_deploy.isolation.staging import Owner, copy_tree, is_left_out
from flyte_deploy.isolation.users import free_user, owners
from flyte_deploy.project.repository import take_over

OWNER = Owner(61300, 61300)


def left_out(name: str, path: str) -> bool:
    return is_left_out(name)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    (root / "deep" / "er").mkdir(parents=True)
    (root / "deep" / "er" / "a.py").write_text("a = 1\n")
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o4775)
    (root / "secret.txt").write_text("x")
    (root / "secret.txt").chmod(0o600)
    (root / "empty").touch()
    (root / "inside").symlink_to("deep/er/a.py")
    (root / "outside").symlink_to("/etc/passwd")
    (root / "folder").symlink_to("deep")
    os.mkfifo(root / "pipe")
    for name in (".git/config", "deep/.git", "deep/.GIT", "gha-creds-1234.json"):
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("token")
    os.utime(root / "run.sh", ns=(10**18, 10**18))
    return root


def test_what_is_copied(checkout: Path, tmp_path: Path) -> None:
    copied = copy_tree(checkout, tmp_path / "copy", owner=OWNER, leave_out=left_out)
    found = {
        str(path.relative_to(tmp_path / "copy")): path.lstat() for path in (tmp_path / "copy").rglob("*")
    }
    assert set(found) == {
        "deep",
        "deep/er",
        "deep/er/a.py",
        "empty",
        "folder",
        "inside",
        "outside",
        "run.sh",
        "secret.txt",
    }
    assert {(info.st_uid, info.st_gid) for info in found.values()} == {(61300, 61300)}
    assert stat.S_IMODE(found["run.sh"].st_mode) == 0o755
    assert stat.S_IMODE(found["secret.txt"].st_mode) == 0o644
    assert stat.S_IMODE(found["deep"].st_mode) == 0o755
    assert found["run.sh"].st_mtime_ns == 10**18
    assert (tmp_path / "copy" / "outside").readlink() == Path("/etc/passwd")
    assert (tmp_path / "copy" / "deep/er/a.py").read_text() == "a = 1\n"
    assert (copied.files, copied.size) == (4, 17)


def test_writing_to_the_copy_leaves_the_checkout_alone(checkout: Path, tmp_path: Path) -> None:
    copy_tree(checkout, tmp_path / "copy", leave_out=left_out)
    (tmp_path / "copy" / "deep/er/a.py").write_text("b = 2\n")
    assert (checkout / "deep/er/a.py").read_text() == "a = 1\n"
    assert (checkout / "deep/er/a.py").stat().st_nlink == 1


def test_too_many_files(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "ENTRIES_LIMIT", 3)
    with pytest.raises(DeployError, match="more than 3 files"):
        copy_tree(checkout, tmp_path / "copy")


def test_a_copy_from_another_file_system(tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
    try:
        (folder / "x").write_bytes(b"memory" * 1_000_000)
        copy_tree(folder, tmp_path / "b")
    finally:
        shutil.rmtree(folder)
    assert (tmp_path / "b" / "x").read_bytes() == b"memory" * 1_000_000


def test_the_user_owns_nothing(checkout: Path) -> None:
    os.chown(checkout / "empty", 61400, 61401, follow_symlinks=False)
    assert {61400, 61401} <= owners([checkout])
    for _ in range(5):
        assert free_user([checkout]) not in owners([checkout])


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_git_of_a_copy_knows_the_commit_and_none_of_the_configuration(tmp_path: Path) -> None:
    # Others have to get there: git runs as the user who owns the copy.
    for folder in (tmp_path, *tmp_path.parents):
        if folder.name.startswith(("pytest-", "popen-")) or folder == tmp_path:
            folder.chmod(0o755)
    root = tmp_path / "checkout"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    git(root, "config", "remote.origin.url", "https://x:token@github.com/octo/flows.git")
    git(root, "config", "http.extraheader", "token")
    git(root, "config", "core.fsmonitor", f"touch {tmp_path}/ran; false")
    (root / "a.py").write_text("a = 1\n")
    (root / ".gitignore").write_text("*.log\n")
    git(root, "-c", "core.fsmonitor=false", "add", "-A")
    git(root, "-c", "core.fsmonitor=false", "commit", "-q", "-m", "x")
    git(root, "-c", "core.fsmonitor=false", "tag", "v1.0")
    (tmp_path / "ran").unlink(missing_ok=True)
    copy_tree(root, tmp_path / "copy", owner=OWNER, leave_out=left_out)
    confinement = Confinement(OWNER.uid, OWNER.gid, {"PATH": os.environ["PATH"]})

    history = take_over(root, tmp_path / "copy", tmp_path / "git", confinement)

    assert history.commit is not None
    assert history.commit.sha == git(root, "-c", "core.fsmonitor=false", "rev-parse", "HEAD")
    assert (history.commit.branch, history.commit.tag, history.commit.clean) == ("main", "v1.0", True)
    assert history.commit.remote == "https://github.com/octo/flows"
    assert history.described.startswith("v1.0-0-g")
    assert "token" not in (tmp_path / "git" / "config").read_text()
    assert not (tmp_path / "ran").exists()
    (tmp_path / "copy" / "a.py").write_text("changed = 1\n")
    assert history.commit.link(tmp_path / "copy" / "a.py", 1).startswith(
        "https://github.com/octo/flows/blob/"
    )


def test_no_link_in_a_git_folder_brings_files_of_others_into_the_copy(tmp_path: Path) -> None:
    root, home = tmp_path / "checkout", tmp_path / "home"
    root.mkdir()
    (home / "heads").mkdir(parents=True)
    (home / "notes").write_text("planted-secret")
    git(root, "init", "-q", "-b", "main")
    shutil.rmtree(root / ".git" / "refs")
    (root / ".git" / "refs").symlink_to(home)
    (root / ".git" / "packed-refs").unlink(missing_ok=True)
    (root / ".git" / "packed-refs").symlink_to(home / "notes")
    copy_tree(root, tmp_path / "copy", owner=OWNER, leave_out=left_out)
    confinement = Confinement(OWNER.uid, OWNER.gid, {"PATH": os.environ["PATH"]})
    assert take_over(root, tmp_path / "copy", tmp_path / "git", confinement).commit is None
    copied = [path for path in (tmp_path / "git").rglob("*") if path.is_file()]
    assert (tmp_path / "git" / "HEAD") in copied
    assert not [path for path in copied if "planted-secret" in path.read_text()]
