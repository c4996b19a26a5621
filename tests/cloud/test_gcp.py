"""Workload identity of Google Cloud, over a real HTTP exchange, in front of a real object store."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import urllib3

from flyte_deploy.bundle import identify, select
from flyte_deploy.cloud import CloudSettings
from flyte_deploy.cloud.gcp import Gcs, gcs
from flyte_deploy.errors import DeployError
from flyte_deploy.model import Bundle
from flyte_deploy.stores.gs import GsStore
from tests.stores.servers import gs_server

from .identity import ACCOUNT, POOL, Identity

CLOUD = CloudSettings(gcp_workload_identity=POOL, gcp_service_account=ACCOUNT)


class Front:
    """Takes what is issued by an `Identity`, and passes it on to a store that asks nobody."""

    def __init__(self, identity: Identity, server: str) -> None:
        self.identity = identity
        self.server = server
        self.reasons: list[str] = []
        self.tokens: list[str] = []

    def answer(self, handler: BaseHTTPRequestHandler) -> urllib3.BaseHTTPResponse | None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        token = handler.headers.get("Authorization", "").removeprefix("Bearer ")
        self.tokens.append(token)
        self.reasons.append(handler.headers.get("x-goog-request-reason", ""))
        if token not in self.identity.issued:
            return None
        headers = {k: v for k, v in handler.headers.items() if k.lower() not in ("host", "content-length")}
        return urllib3.request(
            handler.command, self.server + handler.path, body=body, headers=headers, retries=False
        )


@pytest.fixture
def front(identity: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    for name, value in identity.environ().items():
        monkeypatch.setenv(name, value)
    with gs_server(tmp_path / "gs") as server:
        server.make_bucket("bundles")
        front = Front(identity, server.endpoint)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                answer = front.answer(self)
                body = b'{"error": {"code": 401, "message": "Invalid Credentials"}}'
                self.send_response(answer.status if answer else 401)
                body = answer.data if answer else body
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                self._answer()

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as proxy:
            thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{proxy.server_port}")
            yield front
            proxy.shutdown()
            thread.join()
    gcs.cache_clear()


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    (tmp_path / "project").mkdir()
    (tmp_path / "project/a.py").write_text("a = 1\n")
    return identify(select(tmp_path / "project", "all"))


def client(identity: Identity, cloud: CloudSettings = CLOUD) -> Gcs:
    return gcs(cloud, f"{identity.address}/google/token", f"{identity.address}/google")


def store(identity: Identity, cloud: CloudSettings = CLOUD) -> GsStore:
    return GsStore(client(identity, cloud), "bundles", "code", lambda _: None, patience=2)


@pytest.mark.parametrize("account", [ACCOUNT, ""])
@pytest.mark.parametrize("subject", ["repo:octo-org/octo-repo", "repo:octo-org@65/octo-repo@74"])
def test_a_job_publishes_as_what_trusts_it(
    front: Front, identity: Identity, bundle: Bundle, account: str, subject: str
) -> None:
    identity.claims["sub"] = f"{subject}:ref:refs/heads/main"
    cloud = CloudSettings(gcp_workload_identity=POOL, gcp_service_account=account)
    there = store(identity, cloud)
    assert there.find(bundle) is None
    assert there.publish(bundle, lambda done, total: None) == there.find(bundle)
    kind = "account" if account else "federated"
    assert all(token.startswith(f"ya29.{kind}-") for token in front.tokens)
    assert set(front.reasons) == {"octo-org/octo-repo run 1234567890 attempt 2"}
    paths = [path for _, path, _ in identity.requests]
    assert paths.count("/github/token") == 1


def test_a_provider_that_does_not_trust_this_repository_is_told_with_the_claims(
    front: Front, identity: Identity, bundle: Bundle
) -> None:
    identity.claims["sub"] = "repo:octo-org@65/octo-repo@74:pull_request"
    with pytest.raises(DeployError, match="rejected by the attribute condition") as caught:
        store(identity).find(bundle)
    text = str(caught.value)
    assert "sub: repo:octo-org@65/octo-repo@74:pull_request" in text
    assert "attribute condition" in text
    assert not [secret for secret in identity.issued if secret in text]


def test_an_account_that_the_provider_may_not_take_on(
    front: Front, identity: Identity, bundle: Bundle
) -> None:
    cloud = CloudSettings(gcp_workload_identity=POOL, gcp_service_account="other@octo.example")
    with pytest.raises(DeployError, match=r"iam\.serviceAccounts\.getAccessToken") as caught:
        store(identity, cloud).find(bundle)
    assert "roles/iam.workloadIdentityUser" in str(caught.value)
    assert not [secret for secret in identity.issued if secret in str(caught.value)]


def test_a_clock_that_is_wrong(front: Front, identity: Identity, bundle: Bundle) -> None:
    identity.skew = 7200
    with pytest.raises(DeployError, match="clock"):
        store(identity).find(bundle)


def test_a_job_that_may_not_ask(
    front: Front, identity: Identity, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
    with pytest.raises(DeployError, match="id-token: write"):
        store(identity).find(bundle)


def test_what_googles_own_action_leaves_behind(
    front: Front, identity: Identity, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = identity.environ()
    audience = f"https%3A%2F%2Fiam.googleapis.com%2F{POOL.replace('/', '%2F')}"
    left = tmp_path / "gha-creds-1.json"
    left.write_text(
        json.dumps(
            {
                "type": "external_account",
                "audience": f"//iam.googleapis.com/{POOL}",
                "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
                "token_url": f"{identity.address}/google/token",
                "service_account_impersonation_url": f"{identity.address}/google/v1/projects/-/"
                f"serviceAccounts/{ACCOUNT}:generateAccessToken",
                "credential_source": {
                    "url": f"{environ['ACTIONS_ID_TOKEN_REQUEST_URL']}&audience={audience}",
                    "headers": {"Authorization": f"Bearer {environ['ACTIONS_ID_TOKEN_REQUEST_TOKEN']}"},
                    "format": {"type": "json", "subject_token_field_name": "value"},
                },
            }
        )
    )
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(left))
    there = GsStore(gcs(CloudSettings()), "bundles", "code", lambda _: None, patience=2)
    assert there.publish(bundle, lambda done, total: None) == there.find(bundle)
    assert all(token.startswith("ya29.account-") for token in front.tokens)
