"""A login and TLS in front of the control plane, for tests: as a company's has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hypercorn.typing import HTTPScope

OPEN = "/flyteidl2.auth.AuthMetadataService/"
"""Where callers learn how to log in: nobody has to for that."""


@dataclass(frozen=True)
class LoginSide:
    """Whom the control plane lets in, and what it says of that.

    Args:
        accepts: whether a bearer token is one that lets in.
        token_endpoint: where tokens are had; empty where that is not told.
        header: the header, in small letters, that holds ``Bearer TOKEN``.
        audience: what clients are to ask for.
        scopes: the same.
        proxy: whether the token of a proxy in front, in ``proxy-authorization``, is one that it lets pass;
            None where there is none.
    """

    accepts: Callable[[str], bool]
    token_endpoint: str = ""
    header: str = "authorization"
    audience: str = ""
    scopes: Sequence[str] = ()
    proxy: Callable[[str], bool] | None = None

    def admits(self, scope: HTTPScope) -> bool:
        """Whether a request may pass."""
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if self.proxy is not None and not self.proxy(_bearer(headers.get(b"proxy-authorization", ""))):
            return False
        if scope["path"].startswith(OPEN):
            return True
        return self.accepts(_bearer(headers.get(self.header.encode(), "")))


@dataclass(frozen=True)
class Tls:
    """PEM files of the server's certificate, with what leads to its authority, and of its key."""

    certificate: Path
    key: Path


def _bearer(value: str) -> str:
    kind, _, token = value.partition(" ")
    return token if kind == "Bearer" else ""
