"""The command lines of docker buildx: pure functions that compose small lists of arguments."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flyte_deploy.errors import DeployError
from flyte_deploy.images.pin import base_images, pinned_context
from flyte_deploy.images.recipe import SecretMount, Wanted
from flyte_deploy.images.reference import Reference
from flyte_deploy.images.render import IMAGE_ARGUMENT
from flyte_deploy.secrets import SECRETS


@dataclass(frozen=True)
class Where:
    """The files of one build: the Dockerfile, the folder that is the context, where its outcome goes, and the
    certificate authorities to trust with apt's configuration of them, None for the base image's own."""

    dockerfile: Path
    context: Path
    metadata: Path
    authorities: tuple[Path, Path] | None = None


@dataclass(frozen=True)
class Choices:
    """What holds for all builds of a run: the options of the same names."""

    builder: str = ""
    platforms: tuple[str, ...] = ()
    cache_from: tuple[str, ...] = ()
    cache_to: tuple[str, ...] = ()
    build_contexts: tuple[str, ...] = ()
    secrets: Mapping[str, str] | None = None
    provenance: str = ""
    sbom: str = ""
    compression: str = ""
    load: bool = False
    more: tuple[str, ...] = ()
    """Further arguments, from ``FLYTE_DOCKER_BUILD_EXTRA_ARGS``."""


def build(image: Wanted, where: Where, choices: Choices) -> list[str]:
    """The arguments after ``docker``, for building and pushing one image."""
    return [
        "buildx",
        "build",
        *builder(choices.builder),
        "--file",
        str(where.dockerfile),
        "--tag",
        image.reference,
        *platforms(choices.platforms),
        *arguments({**image.recipe.build_args, IMAGE_ARGUMENT: image.reference.rpartition("/")[2]}),
        *secrets(image.recipe.secrets, choices.secrets or {}),
        *repeated("--build-context", choices.build_contexts),
        *repeated("--build-context", (pinned_context(*pair) for pair in image.recipe.pinned.items())),
        *repeated("--cache-from", choices.cache_from),
        *repeated("--cache-to", (forgiving(cache) for cache in choices.cache_to)),
        *valued("--provenance", choices.provenance),
        *valued("--sbom", choices.sbom),
        *authorities(where.authorities),
        "--metadata-file",
        str(where.metadata),
        "--progress",
        "plain",
        *(["--load"] if choices.load else pushed(choices.compression)),
        *choices.more,
        str(where.context),
    ]


def pushed(compression: str) -> list[str]:
    """Where the outcome goes: to the registry, in the compression asked for."""
    if not compression:
        return ["--push"]
    forced = ",force-compression=true" if compression != "gzip" else ""
    return ["--output", f"type=image,push=true,compression={compression}{forced}"]


def valued(flag: str, value: str) -> list[str]:
    """A flag with its value, where there is one."""
    return [f"{flag}={value}"] if value else []


def forgiving(cache: str) -> str:
    """A cache to write whose failure is a warning, where buildx knows such a thing."""
    kind = next((part[5:] for part in cache.split(",") if part.startswith("type=")), "registry")
    known = kind in ("registry", "local", "gha", "s3", "azblob") and "ignore-error=" not in cache
    # A reference alone is short for a registry.
    return f"{cache if '=' in cache else f'type=registry,ref={cache}'}{',ignore-error=true' if known else ''}"


CA_SECRET, APT_SECRET = "flyte-deploy-ca", "flyte-deploy-apt-ca"
_CA_FILE = "/run/flyte-deploy/ca.pem"
_CA_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def authorities(files: tuple[Path, Path] | None) -> list[str]:
    """The secrets that bring certificate authorities, and apt's configuration of them, into a build."""
    if files is None:
        return []
    pairs = zip((CA_SECRET, APT_SECRET), files, strict=True)
    return [part for name, file in pairs for part in ("--secret", csv_row(f"id={name}", f"src={file}"))]


def with_authorities(dockerfile: str) -> str:
    """A Dockerfile of ours whose commands trust the authorities that are mounted.

    They are there while a command runs and nowhere else: files are mounted as secrets, and the variables that
    name them are build arguments, which an image does not keep.
    """
    mounts = (
        f"--mount=type=secret,id={CA_SECRET},target={_CA_FILE} "
        f"--mount=type=secret,id={APT_SECRET},target=/etc/apt/apt.conf.d/99flyte-deploy-ca"
    )
    lines = []
    for line in dockerfile.split("\n"):
        lines.append(f"RUN {mounts} {line[4:]}" if line.startswith("RUN ") else line)
        if line.startswith("FROM "):
            lines += [f"ARG {name}={_CA_FILE}" for name in _CA_VARIABLES]
    return "\n".join(lines)


def builder(name: str) -> list[str]:
    """The builder to use, where one is named."""
    return ["--builder", name] if name else []


def platforms(names: Sequence[str]) -> list[str]:
    """The platforms to build for; the builder's own where none is named."""
    return ["--platform", ",".join(names)] if names else []


def arguments(values: Mapping[str, str]) -> list[str]:
    """Build arguments."""
    return [part for name, value in values.items() for part in ("--build-arg", f"{name}={value}")]


