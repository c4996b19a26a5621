"""Bundles on a real server of Google Cloud Storage's language, over a wire that breaks too."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flyte_deploy.cloud import CloudSettings
from flyte_deploy.cloud.gcp import gcs
from flyte_deploy.errors import DeployError
from flyte_deploy.model import Bundle
from flyte_deploy.stores import Store, open_store
from flyte_deploy.stores.gs import GsStore

from .servers import GsServer, free_port, gs_server
from .test_s3_failures import answering
from .wire import Wire, wire

ADDRESS = "gs://bundles/team/code"


def ignore(done: int, total: int) -> None:
    pass


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def store(gs: GsServer, said: list[str]) -> Store:
    return open_store(ADDRESS, uploads=None, say=said.append)


def blob_of(gs: GsServer, bundle: Bundle) -> Any:
    return gs.client().bucket("bundles").get_blob(f"team/code/{bundle.archive_name}")


def check_content(gs: GsServer, bundle: Bundle) -> None:
    content = io.BytesIO(blob_of(gs, bundle).download_as_bytes())
    with tarfile.open(fileobj=content, mode="r:gz") as archive:
        for file in bundle.files:
            member = archive.extractfile(file.path)
            assert member is not None
            assert member.read() == file.source.read_bytes()


@pytest.mark.parametrize("name", ["bundle", "large"])
def test_publish_and_find(store: Store, gs: GsServer, name: str, request: pytest.FixtureRequest) -> None:
    bundle: Bundle = request.getfixturevalue(name)
    assert store.find(bundle) is None
    assert blob_of(gs, bundle) is None
    seen: list[tuple[int, int]] = []
    address = store.publish(bundle, lambda done, total: seen.append((done, total)))
    assert address == f"{ADDRESS}/{bundle.archive_name}"
    check_content(gs, bundle)
    assert seen[-1][0] == blob_of(gs, bundle).size
    requests: list[str] = []
    session = gcs(CloudSettings()).client._http
    session.hooks["response"].append(lambda answer, **_: requests.append(answer.request.method))
    assert store.find(bundle) == address
    assert requests == ["GET"]
    assert store.describe() == ADDRESS
    assert blob_of(gs, bundle).metadata["flyte-deploy-crc32c"] == blob_of(gs, bundle).crc32c


@pytest.mark.parametrize("how", ["foreign", "other content", "of another"])
@pytest.mark.parametrize("name", ["bundle", "large"])
def test_what_is_broken_is_said_and_replaced(
    store: Store, gs: GsServer, said: list[str], how: str, name: str, request: pytest.FixtureRequest
) -> None:
    bundle: Bundle = request.getfixturevalue(name)
    store.publish(bundle, ignore)
    blob = blob_of(gs, bundle)
    metadata, content = blob.metadata, blob.download_as_bytes()
    again = gs.client().bucket("bundles").blob(blob.name)
    if how != "foreign":
        again.metadata = metadata
    if how == "of another":
        again.metadata = {**metadata, "flyte-deploy-bundle": "0" * 64}
    again.upload_from_string(content[:-1] if how == "other content" else content)
    assert store.find(bundle) is None
    assert "broken" in said[-1]
    assert store.publish(bundle, ignore) == store.find(bundle)
    assert len(said) == 1
    check_content(gs, bundle)


@pytest.mark.parametrize("name", ["bundle", "large"])
def test_what_is_there_whole_is_not_replaced(gs: GsServer, name: str, request: pytest.FixtureRequest) -> None:
    bundle: Bundle = request.getfixturevalue(name)
    ours, theirs = (open_store(ADDRESS, uploads=None) for _ in range(2))
    assert ours.find(bundle) is None
    address = theirs.publish(bundle, ignore)
    generation = blob_of(gs, bundle).generation
    assert ours.publish(bundle, ignore) == address
    assert blob_of(gs, bundle).generation == generation


def test_what_somebody_else_has_mended_is_not_replaced(gs: GsServer, bundle: Bundle) -> None:
    gs.client().bucket("bundles").blob(f"team/code/{bundle.archive_name}").upload_from_string("broken")
    ours, theirs = (open_store(ADDRESS, uploads=None) for _ in range(2))
    assert ours.find(bundle) is None
    assert theirs.find(bundle) is None
    theirs.publish(bundle, ignore)
    generation = blob_of(gs, bundle).generation
    assert ours.publish(bundle, ignore)
    assert blob_of(gs, bundle).generation == generation


def test_many_writers_do_no_harm(gs: GsServer, bundle: Bundle) -> None:
    def write(_: int) -> str | None:
        store = open_store(ADDRESS, uploads=None)
        store.publish(bundle, ignore)
        return store.find(bundle)

    with ThreadPoolExecutor(4) as pool:
        assert None not in list(pool.map(write, range(8)))
    check_content(gs, bundle)


@pytest.mark.parametrize("name", ["bundle", "large"])
def test_files_that_change_or_an_interrupt_leave_nothing(
    store: Store, gs: GsServer, name: str, request: pytest.FixtureRequest
) -> None:
    bundle: Bundle = request.getfixturevalue(name)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    if name == "large":
        with pytest.raises(KeyboardInterrupt):
            store.publish(bundle, interrupt)
        assert blob_of(gs, bundle) is None
    bundle.files[-1].source.write_bytes(b"other")
    with pytest.raises(DeployError, match="changed while it was being packed"):
        store.publish(bundle, ignore)
    assert blob_of(gs, bundle) is None


@pytest.fixture
def line(no_clouds: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Wire, GsServer]]:
    port = free_port()
    with wire(port) as one, gs_server(tmp_path, port=port, public=f"http://127.0.0.1:{one.port}") as server:
        server.make_bucket("bundles")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{one.port}")
        yield one, server


@pytest.mark.parametrize("percent", [10, 50, 99])
@pytest.mark.parametrize("name", ["bundle", "large"])
@pytest.mark.parametrize("fault", ["cuts", "stalls"])
def test_a_connection_that_breaks_or_stalls_is_given_up_and_the_upload_completed(
    line: tuple[Wire, GsServer], percent: int, name: str, fault: str, request: pytest.FixtureRequest
) -> None:
    bundle: Bundle = request.getfixturevalue(name)
    one, server = line
    store = GsStore(gcs(CloudSettings()), "bundles", "team/code", lambda _: None, connect=1, read=1)
    assert store.find(bundle) is None
    one.forget()
    getattr(one, fault).append(bundle.size * percent // 100)
    address = store.publish(bundle, ignore)
    assert getattr(one, fault) == []
    assert store.find(bundle) == address
    check_content(server, bundle)


def test_a_connection_that_always_breaks_is_an_error(
    line: tuple[Wire, GsServer], bundle: Bundle, large: Bundle
) -> None:
    one, server = line
    one.refuse = b"/upload/"
    store = GsStore(
        gcs(CloudSettings()), "bundles", "team/code", lambda _: None, connect=1, read=1, patience=2
    )
    for each in (bundle, large):
        with pytest.raises(DeployError, match="out of reach"):
            store.publish(each, ignore)
        assert blob_of(server, each) is None


def test_a_bucket_that_is_missing(gs: GsServer, bundle: Bundle, large: Bundle) -> None:
    store = open_store("gs://nowhere/code", uploads=None)
    with pytest.raises(DeployError, match="no such bucket"):
        store.find(bundle)
    for each in (bundle, large):
        with pytest.raises(DeployError, match="no such bucket"):
            store.publish(each, ignore)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (
            403,
            '{"error": {"code": 403, "message": "x does not have storage.objects.get access."}}',
            r"no permission to .*storage\.objects\.get access",
        ),
        (401, '{"error": {"code": 401, "message": "Invalid Credentials"}}', "Anonymous credentials"),
        (507, "", "takes no more"),
        (404, "<!DOCTYPE html><html><title>Not Found</title></html>", "404"),
        (400, "<!DOCTYPE html><html><title>Bad Request</title></html>", "400"),
    ],
)
def test_what_only_google_answers(
    no_clouds: None,
    bundle: Bundle,
    large: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    body: str,
    said: str,
) -> None:
    with answering(status, body) as port:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        store = GsStore(gcs(CloudSettings()), "bundles", "code", lambda _: None, patience=1)
        for each in (bundle, large):
            with pytest.raises(DeployError, match=said):
                store.find(each)
            with pytest.raises(DeployError, match=said):
                store.publish(each, ignore)


def test_a_login_page_that_answers_200(
    no_clouds: None, bundle: Bundle, large: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(200, "<!DOCTYPE html><html><title>Please log in</title></html>") as port:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        store = GsStore(gcs(CloudSettings()), "bundles", "code", lambda _: None, patience=1)
        for each in (bundle, large):
            with pytest.raises(DeployError, match="does not answer as Google Cloud Storage does"):
                store.find(each)
            with pytest.raises(DeployError, match="does not answer as Google Cloud Storage does"):
                store.publish(each, ignore)


def test_nobody_listens(no_clouds: None, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{free_port()}")
    store = GsStore(gcs(CloudSettings()), "bundles", "code", lambda _: None, patience=1)
    with pytest.raises(DeployError, match="out of reach"):
        store.find(bundle)


def test_absent_credentials_say_where_they_were_looked_for(
    no_clouds: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No metadata server either: whatever machine this is.
    monkeypatch.setenv("GCE_METADATA_HOST", f"127.0.0.1:{free_port()}")
    with pytest.raises(DeployError, match="no credentials") as caught:
        open_store("gs://bundles", uploads=None)
    text = str(caught.value)
    places = [text.index(word) for word in ("GOOGLE_APPLICATION_CREDENTIALS", "gcloud", "metadata server")]
    assert places == sorted(places)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(DeployError, match="cannot be used") as caught:
        open_store("gs://bundles", uploads=None)
    assert "none.json" in str(caught.value)
