"""The backend's form of an image: its ``ImageSpec``, and the files of the context that goes with it.

It is what Flyte's SDK 2.12 sends for the same description, but for its slips, which `docs/differences.md`
names. What the form has no layer for is expressed by those that it has.

A file lies in the context where it lies in the checkout.
"""

# Paths are strings here, as in the description.
# ruff: noqa: PTH118, PTH120

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from flyteidl2.core.security_pb2 import Secret as SecretMessage
from flyteidl2.imagebuilder import definition_pb2 as form
from flyteidl2.imagebuilder.definition_pb2 import ImageSpec

from flyte_deploy.images import packages, projects, source
from flyte_deploy.images.checkout import Checkout
from flyte_deploy.images.dockerignore import DockerIgnore
from flyte_deploy.images.recipe import ContextFile, Order
from flyte_deploy.images.render import CodeFiles, ignored
from flyte_deploy.images.source import ImageSource, Layer, PipOptions, Secret

_PIXI_HOME = "/opt/pixi"
_CODE = "_flyte_code"


def image_spec(
    image: ImageSource,
    checkout: Checkout,
    *,
    base: str,
    platforms: Sequence[str] = (),
    code: CodeFiles | None = None,
) -> Order:
    """An image in the backend's form.

    Args:
        image: its description.
        checkout: what its files lie in; names the place in the code for errors.
        base: the base image's address.
        platforms: those that were insisted on.
        code: the project's code, None where it travels with the tasks.

    Raises:
        DeployError: for what the backend does not build, such as a Dockerfile of the user's own, and as
            `render`.
    """
    if image.dockerfile:
        raise checkout.error(
            f"the image '{image.name}' has a Dockerfile of its own, which the backend's image builder does"
            " not build",
            "Build with --image-builder local, or describe the image with flyte.Image.",
        )
    form_of = _Form(checkout, ignored(image, checkout), code)
    # The code comes last, as with the local builder.
    ordered = sorted(image.layers, key=lambda layer: isinstance(layer, source.CodeBundle))
    layers = [message for layer in ordered for message in form_of.of(layer)]
    spec = ImageSpec(base_image=base, python_version=image.python, layers=layers, platform=platforms)
    secrets = [secret for layer in image.layers for secret in _secrets_of(layer)]
    if image.registry_secret is not None:
        secrets.append(image.registry_secret)
    files = tuple(form_of.files[path] for path in sorted(form_of.files))
    distinct = dict.fromkeys((secret.group, secret.key) for secret in secrets)
    return Order(spec.SerializeToString(deterministic=True), files, tuple(distinct))


