"""Why a control plane that nobody could reach cannot be reached."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from base64 import b64encode
from typing import Literal
from urllib.parse import unquote, urlsplit

from flyte_deploy.controlplane.channel import Endpoint, proxy_to
from flyte_deploy.errors import DeployError
from flyte_deploy.tls import Network, roots

_SETTINGS = b"\0\0\0\4\0\0\0\0\0"


class _ProxyRefuses(Exception):  # noqa: N818 - becomes a DeployError
    pass


def diagnose(
    endpoint: Endpoint, network: Network, seconds: float = 3.0
) -> DeployError | Literal["http"] | None:
    """Why a control plane cannot be reached, if waiting would not help.

    It knows a host that does not exist, a proxy that refuses, plaintext where TLS was expected and the
    reverse, a certificate that is not trusted, and a server that speaks HTTP/1.1 only: ``http``. It connects
    on its own, at most three times, and waits up to `seconds` each time.
    """
    if not proxy_to(endpoint, network):
        try:
            socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            if error.errno != socket.EAI_NONAME:
                return None
            return _unreachable(
                endpoint,
                f"no host is called '{endpoint.host}'",
                "Check the endpoint, and whether this network knows its name.",
            )
    try:
        return _look(endpoint, network, seconds)
    except _ProxyRefuses as refusal:
        proxy = urlsplit(proxy_to(endpoint, network)).netloc.rpartition("@")[2]
        return _unreachable(
            endpoint,
            f"the proxy {proxy} {refusal}",
            "Look at --http-proxy, HTTPS_PROXY and NO_PROXY, and at what the proxy allows.",
        )


def _look(endpoint: Endpoint, network: Network, seconds: float) -> DeployError | Literal["http"] | None:
    if endpoint.insecure:
        if _handshake(endpoint, network, seconds, verify=False) is not None:
            return _unreachable(
                endpoint,
                "the server speaks TLS, and was spoken to in plaintext",
                "Leave out --insecure, or say https:// in the endpoint.",
            )
        return "http" if _greeting(endpoint, network, seconds).startswith(b"HTTP/1.") else None
    greeting = _greeting(endpoint, network, seconds)
    if len(greeting) == 9 and greeting[3] == 4:
        return _plaintext(endpoint)
    found = _handshake(endpoint, network, seconds, verify=network.verify)
    if found is None:
        # What answers in plaintext to this greeting may have TLS all the same, and tell so.
        return _plaintext(endpoint) if greeting.startswith(b"HTTP/1.") else None
    if found == "h2":
        return None
    if found == "http/1.1":
        return "http"
    return _unreachable(
        endpoint,
        f"its certificate is not trusted: {found}",
        _certificate(found),
    )


def _plaintext(endpoint: Endpoint) -> DeployError:
    return _unreachable(
        endpoint,
        "the server speaks plaintext, and TLS was expected",
        "Add --insecure, if this is meant.",
    )


def _certificate(failure: str) -> str:
    if "expired" in failure:
        return "It has to be renewed; if it has been, the clock of this machine is wrong."
    if "not yet valid" in failure:
        return "The clock of this machine may be wrong: set it."
    if "mismatch" in failure:
        return "Give the endpoint by the name that its certificate is for."
    return (
        "Name a file with the certificate of its authority with --ca-cert or in SSL_CERT_FILE, or add it to "
        "this system."
    )


def _unreachable(endpoint: Endpoint, why: str, mend: str) -> DeployError:
    return DeployError(f"the control plane cannot be reached: {why}", where=str(endpoint), mend=mend)


def _dial(endpoint: Endpoint, network: Network, seconds: float) -> socket.socket:
    proxy = proxy_to(endpoint, network)
    if not proxy:
        return socket.create_connection((endpoint.host, endpoint.port), timeout=seconds)
    parts = urlsplit(proxy)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=seconds)
    login = {}
    if parts.username:
        both = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        login["Proxy-Authorization"] = f"Basic {b64encode(both.encode()).decode()}"
    connection.set_tunnel(endpoint.host, endpoint.port, login)
    try:
        connection.connect()
    except OSError as error:
        answered = re.search(r"Tunnel connection failed: (.*)", str(error))
        raise _ProxyRefuses(
            f"refuses: {answered[1]}"
            if answered
            else f"cannot be reached: {error.strerror}"
            if error.strerror
            else f"does not let this pass: {error}"
        ) from None
    return connection.sock


def _handshake(endpoint: Endpoint, network: Network, seconds: float, *, verify: bool) -> str | None:
    """``h2`` or ``http/1.1`` where TLS works, why the certificate is not trusted, None for no TLS."""
    context = Network(verify=False).context()
    if verify:
        context = network.context()
        if trusted := roots(network.ca_cert):
            context.load_verify_locations(cadata=trusted.decode("ascii", "ignore"))
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        with (
            _dial(endpoint, network, seconds) as plain,
            context.wrap_socket(plain, server_hostname=endpoint.host) as secure,
        ):
            return "h2" if secure.selected_alpn_protocol() == "h2" else "http/1.1"
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except OSError:
        return None


def _greeting(endpoint: Endpoint, network: Network, seconds: float) -> bytes:
    """What the server answers to a plaintext greeting of HTTP/2: with HTTP/2 its settings."""
    try:
        with _dial(endpoint, network, seconds) as connection:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _SETTINGS)
            return connection.recv(9)
    except OSError:
        return b""
