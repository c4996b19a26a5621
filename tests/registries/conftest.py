"""Registries of the tests' own, beside the engine's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from flyte_deploy.images.auth import Credentials, Login
from flyte_deploy.images.registry import Registries
from tests.engine import Engine
from tests.registries import servers
from tests.registries.servers import PASSWORD, USER, Authority, Tokens

Open = Callable[..., str]


@pytest.fixture
def ali() -> Credentials:
    """Who knows the password of every registry."""
    return Credentials([lambda host: Login(USER, PASSWORD, "the test")])


@pytest.fixture
def nobody() -> Registries:
    """Registries asked without a login, and without waiting between attempts."""
    return Registries(Credentials([]), pause=lambda _: None)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.make(tmp_path / "authority")


@pytest.fixture
def open_registry(engine: Engine, tmp_path: Path) -> Iterator[Open]:
    """Starts a registry: `open_registry(auth=…, tls=…)` gives its ``host:port``."""
    with ExitStack() as stack:

        def start(*, auth: Mapping[str, Any] | None = None, tls: Authority | None = None) -> str:
            return stack.enter_context(
                servers.registry(engine.registry_program, tmp_path / "registry", auth=auth, tls=tls)
            )

        yield start


@pytest.fixture
def tokens(authority: Authority) -> Iterator[tuple[Tokens, str]]:
    """A token server and its ``host:port``."""
    made = Tokens(authority)
    with servers.server(made.answer) as (address, _):
        yield made, address
