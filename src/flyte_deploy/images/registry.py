"""Registries, asked in-process over HTTP."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import urllib3

from flyte_deploy.errors import DeployError
from flyte_deploy.settings import Settings

_ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_LOOPBACK = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?")


class HttpRegistries:
    """Registries as they are, without a login."""

    def digests(self, references: Sequence[str]) -> Mapping[str, str | None]:
        """The digest of each image, by its address; None for one that is not there."""
        pool = urllib3.PoolManager(retries=urllib3.Retry(3, backoff_factor=0.2), timeout=15)
        with ThreadPoolExecutor(max(1, min(16, len(references)))) as executor:
            return dict(
                zip(references, executor.map(lambda one: _digest(pool, one), references), strict=True)
            )


def registries(settings: Settings) -> HttpRegistries:
    """Registries, with the logins that the settings and the environment name."""
    del settings
    return HttpRegistries()


def _digest(pool: urllib3.PoolManager, reference: str) -> str | None:
    host, _, rest = reference.partition("/")
    name, _, tag = rest.rpartition(":")
    scheme = "http" if _LOOPBACK.fullmatch(host) else "https"
    url = f"{scheme}://{host}/v2/{name}/manifests/{tag}"
    try:
        answer = pool.request("HEAD", url, headers={"Accept": _ACCEPT})
    except urllib3.exceptions.HTTPError as error:
        raise DeployError(
            f"the registry {host} cannot be asked: {error}", where=reference, mend="Check its address."
        ) from error
    if answer.status == 404:
        return None
    digest = answer.headers.get("Docker-Content-Digest", "")
    if answer.status != 200 or not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise DeployError(f"the registry {host} answers with status {answer.status}", where=reference)
    return digest
