"""Render: from what an image says to a Dockerfile and the files of its context.

Pure but for reading which files there are. What comes of the Dockerfile runs a task as the image that Flyte's
SDK 2.12 builds of the same description does: the same environment variables, user, working directory, shell
and packages.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from flyte_deploy.errors import DeployError
from flyte_deploy.images import source
from flyte_deploy.images.check import check
from flyte_deploy.images.context import Context
from flyte_deploy.images.dockerignore import Ignore
from flyte_deploy.images.recipe import Recipe, SecretMount
from flyte_deploy.images.source import ImageSource, Layer, PipOptions, Secret

UV_IMAGE = "ghcr.io/astral-sh/uv:0.13.4"
"""Where uv is copied from; another one takes its place with ``--build-context``."""

PIXI_IMAGE = "ghcr.io/prefix-dev/pixi:0.72.2"
PIXI_FOLDER = "/opt/pixi-project"
FLYTE_IMAGES = ("ghcr.io/flyteorg/flyte:", "ghcr.io/flyteorg/flyte@")
"""Images that have the user ``flyte``."""

IMAGE_ARGUMENT = "FLYTE_DEPLOY_IMAGE"
"""The build argument with the image's own name and tag, which cannot be known before they are."""

_UV_CACHE = "--mount=type=cache,id=flyte-uv,mode=0777,target=/root/.cache/uv"
_APT_CACHE = "--mount=type=cache,id=flyte-apt,sharing=locked,mode=0777,target=/var/cache/apt"
_PIXI_CACHE = "--mount=type=cache,id=flyte-pixi,mode=0777,target=/root/.cache/rattler"
_POETRY_CACHE = "--mount=type=cache,id=flyte-poetry,mode=0777,target=/tmp/poetry_cache"

_CODE = ".flyte-deploy/code"

# Where the SDK's own Dockerfiles find the virtual environment where none is named.
_ACTIVE = "VIRTUAL_ENV=${VIRTUAL_ENV-/opt/venv}"


@dataclass
class _Text:
    """A Dockerfile in the making."""

    lines: list[str] = field(default_factory=list)
    secrets: dict[str, SecretMount] = field(default_factory=dict)

    def add(self, *lines: str) -> None:
        self.lines += lines

    def run(self, *parts: str) -> None:
        """A RUN of flags and a command; empty parts are left out."""
        self.lines.append(" ".join(("RUN", *(part for part in parts if part))))

    def mounts(self, secrets: Sequence[Secret]) -> str:
        """The flags that mount a layer's secrets. One that is not handed to the build ends it."""
        flags = []
        for secret in secrets:
            name = secret.name
            self.secrets[name] = SecretMount(name=name, id=name)
            where = f"target={secret.mount}" if secret.mount else f"env={secret.env or name}"
            flags.append(f"--mount=type=secret,id={name},{where},required=true")
        return " ".join(flags)


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
) -> Recipe:
    """What an image is built from.

    Args:
        image: its description.
        checkout: the folder that all its files lie in; real.
        base: the base image's address, where the description has none of its own.
        code: the project's code, where none travels with the tasks; None where it does.
        where: the place that the image is declared at, for errors.

    Raises:
        DeployError: for files that are missing or lie elsewhere, and for texts that would end a line.
    """
    context = Context(checkout, _ignore(image, where), where)
    if image.dockerfile:
        return _own_dockerfile(image, context)
    base = image.base or base
    check(image, base, where)
    text = _Text()
    text.add(
        f"FROM {UV_IMAGE} AS uv",
        f"FROM {base}",
        "USER root",
        "COPY --from=uv /uv /usr/bin/uv",
        "ARG VIRTUALENV=/opt/venv",
        "ARG UV_PYTHON=$VIRTUALENV/bin/python",
        "ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy VIRTUALENV=$VIRTUALENV UV_PYTHON=$UV_PYTHON",
    )
    text.run(
        _UV_CACHE,
        'test -f "$UV_PYTHON" ||',
        f'{{ uv venv "$VIRTUALENV" --python={image.python}',
        '&& "$UV_PYTHON" -m compileall -q "$VIRTUALENV"; }',
    )
    text.add(
        'ENV PATH="$VIRTUALENV/bin:$PATH"',
        # Where an image has them; elsewhere they are not there.
        'ENV PATH="$PATH:/usr/local/nvidia/bin:/usr/local/cuda/bin"',
        'ENV LD_LIBRARY_PATH="/usr/local/nvidia/lib64"',
    )
    # A file's owner where there is such a user: naming one that is not there ends the build.
    owner = "--chown=flyte:flyte " if image.flyte_user or base.startswith(FLYTE_IMAGES) else ""
    later = []
    for layer in image.layers:
        if isinstance(layer, source.CodeBundle):
            later.append(layer)
        else:
            _layer(layer, text, context, owner)
    for bundle in later if code is not None else ():
        assert code is not None
        # Code goes last: it changes most.
        paths = code.loaded() if bundle.style == "loaded_modules" else code.everything()
        for path in paths:
            context.add_as(f"{_CODE}/{bundle.style}/{path}", PurePosixPath(code.prefix, path).as_posix())
        text.add(f"COPY {owner}{_json(f'{_CODE}/{bundle.style}/', bundle.target)}")
    text.add(f"ARG {IMAGE_ARGUMENT}", f"ENV _F_IMG_ID=${IMAGE_ARGUMENT}", 'SHELL ["/bin/bash", "-c"]')
    if image.flyte_user:
        text.add("USER flyte", "WORKDIR /home/flyte")
    return Recipe(
        dockerfile="\n".join(text.lines) + "\n",
        files=context.files,
        platforms=image.platforms,
        strict_platforms=not image.default_platforms,
        secrets=tuple(text.secrets[name] for name in sorted(text.secrets)),
    )


