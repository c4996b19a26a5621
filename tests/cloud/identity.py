"""GitHub's OIDC provider, AWS's STS and Google's token exchange over HTTP, held to their public contracts.

GitHub: docs.github.com/actions/reference/security/oidc. AWS: AssumeRoleWithWebIdentity of the STS API
reference. Google: the OAuth 2.0 token exchange (RFC 8693) of Security Token Service, and generateAccessToken
of the IAM Service Account Credentials API. Tokens are real, signed and verified.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

ISSUER = "https://token.actions.githubusercontent.com"
CLAIMS = {
    "iss": ISSUER,
    "sub": "repo:octo-org@65/octo-repo@74:ref:refs/heads/main",
    "repository": "octo-org/octo-repo",
    "ref": "refs/heads/main",
    "event_name": "push",
}
REQUEST_TOKEN = "the-request-token-of-the-job"
POOL = "projects/123456/locations/global/workloadIdentityPools/github/providers/octo"
ACCOUNT = "deployer@octo.iam.gserviceaccount.com"
ROLE = "arn:aws:iam::123456789012:role/deployer"


@dataclass
class Identity:
    """The three of them. What trust there is, is said by `trusted`: a pattern for the claim ``sub``."""

    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    claims: dict[str, str] = field(default_factory=lambda: dict(CLAIMS))
    trusted: str = r"repo:octo-org(@65)?/octo-repo(@74)?:ref:refs/heads/main"
    lifetime: int = 3600
    """Seconds that what is exchanged for a token is good for."""
    skew: int = 0
    """Seconds that the clock of AWS and Google is ahead of GitHub's."""
    keys: tuple[str, str] | None = None
    """Access key and secret that sessions of AWS get, where a server of S3 has to know them."""
    faults: list[int] = field(default_factory=list)
    """Statuses that the next requests are answered with."""
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """Method, path and parameters of each request."""
    issued: list[str] = field(default_factory=list)
    """All secrets given out."""
    address: str = ""
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def environ(self) -> dict[str, str]:
        """What a job with ``id-token: write`` finds."""
        return {
            "GITHUB_ACTIONS": "true",
            "GITHUB_REPOSITORY": self.claims["repository"],
            "GITHUB_RUN_ID": "1234567890",
            "GITHUB_RUN_ATTEMPT": "2",
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.address}/github/token?api-version=2.0",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": REQUEST_TOKEN,
        }

    def answer(self, handler: BaseHTTPRequestHandler, body: str) -> tuple[int, str]:
        path = urlsplit(handler.path)
        given = {name: values[0] for name, values in parse_qs(path.query or body).items()}
        if body.startswith("{"):
            given = json.loads(body)
        self.requests.append((handler.command, path.path, given))
        if self.faults:
            return self.faults.pop(0), "broken for now"
        if path.path == "/github/token":
            return self._github(handler.headers.get("Authorization", ""), given)
        if path.path == "/sts":
            return self._sts(given)
        if path.path == "/google/token":
            return self._exchange(given)
        found = re.fullmatch(
            r"/google/v1/projects/-/serviceAccounts/(.*):generateAccessToken", unquote(path.path)
        )
        if found:
            return self._impersonate(handler.headers.get("Authorization", ""), found[1])
        return 404, "<!DOCTYPE html><title>Not Found</title>"

    def _github(self, authorization: str, given: Mapping[str, str]) -> tuple[int, str]:
        if authorization != f"Bearer {REQUEST_TOKEN}":
            return 401, "Unauthorized"
        now = int(time.time())
        claims: dict[str, Any] = {
            **self.claims,
            "aud": given.get("audience", "https://github.com/octo-org"),
            "iat": now,
            "nbf": now - 300,
            "exp": now + 300,
        }
        token = jwt.encode(claims, self.key, algorithm="RS256")
        self.issued.append(token)
        return 200, json.dumps({"count": len(token), "value": token})

    def _verified(self, token: str, audience: str) -> dict[str, Any]:
        now = time.time() + self.skew
        claims: dict[str, Any] = jwt.decode(
            token,
            self.key.public_key(),
            algorithms=["RS256"],
            audience=audience,
            issuer=ISSUER,
            options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
        )
        if not claims["nbf"] <= now < claims["exp"]:
            raise jwt.ExpiredSignatureError
        return claims

    def _sts(self, given: Mapping[str, str]) -> tuple[int, str]:
        def refused(status: int, code: str, message: str) -> tuple[int, str]:
            error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
            return status, f"<ErrorResponse>{error}<RequestId>r</RequestId></ErrorResponse>"

        if given.get("Action") != "AssumeRoleWithWebIdentity" or given.get("Version") != "2011-06-15":
            return refused(400, "InvalidAction", "Could not find operation")
        session = given.get("RoleSessionName", "")
        if not re.fullmatch(r"[\w+=,.@-]{2,64}", session, re.ASCII):
            return refused(400, "ValidationError", "'roleSessionName' failed to satisfy constraint")
        try:
            claims = self._verified(given.get("WebIdentityToken", ""), "sts.amazonaws.com")
        except jwt.ExpiredSignatureError:
            return refused(400, "ExpiredTokenException", "Token expired: current date/time must be before")
        except jwt.InvalidTokenError as error:
            return refused(400, "InvalidIdentityToken", f"Couldn't verify the token: {error}")
        if given.get("RoleArn") != ROLE or not re.fullmatch(self.trusted, claims["sub"]):
            return refused(403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
        number = next(self.numbers)
        end = dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=self.lifetime)
        secret, token = f"secret-of-session-{number}", f"token-of-session-{number}"
        access = f"ASIA{number:016}"
        if self.keys:
            # That server refuses session tokens.
            (access, secret), token = self.keys, ""
        self.issued += [secret, token] if token else [secret]
        credentials = (
            f"<AccessKeyId>{access}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>"
            f"<SessionToken>{token}</SessionToken><Expiration>{end:%Y-%m-%dT%H:%M:%SZ}</Expiration>"
        )
        arn = f"{ROLE.replace(':iam:', ':sts:').replace(':role/', ':assumed-role/')}/{session}"
        return 200, (
            '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
            f"<AssumeRoleWithWebIdentityResult><Credentials>{credentials}</Credentials>"
            f"<AssumedRoleUser><Arn>{arn}</Arn><AssumedRoleId>A:{session}</AssumedRoleId></AssumedRoleUser>"
            f"<SubjectFromWebIdentityToken>{claims['sub']}</SubjectFromWebIdentityToken>"
            "</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        )

    def _exchange(self, given: Mapping[str, str]) -> tuple[int, str]:
        def refused(error: str, description: str) -> tuple[int, str]:
            return 400, json.dumps({"error": error, "error_description": description})

        if given.get("grant_type") != "urn:ietf:params:oauth:grant-type:token-exchange":
            return refused("unsupported_grant_type", "Invalid grant type")
        if given.get("audience") != f"//iam.googleapis.com/{POOL}":
            return refused("invalid_target", "The target service indicated by the audience is invalid.")
        try:
            claims = self._verified(given.get("subject_token", ""), f"https://iam.googleapis.com/{POOL}")
        except jwt.InvalidAudienceError:
            return refused("invalid_grant", "The audience in ID Token does not match the expected audience.")
        except jwt.InvalidTokenError:
            return refused("invalid_grant", "ID Token issued at is stale to sign-in.")
        if not re.fullmatch(self.trusted, claims["sub"]):
            return refused(
                "unauthorized_client", "The given credential is rejected by the attribute condition."
            )
        return 200, json.dumps(
            {
                "access_token": self._issue("federated"),
                "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
                "token_type": "Bearer",
                "expires_in": self.lifetime,
            }
        )

    def _impersonate(self, authorization: str, account: str) -> tuple[int, str]:
        token = authorization.removeprefix("Bearer ")
        if token not in self.issued or account != ACCOUNT:
            message = (
                "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist)."
            )
            error = {"code": 403, "message": message, "status": "PERMISSION_DENIED"}
            return 403, json.dumps({"error": error})
        end = dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=self.lifetime)
        return 200, json.dumps(
            {"accessToken": self._issue("account"), "expireTime": f"{end:%Y-%m-%dT%H:%M:%SZ}"}
        )

    def _issue(self, kind: str) -> str:
        token = f"ya29.{kind}-{next(self.numbers)}"
        self.issued.append(token)
        return token


@contextlib.contextmanager
def serving() -> Iterator[Identity]:
    """All three on loopback."""
    identity = Identity()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            status, answer = identity.answer(self, body)
            self.send_response(status)
            kind = "text/xml" if answer.startswith("<") else "application/json"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(answer.encode())))
            self.end_headers()
            self.wfile.write(answer.encode())

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        identity.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield identity
        finally:
            server.shutdown()
            thread.join()
