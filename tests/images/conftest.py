"""Images described by the real SDK, sent through JSON as the collector's message is, and rendered."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from flyte_deploy.collector.inside import describe, images
from flyte_deploy.embedded import running
from flyte_deploy.images.recipe import Recipe
from flyte_deploy.images.render import CodeFiles, render
from flyte_deploy.images.source import ImageSource
from flyte_deploy.model import Image
from tests.deploy.conftest import Cli
from tests.engine import Engine
from tests.images.builds import Builds

Rendered = Callable[..., Recipe]

PROJECT = """\
[project]
name = "app"
version = "1"
requires-python = ">=3.10"
dependencies = ["idna==3.10"]

[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
"""
POETRY = """\
[project]
name = "app"
version = "1"
requires-python = ">=3.11,<4"

[tool.poetry]
packages = [{ include = "app" }]

[build-system]
requires = ["poetry-core"]
build-backend = "poetry.core.masonry.api"
"""
SCRIPT = "# /// script\n# requires-python = '>=3.11'\n# dependencies = ['idna==3.10']\n# ///\n"


def described(image: Any, root: Path) -> Image:
    """An image as it comes out of the collector."""
    data = describe.image(image)
    if data["kind"] == "build":
        return msgspec.convert(
            json.loads(json.dumps({**data, "source": images.source(image, str(root))})), Image
        )
    return msgspec.convert(json.loads(json.dumps(data)), Image)


def source_of(image: Any, root: Path) -> ImageSource:
    """The description of an image that has to be built."""
    found = described(image, root)
    assert found.kind == "build"
    assert found.source is not None
    return found.source


@pytest.fixture(autouse=True)
def uv_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The uv of the set-up, which Flyte's SDK and the collector look for on PATH."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty checkout that is the working directory; what lies beside it is outside."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder.resolve()


@pytest.fixture
def rendered(checkout: Path) -> Rendered:
    """Renders a `flyte.Image`; more arguments are those of `render`."""

    def make(image: Any, **more: Any) -> Recipe:
        loaded = more.pop("loaded", None)
        code = None if loaded is None else CodeFiles(".", lambda: loaded, lambda: loaded)
        return render(source_of(image, checkout), checkout, where="flow.py:3", code=code, **more)

    return make


@pytest.fixture
def builds(engine: Engine, tmp_path: Path) -> Iterator[Builds]:
    home = tmp_path / "home"
    home.mkdir()
    with running() as server:
        yield Builds(Cli(server, home), engine, server, f"{engine.registry}/{uuid4().hex[:12]}")


def files(folder: Path, contents: dict[str, str]) -> None:
    """Write files below a folder."""
    for name, text in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def runs(recipe: Recipe) -> list[str]:
    """The instructions of a Dockerfile, continued lines put together."""
    return recipe.dockerfile.replace(" \\\n   ", "").splitlines()


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout that has what the images above take in."""
    root = tmp_path_factory.mktemp("checkout").resolve()
    files(
        root,
        {
            "requirements.txt": "tomli==2.2.1\n",
            "src/a.py": "1",
            "src/sub/b.py": "2",
            "notes.txt": "notes",
            # The SDK remembers scripts by their relative paths: another test must not use the name.
            "same_image_job.py": SCRIPT,
            "ignored": "**/*.md\n",
            "uv/pyproject.toml": PROJECT,
            "uv/app/__init__.py": "",
            "uv/README.md": "",
            "poetry/pyproject.toml": POETRY,
            "poetry/app/__init__.py": "",
            "docker/Dockerfile": "FROM python:3.11-slim-bookworm\nCOPY . /here\nWORKDIR /here\nENV A=b\n",
            "docker/.dockerignore": "*.md\n",
            "docker/x.txt": "",
            "docker/x.md": "",
        },
    )
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for folder, *command in (
        ("uv", "lock"),
        ("uv", "build", "--wheel", "-o", str(root / "wheels")),
        ("poetry", "tool", "run", "--from", "poetry", "poetry", "lock"),
    ):
        subprocess.run(
            ["uv", *command],
            cwd=root / folder,
            check=True,
            capture_output=True,
            env={**os.environ, "PATH": path},
        )
    return root
