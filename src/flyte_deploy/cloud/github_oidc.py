"""GitHub's identity tokens: a job proves who it is to whoever trusts GitHub, without a stored secret.

A job with ``permissions: id-token: write`` finds ACTIONS_ID_TOKEN_REQUEST_URL and
ACTIONS_ID_TOKEN_REQUEST_TOKEN in its environment, and gets a token for an audience with a GET
(https://docs.github.com/actions/reference/security/oidc).
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from flyte_deploy.errors import DeployError
from flyte_deploy.secrets import SECRETS
from flyte_deploy.tls import Network

_ATTEMPTS = 4
_USUAL = Network()
_LIMIT = 64 << 10
_URL, _TOKEN = "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
TELLING = ("iss", "sub", "aud", "repository", "ref", "environment", "event_name", "job_workflow_ref")
"""The claims that trust policies look at, and that may be shown."""


def github_id_token(
    audience: str,
    environ: Mapping[str, str],
    network: Network = _USUAL,
    *,
    pause: Callable[[float], None] = time.sleep,
) -> str:
    """A token of the running job for an audience, valid for some minutes. It is a secret.

    Args:
        audience: who is to trust it, such as ``sts.amazonaws.com``.
        environ: the job's environment variables.
        network: whom to trust; a server of a company's own may need it.
        pause: waits for some seconds.

    Raises:
        DeployError: where the job may not have one, or GitHub does not answer with one.
    """
    url, secret = environ.get(_URL, ""), environ.get(_TOKEN, "")
    SECRETS.add(secret)
    if not may_prove(environ):
        raise _not_allowed(environ)
    separator = "&" if urlsplit(url).query else "?"
    return _ask(f"{url}{separator}audience={quote(audience, safe='')}", secret, network, pause)


def may_prove(environ: Mapping[str, str]) -> bool:
    """Whether a job may have identity tokens at all."""
    return bool(environ.get(_URL) and environ.get(_TOKEN))


def claims(token: str) -> dict[str, Any]:
    """What a token says of its bearer, unverified: for messages, not for decisions. Empty if it is none."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        payload = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return {}
    return payload if isinstance(payload, dict) else {}


def telling(token: str) -> tuple[str, ...]:
    """The claims of a token that trust policies look at, a line each: ``sub: repo:owner/name:ref:…``."""
    found = claims(token)
    return tuple(f"{name}: {found[name]}" for name in TELLING if name in found)


def _not_allowed(environ: Mapping[str, str]) -> DeployError:
    if environ.get("GITHUB_ACTIONS") != "true":
        return DeployError(
            "there is no GitHub job here whose identity could be proven",
            where=_URL,
            mend="Outside of GitHub leave out --aws-role, --gcp-workload-identity and --auth-type "
            "GitHub, and log in another way.",
        )
    fork = ""
    if environ.get("GITHUB_EVENT_NAME") == "pull_request":
        fork = " Pull requests from forks never may."
    return DeployError(
        "this job may not ask GitHub for an identity token",
        where=_URL,
        mend="Give the job, or the workflow, `permissions: {id-token: write, contents: read}`." + fork,
    )


def _ask(url: str, secret: str, network: Network, pause: Callable[[float], None]) -> str:
    import urllib3
    from urllib3.exceptions import HTTPError

    from flyte_deploy.http import backoff, connections, shown, without_query

    where = without_query(url)
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with connections(url, network) as pool:
                response = pool.request(
                    "GET",
                    url,
                    headers={"Authorization": f"Bearer {secret}", "Accept": "application/json"},
                    retries=False,
                    redirect=False,
                    timeout=urllib3.Timeout(connect=10, read=20),
                    preload_content=False,
                )
                status, body = response.status, response.read(_LIMIT).decode("utf-8", "replace")
        except (HTTPError, OSError) as error:
            # Its words may hold the address, and that a credential in its query.
            problem, again = f"GitHub's token service is out of reach ({type(error).__name__})", True
        else:
            if status == 200 and (token := _token(body)):
                SECRETS.add(token)
                return token
            again = status in (408, 429) or status >= 500
            problem = f"GitHub's token service answered {status} instead of a token"
            # A body of 200 may be a token in another dress: it is not shown.
            if status != 200 and (text := shown(body)):
                problem += f": {text}"
        if not again:
            break
        if attempt < _ATTEMPTS:
            pause(backoff(attempt))
    raise DeployError(problem, where=where, mend="Run the job again; its permissions may have expired.")


def _token(body: str) -> str:
    try:
        value = json.loads(body)["value"]
    except (ValueError, TypeError, KeyError):
        return ""
    return value if isinstance(value, str) else ""
