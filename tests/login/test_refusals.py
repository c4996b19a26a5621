"""Logins that cannot be: one message each, a status other than 0, nothing registered, no secret shown."""

from __future__ import annotations

import base64
import json
import subprocess
from typing import Any

import pytest

from tests.cloud.identity import Identity
from tests.login.conftest import FLYTE_DEPLOY, Company, Open, Result
from tests.login.provider import CLIENT, SECRET, Provider
from tests.login.test_logins import printing


def key(*parts: str) -> str:
    return base64.b64encode(":".join(parts).encode()).decode()


def refused(company: Company, done: Result, *words: str, status: int = 1) -> Any:
    """The one message of a run that failed, with words that are in it."""
    assert done.status == status, done.all
    assert done.err.count("Error: ") == 1, done.err
    assert "Traceback" not in done.all
    for word in words:
        assert word in done.err, done.err
    assert company.registered() == []
    return done.json["error"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no key at all!", "it is not Base64 of a text"),
        (key("localhost", CLIENT, SECRET), "it has 3 parts"),
        (key("dns:///localhost", CLIENT, SECRET, ""), "its endpoint holds a scheme"),
        (key("https://localhost:8443", CLIENT, SECRET, ""), "its endpoint holds a scheme"),
        (key("localhost:8443", CLIENT, SECRET, "org"), "its endpoint holds a port"),
        (key("localhost", CLIENT, "", ""), "is empty"),
    ],
)
def test_what_is_no_api_key(company: Company, text: str, said: str) -> None:
    done = company.deploy(FLYTE_API_KEY=text)
    error = refused(company, done, "the API key cannot be used", said, status=2)
    assert error["where"] == "environment FLYTE_API_KEY"
    assert text not in done.all
    assert company.server.calls() == []


def test_an_api_key_for_another_endpoint(company: Company) -> None:
    done = company.deploy(FLYTE_API_KEY=key("other.example.com", CLIENT, SECRET, ""))
    refused(company, done, "the API key is one for other.example.com", "flag --endpoint", status=2)
    assert company.server.calls() == []
    assert company.provider.requests == []


def test_an_api_key_comes_before_the_endpoint_of_a_file(company: Company) -> None:
    company.config("insecure: true")
    shown = company.run(
        FLYTE_DEPLOY, "plan", "--show-settings", FLYTE_API_KEY=key("other.example.com", "c", SECRET, "acme")
    )
    rows = {line.split()[0]: line for line in shown.out.splitlines() if line}
    assert "other.example.com" in rows["endpoint"]
    assert "the API key (environment FLYTE_API_KEY)" in rows["endpoint"]
    assert "false" in rows["insecure"]
    assert "acme" in rows["org"]
    assert "***" in rows["api_key"]


@pytest.mark.parametrize("what", ["unknown client", "wrong secret"])
def test_credentials_that_are_wrong_or_revoked(company: Company, what: str) -> None:
    company.provider.clients = {} if what == "unknown client" else {CLIENT: "another"}
    done = company.deploy(FLYTE_API_KEY=company.api_key)
    refused(
        company,
        done,
        f"does not take the credentials of client '{CLIENT}'",
        "invalid_client",
        "the API key (environment FLYTE_API_KEY): wrong, expired or revoked",
    )
    assert len(company.provider.requests) == 1


def test_a_scope_that_is_not_given(open_company: Open) -> None:
    company = open_company(Provider(scopes="other"))
    refused(company, company.deploy(FLYTE_API_KEY=company.api_key), "invalid_scope", "--scopes")


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, "<html>Please log in</html>", "answers 200 with an HTML page"),
        (403, "<html>Forbidden</html>", "answers 403 with an HTML page"),
        (200, "token=1", "something that is no JSON"),
        (200, '{"access_token": "a-mac-token", "token_type": "mac"}', "a token of the type 'mac'"),
    ],
)
def test_a_provider_that_answers_something_else(company: Company, status: int, body: str, said: str) -> None:
    company.provider.faults = [(status, body)]
    refused(company, company.deploy(FLYTE_API_KEY=company.api_key), said)


def test_a_token_endpoint_in_plaintext_gets_no_secret(open_company: Open) -> None:
    company = open_company(token_endpoint="http://login.example.com/token")
    refused(company, company.deploy(FLYTE_API_KEY=company.api_key), "it has no TLS")


def test_no_credentials_name_the_places_that_were_looked_at(company: Company) -> None:
    error = refused(company, company.deploy(), "the control plane wants a login", "In CI use an API key")
    places = [line.strip().partition(":")[0] for line in error["details"][1:]]
    assert places == [
        "the API key (--api-key, FLYTE_API_KEY)",
        "the client's secret in a variable (--client-secret-env)",
        "the client's secret in a file (--client-secret-file)",
    ]


@pytest.mark.parametrize("kind", ["Pkce", "DeviceFlow", "Passthrough"])
def test_a_login_that_needs_a_person(company: Company, kind: str) -> None:
    company.config(f"authType: {kind}")
    done = company.deploy(endpoint=False)
    refused(company, done, f"{kind} needs", "In CI use an API key", "config.yaml:4 (admin.authType)")


