"""Requests to registries and their token servers: TLS or not, repeated where that may help."""

from __future__ import annotations

import json
import re
import ssl
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flyte_deploy.errors import DeployError
from flyte_deploy.http import backoff, connections, shown, without_query
from flyte_deploy.images.reference import DOCKER_HUB, is_loopback

if TYPE_CHECKING:
    import urllib3

AT_ONCE = 16
"""How many connections to a host are kept."""

_ATTEMPTS = 4
_CONNECT, _READ = 5, 20
# The specification lets a registry refuse manifests over 4 MiB.
_LIMIT = 4 << 20


@dataclass(frozen=True)
class Answer:
    """What came back: the status, the headers (found in any case), and the body, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_html(self) -> bool:
        """Whether it is a web page rather than a registry's answer."""
        return "html" in self.headers.get("Content-Type", "").lower() or self.body.lstrip()[:1] == b"<"

    @property
    def words(self) -> str:
        """What the registry says is wrong, in a line; empty if it does not."""
        try:
            errors = json.loads(self.body)["errors"]
            said = [str(error.get("message") or error.get("code") or "") for error in errors]
        except (ValueError, TypeError, KeyError, AttributeError):
            return ""
        return shown("; ".join(filter(None, said)))


class NoTlsError(Exception):
    """A connection over TLS did not come about; its text says why."""


class Transport:
    """Sends requests. May be used by several threads.

    Args:
        tls: gives whom to trust, when it is first needed.
        insecure: registries that may do without TLS or a good certificate. Those on loopback may do without
            TLS as well, as for Docker.
        pause: waits for some seconds.
    """

    def __init__(
        self,
        tls: Callable[[], ssl.SSLContext] | None,
        insecure: Collection[str],
        pause: Callable[[float], None],
    ) -> None:
        self._tls = tls or ssl.create_default_context
        self._insecure = frozenset(insecure)
        self._pause = pause
        self._lock = threading.Lock()
        self._pools: dict[tuple[str, str], urllib3.PoolManager] = {}
        self._trusted: ssl.SSLContext | None = None
        self._plain: set[str] = set()

    def ask(self, registry: str, method: str, path: str, headers: Mapping[str, str]) -> Answer:
        """Send a request to a registry: over TLS, or without where that is allowed and it knows none.

        Raises:
            DeployError: for a registry that cannot be reached, or fails.
        """
        host = "registry-1.docker.io" if registry == DOCKER_HUB else registry
        if host not in self._plain:
            loose = is_loopback(host) or host in self._insecure
            try:
                return self.send(method, f"https://{host}{path}", headers, guess=loose)
            except NoTlsError as error:
                if not loose or not str(error) == _NONE:
                    raise DeployError(
                        f"the registry {registry} is not reached over TLS: {error}",
                        where=f"https://{host}",
                        mend="Name its authority with --ca-cert, or the registry with --insecure-registry.",
                    ) from None
                self._plain.add(host)
        return self.send(method, f"http://{host}{path}", headers)

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        guess: bool = False,
    ) -> Answer:
        """Send a request, and again where it finds nobody or the server is in trouble.

        Args:
            method: ``HEAD`` and so on.
            url: where to; redirects are followed, without the login where they lead to another host.
            headers: as they are.
            body: for a POST.
            guess: whether a connection that ends at once means that the server knows no TLS.

        Raises:
            NoTlsError: TLS did not come about.
            DeployError: it cannot be reached, or answers with 408, 429 or 5xx again and again.
        """
        from urllib3 import Retry, Timeout
        from urllib3.exceptions import HTTPError, ProtocolError, SSLError

        host = urlsplit(url).netloc
        problem = ""
        for attempt in range(1, _ATTEMPTS + 1):
            if attempt > 1:
                self._pause(backoff(attempt - 1))
            try:
                response = self._pool(url).request(
                    method,
                    url,
                    headers=dict(headers),
                    body=body,
                    # Blobs often lie elsewhere.
                    retries=Retry(total=5, connect=0, read=0, status=0, other=0, redirect=5),
                    timeout=Timeout(connect=_CONNECT, read=_READ),
                    preload_content=False,
                )
                content = response.read(_LIMIT + 1, decode_content=True)
                response.release_conn()
            except (HTTPError, OSError) as error:
                reason = getattr(error, "reason", None) or error
                if isinstance(reason, SSLError):
                    raise NoTlsError(_tls_words(reason)) from None
                if guess and isinstance(reason, (ProtocolError, ConnectionResetError)):
                    raise NoTlsError(_NONE) from None
                problem = _connection_words(reason)
                continue
            if len(content) > _LIMIT:
                raise DeployError(f"{host} answers with more than 4 MiB", where=without_query(url))
            if response.status not in (408, 429) and response.status < 500:
                return Answer(response.status, response.headers, content)
            problem = f"it answers with status {response.status}"
        raise DeployError(
            f"the registry {host} cannot be asked: {problem}",
            where=without_query(url),
            mend="Try again when it is up, or mend its address.",
        )

    def _pool(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        with self._lock:
            pool = self._pools.get((parts.scheme, parts.netloc))
            if pool is None:
                pool = self._pools[parts.scheme, parts.netloc] = connections(url)
                pool.connection_pool_kw["maxsize"] = AT_ONCE
                if parts.scheme == "https":
                    pool.connection_pool_kw["ssl_context"] = self._context(parts.netloc)
            return pool

    def _context(self, host: str) -> ssl.SSLContext:
        if host in self._insecure:
            import urllib3

            # Somebody has said so by name: a warning at each request would tell nothing new.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context
        if self._trusted is None:
            self._trusted = self._tls()
        return self._trusted


_NONE = "it knows none"


def _tls_words(reason: Exception) -> str:
    words = str(reason)
    if "WRONG_VERSION_NUMBER" in words or "record layer failure" in words.lower():
        return _NONE
    match = re.search(r"certificate verify failed: ([^(]+)", words)
    return match[1].strip() if match else shown(words)


def _connection_words(reason: object) -> str:
    from urllib3.exceptions import (
        ConnectTimeoutError,
        NameResolutionError,
        NewConnectionError,
        ReadTimeoutError,
    )

    if isinstance(reason, NameResolutionError):
        return "there is no such host"
    if isinstance(reason, NewConnectionError):
        # Its own words hold the memory address of an object.
        return "it refuses connections" if "refused" in str(reason) else "no connection comes about"
    if isinstance(reason, ConnectTimeoutError):
        return f"it does not accept a connection within {_CONNECT} seconds"
    if isinstance(reason, ReadTimeoutError):
        return f"it does not answer within {_READ} seconds"
    return f"the connection broke ({type(reason).__name__})"