def _own_dockerfile(image: ImageSource, context: Context) -> Recipe:
    """A user's own Dockerfile: as it is, in its own folder."""
    relative = context.below(image.dockerfile, "the Dockerfile")
    path = context.checkout / relative
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DeployError(
            f"the Dockerfile {relative} cannot be read: {error}", where=context.where or None, usage=True
        ) from error
    return Recipe(
        dockerfile=text,
        folder=path.parent,
        dockerfile_name=path.name,
        platforms=image.platforms,
        strict_platforms=not image.default_platforms,
    )


def _ignore(image: ImageSource, where: str) -> Ignore:
    path = image.ignore
    for layer in image.layers:
        if isinstance(layer, source.DockerIgnore):
            path = layer.path
    if not path:
        return Ignore()
    try:
        return Ignore.parse(Path(path).read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise DeployError(
            f"{path} cannot be read: {error}",
            where=where or None,
            mend="with_dockerignore names a file that exists.",
            usage=True,
        ) from error


def _layer(layer: Layer, text: _Text, context: Context, owner: str) -> None:
    """Add a layer's lines and files."""
    if isinstance(layer, source.Pip):
        packages = " ".join(shlex.quote(package) for package in layer.packages)
        _uv_pip(text, layer.secrets, layer.options, packages)
    elif isinstance(layer, source.Requirements):
        _requirements(layer, text, context)
    elif isinstance(layer, source.Wheels):
        _wheels(layer, text, context)
    elif isinstance(layer, source.UvProject):
        _uv_project(layer, text, context)
    elif isinstance(layer, source.PoetryProject):
        _poetry(layer, text, context)
    elif isinstance(layer, source.PixiProject):
        _pixi(layer, text, context)
    elif isinstance(layer, source.Apt):
        packages = " ".join(shlex.quote(package) for package in layer.packages)
        text.run(
            _APT_CACHE,
            text.mounts(layer.secrets),
            f"apt-get update && apt-get install -y --no-install-recommends {packages}",
        )
    elif isinstance(layer, source.Commands):
        mounts = text.mounts(layer.secrets)
        for command in layer.commands:
            text.run(mounts, command)
    elif isinstance(layer, source.WorkDir):
        text.add(f"WORKDIR {layer.path}")
    elif isinstance(layer, source.Env):
        for name, value in layer.variables:
            text.add(f"ENV {name}={_value(value)}")
    elif isinstance(layer, source.Lines):
        text.add(*layer.lines)
    elif isinstance(layer, source.Copy):
        if Path(layer.source).is_dir():
            path = context.add_folder(layer.source, "the source folder")
        else:
            path = context.add_file(layer.source, "the source file")
        text.add(f"COPY {owner}{_json(path, layer.target)}")


def _uv_pip(text: _Text, secrets: Sequence[Secret], options: PipOptions, what: str, *mounts: str) -> None:
    text.run(
        _UV_CACHE,
        *mounts,
        text.mounts(secrets),
        'uv pip install --python "$UV_PYTHON"',
        _options(options),
        what,
    )


def _requirements(layer: source.Requirements, text: _Text, context: Context) -> None:
    file = context.add_file(layer.file, "the requirements file")
    more = [context.add_file(path, "the requirements file") for path in layer.more]
    # In a folder of their own, with the places that they have to each other.
    folder = "/tmp/flyte-deploy-requirements"  # noqa: S108 - a mount of the build
    mounts = [f"--mount=type=bind,source={_quoted(path)},target={folder}/{path}" for path in (file, *more)]
    _uv_pip(text, layer.secrets, layer.options, f"--requirement {shlex.quote(f'{folder}/{file}')}", *mounts)


def _wheels(layer: source.Wheels, text: _Text, context: Context) -> None:
    folder = context.below(layer.folder, "the folder of wheels")
    wheels = sorted(path.name for path in (context.checkout / folder).glob("*.whl"))
    if not wheels:
        raise DeployError(
            f"the folder of wheels {folder} holds none",
            where=context.where or None,
            mend="Build the wheel before the deploy, or name the folder that it is in.",
            usage=True,
        )
    context.add_paths(folder, wheels)
    mount = f"--mount=type=bind,source={_quoted(folder)},target=/dist"
    package = shlex.quote(layer.package)
    # Dependencies from the index first; then exactly the wheel that is here takes the package's place.
    _uv_pip(text, layer.secrets, layer.options, f"--find-links /dist {package}", mount)
    exactly = f"--find-links /dist --no-deps --no-index --reinstall {package}"
    _uv_pip(text, layer.secrets, layer.options, exactly, mount)


def _uv_project(layer: source.UvProject, text: _Text, context: Context) -> None:
    options = _options(layer.options)
    mounts = text.mounts(layer.secrets)
    if layer.install:
        folder = context.add_folder(
            str(Path(layer.pyproject).parent), "the uv project", also=(layer.pyproject, layer.lock)
        )
        inside = f"/root/.flyte/{folder}"
        text.run(
            _UV_CACHE,
            f"--mount=type=bind,source={_quoted(folder)},target={inside},rw",
            mounts,
            f"{_ACTIVE} uv sync --active --inexact --no-editable",
            options,
            f"--project {shlex.quote(inside)}",
        )
        return
    pyproject = context.add_file(layer.pyproject, "the uv project")
    lock = context.add_file(layer.lock, "the lock file") if layer.lock else ""
    base = context.checkout / PurePosixPath(pyproject).parent
    editables = []
    for editable in layer.editables:
        folder = context.add_folder(editable, "the editable dependency")
        target = _relative(context.checkout / folder, base)
        editables.append(f"--mount=type=bind,source={_quoted(folder)},target={target},rw")
    text.run(
        _UV_CACHE,
        f"--mount=type=bind,source={_quoted(lock)},target=uv.lock,rw" if lock else "",
        f"--mount=type=bind,source={_quoted(pyproject)},target=pyproject.toml",
        *editables,
        mounts,
        f"{_ACTIVE} uv sync --active --inexact",
        options,
        "" if "--no-install-project" in options else "--no-install-project",
    )


def _poetry(layer: source.PoetryProject, text: _Text, context: Context) -> None:
    text.run(_UV_CACHE, "uv pip install poetry")
    mounts = text.mounts(layer.secrets)
    if layer.install:
        text.add("ENV POETRY_CACHE_DIR=/tmp/poetry_cache")
        folder = context.add_folder(
            str(Path(layer.pyproject).parent), "the Poetry project", also=(layer.pyproject, layer.lock)
        )
        inside = f"/root/.flyte/{folder}"
        text.run(
            _POETRY_CACHE,
            f"--mount=type=bind,source={_quoted(folder)},target={inside},rw",
            mounts,
            f"{_ACTIVE} poetry install",
            layer.extra_args,
            f"-C {shlex.quote(inside)}",
        )
        return
    text.add("ENV POETRY_CACHE_DIR=/tmp/poetry_cache POETRY_VIRTUALENVS_IN_PROJECT=true")
    pyproject = context.add_file(layer.pyproject, "the Poetry project")
    lock = context.add_file(layer.lock, "the lock file")
    text.run(
        _POETRY_CACHE,
        f"--mount=type=bind,source={_quoted(lock)},target=poetry.lock",
        f"--mount=type=bind,source={_quoted(pyproject)},target=pyproject.toml",
        mounts,
        f"{_ACTIVE} poetry install",
        layer.extra_args,
        "" if "--no-root" in layer.extra_args else "--no-root",
    )


def _pixi(layer: source.PixiProject, text: _Text, context: Context) -> None:
    name = Path(layer.manifest).name if layer.manifest else "pixi.toml"
    text.add(f"COPY --from={PIXI_IMAGE} /usr/local/bin/pixi /usr/local/bin/pixi")
    if layer.install:
        folder = context.add_folder(
            str(Path(layer.manifest).parent), "the pixi project", also=(layer.manifest, layer.lock)
        )
        text.add(f"COPY {_json(folder, PIXI_FOLDER)}")
    else:
        if layer.manifest:
            manifest = context.add_file(layer.manifest, "the pixi project")
        else:
            digest_free_name = f".flyte-deploy/pixi-{layer.environment}.toml"
            manifest = context.add_content(digest_free_name, layer.text.encode())
        text.add(f"COPY {_json(manifest, f'{PIXI_FOLDER}/{name}')}")
        if layer.lock:
            lock = context.add_file(layer.lock, "the lock file")
            text.add(f"COPY {_json(lock, f'{PIXI_FOLDER}/pixi.lock')}")
    text.run(
        _PIXI_CACHE,
        text.mounts(layer.secrets),
        f"pixi install --manifest-path {PIXI_FOLDER}/{name} --environment {shlex.quote(layer.environment)}",
        # The two exclude each other.
        "--locked" if layer.lock and "--frozen" not in layer.extra_args else "",
        layer.extra_args,
    )
    environment = f"{PIXI_FOLDER}/.pixi/envs/{layer.environment}"
    text.add(
        f"ENV VIRTUAL_ENV={environment} UV_PYTHON={environment}/bin/python"
        f" PIXI_PROJECT_MANIFEST={PIXI_FOLDER}/{name} PATH={environment}/bin:$PATH"
    )


def _options(options: PipOptions) -> str:
    # Quoted so that variables in them are filled in: a token that comes as a secret.
    parts = [f"--index-url {_filled_in(options.index_url)}"] if options.index_url else []
    parts += [f"--extra-index-url {_filled_in(url)}" for url in options.extra_index_urls]
    parts += ["--pre"] if options.pre else []
    parts += [options.extra_args] if options.extra_args else []
    return " ".join(parts)


def _filled_in(text: str) -> str:
    return '"' + re.sub(r'(["`\\\\])', r"\\\1", text) + '"'


def _value(value: str) -> str:
    """A variable's value: as it is where nothing in it has to be quoted; variables in it are filled in."""
    if re.fullmatch(r"[A-Za-z0-9_./:@%+,=${}~-]*", value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _json(*words: str) -> str:
    """Arguments of COPY in the form that takes any name."""
    import json

    return json.dumps(list(words), ensure_ascii=False)


def _quoted(path: str) -> str:
    """A path as the value of a mount's option."""
    return f'"{path}"' if re.search(r"[\s,\"]", path) else path


def _relative(path: Path, base: Path) -> str:
    import os

    return os.path.relpath(path, base)
