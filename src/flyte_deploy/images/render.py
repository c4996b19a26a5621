"""From the description of an image to what it is built from: a Dockerfile and the files of its context.

The image runs a task as the one that Flyte's SDK would build does: it has the same environment variables,
user, working directory, shell and packages. The order of layers is the user's. No ``# syntax`` line: all that
is used is in the frontend that comes with BuildKit (0.16 and newer).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flyte_deploy.images import packages, projects, source
from flyte_deploy.images.checkout import Checkout
from flyte_deploy.images.context import Context, run
from flyte_deploy.images.dockerignore import DockerIgnore, parse
from flyte_deploy.images.own_dockerfile import render_own
from flyte_deploy.images.recipe import Recipe
from flyte_deploy.images.source import ImageSource, Layer

UV_IMAGE = "ghcr.io/astral-sh/uv:0.13.4"
"""What uv is copied from: the version of Flyte's SDK 2.12."""

IMAGE_ARGUMENT = "FLYTE_DEPLOY_IMAGE"
"""The build argument with the image's own name and tag, which cannot be known before they are."""

_BASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*")
_PLATFORM = re.compile(r"[a-z0-9]+(/[a-z0-9]+){1,2}")
_PYTHON = re.compile(r"\d+\.\d+")
_VARIABLE = re.compile(r"[^\s=\"'\\$]+")
_SHELL_WORD = re.compile(r"""(?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"|'[^']*')*""")

# Flyte's own images, and from which version on they have the user ``flyte``.
_RELEASED = re.compile(r"ghcr\.io/flyteorg/flyte:py[\d.]+-v(\d+)\.(\d+)\b")
_FIRST_WITH_USER = (2, 4)


@dataclass(frozen=True)
class CodeFiles:
    """The project's code, for images that hold it.

    Args:
        prefix: the root, relative to the checkout.
        loaded: paths of the modules that were loaded, relative to the root.
        everything: paths of all files of the root that are not ignored.
    """

    prefix: str = "."
    loaded: Callable[[], Sequence[str]] = tuple
    everything: Callable[[], Sequence[str]] = tuple


def render(
    image: ImageSource,
    checkout: Path,
    *,
    base: str = "",
    code: CodeFiles | None = None,
    where: str = "",
    sdk: str = "",
    platforms: Sequence[str] = (),
) -> Recipe:
    """What an image is built from.

    Args:
        image: its description.
        checkout: the folder that all its files lie in; real.
        base: the base image's address, where the description has none of its own.
        code: the project's code, where none travels with the tasks; None where it does.
        where: the place that the image is declared at, for errors.
        sdk: the version of the project's SDK.
        platforms: insisted on, in the place of those that the code says.

    Raises:
        DeployError: for files that are missing or may not go in, and for texts that would end a line.
    """
    files = Checkout(str(checkout), where or None)
    if image.dockerfile:
        recipe = render_own(image.dockerfile, files)
    else:
        recipe = _rendered(image, image.base or base, files, code, sdk)
    return dataclasses.replace(
        recipe,
        platforms=tuple(sorted({_platform(name, files) for name in platforms or image.platforms})),
        strict_platforms=bool(platforms) or not image.default_platforms,
    )


def _platform(name: str, checkout: Checkout) -> str:
    if not _PLATFORM.fullmatch(name):
        raise checkout.error(f"{name!r} is no platform", "One is written as linux/amd64.")
    return name


def _rendered(image: ImageSource, base: str, checkout: Checkout, code: CodeFiles | None, sdk: str) -> Recipe:
    if not _BASE.fullmatch(base):
        raise checkout.error(
            f"the base {base!r} of image '{image.name}' is no address",
            "Image.from_base() needs one, such as python:3.12-slim-bookworm.",
        )
    if not _PYTHON.fullmatch(image.python):
        raise checkout.error(f"{image.python!r} of image '{image.name}' is no Python version", None)
    context = Context(checkout, ignored(image, checkout))
    # The code comes last, as with the SDK: nothing that is installed has to wait for it.
    layers = sorted(image.layers, key=lambda layer: isinstance(layer, source.CodeBundle))
    owner = "flyte:flyte" if image.flyte_user or _has_user(base) else ""
    lines = _header(image, base)
    for layer in layers:
        lines += _layer(layer, context, code, owner)
    if image.flyte_user:
        lines += ["USER flyte", "WORKDIR /home/flyte"]
    elif _version(sdk) < _FIRST_WITH_USER:
        lines.append("WORKDIR /root")
    lines += [f"ARG {IMAGE_ARGUMENT}", f"ENV _F_IMG_ID=${IMAGE_ARGUMENT}", 'SHELL ["/bin/bash", "-c"]']
    return Recipe(dockerfile="\n".join(lines) + "\n", files=context.files, secrets=context.secrets)


