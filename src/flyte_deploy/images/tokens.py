"""Tokens of registries: how a login becomes the header that a request carries.

Source: https://distribution.github.io/distribution/spec/auth/token/ and RFC 9110, 11.6.1.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from flyte_deploy.errors import DeployError
from flyte_deploy.images.reference import is_loopback

if TYPE_CHECKING:
    from flyte_deploy.images.auth import Credentials, Login
    from flyte_deploy.images.reference import Reference

_PARAMETER = re.compile(r'([A-Za-z_]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_CLIENT = "flyte-deploy"
# What the specification has a token live for where the server does not say.
_LIFETIME = 60.0
_MARGIN = 10.0

Ask = Callable[["Reference", str, str, Mapping[str, str], "bytes | None"], "tuple[int, bytes]"]
"""Sends (image, method, URL, headers, body) and gives status and body."""


@dataclass(frozen=True)
class Challenge:
    """What a registry wants to be shown: ``basic``, or ``bearer`` with the parameters of its token server."""

    scheme: str
    parameters: Mapping[str, str]

    @classmethod
    def parse(cls, header: str) -> Challenge | None:
        """Read a WWW-Authenticate header; None for a scheme that no registry has."""
        scheme, _, rest = header.strip().partition(" ")
        found = {key.lower(): quoted or bare for key, quoted, bare in _PARAMETER.findall(rest)}
        scheme = scheme.lower()
        if scheme == "basic" or (scheme == "bearer" and found.get("realm")):
            return cls(scheme, found)
        return None


@dataclass(frozen=True)
class _Token:
    header: str = field(repr=False)
    until: float


class Authorizer:
    """Gives the Authorization header of requests, and remembers it until it expires. Thread-safe.

    Args:
        credentials: the logins.
        ask: sends a request to a token server.
    """

    def __init__(self, credentials: Credentials, ask: Ask) -> None:
        self._credentials = credentials
        self._ask = ask
        self._lock = threading.Lock()
        self._tokens: dict[tuple[str, str, str], _Token] = {}

    def known(self, image: Reference, actions: str) -> str | None:
        """The header that was good for such a request a moment ago."""
        with self._lock:
            token = self._tokens.get((image.host, image.repository, actions))
        return token.header if token is not None and token.until > time.monotonic() else None

    def authorize(self, image: Reference, challenge: Challenge, actions: str) -> str | None:
        """The header that answers a challenge; None where there is no login and the registry wants one.

        Args:
            image: what is asked about.
            challenge: what the registry wants.
            actions: ``pull`` or ``pull,push``.

        Raises:
            DeployError: for a token server that cannot be asked.
        """
        login = self._credentials.of(image.host)
        if challenge.scheme == "basic":
            header = f"Basic {login.basic}" if login and not login.token else None
            until = float("inf")
        else:
            header, until = self._bearer(image, challenge, login, actions)
        if header is not None:
            with self._lock:
                self._tokens[image.host, image.repository, actions] = _Token(header, until)
        return header

    def _bearer(
        self, image: Reference, challenge: Challenge, login: Login | None, actions: str
    ) -> tuple[str | None, float]:
        realm = challenge.parameters["realm"]
        parts = urlsplit(realm)
        if parts.scheme not in {"https", "http"} or not parts.hostname:
            raise DeployError(
                f"the registry {image.host} names a token server that is no address", where=realm
            )
        if login is not None and parts.scheme == "http" and not is_loopback(parts.netloc):
            raise DeployError(
                f"the registry {image.host} wants the password sent to a token server without TLS",
                where=realm,
            )
        query = {"service": challenge.parameters.get("service", "")}
        scope = challenge.parameters.get("scope") or f"repository:{image.repository}:pull"
        query["scope"] = scope if actions == "pull" else f"repository:{image.repository}:{actions}"
        query = {key: value for key, value in query.items() if value}
        headers: dict[str, str] = {"Accept": "application/json"}
        if login is not None and login.token:
            form = {
                "grant_type": "refresh_token",
                "refresh_token": login.token,
                "client_id": _CLIENT,
                **query,
            }
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            status, body = self._ask(image, "POST", realm, headers, urlencode(form).encode())
        else:
            if login is not None:
                headers["Authorization"] = f"Basic {login.basic}"
                query.update(account=login.user, client_id=_CLIENT)
            joined = f"{realm}{'&' if parts.query else '?'}{urlencode(query)}"
            status, body = self._ask(image, "GET", joined, headers, None)
        if status in (400, 401, 403, 404):
            # The login is wrong, or has no right to this repository: the registry's own answer says so.
            return None, 0
        return _read(status, body, image, realm)


def _read(status: int, body: bytes, image: Reference, realm: str) -> tuple[str, float]:
    try:
        answer = json.loads(body)
        token = answer.get("token") or answer.get("access_token")
        lifetime = float(answer.get("expires_in") or _LIFETIME)
    except (ValueError, TypeError, AttributeError):
        token, lifetime = None, 0
    if status != 200 or not isinstance(token, str) or not token:
        # Its words may be a token in another dress: they are not shown.
        raise DeployError(
            f"the token server of {image.host} answers no token (status {status})",
            where=realm,
            mend="Try again; a proxy or a login page may stand before it.",
        )
    return f"Bearer {token}", time.monotonic() + max(lifetime - _MARGIN, lifetime / 2)
