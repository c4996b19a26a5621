"""Images built by the unmodified SDK and by us, from one description, on a real engine: they are alike."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from flyte_deploy.images.auth import Credentials
from flyte_deploy.images.buildx import Choices
from flyte_deploy.images.identity import tag
from flyte_deploy.images.local import LocalBuilder, RegistryFinder
from flyte_deploy.images.recipe import Wanted
from flyte_deploy.images.registry import Registries
from flyte_deploy.images.render import render
from tests.engine import Engine
from tests.images.conftest import source_of

PLATFORM = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}[platform.machine()]
RELEASED = (
    "flyte.Image.from_debian_base(name=NAME, registry=REGISTRY, python_version=(3, 11), platform=PLATFORM)"
)
BARE = "flyte.Image.from_base('python:3.11-slim-bookworm').clone(name=NAME, registry=REGISTRY, extendable=True, platform=PLATFORM, python_version=(3, 11))"  # noqa: E501

IMAGES = {
    "packages": f"""
        {RELEASED}
        .with_pip_packages("six==1.17.0", "iniconfig>=2,<3", extra_args="--no-deps")
        .with_requirements("requirements.txt")
        .with_env_vars({{"A": "b", "PATH": "/opt/more:$PATH", "QUOTED": '"a b"'}})
        .with_source_folder(Path("src"), "/home/flyte")
        .with_source_file(Path("notes.txt"), "/srv/notes.txt")
        .with_commands(["echo made > /made", "touch /tmp/x &&\\\\\\n touch /tmp/y"])
        .clone(addl_layer=flyte._image.PythonWheels(wheel_dir=Path("wheels"), package_name="app"))
        .with_workdir("/srv")
    """,
    "script": """
        flyte.Image.from_uv_script(
            "same_image_job.py", name=NAME, registry=REGISTRY, python_version=(3, 11), platform=PLATFORM
        ).with_apt_packages("tree")
    """,
    "projects": f"""
        {BARE}
        .with_uv_project("uv/pyproject.toml")
        .with_uv_project("uv/pyproject.toml", project_install_mode="install_project")
        .with_dockerignore(Path("ignored"))
    """,
    "poetry": f"""{BARE}.with_poetry_project("poetry/pyproject.toml")""",
    "poetry-project": f"""
        {BARE}.with_poetry_project("poetry/pyproject.toml", project_install_mode="install_project")
    """,
    "dockerfile": """
        flyte.Image.from_dockerfile(Path("docker/Dockerfile"), REGISTRY, NAME, platform=PLATFORM[0])
    """,
}


def image_of(name: str, registry: str) -> str:
    """A script that makes ``image``."""
    expression = "(" + textwrap.dedent(IMAGES[name]).strip() + ")"
    return (
        "import flyte\nfrom pathlib import Path\n"
        f"NAME, REGISTRY, PLATFORM = {name!r}, {registry!r}, ({PLATFORM!r},)\n"
        f"image = {expression}\n"
    )


def _path(engine: Engine) -> str:
    return f"{Path(sys.executable).parent}{os.pathsep}{engine.environ()['PATH']}"


def built_by_the_sdk(name: str, project: Path, engine: Engine, home: Path) -> str:
    script = image_of(name, f"{engine.registry}/sdk") + (
        "flyte.init(root_dir=Path.cwd())\nprint(flyte.build(image, force=True).uri)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=project,
        env=engine.environ(
            PATH=_path(engine), HOME=str(home), FLYTE_DOCKER_BUILDKIT_BUILDER_NAME="default", DO_NOT_TRACK="1"
        ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout.split()[-1]


def built_by_us(name: str, project: Path, engine: Engine) -> str:
    names: dict[str, Any] = {}
    exec(image_of(name, f"{engine.registry}/ours"), names)
    recipe = render(source_of(names["image"], project), project)
    wanted = Wanted(f"{engine.registry}/ours/{name}", tag(recipe), recipe, (name,))
    registries = Registries(Credentials(()))
    builder = LocalBuilder(
        Choices(builder="default"), 1, registries, RegistryFinder(registries), engine.environ()
    )
    builder.check([wanted])
    (built,) = builder.build([wanted], lambda _: None)
    assert "@sha256:" in built.found.address
    return built.found.address


def looks(address: str, engine: Engine) -> dict[str, Any]:
    """What a task sees of an image."""
    engine.docker("pull", "--quiet", address)
    config = json.loads(engine.docker("image", "inspect", address))[0]["Config"]
    seen = engine.docker(
        "run",
        "--rm",
        address,
        "bash",
        "-c",
        "id; pwd; touch written && rm written && echo writable; command -v uv python tree;"
        " if command -v uv > /dev/null; then uv pip freeze --python ${UV_PYTHON}; fi;"
        " find /made /srv /home/flyte /here -maxdepth 3 -printf '%p %m %u %y\\n' 2> /dev/null | sort -u",
    )
    environment = sorted(entry for entry in config["Env"] if not entry.startswith("_F_IMG_ID="))
    assert "_F_IMG_ID" in str(config["Env"]) or "/dockerfile" in address
    return {
        "Env": environment,
        **{key: config.get(key) for key in ("User", "WorkingDir", "Shell", "Labels", "Entrypoint", "Cmd")},
        # Where a project lay while it was installed.
        "seen": re.sub(r"file://\S+", "file://…", seen).splitlines(),
    }


@pytest.mark.parametrize("name", IMAGES)
def test_alike(
    name: str, project: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(project)
    theirs = looks(built_by_the_sdk(name, project, engine, tmp_path), engine)
    ours = looks(built_by_us(name, project, engine), engine)
    assert "writable" in ours["seen"]
    assert ours == theirs
