"""What goes wrong on the way to S3, against a real server over a wire that breaks, and what is said of it."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from flyte_deploy.cloud import CloudSettings
from flyte_deploy.cloud.aws import s3 as client_of
from flyte_deploy.errors import DeployError
from flyte_deploy.model import Bundle
from flyte_deploy.stores.s3 import S3Store

from .servers import ACCESS, REGION, SECRET, S3Server, free_port, s3_server
from .wire import Wire, wire


def ignore(done: int, total: int) -> None:
    pass


def store_at(port: int, *, attempts: int = 3, region: str = REGION, bucket: str = "bundles") -> S3Store:
    cloud = CloudSettings(s3_endpoint=f"http://127.0.0.1:{port}", s3_region=region)
    return S3Store(client_of(cloud, 1, 1, attempts), bucket, "code", lambda _: None)


def left(s3: S3Server) -> tuple[int, int]:
    """How many objects there are, and how many uploads under way."""
    client = s3.client()
    return (
        len(client.list_objects_v2(Bucket="bundles").get("Contents", [])),
        len(client.list_multipart_uploads(Bucket="bundles").get("Uploads", [])),
    )


@pytest.fixture
def line(s3: S3Server) -> Iterator[Wire]:
    with wire(s3.port) as one:
        yield one


@pytest.mark.parametrize("percent", [10, 50, 99])
@pytest.mark.parametrize("name", ["bundle", "large"])
@pytest.mark.parametrize("fault", ["cuts", "stalls"])
def test_a_connection_that_breaks_or_stalls_is_given_up_and_the_upload_completed(
    s3: S3Server, line: Wire, percent: int, name: str, fault: str, request: pytest.FixtureRequest
) -> None:
    bundle: Bundle = request.getfixturevalue(name)
    getattr(line, fault).append(bundle.size * percent // 100)
    store = store_at(line.port)
    address = store.publish(bundle, ignore)
    assert getattr(line, fault) == []
    assert store.find(bundle) == address
    assert left(s3) == (1, 0)


def test_a_connection_that_always_breaks_is_an_error_and_nothing_is_left(
    s3: S3Server, line: Wire, bundle: Bundle, large: Bundle
) -> None:
    line.refuse = b"partNumber=2"
    with pytest.raises(DeployError, match=r"connection to .* failed") as caught:
        store_at(line.port).publish(large, ignore)
    assert "Run the command again" in str(caught.value)
    assert left(s3) == (0, 0)
    line.refuse = b"PUT /"
    with pytest.raises(DeployError, match=r"connection to .* failed"):
        store_at(line.port).publish(bundle, ignore)
    assert left(s3) == (0, 0)


def test_an_upload_that_is_killed_is_completed_by_the_next(
    s3: S3Server, tmp_path: Path, large: Bundle
) -> None:
    script = """
