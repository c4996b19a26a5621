"""Where a control plane is, the channel to it, and why it cannot be reached."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import grpc

from flyte_deploy.errors import DeployError

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


def open_channel(endpoint: Endpoint) -> grpc.Channel:
    """A channel to a control plane. It connects when the first call is made.

    Credentials of calls, and what else is to be known about a connection, are added here.
    """
    options = list(_OPTIONS)
    if _is_loopback(endpoint.host):
        options.append(("grpc.enable_http_proxy", 0))
    if endpoint.insecure:
        return grpc.insecure_channel(endpoint.address, options=options)
    credentials = grpc.ssl_channel_credentials(_system_roots())
    return grpc.secure_channel(endpoint.address, credentials, options=options)


def _system_roots() -> bytes | None:
    """The certificates that this system trusts; None for those that grpc brings along."""
    paths = ssl.get_default_verify_paths()
    candidates = (
        os.environ.get("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"),
        paths.cafile,
        paths.capath and f"{paths.capath}/ca-certificates.crt",
    )
    for candidate in candidates:
        if candidate and Path(candidate).is_file():
            return Path(candidate).read_bytes()
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _bad(text: str, why: str) -> DeployError:
    return DeployError(
        f"the endpoint '{text}' cannot be understood: {why}", where="--endpoint", mend=_FORMS, usage=True
    )


def diagnose(endpoint: Endpoint, seconds: float = 3.0) -> DeployError | None:
    """Why a control plane that nobody could reach cannot be reached, if waiting would not help.

    It knows a host that does not exist, plaintext where TLS was expected and the reverse, and a certificate
    that is not trusted. It connects on its own, at most three times, and waits up to `seconds` each time.
    """
    host = endpoint.host
    try:
        socket.getaddrinfo(host, endpoint.port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno != socket.EAI_NONAME:
            return None
        return DeployError(
            f"the control plane cannot be reached: no host is called '{host}'",
            where=str(endpoint),
            mend="Check the endpoint, and whether this network knows its name.",
        )
    if endpoint.insecure:
        if _tls_failure(endpoint, seconds, verify=False) == "":
            return DeployError(
                "the control plane cannot be reached: the server speaks TLS, and was spoken to in plaintext",
                where=str(endpoint),
                mend="Leave out --insecure, or say https:// in the endpoint.",
            )
        return None
    if _speaks_plaintext(endpoint, seconds):
        return DeployError(
            "the control plane cannot be reached: the server speaks plaintext, and TLS was expected",
            where=str(endpoint),
            mend="Add --insecure, if this is meant.",
        )
    failure = _tls_failure(endpoint, seconds, verify=True)
    if not failure:
        return None
    return DeployError(
        f"the control plane cannot be reached: its certificate is not trusted: {failure}",
        where=str(endpoint),
        mend="Add the certificate of its authority to this system, or name a file with it in SSL_CERT_FILE.",
    )


def _tls_failure(endpoint: Endpoint, seconds: float, *, verify: bool) -> str | None:
    """Empty where TLS works, why the certificate is not trusted, None where there is no TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    roots = _system_roots() if verify else None
    if roots is not None:
        context.load_verify_locations(cadata=roots.decode("ascii", "ignore"))
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection((endpoint.host, endpoint.port), timeout=seconds) as plain,
            context.wrap_socket(plain, server_hostname=endpoint.host),
        ):
            return ""
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except OSError:
        return None


def _speaks_plaintext(endpoint: Endpoint, seconds: float) -> bool:
    """Whether the server answers a plaintext HTTP/2 greeting as HTTP/2 has it: with its settings."""
    settings = b"\0\0\0\4\0\0\0\0\0"
    try:
        with socket.create_connection((endpoint.host, endpoint.port), timeout=seconds) as connection:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings)
            answer = connection.recv(9)
    except OSError:
        return False
    return len(answer) == 9 and answer[3] == 4
