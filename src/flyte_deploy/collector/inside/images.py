"""Images that have to be built, as plain data: see `flyte_deploy.images.source`.

Layers that the SDK lowers to others when it builds are lowered here, with its own functions, since they read
the project's files the way that the project's version of the SDK does. Whatever runs project code to find
something out runs here, too (`uv export`).
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

_UV_TIMEOUT = 300
"""Seconds."""

_DEFAULT_PLATFORMS = ("linux/amd64", "linux/arm64")

# The command with which SDKs make the user that tasks run as; from 2.8 on it has a name there.
CREATES_USER = "useradd --create-home --shell /bin/bash flyte;"

# Before SDK 2.4 a release's own image is described by the layers that it was built of.
_RELEASED = ("flyte", "ghcr.io/flyteorg")

_IMAGE_FIELDS = {
    *("base_image", "dockerfile", "registry", "name", "platform", "python_version", "extendable"),
    *("_is_cloned", "_ref_name", "_layers", "_tag", "_image_registry_secret"),
}


class ImageError(Exception):
    """The image cannot be described: something that it names is not there, or does not work."""


def source(image: Any, root: str) -> dict[str, Any]:
    """Describe an image that has to be built.

    Raises:
        ImageError: for a layer of a kind that is not known here, and for files that are missing.
    """
    import flyte
    from flyte import _image

    _check_fields(image, _IMAGE_FIELDS, "images")
    platforms = [str(platform) for platform in getattr(image, "platform", ()) or ()]
    default = [str(platform) for platform in getattr(_image, "_DEFAULT_PLATFORMS", _DEFAULT_PLATFORMS)]
    user = getattr(_image, "_CREATE_FLYTE_USER_CMD", CREATES_USER)
    layers = [each for layer in image._layers for each in _layer(layer)]
    dockerfile = getattr(image, "dockerfile", None)
    reference = getattr(image, "_ref_name", None)
    base = str(getattr(image, "base_image", None) or "")
    if not (base or dockerfile or reference):
        raise ImageError(f"an image of flyte {flyte.__version__} without a base")
    ignore = os.path.join(root, ".dockerignore")
    registry_secret = getattr(image, "_image_registry_secret", None)
    return {
        "name": str(image.name or ""),
        "base": "" if reference else base,
        "reference": str(reference or ""),
        "dockerfile": _path(dockerfile) if dockerfile else "",
        "registry": str(image.registry or ""),
        "platforms": platforms,
        "default_platforms": platforms == default,
        "python": ".".join(str(part) for part in image.python_version[:2]),
        "flyte_user": any(
            user in command
            for layer in layers
            if layer["type"] == "commands"
            for command in layer["commands"]
        ),
        "layers": layers,
        "ignore": ignore if os.path.isfile(ignore) else "",
        "registry_secret": _secret(registry_secret) if registry_secret else None,
    }


def to_build(image: Any) -> bool:
    """Whether an image has to be built, as its SDK decides it."""
    name, layers = getattr(image, "name", None), getattr(image, "_layers", ())
    if getattr(image, "dockerfile", None) is not None:
        return True
    if getattr(image, "_ref_name", None) is not None:
        return bool(layers)
    cloned = getattr(image, "_is_cloned", None)
    if cloned is not None:
        return bool(layers) or (bool(cloned) and bool(name))
    released = bool(getattr(image, "_tag", None)) and (name, getattr(image, "registry", None)) == _RELEASED
    return bool(layers) and not released


def wants_modules(image: Any) -> bool:
    """Whether the image holds the modules that were loaded."""
    layers = getattr(image, "_layers", ())
    return any(getattr(layer, "copy_style", "") == "loaded_modules" for layer in layers)


def _layer(layer: Any) -> Iterator[dict[str, Any]]:
    """A layer, or those that it is lowered to. The order is that of the classes: some derive from others."""
    import flyte

    kind = _kind(layer)
    if kind:
        _check_fields(layer, _KINDS[kind], f"layers of the kind {kind}")
    if kind == "PythonWheels":
        yield {
            "type": "wheels",
            "folder": _path(layer.wheel_dir),
            "package": str(layer.package_name),
            **_pip(layer),
        }
    elif kind == "UVScript":
        yield from _uv_script(layer)
    elif kind == "Requirements":
        yield {"type": "requirements", "file": _path(layer.file), **_pip(layer)}
    elif kind == "PipPackages":
        yield {"type": "pip", "packages": _texts(layer.packages), **_pip(layer)}
    elif kind == "AptPackages":
        yield {"type": "apt", "packages": _texts(layer.packages), "secrets": _secrets(layer)}
    elif kind == "UVProject":
        install = getattr(layer, "project_install_mode", "dependencies_only") == "install_project"
        yield _uv_project(_path(layer.pyproject), _path(layer.uvlock), install, layer)
    elif kind == "PoetryProject":
        yield {
            "type": "poetry",
            "pyproject": _path(layer.pyproject),
            "lock": _path(layer.poetry_lock),
            "install": getattr(layer, "project_install_mode", "") == "install_project",
            "extra_args": str(layer.extra_args or ""),
            "secrets": _secrets(layer),
        }
    elif kind == "PixiProject":
        yield {
            "manifest": _path(layer.manifest),
            "install": layer.project_install_mode == "install_project",
            **_pixi(layer),
        }
    elif kind == "PixiScript":
        yield {"text": layer.render_manifest(), **_pixi(layer)}
    elif kind == "CopyConfig":
        yield {"type": "copy", "source": _path(layer.src), "target": str(layer.dst)}
    elif kind == "Commands":
        yield {"type": "commands", "commands": _texts(layer.commands), "secrets": _secrets(layer)}
    elif kind == "DockerIgnore":
        yield {"type": "dockerignore", "path": _path(layer.path)}
    elif kind == "WorkDir":
        yield {"type": "workdir", "path": str(layer.workdir)}
    elif kind == "Env":
        yield {"type": "env", "variables": [[str(name), str(value)] for name, value in layer.env_vars]}
    elif kind == "_DockerLines":
        yield {"type": "lines", "lines": _texts(layer.lines)}
    elif kind == "CodeBundleLayer":
        yield {"type": "code", "style": str(layer.copy_style), "target": str(layer.dst)}
    else:
        raise ImageError(
            f"it has a layer of the kind {type(layer).__name__}, which flyte {flyte.__version__} has and this"
            " deployer does not know"
        )


_PIP = ("index_url", "extra_index_urls", "pre", "extra_args", "secret_mounts")
_KINDS: dict[str, set[str]] = {
    "PythonWheels": {*_PIP, "wheel_dir", "wheel_dir_name", "package_name"},
    "UVScript": {*_PIP, "script", "script_name"},
    "Requirements": {*_PIP, "packages", "file"},
    "PipPackages": {*_PIP, "packages"},
    "AptPackages": {"packages", "secret_mounts"},
    "UVProject": {*_PIP, "pyproject", "uvlock", "project_install_mode"},
    "PoetryProject": {"pyproject", "poetry_lock", "extra_args", "project_install_mode", "secret_mounts"},
    "PixiProject": {
        *("manifest", "pixi_lock", "environment", "extra_args", "project_install_mode", "secret_mounts")
    },
    "PixiScript": {"script", "script_name", "platforms", "environment", "extra_args", "secret_mounts"},
    "CopyConfig": {"path_type", "src", "dst"},
    "Commands": {"commands", "secret_mounts"},
    "DockerIgnore": {"path"},
    "WorkDir": {"workdir"},
    "Env": {"env_vars"},
    "_DockerLines": {"lines"},
    "CodeBundleLayer": {"copy_style", "dst", "root_dir"},
}
"""The kinds of layers, and the fields that are known of each."""


def _check_fields(value: Any, known: set[str], what: str) -> None:
    """Refuse what a newer SDK has added and the code makes use of: the image would be another one."""
    import flyte

    for field in dataclasses.fields(value):
        said = getattr(value, field.name, None)
        if field.name not in known and said not in (None, False, "", (), field.default):
            raise ImageError(
                f"it uses the option {field.name} of {what}, which flyte {flyte.__version__} has and this"
                " deployer does not know"
            )


def _kind(layer: Any) -> str:
    names = [cls.__name__ for cls in type(layer).__mro__ if cls.__module__ == "flyte._image"]
    # A class derived from one that is known may mean something else.
    own = type(layer).__name__
    return own if own in _KINDS and own in names else ""


def _pip(layer: Any) -> dict[str, Any]:
    urls = layer.extra_index_urls or ()
    return {
        "options": {
            "index_url": str(layer.index_url or ""),
            "extra_index_urls": _texts([urls] if isinstance(urls, str) else urls),
            "pre": bool(layer.pre),
            "extra_args": str(layer.extra_args or ""),
        },
        "secrets": _secrets(layer),
    }


def _pixi(layer: Any) -> dict[str, Any]:
    return {
        "type": "pixi",
        "lock": _path(layer.pixi_lock),
        "environment": str(layer.environment),
        "extra_args": str(layer.extra_args or ""),
        "secrets": _secrets(layer),
    }


def _uv_script(layer: Any) -> Iterator[dict[str, Any]]:
    """A script's header: its packages, and the projects that it names, which are installed."""
    from flyte._utils import parse_uv_script_file

    if not os.path.isfile(layer.script):
        raise ImageError(f"there is no script {layer.script}")
    header = parse_uv_script_file(layer.script)
    if header.dependencies:
        yield {"type": "pip", "packages": _texts(header.dependencies), **_pip(layer)}
    projects = getattr(header, "pyprojects", None) or ()
    if projects:
        # For projects whose version comes from git.
        yield {"type": "apt", "packages": ["git"], "secrets": []}
    for project in projects:
        lock = os.path.join(project, "uv.lock")
        yield _uv_project(
            _path(os.path.join(project, "pyproject.toml")),
            _path(lock) if os.path.exists(lock) else "",
            True,
            layer,
        )


