"""Proxies: which way gRPC and HTTP take, what passes none but HTTP/1.1, and what is said of refusals."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from flyte_deploy.embedded import Tls
from tests.images.test_remote_bad import Stub, good
from tests.login.conftest import Company, Open
from tests.login.fronts import Proxy, certificate, http1_front, proxying
from tests.login.provider import CLIENT, SECRET
from tests.login.test_refusals import refused
from tests.registries.servers import Authority

PASSWORD = "open/sesame of the proxy"
QUOTED = "open%2Fsesame%20of%20the%20proxy"


def bundles(company: Company) -> tuple[str, str]:
    """A store that needs no way."""
    return "--bundle-store", f"file://{company.folder}/bundles"


@pytest.mark.parametrize("way", ["flag", "config.yaml"])
def test_a_proxy_that_is_named_is_taken_for_grpc_and_for_tokens(company: Company, way: str) -> None:
    with proxying(Proxy()) as proxy:
        arguments = ("--http-proxy", f"http://127.0.0.1:{proxy.port}")
        if way == "config.yaml":
            company.config(
                f"httpProxyURL: http://127.0.0.1:{proxy.port}\nclientId: {CLIENT}\nclientSecretEnvVar: OF_IT"
            )
            done = company.deploy(endpoint=False, OF_IT=SECRET)
        else:
            done = company.deploy(*arguments, FLYTE_API_KEY=company.api_key)
        assert done.status == 0, done.err
    provider = company.provider.url.split("/")[2]
    hosts = {line.split()[1] for line in proxy.seen}
    assert hosts == {f"localhost:{company.port}", provider}
    assert {line.split()[0] for line in proxy.seen} == {"CONNECT"}


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy"])
def test_the_proxy_of_the_environment_and_its_exceptions(
    company: Company, tmp_path: Path, variable: str
) -> None:
    ca, tls = certificate(tmp_path / "far", "wrong name")
    with (
        http1_front(f"https://localhost:{company.port}", tls, company.authority.ca) as port,
        proxying(Proxy(to=port)) as proxy,
    ):
        environ = {variable: f"http://127.0.0.1:{proxy.port}"}
        where = ("--endpoint", "other.example.com", "--ca-cert", str(ca), *bundles(company))
        company.environ = environ
        done = company.deploy(*where, endpoint=False)
        # It gets through to the control plane, which wants a login.
        refused(company, done, "the control plane wants a login")
        assert proxy.seen[0] == "CONNECT other.example.com:443 HTTP/1.1"
        proxy.seen.clear()
        company.environ = {**environ, "NO_PROXY": "example.com"}
        done = company.deploy(*where, endpoint=False)
        refused(company, done, "no host is called 'other.example.com'")
        assert proxy.seen == []


def test_a_proxy_s_password_is_used_and_not_shown(company: Company) -> None:
    with proxying(Proxy(login=f"ali:{PASSWORD}")) as proxy:
        address = f"http://ali:{QUOTED}@127.0.0.1:{proxy.port}"
        done = company.deploy("--http-proxy", address, FLYTE_API_KEY=company.api_key)
        assert done.status == 0, done.err
        wrong = company.deploy(
            "--http-proxy", address.replace("sesame", "sesamy"), FLYTE_API_KEY=company.api_key
        )
    assert wrong.status == 1
    assert f"the proxy 127.0.0.1:{proxy.port} refuses: 407 Proxy Authentication Required" in wrong.err
    for text in (PASSWORD, QUOTED, base64.b64encode(f"ali:{PASSWORD}".encode()).decode(), "sesamy"):
        assert text not in done.all + wrong.all


@pytest.mark.parametrize("status", [403, 503])
def test_a_proxy_that_refuses(company: Company, status: int) -> None:
    with proxying(Proxy(refuses=status)) as proxy:
        done = company.deploy("--http-proxy", f"http://127.0.0.1:{proxy.port}")
        refused(company, done, f"the proxy 127.0.0.1:{proxy.port} refuses: {status} Not Here", "--http-proxy")


def test_a_proxy_that_is_not_there(company: Company) -> None:
    done = company.deploy("--http-proxy", "http://127.0.0.1:9")
    refused(company, done, "the proxy 127.0.0.1:9 cannot be reached")


def test_a_way_that_only_http_1_1_passes_is_taken_with_connect(
    company: Company, authority: Authority
) -> None:
    tls = Tls(authority.certificate, authority.key)
    with http1_front(f"https://localhost:{company.port}", tls, authority.ca) as port:
        where = ("--endpoint", f"https://localhost:{port}", "--ca-cert", str(authority.ca))
        done = company.deploy(*where, endpoint=False, FLYTE_API_KEY=company.api_key)
        assert done.status == 0, done.err
        again = company.deploy(*where, endpoint=False, FLYTE_API_KEY=company.api_key)
    assert company.registered() == ["tiny.double"]
    assert again.json["changes"] is False
    assert company.turned_away() == 0


def test_a_token_that_is_revoked_is_replaced_over_connect_too(company: Company, authority: Authority) -> None:
    from flyte_deploy.controlplane import ControlPlane, Endpoint
    from flyte_deploy.login import ClientSecret, Login
    from flyte_deploy.model import Target
    from flyte_deploy.tls import Network
    from tests.controlplane.server import QUICK

    target = Target("flytesnacks", "development")
    tls = Tls(authority.certificate, authority.key)
    names = [f"e.t{number}" for number in range(32)]
    with (
        http1_front(f"https://localhost:{company.port}", tls, authority.ca) as port,
        ControlPlane(
            Endpoint(f"localhost:{port}"),
            retry=QUICK,
            network=Network(authority.ca),
            login=Login(ClientSecret(CLIENT, SECRET, "the test")),
        ) as plane,
    ):
        assert plane.task_specs(target, names, "v1", 32) == {}
        company.provider.revoke()
        assert plane.task_specs(target, names, "v1", 32) == {}
    assert len(company.provider.requests) == 2


def test_plaintext_through_a_proxy_goes_as_http(company: Company, tmp_path: Path) -> None:
    from flyte_deploy.embedded import running

    with running(tmp_path / "plain") as plain, proxying(Proxy(connects=False)) as proxy:
        arguments = (
            "--http-proxy",
            f"http://127.0.0.1:{proxy.port}",
            "--endpoint",
            plain.endpoint,
            "--insecure",
        )
        done = company.deploy(*arguments, *bundles(company), endpoint=False)
        assert done.status == 0, done.err
        assert plain.tasks()
    assert all(line.startswith(f"POST http://{plain.endpoint}/") for line in proxy.seen)


def test_a_proxy_with_tls_of_its_own(company: Company, authority: Authority) -> None:
    tls = Tls(authority.certificate, authority.key)
    with proxying(Proxy(), tls) as proxy:
        done = company.deploy(
            "--http-proxy", f"https://localhost:{proxy.port}", FLYTE_API_KEY=company.api_key
        )
        assert done.status == 0, done.err
    assert company.registered() == ["tiny.double"]


def test_a_build_of_the_backend_is_followed_over_connect(open_company: Open, authority: Authority) -> None:
    company = open_company(worker=Stub(good))
    (company.project / "flow.py").write_text(
        "import flyte\n"
        'image = flyte.Image.from_debian_base(name="one").with_commands(["echo one"])\n'
        'env = flyte.TaskEnvironment(name="tiny", image=image)\n'
        "@env.task\nasync def double(x: int) -> int: ...\n"
    )
    # A proxy with TLS of its own is none for gRPC.
    with proxying(Proxy(), Tls(authority.certificate, authority.key)) as proxy:
        way = ("--http-proxy", f"https://localhost:{proxy.port}", "--image-builder", "remote")
        done = company.deploy(*way, FLYTE_API_KEY=company.api_key)
        assert done.status == 0, done.err
    assert "tiny.double" in company.registered()
    assert company.turned_away() == 0
