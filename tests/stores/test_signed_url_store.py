"""The control plane's storage, over real HTTP."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from flyte_deploy.bundle.archive import Archive
from flyte_deploy.errors import DeployError
from flyte_deploy.model import Bundle
from flyte_deploy.stores.signed_url import SignedUrlStore

from .storage import REQUIRED, ControlPlane, Fault, Storage, running

HTML = "<!DOCTYPE html>\n<html><body>Please log in</body></html>"


def ignore(done: int, total: int) -> None:
    pass


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def store(control_plane: ControlPlane, pauses: list[float]) -> SignedUrlStore:
    return SignedUrlStore(control_plane, pause=pauses.append)


def test_publish_and_find(
    store: SignedUrlStore, storage: Storage, control_plane: ControlPlane, bundle: Bundle, archive: Archive
) -> None:
    assert store.find(bundle) is None
    assert storage.puts == []
    seen: list[tuple[int, int]] = []
    address = store.publish(bundle, lambda done, total: seen.append((done, total)))
    assert address == f"s3://bucket/project/development/{bundle.digest}/{bundle.digest}.tar.gz"
    assert archive.path is not None
    assert list(storage.objects.values()) == [archive.path.read_bytes()]
    assert seen[-1] == (archive.size, archive.size)
    assert len(seen) > 5
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert store.find(bundle) == address
    assert len(storage.puts) == 1
    assert control_plane.calls[1] == {
        "filename": bundle.archive_name,
        "md5": archive.md5,
        "length": archive.size,
    }
    assert all(call["md5"] is None for call in control_plane.calls if call is not control_plane.calls[1])


def test_what_was_signed_is_sent_once(
    store: SignedUrlStore, storage: Storage, control_plane: ControlPlane, bundle: Bundle, archive: Archive
) -> None:
    control_plane.headers = {REQUIRED: "yes", "CONTENT-LENGTH": str(archive.size)}
    store.publish(bundle, ignore)
    (put,) = storage.puts
    assert put[REQUIRED] == "yes"
    assert put["content-length"] == str(archive.size)
    assert "transfer-encoding" not in put
    assert "x-ms-blob-type" not in put


def test_azure_gets_the_header_it_demands(
    store: SignedUrlStore, storage: Storage, control_plane: ControlPlane, bundle: Bundle, archive: Archive
) -> None:
    control_plane.native = "abfs://container/"
    assert store.publish(bundle, ignore).startswith("abfs://container/project/")
    assert storage.puts[0]["x-ms-blob-type"] == "BlockBlob"


@pytest.mark.parametrize(
    "fault",
    [
        Fault(read=0),
        Fault(read=1_000_000),
        Fault(read=None),
        Fault(status=408),
        Fault(status=429),
        Fault(status=500, body="oops"),
        Fault(status=503, read=100_000),
        Fault(status=400, body="<Error><Code>RequestTimeout</Code></Error>"),
    ],
)
def test_what_can_succeed_is_tried_again(
    store: SignedUrlStore,
    storage: Storage,
    pauses: list[float],
    bundle: Bundle,
    archive: Archive,
    fault: Fault,
) -> None:
    storage.faults = [fault, fault]
    address = store.publish(bundle, ignore)
    assert len(storage.puts) == 3
    assert len(pauses) == 2
    assert 0 < pauses[0] <= pauses[1] * 2
    assert store.find(bundle) == address


def test_the_storage_says_how_long_to_wait(
    store: SignedUrlStore, storage: Storage, pauses: list[float], bundle: Bundle, archive: Archive
) -> None:
    storage.faults = [
        Fault(status=503, headers={"Retry-After": "7"}),
        Fault(429, headers={"Retry-After": "99999"}),
    ]
    store.publish(bundle, ignore)
    assert pauses == [7, 60]


def test_a_lost_answer_is_no_harm(
    store: SignedUrlStore, storage: Storage, bundle: Bundle, archive: Archive
) -> None:
    storage.faults = [Fault(stored=True)]
    address = store.publish(bundle, ignore)
    assert store.find(bundle) == address


def test_a_broken_upload_leaves_nothing_to_trust(
    store: SignedUrlStore, storage: Storage, bundle: Bundle, archive: Archive
) -> None:
    storage.faults = [Fault(read=500_000)] * 20
    with pytest.raises(DeployError, match=r"6 attempts.*the connection failed") as caught:
        store.publish(bundle, ignore)
    assert len(storage.puts) == 6
    assert "signature" not in str(caught.value)
    assert store.find(bundle) is None
    storage.faults = []
    assert store.publish(bundle, ignore) == store.find(bundle)


def test_an_expired_address_is_replaced(
    store: SignedUrlStore, storage: Storage, control_plane: ControlPlane, bundle: Bundle, archive: Archive
) -> None:
    storage.faults = [Fault(status=500)]
    ask = control_plane.create_upload_location
    asked = 0

    def expiring(**arguments: object) -> object:
        nonlocal asked
        asked += 1
        location = ask(**arguments)  # type: ignore[arg-type]
        if asked == 1:
            storage.signature += 1
        return location

    control_plane.create_upload_location = expiring  # type: ignore[assignment, method-assign]
    store.publish(bundle, ignore)
    assert asked == 2
    assert len(storage.puts) == 3


def test_a_missing_permission_is_said_after_one_fresh_address(
    store: SignedUrlStore, storage: Storage, control_plane: ControlPlane, bundle: Bundle, archive: Archive
) -> None:
    control_plane.headers = {}
    with pytest.raises(DeployError, match="403: <Error><Code>SignatureDoesNotMatch") as caught:
        store.publish(bundle, ignore)
    assert len(storage.puts) == 2
    assert caught.value.mend
    assert "administrator" in caught.value.mend


def test_a_refusal_shows_status_and_the_beginning_of_the_body(
    store: SignedUrlStore, storage: Storage, pauses: list[float], bundle: Bundle, archive: Archive
) -> None:
    storage.faults = [Fault(status=400, body="bad\n::set-output\x1b[31m " + "x" * 500)]
    with pytest.raises(DeployError) as caught:
        store.publish(bundle, ignore)
    text = str(caught.value)
    assert "answered 400: bad ::set-output [31m xxx" in text
    assert 150 < text.count("x") < 250
    assert len(storage.puts) == 1
    assert pauses == []
    assert storage.address in str(caught.value.where)
    assert "signature" not in text


@pytest.mark.parametrize("status", [200, 407, 302])
def test_an_html_page_is_said_to_be_one(
    store: SignedUrlStore, storage: Storage, bundle: Bundle, archive: Archive, status: int
) -> None:
    storage.faults = [
        Fault(status=status, body=HTML, headers={"Location": "https://login.example.org/x?token=1"})
    ]
    with pytest.raises(DeployError, match=f"answered {status} with an HTML page") as caught:
        store.publish(bundle, ignore)
    assert ("redirection to https://login.example.org/x:" in caught.value.what) == (status == 302)
    assert store.find(bundle) is None


def test_another_deployment_was_quicker(
    store: SignedUrlStore, storage: Storage, bundle: Bundle, archive: Archive
) -> None:
    storage.objects[f"/project/development/{bundle.digest}/{bundle.archive_name}"] = (
        b"packed by another machine"
    )
    address = store.publish(bundle, ignore)
    assert address == f"s3://bucket/project/development/{bundle.digest}/{bundle.archive_name}"
    assert storage.puts == []


def test_nobody_listens(
    control_plane: ControlPlane, storage: Storage, bundle: Bundle, archive: Archive, unused_port: int
) -> None:
    storage.address = f"http://127.0.0.1:{unused_port}"
    pauses: list[float] = []
    with pytest.raises(DeployError, match=r"2 attempts.*Connection refused"):
        SignedUrlStore(control_plane, attempts=2, pause=pauses.append).publish(bundle, ignore)
    assert len(pauses) == 1


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate with")
def test_only_trusted_certificates_are_accepted(
    store: SignedUrlStore,
    control_plane: ControlPlane,
    bundle: Bundle,
    archive: Archive,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    request = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(
        ["openssl", *request.split(), "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    control_plane.storage = Storage()
    with running(control_plane.storage, context):
        with pytest.raises(DeployError, match="no trusted connection") as caught:
            store.publish(bundle, ignore)
        assert "SSL_CERT_FILE" in str(caught.value.mend)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert store.publish(bundle, ignore) == store.find(bundle)


def test_a_proxy_is_used_where_the_environment_names_one(
    store: SignedUrlStore,
    control_plane: ControlPlane,
    storage: Storage,
    bundle: Bundle,
    archive: Archive,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxy = storage.address
    storage.faults = [Fault(status=418)]
    storage.address = "http://storage.example.org"
    monkeypatch.setenv("http_proxy", proxy.replace("http://", "http://user:p%40ss@"))
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(DeployError, match="418"):
        store.publish(bundle, ignore)
    assert storage.puts[0]["host"] == "storage.example.org"
    assert storage.puts[0]["proxy-authorization"] == "Basic dXNlcjpwQHNz"


@pytest.mark.parametrize("address", ["", "nowhere", "ftp://nowhere", "http://"])
def test_an_address_of_no_kind_is_an_error(
    store: SignedUrlStore, storage: Storage, bundle: Bundle, archive: Archive, address: str
) -> None:
    storage.address = address
    with pytest.raises(DeployError, match="no usable address"):
        store.publish(bundle, ignore)


def test_a_native_address_that_does_not_end_with_the_name(
    store: SignedUrlStore, storage: Storage, control_plane: ControlPlane, bundle: Bundle
) -> None:
    storage.objects[f"/project/development/{bundle.digest}/{bundle.archive_name}"] = b""
    ask = control_plane.create_upload_location

    def other(**arguments: object) -> object:
        location = ask(**arguments)  # type: ignore[arg-type]
        return type(location)(location.signed_url, "s3://bucket/opaque", {})

    control_plane.create_upload_location = other  # type: ignore[assignment, method-assign]
    with pytest.raises(DeployError, match="does not end with the name"):
        store.find(bundle)


def test_the_signature_is_not_shown_by_accident(control_plane: ControlPlane) -> None:
    location = control_plane.create_upload_location(
        filename="a", filename_root="b", content_md5=None, content_length=None, add_content_md5_metadata=False
    )
    assert "signature" not in repr(location)


@pytest.fixture
def unused_port() -> Iterator[int]:
    # Bound and never listening, so that nobody else gets it.
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def test_a_file_that_changed_is_not_sent(
    store: SignedUrlStore, storage: Storage, bundle: Bundle, archive: Archive, tmp_path: Path
) -> None:
    assert archive.path is not None
    archive.path.write_bytes(b"x" * archive.size)
    with pytest.raises(DeployError, match="changed while it was uploaded"):
        store.publish_object(bundle.digest, bundle.archive_name, archive, ignore)
    assert store.find(bundle) is None
