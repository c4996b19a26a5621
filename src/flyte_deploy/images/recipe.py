"""What an image is built from, who builds it, and what comes of it: the nouns that the modules here share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from flyte_deploy.errors import DeployError
from flyte_deploy.model import BuildRun, Progress

Listen = Callable[[Progress], None]


@dataclass(frozen=True)
class ContextFile:
    """A file of a build context.

    Args:
        path: below the context, with slashes.
        mode: 0o644 or 0o755.
        source: the file that it is a copy of, inside the checkout; None where `content` is given.
        content: its bytes, where they were made for the build.
    """

    path: str
    mode: int = 0o644
    source: Path | None = None
    content: bytes | None = None


@dataclass(frozen=True)
class SecretMount:
    """A secret that a build mounts: its name, as ``--build-secret`` has it, and its id in the Dockerfile.

    One that is not `required` mounts as empty where nobody has named it: a user's own Dockerfile may say so.
    """

    name: str
    id: str
    required: bool = True


@dataclass(frozen=True)
class Recipe:
    """All that decides what an image holds.

    Dockerfiles that are rendered here copy from stages called ``uv`` and ``pixi``, in whose place
    ``--build-context uv=…`` puts another image or folder.

    Args:
        dockerfile: its text.
        files: the context.
        folder: the directory of a user's own Dockerfile, which is its context as BuildKit reads it; `files`
            say then what is in it, for the image's identity.
        ignore: for `folder`, the text of the ignore file that is to be in force: the user's own, and what
            never goes into a context. BuildKit takes ``NAME.dockerignore`` beside a Dockerfile called NAME.
        platforms: such as ``linux/amd64``; empty for the builder's own.
        strict_platforms: whether `platforms` were insisted on, or are a default that may be narrowed.
        build_args: by name.
        secrets: those that the build mounts.
        pinned: the digests of base images that it is built on, by the address in the Dockerfile, whatever
            their tags say by now; empty where their tags decide.
    """

    dockerfile: str
    files: tuple[ContextFile, ...] = ()
    folder: Path | None = None
    ignore: str = ""
    platforms: tuple[str, ...] = ()
    strict_platforms: bool = False
    build_args: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[SecretMount, ...] = ()
    pinned: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Order:
    """An image in the backend's form.

    Args:
        spec: a serialized ``ImageSpec``.
        files: the context.
        secrets: group and key of each secret that the build mounts.
    """

    spec: bytes
    files: tuple[ContextFile, ...] = ()
    secrets: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Wanted:
    """An image that has to exist: where, under which tag (a digest of the recipe), for which environments."""

    repository: str
    tag: str
    recipe: Recipe
    environments: tuple[str, ...]
    order: Callable[[], Order] | None = field(default=None, compare=False)
    """Gives the image in the backend's form, where a description of it is there."""
    where: str = ""
    """The place that it is declared at."""
    registry: str = ""
    """The registry in `repository`, as it was named; empty where the builder has one of its own."""

    @property
    def reference(self) -> str:
        """``repository:tag``."""
        return f"{self.repository}:{self.tag}"


@dataclass(frozen=True)
class Found:
    """An image that exists: the address that tasks are registered with, ``repository:tag@sha256:…`` where its
    digest is known, and the backend's run that made it, where there is one."""

    address: str
    run: BuildRun | None = None


@dataclass(frozen=True)
class Built:
    """What came of an image, and what making it took, in seconds; None if it was there."""

    wanted: Wanted
    found: Found
    seconds: float | None = None


class Finder(Protocol):
    """Knows which images are there."""

    def find(self, images: Sequence[Wanted]) -> Mapping[str, Found | None]:
        """Each image by its reference, None for one that is not there. All are asked for at once.

        Raises:
            DeployError: where nobody can be asked.
        """


class Registries(Protocol):
    """Registries, asked over HTTP."""

    def digests(self, references: Sequence[str]) -> Mapping[str, str | None]:
        """The digest of each image, ``sha256:…``, by its address; None for one that is not there.

        All are asked for at once.

        Raises:
            DeployError: for a registry that cannot be asked.
        """

    def docker_auth(self, hosts: Iterable[str]) -> Mapping[str, Any]:
        """The logins of some registries, as one docker process reads them from DOCKER_AUTH_CONFIG.

        They are secrets. Empty where there is none.
        """


class Builder(Protocol):
    """Makes images: with BuildKit here, or with the backend's builder."""

    def check(self, images: Sequence[Wanted]) -> None:
        """Find out whether the images can be built, before anything is done.

        Raises:
            DeployError: what is missing, and how to mend it.
        """

    def build(self, images: Sequence[Wanted], listen: Listen) -> tuple[Built, ...]:
        """Build and push images, side by side; they come back in the order given.

        Raises:
            DeployError: for the images that failed, together; those that were done are named in it.
        """

    def describe(self) -> str:
        """The builder, in words for people."""


def finish(futures: Sequence[Future[None]]) -> None:
    """Wait for all of them; what one raises is raised.

    A signal that comes in the instant before a thread begins to wait is seen only when the wait ends: so it
    is never long.
    """
    pending = set(futures)
    while pending:
        _, pending = wait(pending, timeout=0.5)
    for future in futures:
        future.result()


def together(failures: Sequence[DeployError], done: Sequence[Built]) -> DeployError:
    """Builds that failed side by side, as one error; it says what is built nevertheless."""
    built = f"{len(done)} others are built: the same command goes on from there." if done else None
    if len(failures) == 1:
        (one,) = failures
        return DeployError(one.what, where=one.where, details=one.details, mend=one.mend or built)
    details = [line for one in failures for line in (one.what, *(f"  {line}" for line in one.details))]
    return DeployError(f"{len(failures)} images cannot be built", details=tuple(details), mend=built)
