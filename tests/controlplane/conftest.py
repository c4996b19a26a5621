"""A control plane of its own for each test: the embedded one, or one that misbehaves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flyte_deploy.controlplane import ControlPlane, Endpoint
from flyte_deploy.embedded import Embedded, running
from tests.controlplane.server import QUICK, Server, serving


@pytest.fixture
def embedded() -> Iterator[Embedded]:
    """The embedded control plane."""
    with running(projects=["shop"]) as control_plane:
        yield control_plane


@pytest.fixture
def plane(embedded: Embedded) -> Iterator[ControlPlane]:
    """A client of the embedded control plane."""
    with ControlPlane(Endpoint.parse(embedded.endpoint, insecure=True), retry=QUICK) as client:
        yield client


@pytest.fixture
def server() -> Iterator[Server]:
    """The server that misbehaves; what it holds and how is set on it."""
    with serving() as misbehaving:
        yield misbehaving


@pytest.fixture
def client(server: Server) -> Iterator[ControlPlane]:
    """A client of the server that misbehaves, quick to try again."""
    with server.plane() as client:
        yield client