def _uv_project(pyproject: str, lock: str, install: bool, layer: Any) -> dict[str, Any]:
    return {
        "type": "uv",
        "pyproject": pyproject,
        "lock": lock,
        "install": install,
        "editables": [] if install else _editables(pyproject, lock),
        **_pip(layer),
    }


# What uv.lock and pyproject.toml have where something but the project itself may be installed in place.
_EDITABLE_IN_LOCK = re.compile(r'editable\s*=\s*"(?!\.")')
_PERHAPS_EDITABLE = re.compile(r"editable|workspace")


def _editables(pyproject: str, lock: str) -> list[str]:
    """The folders that a uv project installs as editable, told by uv itself.

    uv is asked only where there can be one, and by the lock file as it is. Without one it resolves the
    project, which may run code of the projects that it looks at.
    """
    folder = os.path.dirname(pyproject)
    beside = os.path.join(folder, "uv.lock")
    locked = lock == beside
    file = lock if locked else pyproject
    try:
        with open(file, encoding="utf-8") as stream:
            text = stream.read()
    except OSError as error:
        raise ImageError(f"{file}: {error.strerror}") from error
    if not (_EDITABLE_IN_LOCK if locked else _PERHAPS_EDITABLE).search(text):
        return []
    uv = shutil.which("uv")
    if uv is None:
        raise ImageError(f"uv is needed to find the editable dependencies of {pyproject}, and is not on PATH")
    command = [uv, "export", "--no-emit-project", "--no-hashes", "--quiet", *(["--frozen"] if locked else [])]
    there = os.path.lexists(beside)
    try:
        result = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_UV_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ImageError(f"uv export fails in {folder}: {error}") from error
    finally:
        # Without a lock file uv writes one, which is not ours to leave in the checkout.
        if not there and os.path.lexists(beside):
            os.unlink(beside)
    if result.returncode != 0:
        last = (result.stderr.strip() or result.stdout.strip()).splitlines()[-5:]
        raise ImageError(f"uv export fails in {folder}: {' '.join(last)}")
    found = re.findall(r"^-e\s+(\S+)", result.stdout, re.MULTILINE)
    return [os.path.normpath(os.path.join(folder, path.removeprefix("file://"))) for path in found]


def _secrets(layer: Any) -> list[dict[str, str]]:
    given = getattr(layer, "secret_mounts", None) or ()
    return [_secret(one) for one in (given if isinstance(given, (list, tuple)) else (given,))]


def _secret(value: Any) -> dict[str, str]:
    import flyte

    # The SDK has the last word on the name of its variable: a key in capitals, without dashes.
    secret: Any = flyte.Secret(key=value) if isinstance(value, str) else value
    mount = str(getattr(secret, "mount", None) or "")
    return {
        "key": str(secret.key),
        "group": str(secret.group or ""),
        "mount": mount,
        "env": "" if mount else str(secret.as_env_var or ""),
    }


def _texts(values: Any) -> list[str]:
    return [str(value) for value in values or ()]


def _path(value: Any) -> str:
    """Absolute; what is relative is so to the working directory, as the SDK has it."""
    return os.path.abspath(str(value)) if value else ""
