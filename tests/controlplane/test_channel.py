"""Endpoints, and what is said of a control plane that cannot be reached."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from flyte_deploy.controlplane import ControlPlane, Endpoint, Retry
from flyte_deploy.errors import DeployError
from tests.controlplane.server import QUICK, TARGET, Server, serving


@pytest.mark.parametrize(
    ("text", "insecure", "expected"),
    [
        ("dns:///flyte.example.com:8090", False, Endpoint("flyte.example.com:8090", False)),
        ("dns:///flyte.example.com", False, Endpoint("flyte.example.com:443", False)),
        ("dns:///localhost:8090", True, Endpoint("localhost:8090", True)),
        ("https://flyte.example.com", False, Endpoint("flyte.example.com:443", False)),
        ("https://Flyte.Example.com/", True, Endpoint("flyte.example.com:443", False)),
        ("http://127.0.0.1:30080", False, Endpoint("127.0.0.1:30080", True)),
        ("http://flyte", False, Endpoint("flyte:80", True)),
        ("flyte.example.com", False, Endpoint("flyte.example.com:443", False)),
        (" flyte:81 ", True, Endpoint("flyte:81", True)),
        ("[::1]:8090", True, Endpoint("[::1]:8090", True)),
        ("https://[::1]", False, Endpoint("[::1]:443", False)),
    ],
)
def test_every_form_of_an_endpoint(text: str, insecure: bool, expected: Endpoint) -> None:
    assert Endpoint.parse(text, insecure=insecure) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dns:///",
        "dns://flyte.example.com",
        "ftp://flyte.example.com",
        "https://flyte.example.com/console",
        "https://user:word@flyte.example.com",
        "https://flyte.example.com?x=1",
        "flyte:port",
        "flyte:0",
        "flyte:65536",
        "flyte:",
        ":8090",
        "::1",
        "[::1",
        "two words",
        "a..b",
    ],
)
def test_a_bad_endpoint_is_a_usage_error_that_shows_the_forms(text: str) -> None:
    with pytest.raises(DeployError) as caught:
        Endpoint.parse(text)
    assert caught.value.exit_status == 2
    assert f"'{text}'" in caught.value.what
    assert "dns:///host:port" in str(caught.value)


def test_parts_of_an_endpoint() -> None:
    endpoint = Endpoint.parse("http://[::1]:81")
    assert (endpoint.host, endpoint.port, str(endpoint)) == ("::1", 81, "http://[::1]:81")


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        endpoint = Endpoint(f"127.0.0.1:{taken.getsockname()[1]}", insecure=True)
        with ControlPlane(endpoint, retry=QUICK) as plane, pytest.raises(DeployError) as caught:
            plane.check_target(TARGET)
    assert caught.value.where == str(endpoint)
    assert "cannot be reached" in caught.value.what
    assert "refused" in caught.value.what
    assert caught.value.mend


def test_a_server_that_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        endpoint = Endpoint(f"127.0.0.1:{mute.getsockname()[1]}", insecure=True)
        with (
            ControlPlane(endpoint, retry=Retry(first_contact=0.2)) as plane,
            pytest.raises(DeployError, match="cannot be reached"),
        ):
            plane.check_target(TARGET)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A key and a certificate for localhost that nobody signed."""
    folder = tmp_path_factory.mktemp("certificate")
    key, chain = folder / "key.pem", folder / "chain.pem"
    command = "openssl req -x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -subj /CN=x"
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(chain)]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    return key, chain


@pytest.fixture
def secure(certificate: tuple[Path, Path]) -> Iterator[Server]:
    key, chain = certificate
    with serving((key.read_bytes(), chain.read_bytes())) as running:
        yield running


def test_tls_with_a_certificate_that_the_system_trusts(
    secure: Server, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[1]))
    with ControlPlane(Endpoint(secure.address), retry=QUICK) as plane:
        plane.check_target(TARGET)
    assert secure.count() == {"GetProject": 1}


def test_a_certificate_that_is_not_trusted(secure: Server) -> None:
    with ControlPlane(Endpoint(secure.address), retry=QUICK) as plane, pytest.raises(DeployError) as caught:
        plane.check_target(TARGET)
    assert "its certificate is not trusted: self-signed certificate" in caught.value.what
    assert "SSL_CERT_FILE" in str(caught.value)
    assert secure.address in str(caught.value)


def test_plaintext_to_a_server_of_tls(secure: Server) -> None:
    endpoint = Endpoint(secure.address, insecure=True)
    with ControlPlane(endpoint, retry=QUICK) as plane, pytest.raises(DeployError) as caught:
        plane.check_target(TARGET)
    assert "the server speaks TLS" in caught.value.what
    assert "Leave out --insecure" in str(caught.value)


def test_tls_to_a_server_of_plaintext(server: Server) -> None:
    with ControlPlane(Endpoint(server.address), retry=QUICK) as plane, pytest.raises(DeployError) as caught:
        plane.check_target(TARGET)
    assert "the server speaks plaintext" in caught.value.what
    assert "Add --insecure" in str(caught.value)
    assert server.calls == []