import pathlib, sys
from flyte_deploy.bundle import identify, select
from flyte_deploy.cloud import CloudSettings
from flyte_deploy.stores import open_store
cloud = CloudSettings(s3_endpoint=sys.argv[1], s3_region=sys.argv[2])
store = open_store("s3://bundles/code", uploads=None, cloud=cloud)
store.publish(identify(select(pathlib.Path(sys.argv[3]), "all")), lambda done, total: print(done, flush=True))
"""
    with wire(s3.port, rate=8e6) as slow:
        arguments = [f"http://127.0.0.1:{slow.port}", REGION, str(tmp_path / "large")]
        with subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.kill()
        assert process.wait() == -signal.SIGKILL
    assert left(s3)[0] == 0
    store = store_at(s3.port)
    assert store.find(large) is None
    assert store.publish(large, ignore) == store.find(large)


def test_a_bucket_that_is_missing(s3: S3Server, bundle: Bundle, large: Bundle) -> None:
    store = store_at(s3.port, bucket="nowhere")
    with pytest.raises(DeployError, match="no such bucket") as caught:
        store.find(bundle)
    assert "s3://nowhere/code" in str(caught.value)
    for each in (bundle, large):
        with pytest.raises(DeployError, match="no such bucket"):
            store.publish(each, ignore)


def test_a_bucket_that_is_forbidden(
    s3: S3Server, bundle: Bundle, large: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.suppress(subprocess.CalledProcessError):
        s3.add_user("stranger", "stranger-secret")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "stranger")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "stranger-secret")
    store = store_at(s3.port)
    with pytest.raises(DeployError, match="no permission to read") as caught:
        store.find(bundle)
    assert "AccessDenied" in str(caught.value)
    assert "AWS_ACCESS_KEY_ID" in str(caught.value)
    assert "s3:ListBucket" in str(caught.value)
    for each in (bundle, large):
        with pytest.raises(DeployError, match="no permission to write") as caught:
            store.publish(each, ignore)
        assert "s3:PutObject" in str(caught.value)
    assert left(s3) == (0, 0)


def test_the_least_rights_of_the_documentation_are_enough(
    s3: S3Server, bundle: Bundle, large: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parent.parent.parent / "docs/backends.md").read_text()
    text = page.partition("<!-- policy of the bucket -->\n```json\n")[2].partition("```")[0]
    policy = json.loads(text.replace("my-bundles", "bundles"))
    for statement in policy["Statement"]:
        statement["Principal"] = {"AWS": ["least"]}
        # A server of its own knows no conditions.
        statement.pop("Condition", None)
    with contextlib.suppress(subprocess.CalledProcessError):
        s3.add_user("least", "least-secret")
    s3.client().put_bucket_policy(Bucket="bundles", Policy=json.dumps(policy))
    try:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "least")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "least-secret")
        store = store_at(s3.port)
        for each in (bundle, large):
            assert store.find(each) is None
            assert store.publish(each, ignore) == store.find(each)

        def interrupt(done: int, total: int) -> None:
            raise KeyboardInterrupt

        s3.client().delete_object(Bucket="bundles", Key=f"code/{large.archive_name}")
        with pytest.raises(KeyboardInterrupt):
            store.publish(large, interrupt)
        assert left(s3) == (1, 0)
    finally:
        s3.client().delete_bucket_policy(Bucket="bundles")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("AWS_ACCESS_KEY_ID", "nobody", "the access key is not known"),
        ("AWS_SECRET_ACCESS_KEY", "wrong-secret", "the secret access key does not belong to the access key"),
    ],
)
def test_a_wrong_key(
    s3: S3Server,
    bundle: Bundle,
    large: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    said: str,
) -> None:
    monkeypatch.setenv(name, value)
    store = store_at(s3.port)
    for action in (store.find, lambda b: store.publish(b, ignore)):
        for each in (bundle, large):
            with pytest.raises(DeployError, match=said) as caught:
                action(each)
            assert "they came from the variables AWS_ACCESS_KEY_ID" in str(caught.value)
            assert "secret" not in str(caught.value).replace("secret access key", "")


def test_absent_credentials_say_where_they_were_looked_for(
    s3: S3Server, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(DeployError, match="no credentials") as caught:
        store_at(s3.port).find(bundle)
    text = str(caught.value)
    order = ["AWS_ACCESS_KEY_ID", "WEB_IDENTITY", "shared credentials file", "container", "instance metadata"]
    places = [text.index(word) for word in order]
    assert places == sorted(places)
    assert "--aws-role" in text


def test_credentials_of_a_profile_count(
    s3: S3Server, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text(
        f"[deployer]\naws_access_key_id = {ACCESS}\naws_secret_access_key = {SECRET}\n"
    )
    monkeypatch.setenv("AWS_PROFILE", "deployer")
    store = store_at(s3.port)
    assert store.publish(bundle, ignore) == store.find(bundle)
    client_of.cache_clear()
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(DeployError, match=r"configuration of AWS cannot be used: .*nobody"):
        store_at(s3.port)


def test_a_bucket_in_another_region_is_found_and_said(s3: S3Server, bundle: Bundle) -> None:
    cloud = CloudSettings(s3_endpoint=s3.endpoint, s3_region="us-west-2")
    said: list[str] = []
    store = S3Store(client_of(cloud), "bundles", "code", said.append)
    assert store.find(bundle) is None
    assert store.publish(bundle, ignore) == store.find(bundle)
    assert "another region than us-west-2" in said[0]
    assert len(said) == 1


def test_a_clock_that_is_wrong(s3: S3Server, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    import botocore.auth

    now = botocore.auth.get_current_datetime

    def early(remove_tzinfo: bool = True) -> Any:
        import datetime as dt

        return now(remove_tzinfo) - dt.timedelta(hours=2)

    store = store_at(s3.port)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", early)
    for action in (store.find, lambda b: store.publish(b, ignore)):
        with pytest.raises(DeployError, match="clock of this machine is wrong"):
            action(bundle)


def test_a_full_bucket(
    no_clouds: None, tmp_path: Path, large: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    folder = tmp_path / "full"
    # A disk of ten megabytes that goes with its server.
    script = f'mount -t tmpfs -o size=10m tmpfs "{folder}/data" && exec "$@"'
    wrapped = ["unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh"]
    with s3_server(folder, wrapped=wrapped) as server:
        server.client().create_bucket(Bucket="bundles")
        with pytest.raises(DeployError, match="bucket is full"):
            store_at(server.port, attempts=2).publish(large, ignore)
        assert left(server) == (0, 0)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (
            400,
            "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>",
            "have expired; they came from the variables",
        ),
        (
            403,
            "<Error><Code>QuotaExceeded</Code><Message>Quota exceeded.</Message></Error>",
            "bucket is full",
        ),
        (507, "", "bucket is full"),
        (200, "<!DOCTYPE html><html><title>Please log in</title></html>", "does not answer as S3 does"),
        (404, "<!DOCTYPE html><html><title>Not Found</title></html>", "404|no such bucket"),
        (503, "<Error><Code>SlowDown</Code><Message>Reduce your rate.</Message></Error>", "SlowDown|503"),
        (418, "teapot", "418"),
    ],
)
def test_what_only_others_answer(
    no_clouds: None,
    bundle: Bundle,
    large: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    body: str,
    said: str,
) -> None:
    """What S3, its imitators and those between say that our server has no occasion for."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with answering(status, body) as port:
        for each in (bundle, large):
            with pytest.raises(DeployError, match=said):
                store_at(port, attempts=2).publish(each, ignore)
            with pytest.raises(DeployError, match=said):
                store_at(port, attempts=2).find(each)


