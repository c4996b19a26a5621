"""A control plane of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flyte_deploy.controlplane import ControlPlane
from tests.controlplane.server import Server, serving


@pytest.fixture
def server() -> Iterator[Server]:
    """The server; what it holds and how it misbehaves is set on it."""
    with serving() as running:
        yield running


@pytest.fixture
def plane(server: Server) -> Iterator[ControlPlane]:
    """A client of the server, quick to try again."""
    with server.plane() as client:
        yield client
