"""A repository at a GitHub on loopback; a request that GitHub does not know fails the test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flyte_deploy.github.client import Repository
from flyte_deploy.secrets import SECRETS
from tests.github.server import REPOSITORY, TOKEN, GitHub, running


@pytest.fixture
def github() -> Iterator[GitHub]:
    with running() as server:
        yield server
        assert server.problems == []


@pytest.fixture
def repository(github: GitHub) -> Repository:
    SECRETS.add("hunter2-hunter2")
    return Repository(REPOSITORY, TOKEN, github.url, wait=1)
