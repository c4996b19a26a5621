"""Tokens in use: renewed before their end and once where they are refused, one for all calls in flight."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from flyte_deploy.controlplane import ControlPlane, Endpoint, Uploads
from flyte_deploy.controlplane.tokens import Token, Tokens
from flyte_deploy.embedded import LoginSide, Tls, running
from flyte_deploy.errors import DeployError
from flyte_deploy.login import ClientSecret, Command, Login
from flyte_deploy.tls import Network
from tests.controlplane.server import QUICK, TARGET, serving
from tests.login.conftest import Open
from tests.login.provider import CLIENT, SECRET, Provider, providing
from tests.registries.servers import Authority

Connect = Callable[..., tuple[ControlPlane, Provider]]


@pytest.fixture
def connect(tmp_path: Path, authority: Authority) -> Iterator[Connect]:
    """A client that logs in, and the provider behind it."""
    with ExitStack() as stack:

        def start(provider: Provider | None = None, **options: Any) -> tuple[ControlPlane, Provider]:
            provider = stack.enter_context(providing(provider or Provider(), authority))
            side = LoginSide(**{"accepts": provider.accepts, "token_endpoint": provider.url, **options})
            tls = Tls(authority.certificate, authority.key)
            server = stack.enter_context(running(tmp_path / "server", projects=["shop"], login=side, tls=tls))
            port = server.endpoint.rpartition(":")[2]
            plane = stack.enter_context(
                ControlPlane(
                    Endpoint(f"localhost:{port}"),
                    retry=QUICK,
                    network=Network(authority.ca),
                    login=Login(ClientSecret(CLIENT, SECRET, "the test")),
                )
            )
            return plane, provider

        yield start


def ask(plane: ControlPlane, times: int = 32) -> None:
    """Make many calls at the same time."""
    plane.task_specs(TARGET, [f"e.t{number}" for number in range(times)], "v1", times)


def test_all_calls_share_a_token(connect: Connect) -> None:
    plane, provider = connect()
    ask(plane)
    assert len(provider.requests) == 1
    assert len(provider.shown) == 32


def test_a_token_that_is_revoked_is_replaced_once_for_all(connect: Connect) -> None:
    plane, provider = connect()
    ask(plane)
    provider.revoke()
    ask(plane)
    assert len(provider.requests) == 2
    assert len(provider.shown) == 64


@pytest.mark.parametrize("tells", [True, False])
def test_a_token_is_renewed_before_it_ends(open_company: Open, connect: Connect, tells: bool) -> None:
    plane, provider = connect(Provider(lifetime=0.5, tells_lifetime=tells))
    for _ in range(3):
        ask(plane, 8)
        time.sleep(0.6)
    # Where nobody says when it ends it is refused first; nobody notices either way.
    assert len(provider.requests) == 3
    assert len(provider.shown) == 24


def test_a_token_that_is_never_accepted_is_asked_for_once(connect: Connect) -> None:
    plane, provider = connect(accepts=lambda token: False)
    with pytest.raises(DeployError, match="does not accept the token"):
        ask(plane)
    assert len(provider.requests) == 1


def test_a_provider_that_falters_is_asked_again(connect: Connect) -> None:
    plane, provider = connect(Provider(faults=[(503, "later"), (429, "slowly")]))
    ask(plane, 1)
    assert len(provider.requests) == 3


def test_a_renewal_that_fails_leaves_the_token_until_its_end() -> None:
    answers: list[Token | DeployError] = [Token("first", 10.0), DeployError("away"), Token("second", 10.0)]

    def issue() -> Token:
        answer = answers.pop(0)
        if isinstance(answer, DeployError):
            raise answer
        return answer

    tokens = Tokens(issue)
    first = tokens.current()
    first.issued -= 9.0
    assert first.due()
    assert tokens.current() is first
    first.issued -= 1.0
    assert tokens.current().value == "second"


def test_what_failed_once_is_not_asked_again() -> None:
    asked = []

    def issue() -> Token:
        asked.append(1)
        raise DeployError("wrong")

    tokens = Tokens(issue)
    for _ in range(3):
        with pytest.raises(DeployError, match="wrong"):
            tokens.current()
    assert len(asked) == 1


def test_a_cluster_that_the_control_plane_names_is_called_with_its_token(
    tmp_path: Path, authority: Authority
) -> None:
    command = tmp_path / "command"
    command.write_text("#!/bin/sh\necho the-token-of-both\n")
    command.chmod(0o755)
    side = LoginSide(accepts=lambda token: token == "the-token-of-both")
    tls = Tls(authority.certificate, authority.key)
    with (
        running(tmp_path / "cluster", projects=["shop"], login=side, tls=tls) as cluster,
        serving((authority.key.read_bytes(), authority.certificate.read_bytes())) as server,
        ControlPlane(
            Endpoint(f"localhost:{server.port}"),
            retry=QUICK,
            network=Network(authority.ca),
            login=Login(Command((str(command),), "the test", tmp_path)),
        ) as plane,
    ):
        server.cluster = f"https://localhost:{cluster.endpoint.rpartition(':')[2]}"
        location = Uploads(plane, TARGET).create_upload_location(
            filename="f",
            filename_root="r",
            content_md5=None,
            content_length=None,
            add_content_md5_metadata=False,
        )
        assert location.signed_url.startswith("https://localhost:")
        assert [(call.method, call.code) for call in cluster.calls()] == [("CreateUploadLocation", "ok")]
