"""Logins: Docker's configuration as Docker reads it, and those of GitHub, AWS and Google."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from flyte_deploy.errors import DeployError
from flyte_deploy.images.auth import HUB_KEY, Credentials, aws, docker_auth, github, given, google
from flyte_deploy.images.docker_config import docker_config
from flyte_deploy.images.logins import credentials_of
from flyte_deploy.settings import Settings
from tests.registries.servers import Reply, Seen, helper, says, server

ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def config(folder: Path, **content: Any) -> dict[str, str]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(content))
    return {"DOCKER_CONFIG": str(folder), "PATH": "/usr/bin:/bin"}


def pair(environ: Mapping[str, str], host: str) -> tuple[str, str] | None:
    login = docker_config(environ)(host)
    return (login.user, login.password) if login else None


def test_logins_of_the_file(tmp_path: Path) -> None:
    auths = {
        "plain.example.com": {"auth": encoded("ali:a:b")},
        "https://scheme.example.com/v2/": {"auth": encoded("bo:c")},
        "old.example.com": {"username": "cy", "password": "d"},
        HUB_KEY: {"auth": encoded("hub:e")},
        "empty.example.com": {},
    }
    environ = config(tmp_path, auths=auths)
    assert pair(environ, "plain.example.com") == ("ali", "a:b")
    assert pair(environ, "scheme.example.com") == ("bo", "c")
    assert pair(environ, "old.example.com") == ("cy", "d")
    assert pair(environ, "docker.io") == ("hub", "e")
    assert pair(environ, "empty.example.com") is None
    assert pair(environ, "ghcr.io") is None


def test_the_variable_comes_before_the_file(tmp_path: Path) -> None:
    environ = config(
        tmp_path,
        auths={"a.example.com": {"auth": encoded("file:1")}, "b.example.com": {"auth": encoded("file:2")}},
    )
    environ["DOCKER_AUTH_CONFIG"] = json.dumps({"auths": {"a.example.com": {"auth": encoded("variable:3")}}})
    assert pair(environ, "a.example.com") == ("variable", "3")
    assert pair(environ, "b.example.com") == ("file", "2")


def test_the_file_is_found_in_the_home(tmp_path: Path) -> None:
    config(tmp_path / ".docker", auths={"a.example.com": {"auth": encoded("home:1")}})
    assert pair({"HOME": str(tmp_path)}, "a.example.com") == ("home", "1")
    assert pair({"HOME": str(tmp_path / "elsewhere")}, "a.example.com") is None


def test_a_helper_of_a_host_comes_before_that_of_all(tmp_path: Path) -> None:
    environ = config(tmp_path, credsStore="all", credHelpers={"a.example.com": "one"})
    bin_folder = helper(tmp_path / "bin", "one", says("one", "of $host"))
    helper(bin_folder, "all", 'test "$host" = https://index.docker.io/v1/ && ' + says("all", "hub's"))
    environ["PATH"] = f"{bin_folder}:{environ['PATH']}"
    assert pair(environ, "a.example.com") == ("one", "of $host")
    assert pair(environ, "docker.io") == ("all", "hub's")


def test_a_helper_that_knows_nothing_leaves_it_to_the_file(tmp_path: Path) -> None:
    environ = config(tmp_path, credsStore="none", auths={"a.example.com": {"auth": encoded("file:1")}})
    environ["PATH"] = (
        f"{helper(tmp_path / 'bin', 'none', 'echo credentials not found in native keychain; exit 1')}:/bin"
    )
    assert pair(environ, "a.example.com") == ("file", "1")
    assert pair(environ, "b.example.com") is None


def test_a_helper_may_answer_with_an_identity_token(tmp_path: Path) -> None:
    environ = config(tmp_path, credHelpers={"a.example.com": "token"})
    environ["PATH"] = f"{helper(tmp_path / 'bin', 'token', says('<token>', 'the-token'))}:/bin"
    login = docker_config(environ)("a.example.com")
    assert login is not None
    assert (login.user, login.password, login.token) == ("", "", "the-token")
    assert "the-token" not in repr(login)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo the keychain is locked; exit 1", "failed: the keychain is locked"),
        ("exit 3", "failed with status 3"),
        ("echo no JSON", "answers no credentials"),
    ],
)
def test_a_helper_that_fails_matters_where_the_registry_refuses(
    tmp_path: Path, script: str, said: str
) -> None:
    environ = config(tmp_path, credsStore="bad")
    environ["PATH"] = f"{helper(tmp_path / 'bin', 'bad', script)}:/bin"
    credentials = Credentials([docker_config(environ), github({"GITHUB_TOKEN": "t"})])
    assert credentials.of("a.example.com") is None
    assert said in credentials.problems("a.example.com")[0]
    login = credentials.of("ghcr.io")
    assert login is not None, "what comes later is asked all the same"
    assert login.password == "t"


def test_a_helper_that_is_not_installed_is_named(tmp_path: Path) -> None:
    credentials = Credentials([docker_config(config(tmp_path, credsStore="desktop"))])
    assert credentials.of("a.example.com") is None
    assert "docker-credential-desktop, which is not installed" in credentials.problems("a.example.com")[0]


def test_a_broken_configuration_is_told_without_its_text(tmp_path: Path) -> None:
    environ = config(tmp_path)
    (tmp_path / "config.json").write_text('{"auths": {"a.example.com": {"password": "hunter2"')
    credentials = Credentials([docker_config(environ)])
    assert credentials.of("a.example.com") is None
    assert "no JSON object" in credentials.problems("a.example.com")[0]
    assert "hunter2" not in credentials.problems("a.example.com")[0]


def test_registry_auth_comes_first(tmp_path: Path) -> None:
    environ = config(tmp_path, auths={"a.example.com:5000": {"auth": encoded("file:1")}})
    environ |= {"ONE": "from the environment", "TWO": "of the hub"}
    settings = Settings(registry_auth=("a.example.com:5000=robot$x:ONE", "docker.io=hub:TWO"))
    known: list[str] = []
    credentials = credentials_of(settings, environ, on_secret=known.append)
    login = credentials.of("a.example.com:5000")
    assert login is not None
    assert (login.user, login.password) == ("robot$x", "from the environment")
    assert docker_auth(["a.example.com:5000", "docker.io", "none.example.com"], credentials) == {
        "auths": {
            "a.example.com:5000": {"auth": encoded("robot$x:from the environment")},
            HUB_KEY: {"auth": encoded("hub:of the hub")},
        }
    }
    assert {"from the environment", "of the hub", encoded("hub:of the hub")} <= set(known)


@pytest.mark.parametrize(
    "entry", ["a.example.com", "a.example.com=ali", "a.example.com=ali:hunter-2", "=a:B"]
)
def test_registry_auth_that_is_none(entry: str) -> None:
    with pytest.raises(DeployError, match="is not HOST=USER:VARIABLE") as told:
        given([entry], {})
    assert told.value.usage
    assert "hunter" not in str(told.value)


def test_registry_auth_whose_variable_is_not_set() -> None:
    with pytest.raises(DeployError, match="the environment variable TOKEN is not set"):
        given(["a.example.com=ali:TOKEN"], {"TOKEN": ""})


def test_githubs_token_is_for_its_own_registry_alone() -> None:
    source = github({"GITHUB_TOKEN": "t", "GITHUB_ACTOR": "octocat"})
    login = source("ghcr.io")
    assert login is not None
    assert (login.user, login.password) == ("octocat", "t")
    assert source("ghcr.io.example.com") is None
    assert source("docker.io") is None
    assert github({})("ghcr.io") is None


@pytest.fixture
def aws_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "key",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("aws_keys")
def test_a_password_of_ecr_comes_from_aws_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(got: Seen) -> Reply:
        target = got.headers["X-Amz-Target"]
        data: Any = {
            "authorizationToken": encoded(f"AWS:of {target.partition('_')[0].partition('.')[0]}"),
            "expiresAt": 4e9,
        }
        if "SpencerFrontendService" not in target:
            data = [{**data, "proxyEndpoint": f"https://{ECR}"}]
        return (
            200,
            {"Content-Type": "application/x-amz-json-1.1"},
            json.dumps({"authorizationData": data}).encode(),
        )

    with server(answer) as (address, seen):
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{address}")
        credentials = Credentials([aws()])
        private, public = credentials.of(ECR), credentials.of("public.ecr.aws")
        assert private is not None
        assert public is not None
        assert (private.user, private.password) == ("AWS", "of AmazonEC2ContainerRegistry")
        assert (public.user, public.password) == ("AWS", "of SpencerFrontendService")
        assert "/eu-west-1/ecr/" in seen[0].headers["Authorization"]
        credentials.of(ECR)
        assert len(seen) == 2, "once a host"
        for host in ("evil.com", f"{ECR}.evil.com", f"{ECR}:5000", "dkr.ecr.eu-west-1.amazonaws.com"):
            assert credentials.of(host) is None
        assert len(seen) == 2


@pytest.mark.usefixtures("aws_keys")
def test_a_role_that_may_not_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.dumps({"__type": "AccessDeniedException", "message": "not authorized"}).encode()
    with server(lambda got: (400, {"Content-Type": "application/x-amz-json-1.1"}, body)) as (address, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{address}")
        credentials = Credentials([aws()])
        assert credentials.of(ECR) is None
    assert "not authorized" in credentials.problems(ECR)[0]
    assert "ecr:GetAuthorizationToken" in credentials.problems(ECR)[0]


@pytest.mark.usefixtures("aws_keys")
def test_without_aws_credentials_there_is_no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    credentials = Credentials([aws()])
    assert credentials.of(ECR) is None
    assert credentials.problems(ECR) == ()


def google_key(path: Path, address: str) -> Path:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "p",
                "private_key_id": "1",
                "private_key": pem.decode(),
                "client_email": "deployer@p.iam.gserviceaccount.com",
                "client_id": "1",
                "token_uri": f"http://{address}/token",
            }
        )
    )
    return path


def test_a_token_of_google_is_the_password_of_artifact_registry(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def answer(got: Seen) -> Reply:
        assert "assertion" in parse_qs(got.body.decode())
        return 200, {"Content-Type": "application/json"}, b'{"access_token": "ya29.x", "expires_in": 3600}'

    with server(answer) as (address, seen):
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(google_key(tmp_path / "key.json", address)))
        credentials = Credentials([google()])
        for host in ("europe-west1-docker.pkg.dev", "gcr.io", "eu.gcr.io"):
            login = credentials.of(host)
            assert login is not None
            assert (login.user, login.password) == ("oauth2accesstoken", "ya29.x")
        asked = len(seen)
        for host in ("pkg.dev", "x-docker.pkg.dev.evil.com", "evilgcr.io", "a.b.gcr.io"):
            assert credentials.of(host) is None
        assert len(seen) == asked


def test_google_credentials_that_are_refused_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    body = b'{"error": "invalid_grant", "error_description": "account not found"}'
    with server(lambda got: (400, {"Content-Type": "application/json"}, body)) as (address, _):
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(google_key(tmp_path / "key.json", address)))
        credentials = Credentials([google()])
        assert credentials.of("gcr.io") is None
    assert "invalid_grant" in credentials.problems("gcr.io")[0]
