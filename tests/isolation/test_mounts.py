"""What is mounted into a container, and closing it."""

from __future__ import annotations

from pathlib import Path

import pytest

from flyte_deploy.errors import DeployError
from flyte_deploy.isolation.inside import landlock
from flyte_deploy.isolation.mounts import close, foreign_mounts
from tests.isolation.test_certificates import CERTIFICATE, KEY

# Of a container that was started as GitHub's runner starts it, shortened.
MOUNTINFO = r"""
522 477 0:71 / / rw,relatime master:1 - overlay overlay rw,lowerdir=/var/lib/docker
523 522 0:74 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
524 522 0:75 / /dev rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755
525 524 0:76 / /dev/pts rw,nosuid,noexec,relatime - devpts devpts rw,gid=5
526 522 0:77 / /sys ro,nosuid,nodev,noexec,relatime - sysfs sysfs ro
528 524 0:73 / /dev/mqueue rw,nosuid,nodev,noexec,relatime - mqueue mqueue rw
529 524 0:78 / /dev/shm rw,nosuid,nodev,noexec,relatime - tmpfs shm rw,size=65536k
530 522 8:1 /home/runner/work/_temp /github/runner_temp rw,relatime - ext4 /dev/root rw
531 522 8:1 /home/runner/work/flows/flows /github/workspace rw,relatime - ext4 /dev/root rw
532 522 8:1 /home/runner/work/with\040space /github/a\040space rw,relatime - ext4 /dev/root rw
533 522 0:25 /docker.sock /run/docker.sock rw,nosuid,nodev - tmpfs tmpfs rw,size=800000k
534 522 8:1 /var/lib/docker/containers/1/resolv.conf /etc/resolv.conf rw,relatime - ext4 /dev/root rw
535 522 8:1 /var/lib/docker/containers/1/hosts /etc/hosts rw,relatime - ext4 /dev/root rw
478 523 0:74 /bus /proc/bus ro,nosuid,nodev,noexec,relatime - proc proc rw
479 523 0:79 / /proc/cpuinfo rw,nosuid,nodev,relatime - fuse.lxcfs lxcfs rw
480 522 0:80 / /sys/firmware ro,relatime - tmpfs tmpfs ro
481 524 8:1 /pods/1/termination-log /dev/termination-log rw,relatime - ext4 /dev/root rw
482 522 0:150 / /run/secrets/kubernetes.io/serviceaccount ro,relatime - tmpfs tmpfs rw,size=1024k
483 522 0:151 / /github/tmpfs rw,relatime - tmpfs tmpfs rw
484 522 0:74 / /machine/proc rw,relatime - proc proc rw
485 522 0:152 / /development rw,relatime - tmpfs tmpfs rw
486 524 8:1 /home/runner/secret /dev/secret rw,relatime - ext4 /dev/root rw
""".strip()


def test_foreign_mounts() -> None:
    assert [str(path) for path in foreign_mounts(MOUNTINFO)] == [
        "/github/runner_temp",
        "/github/workspace",
        "/github/a space",
        "/run/docker.sock",
        "/run/secrets/kubernetes.io/serviceaccount",
        "/github/tmpfs",
        "/machine/proc",
        "/development",
        "/dev/secret",
    ]


def test_the_folder_that_holds_them_is_closed(tmp_path: Path) -> None:
    for name in ("github/workspace", "github/home/.docker", "run", "tools/one", "base"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "run" / "docker.sock").touch()
    (tmp_path / "github").chmod(0o755)
    (tmp_path / "github" / "workspace").chmod(0o755)
    names = ("github/workspace", "github/home", "github/home/.docker", "run/docker.sock", "tools")
    closed = close([tmp_path / name for name in names], [tmp_path / "base"])
    assert closed.folders == (tmp_path / "github", tmp_path / "run")
    assert (tmp_path / "github").stat().st_mode & 0o777 == 0o700
    # What is mounted has the machine's modes, which are not ours to change.
    assert (tmp_path / "github" / "workspace").stat().st_mode & 0o777 == 0o755
    assert closed.left == (tmp_path / "tools",)
    assert closed.by_landlock() == (tmp_path / "github", tmp_path / "run", tmp_path / "tools")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    for name in ("opt/tools", "opt/project/bin", "opt/project/lib/mounted", "tmp"):
        (tmp_path / name).mkdir(parents=True)
    for folder in (tmp_path, *tmp_path.rglob("*")):
        folder.chmod(0o755)
    (tmp_path / "opt" / "tools" / "file").touch()
    return tmp_path


def test_what_the_code_needs_stays_open_with_what_is_below_it(machine: Path) -> None:
    closed = close([machine / "opt/tools", machine / "opt/project/lib/mounted"], [machine / "opt/project"])
    assert closed.folders == ()
    assert closed.left == (machine / "opt/project/lib/mounted", machine / "opt/tools")
    assert {path.stat().st_mode & 0o777 for path in machine.rglob("*") if path.is_dir()} == {0o755}
    # Where nothing of it is needed the folder itself is closed.
    assert close([machine / "opt/tools"], [machine / "tmp"]).folders == (machine / "opt",)


def test_what_only_landlock_can_close_is_open_without_it(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = close([machine / "opt/tools"], [machine / "opt/project"])
    monkeypatch.setattr(landlock, "version", lambda: 1)
    assert closed.open() == ()
    assert closed.by_landlock() == (machine / "opt/tools",)
    monkeypatch.setattr(landlock, "version", lambda: 0)
    assert closed.open() == (machine / "opt/tools",)


def test_what_keeps_others_out_by_its_own_mode_is_closed(machine: Path) -> None:
    (machine / "opt" / "tools").chmod(0o750)
    closed = close([machine / "opt/tools"], [machine / "opt/project"])
    assert (closed.folders, closed.left) == ((), ())


def test_a_mount_that_is_needed_is_refused_unless_it_is_empty(machine: Path) -> None:
    assert close([machine / "tmp"], [machine / "tmp" / "one"]).by_landlock() == ()
    with pytest.raises(DeployError, match=f"that needs {machine}/opt/tools/python") as caught:
        close([machine / "opt/tools"], [machine / "opt/tools/python"])
    assert "an interpreter that is not mounted" in str(caught.value.mend)


def test_a_file_of_authorities_stays_open_and_any_other_does_not(machine: Path) -> None:
    files = [machine / "opt" / "project" / name for name in ("ca.pem", "both.pem")]
    files[0].write_text(CERTIFICATE)
    files[1].write_text(CERTIFICATE + KEY)
    assert close(files, [machine / "opt" / "project"]).by_landlock() == (files[1],)
