"""Layers that install packages: pip requirements, requirements files, wheels, Debian packages."""

# Paths are text here, as in the description.
# ruff: noqa: PTH118, PTH120, PTH208, S108

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator

from flyte_deploy.images.checkout import Checkout
from flyte_deploy.images.context import Context, run
from flyte_deploy.images.source import Apt, Pip, PipOptions, Requirements, Wheels

UV_CACHE = "--mount=type=cache,mode=0777,target=/root/.cache/uv,id=flyte-uv"
"""uv's cache. uv locks what it writes there, so that builds may share it: they need not wait."""

# apt wants its folder for itself; a second build gets another one, and does not wait.
_APT_CACHE = "--mount=type=cache,sharing=private,mode=0777,target=/var/cache/apt,id=flyte-apt"

_INSTALL = "uv pip install --python $UV_PYTHON"
_NESTED = re.compile(
    r"^\s*(?:-r|--requirement|-c|--constraint)(?:\s*=\s*|\s+|(?=[^\s-]))(\S.*?)\s*(?:\s#.*)?$"
)
_WHEELHOUSE = (".whl", ".tar.gz", ".zip")


def arguments(options: PipOptions, context: Context) -> list[str]:
    """The options of pip as words of a shell command; `extra_args` is such a text already."""
    words = []
    if options.index_url:
        words.append(f"--index-url {context.url(options.index_url, 'index_url')}")
    words += [f"--extra-index-url {context.url(url, 'extra index URL')}" for url in options.extra_index_urls]
    if options.pre:
        words.append("--pre")
    if options.extra_args:
        words.append(context.line(options.extra_args, "extra_args"))
    return words


def pip(layer: Pip, context: Context) -> list[str]:
    """Install requirements."""
    packages = [shlex.quote(context.line(package, "package")) for package in layer.packages]
    command = " ".join([_INSTALL, *arguments(layer.options, context), *packages])
    return [run([UV_CACHE, *context.secret_mounts(layer.secrets)], command)]


def requirements(layer: Requirements, context: Context) -> list[str]:
    """Install what a requirements file says. The file is mounted, with those that it refers to."""
    main = context.checkout.file(layer.file, "requirements file")
    # Which files it refers to is found here: what the collector found comes from the code.
    files = with_nested(main, context.checkout)
    folder = context.new_folder()
    if len(files) == 1:
        context.add(folder, [("requirements.txt", main)])
        mount = f"--mount=type=bind,source={folder}/requirements.txt,target=requirements.txt"
        name = "requirements.txt"
    else:
        # They refer to each other by relative paths, which stay.
        top = os.path.commonpath([os.path.dirname(file) for file in files])
        context.add(folder, [(os.path.relpath(file, top), file) for file in files])
        mount = f"--mount=type=bind,source={folder},target=/tmp/requirements"
        name = shlex.quote(f"/tmp/requirements/{os.path.relpath(main, top)}")
    command = " ".join([_INSTALL, *arguments(layer.options, context), "--requirement", name])
    return [run([UV_CACHE, mount, *context.secret_mounts(layer.secrets)], command)]


def with_nested(main: str, checkout: Checkout) -> list[str]:
    """A requirements file and those that it refers to, real paths.

    Raises:
        DeployError: for one that does not exist or lies elsewhere.
    """
    found = [main]
    for file in found:
        for line, name in _references(checkout.text(file, "requirements file")):
            if "://" in name or "$" in name:
                continue
            path = os.path.join(os.path.dirname(file), name)
            if not os.path.lexists(path):
                raise checkout.error(
                    f"line {line} of {checkout.shown(file)} refers to {name}, which does not exist",
                    "It is relative to the file that names it.",
                )
            real = checkout.file(path, "requirements file")
            if real not in found:
                found.append(real)
    return found


def _references(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        match = _NESTED.match(line)
        if match is not None:
            yield number, match[1].strip("\"'")


def wheels(layer: Wheels, context: Context) -> list[str]:
    """Install a package from a folder of wheels, its dependencies from the index.

    The second command puts the wheel in the place of a release that the first one may have preferred.
    """
    what = "wheel folder"
    source = context.checkout.folder(layer.folder, what)
    files = wheel_files(layer.folder, source, context.checkout)
    pairs = [
        (context.line(name, what), context.checkout.file(os.path.join(source, name), what)) for name in files
    ]
    folder = context.add(context.new_folder(), pairs)
    mounts = [
        UV_CACHE,
        f"--mount=type=bind,source={folder},target=/dist",
        *context.secret_mounts(layer.secrets),
    ]
    package = shlex.quote(context.line(layer.package, "package"))
    given = arguments(layer.options, context)
    return [
        run(mounts, " ".join([_INSTALL, *given, "--find-links /dist", package])),
        run(
            mounts,
            " ".join([_INSTALL, *given, "--find-links /dist --no-deps --no-index --reinstall", package]),
        ),
    ]


def wheel_files(folder: str, real: str, checkout: Checkout) -> list[str]:
    """What pip finds in a folder of wheels.

    Raises:
        DeployError: where there is no wheel.
    """
    files = sorted(name for name in os.listdir(real) if name.endswith(_WHEELHOUSE))
    if not any(name.endswith(".whl") for name in files):
        raise checkout.error(
            f"the wheel folder {checkout.shown(folder)} holds no wheel (*.whl)",
            "Build it first, for example with uv build.",
        )
    return files


def apt(layer: Apt, context: Context) -> list[str]:
    """Install Debian packages."""
    packages = " ".join(context.line(package, "Debian package") for package in layer.packages)
    command = f"apt-get update && apt-get install -y --no-install-recommends {packages}"
    return [run([_APT_CACHE, *context.secret_mounts(layer.secrets)], command)]
