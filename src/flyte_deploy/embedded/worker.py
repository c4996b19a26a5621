"""Builds the backend's form of images with the engine here: what a cluster's image builder does.

The form is read back into a description, and rendered as images are that are built locally.
"""

from __future__ import annotations

import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flyteidl2.core.security_pb2 import Secret as SecretMessage
from flyteidl2.imagebuilder import definition_pb2 as form
from flyteidl2.imagebuilder.definition_pb2 import ImageSpec
from google.protobuf.message import DecodeError

from flyte_deploy.collector.inside.images import CREATES_USER
from flyte_deploy.embedded.builds import BuildFailed, Order
from flyte_deploy.errors import DeployError
from flyte_deploy.images import source
from flyte_deploy.images.auth import Credentials
from flyte_deploy.images.buildx import Choices
from flyte_deploy.images.docker_config import docker_config
from flyte_deploy.images.local import LocalBuilder, RegistryFinder
from flyte_deploy.images.recipe import Wanted
from flyte_deploy.images.registry import Registries
from flyte_deploy.images.render import render
from flyte_deploy.images.source import ImageSource, Layer, PipOptions, Secret
from flyte_deploy.model import Progress

PREFIX = "FLYTE_DEPLOY_SERVE_SECRET_"
"""What the variables are called that hold the secrets of this control plane: with group and key behind it."""

_SECRETS_FOLDER = "/etc/flyte/secrets"


@dataclass(frozen=True)
class ImageWorker:
    """Builds images with docker buildx, and pushes them.

    Args:
        registry: where images go whose name has no registry.
        environ: Docker's variables, and secrets.
    """

    registry: str
    environ: Mapping[str, str]

    def check(self) -> None:
        """Find the engine.

        Raises:
            DeployError: where there is none.
        """
        self._builder(Choices()).check([])

    def build(self, order: Order, log: Callable[[str], None], stop: threading.Event) -> str:
        """Build, push, and return the image's full name with its digest."""
        with tempfile.TemporaryDirectory(prefix="flyte-deploy-context-") as name:
            folder = Path(name).resolve()
            if order.context is not None:
                _unpack(order.context, folder)
            try:
                return self._build(order, folder, log, stop)
            except DeployError as error:
                raise BuildFailed("\n".join([error.what, *error.details])) from None

    def _build(self, order: Order, folder: Path, log: Callable[[str], None], stop: threading.Event) -> str:
        try:
            spec = ImageSpec.FromString(order.spec)
        except DecodeError as error:
            raise BuildFailed("the spec is no ImageSpec") from error
        place, _, tag = order.target.rpartition(":")
        repository = place if "/" in place else f"{self.registry}/{place}"
        image = read_spec(spec, folder)
        recipe = render(image, folder, platforms=tuple(spec.platform))
        wanted = Wanted(repository, tag, recipe, (place.rpartition("/")[2],))
        builder = self._builder(Choices(secrets=self._secrets(order)))
        builder.live = log
        builder.check([wanted])

        def listen(progress: Progress) -> None:
            if progress.kind != "build":
                log(progress.text)

        with _ends_with(stop, builder):
            (built,) = builder.build([wanted], listen)
        return built.found.address

    def _builder(self, choices: Choices) -> LocalBuilder:
        registries = Registries(Credentials([docker_config(self.environ)]))
        return LocalBuilder(choices, 1, registries, RegistryFinder(registries), self.environ)

    def _secrets(self, order: Order) -> dict[str, str]:
        """The secrets that the run mounts, by what builds call them."""
        found = {}
        for group, key in order.secrets:
            name = "_".join(part for part in (group, key) if part)
            variable = PREFIX + name
            if variable not in self.environ:
                raise BuildFailed(f"there is no secret '{name}': this control plane takes it from {variable}")
            found[name] = f"env={variable}"
        return found


@contextmanager
def _ends_with(stop: threading.Event, builder: LocalBuilder) -> Iterator[None]:
    """Ends the builder's work when `stop` is set."""
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            if stop.wait(0.2):
                builder.stop()
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _unpack(archive: Path, folder: Path) -> None:
    try:
        with tarfile.open(archive) as tar:
            # Some patch versions of Python 3.10 and 3.11 have no filter yet.
            if hasattr(tarfile, "data_filter"):
                tar.extractall(folder, filter="data")
            else:
                raise BuildFailed("this Python is too old to unpack a context safely")
    except (OSError, tarfile.TarError) as error:
        raise BuildFailed(f"the context cannot be unpacked: {error}") from error


