"""Connections over HTTP, through the proxy that the environment names."""

from __future__ import annotations

import os
import random
import urllib.request
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3

from flyte_deploy.tls import Network, trusting

_LONGEST_PAUSE = 20.0


def proxy_of(url: str, named: str = "") -> str:
    """The address of the proxy to reach `url` through, with a scheme; empty for none.

    Args:
        url: what is to be reached.
        named: a proxy that comes before HTTPS_PROXY and HTTP_PROXY. NO_PROXY counts for all of them.
    """
    parts = urlsplit(url)
    proxies = urllib.request.getproxies()
    proxy = named or proxies.get(parts.scheme) or proxies.get("all") or ""
    if not proxy or urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2]):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def connections(url: str, network: Network | None = None) -> urllib3.PoolManager:
    """Connections to reach `url` with: straight, or through the proxy that counts for it.

    Raises:
        ProxySchemeUnknown: of urllib3, where a proxy's address is no address.
        DeployError: where the authorities to trust cannot be read.
    """
    trust: dict[str, Any] = {}
    # An authority of somebody's own: by --ca-cert, or as the machine's.
    if network is not None and (network.ca_cert or not network.verify or os.environ.get("SSL_CERT_FILE")):
        trust["ssl_context"] = network.context()
        if not network.verify:
            # It has been said loudly already.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    proxy = proxy_of(url, network.proxy if network else "")
    if not proxy:
        return urllib3.PoolManager(**trust)
    user, at, _ = urlsplit(proxy).netloc.rpartition("@")
    login = urllib3.make_headers(proxy_basic_auth=unquote(user)) if at else None
    if network is not None and network.ca_cert is not None:
        trust["proxy_ssl_context"] = trusting(network.ca_cert)
    return urllib3.ProxyManager(proxy, proxy_headers=login, **trust)


def backoff(attempt: int) -> float:
    """Seconds to wait after the attempt of this number, counted from 1: longer each time, and scattered."""
    return random.uniform(0.5, 1) * min(2.0 ** (attempt - 1), _LONGEST_PAUSE)  # noqa: S311 - no secret


def without_query(url: str) -> str:
    """A URL as it may be shown: no signature, no user, no password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.netloc else parts.path


def shown(body: str, length: int = 200) -> str:
    """The beginning of an answer in one line, without what a terminal would act on."""
    return "".join(c if c.isprintable() else " " for c in " ".join(body.split()))[:length]
