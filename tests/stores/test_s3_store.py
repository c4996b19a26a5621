"""Bundles on a real server of S3: what is there, what is broken, what several do at once."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flyte_deploy.cloud import CloudSettings
from flyte_deploy.cloud.aws import s3 as client_of
from flyte_deploy.errors import DeployError
from flyte_deploy.model import Bundle
from flyte_deploy.stores import Store, open_store

from .servers import REGION, S3Server

ADDRESS = "s3://bundles/team/code"


def ignore(done: int, total: int) -> None:
    pass


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def cloud(s3: S3Server) -> CloudSettings:
    return CloudSettings(s3_endpoint=s3.endpoint, s3_region=REGION)


@pytest.fixture
def store(cloud: CloudSettings, said: list[str]) -> Store:
    return open_store(ADDRESS, uploads=None, cloud=cloud, say=said.append)


@pytest.fixture
def requests(cloud: CloudSettings) -> Iterator[list[str]]:
    """The names of the operations that our client sends."""
    seen: list[str] = []
    events = client_of(cloud).client.meta.events

    def see(event_name: str, **_: object) -> None:
        seen.append(event_name.rpartition(".")[2])

    events.register("before-send.s3", see)
    yield seen
    events.unregister("before-send.s3", see)


def key_of(bundle: Bundle) -> str:
    return f"team/code/{bundle.digest}.tar.gz"


def objects(s3: S3Server) -> dict[str, str]:
    found = s3.client().list_objects_v2(Bucket="bundles").get("Contents", [])
    return {each["Key"]: each["ETag"] for each in found}


def uploads(s3: S3Server) -> list[Any]:
    return list(s3.client().list_multipart_uploads(Bucket="bundles").get("Uploads", []))


def content(s3: S3Server, bundle: Bundle) -> bytes:
    return bytes(s3.client().get_object(Bucket="bundles", Key=key_of(bundle))["Body"].read())


def check_content(s3: S3Server, bundle: Bundle) -> None:
    with tarfile.open(fileobj=io.BytesIO(content(s3, bundle)), mode="r:gz") as archive:
        for file in bundle.files:
            member = archive.extractfile(file.path)
            assert member is not None
            assert member.read() == file.source.read_bytes()


@pytest.mark.parametrize("name", ["bundle", "large"])
def test_publish_and_find(
    store: Store, s3: S3Server, requests: list[str], name: str, request: pytest.FixtureRequest
) -> None:
    bundle: Bundle = request.getfixturevalue(name)
    assert store.find(bundle) is None
    assert objects(s3) == {}
    seen: list[tuple[int, int]] = []
    address = store.publish(bundle, lambda done, total: seen.append((done, total)))
    assert address == f"{ADDRESS}/{bundle.digest}.tar.gz"
    check_content(s3, bundle)
    size = len(content(s3, bundle))
    assert seen[-1] == (size, size)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert ("UploadPart" in requests) == (name == "large")
    requests.clear()
    assert store.find(bundle) == address
    assert requests == ["HeadObject"]
    assert uploads(s3) == []
    assert store.describe() == ADDRESS


def test_the_server_keeps_the_sha256_of_what_it_received(
    store: Store, s3: S3Server, bundle: Bundle, large: Bundle
) -> None:
    for each, parts in ((bundle, ""), (large, "-3")):
        store.publish(each, ignore)
        head = s3.client().head_object(Bucket="bundles", Key=key_of(each), ChecksumMode="ENABLED")
        assert head["ChecksumSHA256"].endswith(parts)
        assert head["Metadata"]["flyte-deploy-bundle"] == each.digest


def test_a_bucket_without_prefix(cloud: CloudSettings, s3: S3Server, bundle: Bundle) -> None:
    store = open_store("s3://bundles", uploads=None, cloud=cloud)
    assert store.publish(bundle, ignore) == f"s3://bundles/{bundle.digest}.tar.gz"
    assert list(objects(s3)) == [bundle.archive_name]


@pytest.mark.parametrize("how", ["foreign", "other content", "truncated", "without checksum", "of another"])
@pytest.mark.parametrize("name", ["bundle", "large"])
def test_what_is_broken_is_said_and_replaced(
    store: Store, s3: S3Server, said: list[str], how: str, name: str, request: pytest.FixtureRequest
) -> None:
    bundle: Bundle = request.getfixturevalue(name)
    store.publish(bundle, ignore)
    client, key = s3.client(), key_of(bundle)
    metadata = client.head_object(Bucket="bundles", Key=key)["Metadata"]
    whole = content(s3, bundle)
    body = {"truncated": whole[:-1], "other content": whole[::-1]}.get(how, whole)
    if how == "foreign":
        metadata = {}
    elif how == "of another":
        metadata["flyte-deploy-bundle"] = "0" * 64
    algorithm = "CRC32" if how == "without checksum" else "SHA256"
    # The server keeps the metadata of what is overwritten with none.
    client.delete_object(Bucket="bundles", Key=key)
    client.put_object(Bucket="bundles", Key=key, Body=body, Metadata=metadata, ChecksumAlgorithm=algorithm)
    assert store.find(bundle) is None
    assert "broken" in said[-1]
    assert key in said[-1]
    address = store.publish(bundle, ignore)
    assert store.find(bundle) == address
    assert len(said) == 1
    check_content(s3, bundle)
    assert uploads(s3) == []


@pytest.mark.parametrize("name", ["bundle", "large"])
def test_what_is_there_whole_is_not_replaced(
    cloud: CloudSettings, s3: S3Server, name: str, request: pytest.FixtureRequest
) -> None:
    bundle: Bundle = request.getfixturevalue(name)
    ours, theirs = (open_store(ADDRESS, uploads=None, cloud=cloud) for _ in range(2))
    assert ours.find(bundle) is None
    address = theirs.publish(bundle, ignore)
    written = s3.client().head_object(Bucket="bundles", Key=key_of(bundle))["LastModified"]
    inode = (s3.folder / "bundles" / key_of(bundle)).stat().st_ino
    assert ours.publish(bundle, ignore) == address
    assert s3.client().head_object(Bucket="bundles", Key=key_of(bundle))["LastModified"] == written
    assert (s3.folder / "bundles" / key_of(bundle)).stat().st_ino == inode
    assert uploads(s3) == []


def test_what_somebody_else_has_mended_is_not_replaced(
    cloud: CloudSettings, s3: S3Server, bundle: Bundle
) -> None:
    s3.client().put_object(Bucket="bundles", Key=key_of(bundle), Body=b"broken")
    ours, theirs = (open_store(ADDRESS, uploads=None, cloud=cloud) for _ in range(2))
    assert ours.find(bundle) is None
    assert theirs.find(bundle) is None
    theirs.publish(bundle, ignore)
    inode = (s3.folder / "bundles" / key_of(bundle)).stat().st_ino
    assert ours.publish(bundle, ignore)
    assert (s3.folder / "bundles" / key_of(bundle)).stat().st_ino == inode


@pytest.mark.parametrize("name", ["bundle", "large"])
def test_many_writers_do_no_harm(
    cloud: CloudSettings, s3: S3Server, name: str, request: pytest.FixtureRequest
) -> None:
    bundle: Bundle = request.getfixturevalue(name)

    def write(_: int) -> str | None:
        store = open_store(ADDRESS, uploads=None, cloud=cloud)
        store.publish(bundle, ignore)
        return store.find(bundle)

    with ThreadPoolExecutor(4) as pool:
        assert None not in list(pool.map(write, range(8)))
    assert list(objects(s3)) == [key_of(bundle)]
    assert uploads(s3) == []
    check_content(s3, bundle)


@pytest.mark.parametrize("name", ["bundle", "large"])
def test_files_that_change_while_they_are_packed_leave_nothing(
    store: Store, s3: S3Server, name: str, request: pytest.FixtureRequest
) -> None:
    bundle: Bundle = request.getfixturevalue(name)
    file = bundle.files[-1]
    content = file.source.read_bytes()
    file.source.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DeployError, match="changed while it was being packed"):
        store.publish(bundle, ignore)
    assert objects(s3) == {}
    assert uploads(s3) == []


def test_an_interrupted_upload_leaves_nothing(store: Store, s3: S3Server, large: Bundle) -> None:
    def interrupt(done: int, total: int) -> None:
        assert uploads(s3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.publish(large, interrupt)
    assert objects(s3) == {}
    assert uploads(s3) == []
    assert store.publish(large, ignore) == store.find(large)