def registries(image: Wanted, choices: Choices) -> tuple[str, ...]:
    """The hosts of registries that a build reads from or writes to, as far as command and Dockerfile say."""
    caches = [
        value
        for cache in (*choices.cache_from, *choices.cache_to)
        for name, _, value in (part.partition("=") for part in cache.split(","))
        if name == "ref"
    ]
    contexts = [entry.partition("docker-image://")[2] for entry in choices.build_contexts]
    replaced = [entry.partition("=")[0] for entry in choices.build_contexts]
    bases = base_images(image.recipe.dockerfile, image.recipe.build_args, replaced).addresses
    hosts: dict[str, None] = {}
    for address in filter(None, (image.reference, *bases, *contexts, *caches)):
        # What is no address is for docker to say.
        with suppress(DeployError):
            hosts[Reference.parse(address).host] = None
    return tuple(hosts)


def repeated(flag: str, values: Iterable[str]) -> list[str]:
    """A flag once for each value."""
    return [part for value in values for part in (flag, value)]


def secrets(mounts: Iterable[SecretMount], sources: Mapping[str, str]) -> list[str]:
    """The secrets that a build mounts: where they come from, never what they are.

    Args:
        mounts: what the Dockerfile mounts; one that is not given mounts as empty.
        sources: ``env=VARIABLE`` or ``src=FILE`` for each name that was given.
    """
    given = [one for one in mounts if one.name in sources]
    return [part for one in given for part in ("--secret", csv_row(f"id={one.id}", sources[one.name]))]


def csv_row(*fields: str) -> str:
    """A value of several fields as buildx reads it: what stands in one of them begins no other."""
    row = io.StringIO()
    csv.writer(row, lineterminator="").writerow(fields)
    return row.getvalue()


def secret_sources(
    given: Iterable[str], environ: Mapping[str, str], folder: Path, checkout: Path | None = None
) -> dict[str, str]:
    """Where each named secret comes from: ``NAME``, ``NAME=VARIABLE`` or ``NAME=FILE``.

    Args:
        given: as they are named.
        environ: the environment variables.
        folder: what a relative FILE is relative to.
        checkout: a folder with files of strangers, whose links lead nowhere else.

    Raises:
        DeployError: for one that is not there, or that a link in `checkout` takes from elsewhere.
    """
    found: dict[str, str] = {}
    for entry in given:
        name, _, source = entry.partition("=")
        source = source or name
        if "/" in source or source.startswith("."):
            if not (folder / source).is_file():
                raise DeployError(
                    f"the file of build secret '{name}' is not there: {source}",
                    where="--build-secret",
                    mend="Name a file that exists, or an environment variable.",
                    usage=True,
                )
            file = (folder / source).resolve()
            if checkout is not None:
                stay_inside(source, folder, checkout, "--build-secret")
            # What a build prints is shown.
            SECRETS.add(file.read_text(encoding="utf-8", errors="replace"))
            found[name] = f"src={file}"
        elif environ.get(source):
            SECRETS.add(environ[source])
            found[name] = f"env={source}"
        else:
            raise DeployError(
                f"build secret '{name}' is not set: there is no environment variable {source}",
                where="--build-secret",
                mend=f"Set {source}, or say where it is: --build-secret {name}=VARIABLE or {name}=FILE.",
                usage=True,
            )
    return found


def context_sources(given: Iterable[str], folder: Path, checkout: Path | None = None) -> tuple[str, ...]:
    """The contexts that were named, ``NAME=VALUE``, folders as absolute paths.

    Args:
        given: as they are named.
        folder: what a relative folder is relative to.
        checkout: a folder with files of strangers, whose links lead nowhere else.

    Raises:
        DeployError: for a folder that a link in `checkout` takes from elsewhere.
    """
    found = []
    for entry in given:
        name, _, value = entry.partition("=")
        if value and "://" not in value and not value.startswith(_REMOTE_CONTEXTS):
            if checkout is not None:
                stay_inside(value, folder, checkout, "--build-context")
            value = os.path.normpath(folder / value)
        found.append(f"{name}={value}")
    return tuple(found)


_REMOTE_CONTEXTS = ("target:", "git@", "github.com/")


def stay_inside(path: str, folder: Path, checkout: Path, where: str) -> None:
    """Refuse what lies in a checkout of strangers, and is or goes by a link that leads out of it.

    Args:
        path: as it is named.
        folder: what a relative one is relative to.
        checkout: the checkout.
        where: what named it.

    Raises:
        DeployError: names `where` it was asked for.
    """
    # What is written below the checkout, without following any link.
    written = Path(os.path.normpath(folder / path))
    if written.is_relative_to(checkout) and not written.resolve().is_relative_to(checkout.resolve()):
        raise DeployError(
            f"{path} is a link that leads out of the checkout",
            where=where,
            mend="Name the file or folder itself, or one that is not in the checkout.",
            usage=True,
        )


_ERROR = re.compile(r"^(?:#\d+ )?ERROR: (.*)$")


def failure(lines: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """What went wrong in a build's log: a sentence, and the lines of the step that failed.

    buildx repeats the failing step between lines of dashes, then the lines of the Dockerfile around it, and
    says what it comes to at the very end.
    """
    what = "the build failed"
    for line in lines:
        match = _ERROR.match(line)
        if match:
            what = match[1]
    dashes = [number for number, line in enumerate(lines) if re.fullmatch(r"-{6,}", line.strip())]
    if len(dashes) >= 2:
        told = lines[dashes[0] + 1 : dashes[1]][-15:]
        after = [line for line in lines[dashes[1] + 1 :] if line.strip() and not _ERROR.match(line)]
        return what, (*told, *(line for line in after if not re.fullmatch(r"-{6,}", line.strip())))[:40]
    return what, tuple(line for line in lines if line.strip())[-15:]