class _Form:
    """Layers in the backend's form, and the files that they need."""

    def __init__(self, checkout: Checkout, ignore: DockerIgnore, code: CodeFiles | None) -> None:
        self.files: dict[str, ContextFile] = {}
        self._checkout = checkout
        self._ignore = ignore
        self._bundle = code

    def of(self, layer: Layer) -> Iterator[form.Layer]:
        """A layer in the backend's form, or those that it comes to there."""
        mounts = [_secret(secret) for secret in _secrets_of(layer)]
        if isinstance(layer, source.Pip):
            options = _options(layer.options)
            yield form.Layer(
                pip_packages=form.PipPackages(packages=layer.packages, options=options, secret_mounts=mounts)
            )
        elif isinstance(layer, source.Requirements):
            yield self._requirements(layer, mounts)
        elif isinstance(layer, source.Wheels):
            yield self._wheels(layer, mounts)
        elif isinstance(layer, source.UvProject):
            yield self._uv(layer, mounts)
        elif isinstance(layer, source.PoetryProject):
            yield self._poetry(layer, mounts)
        elif isinstance(layer, source.PixiProject):
            yield from self._pixi(layer, mounts)
        elif isinstance(layer, source.Apt):
            yield form.Layer(apt_packages=form.AptPackages(packages=layer.packages, secret_mounts=mounts))
        elif isinstance(layer, source.Commands):
            yield form.Layer(commands=form.Commands(cmd=layer.commands, secret_mounts=mounts))
        elif isinstance(layer, source.WorkDir):
            yield form.Layer(workdir=form.WorkDir(workdir=layer.path))
        elif isinstance(layer, source.Env):
            yield form.Layer(env=form.Env(env_variables=dict(layer.variables)))
        elif isinstance(layer, source.Copy):
            yield form.Layer(copy_config=form.CopyConfig(src=self._any(layer.source), dst=layer.target))
        elif isinstance(layer, source.Lines):
            yield from self._lines(layer)
        elif isinstance(layer, source.CodeBundle) and self._bundle is not None:
            yield self._code(layer, self._bundle)

    def _requirements(self, layer: source.Requirements, mounts: Sequence[SecretMessage]) -> form.Layer:
        path = self._file(layer.file, "requirements file")
        # With those that it refers to; the SDK leaves them behind.
        for nested in packages.with_nested(
            self._checkout.file(layer.file, "requirements file"), self._checkout
        ):
            self._file(nested, "requirements file")
        options = _options(layer.options)
        return form.Layer(requirements=form.Requirements(file=path, options=options, secret_mounts=mounts))

    def _wheels(self, layer: source.Wheels, mounts: Sequence[SecretMessage]) -> form.Layer:
        folder = self._checkout.folder(layer.folder, "wheel folder")
        path = self._path(layer.folder)
        for name in packages.wheel_files(layer.folder, folder, self._checkout):
            self._put(f"{path}/{name}", self._checkout.file(os.path.join(folder, name), "wheel folder"))
        return form.Layer(
            python_wheels=form.PythonWheels(
                dir=path,
                package_name=layer.package,
                options=_options(layer.options),
                secret_mounts=mounts,
            )
        )

    def _uv(self, layer: source.UvProject, mounts: Sequence[SecretMessage]) -> form.Layer:
        options = _options(layer.options)
        manifest = self._file(layer.pyproject, "pyproject.toml")
        lock = self._file(layer.lock, "uv.lock") if layer.lock else ""
        folders = [_folder(manifest)]
        if layer.install:
            self._tree(os.path.dirname(layer.pyproject), "project", self._ignore)
        else:
            # Beside the arguments that there are: the SDK puts it in their place.
            if "--no-install-project" not in options.extra_args:
                options.extra_args = f"{options.extra_args} --no-install-project".strip()
            ignore = DockerIgnore((*projects.STANDARD.patterns, *self._ignore.patterns))
            folders += [self._tree(path, "editable dependency", ignore) for path in layer.editables]
        return form.Layer(
            uv_project=form.UVProject(
                pyproject=folders[0],
                uvlock=lock,
                options=options,
                secret_mounts=mounts,
                source_dir=os.path.commonpath([os.path.join("/", folder) for folder in folders])[1:] or ".",
            )
        )

    def _poetry(self, layer: source.PoetryProject, mounts: Sequence[SecretMessage]) -> form.Layer:
        extra = layer.extra_args
        project = self._file(layer.pyproject, "pyproject.toml")
        lock = self._file(layer.lock, "poetry.lock")
        if layer.install:
            project = self._tree(os.path.dirname(layer.pyproject), "project", self._ignore)
        elif "--no-root" not in extra:
            extra = f"{extra} --no-root"
        return form.Layer(
            poetry_project=form.PoetryProject(
                pyproject=project, poetry_lock=lock, extra_args=extra, secret_mounts=mounts
            )
        )

    def _pixi(self, layer: source.PixiProject, mounts: Sequence[SecretMessage]) -> Iterator[form.Layer]:
        """pixi by what there is: its installer, files that are copied, commands, variables."""
        name = projects.pixi_manifest(layer, self._checkout)
        folder = projects.PIXI_PROJECT
        manifest, environment = f"{folder}/{name}", f"{folder}/.pixi/envs/{layer.environment}"
        version = projects.PIXI_IMAGE.rpartition(":")[2]
        yield form.Layer(apt_packages=form.AptPackages(packages=["curl", "ca-certificates", "bzip2", "git"]))
        installer = (
            f"if [ ! -x {_PIXI_HOME}/bin/pixi ]; then curl -fsSL https://pixi.sh/install.sh |"
            f" PIXI_HOME={_PIXI_HOME} PIXI_VERSION=v{version} PIXI_NO_PATH_UPDATE=1 bash; fi"
        )
        yield form.Layer(commands=form.Commands(cmd=[installer]))
        if layer.install:
            tree = self._tree(os.path.dirname(layer.manifest), "project", self._ignore)
            self._file(layer.manifest, "pixi manifest")
            if layer.lock:
                self._file(layer.lock, "pixi.lock")
            yield form.Layer(copy_config=form.CopyConfig(src=tree, dst=folder))
        else:
            path = f"_flyte_pixi/{name}"
            if layer.manifest:
                path = self._file(layer.manifest, "pixi manifest")
            else:
                self.files[path] = ContextFile(path, content=layer.text.encode())
            yield form.Layer(copy_config=form.CopyConfig(src=path, dst=manifest))
            if layer.lock:
                lock = self._file(layer.lock, "pixi.lock")
                yield form.Layer(copy_config=form.CopyConfig(src=lock, dst=f"{folder}/pixi.lock"))
        words = [
            f"{_PIXI_HOME}/bin/pixi install --manifest-path {manifest} --environment {layer.environment}",
            "--locked" if layer.lock and "--frozen" not in layer.extra_args else "",
            layer.extra_args,
        ]
        command = " ".join(word for word in words if word)
        yield form.Layer(commands=form.Commands(cmd=[command], secret_mounts=mounts))
        variables = {
            "VIRTUAL_ENV": environment,
            "UV_PYTHON": f"{environment}/bin/python",
            "PIXI_PROJECT_MANIFEST": manifest,
            "PATH": f"{environment}/bin:{_PIXI_HOME}/bin:$PATH",
        }
        yield form.Layer(env=form.Env(env_variables=variables))

    def _lines(self, layer: source.Lines) -> Iterator[form.Layer]:
        """Lines of a Dockerfile by what there is for them. Labels change nothing that runs."""
        for line in layer.lines:
            word, _, rest = line.strip().partition(" ")
            word = word.upper()
            if word == "RUN":
                yield form.Layer(commands=form.Commands(cmd=[rest]))
            elif word == "WORKDIR":
                yield form.Layer(workdir=form.WorkDir(workdir=rest))
            elif word == "ENV" and "=" in rest:
                pairs = (pair.partition("=") for pair in shlex.split(rest))
                yield form.Layer(env=form.Env(env_variables={name: value for name, _, value in pairs}))
            elif word not in ("LABEL", "MAINTAINER", "") and not word.startswith("#"):
                raise self._checkout.error(
                    f"the backend's image builder has nothing for this line of a Dockerfile: {line.strip()}",
                    "Build with --image-builder local.",
                )

    def _code(self, layer: source.CodeBundle, bundle: CodeFiles) -> form.Layer:
        """The project's code, where the image holds it."""
        paths = bundle.loaded() if layer.style == "loaded_modules" else bundle.everything()
        root = Path(self._checkout.root, bundle.prefix)
        for path in paths:
            self._put(f"{_CODE}/{path}", self._checkout.file(str(root / path), "module"))
        return form.Layer(copy_config=form.CopyConfig(src=_CODE, dst=layer.target))

    def _any(self, path: str) -> str:
        if Path(self._checkout.real(path, "source")).is_dir():
            return self._tree(path, "source folder", self._ignore)
        return self._file(path, "source file")

    def _file(self, path: str, what: str) -> str:
        """Put a file in where it lies in the checkout; returns that path."""
        real = self._checkout.file(path, what)
        return self._put(self._path(path), real)

    def _tree(self, path: str, what: str, ignore: DockerIgnore) -> str:
        """Put the files of a folder in; returns the folder's path, ``.`` for the whole checkout."""
        real = self._checkout.folder(path, what)
        below = self._path(path)
        for name, source_file in self._checkout.tree(real, ignore, what):
            self._put(PurePosixPath(below, name).as_posix(), source_file)
        return below

    def _put(self, path: str, real: str) -> str:
        self._checkout.plain(path, "path")
        self.files[path] = self._checkout.context_file(path, real)
        return path

    def _path(self, path: str) -> str:
        """Where something of the checkout lies below it: as the code has it, or by where links lead."""
        below = os.path.relpath(path, self._checkout.root)
        if below.startswith(".."):
            below = os.path.relpath(os.path.realpath(path), self._checkout.root)
        return PurePosixPath(below).as_posix()


def _folder(path: str) -> str:
    return PurePosixPath(path).parent.as_posix()


def _secrets_of(layer: Layer) -> Sequence[Secret]:
    secrets: Sequence[Secret] = getattr(layer, "secrets", ())
    return secrets


def _secret(secret: Secret) -> SecretMessage:
    kind = SecretMessage.MountType.FILE if secret.mount else SecretMessage.MountType.ENV_VAR
    message = SecretMessage(key=secret.key, group=secret.group, mount_requirement=kind)
    if not secret.mount:
        message.env_var = secret.env or secret.name
    return message


def _options(options: PipOptions) -> form.PipOptions:
    return form.PipOptions(
        index_url=options.index_url,
        extra_index_urls=options.extra_index_urls,
        pre=options.pre,
        extra_args=options.extra_args,
    )
