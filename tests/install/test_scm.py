"""Versions that a build takes from git: the same as setuptools-scm's own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from flyte_deploy.isolation.staging import copy_tree, is_left_out
from flyte_deploy.project.git import describe, read_commit
from flyte_deploy.project.scm import asking_git, pretended, version_of
from tests.conftest import Write
from tests.install.conftest import Workshop

SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("described", "version"),
    [
        ("v1.2.3-0-g0123456", "1.2.3"),
        ("v1.2.3-4-g0123456", "1.2.4.dev4+g012345678"),
        ("flows-2.0-1-g0123456", "2.1.dev1+g012345678"),
        ("1.0rc1-0-g0123456", "1.0rc1"),
        ("", "0.1.dev0+g012345678"),
        ("release-x9y-0-g0123456", "0.1.dev0+g012345678"),
    ],
)
def test_version(described: str, version: str) -> None:
    assert version_of(described, SHA) == version


def test_each_tool_is_told_in_its_own_way(write: Write) -> None:
    def project(name: str, needs: str, dynamic: str = '"version"', more: str = "") -> str:
        return (
            f'[project]\nname = "{name}"\ndynamic = [{dynamic}]\n'
            f'[build-system]\nrequires = ["{needs}"]\nbuild-backend = "x"\n{more}'
        )

    root = write(
        {
            "a/pyproject.toml": project("my.Flow-s", "setuptools-scm[toml]>=8"),
            "b/pyproject.toml": project("b", "hatch_vcs"),
            "c/pyproject.toml": project("c", "setuptools_scm", dynamic=""),
            "d/pyproject.toml": project("d", "pdm-backend"),
            "e/pyproject.toml": project("e", "pdm-backend", more='[tool.pdm.version]\nsource = "scm"\n'),
            "f/pyproject.toml": '[build-system]\nrequires = ["setuptools", "setuptools_scm>=6.2"]\n',
            "g/setup.py": "",
            "unrelated/pyproject.toml": project("unrelated", "hatch-vcs"),
        }
    )
    told = pretended(asking_git([root / name for name in "abcdefg"], root), "1.0")
    assert told.variables == {
        "SETUPTOOLS_SCM_PRETEND_VERSION_FOR_MY_FLOW_S": "1.0",
        # Only its build knows the name of this one.
        "SETUPTOOLS_SCM_PRETEND_VERSION": "1.0",
    }
    assert told.configuration == (
        "[extra-build-variables]\n"
        '"b" = { SETUPTOOLS_SCM_PRETEND_VERSION = "1.0" }\n'
        '"e" = { PDM_BUILD_SCM_VERSION = "1.0" }\n'
    )


SETUPTOOLS = """
[build-system]
requires = ["setuptools>=77", "setuptools-scm>=8"]
build-backend = "setuptools.build_meta"
[project]
name = "daily-flows"
dynamic = ["version"]
dependencies = ["flyte"]
[tool.setuptools_scm]
"""
HATCH = """
[build-system]
requires = ["hatchling", "hatch-vcs"]
build-backend = "hatchling.build"
[project]
name = "daily-flows"
dynamic = ["version"]
dependencies = ["flyte"]
[tool.hatch.version]
source = "vcs"
[tool.hatch.build.targets.wheel]
packages = ["src/flows"]
"""


@pytest.mark.parametrize("locked", [True, False])
@pytest.mark.parametrize("project", [SETUPTOOLS, HATCH], ids=["setuptools-scm", "hatch-vcs"])
def test_a_copy_without_git_has_the_version_of_the_checkout(
    workshop: Callable[[dict[str, str]], Workshop], project: str, locked: bool, tmp_path: Path
) -> None:
    made = workshop({"pyproject.toml": project, "src/flows/__init__.py": ""})
    # The tools come from the index.
    made.more = {"UV_OFFLINE": "0"}

    def git(*arguments: str) -> None:
        who = ("-c", "user.name=Mona", "-c", "user.email=mona@example.com")
        subprocess.run(["git", *who, *arguments], cwd=made.root, check=True, capture_output=True)

    git("init", "-q")
    git("add", "-A")
    git("commit", "-q", "-m", "Flows")
    git("tag", "v1.4.2")
    if locked:
        made.lock()
        git("add", "uv.lock")
    git("commit", "-q", "--allow-empty", "-m", "More flows")
    checkout, said = made.root, describe(made.root)
    commit = read_commit(checkout)
    assert commit is not None

    def version() -> str:
        installed = made.install()
        assert installed is not None
        code = "from importlib.metadata import version as v; import flows"
        found, module = made.imports(installed, f"{code}; print(v('daily-flows'), flows.__file__)").split(
            " ", 1
        )
        assert Path(module).is_relative_to(made.root)
        return found

    made.root = tmp_path / "copy"
    copy_tree(checkout, made.root, leave_out=lambda name, path: is_left_out(name))
    assert not (made.root / ".git").exists()
    made.version = version_of(said, commit.sha)
    copied = version()
    made.root, made.version = checkout, ""
    assert copied == version() == f"1.4.3.dev1+g{commit.sha[:9]}"
