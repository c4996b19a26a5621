"""What an image is built from, who builds it, and what comes of it: the nouns that the modules here share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from flyte_deploy.model import Progress

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

    Dockerfiles that are rendered here start their cache mounts' ids with ``flyte-``, so that a builder can
    give an untrusted build caches of its own. They copy from stages called ``uv`` and ``pixi``, in whose
    place ``--build-context uv=…`` puts another image or folder.

    Args:
        dockerfile: its text.
        files: the context.
        folder: the directory of a user's own Dockerfile, which is its context as BuildKit reads it; `files`
            say then what is in it, for the image's identity.
        dockerfile_name: that Dockerfile's name.
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
    dockerfile_name: str = "Dockerfile"
    ignore: str = ""
    platforms: tuple[str, ...] = ()
    strict_platforms: bool = False
    build_args: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[SecretMount, ...] = ()
    pinned: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """An image that has to exist: where, under which tag (a digest of the recipe), for which environments."""

    repository: str
    tag: str
    recipe: Recipe
    environments: tuple[str, ...]

    @property
    def reference(self) -> str:
        """``repository:tag``."""
        return f"{self.repository}:{self.tag}"


@dataclass(frozen=True)
class Built:
    """An image that exists: its digest, ``sha256:…``, and what making it took, in seconds; None if found."""

    wanted: Wanted
    digest: str
    seconds: float | None = None

    @property
    def address(self) -> str:
        """What tasks are registered with: ``repository:tag@sha256:…``."""
        return f"{self.wanted.reference}@{self.digest}"


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
