"""An identity provider over HTTP, held to RFC 6749 (4.4), RFC 8693 and RFC 7523."""

from __future__ import annotations

import base64
import json
import secrets
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import jwt

from tests.cloud.identity import ISSUER, Identity
from tests.registries.servers import Authority

CLIENT, SECRET = "deployer", "s3cret/of the+client%"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass
class Provider:
    """What it knows, what it was asked and what it gave out."""

    clients: dict[str, str] = field(default_factory=lambda: {CLIENT: SECRET})
    lifetime: float = 3600
    """Seconds that a token is good for."""
    tells_lifetime: bool = True
    scopes: str | None = None
    """That have to be asked for; None for any."""
    audience: str | None = None
    identity: Identity | None = None
    """GitHub's, whose tokens are trusted for `audience_of_identity`."""
    audience_of_identity: str = ""
    skew: float = 0
    """Seconds that its clock is ahead of GitHub's."""
    faults: list[tuple[int, str]] = field(default_factory=list)
    """Status and body that the next requests are answered with."""
    requests: list[dict[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    issued: dict[str, float] = field(default_factory=dict)
    """Each token and when it ends."""
    shown: list[str] = field(default_factory=list)
    """The tokens that were accepted, in their order."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def accepts(self, token: str) -> bool:
        """Whether a token is one of its own that has not ended."""
        good = self.issued.get(token, 0) > time.monotonic()
        if good:
            self.shown.append(token)
        return good

    def revoke(self) -> None:
        """End all tokens."""
        self.issued = dict.fromkeys(self.issued, 0.0)

    def answer(self, headers: dict[str, str], body: str) -> tuple[int, dict[str, Any] | str]:
        form = dict(parse_qsl(body, strict_parsing=True))
        with self.lock:
            self.requests.append(form)
            self.headers.append(headers)
            if self.faults:
                return self.faults.pop(0)
            if headers.get("content-type") != "application/x-www-form-urlencoded":
                return _error("invalid_request", "wrong content type")
            refusal = self._refusal(headers, form)
            return refusal or (200, self._issue(form))

    def _refusal(self, headers: dict[str, str], form: dict[str, str]) -> tuple[int, dict[str, Any]] | None:
        if self.scopes is not None and form.get("scope") != self.scopes:
            return _error("invalid_scope", f"not {form.get('scope')}")
        if self.audience is not None and form.get("audience") != self.audience:
            return _error("invalid_target", f"not {form.get('audience')}")
        if form["grant_type"] == EXCHANGE:
            if form["subject_token_type"] != JWT:
                return _error("invalid_request", "an unknown type of token")
            return self._distrust(form["subject_token"])
        if form["grant_type"] != "client_credentials":
            return _error("unsupported_grant_type", "")
        if form.get("client_assertion_type") == ASSERTION:
            if form.get("client_id") not in self.clients:
                return _error("invalid_client", "no such client", 401)
            return self._distrust(form["client_assertion"])
        kind, _, login = headers.get("authorization", "").partition(" ")
        client, _, secret = (
            base64.b64decode(login).decode().partition(":") if kind == "Basic" else ("", "", "")
        )
        if not client or self.clients.get(unquote_plus(client)) != unquote_plus(secret):
            return _error("invalid_client", "the client is unknown, or its secret was revoked", 401)
        return None

    def _distrust(self, token: str) -> tuple[int, dict[str, Any]] | None:
        assert self.identity is not None
        try:
            claims = jwt.decode(
                token,
                self.identity.key.public_key(),
                algorithms=["RS256"],
                audience=self.audience_of_identity,
                issuer=ISSUER,
                options={"verify_nbf": False, "verify_exp": False, "verify_iat": False},
            )
            now = time.time() + self.skew
            if now < claims["nbf"]:
                raise jwt.ImmatureSignatureError("The token is not yet valid (nbf)")
            if now >= claims["exp"]:
                raise jwt.ExpiredSignatureError("Signature has expired")
        except jwt.PyJWTError as error:
            return _error("invalid_grant", str(error))
        if claims["repository"] != "octo-org/octo-repo":
            return _error("invalid_grant", "no trust in this repository")
        return None

    def _issue(self, form: dict[str, str]) -> dict[str, Any]:
        token = f"token-{secrets.token_hex(16)}"
        self.issued[token] = time.monotonic() + self.lifetime
        answer: dict[str, Any] = {"access_token": token, "token_type": "Bearer"}
        if self.tells_lifetime:
            answer["expires_in"] = self.lifetime
        if form["grant_type"] == EXCHANGE:
            answer["issued_token_type"] = "urn:ietf:params:oauth:token-type:access_token"
        return answer


def _error(code: str, words: str, status: int = 400) -> tuple[int, dict[str, Any]]:
    return status, {"error": code, "error_description": words}


@contextmanager
def providing(provider: Provider, authority: Authority | None = None) -> Iterator[Provider]:
    """Run it on loopback, over TLS with a certificate of an authority."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, answer = provider.answer(headers, body)
            text = answer if isinstance(answer, str) else json.dumps(answer)
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if text.startswith("<") else "application/json")
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        scheme = "http"
        if authority is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(authority.certificate, authority.key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            scheme = "https"
        provider.url = f"{scheme}://127.0.0.1:{server.server_port}/token"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield provider
        finally:
            server.shutdown()
            thread.join()
