"""Every way to log in, through the command line, over TLS, against a control plane that demands it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.cloud.identity import Identity
from tests.login.conftest import FLYTE, Company, Open
from tests.login.provider import ASSERTION, CLIENT, EXCHANGE, SECRET, Provider

TASKS = ["tiny.double"]


def printing(folder: Path, text: str) -> list[str]:
    """A command that prints a text."""
    script = folder / "print.py"
    script.write_text(f"print({text!r})\n")
    return [sys.executable, str(script)]


def test_an_api_key(company: Company) -> None:
    done = company.deploy(FLYTE_API_KEY=company.api_key)
    assert done.status == 0, done.err
    assert company.registered() == TASKS
    assert company.turned_away() == 0
    assert [request["grant_type"] for request in company.provider.requests] == ["client_credentials"]
    assert len(set(company.provider.shown)) == 1


def test_an_api_key_in_a_flag(company: Company) -> None:
    done = company.deploy("--api-key", company.api_key)
    assert done.status == 0, done.err


@pytest.mark.parametrize("header", ["authorization", "flyte-authorization"])
def test_a_client_s_secret_in_a_variable(open_company: Open, header: str) -> None:
    provider = Provider(scopes="all offline", audience="https://flyte.example.com")
    company = open_company(
        provider, header=header, scopes=["all", "offline"], audience="https://flyte.example.com"
    )
    company.config(f"authType: ClientSecret\nclientId: {CLIENT}\nclientSecretEnvVar: OF_THE_CLIENT")
    done = company.deploy(endpoint=False, OF_THE_CLIENT=SECRET)
    assert done.status == 0, done.err
    assert company.registered() == TASKS
    assert company.turned_away() == 0


def test_a_client_s_secret_in_a_file_and_scopes_of_ones_own(open_company: Open) -> None:
    company = open_company(Provider(scopes="deploy"), scopes=["all"])
    (company.folder / "secret").write_text(f"{SECRET}\n")
    done = company.deploy(
        *("--client-id", CLIENT, "--client-secret-file", str(company.folder / "secret")),
        *("--scopes", "deploy"),
    )
    assert done.status == 0, done.err
    assert company.registered() == TASKS


@pytest.mark.parametrize("shape", ["yaml", "json", "shell"])
def test_an_external_command(open_company: Open, shape: str) -> None:
    company = open_company(accepts=lambda token: token == "a-token-of-the-command", token_endpoint="")
    command = printing(company.folder, "a-token-of-the-command")
    environ = {}
    if shape == "yaml":
        company.config(f"authType: ExternalCommand\ncommand: {json.dumps(command)}")
    else:
        company.config("authType: externalcommand")
        environ["FLYTE_AUTH_COMMAND"] = json.dumps(command) if shape == "json" else " ".join(command)
    done = company.deploy(endpoint=False, **environ)
    assert done.status == 0, done.err
    assert company.registered() == TASKS
    assert "a-token-of-the-command" not in done.all


def test_a_token_of_a_proxy_comes_beside_the_login(open_company: Open) -> None:
    company = open_company(proxy=lambda token: token == "a-token-of-the-proxy")
    command = printing(company.folder, "a-token-of-the-proxy")
    done = company.deploy("--proxy-command", json.dumps(command), FLYTE_API_KEY=company.api_key)
    assert done.status == 0, done.err
    assert company.registered() == TASKS
    # The provider is at another place than the control plane's, and does not get it.
    assert all("proxy-authorization" not in headers for headers in company.provider.headers)


@pytest.mark.parametrize("kind", ["GitHub", "GitHubAssertion"])
def test_github_s_identity_token(open_company: Open, identity: Identity, kind: str) -> None:
    provider = Provider(identity=identity, audience_of_identity="flyte")
    company = open_company(provider)
    done = company.run_as(identity, "--auth-type", kind, "--client-id", CLIENT, "--github-audience", "flyte")
    assert done.status == 0, done.err
    assert company.registered() == TASKS
    (asked,) = provider.requests
    if kind == "GitHub":
        assert asked["grant_type"] == EXCHANGE
    else:
        assert asked["client_assertion_type"] == ASSERTION
    assert all(token not in done.all for token in identity.issued)


def test_the_audience_of_github_s_token_is_the_control_plane_s(
    open_company: Open, identity: Identity
) -> None:
    provider = Provider(identity=identity, audience_of_identity="https://flyte", audience="https://flyte")
    company = open_company(provider, audience="https://flyte")
    done = company.run_as(identity, "--auth-type", "GitHub")
    assert done.status == 0, done.err


def test_a_control_plane_that_asks_for_no_login_gets_none(open_company: Open) -> None:
    company = open_company(accepts=lambda token: not token, token_endpoint="")
    done = company.deploy(FLYTE_API_KEY=company.api_key)
    assert done.status == 0, done.err
    assert company.provider.requests == []


@pytest.mark.parametrize("way", ["key", "secret", "command"])
def test_the_unmodified_flyte_command_logs_in_to_the_same_servers(open_company: Open, way: str) -> None:
    company = open_company(header="flyte-authorization" if way != "command" else "authorization")
    # Its client of the token endpoint knows no other way to an authority.
    company.environ = {"SSL_CERT_FILE": str(company.authority.ca)}
    environ = {}
    if way == "key":
        company.config("authType: Pkce")
        environ["FLYTE_API_KEY"] = company.api_key
    elif way == "secret":
        company.config(f"authType: ClientSecret\nclientId: {CLIENT}\nclientSecretEnvVar: OF_THE_CLIENT")
        environ["OF_THE_CLIENT"] = SECRET
    else:
        company.provider.issued["a-token-of-the-command"] = float("inf")
        command = printing(company.folder, "a-token-of-the-command")
        company.config(f"authType: ExternalCommand\ncommand: {json.dumps(command)}")
    endpoint = ("--endpoint", company.endpoint) if way == "key" else ()
    target = ("-p", "flytesnacks", "-d", "development")
    theirs = company.run(FLYTE, *endpoint, "-of", "json-raw", "get", "project", **environ)
    assert theirs.status == 0, theirs.all
    assert "flytesnacks" in theirs.out
    ours = company.deploy(
        *(("--endpoint", company.endpoint) if way == "key" else ()), endpoint=False, **environ
    )
    assert ours.status == 0, ours.err
    listed = company.run(FLYTE, *endpoint, "-of", "json-raw", "get", "task", *target, **environ)
    assert listed.status == 0, listed.all
    assert "tiny.double" in listed.out
