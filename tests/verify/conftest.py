"""Deploys as users run them, in a temporary folder that is looked into afterwards."""

from __future__ import annotations

import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Write
from tests.deploy.conftest import Cli, cli, server

__all__ = ["cli", "server"]


@dataclass(frozen=True)
class Project:
    """A project on disk and the command line to deploy it with.

    After each command nothing is left in the folder for temporary files.
    """

    root: Path
    cli: Cli
    temporary: Path

    def deploy(self, *arguments: str, **environment: str) -> Any:
        """A deploy that has to succeed; the names of its steps are in `steps` of its document."""
        document = self.cli.deploy(self.root, *arguments, TMPDIR=str(self.temporary), **environment)
        assert list(self.temporary.iterdir()) == []
        return document

    def refused(self, *arguments: str, **environment: str) -> Any:
        """The error of a deploy that has to fail before anything is written."""
        result = self.cli.to_server(
            "deploy", self.root, *arguments, TMPDIR=str(self.temporary), **environment
        )
        assert result.status == 1, result.err
        assert list(self.temporary.iterdir()) == []
        assert self.cli.writes() == []
        return result.json["error"]


class Make:
    """Writes a project's files and gives the `Project`."""

    def __init__(self, write: Write, cli: Cli, temporary: Path) -> None:
        self._write = write
        self._cli = cli
        self._temporary = temporary

    def __call__(self, files: dict[str, str]) -> Project:
        self._temporary.mkdir()
        return Project(self._write(files), self._cli, self._temporary)


@pytest.fixture
def make(write: Write, cli: Cli, tmp_path: Path) -> Make:
    return Make(write, cli, tmp_path / "temporary")


def environment_in(root: Path, pth: dict[str, str]) -> Path:
    """A virtual environment ``.venv`` in a project, with the packages of this one and some .pth files.

    Returns its folder for packages.
    """
    venv.create(root / ".venv", with_pip=False, symlinks=True)
    packages = Path(
        sysconfig.get_path("purelib", vars={"base": str(root / ".venv"), "platbase": str(root / ".venv")})
    )
    assert packages.is_dir(), sys.version
    pth = {"packages.pth": sysconfig.get_path("purelib"), **pth}
    for name, text in pth.items():
        (packages / name).write_text(text + "\n")
    return packages
