"""The tag: it tells apart what the SDK's does not, and nothing that is the same."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
from flyte import Image

from flyte_deploy.errors import DeployError
from flyte_deploy.images.identity import LENGTH, tag
from flyte_deploy.images.recipe import ContextFile, Recipe
from tests.images.conftest import Rendered, files


def debian(**more: Any) -> Image:
    given = {"name": "x", "registry": "registry.example", "python_version": (3, 11), **more}
    return Image.from_debian_base(**given)


def own(*layers: str) -> Image:
    return Image.from_base("python:3.11").clone(name="x", extendable=True)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda: debian().with_pip_packages("a", "bc"), lambda: debian().with_pip_packages("ab", "c")),
        (lambda: debian().with_pip_packages("x"), lambda: debian().with_apt_packages("x")),
        (lambda: debian().with_apt_packages("x"), lambda: debian().with_commands(["x"])),
        (lambda: own().clone(python_version=(3, 11)), lambda: own().clone(python_version=(3, 12))),
        (lambda: debian(platform=("linux/amd64",)), lambda: debian(platform=("linux/arm64",))),
        (lambda: debian().with_commands(["a", "b"]), lambda: debian().with_commands(["ab"])),
        (
            lambda: debian().with_env_vars({"A": "B C=D"}),
            lambda: debian().with_env_vars({"A": "B", "C": "D"}),
        ),
    ],
)
def test_what_collides_in_the_sdk(rendered: Rendered, one: Any, other: Any) -> None:
    assert one()._get_hash_digest() == other()._get_hash_digest(), "the SDK has mended this one"
    assert tag(rendered(one())) != tag(rendered(other()))


def test_form(rendered: Rendered) -> None:
    found = tag(rendered(debian().with_pip_packages("six")))
    assert len(found) == LENGTH == 40
    assert found == found.lower()
    int(found, 16)


def test_all_that_decides_what_an_image_holds_counts(rendered: Rendered, checkout: Path) -> None:
    files(
        checkout,
        {"r.txt": "-r more.txt\n", "more.txt": "six", "src/a.py": "1", "d/Dockerfile": "FROM a", "d/f": "1"},
    )
    seen: set[str] = set()

    def new() -> bool:
        requirements = rendered(debian().with_requirements("r.txt"))
        sources = rendered(debian().with_source_folder(Path("src")))
        dockerfile = rendered(Image.from_dockerfile(Path("d/Dockerfile"), "r.example", "x"))
        tags = tag(requirements), tag(sources), tag(dockerfile)
        found = any(each not in seen for each in tags)
        seen.update(tags)
        return found

    assert new()
    assert not new()
    for change in (
        lambda: (checkout / "more.txt").write_text("numpy"),
        lambda: (checkout / "src/a.py").write_text("2"),
        lambda: (checkout / "src/a.py").chmod(0o755),
        lambda: (checkout / "src/a.py").rename(checkout / "src/b.py"),
        lambda: (checkout / "d/f").write_text("2"),
        lambda: (checkout / "d/link").symlink_to("f"),
        lambda: (checkout / "d/Dockerfile").write_text("FROM b"),
    ):
        change()
        assert new()


def test_what_does_not_count(rendered: Rendered, checkout: Path) -> None:
    files(checkout, {"src/a.py": "1", "d/Dockerfile": "FROM a", "d/a.py": "", "d/.dockerignore": "*.md\n"})

    def both(**more: Any) -> tuple[str, str]:
        dockerfile = Image.from_dockerfile(Path("d/Dockerfile"), more.get("registry", "r.example"), "x")
        return tag(rendered(debian(**more).with_source_folder(Path("src")))), tag(rendered(dockerfile))

    before = both()
    files(
        checkout,
        {"src/__pycache__/a.pyc": "1", "src/.git/HEAD": "", "d/__pycache__/a.pyc": "1", "d/x.md": ""},
    )
    files(checkout, {"d/.git/HEAD": "", "d/gha-creds-1.json": "", "beside.py": ""})
    for path in checkout.rglob("*"):
        os.utime(path, (1, 1))
    (checkout / "src/a.py").chmod(0o600)
    assert both(registry="other.example/team", name="other") == before


def test_parts_of_a_recipe() -> None:
    recipe = Recipe("FROM a\n", (ContextFile("a", content=b"1"),), platforms=("linux/amd64",))
    assert tag(recipe) == "0980556823cb3850a497ee82f80cb80df419a364"
    tags = [tag(recipe)] + [
        tag(dataclasses.replace(recipe, **change))
        for change in (
            {"files": (ContextFile("a", content=b"2"),)},
            {"files": (ContextFile("a1", content=b""),)},
            {"platforms": ("linux/amd64", "linux/arm64")},
            {"build_args": {"A": "1"}},
            {"build_args": {"A1": ""}},
        )
    ]
    assert len(set(tags)) == len(tags)
    order = dataclasses.replace(recipe, platforms=("linux/arm64", "linux/amd64"))
    assert tag(order) == tags[3]


def test_a_file_that_vanished(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="gone"):
        tag(Recipe("", (ContextFile("gone", source=tmp_path / "gone"),)))
