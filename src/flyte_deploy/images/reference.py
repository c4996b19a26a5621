"""Addresses of images, as Docker reads them."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from flyte_deploy.errors import DeployError

DOCKER_HUB = "docker.io"

# Source: https://github.com/distribution/reference, regexp.go.
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::[0-9]+)?")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


@dataclass(frozen=True)
class Reference:
    """An image's address in its parts.

    Args:
        host: the registry as Docker names it, with a port if it has one: ``docker.io``, ``127.0.0.1:5000``.
        repository: the path below it, ``library/python``.
        tag: empty where a digest alone says which; otherwise ``latest`` if nothing was said.
        digest: ``sha256:…``, empty if there is none.
    """

    host: str
    repository: str
    tag: str
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read an address.

        Raises:
            DeployError: it is none.
        """
        rest, at, digest = text.partition("@")
        first, slash, path = rest.partition("/")
        if not slash or not ("." in first or ":" in first or first == "localhost" or first != first.lower()):
            first, path = DOCKER_HUB, rest
        repository, colon, tag = path.partition(":")
        host = DOCKER_HUB if first == "index.docker.io" else first
        if host == DOCKER_HUB and "/" not in repository:
            repository = f"library/{repository}"
        good = (
            _HOST.fullmatch(host)
            and _REPOSITORY.fullmatch(repository)
            and (not colon or _TAG.fullmatch(tag))
            and (not at or _DIGEST.fullmatch(digest))
        )
        if not good:
            raise DeployError(
                f"{text!r} is no address of an image",
                mend="It is HOST/REPOSITORY:TAG, the repository in lower case.",
                usage=True,
            )
        return cls(host, repository, tag or ("" if digest else "latest"), digest)

    @property
    def which(self) -> str:
        """What a registry is asked for: the digest, or the tag where there is none."""
        return self.digest or self.tag

    @property
    def name(self) -> str:
        """``host/repository``, without tag and digest."""
        return f"{self.host}/{self.repository}"


def is_loopback(host: str) -> bool:
    """Whether a registry is on this machine, where Docker does not insist on TLS."""
    name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.rpartition(":")[0] or host
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
