"""GitHub's identity tokens."""

from __future__ import annotations

import pytest

from flyte_deploy.cloud.github_oidc import claims, github_id_token, telling
from flyte_deploy.errors import DeployError

from .identity import REQUEST_TOKEN, Identity


def quickly(seconds: float) -> None:
    assert 0 < seconds <= 20


def test_a_job_gets_a_token_for_an_audience(identity: Identity) -> None:
    token = github_id_token("https://one.example/a b&c", identity.environ())
    assert claims(token)["aud"] == "https://one.example/a b&c"
    assert claims(token)["sub"] == identity.claims["sub"]
    assert f"sub: {identity.claims['sub']}" in telling(token)
    assert identity.requests[0][2]["api-version"] == "2.0"


@pytest.mark.parametrize("missing", ["ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"])
def test_a_job_without_the_permission_is_told_to_ask_for_it(identity: Identity, missing: str) -> None:
    environ = {**identity.environ(), missing: ""}
    with pytest.raises(DeployError, match="id-token: write") as caught:
        github_id_token("audience", environ)
    assert "fork" not in str(caught.value)
    with pytest.raises(DeployError, match="forks never"):
        github_id_token("audience", {**environ, "GITHUB_EVENT_NAME": "pull_request"})
    assert identity.requests == []


def test_outside_of_github_there_is_no_such_permission() -> None:
    with pytest.raises(DeployError, match="no GitHub job here") as caught:
        github_id_token("audience", {})
    assert "id-token" not in str(caught.value)


def test_a_service_that_is_broken_for_a_moment_is_asked_again(identity: Identity) -> None:
    identity.faults = [503, 429, 500]
    assert claims(github_id_token("a", identity.environ(), pause=quickly))
    assert len(identity.requests) == 4


def test_what_it_refuses_is_said_without_the_secret(identity: Identity) -> None:
    environ = {**identity.environ(), "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "expired-secret"}
    with pytest.raises(DeployError, match="answered 401") as caught:
        github_id_token("a", environ, pause=quickly)
    assert len(identity.requests) == 1
    assert "expired-secret" not in str(caught.value)
    assert "expired-secret" not in repr(caught.value.__cause__)
    identity.faults = [503] * 9
    with pytest.raises(DeployError, match="answered 503") as caught:
        github_id_token("a", identity.environ(), pause=quickly)
    assert REQUEST_TOKEN not in str(caught.value)


def test_nobody_answers() -> None:
    environ = {
        "ACTIONS_ID_TOKEN_REQUEST_URL": "http://127.0.0.1:1/x?signature=hidden",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "t",
    }
    with pytest.raises(DeployError, match="out of reach") as caught:
        github_id_token("a", environ, pause=quickly)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "a.b", "a.b.c", "a.!!.c", "a.W10.c", "a." + "9" * 9 + ".c"])
def test_what_is_no_token_has_no_claims(text: str) -> None:
    assert claims(text) == {}
    assert telling(text) == ()
