"""The action's image, built from this checkout by the real engine."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.engine import Engine

ROOT = Path(__file__).parents[2]
NAME = "flyte-deploy-action"
SDK = "2.12.1"
LIBRARIES = ("kubernetes", "pandas", "pyarrow")
"""What the examples import."""

_PARTS = ("Dockerfile", "entrypoint.sh", "requirements", "tools", "src", "pyproject.toml")


def action_image(engine: Engine) -> str:
    """The image's name; it is built where the engine has none of these very files."""
    name = f"{NAME}:{_digest()}"
    with _alone("action-image"):
        if not _there(engine, name):
            build(engine, "--load", "-t", name)
    return name


def image_with_project(engine: Engine) -> str:
    """The image with an interpreter beside it that has Flyte's SDK: ``/opt/project/bin/python``."""
    base = action_image(engine)
    name = base.replace(f"{NAME}:", f"{NAME}-with-project:")
    install = "uv pip install -q --no-cache --compile-bytecode --python /opt/project/bin/python"
    dockerfile = (
        f"FROM {base}\n"
        'SHELL ["/bin/bash", "-c"]\n'
        "RUN uv venv -q --python /usr/local/bin/python3 /opt/project"
        f" && {install} flyte=={SDK} {' '.join(LIBRARIES)}\n"
    )
    with _alone("action-image"):
        if not _there(engine, name):
            _docker(
                engine, "buildx", "build", "--provenance=false", "--load", "-t", name, "-", text=dockerfile
            )
    return name


def build(engine: Engine, *options: str) -> None:
    """Build the image from this checkout; the options say where it goes."""
    # Docker's client is the one that the tests use: the images that have it may be out of reach.
    client = shutil.which("docker", path=engine.environ()["PATH"])
    plugins = json.loads(engine.docker("info", "--format", "{{json .ClientInfo.Plugins}}"))
    buildx = next(plugin["Path"] for plugin in plugins if plugin["Name"] == "buildx")
    assert client is not None
    with tempfile.TemporaryDirectory(prefix="flyte-deploy-build-") as scratch:
        folder = Path(scratch)
        (folder / "cli/usr/local/bin").mkdir(parents=True)
        (folder / "buildx").mkdir()
        shutil.copy(client, folder / "cli/usr/local/bin/docker")
        shutil.copy(buildx, folder / "buildx/buildx")
        for part in ("cli/usr/local/bin/docker", "buildx/buildx"):
            # The same file is the same layer.
            os.utime(folder / part, (0, 0))
        contexts = [
            f"--build-context=docker-cli={folder / 'cli'}",
            f"--build-context=buildx={folder / 'buildx'}",
        ]
        _docker(
            engine,
            "buildx",
            "build",
            "--provenance=false",
            *contexts,
            *options,
            str(ROOT),
            text="",
        )


def _docker(engine: Engine, *arguments: str, text: str) -> None:
    ran = subprocess.run(
        ["docker", *arguments], check=False, env=engine.environ(), input=text, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def _there(engine: Engine, name: str) -> bool:
    return (
        subprocess.run(
            ["docker", "image", "inspect", name], check=False, env=engine.environ(), capture_output=True
        ).returncode
        == 0
    )


def _digest() -> str:
    files = [
        path
        for part in _PARTS
        for path in ([ROOT / part] if (ROOT / part).is_file() else sorted((ROOT / part).rglob("*")))
        if path.is_file() and "__pycache__" not in path.parts
    ]
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(ROOT)}\0{path.stat().st_mode & 0o777:o}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:20]


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """One process of this machine at a time."""
    folder = Path(os.environ.get("FLYTE_DEPLOY_CACHE") or Path.home() / ".cache/flyte-deploy")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
