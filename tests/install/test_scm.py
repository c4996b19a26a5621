"""Versions that a build takes from git: the same as setuptools-scm's own."""

from __future__ import annotations

import pytest

from flyte_deploy.project.scm import pretended, version_of
from tests.conftest import Write

SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("described", "version"),
    [
        ("v1.2.3-0-g0123456", "1.2.3"),
        ("v1.2.3-4-g0123456", "1.2.4.dev4+g0123456"),
        ("flows-2.0-1-g0123456", "2.1.dev1+g0123456"),
        ("1.0rc1-0-g0123456", "1.0rc1"),
        ("", "0.1.dev0+g0123456"),
        ("release-x9y-0-g0123456", "0.1.dev0+g0123456"),
    ],
)
def test_version(described: str, version: str) -> None:
    assert version_of(described, SHA) == version


def test_each_tool_is_told_in_its_own_way(write: Write) -> None:
    def project(name: str, needs: str, dynamic: str = '"version"') -> str:
        return (
            f'[project]\nname = "{name}"\ndynamic = [{dynamic}]\n'
            f'[build-system]\nrequires = ["{needs}"]\nbuild-backend = "x"\n'
        )

    root = write(
        {
            "a/pyproject.toml": project("my.Flow-s", "setuptools-scm[toml]>=8"),
            "b/pyproject.toml": project("b", "hatch-vcs"),
            "c/pyproject.toml": project("c", "setuptools_scm", dynamic=""),
            "d/pyproject.toml": "no TOML [",
        }
    )
    assert pretended(root, root, "1.0") == {
        "SETUPTOOLS_SCM_PRETEND_VERSION_FOR_MY_FLOW_S": "1.0",
        "SETUPTOOLS_SCM_PRETEND_VERSION": "1.0",
    }
