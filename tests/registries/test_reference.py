"""Addresses of images, as Docker reads them."""

from __future__ import annotations

import pytest

from flyte_deploy.errors import DeployError
from flyte_deploy.images.reference import Reference, is_loopback

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("python", ("docker.io", "library/python", "latest", "")),
        ("python:3.11-slim", ("docker.io", "library/python", "3.11-slim", "")),
        ("index.docker.io/a", ("docker.io", "library/a", "latest", "")),
        ("team/image", ("docker.io", "team/image", "latest", "")),
        ("ghcr.io/flyteorg/flyte:py3.11-v2.12.1", ("ghcr.io", "flyteorg/flyte", "py3.11-v2.12.1", "")),
        ("localhost/a", ("localhost", "a", "latest", "")),
        ("127.0.0.1:5000/a/b:c", ("127.0.0.1:5000", "a/b", "c", "")),
        ("[::1]:5000/a", ("[::1]:5000", "a", "latest", "")),
        (f"host:5000/a@{DIGEST}", ("host:5000", "a", "", DIGEST)),
        (f"a.io/b:c@{DIGEST}", ("a.io", "b", "c", DIGEST)),
    ],
)
def test_parts(text: str, parts: tuple[str, ...]) -> None:
    found = Reference.parse(text)
    assert (found.host, found.repository, found.tag, found.digest) == parts


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Upper",
        "a.io/",
        "a.io/B",
        "a.io/b:",
        "a.io/b:c d",
        "a.io/b@sha256:1",
        "https://a.io/b",
        "a b",
        "-a.io/b",
        "a.io//b",
    ],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(DeployError, match="is no address of an image"):
        Reference.parse(text)


def test_loopback() -> None:
    for host in ("localhost", "localhost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000", "a.localhost:1"):
        assert is_loopback(host), host
    for host in (
        "ghcr.io",
        "localhost.example.com",
        "10.0.0.1:5000",
        "[fd00::1]:5000",
        "127.0.0.1.example.com",
    ):
        assert not is_loopback(host), host
