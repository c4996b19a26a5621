"""Images built on a real engine: what a change builds again, and what never reaches one."""

from __future__ import annotations

import json
import re
import secrets
from pathlib import Path
from typing import Any

from flyte import Image

from flyte_deploy.images.auth import Credentials
from flyte_deploy.images.buildx import Choices
from flyte_deploy.images.identity import tag
from flyte_deploy.images.local import LocalBuilder, RegistryFinder
from flyte_deploy.images.recipe import Built, Wanted
from flyte_deploy.images.registry import Registries
from flyte_deploy.images.render import render
from flyte_deploy.model import Progress
from tests.engine import Engine
from tests.images.conftest import PROJECT, files, source_of
from tests.images.test_same_image import PLATFORM


def build(image: Any, checkout: Path, engine: Engine) -> tuple[Built, list[str]]:
    """Build an image; it, and the lines of the log."""
    recipe = render(source_of(image, checkout), checkout)
    repository = f"{engine.registry}/{image.name}"
    wanted = Wanted(repository, tag(recipe), recipe, ("env",))
    heard: list[Progress] = []
    registries = Registries(Credentials(()))
    builder = LocalBuilder(
        Choices(builder="default"), 1, registries, RegistryFinder(registries), engine.environ()
    )
    builder.check([wanted])
    (built,) = builder.build([wanted], heard.append)
    return built, [each.text for each in heard if each.kind == "build"]


def cached(lines: list[str], part: str) -> bool:
    """Whether the step that holds a text was found in the cache."""
    (number,) = {match[1] for line in lines if part in line and (match := re.match(r"#(\d+) \[", line))}
    return f"#{number} CACHED" in lines


def test_a_change_of_code_does_not_install_dependencies_again(checkout: Path, engine: Engine) -> None:
    word = secrets.token_hex(8)
    files(checkout, {"pyproject.toml": PROJECT, "app/__init__.py": f"WORD = '{word}'\n"})
    lock = 'version = 1\nrequires-python = ">=3.10"\n'
    files(
        checkout,
        {"uv.lock": lock + '\n[[package]]\nname = "app"\nversion = "1"\nsource = { editable = "." }\n'},
    )
    base = Image.from_base("python:3.11-slim-bookworm").clone(
        name=f"layers-{word}", registry=engine.registry, extendable=True, python_version=(3, 11)
    )
    image = (
        base.clone(platform=(PLATFORM,))
        .with_env_vars({"WORD": word})
        .with_uv_project("pyproject.toml", project_install_mode="install_project")
    )
    (checkout / "pyproject.toml").write_text(
        PROJECT.replace('dependencies = ["idna==3.10"]', "dependencies = []")
    )
    first, log = build(image, checkout, engine)
    assert not cached(log, "--no-install-project")
    (checkout / "app" / "__init__.py").write_text("WORD = 'other'\n")
    second, log = build(image, checkout, engine)
    assert second.wanted.tag != first.wanted.tag
    assert cached(log, "--no-install-project")
    assert not cached(log, "--no-editable")
    said = engine.docker("run", "--rm", second.found.address, "python", "-c", "import app; print(app.WORD)")
    assert said.strip() == "other"


def test_git_and_credentials_never_reach_an_image(checkout: Path, engine: Engine) -> None:
    word = secrets.token_hex(8)
    files(
        checkout,
        {
            "Dockerfile": f"FROM python:3.11-slim-bookworm\nCOPY . /here\nENV WORD={word}\n",
            ".dockerignore": "*.md\n!.git\n!gha-creds-1.json\n",
            "a.py": "",
            "notes.md": "",
            ".git/config": "token",
            "sub/.git/config": "token",
            "sub/b.py": "",
            "sub/__pycache__/b.pyc": "",
            "gha-creds-1.json": "secret",
        },
    )
    name = f"own-{word}"
    image = Image.from_dockerfile(checkout / "Dockerfile", engine.registry, name, platform=(PLATFORM,))
    built, _ = build(image, checkout, engine)
    found = engine.docker("run", "--rm", built.found.address, "find", "/here", "-type", "f").split()
    assert sorted(found) == ["/here/.dockerignore", "/here/Dockerfile", "/here/a.py", "/here/sub/b.py"]


def test_values_stand_as_they_were_written(checkout: Path, engine: Engine) -> None:
    word = secrets.token_hex(8)
    values = {
        "SPACES": "hello  world",
        "MIXED": 'say "hi" \\ to',
        "END": "a\\",
        "ONE": "b \\",
        "EMPTY": "",
        "FILLED": f"{word} $SPACES",
        "APOSTROPHE": "it's",
    }
    odd = 'odd [name] "1" *.txt'
    files(checkout, {odd: word})
    base = Image.from_base("python:3.11-slim-bookworm").clone(
        name=f"values-{word}", registry=engine.registry, extendable=True, python_version=(3, 11)
    )
    image = (
        base.clone(platform=(PLATFORM,))
        .with_env_vars(values)
        .with_source_file(Path(odd), "/a dir/")
        .with_source_file(Path(odd), "/b.txt")
    )
    built, _ = build(image, checkout, engine)
    script = "import os, json; print(json.dumps([dict(os.environ), os.listdir('/a dir')]))"
    environment, names = json.loads(engine.docker("run", "--rm", built.found.address, "python", "-c", script))
    assert names == [odd]
    assert engine.docker("run", "--rm", built.found.address, "cat", "/b.txt") == word
    assert {name: environment[name] for name in values} == {**values, "FILLED": f"{word} hello  world"}
