"""Images that have to be built, as plain data: see `flyte_deploy.images.source`.

Layers that the SDK lowers to others when it builds are lowered here, with its own functions, since they read
the project's files the way that the project's version of the SDK does. Whatever runs project code to find
something out runs here, too (`uv export`).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

_INCLUDED = re.compile(r"^\s*(?:-r|-c|--requirement|--constraint)[\s=]+(\S+)", re.MULTILINE)


class ImageError(Exception):
    """The image cannot be described: something that it names is not there, or does not work."""


def source(image: Any, root: str) -> dict[str, Any]:
    """Describe an image that has to be built.

    Raises:
        ImageError: for a layer of a kind that is not known here, and for files that are missing.
    """
    import flyte
    from flyte import _image

    platforms = [str(platform) for platform in getattr(image, "platform", ()) or ()]
    default = [str(platform) for platform in getattr(_image, "_DEFAULT_PLATFORMS", ())]
    user = getattr(_image, "_CREATE_FLYTE_USER_CMD", None)
    layers = [each for layer in image._layers for each in _layer(layer)]
    dockerfile = getattr(image, "dockerfile", None)
    reference = getattr(image, "_ref_name", None)
    base = str(getattr(image, "base_image", None) or "")
    if not (base or dockerfile or reference):
        raise ImageError(f"an image of flyte {flyte.__version__} without a base")
    ignore = os.path.join(root, ".dockerignore")
    return {
        "name": str(image.name or ""),
        "base": "" if reference else base,
        "reference": str(reference or ""),
        "dockerfile": _path(dockerfile) if dockerfile else "",
        "registry": str(image.registry or ""),
        "platforms": platforms,
        "default_platforms": bool(default) and platforms == default,
        "python": ".".join(str(part) for part in image.python_version[:2]),
        "flyte_user": user is not None
        and any(user in layer["commands"] for layer in layers if layer["type"] == "commands"),
        "layers": layers,
        "ignore": ignore if os.path.isfile(ignore) else "",
    }


def wants_modules(image: Any) -> bool:
    """Whether the image holds the modules that were loaded."""
    layers = getattr(image, "_layers", ())
    return any(getattr(layer, "copy_style", "") == "loaded_modules" for layer in layers)


def _layer(layer: Any) -> Iterator[dict[str, Any]]:
    """A layer, or those that it is lowered to. The order is that of the classes: some derive from others."""
    import flyte

    kind = _kind(layer)
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
        file = _path(layer.file)
        yield {"type": "requirements", "file": file, "more": _included(file), **_pip(layer)}
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


_KINDS = (
    "PythonWheels",
    "UVScript",
    "Requirements",
    "PipPackages",
    "AptPackages",
    "UVProject",
    "PoetryProject",
    "PixiProject",
    "PixiScript",
    "CopyConfig",
    "Commands",
    "DockerIgnore",
    "WorkDir",
    "Env",
    "_DockerLines",
    "CodeBundleLayer",
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
        "editables": [] if install else _editables(os.path.dirname(pyproject)),
        **_pip(layer),
    }


def _editables(folder: str) -> list[str]:
    """The folders that a uv project installs as editable, told by uv itself."""
    pyproject = os.path.join(folder, "pyproject.toml")
    try:
        with open(pyproject, encoding="utf-8") as stream:
            # Without such a table there are none, and uv need not be asked.
            if "tool.uv" not in stream.read():
                return []
    except OSError as error:
        raise ImageError(f"{pyproject}: {error.strerror}") from error
    uv = shutil.which("uv")
    if uv is None:
        raise ImageError(f"uv is needed to find the editable dependencies of {pyproject}, and is not on PATH")
    command = [uv, "export", "--no-emit-project", "--no-hashes", "--quiet"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        last = (result.stderr.strip() or result.stdout.strip()).splitlines()[-5:]
        raise ImageError(f"uv export fails in {folder}: {' '.join(last)}")
    found = re.findall(r"^-e\s+(\S+)", result.stdout, re.MULTILINE)
    return [os.path.normpath(os.path.join(folder, path.removeprefix("file://"))) for path in found]


def _included(file: str) -> list[str]:
    """The files that a requirements file includes, and those that they include."""
    found: list[str] = []
    waiting = [file]
    while waiting:
        current = waiting.pop()
        try:
            with open(current, encoding="utf-8") as stream:
                text = stream.read()
        except OSError as error:
            raise ImageError(f"{current}: {error.strerror}") from error
        for name in _INCLUDED.findall(text):
            path = os.path.normpath(os.path.join(os.path.dirname(current), name))
            if "://" not in name and path not in found and path != file:
                found.append(path)
                waiting.append(path)
    return found


def _secrets(layer: Any) -> list[dict[str, str]]:
    given = getattr(layer, "secret_mounts", None) or ()
    return [_secret(one) for one in (given if isinstance(given, (list, tuple)) else (given,))]


def _secret(value: Any) -> dict[str, str]:
    if isinstance(value, str):
        return {"key": value, "env": value}
    key, group = str(value.key), str(value.group or "")
    mount = str(getattr(value, "mount", None) or "")
    env = str(getattr(value, "as_env_var", None) or "")
    if not (mount or env):
        env = "_".join(part for part in (group, key) if part)
    return {"key": key, "group": group, "mount": mount, "env": "" if mount else env}


def _texts(values: Any) -> list[str]:
    return [str(value) for value in values or ()]


def _path(value: Any) -> str:
    """Absolute; what is relative is so to the working directory, as the SDK has it."""
    return os.path.abspath(str(value)) if value else ""
