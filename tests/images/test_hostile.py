"""Descriptions that a stranger wrote: nothing from outside goes in, no line leaves its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import flyte
import msgspec
import pytest
from flyte import Image

from flyte_deploy.collector.inside import images as collector
from flyte_deploy.errors import DeployError
from flyte_deploy.images.render import render
from flyte_deploy.images.source import ImageSource
from tests.images.conftest import Rendered, files


def debian() -> Image:
    return Image.from_debian_base(name="x", registry="registry.example", python_version=(3, 11))


def forged(checkout: Path, *layers: dict[str, Any], **more: Any) -> Any:
    """Render a message that the collector never wrote."""
    message = {"name": "x", "base": "python:3.11", "python": "3.11", "layers": layers, **more}
    return render(msgspec.json.decode(json.dumps(message), type=ImageSource), checkout)


@pytest.fixture
def outside(checkout: Path) -> Path:
    folder = checkout.parent / "outside"
    files(
        folder,
        {"secret.txt": "secret", "pyproject.toml": "", "uv.lock": "", "x.whl": "", "Dockerfile": "FROM a"},
    )
    return folder


@pytest.mark.parametrize(
    "layer",
    [
        {"type": "copy", "source": "{}/secret.txt", "target": "."},
        {"type": "copy", "source": "{}", "target": "."},
        {"type": "requirements", "file": "{}/secret.txt"},
        {"type": "wheels", "folder": "{}", "package": "x"},
        {"type": "uv", "pyproject": "{}/pyproject.toml"},
        {"type": "uv", "pyproject": "app/pyproject.toml", "lock": "{}/uv.lock"},
        {"type": "uv", "pyproject": "app/pyproject.toml", "editables": ["{}"]},
        {"type": "uv", "pyproject": "{}/pyproject.toml", "install": True},
        {"type": "poetry", "pyproject": "app/pyproject.toml", "lock": "{}/uv.lock"},
        {"type": "pixi", "manifest": "{}/pyproject.toml"},
        {"type": "pixi", "text": "a", "lock": "{}/uv.lock"},
        {"type": "dockerignore", "path": "{}/secret.txt"},
    ],
    ids=lambda layer: "-".join(key for key in layer if key not in ("kind", "target")) + layer["type"],
)
@pytest.mark.parametrize("way", ["itself", "link", "dots"])
def test_nothing_from_outside(checkout: Path, outside: Path, layer: dict[str, Any], way: str) -> None:
    files(checkout, {"app/pyproject.toml": ""})
    (checkout / "link").symlink_to(outside)
    place = {"itself": outside, "link": checkout / "link", "dots": checkout / ".." / "outside"}[way]
    text = json.dumps(layer).replace("{}", str(place)).replace("app/", f"{checkout}/app/")
    with pytest.raises(DeployError, match="lies outside of the checkout"):
        forged(checkout, json.loads(text))


def test_a_dockerfile_outside(checkout: Path, outside: Path) -> None:
    with pytest.raises(DeployError, match="lies outside"):
        forged(checkout, dockerfile=str(outside / "Dockerfile"))
    (checkout / "Dockerfile").symlink_to(outside / "Dockerfile")
    with pytest.raises(DeployError, match="lies outside"):
        forged(checkout, dockerfile=str(checkout / "Dockerfile"))


def test_links_in_a_folder_that_lead_out(rendered: Rendered, checkout: Path, outside: Path) -> None:
    files(checkout, {"src/a.py": "", "r.txt": "-r src/link.txt\n"})
    (checkout / "src" / "link.txt").symlink_to(outside / "secret.txt")
    with pytest.raises(DeployError, match=r"src/link.txt lies outside") as caught:
        rendered(debian().with_source_folder(Path("src")))
    assert caught.value.where == "flow.py:3"
    with pytest.raises(DeployError, match=r"src/link.txt lies outside"):
        rendered(debian().with_requirements("r.txt"))
    # Whether something is there, outside, is not told either.
    (checkout / "src" / "link.txt").unlink()
    (checkout / "src" / "link.txt").symlink_to(outside / "nothing")
    with pytest.raises(DeployError, match=r"src/link.txt lies outside"):
        rendered(debian().with_source_folder(Path("src")))


@pytest.mark.parametrize("name", [".git/config", "src/.git/config", "sub/.GIT/config"])
def test_gits_files(rendered: Rendered, checkout: Path, name: str) -> None:
    files(checkout, {name: "token", "src/a.py": "", "r.txt": f"-r {name}"})
    with pytest.raises(DeployError, match="belongs to git"):
        rendered(debian().with_source_file(Path(name)))
    with pytest.raises(DeployError, match="belongs to git"):
        rendered(debian().with_requirements("r.txt"))
    (checkout / "src" / "innocent").symlink_to(checkout / name)
    with pytest.raises(DeployError, match="belongs to git"):
        rendered(debian().with_source_folder(Path("src")))


def test_googles_credentials(rendered: Rendered, checkout: Path) -> None:
    files(checkout, {"gha-creds-0123456789abcdef.json": "secret", "src/a.py": ""})
    with pytest.raises(DeployError, match="holds Google Cloud credentials"):
        rendered(debian().with_source_file(Path("gha-creds-0123456789abcdef.json")))
    (checkout / "src" / "b.json").symlink_to("../gha-creds-0123456789abcdef.json")
    with pytest.raises(DeployError, match="holds Google Cloud credentials"):
        rendered(debian().with_source_folder(Path("src")))


@pytest.mark.parametrize(
    "image",
    [
        lambda: debian().with_pip_packages("six\nUSER root"),
        lambda: debian().with_pip_packages("six", index_url="https://x\rRUN true"),
        lambda: debian().with_pip_packages("six", extra_args="--pre\nRUN true"),
        lambda: debian().with_apt_packages("git\nRUN true"),
        lambda: debian().with_workdir("/x\nRUN true"),
        lambda: debian().with_env_vars({"A": "b\nRUN true"}),
        lambda: debian().with_env_vars({"A\nRUN true": "b"}),
        lambda: debian().with_env_vars({"A=1 B": "b"}),
        lambda: debian().with_source_folder(Path("src"), "/x\nRUN true"),
        lambda: debian().with_source_file(Path("src/line\nbreak")),
        lambda: debian().with_source_folder(Path("src")),
        lambda: Image.from_base("python:3.11\nRUN true").clone(name="x"),
        lambda: Image.from_base("--platform=x python").clone(name="x"),
        lambda: debian().with_pixi_project("p", environment="a\nRUN true"),
        lambda: debian().with_pixi_project("p", environment="../../x"),
    ],
)
def test_no_text_leaves_its_line(rendered: Rendered, checkout: Path, image: Any) -> None:
    files(checkout, {"src/line\nbreak": "", "p/pixi.toml": ""})
    with pytest.raises(DeployError) as caught:
        rendered(image())
    assert caught.value.where == "flow.py:3"
    assert "\n" not in caught.value.what


def test_a_command_mounts_nothing_but_an_empty_context(rendered: Rendered, checkout: Path) -> None:
    """It may be any lines of a Dockerfile: what these reach is decided by what goes along."""
    files(checkout, {"notes.txt": "secret"})
    command = "x\nCOPY . /\nRUN --mount=type=bind,target=/m --mount=type=secret,id=TOKEN cat /m/notes.txt"
    recipe = rendered(debian().with_commands([command]))
    assert command in recipe.dockerfile
    assert (recipe.files, recipe.folder, recipe.secrets) == ((), None, ())


def test_mounts_cannot_be_extended(checkout: Path) -> None:
    files(checkout, {"app/pyproject.toml": "", "a,source=b/pyproject.toml": ""})
    secret = {"key": "a,env=B", "env": "C"}
    recipe = forged(checkout, {"type": "apt", "packages": ["git"], "secrets": [secret]})
    assert "a,env=B" not in recipe.dockerfile
    assert [secret.name for secret in recipe.secrets] == ["a,env=B"]
    for bad in (
        {"key": "a", "env": "B,id=c"},
        {"key": "a", "mount": "/x,id=c"},
        {"key": "a\nRUN true", "env": "B"},
    ):
        with pytest.raises(DeployError):
            forged(checkout, {"type": "apt", "packages": ["git"], "secrets": [bad]})
    editable = {
        "type": "uv",
        "pyproject": f"{checkout}/app/pyproject.toml",
        "editables": [f"{checkout}/a,source=b"],
    }
    with pytest.raises(DeployError, match="mount cannot have"):
        forged(checkout, editable)


def test_no_directive_of_the_parser(checkout: Path) -> None:
    recipe = forged(checkout, {"type": "lines", "lines": ["# syntax=evil.example/frontend"]})
    assert not recipe.dockerfile.lower().startswith(("# syntax", "# escape", "#syntax"))


def test_what_is_no_layer(checkout: Path) -> None:
    for layer in (
        {"type": "new"},
        {"type": "pip"},
        {"type": "pip", "packages": "six"},
        {"type": "env", "variables": 1},
    ):
        with pytest.raises(msgspec.ValidationError):
            forged(checkout, layer)


def test_layers_and_options_that_are_not_known(checkout: Path) -> None:
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Conda(flyte._image.Layer):  # type: ignore[misc]
        packages: tuple[str, ...] = ()

    @dataclass(frozen=True, kw_only=True)
    class AptPackages(flyte._image.AptPackages):  # type: ignore[misc]
        mirror: str = ""

    version = flyte.__version__
    with pytest.raises(collector.ImageError, match=rf"kind Conda, which flyte {version} has"):
        collector.source(debian().clone(addl_layer=Conda()), str(checkout))
    derived = AptPackages(packages=("git",), mirror="x")
    with pytest.raises(collector.ImageError, match="AptPackages"):
        collector.source(debian().clone(addl_layer=derived), str(checkout))


def test_an_option_that_a_newer_sdk_has(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(collector._KINDS, "AptPackages", {"packages"})
    collector.source(debian().with_apt_packages("git"), str(checkout))
    with pytest.raises(
        collector.ImageError, match="the option secret_mounts of layers of the kind AptPackages"
    ):
        collector.source(debian().with_apt_packages("git", secret_mounts="a"), str(checkout))


def test_what_is_not_there(rendered: Rendered, checkout: Path) -> None:
    files(checkout, {"empty/__pycache__/a.pyc": "", "folder.txt/a": ""})
    with pytest.raises(DeployError, match=r"the requirements file gone\.txt does not exist"):
        rendered(debian().with_requirements("gone.txt"))
    with pytest.raises(DeployError, match="has no file that would go into the image"):
        rendered(debian().with_source_folder(Path("empty")))
    with pytest.raises(DeployError, match="is no file"):
        rendered(debian().with_requirements("folder.txt"))
