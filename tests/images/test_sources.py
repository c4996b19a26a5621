"""Files and folders that the workflow gives to builds: found where they were named, wherever docker runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from flyte_deploy.errors import DeployError
from flyte_deploy.images.buildx import context_sources, secret_sources


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The copy of a checkout, with a folder that the command was started in, and a link that leads out."""
    (tmp_path / "copy" / "app" / "wheels").mkdir(parents=True)
    (tmp_path / "copy" / "npmrc").write_text("token-of-the-registry")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "notes").write_text("planted-secret")
    (tmp_path / "copy" / "app" / "out").symlink_to(tmp_path / "home")
    return tmp_path / "copy"


def test_relative_ones_are_relative_to_where_the_command_was_started(copy: Path) -> None:
    folder = copy / "app"
    remote = ("base=docker-image://alpine:3", "x=target:base", "y=git@host:a.git", "z=https://host/a.git")
    assert context_sources(("wheels=./wheels", "all=.", "top=..", *remote), folder, copy) == (
        f"wheels={folder}/wheels",
        f"all={folder}",
        f"top={copy}",
        *remote,
    )
    assert context_sources(("a=/absolute",), folder) == ("a=/absolute",)
    assert secret_sources(("NPMRC=../npmrc",), {}, folder, copy) == {"NPMRC": f"src={copy}/npmrc"}


def test_a_link_leads_nowhere_else(copy: Path) -> None:
    folder = copy / "app"
    with pytest.raises(DeployError, match="out is a link that leads out of the checkout"):
        context_sources(("x=out",), folder, copy)
    with pytest.raises(DeployError, match="out/notes is a link that leads out of the checkout"):
        secret_sources(("X=./out/notes",), {}, folder, copy)