@contextlib.contextmanager
def answering(status: int, body: str) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            while length > 0:
                length -= len(self.rfile.read(min(length, 1 << 20)))
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if body.startswith("<!") else "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body.encode())

        def do_GET(self) -> None:
            self._answer()

        def do_HEAD(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def do_PUT(self) -> None:
            self._answer()

        def do_DELETE(self) -> None:
            self._answer()

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_nobody_listens_and_a_proxy_refuses(
    s3: S3Server, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    with pytest.raises(DeployError, match="is out of reach"):
        store_at(port, attempts=1).find(bundle)
    client_of.cache_clear()
    monkeypatch.setenv("HTTP_PROXY", f"http://user:hidden@127.0.0.1:{port}")
    monkeypatch.setenv("NO_PROXY", "")
    with pytest.raises(DeployError, match="proxy") as caught:
        store_at(s3.port, attempts=1).find(bundle)
    assert "hidden" not in str(caught.value)


def test_tls_against_plaintext(s3: S3Server, bundle: Bundle) -> None:
    cloud = CloudSettings(s3_endpoint=s3.endpoint.replace("http:", "https:"), s3_region=REGION)
    with pytest.raises(DeployError, match="no trusted connection"):
        S3Store(client_of(cloud, 1, 1, 1), "bundles", "code", lambda _: None).find(bundle)