def read_spec(spec: ImageSpec, folder: Path) -> ImageSource:
    """The description of an image in the backend's form.

    Args:
        spec: the form.
        folder: its context, unpacked.

    Raises:
        BuildFailed: for a kind of layer that is not known here.
    """
    layers = tuple(_layer(layer, folder) for layer in spec.layers)
    creates_user = any(
        CREATES_USER in command
        for layer in layers
        if isinstance(layer, source.Commands)
        for command in layer.commands
    )
    return ImageSource(
        name="image",
        base=spec.base_image,
        python=spec.python_version,
        flyte_user=creates_user,
        layers=layers,
    )


def _layer(layer: form.Layer, folder: Path) -> Layer:
    kind = layer.WhichOneof("layer")
    secrets = tuple(_secret(one) for one in getattr(getattr(layer, kind or ""), "secret_mounts", ()))

    def path(below: str) -> str:
        return str(folder / below)

    if kind == "apt_packages":
        return source.Apt(packages=tuple(layer.apt_packages.packages), secrets=secrets)
    if kind == "pip_packages":
        pip = layer.pip_packages
        return source.Pip(packages=tuple(pip.packages), options=_options(pip.options), secrets=secrets)
    if kind == "commands":
        return source.Commands(commands=tuple(layer.commands.cmd), secrets=secrets)
    if kind == "requirements":
        requirements = layer.requirements
        return source.Requirements(
            file=path(requirements.file), options=_options(requirements.options), secrets=secrets
        )
    if kind == "python_wheels":
        wheels = layer.python_wheels
        return source.Wheels(
            folder=path(wheels.dir),
            package=wheels.package_name,
            options=_options(wheels.options),
            secrets=secrets,
        )
    if kind == "workdir":
        return source.WorkDir(path=layer.workdir.workdir)
    if kind == "copy_config":
        return source.Copy(source=path(layer.copy_config.src), target=layer.copy_config.dst)
    if kind == "env":
        return source.Env(variables=tuple(sorted(layer.env.env_variables.items())))
    if kind == "uv_project":
        return _uv(layer.uv_project, folder, secrets)
    if kind == "poetry_project":
        return _poetry(layer.poetry_project, folder, secrets)
    raise BuildFailed(f"a layer of the kind {kind}, which this builder does not know")


def _uv(uv: form.UVProject, folder: Path, secrets: tuple[Secret, ...]) -> Layer:
    project = folder / uv.pyproject
    dependencies_only = "--no-install-project" in uv.options.extra_args
    around = folder / (uv.source_dir or uv.pyproject)
    editables: list[str] = []
    if dependencies_only and around != project:
        # What lies beside the project is there because it is installed in place.
        editables = [
            str(file.parent)
            for file in sorted(around.rglob("pyproject.toml"))
            if file.parent != project and not file.parent.is_relative_to(project)
        ]
    return source.UvProject(
        pyproject=str(project / "pyproject.toml"),
        lock=str(folder / uv.uvlock) if uv.uvlock else "",
        install=not dependencies_only,
        editables=tuple(editables),
        options=_options(uv.options),
        secrets=secrets,
    )


def _poetry(poetry: form.PoetryProject, folder: Path, secrets: tuple[Secret, ...]) -> Layer:
    project = folder / poetry.pyproject
    return source.PoetryProject(
        pyproject=str(project if project.is_file() else project / "pyproject.toml"),
        lock=str(folder / poetry.poetry_lock),
        install="--no-root" not in poetry.extra_args,
        extra_args=poetry.extra_args.strip(),
        secrets=secrets,
    )


def _secret(secret: SecretMessage) -> Secret:
    if secret.mount_requirement == SecretMessage.MountType.FILE:
        return Secret(key=secret.key, group=secret.group, mount=_SECRETS_FOLDER)
    return Secret(key=secret.key, group=secret.group, env=secret.env_var)


def _options(options: form.PipOptions) -> PipOptions:
    return PipOptions(
        index_url=options.index_url,
        extra_index_urls=tuple(options.extra_index_urls),
        pre=options.pre,
        extra_args=options.extra_args,
    )
