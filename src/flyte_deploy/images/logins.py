"""Registries and their logins as the settings have them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from flyte_deploy.images.auth import Credentials, aws, github, given, google
from flyte_deploy.images.docker_config import docker_config
from flyte_deploy.tls import trusting

if TYPE_CHECKING:
    from flyte_deploy.images.registry import Registries
    from flyte_deploy.settings import Settings


def credentials_of(
    settings: Settings,
    environ: Mapping[str, str],
    *,
    on_secret: Callable[[str], object] | None = None,
) -> Credentials:
    """The logins of image registries, from the settings and the environment; none is looked up yet.

    Args:
        settings: `registry_auth` counts.
        environ: where Docker's, GitHub's, and the passwords' own variables are.
        on_secret: is told each secret when it becomes known.

    Raises:
        DeployError: for an entry of ``--registry-auth`` that is none, or whose variable is not set.
    """
    sources = (
        given(settings.registry_auth, environ),
        docker_config(environ),
        github(environ),
        aws(),
        google(),
    )
    return Credentials(sources, on_secret=on_secret)


def registries_of(settings: Settings, credentials: Credentials) -> Registries:
    """The registries, asked with these logins.

    Raises:
        DeployError: for a ``--ca-cert`` that cannot be used.
    """
    from flyte_deploy.images.registry import Registries

    if settings.ca_cert is not None:
        # Said at once, not when a registry is first reached over TLS.
        context = trusting(settings.ca_cert)
        return Registries(credentials, tls=lambda: context, insecure=settings.insecure_registries)
    return Registries(credentials, tls=partial(trusting, None), insecure=settings.insecure_registries)
