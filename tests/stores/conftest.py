from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flyte_deploy.bundle import identify, select
from flyte_deploy.bundle.archive import Archive, pack
from flyte_deploy.model import Bundle

from .servers import ACCESS, SECRET, GsServer, S3Server, gs_server, programs, s3_server
from .storage import ControlPlane, Storage, running


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    (tmp_path / "project").mkdir()
    (tmp_path / "project/a.py").write_text("print('a')\n")
    (tmp_path / "project/random.bin").write_bytes(os.urandom(3_000_000))
    return identify(select(tmp_path / "project", "all"))


@pytest.fixture
def archive(tmp_path: Path, bundle: Bundle) -> Archive:
    return pack(bundle, tmp_path / bundle.archive_name)


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    storage = Storage()
    with running(storage):
        yield storage


@pytest.fixture
def control_plane(storage: Storage) -> ControlPlane:
    return ControlPlane(storage)


@pytest.fixture
def large(tmp_path: Path) -> Bundle:
    """A bundle of 18 MB when packed."""
    (tmp_path / "large").mkdir()
    (tmp_path / "large/a.py").write_text("print('a')\n")
    (tmp_path / "large/random.bin").write_bytes(os.urandom(18_000_000))
    return identify(select(tmp_path / "large", "all"))


@pytest.fixture(scope="session")
def s3_started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3(s3_started: S3Server, no_clouds: None, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """A server with the empty bucket ``bundles``, and the environment of somebody who may use it."""
    client = s3_started.client()
    if "bundles" in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
        for upload in client.list_multipart_uploads(Bucket="bundles").get("Uploads", []):
            client.abort_multipart_upload(Bucket="bundles", Key=upload["Key"], UploadId=upload["UploadId"])
        for found in client.list_objects_v2(Bucket="bundles").get("Contents", []):
            client.delete_object(Bucket="bundles", Key=found["Key"])
    else:
        client.create_bucket(Bucket="bundles")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    return s3_started


@pytest.fixture
def gs(no_clouds: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GsServer]:
    """A server with the empty bucket ``bundles``, and the environment that leads there."""
    with gs_server(tmp_path / "gs") as server:
        server.make_bucket("bundles")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.endpoint)
        yield server


@pytest.fixture
def no_clouds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No cloud, proxy or job of the machine that the tests run on, and no client of another test."""
    programs()  # before the home that its cache is in changes
    for name in list(os.environ):
        if name.upper().endswith("_PROXY") or name.startswith(
            ("AWS_", "GOOGLE_", "CLOUDSDK_", "ACTIONS_", "GITHUB_", "STORAGE_")
        ):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    yield
    for module, function in (("aws", "s3"), ("gcp", "gcs")):
        loaded = sys.modules.get(f"flyte_deploy.cloud.{module}")
        if loaded is not None:
            getattr(loaded, function).cache_clear()
