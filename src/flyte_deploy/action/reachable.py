"""Addresses that mean another machine inside the action's container than they do outside."""

from __future__ import annotations

import ipaddress
import socket

from flyte_deploy.action.inputs import INPUTS, Asked
from flyte_deploy.errors import DeployError

_PORTS = {"http": 80, "https": 443}
ADDRESSES = (
    "endpoint",
    "http-proxy",
    "registry",
    "bundle-store",
    "s3-endpoint",
    "buildkit",
    "builder-endpoint",
)
"""Inputs that hold addresses which are asked from inside the container. Others are only handed on: caches of
layers to BuildKit, images to the cluster."""


def check_loopback(asked: Asked) -> None:
    """Refuse a loopback address that nobody answers at.

    The container has a network of its own: its loopback is not the runner's. Where it shares the runner's, as
    other runners of the same workflows do, somebody answers.

    Raises:
        DeployError: says what the address means there, and what to write.
    """
    for name in ADDRESSES:
        field = INPUTS[name].field
        value = getattr(asked.settings, field)
        for address in value if isinstance(value, tuple) else (value,):
            place = loopback(address)
            if place is None or _answers(*place):
                continue
            origin = asked.settings.origins.get(field, "")
            raise DeployError(
                f"{address} is the action's own container, and nothing listens there",
                where=f"input {name}" if not origin or origin.startswith("flag ") else origin,
                mend="The action runs in a container with a network of its own. A service of the job is"
                " reached by its name (services: flyte: is flyte:PORT), a server on the runner by the"
                " runner's address.",
                usage=True,
            )


def loopback(address: str) -> tuple[str, int] | None:
    """Host and port of an address that means the machine itself; None for all others."""
    scheme, separator, rest = address.rpartition("://")
    if separator and scheme in {"s3", "gs", "file", "docker-container"}:
        return None
    rest = rest.lstrip("/").split("/", 1)[0].rpartition("@")[2]
    host, _, port = rest.rpartition(":") if rest.rpartition(":")[2].isdigit() else (rest, "", "")
    host = host.strip("[]")
    try:
        own = ipaddress.ip_address(host).is_loopback
    except ValueError:
        own = host.rstrip(".").lower() == "localhost" or host.lower().endswith(".localhost")
    return (host, int(port) if port else _PORTS.get(scheme, 443)) if own else None


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False