def test_a_type_that_there_is_not(company: Company) -> None:
    refused(company, company.deploy("--auth-type", "Kerberos"), "ExternalCommand", status=2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--auth-type", "ClientSecret", "--client-id", CLIENT), "there is no client's secret"),
        (("--client-id", CLIENT, "--client-secret-env", "NOT_SET", "--auth-type", "ClientSecret"), "NOT_SET"),
        (("--client-secret-env", "SET"), "no client to log in as"),
        (("--auth-type", "ExternalCommand"), "the external command to log in with is not named"),
        (("--auth-type", "GitHubAssertion"), "vouches for a client"),
        (("--auth-type", "ExternalCommand", "--auth-command", "print 'unended"), "cannot be understood"),
    ],
)
def test_what_is_missing_for_a_login(company: Company, arguments: tuple[str, ...], said: str) -> None:
    refused(company, company.deploy(*arguments, SET=SECRET), said, status=2)
    assert company.server.calls() == []


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("print('half-a-token'); raise SystemExit('ask again')", "failed with status 1: ask again"),
        ("pass", "printed no token"),
        ("print('two', 'words-of-a-token')", "printed something else than a token alone"),
    ],
)
def test_a_command_that_fails(company: Company, script: str, said: str) -> None:
    command = printing(company.folder, "")
    (company.folder / "print.py").write_text(script)
    done = company.deploy(
        "--auth-type", "ExternalCommand", "--auth-command", json.dumps([*command, "s3cret-word"])
    )
    refused(company, done, said, "flag --auth-command")
    for text in ("half-a-token", "words-of-a-token", "s3cret-word"):
        assert text not in done.all


def test_a_command_that_is_not_there(company: Company) -> None:
    done = company.deploy("--auth-type", "ExternalCommand", "--auth-command", "/not/there")
    refused(company, done, "'/not/there', cannot be started")


def test_a_token_that_the_control_plane_does_not_accept(company: Company) -> None:
    command = printing(company.folder, "a-token-of-another")
    done = company.deploy("--auth-type", "ExternalCommand", "--auth-command", json.dumps(command))
    refused(company, done, "does not accept the token", "the clocks")
    assert "a-token-of-another" not in done.all


def test_a_job_that_may_not_have_an_identity(company: Company) -> None:
    done = company.deploy("--auth-type", "GitHub", GITHUB_ACTIONS="true")
    refused(company, done, "may not ask GitHub for an identity token", "id-token: write")


def test_a_provider_that_does_not_trust_this_repository(open_company: Open, identity: Identity) -> None:
    identity.claims["repository"] = "octo-org/stranger"
    company = open_company(Provider(identity=identity, audience_of_identity="flyte"))
    done = company.run_as(identity, "--auth-type", "GitHub", "--github-audience", "flyte")
    error = refused(company, done, "does not take GitHub's identity token", "no trust in this repository")
    assert "repository: octo-org/stranger" in error["details"]
    assert any(line.startswith("sub: repo:octo-org") for line in error["details"])


def test_a_clock_that_is_wrong(open_company: Open, identity: Identity) -> None:
    company = open_company(Provider(identity=identity, audience_of_identity="flyte", skew=-3600))
    done = company.run_as(identity, "--auth-type", "GitHub", "--github-audience", "flyte")
    refused(company, done, "not yet valid", "A clock may be wrong")


def test_in_plaintext_nobody_logs_in_and_it_is_said(open_company: Open, tmp_path: Any) -> None:
    from flyte_deploy.embedded import running

    company = open_company()
    with running(tmp_path / "plain") as plain:
        done = company.deploy(
            *("--endpoint", plain.endpoint, "--insecure"), endpoint=False, FLYTE_API_KEY=company.api_key
        )
        assert done.status == 0, done.err
        assert "Warning: nobody logs in to" in done.err
        assert plain.tasks()
    assert company.provider.requests == []


def test_plaintext_that_wants_a_login(open_company: Open, tmp_path: Any) -> None:
    from flyte_deploy.embedded import LoginSide, running

    company = open_company()
    with running(tmp_path / "plain", login=LoginSide(accepts=lambda token: False)) as plain:
        done = company.deploy("--endpoint", plain.endpoint, "--insecure", endpoint=False)
    refused(company, done, "wants a login", "Over plaintext nobody logs in")


def test_the_project_s_code_sees_no_credentials_of_the_deployer(company: Company) -> None:
    flow = (company.project / "flow.py").read_text()
    (company.project / "flow.py").write_text(
        f"import json, os\nprint('sees', json.dumps(dict(os.environ)))\n{flow}"
    )
    done = company.deploy(
        *("--client-id", CLIENT, "--client-secret-env", "OF_THE_CLIENT"), OF_THE_CLIENT=SECRET
    )
    assert done.status == 0, done.err
    assert "sees" in done.err
    assert "OF_THE_CLIENT" not in done.err


def test_no_child_and_no_verbose_output_shows_a_secret(company: Company) -> None:
    company.provider.clients = {}
    done = company.deploy(
        "-v", "--client-id", CLIENT, "--client-secret-env", "OF_THE_CLIENT", OF_THE_CLIENT=SECRET
    )
    assert done.status == 1
    assert "Traceback" in done.err
    basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
    assert basic not in done.all
    assert (
        subprocess.run(["grep", "-rlF", SECRET, company.folder], capture_output=True, check=False).stdout
        == b""
    )
