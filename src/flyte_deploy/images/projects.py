"""Layers that install a project and what it depends on: uv, Poetry, pixi.

Where the project itself is installed, its dependencies go into a layer of their own first, made from manifest
and lock file alone: so that a change of code does not install them again.
"""

# Paths are text here, as in the description.
# ruff: noqa: PTH119, PTH120

from __future__ import annotations

import os
import re

from flyte_deploy.images.checkout import Checkout
from flyte_deploy.images.context import Context, run
from flyte_deploy.images.dockerignore import DockerIgnore
from flyte_deploy.images.packages import UV_CACHE, arguments
from flyte_deploy.images.source import PixiProject, PoetryProject, UvProject

PIXI_IMAGE = "ghcr.io/prefix-dev/pixi:0.72.2"
"""What pixi is copied from: the version of Flyte's SDK 2.12."""

_PROJECT = "/root/.flyte/project"
PIXI_PROJECT = "/opt/pixi-project"
_POETRY_CACHE = "--mount=type=cache,mode=0777,target=/tmp/poetry_cache,id=flyte-poetry,sharing=locked"
_PIXI_CACHE = "--mount=type=cache,mode=0777,target=/root/.cache/rattler,id=flyte-pixi"
_ACTIVE = "VIRTUAL_ENV=${VIRTUAL_ENV-/opt/venv}"
_SYNC = f"{_ACTIVE} uv sync --active --inexact"
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

# A dependency on a folder beside the project: the manifests alone are not enough to install it.
_LOCAL_IN_LOCK = re.compile(r'\b(?:editable|directory|path|virtual)\s*=\s*"(?!\.")')
_LOCAL_IN_MANIFEST = re.compile(r"\bpath\s*=")

# What Flyte's SDK leaves out of folders that are installed in place.
STANDARD = DockerIgnore(
    (
        *(".git", "*.pyc", "**/*.pyc", "__pycache__", "**/__pycache__", ".cache", ".cache/*"),
        *(".ruff_cache", "**/.ruff_cache", ".mypy_cache", "**/.mypy_cache", ".pytest_cache"),
        *("**/.pytest_cache", ".venv", "**/.venv", ".idea", "**/.idea", "venv", "env", "*.log", ".env"),
        *("*.egg-info", "**/*.egg-info", "*.egg", "dist", "build", "*.whl"),
    )
)


def uv(layer: UvProject, context: Context) -> list[str]:
    """Install a uv project."""
    return _uv_project(layer, context) if layer.install else _uv_dependencies(layer, context)


def _uv_dependencies(layer: UvProject, context: Context) -> list[str]:
    folder = _manifests(layer.pyproject, layer.lock, "uv.lock", context)
    given = " ".join(arguments(layer.options, context))
    if "--no-install-project" not in given:
        given = f"{given} --no-install-project".strip()
    mounts = [UV_CACHE]
    if layer.lock:
        mounts.append(f"--mount=type=bind,source={folder}/uv.lock,target=uv.lock,rw")
    mounts.append(f"--mount=type=bind,source={folder}/pyproject.toml,target=pyproject.toml")
    for editable in layer.editables:
        # Where it lies from the project's folder, which is where it lies in the bundle when a task runs.
        target = os.path.relpath(editable, os.path.dirname(layer.pyproject))
        ignore = DockerIgnore((*STANDARD.patterns, *context.ignore.patterns))
        source = context.add_tree(editable, "editable dependency", ignore)
        target = context.mountable(target, "path of an editable dependency")
        mounts.append(f"--mount=type=bind,source={source},target={target},rw")
    mounts += context.secret_mounts(layer.secrets)
    return [run(mounts, f"{_SYNC} {given}")]


def _uv_project(layer: UvProject, context: Context) -> list[str]:
    given = " ".join(arguments(layer.options, context))
    secrets = context.secret_mounts(layer.secrets)
    lines = []
    if layer.lock and not _LOCAL_IN_LOCK.search(context.checkout.text(layer.lock, "uv.lock")):
        folder = _manifests(layer.pyproject, layer.lock, "uv.lock", context)
        first = re.sub(r"(?<!\S)--(?:locked|frozen)(?!\S)", "", given)
        lines.append(
            run(
                [UV_CACHE, f"--mount=type=bind,source={folder},target={_PROJECT},rw", *secrets],
                _words(f"{_SYNC} --frozen --no-install-project", first, f"--project {_PROJECT}"),
            )
        )
    folder = _whole_project(layer.pyproject, layer.lock, "uv.lock", context)
    lines.append(
        run(
            [UV_CACHE, f"--mount=type=bind,source={folder},target={_PROJECT},rw", *secrets],
            _words(f"{_SYNC} --no-editable", given, f"--project {_PROJECT}"),
        )
    )
    return lines


