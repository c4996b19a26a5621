"""What is given to the project's code and taken back, and the folder that its programs start in."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from flyte_deploy.collector.process import IsolatedProcess
from flyte_deploy.errors import DeployError
from flyte_deploy.isolation import confinement as confinement_module
from flyte_deploy.isolation.confinement import Confinement, scratch_folder
from flyte_deploy.isolation.users import free_user
from flyte_deploy.project import steps
from flyte_deploy.project.git import KeptApart, kept_apart, run_git
from flyte_deploy.project.steps import run_step
from tests.attacks.deployer import forget_landlock

# Each process of the tests has its own: all that runs as the user is ended.
UID = free_user([])
ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder that everybody can enter."""
    folder = Path(tempfile.mkdtemp(prefix="flyte-deploy-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        # It goes as deep as it has to.
        subprocess.run(["rm", "-rf", str(folder)], check=True)


@pytest.fixture
def host(base: Path) -> Path:
    """A folder of somebody else's, with a file that they may write to."""
    folder = base / "host"
    folder.mkdir()
    (folder / "file").write_text("x")
    (folder / "file").chmod(0o666)
    for path in (folder, folder / "file"):
        os.chown(path, 1001, 1001)
    return folder


def owner(path: Path) -> tuple[int, int]:
    info = path.lstat()
    return info.st_uid, info.st_mode & 0o7777


def confined(base: Path) -> Confinement:
    return Confinement(UID, UID, ENVIRONMENT, closed=(base / "closed",), scratch=base)


@pytest.mark.parametrize("way", ["given", "taken back"])
def test_a_link_in_the_place_of_a_folder_is_not_followed(base: Path, host: Path, way: str) -> None:
    (base / "captures").symlink_to(host)
    with pytest.raises(DeployError, match="no folder that the project's code may have"):
        (confined(base).give if way == "given" else Confinement.take_back)(base / "captures")
    assert owner(host)[0] == 1001
    assert owner(host / "file") == (1001, 0o666)


@pytest.mark.parametrize("way", ["given", "taken back"])
def test_links_below_a_folder_are_not_followed(base: Path, host: Path, way: str) -> None:
    (base / "captures").mkdir()
    (base / "captures" / "folder").symlink_to(host)
    (base / "captures" / "file").symlink_to(host / "file")
    (confined(base).give if way == "given" else Confinement.take_back)(base / "captures")
    whose = UID if way == "given" else os.getuid()
    assert {owner(path)[0] for path in (base / "captures").iterdir()} == {whose}
    assert owner(host)[0] == 1001
    assert owner(host / "file") == (1001, 0o666)


def test_what_is_taken_back_is_written_and_run_by_nobody_else(base: Path) -> None:
    given = base / "given"
    (given / "deep").mkdir(parents=True)
    (given / "deep" / "program").write_text("x")
    confined(base).give(given)
    (given / "deep").chmod(0o1777)
    (given / "deep" / "program").chmod(0o6777)
    Confinement.take_back(given)
    assert owner(given / "deep") == (0, 0o755)
    assert owner(given / "deep" / "program") == (0, 0o755)


def test_nothing_is_given_that_others_could_put_something_else_for(base: Path) -> None:
    base.chmod(0o1777)
    (base / "captures").mkdir()
    with pytest.raises(DeployError, match="others can write to the folder above it"):
        confined(base).give(base / "captures")
    base.chmod(0o755)
    os.chown(base, UID, UID)
    with pytest.raises(DeployError, match="others can write to the folder above it"):
        confined(base).give(base / "captures")
    os.chown(base, 0, 0)
    confined(base).give(base / "captures")
    assert owner(base / "captures")[0] == UID


def test_folders_nested_too_deep_are_an_error_and_no_trouble_in_cleaning_up(base: Path) -> None:
    before = os.open("/", os.O_RDONLY)
    try:
        with scratch_folder(confined(base)) as folder:
            os.chdir(folder)
            for _ in range(3000):
                Path("d").mkdir()
                os.chdir("d")
            os.fchdir(before)
            with pytest.raises(DeployError, match="no folder that the project's code may have"):
                Confinement.take_back(folder)
    finally:
        os.fchdir(before)
        os.close(before)


def test_a_scratch_folder_lies_where_only_root_can_write(base: Path) -> None:
    with scratch_folder(confined(base)) as folder:
        assert folder.parent == base
        folder.rmdir()
        folder.symlink_to("/etc")
    assert Path("/etc/passwd").exists()


@pytest.fixture(params=[True, False], ids=["Landlock", "no Landlock"])
def closed(request: pytest.FixtureRequest, base: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A closed folder, and a folder of the code's own that the code has replaced by a link to it."""
    monkeypatch.setattr(confinement_module, "_INSIDE", confinement_module._INSIDE)
    if not request.param:
        forget_landlock(base)
    secrets = base / "closed" / "home"
    secrets.mkdir(parents=True)
    (secrets / "notes").write_text("planted-secret\n")
    (secrets / "notes").chmod(0o644)
    secrets.chmod(0o755)
    (base / "closed").chmod(0o700)
    (base / "checkout").mkdir()
    confined(base).give(base / "checkout")
    (base / "checkout" / "app").symlink_to(secrets)
    return base / "checkout" / "app"


def test_a_step_does_not_enter_a_closed_folder_by_a_link(base: Path, closed: Path) -> None:
    with pytest.raises(DeployError, match=r"Permission denied: '.*/checkout/app'"):
        run_step(["cat", "notes"], environment=ENVIRONMENT, folder=closed, confinement=confined(base))
    own = base / "checkout"
    done = run_step(["pwd"], environment=ENVIRONMENT, folder=own, confinement=confined(base))
    assert done.lines == (str(own),)
    # The secret is there for who may enter.
    unconfined = run_step(["cat", "notes"], environment=ENVIRONMENT, folder=closed, confinement=None)
    assert unconfined.lines == ("planted-secret",)


def test_the_collector_does_not_enter_a_closed_folder_by_a_link(base: Path, closed: Path) -> None:
    for folder, confinement in ((closed, confined(base)), (closed, None)):
        heard: list[str] = []
        process = IsolatedProcess(
            ["/bin/sh", "-c", "cat notes"],
            document=b"",
            environment=ENVIRONMENT,
            folder=folder,
            on_line=heard.append,
            confinement=confinement,
        )
        list(process.lines(lambda: 20))
        status = process.end()
        if confinement is None:
            assert heard == ["planted-secret"]
        else:
            assert "Permission denied" in str(process.not_confined(status))
            assert "planted-secret" not in heard


def test_git_does_not_enter_a_closed_folder_by_a_link(base: Path, closed: Path) -> None:
    with kept_apart(base / "checkout", KeptApart(None, base / "git", confined(base))):
        done = run_git(closed, base / "checkout", "-c", "alias.show-it=!cat notes", "show-it")
    assert done is not None
    assert b"planted-secret" not in done.stdout
    assert b"Permission denied" in done.stderr


def test_a_step_that_goes_on_without_output_is_waited_for(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet = [sys.executable, "-c", "import os, time; os.close(1); os.close(2); time.sleep(30)"]
    monkeypatch.setattr(steps, "STEP_TIMEOUT", 1.0)
    with pytest.raises(DeployError, match="took longer than 1 s"):
        run_step(quiet, environment=ENVIRONMENT, folder=base, confinement=None)
