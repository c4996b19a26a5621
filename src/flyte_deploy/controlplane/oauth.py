"""Tokens of an identity provider, over HTTP: RFC 6749, 8693 and 7523."""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

from flyte_deploy.controlplane.tokens import Token
from flyte_deploy.errors import DeployError
from flyte_deploy.login import ClientSecret, GitHub
from flyte_deploy.secrets import SECRETS
from flyte_deploy.tls import Network

_ATTEMPTS = 4
_LIMIT = 256 << 10
_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_JWT = "urn:ietf:params:oauth:token-type:jwt"
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass(frozen=True)
class Provider:
    """What the control plane says of its identity provider (AuthMetadataService)."""

    token_endpoint: str
    audience: str = ""
    scopes: tuple[str, ...] = ()
    header: str = "authorization"


def request_token(
    way: ClientSecret | GitHub,
    provider: Provider,
    scopes: tuple[str, ...],
    network: Network,
    more_headers: Mapping[str, str],
    *,
    pause: Callable[[float], None] = time.sleep,
) -> Token:
    """Ask the provider for a token.

    Args:
        way: who asks.
        provider: whom.
        scopes: for what; empty for what the control plane names.
        network: how it is reached.
        more_headers: sent besides.
        pause: waits for some seconds.

    Raises:
        DeployError: where it gives none.
    """
    _check_address(provider.token_endpoint)
    headers = {
        "Accept": "application/json",
        "Cache-Control": "no-cache",
        "Content-Type": "application/x-www-form-urlencoded",
        **more_headers,
    }
    vouched = ""
    form = {"scope": " ".join(scopes or provider.scopes), "audience": provider.audience}
    if isinstance(way, ClientSecret):
        form["grant_type"] = "client_credentials"
        # As the SDK has it: the secret quoted, the client as it is.
        login = f"{way.client_id}:{quote_plus(way.secret)}"
        headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    else:
        vouched = _identity(way, provider, network)
        form |= _vouched(way, vouched)
    body = urlencode({name: value for name, value in form.items() if value})
    status, answer = _post(provider.token_endpoint, headers, body, network, pause)
    return _token(
        status, answer, provider, lambda code, found, where: _refused(code, found, where, way, vouched)
    )


def _identity(way: GitHub, provider: Provider, network: Network) -> str:
    from flyte_deploy.cloud.github_oidc import github_id_token

    audience = way.audience or provider.audience or provider.token_endpoint
    return github_id_token(audience, os.environ, Network(network.ca_cert))


def _vouched(way: GitHub, token: str) -> dict[str, str]:
    if way.assertion:
        return {
            "grant_type": "client_credentials",
            "client_id": way.client_id,
            "client_assertion_type": _ASSERTION,
            "client_assertion": token,
        }
    return {
        "grant_type": _EXCHANGE,
        "client_id": way.client_id,
        "subject_token": token,
        "subject_token_type": _JWT,
        "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
    }


def _check_address(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and parts.hostname and _is_loopback(parts.hostname):
        return
    raise DeployError(
        "the control plane names no token endpoint that a secret may be sent to"
        + (": it has no TLS" if parts.scheme == "http" else ""),
        where=url or "AuthMetadataService",
        mend="Look at the control plane's own settings; with --auth-type ExternalCommand none is needed.",
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _post(
    url: str, headers: dict[str, str], body: str, network: Network, pause: Callable[[float], None]
) -> tuple[int, str]:
    import urllib3
    from urllib3.exceptions import HTTPError

    from flyte_deploy.http import backoff, connections, shown, without_query

    problem = ""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with connections(url, network) as pool:
                response = pool.request(
                    "POST",
                    url,
                    body=body,
                    headers=headers,
                    retries=False,
                    # A secret does not follow.
                    redirect=False,
                    timeout=urllib3.Timeout(connect=10, read=20),
                    preload_content=False,
                )
                status, answer = response.status, response.read(_LIMIT).decode("utf-8", "replace")
        except (HTTPError, OSError) as error:
            problem = f"is out of reach ({shown(str(getattr(error, 'reason', None) or error), 300)})"
            if "CERTIFICATE_VERIFY_FAILED" in problem:
                break
        else:
            if status not in (408, 429) and status < 500:
                return status, answer
            problem = f"answers with status {status}"
        if attempt < _ATTEMPTS:
            pause(backoff(attempt))
    mend = "Try again when it is up."
    if "CERTIFICATE_VERIFY_FAILED" in problem:
        mend = "Name its authority with --ca-cert."
    raise DeployError(f"the token endpoint {problem}", where=without_query(url), mend=mend) from None


def _token(
    status: int,
    answer: str,
    provider: Provider,
    refused: Callable[[int, dict[str, Any], str], DeployError],
) -> Token:
    from flyte_deploy.http import without_query

    where = without_query(provider.token_endpoint)
    try:
        found: Any = json.loads(answer)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        kind = "an HTML page" if answer.lstrip()[:1] == "<" else "something that is no JSON"
        raise DeployError(
            f"the token endpoint answers {status} with {kind}",
            where=where,
            mend="A proxy or a login page may have answered: look at HTTPS_PROXY and at the control plane's "
            "own settings.",
        )
    if status != 200 or "access_token" not in found:
        raise refused(status, found, where)
    value, kind = str(found["access_token"]), str(found.get("token_type") or "Bearer")
    SECRETS.add(value, str(found.get("refresh_token") or ""))
    if kind.lower() not in ("bearer", "n_a"):
        raise DeployError(f"the token endpoint gives a token of the type {kind!r}, not Bearer", where=where)
    return Token(value, lifetime_of(value, found.get("expires_in")))


def lifetime_of(value: str, seconds: object = None) -> float | None:
    """For how many seconds a token is good: as was said, else as it says itself, else unknown."""
    from flyte_deploy.cloud.github_oidc import claims

    try:
        return max(float(str(seconds)), 0.0)
    except ValueError:
        expires = claims(value).get("exp")
    if not isinstance(expires, (int, float)):
        return None
    left = expires - time.time()
    # One that has ended already is the clock's fault, or the control plane will say so.
    return left if left > 0 else None


def _refused(
    status: int, found: dict[str, Any], where: str, way: ClientSecret | GitHub, vouched: str
) -> DeployError:
    from flyte_deploy.cloud.github_oidc import telling
    from flyte_deploy.http import shown

    code = shown(str(found.get("error") or f"status {status}"), 60)
    words = shown(str(found.get("error_description") or ""), 300)
    said = f"{code}: {words}" if words else code
    details: tuple[str, ...] = ()
    if isinstance(way, GitHub):
        details, mend = telling(vouched), "The identity provider has to trust these claims for this client."
        what = f"the identity provider does not take GitHub's identity token ({said})"
    else:
        what = f"the identity provider does not take the credentials of client '{way.client_id}' ({said})"
        mend = f"They came from {way.source}: wrong, expired or revoked. Make new ones."
        if code in ("invalid_scope", "invalid_target"):
            mend = "Look at --scopes, and at the audience and scopes that the control plane names."
    if "iat" in words or "nbf" in words or "clock" in words.lower():
        mend = "A clock may be wrong: compare those of this machine and of the identity provider."
    return DeployError(what, where=where, details=details, mend=mend)
