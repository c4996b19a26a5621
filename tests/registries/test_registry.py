"""What registries hold: asked of a real one, with every way of logging in, and of what is none."""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import pytest

from flyte_deploy.errors import DeployError
from flyte_deploy.images.auth import Credentials, Login, docker_auth
from flyte_deploy.images.registry import Registries
from flyte_deploy.tls import trusting
from tests.engine import Engine
from tests.registries.conftest import Open
from tests.registries.servers import (
    PASSWORD,
    USER,
    Authority,
    Reply,
    Seen,
    Tokens,
    free_port,
    htpasswd,
    push,
    server,
)

BASIC = {"Authorization": "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}


def test_digests_are_those_that_the_registry_serves(engine: Engine, nobody: Registries) -> None:
    name = f"{engine.registry}/asked/{uuid4().hex}"
    repository = name.split("/", 1)[1]
    digests = {f"{name}:{tag}": push(engine.registry, repository, tag) for tag in ("a", "b")}
    by_digest = f"{name}@{digests[f'{name}:a']}"
    absent = [f"{name}:c", f"{engine.registry}/nobody/has:this", f"{name}@sha256:{'0' * 64}"]
    found = nobody.digests([*digests, by_digest, *absent])
    assert found == {**digests, by_digest: digests[f"{name}:a"], **dict.fromkeys(absent)}
    assert nobody.platforms(f"{name}:a") == ("linux/amd64",)


def test_a_built_index_has_its_own_digest_and_the_platforms_without_attestations(
    engine: Engine, nobody: Registries, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    name = f"{engine.registry}/platforms:{uuid4().hex}"
    metadata = tmp_path / "metadata.json"
    engine.docker(
        *("buildx", "build", "--platform", "linux/amd64,linux/arm64,linux/arm/v7"),
        *("--provenance=mode=min", "--metadata-file", str(metadata), "--push", "--tag", name, str(tmp_path)),
    )
    built = json.loads(metadata.read_text())["containerimage.digest"]
    assert nobody.digests([name]) == {name: built}
    assert nobody.platforms(name) == ("linux/amd64", "linux/arm64", "linux/arm/v7")


def test_platforms_of_an_image_that_is_not_there(engine: Engine, nobody: Registries) -> None:
    with pytest.raises(DeployError, match="there is no such image"):
        nobody.platforms(f"{engine.registry}/nobody/has:this")


def test_a_password_is_shown_where_the_registry_wants_one(
    open_registry: Open, ali: Credentials, tmp_path: Path, engine: Engine
) -> None:
    address = open_registry(auth=htpasswd(tmp_path))
    digest = push(address, "a/b", "1", headers=BASIC)
    name = f"{address}/a/b:1"
    assert Registries(ali).digests([name, f"{address}/a/b:2"]) == {name: digest, f"{address}/a/b:2": None}
    with pytest.raises(DeployError, match="without a login") as told:
        Registries(Credentials([])).digests([name])
    assert f"--registry-auth {address}=USER:VARIABLE" in str(told.value)
    wrong = Credentials([lambda host: Login(USER, "wrong secret", "the test")])
    with pytest.raises(DeployError, match=r"asked as ali \(the test\)") as told:
        Registries(wrong).digests([name])
    assert "wrong secret" not in str(told.value) + repr(wrong.of(address))


def test_docker_logs_in_with_what_it_is_given_in_its_environment(
    open_registry: Open, ali: Credentials, tmp_path: Path, engine: Engine
) -> None:
    address = open_registry(auth=htpasswd(tmp_path))
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    auth = docker_auth([address], ali)
    logged_in = Engine(
        **{**vars(engine), "variables": {**engine.variables, "DOCKER_AUTH_CONFIG": json.dumps(auth)}}
    )
    name = f"{address}/pushed/by:docker"
    arguments = ("buildx", "build", "--quiet", "--push", "--tag", name, str(tmp_path))
    with pytest.raises(AssertionError, match=r"(?i)no basic auth|unauthorized|401"):
        engine.docker(*arguments)
    logged_in.docker(*arguments)
    assert Registries(ali).digests([name])[name]


def test_tokens_are_asked_for_once_a_repository_and_used_again(
    open_registry: Open, ali: Credentials, tokens: tuple[Tokens, str]
) -> None:
    issued, server_address = tokens
    address = open_registry(auth=issued.auth(server_address))
    names = [f"{address}/team/image:{tag}" for tag in range(8)]
    registries = Registries(ali)
    assert registries.digests(names[:1]) == {names[0]: None}
    assert registries.digests(names) == dict.fromkeys(names)
    assert len(issued.asked) == 1
    assert issued.asked[0]["scope"] == ["repository:team/image:pull"]
    assert issued.asked[0]["service"] == [issued.service]


def test_an_identity_token_is_traded_for_another(open_registry: Open, tokens: tuple[Tokens, str]) -> None:
    issued, server_address = tokens
    address = open_registry(auth=issued.auth(server_address))
    name = f"{address}/team/image:1"
    good = Credentials([lambda host: Login("", "", "the test", issued.identity)])
    assert Registries(good).digests([name]) == {name: None}
    assert docker_auth([address], good) == {}
    bad = Credentials([lambda host: Login("", "", "the test", "another")])
    with pytest.raises(DeployError, match="does not let us read team/image"):
        Registries(bad).digests([name])


def test_a_repository_that_only_writers_may_see_is_absent_for_a_writer(
    open_registry: Open, ali: Credentials, tokens: tuple[Tokens, str]
) -> None:
    issued, server_address = tokens
    address = open_registry(auth=issued.auth(server_address))

    def rights(user: str | None, repository: str) -> set[str]:
        # Nothing for who asks to read, as where a repository comes into being with its first push.
        asked = issued.asked[-1]["scope"][0]
        return (
            {"pull", "push"} if user and asked.endswith(":pull,push") and repository == "team/new" else set()
        )

    issued.rights = rights
    name = f"{address}/team/new:1"
    assert Registries(ali).digests([name]) == {name: None}
    with pytest.raises(DeployError, match="asked as ali"):
        Registries(ali).digests([f"{address}/other/new:1"])
    with pytest.raises(DeployError, match="without a login"):
        Registries(Credentials([])).digests([name])


def test_an_authority_of_ones_own_is_trusted_when_it_is_named(
    open_registry: Open, authority: Authority, nobody: Registries
) -> None:
    address = open_registry(tls=authority)
    name = f"{address}/a/b:1"
    with pytest.raises(DeployError, match="not reached over TLS") as told:
        nobody.digests([name])
    assert "--ca-cert" in str(told.value)
    assert Registries(Credentials([]), tls=lambda: trusting(authority.ca)).digests([name]) == {name: None}
    assert Registries(Credentials([]), insecure=[address]).digests([name]) == {name: None}


@pytest.mark.parametrize(("text", "said"), [(None, "cannot be read"), ("no certificate", "holds no cert")])
def test_a_file_of_authorities_that_is_none(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DeployError, match=said) as told:
        trusting(path)
    assert told.value.where == str(path)


def test_a_registry_that_is_down(nobody: Registries) -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(DeployError, match=f"{address} cannot be asked: it refuses connections"):
        nobody.digests([f"{address}/a:1"])


def test_what_fails_is_told_together(nobody: Registries) -> None:
    first, second = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    with pytest.raises(DeployError) as told:
        nobody.digests([f"{first}/a:1", f"{second}/b:1"])
    assert first in str(told.value)
    assert second in str(told.value)


def test_trouble_that_passes_is_waited_for() -> None:
    pauses: list[float] = []

    def answer(got: Seen) -> Reply:
        return (503, {}, b"") if len(seen) < 3 else (200, {"Docker-Content-Digest": digest}, b"")

    digest = "sha256:" + "1" * 64
    with server(answer) as (address, seen):
        registries = Registries(Credentials([]), pause=pauses.append)
        assert registries.digests([f"{address}/a:1"]) == {f"{address}/a:1": digest}
        assert len(pauses) == 2


def test_trouble_that_stays_is_told(nobody: Registries) -> None:
    with (
        server(lambda got: (500, {}, b"")) as (address, seen),
        pytest.raises(DeployError, match="it answers with status 500"),
    ):
        nobody.digests([f"{address}/a:1"])
    assert len(seen) == 4


@pytest.mark.parametrize("status", [200, 404, 403, 401])
def test_a_web_page_is_no_registry(nobody: Registries, status: int) -> None:
    page: Reply = (status, {"Content-Type": "text/html; charset=utf-8"}, b"<!doctype html><p>Log in!</p>")
    with (
        server(lambda got: page) as (address, _),
        pytest.raises(DeployError, match=r"a web page.*not what a registry does"),
    ):
        nobody.digests([f"{address}/a:1"])


def test_a_manifest_tells_its_digest_where_the_header_is_missing(nobody: Registries) -> None:
    manifest = b'{"schemaVersion": 2}'
    with server(lambda got: (200, {"Content-Type": "application/json"}, manifest)) as (address, _):
        assert nobody.digests([f"{address}/a:1"]) == {
            f"{address}/a:1": "sha256:" + sha256(manifest).hexdigest()
        }


def test_what_a_registry_says_of_a_refusal_is_passed_on(nobody: Registries) -> None:
    body = b'{"errors": [{"code": "DENIED", "message": "billing \\u001b[31moverdue"}]}'
    with (
        server(lambda got: (403, {"Content-Type": "application/json"}, body)) as (address, _),
        pytest.raises(DeployError, match=r"billing .*overdue") as told,
    ):
        nobody.digests([f"{address}/a:1"])
    assert "\x1b" not in str(told.value)


def test_a_password_does_not_go_to_a_token_server_without_tls_elsewhere(ali: Credentials) -> None:
    challenge = {"WWW-Authenticate": 'Bearer realm="http://tokens.example.com/token",service="x"'}
    with (
        server(lambda got: (401, challenge, b"")) as (address, _),
        pytest.raises(DeployError, match="without TLS"),
    ):
        Registries(ali).digests([f"{address}/a:1"])


def test_a_token_server_that_answers_no_token(ali: Credentials) -> None:
    def answer(got: Seen) -> Reply:
        if got.path.startswith("/token"):
            return 200, {}, b"<html>a secret: hunter2</html>"
        realm = f"http://{got.headers['Host']}/token"
        return 401, {"WWW-Authenticate": f'Bearer realm="{realm}"'}, b""

    with server(answer) as (address, _), pytest.raises(DeployError, match="answers no token") as told:
        Registries(ali).digests([f"{address}/a:1"])
    assert "hunter2" not in str(told.value)


def test_a_login_does_not_follow_a_redirect_to_another_host(ali: Credentials, engine: Engine) -> None:
    digest = "sha256:" + "2" * 64
    with server(lambda got: (200, {"Docker-Content-Digest": digest}, b"")) as (other, reached):

        def answer(got: Seen) -> Reply:
            if "Authorization" not in got.headers:
                return 401, {"WWW-Authenticate": 'Basic realm="x"'}, b""
            # Another name of the same machine is another host.
            return 307, {"Location": f"http://localhost:{other.rpartition(':')[2]}{got.path}"}, b""

        with server(answer) as (address, _):
            assert Registries(ali).digests([f"{address}/a:1"]) == {f"{address}/a:1": digest}
    assert reached
    assert all("Authorization" not in got.headers for got in reached)