def poetry(layer: PoetryProject, context: Context) -> list[str]:
    """Install a Poetry project; Poetry itself is installed for it."""
    secrets = context.secret_mounts(layer.secrets)
    given = context.line(layer.extra_args, "extra_args")
    without_root = given if "--no-root" in given else f"{given} --no-root".strip()
    lines = [run([UV_CACHE], "uv pip install poetry")]
    if not layer.install:
        folder = _manifests(layer.pyproject, layer.lock, "poetry.lock", context)
        mounts = [
            _POETRY_CACHE,
            f"--mount=type=bind,source={folder}/poetry.lock,target=poetry.lock",
            f"--mount=type=bind,source={folder}/pyproject.toml,target=pyproject.toml",
            *secrets,
        ]
        return [
            *lines,
            "ENV POETRY_CACHE_DIR=/tmp/poetry_cache POETRY_VIRTUALENVS_IN_PROJECT=true",
            run(mounts, f"{_ACTIVE} poetry install {without_root}"),
        ]
    lines.append("ENV POETRY_CACHE_DIR=/tmp/poetry_cache")
    if not _LOCAL_IN_MANIFEST.search(context.checkout.text(layer.pyproject, "pyproject.toml")):
        folder = _manifests(layer.pyproject, layer.lock, "poetry.lock", context)
        mounts = [_POETRY_CACHE, f"--mount=type=bind,source={folder},target={_PROJECT},rw", *secrets]
        lines.append(run(mounts, f"{_ACTIVE} poetry install {without_root} -C {_PROJECT}"))
    folder = _whole_project(layer.pyproject, layer.lock, "poetry.lock", context)
    mounts = [_POETRY_CACHE, f"--mount=type=bind,source={folder},target={_PROJECT},rw", *secrets]
    lines.append(run(mounts, _words(f"{_ACTIVE} poetry install", given, f"-C {_PROJECT}")))
    return lines


def pixi_manifest(layer: PixiProject, checkout: Checkout) -> str:
    """What the manifest is called.

    Raises:
        DeployError: for a name that pixi does not look for, and where the environment has no name of one.
    """
    if not _WORD.fullmatch(layer.environment):
        raise checkout.error(f"{layer.environment!r} is no name of a pixi environment", None)
    name = os.path.basename(layer.manifest) if layer.manifest else "pixi.toml"
    if name not in ("pixi.toml", "pyproject.toml"):
        raise checkout.error(
            f"the pixi manifest {checkout.shown(layer.manifest)} has to be called pixi.toml or"
            " pyproject.toml",
            None,
        )
    return name


def pixi(layer: PixiProject, context: Context) -> list[str]:
    """Install a pixi project, whose environment becomes the one that tasks run in."""
    name = pixi_manifest(layer, context.checkout)
    given = context.line(layer.extra_args, "extra_args")
    locked = "--locked" if layer.lock and "--frozen" not in given else ""
    lines = ["COPY --from=pixi /usr/local/bin/pixi /usr/local/bin/pixi"]
    if layer.install:
        folder = _whole_project(layer.manifest, layer.lock, "pixi.lock", context)
        lines.append(f"COPY {folder} {PIXI_PROJECT}")
    else:
        folder = context.new_folder()
        if layer.manifest:
            context.add(folder, [(name, context.checkout.file(layer.manifest, "pixi manifest"))])
        else:
            context.add_text(folder, name, layer.text)
        lines.append(f"COPY {folder}/{name} {PIXI_PROJECT}/{name}")
        if layer.lock:
            context.add(folder, [("pixi.lock", context.checkout.file(layer.lock, "pixi.lock"))])
            lines.append(f"COPY {folder}/pixi.lock {PIXI_PROJECT}/pixi.lock")
    install = f"pixi install --manifest-path {PIXI_PROJECT}/{name} --environment {layer.environment}"
    lines.append(run([_PIXI_CACHE, *context.secret_mounts(layer.secrets)], _words(install, locked, given)))
    environment = f"{PIXI_PROJECT}/.pixi/envs/{layer.environment}"
    lines.append(
        f"ENV VIRTUAL_ENV={environment} \\\n"
        f"    UV_PYTHON={environment}/bin/python \\\n"
        f"    PIXI_PROJECT_MANIFEST={PIXI_PROJECT}/{name} \\\n"
        f"    PATH={environment}/bin:$PATH"
    )
    return lines


def _manifests(pyproject: str, lock: str, lock_name: str, context: Context) -> str:
    """A folder with a project's manifest and its lock file."""
    files = [("pyproject.toml", context.checkout.file(pyproject, "pyproject.toml"))]
    if lock:
        files.append((lock_name, context.checkout.file(lock, lock_name)))
    return context.add(context.new_folder(), files)


def _whole_project(manifest: str, lock: str, lock_name: str, context: Context) -> str:
    """A folder with all of a project, its manifest and lock file even where they are left out."""
    own = (os.path.basename(manifest), context.checkout.file(manifest, "manifest"))
    folder = context.add_tree(os.path.dirname(manifest), "project")
    context.add(folder, [own])
    if lock:
        context.add(folder, [(lock_name, context.checkout.file(lock, lock_name))])
    return folder


def _words(*parts: str) -> str:
    return " ".join(part.strip() for part in parts if part.strip())
