"""What a `flyte.Image` says, as plain data: the collector's description of an image that has to be built.

All paths are absolute, as the collector found them; they are checked before anything is read from them.
"""

from __future__ import annotations

from msgspec import Struct


class Secret(Struct, frozen=True, kw_only=True):
    """A secret that a layer mounts: in an environment variable, or as a file at `mount`."""

    key: str
    group: str = ""
    mount: str = ""
    env: str = ""

    @property
    def name(self) -> str:
        """What it is called: its group and key."""
        return "_".join(part for part in (self.group, self.key) if part)


class PipOptions(Struct, frozen=True, kw_only=True):
    """Options of an installation by pip or uv."""

    index_url: str = ""
    extra_index_urls: tuple[str, ...] = ()
    pre: bool = False
    extra_args: str = ""


class Pip(Struct, frozen=True, kw_only=True, tag="pip"):
    """Packages from an index."""

    packages: tuple[str, ...]
    options: PipOptions = PipOptions()
    secrets: tuple[Secret, ...] = ()


class Requirements(Struct, frozen=True, kw_only=True, tag="requirements"):
    """What a requirements file names, and the files that it includes."""

    file: str
    options: PipOptions = PipOptions()
    secrets: tuple[Secret, ...] = ()


class Wheels(Struct, frozen=True, kw_only=True, tag="wheels"):
    """A package from a folder of wheels."""

    folder: str
    package: str
    options: PipOptions = PipOptions()
    secrets: tuple[Secret, ...] = ()


class UvProject(Struct, frozen=True, kw_only=True, tag="uv"):
    """A uv project: its dependencies, or with `install` the project too.

    `editables` are the folders of what it depends on as an editable path.
    """

    pyproject: str
    lock: str = ""
    install: bool = False
    editables: tuple[str, ...] = ()
    options: PipOptions = PipOptions()
    secrets: tuple[Secret, ...] = ()


class PoetryProject(Struct, frozen=True, kw_only=True, tag="poetry"):
    """A Poetry project: its dependencies, or with `install` the project too."""

    pyproject: str
    lock: str
    install: bool = False
    extra_args: str = ""
    secrets: tuple[Secret, ...] = ()


class PixiProject(Struct, frozen=True, kw_only=True, tag="pixi"):
    """A pixi project: its dependencies, or with `install` the project too.

    `manifest` is a file, or where that is empty `text` is what it holds (made of a script's header).
    """

    manifest: str = ""
    text: str = ""
    lock: str = ""
    environment: str = "default"
    install: bool = False
    extra_args: str = ""
    secrets: tuple[Secret, ...] = ()


class Apt(Struct, frozen=True, kw_only=True, tag="apt"):
    """Packages of the distribution."""

    packages: tuple[str, ...]
    secrets: tuple[Secret, ...] = ()


class Commands(Struct, frozen=True, kw_only=True, tag="commands"):
    """Shell commands, each a layer."""

    commands: tuple[str, ...]
    secrets: tuple[Secret, ...] = ()


class WorkDir(Struct, frozen=True, kw_only=True, tag="workdir"):
    """The working directory from here on."""

    path: str


class DockerIgnore(Struct, frozen=True, kw_only=True, tag="dockerignore"):
    """A file of patterns: what they match is not copied."""

    path: str


class Copy(Struct, frozen=True, kw_only=True, tag="copy"):
    """A file, or the content of a folder."""

    source: str
    target: str


class CodeBundle(Struct, frozen=True, kw_only=True, tag="code"):
    """The project's code, where none travels with the tasks; `style` is ``loaded_modules`` or ``all``."""

    style: str
    target: str = "."


class Lines(Struct, frozen=True, kw_only=True, tag="lines"):
    """Lines of a Dockerfile."""

    lines: tuple[str, ...]


class Env(Struct, frozen=True, kw_only=True, tag="env"):
    """Environment variables, in order."""

    variables: tuple[tuple[str, str], ...]


Layer = (
    Pip
    | Requirements
    | Wheels
    | UvProject
    | PoetryProject
    | PixiProject
    | Apt
    | Commands
    | WorkDir
    | DockerIgnore
    | Copy
    | CodeBundle
    | Lines
    | Env
)


class ImageSource(Struct, frozen=True, kw_only=True):
    """An image that has to be built.

    Args:
        name: the image's name, the last part of its repository.
        base: the address of the base image; empty with `reference` or `dockerfile`.
        reference: the name of an image that is given on the command line or in Flyte's configuration.
        dockerfile: a Dockerfile of the user's own.
        registry: where it is pushed to, as the code says.
        platforms: as the code says or the SDK's default, such as ``linux/amd64``.
        default_platforms: whether those are the SDK's default.
        python: the Python version of its virtual environment, ``3.11``.
        flyte_user: whether it creates the user ``flyte``, and ends as that.
        layers: in order.
        ignore: the root's ``.dockerignore``, which counts where no layer names one.
        registry_secret: what the backend's builder needs to pull the base and to push.
    """

    name: str
    base: str = ""
    reference: str = ""
    dockerfile: str = ""
    registry: str = ""
    platforms: tuple[str, ...] = ()
    default_platforms: bool = False
    python: str = ""
    flyte_user: bool = False
    layers: tuple[Layer, ...] = ()
    ignore: str = ""
    registry_secret: Secret | None = None
