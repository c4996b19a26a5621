"""Projects mean the same under every version of Flyte's SDK that is supported, the oldest first."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.same_meaning.compare import compare
from tests.same_meaning.layouts import package
from tests.same_meaning.projects import depending, selection

_REQUIREMENTS = Path(__file__).parents[2] / "requirements"
IMAGE = "registry.example.com/team/image:1"
VERSIONS = sorted(path.stem.removeprefix("sdk-") for path in _REQUIREMENTS.glob("sdk-*.txt"))


def environment_with(version: str) -> Path:
    """A virtual environment with that version, kept between runs; returns its folder of programs."""
    requirements = _REQUIREMENTS / f"sdk-{version}.txt"
    digest = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]
    base = Path(os.environ.get("FLYTE_DEPLOY_CACHE") or Path.home() / ".cache" / "flyte-deploy")
    folder = base / "sdk" / f"{version}-{digest}"
    programs = Path(sys.executable).parent
    uv = shutil.which("uv", path=f"{programs}:{os.environ['PATH']}")
    assert uv, "there is no uv: run make setup"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
            install = [
                uv,
                "pip",
                "install",
                "--quiet",
                "--require-hashes",
                "--requirement",
                str(requirements),
            ]
            subprocess.run([*install, "--python", str(folder / "bin/python")], check=True)
            (folder / "done").touch()
    return folder / "bin"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_version_of_the_sdk(version: str, tmp_path: Path) -> None:
    programs = environment_with(version)
    counted = []
    for write, arguments in (
        (selection, ("flow.py", "second")),
        (depending, ("flow.py", "top")),
        (package, ("--recursive", ".")),
    ):
        folder = tmp_path / write.__name__
        folder.mkdir()
        write(folder)
        for file in folder.rglob("*.py"):
            # Older versions look for their default image with Docker, and the oldest know no includes.
            text = file.read_text().replace(', include=["read.me"]', "")
            file.write_text(text.replace("TaskEnvironment(", f'TaskEnvironment(image="{IMAGE}", '))
        result = compare(folder, arguments, flyte=str(programs / "flyte"), python=str(programs / "python"))
        assert result.differences == ()
        counted.append(result.tasks)
    assert counted == [3, 4, 6]