def _header(image: ImageSource, base: str) -> list[str]:
    pixi = any(isinstance(layer, source.PixiProject) for layer in image.layers)
    return [
        # A comment first: nothing that follows can be taken for a directive of the parser.
        "# Rendered by flyte-deploy",
        f"FROM {UV_IMAGE} AS uv",
        *([f"FROM {projects.PIXI_IMAGE} AS pixi"] if pixi else []),
        f"FROM {base}",
        "USER root",
        "COPY --from=uv /uv /usr/bin/uv",
        "ARG VIRTUALENV=/opt/venv",
        "ARG UV_PYTHON=$VIRTUALENV/bin/python",
        "ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy VIRTUALENV=$VIRTUALENV UV_PYTHON=$UV_PYTHON",
        run(
            [],
            f'if [ ! -f "$UV_PYTHON" ]; then uv venv $VIRTUALENV --python={image.python}'
            " && uv run --python=$UV_PYTHON python -m compileall $VIRTUALENV; fi",
        ),
        'ENV PATH="$VIRTUALENV/bin:$PATH"',
        'ENV PATH="$PATH:/usr/local/nvidia/bin:/usr/local/cuda/bin"',
        'ENV LD_LIBRARY_PATH="/usr/local/nvidia/lib64"',
    ]


_INSTALLERS: dict[type, Callable[[Any, Context], list[str]]] = {
    source.Pip: packages.pip,
    source.Requirements: packages.requirements,
    source.Wheels: packages.wheels,
    source.Apt: packages.apt,
    source.UvProject: projects.uv,
    source.PoetryProject: projects.poetry,
    source.PixiProject: projects.pixi,
}


def _layer(layer: Layer, context: Context, code: CodeFiles | None, owner: str) -> list[str]:
    installer = _INSTALLERS.get(type(layer))
    if installer is not None:
        return installer(layer, context)
    if isinstance(layer, source.Commands):
        mounts = context.secret_mounts(layer.secrets)
        # As they are: a command may go on over several lines, as in a Dockerfile.
        return [" ".join(["RUN", *mounts, command.strip()]) for command in layer.commands]
    if isinstance(layer, source.Copy):
        return [_copy(layer, context, owner)]
    if isinstance(layer, source.CodeBundle):
        return [] if code is None else [_code(layer, context, code, owner)]
    if isinstance(layer, source.DockerIgnore):
        return []  # it was read before
    if isinstance(layer, source.WorkDir):
        return [f"WORKDIR {context.line(layer.path, 'working directory')}"]
    if isinstance(layer, source.Env):
        return [_variable(name, value, context) for name, value in layer.variables]
    assert isinstance(layer, source.Lines)
    return list(layer.lines)


def _copy(layer: source.Copy, context: Context, owner: str) -> str:
    checkout = context.checkout
    if Path(checkout.real(layer.source, "source")).is_dir():
        return context.copy(context.add_tree(layer.source, "source folder"), layer.target, owner=owner)
    name = context.line(Path(layer.source).name, "source file")
    folder = context.add(context.new_folder(), [(name, checkout.file(layer.source, "source file"))])
    return context.copy(f"{folder}/{name}", layer.target, owner=owner)


def _code(layer: source.CodeBundle, context: Context, code: CodeFiles, owner: str) -> str:
    checkout = context.checkout
    paths = code.loaded() if layer.style == "loaded_modules" else code.everything()
    if not paths:
        raise checkout.error("the image takes the project's code in, and there is none", None)
    root = Path(checkout.root, code.prefix)
    pairs = [(context.line(path, "module"), checkout.file(str(root / path), "module")) for path in paths]
    return context.copy(context.add(context.new_folder(), pairs), layer.target, owner=owner)


def _variable(name: str, value: str, context: Context) -> str:
    """An ``ENV``. What was a word of a Dockerfile for the SDK is one here, and anything else is quoted."""
    context.line(value, f"value of the environment variable {name}")
    if not _VARIABLE.fullmatch(name):
        raise context.checkout.error(f"{name!r} is no name of an environment variable", None)
    if not value or not _SHELL_WORD.fullmatch(value):
        # A backslash stays one, as long as it is not before what it would protect.
        escaped = re.sub(r'\\(?=["\\$]|$)', r"\\\\", value).replace('"', '\\"')
        value = f'"{escaped}"'
    return f"ENV {name}={value}"


def ignored(image: ImageSource, checkout: Checkout) -> DockerIgnore:
    """The ignore file that the last of the layers that do names, or that of the root."""
    named = [layer.path for layer in image.layers if isinstance(layer, source.DockerIgnore) and layer.path]
    path = named[-1] if named else image.ignore
    return DockerIgnore(parse(checkout.text(path, "ignore file")) if path else ())


def _has_user(base: str) -> bool:
    match = _RELEASED.match(base)
    return match is not None and (int(match[1]), int(match[2])) >= _FIRST_WITH_USER


def _version(text: str) -> tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else _FIRST_WITH_USER
