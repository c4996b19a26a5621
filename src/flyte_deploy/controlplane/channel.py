"""Where a control plane is, and the channel of gRPC to it."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

import grpc

from flyte_deploy.errors import DeployError
from flyte_deploy.tls import Network, roots

_OPTIONS = (
    # A connection that died without a word is noticed while a call waits, not at the call's deadline.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.max_send_message_length", -1),
    # Where an error's message travels: one that lists all that is wrong with a request is long.
    ("grpc.max_metadata_size", 1024 * 1024),
    ("grpc.absolute_max_metadata_size", 1024 * 1024),
    # Retries have one place, which is not this one.
    ("grpc.service_config_disable_resolution", 1),
)
_FORMS = "Use dns:///host:port, https://host, http://host or host:port."
_LABEL = r"[A-Za-z0-9_-]{1,63}"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?|\[[0-9A-Fa-f:.%]+\]")


@dataclass(frozen=True)
class Endpoint:
    """Where a control plane is.

    Args:
        address: ``host:port``.
        insecure: whether it is spoken to in plaintext.
    """

    address: str
    insecure: bool = False

    def __str__(self) -> str:
        return f"{'http' if self.insecure else 'https'}://{self.address}"

    @property
    def host(self) -> str:
        """The host, an IPv6 address without its brackets."""
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port."""
        return int(self.address.rpartition(":")[2])

    @classmethod
    def parse(cls, text: str, insecure: bool = False) -> Endpoint:
        """Read an endpoint in one of the forms that Flyte's SDK knows.

        Args:
            text: ``dns:///host:port``, ``https://host``, ``http://host``, or ``host`` with or without a port.
            insecure: whether to speak plaintext where the form does not say it; ``https://`` and ``http://``
                do. The port is 443, or 80 in plaintext, unless it is given.

        Raises:
            DeployError: for every other form.
        """
        scheme, separator, rest = text.strip().partition("://")
        if not separator:
            scheme, rest = "", text.strip()
        elif scheme == "dns":
            # Between the second and the third slash a name server could be named, which nobody does.
            if not rest.startswith("/"):
                raise _bad(text, "dns: takes three slashes")
            rest = rest[1:]
        elif scheme in ("http", "https"):
            insecure = scheme == "http"
            rest = rest.removesuffix("/")
        else:
            raise _bad(text, f"'{scheme}' is none of its schemes")
        if "/" in rest or "?" in rest or "#" in rest:
            raise _bad(text, "it has a path")
        if "@" in rest:
            raise _bad(text, "it has a user name")
        try:
            # An address of many colons without brackets has no port that could be told from the rest.
            port = urlsplit(f"//{rest}").port if rest.count(":") <= 1 or rest.startswith("[") else -1
        except ValueError:
            port = -1
        host = rest if port is None else rest.rpartition(":")[0]
        if rest.endswith(":") or port in (-1, 0):
            raise _bad(text, "its port is not a number from 1 to 65535")
        if not _HOST.fullmatch(host):
            raise _bad(text, "it has no host" if not host else f"'{host}' is not the name of a host")
        return cls(f"{host.lower()}:{port or (80 if insecure else 443)}", insecure)


def open_channel(endpoint: Endpoint, network: Network) -> grpc.Channel:
    """A channel of gRPC to a control plane. It connects when the first call is made.

    Raises:
        DeployError: where the authorities to trust cannot be read.
    """
    options = list(_OPTIONS)
    proxy = proxy_to(endpoint, network)
    # Which proxy, if any, is decided by the same rules as for everything else, not by the library's.
    options.append(("grpc.http_proxy", proxy) if proxy else ("grpc.enable_http_proxy", 0))  # type: ignore[arg-type]
    if endpoint.insecure:
        return grpc.insecure_channel(endpoint.address, options=options)
    credentials = grpc.ssl_channel_credentials(roots(network.ca_cert))
    return grpc.secure_channel(endpoint.address, credentials, options=options)


def proxy_to(endpoint: Endpoint, network: Network) -> str:
    """The address of the proxy to a control plane, empty for none. One on loopback needs none."""
    from flyte_deploy.http import proxy_of

    if _is_loopback(endpoint.host) and not network.proxy:
        return ""
    return proxy_of(str(endpoint), network.proxy)


def speaks_grpc(endpoint: Endpoint, network: Network) -> bool:
    """Whether gRPC can go this way: not through a proxy with TLS of its own, nor in plaintext through any,
    and only with certificates that are looked at."""
    proxy = proxy_to(endpoint, network)
    if not endpoint.insecure and not network.verify:
        return False
    return not proxy or (proxy.startswith("http://") and not endpoint.insecure)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _bad(text: str, why: str) -> DeployError:
    return DeployError(
        f"the endpoint '{text}' cannot be understood: {why}", where="--endpoint", mend=_FORMS, usage=True
    )
