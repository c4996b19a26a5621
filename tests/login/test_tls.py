"""TLS: whom it trusts, and what is said where it does not come about."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flyte_deploy.embedded import Embedded, Tls, running
from tests.login.conftest import Company, Open
from tests.login.fronts import Kind, certificate, http1_front, web_page
from tests.login.test_refusals import refused
from tests.registries.servers import Authority
from tests.stores import servers

Secured = Callable[[Kind], tuple[Path, Embedded]]


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Secured]:
    """Starts a control plane with a certificate: `secured(kind)` gives its authority and itself."""
    with contextlib.ExitStack() as stack:

        def start(kind: Kind) -> tuple[Path, Embedded]:
            ca, tls = certificate(tmp_path / "certificates", kind)
            return ca, stack.enter_context(running(tmp_path / "secured", tls=tls))

        yield start


def at(server: Embedded) -> str:
    return f"https://localhost:{server.endpoint.rpartition(':')[2]}"


@pytest.mark.parametrize("way", ["flag", "FLYTE_ADMIN_CACERTFILEPATH", "SSL_CERT_FILE", "config.yaml"])
def test_an_authority_that_is_named(company: Company, secured: Secured, way: str) -> None:
    ca, server = secured("good")
    arguments, environ = ["--endpoint", at(server)], {}
    if way == "flag":
        arguments += ["--ca-cert", str(ca)]
    elif way == "config.yaml":
        (company.project / "config.yaml").write_text(f"admin:\n  caCertFilePath: {ca}\n")
    else:
        environ[way] = str(ca)
    done = company.deploy(*arguments, endpoint=False, **environ)
    assert done.status == 0, done.err
    assert [task.name for task in server.tasks()] == ["tiny.double"]
    assert "Warning" not in done.err


@pytest.mark.parametrize(
    ("kind", "said", "mend"),
    [
        ("good", "unable to get local issuer certificate", "--ca-cert"),
        ("self-signed", "self-signed certificate", "--ca-cert"),
        ("expired", "certificate has expired", "the clock of this machine is wrong"),
        ("wrong name", "Hostname mismatch", "by the name that its certificate is for"),
    ],
)
def test_a_certificate_that_is_not_trusted(
    company: Company, secured: Secured, kind: Kind, said: str, mend: str
) -> None:
    ca, server = secured(kind)
    known = ("--ca-cert", str(ca)) if kind in ("expired", "wrong name") else ()
    done = company.deploy("--endpoint", at(server), *known, endpoint=False)
    refused(company, done, "its certificate is not trusted", said, mend)
    assert server.calls() == []


@pytest.mark.parametrize("kind", ["good", "self-signed", "expired", "wrong name"])
def test_any_certificate_where_somebody_insists_and_it_is_said_loudly(
    company: Company, secured: Secured, kind: Kind
) -> None:
    _, server = secured(kind)
    # What the storage shows is looked at all the same: the bundle goes into a folder.
    store = f"file://{company.folder}/bundles"
    arguments = ("--endpoint", at(server), "--bundle-store", store, "--insecure-skip-verify")
    done = company.deploy(*arguments, endpoint=False)
    assert done.status == 0, done.err
    assert "Warning: ANY certificate is taken" in done.err
    assert [task.name for task in server.tasks()] == ["tiny.double"]


def test_an_authority_that_is_named_is_looked_at_in_any_case(company: Company, secured: Secured) -> None:
    ca, server = secured("wrong name")
    arguments = ("--endpoint", at(server), "--ca-cert", str(ca), "--insecure-skip-verify")
    refused(company, company.deploy(*arguments, endpoint=False), "Hostname mismatch")


def test_plaintext_to_tls_and_tls_to_plaintext(company: Company, secured: Secured, tmp_path: Path) -> None:
    _, server = secured("good")
    done = company.deploy("--endpoint", server.endpoint, "--insecure", endpoint=False)
    refused(company, done, "the server speaks TLS, and was spoken to in plaintext", "--insecure")
    with running(tmp_path / "plain") as plain:
        done = company.deploy("--endpoint", f"https://{plain.endpoint}", endpoint=False)
        refused(company, done, "the server speaks plaintext, and TLS was expected", "--insecure")


def test_a_file_of_authorities_that_is_none(company: Company) -> None:
    (company.folder / "none.pem").write_text("nothing")
    done = company.deploy("--ca-cert", str(company.folder / "none.pem"))
    refused(company, done, "holds no certificate", status=2)


def test_a_token_endpoint_whose_authority_is_unknown(open_company: Open, tmp_path: Path) -> None:
    ca, tls = certificate(tmp_path / "other", "good")
    company = open_company(tls=tls)
    arguments = ("--endpoint", company.endpoint, "--ca-cert", str(ca))
    done = company.deploy(*arguments, endpoint=False, FLYTE_API_KEY=company.api_key)
    refused(company, done, "the token endpoint is out of reach", "CERTIFICATE_VERIFY_FAILED", "--ca-cert")


@pytest.mark.parametrize("status", [200, 403, 502])
@pytest.mark.parametrize("secure", [True, False])
def test_a_server_that_answers_html(
    company: Company, authority: Authority, tmp_path: Path, status: int, secure: bool
) -> None:
    ca, tls = certificate(tmp_path / "page", "good")
    with web_page(tls if secure else None, status) as port:
        where = ("--endpoint", f"localhost:{port}")
        more = ("--ca-cert", str(ca)) if secure else ("--insecure",)
        done = company.deploy(*where, *more, endpoint=False)
    refused(company, done, "no control plane, but a web server, a proxy or a login page")


def test_the_same_authority_counts_for_a_store(
    company: Company, authority: Authority, tmp_path: Path
) -> None:
    tls = Tls(authority.certificate, authority.key)
    keys = {"AWS_ACCESS_KEY_ID": servers.ACCESS, "AWS_SECRET_ACCESS_KEY": servers.SECRET}
    with (
        servers.s3_server(tmp_path / "s3") as server,
        http1_front(f"http://127.0.0.1:{server.port}", tls) as port,
    ):
        server.client().create_bucket(Bucket="bundles")
        place = ("--bundle-store", "s3://bundles", "--s3-endpoint", f"https://localhost:{port}")
        company.environ = {**keys, "FLYTE_API_KEY": company.api_key}
        done = company.deploy(*place, "--s3-region", servers.REGION)
        assert done.status == 0, done.err
        kept = [one["Key"] for one in server.client().list_objects_v2(Bucket="bundles")["Contents"]]
        assert len([key for key in kept if key.endswith(".tar.gz")]) == 1
