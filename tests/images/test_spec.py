"""The backend's form of images, against what Flyte's SDK makes of the same description."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flyte
import pytest
from flyte import Image
from flyte._image import PythonWheels
from flyte._internal.imagebuild.remote_builder import _get_build_secrets_from_image, _get_layers_proto
from flyteidl2.imagebuilder.definition_pb2 import ImageSpec

from flyte_deploy.embedded.worker import read_spec
from flyte_deploy.errors import DeployError
from flyte_deploy.images.checkout import Checkout
from flyte_deploy.images.recipe import Order
from flyte_deploy.images.render import CodeFiles, render
from flyte_deploy.images.spec import image_spec
from tests.images.conftest import files, source_of
from tests.images.test_render import PYPROJECT, SCRIPT, debian


def order(image: Any, checkout: Path, **more: Any) -> Order:
    found = source_of(image, checkout)
    return image_spec(found, Checkout(str(checkout), "flow.py:3"), base=found.base, **more)


def theirs(image: Any, folder: Path) -> tuple[ImageSpec, dict[str, bytes]]:
    """The SDK's form, and the files of its context."""
    folder.mkdir()
    spec = _get_layers_proto(image, folder)
    found = {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    return spec, found


def contents(made: Order) -> dict[str, bytes]:
    return {
        file.path: file.source.read_bytes() if file.source else file.content or b"" for file in made.files
    }


PROJECT = {
    "r.txt": "six\n",
    "w/x-1-py3-none-any.whl": "wheel",
    "app/pyproject.toml": PYPROJECT,
    "app/poetry.lock": "",
    "app/app/__init__.py": "",
    "pixi/pixi.toml": "[workspace]\n",
    "pixi/pixi.lock": "",
    "pixi/main.py": "",
    "data/one.txt": "1",
    "data/deep/two.txt": "2",
    "spec_job.py": SCRIPT.format(more=""),
}


def project(checkout: Path) -> None:
    """All that the images below need."""
    files(checkout, PROJECT)
    # The SDK asks uv, which reads it.
    subprocess.run(["uv", "lock", "--offline"], cwd=checkout / "app", check=True, capture_output=True)


PIP: dict[str, Any] = {
    "index_url": "https://pypi.example/simple",
    "extra_index_urls": ["https://a.example", "https://b.example"],
    "pre": True,
    "extra_args": "--no-deps",
    "secret_mounts": [
        flyte.Secret(key="token", group="pip"),
        flyte.Secret(key="cert", mount=Path("/etc/flyte/secrets")),
        "plain",
    ],
}
ALIKE: dict[str, Callable[[], Image]] = {
    "nothing but a base": lambda: Image.from_base("r.example/b:1").clone(name="x", extendable=True),
    "pip": lambda: debian().with_pip_packages("six", "idna>=3", **PIP),
    "requirements": lambda: debian().with_requirements("r.txt", **PIP),
    "wheels": lambda: debian().clone(addl_layer=PythonWheels(wheel_dir=Path("w"), package_name="x")),
    "uv, dependencies": lambda: debian().with_uv_project("app/pyproject.toml"),
    "uv, project": lambda: debian().with_uv_project(
        "app/pyproject.toml", project_install_mode="install_project", extra_args="--locked", pre=True
    ),
    "uv script": lambda: Image.from_uv_script("spec_job.py", name="x", registry="r.example"),
    "poetry, dependencies": lambda: debian().with_poetry_project(
        "app/pyproject.toml", extra_args="--only main", secret_mounts="pw"
    ),
    "poetry, project": lambda: debian().with_poetry_project(
        "app/pyproject.toml", project_install_mode="install_project"
    ),
    "pixi, dependencies": lambda: debian().with_pixi_project("pixi", environment="gpu", extra_args="-v"),
    "pixi, project": lambda: debian().with_pixi_project(
        "pixi", project_install_mode="install_project", extra_args="--frozen", secret_mounts="pw"
    ),
    "apt": lambda: debian().with_apt_packages("git", "curl", secret_mounts="pw"),
    "commands": lambda: debian().with_commands(["echo a", "echo b"], secret_mounts=[flyte.Secret("k")]),
    "environment": lambda: debian().with_env_vars({"A": "1", "PATH": "/x:$PATH"}),
    "workdir": lambda: debian().with_workdir("/srv"),
    "source folder": lambda: debian().with_source_folder("data", "/data"),
    "source file": lambda: debian().with_source_file("data/one.txt", "/one"),
    "without flyte": lambda: debian(install_flyte=False),
}


@pytest.mark.parametrize("name", ALIKE)
def test_alike(checkout: Path, tmp_path: Path, name: str) -> None:
    project(checkout)
    image = ALIKE[name]()
    made = order(image, checkout)
    spec, context = theirs(image, tmp_path / "context")
    assert ImageSpec.FromString(made.spec) == spec
    assert contents(made) == context


def test_secrets_of_a_build(checkout: Path) -> None:
    image = debian(registry_secret="pull").with_pip_packages("six", **PIP).with_commands(["x"], ["plain"])
    wanted = [(one.group or "", one.key) for one in _get_build_secrets_from_image(image) or ()]
    assert list(order(image, checkout).secrets) == wanted
    # The SDK forgets Poetry's.
    project(checkout)
    poetry = debian().with_poetry_project("app/pyproject.toml", secret_mounts="pw")
    assert _get_build_secrets_from_image(poetry) == []
    assert order(poetry, checkout).secrets == (("", "pw"),)


def test_slips_of_the_sdk(checkout: Path, tmp_path: Path) -> None:
    """Each is in docs/differences.md."""
    project(checkout)
    # Extra arguments go where --no-install-project comes.
    image = debian().with_uv_project("app/pyproject.toml", extra_args="--no-install-project --extra gpu")
    spec, _ = theirs(image, tmp_path / "1")
    assert spec.layers[0].uv_project.options.extra_args == "--no-install-project"
    ours = ImageSpec.FromString(order(image, checkout).spec)
    assert ours.layers[0].uv_project.options.extra_args == "--no-install-project --extra gpu"
    # Files that a requirements file refers to stay behind.
    files(checkout, {"r.txt": "-r more.txt\n", "more.txt": "six\n"})
    image = debian().with_requirements("r.txt")
    _, context = theirs(image, tmp_path / "2")
    assert set(context) == {"r.txt"}
    assert set(contents(order(image, checkout))) == {"r.txt", "more.txt"}
    # Absolute paths name the machine.
    image = debian().with_source_folder(checkout / "data", "/data")
    _, context = theirs(image, tmp_path / "3")
    assert all(path.startswith("_flyte_abs_context/") for path in context)
    assert set(contents(order(image, checkout))) == {"data/one.txt", "data/deep/two.txt"}
    # The platform never arrives.
    image = debian(platform=("linux/amd64",)).with_commands(["x"])
    assert theirs(image, tmp_path / "4")[0].platform == []
    asked = order(image, checkout, platforms=("linux/amd64",))
    assert ImageSpec.FromString(asked.spec).platform == ["linux/amd64"]


def test_projects_in_place(checkout: Path, tmp_path: Path) -> None:
    sources = '\n[tool.uv.sources]\nlib = { path = "../lib", editable = true }\n'
    app = PYPROJECT.replace('">=3.10"', '">=3.10"\ndependencies = ["lib"]') + sources
    lib = PYPROJECT.replace('"app"', '"lib"')
    files(checkout, {"app/pyproject.toml": app, "lib/pyproject.toml": lib, "lib/lib/__init__.py": ""})
    subprocess.run(["uv", "lock", "--offline"], cwd=checkout / "app", check=True, capture_output=True)
    image = debian().with_uv_project("app/pyproject.toml")
    made = ImageSpec.FromString(order(image, checkout).spec).layers[0].uv_project
    assert (made.pyproject, made.uvlock, made.source_dir) == ("app", "app/uv.lock", ".")
    assert set(contents(order(image, checkout))) == {
        "app/pyproject.toml",
        "app/uv.lock",
        "lib/pyproject.toml",
        "lib/lib/__init__.py",
    }
    # The SDK names the folder by its absolute path.
    theirs_made = theirs(image, tmp_path / "context")[0].layers[0].uv_project
    assert (theirs_made.pyproject, theirs_made.uvlock) == ("app", "app/uv.lock")


def test_code_in_the_image(checkout: Path) -> None:
    files(checkout, {"src/flow.py": "", "src/other.py": "", "data/x": ""})
    code = CodeFiles("src", lambda: ["flow.py"], lambda: ["flow.py", "other.py"])
    image = debian().with_code_bundle(copy_style="all", dst="/code").with_pip_packages("six")
    made = order(image, checkout, code=code)
    spec = ImageSpec.FromString(made.spec)
    assert [layer.WhichOneof("layer") for layer in spec.layers] == ["pip_packages", "copy_config"]
    assert (spec.layers[1].copy_config.src, spec.layers[1].copy_config.dst) == ("_flyte_code", "/code")
    assert set(contents(made)) == {"_flyte_code/flow.py", "_flyte_code/other.py"}
    assert order(image, checkout).files == ()


def test_a_pixi_script(checkout: Path) -> None:
    files(checkout, {"spec_job.py": SCRIPT.format(more="")})
    made = order(Image.from_pixi_script("spec_job.py", name="x", registry="r.example"), checkout)
    assert list(contents(made)) == ["_flyte_pixi/pixi.toml"]
    assert b"httpx" in contents(made)["_flyte_pixi/pixi.toml"]


def test_what_the_backend_cannot_build(checkout: Path) -> None:
    files(checkout, {"d/Dockerfile": "FROM x\n"})
    own = Image.from_dockerfile(Path("d/Dockerfile"), registry="r.example", name="own")
    with pytest.raises(DeployError, match="has a Dockerfile of its own") as caught:
        order(own, checkout)
    assert caught.value.where == "flow.py:3"
    assert "--image-builder local" in (caught.value.mend or "")
    lines = flyte._image._DockerLines(("LABEL a=b", "RUN echo", "ENV A=1 B='2 3'", "WORKDIR /x"))
    made = ImageSpec.FromString(order(debian().clone(addl_layer=lines), checkout).spec)
    assert [layer.WhichOneof("layer") for layer in made.layers] == ["commands", "env", "workdir"]
    assert dict(made.layers[1].env.env_variables) == {"A": "1", "B": "2 3"}
    odd = flyte._image._DockerLines(("HEALTHCHECK NONE",))
    with pytest.raises(DeployError, match="has nothing for this line of a Dockerfile: HEALTHCHECK NONE"):
        order(debian().clone(addl_layer=odd), checkout)


@pytest.mark.parametrize("name", [name for name in ALIKE if not name.startswith("pixi")])
def test_the_embedded_builder_reads_what_was_meant(checkout: Path, tmp_path: Path, name: str) -> None:
    """What is built of the backend's form is what is built here."""
    project(checkout)
    image = ALIKE[name]()
    made = order(image, checkout)
    context = (tmp_path / "context").resolve()
    context.mkdir()
    for path, content in contents(made).items():
        target = context / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    there = render(read_spec(ImageSpec.FromString(made.spec), context), context)
    here = render(source_of(image, checkout), checkout)
    # The form has no labels, and keeps no order of variables.
    lines = [line for line in here.dockerfile.splitlines() if not line.startswith("LABEL")]
    assert sorted(there.dockerfile.splitlines()) == sorted(lines)
    ordered = [line for line in lines if not line.startswith("ENV")]
    assert [line for line in there.dockerfile.splitlines() if not line.startswith("ENV")] == ordered
    assert {(file.path, file.mode) for file in there.files} == {(file.path, file.mode) for file in here.files}
