"""Connections over HTTP, through the proxy that the environment names."""

from __future__ import annotations

import random
import ssl
import urllib.request
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

import urllib3

_LONGEST_PAUSE = 20.0


def connections(url: str) -> urllib3.PoolManager:
    """Connections to reach `url` with: straight, or as HTTPS_PROXY, HTTP_PROXY and NO_PROXY say.

    Raises:
        ProxySchemeUnknown: of urllib3, where a proxy's address is no address.
    """
    parts = urlsplit(url)
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2]):
        return urllib3.PoolManager()
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    user, at, _ = urlsplit(proxy).netloc.rpartition("@")
    login = urllib3.make_headers(proxy_basic_auth=unquote(user)) if at else None
    return urllib3.ProxyManager(proxy, proxy_headers=login)


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


def trusted_roots(environ: Mapping[str, str]) -> str | None:
    """The file of certificates that servers are checked against, for libraries that bring their own.

    What SSL_CERT_FILE names, else the system's file; None where there is neither, so that the library's own
    count. So an authority that a company has added is known to all of them.
    """
    named = environ.get("SSL_CERT_FILE", "")
    return named or ssl.get_default_verify_paths().cafile
