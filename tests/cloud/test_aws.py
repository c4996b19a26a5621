"""A role of AWS that trusts GitHub, over a real HTTP exchange, and what it is used for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flyte_deploy.cloud import CloudSettings
from flyte_deploy.cloud.aws import s3, session_name
from flyte_deploy.errors import DeployError
from flyte_deploy.stores import s3_errors

from .identity import REQUEST_TOKEN, ROLE, Identity


@pytest.fixture
def job(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> Iterator[Identity]:
    for name, value in identity.environ().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"{identity.address}/sts")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    yield identity
    s3.cache_clear()


def credentials(role: str = ROLE) -> Any:
    client = s3(CloudSettings(aws_role=role)).client
    return client._get_credentials().get_frozen_credentials()


@pytest.mark.parametrize("subject", ["repo:octo-org/octo-repo", "repo:octo-org@65/octo-repo@74"])
def test_a_job_takes_on_a_role_that_trusts_it(job: Identity, subject: str) -> None:
    job.claims["sub"] = f"{subject}:ref:refs/heads/main"
    got = credentials()
    assert got.secret_key in job.issued
    assert got.token in job.issued
    (asked, taken) = job.requests
    assert asked[2]["audience"] == "sts.amazonaws.com"
    assert taken[2]["RoleArn"] == ROLE
    assert taken[2]["RoleSessionName"] == "octo-org.octo-repo@1234567890-2"
    assert "--aws-role" in s3(CloudSettings(aws_role=ROLE)).source


def test_nothing_is_asked_before_it_is_needed(job: Identity) -> None:
    assert s3(CloudSettings(aws_role=ROLE)).sources == ("--aws-role, with GitHub's identity token",)
    assert job.requests == []


def test_the_role_is_renewed_before_it_expires(job: Identity) -> None:
    job.lifetime = 60
    first, second = credentials(), credentials()
    assert first.secret_key != second.secret_key
    job.lifetime = 3600
    credentials()
    before = len(job.requests)
    assert credentials().secret_key == credentials().secret_key
    assert len(job.requests) == before


def test_a_role_that_does_not_trust_this_repository_is_told_with_the_claims(job: Identity) -> None:
    job.claims["sub"] = "repo:octo-org@65/octo-repo@74:pull_request"
    with pytest.raises(DeployError, match="does not trust this job") as caught:
        credentials()
    text = str(caught.value)
    assert "sub: repo:octo-org@65/octo-repo@74:pull_request" in text
    assert "aud: sts.amazonaws.com" in text
    assert "repo:octo-org/octo-repo:pull_request" in text
    assert ROLE in text
    for secret in (*job.issued, REQUEST_TOKEN):
        assert secret not in text
        assert secret not in repr(caught.value.__context__)


def test_the_older_form_is_only_named_where_the_newer_one_is_used(job: Identity) -> None:
    job.claims["sub"] = "repo:octo-org/other:ref:refs/heads/main"
    with pytest.raises(DeployError) as caught:
        credentials()
    assert "older form" not in str(caught.value)


def test_a_role_that_is_not_there(job: Identity) -> None:
    with pytest.raises(DeployError, match="does not trust this job"):
        credentials(ROLE + "-other")


def test_a_job_that_may_not_ask(job: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACTIONS_ID_TOKEN_REQUEST_URL")
    with pytest.raises(DeployError, match="id-token: write"):
        credentials()


@pytest.mark.parametrize("skew", [7200, -7200])
def test_a_clock_that_is_wrong(job: Identity, skew: int) -> None:
    job.skew = skew
    with pytest.raises(DeployError, match="clock"):
        credentials()


def test_credentials_that_have_expired_when_they_come(job: Identity) -> None:
    job.lifetime = -60
    with pytest.raises(RuntimeError) as caught:
        credentials()
    error = s3_errors.explained(caught.value, s3(CloudSettings(aws_role=ROLE)), "s3://b", "read")
    assert "by this machine's clock" in str(error)


def test_a_token_service_that_is_broken_for_a_moment_or_for_good(job: Identity) -> None:
    assert credentials()
    s3.cache_clear()
    job.requests.clear()
    role = s3(CloudSettings(aws_role=ROLE)).client._get_credentials()
    job.faults = [503, 503]
    assert role.get_frozen_credentials().token in job.issued


@pytest.mark.parametrize(
    ("repository", "run", "name"),
    [
        ("o/r", "1", "o.r@1-3"),
        ("o" * 39 + "/" + "r" * 100, "12345678901", "o" * 39 + "." + "r" * 10 + "@12345678901-3"),
        ("o/r p\u00e9", "", "o.r.p."),
        ("", "", "flyte-deploy"),
    ],
)
def test_the_session_is_named_after_repository_and_run(repository: str, run: str, name: str) -> None:
    environ = {"GITHUB_REPOSITORY": repository, "GITHUB_RUN_ID": run, "GITHUB_RUN_ATTEMPT": "3"}
    assert session_name(environ) == name
    assert 2 <= len(name) <= 64
