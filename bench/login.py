"""Calls under a token that ends again and again."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from tests.login.provider import CLIENT, SECRET, Provider, providing
from tests.registries.servers import Authority

from flyte_deploy.controlplane import ControlPlane, Endpoint
from flyte_deploy.embedded import LoginSide, Tls, running
from flyte_deploy.errors import DeployError
from flyte_deploy.login import ClientSecret, Login
from flyte_deploy.model import Target
from flyte_deploy.tls import Network

SECONDS = 10.0
LIFETIME = 1.0
AT_ONCE = 32


@dataclass(frozen=True)
class Figures:
    """What came of it. `lives` is how many tokens, one after the other, the time takes."""

    calls: int
    failed: int
    refreshes: int
    lives: float


def figures(folder: Path) -> Figures:
    """Look up tasks, 32 at a time, for ten seconds, over TLS."""
    authority = Authority.make(folder / "authority")
    tls = Tls(authority.certificate, authority.key)
    calls = failed = 0
    with providing(Provider(lifetime=LIFETIME), authority) as provider:
        side = LoginSide(accepts=provider.accepts, token_endpoint=provider.url)
        with (
            running(folder / "data", login=side, tls=tls) as server,
            ControlPlane(
                Endpoint(f"localhost:{server.endpoint.rpartition(':')[2]}"),
                network=Network(authority.ca),
                login=Login(ClientSecret(CLIENT, SECRET, "the bench")),
            ) as plane,
        ):
            names = [f"e.t{number}" for number in range(8 * AT_ONCE)]
            started = time.monotonic()
            while time.monotonic() < started + SECONDS:
                try:
                    plane.task_specs(Target("flytesnacks", "development"), names, "v1", AT_ONCE)
                    calls += len(names)
                except DeployError:
                    failed += 1
            # A token is replaced a fifth of its life before its end.
            lives = (time.monotonic() - started) / (0.8 * LIFETIME)
        return Figures(calls, failed, len(provider.requests) - 1, lives)
