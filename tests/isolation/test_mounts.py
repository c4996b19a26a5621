"""What is mounted into a container, and closing it."""

from __future__ import annotations

from pathlib import Path

from flyte_deploy.isolation.mounts import close, foreign_mounts

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
""".strip()


def test_foreign_mounts() -> None:
    assert [str(path) for path in foreign_mounts(MOUNTINFO)] == [
        "/github/runner_temp",
        "/github/workspace",
        "/github/a space",
        "/run/docker.sock",
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
