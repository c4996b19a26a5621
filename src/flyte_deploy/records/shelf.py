"""Small files by name in a folder or a bucket: where records lie."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any, Protocol

from flyte_deploy.cloud import CloudSettings
from flyte_deploy.errors import DeployError

MOST = 64 << 20
"""Bytes of a record that are read; a larger one is none of ours."""


class Shelf(Protocol):
    """Small files by name. Names are relative and have ``/`` between their parts."""

    def has(self, name: str) -> bool:
        """Whether there is such a file."""

    def get(self, name: str) -> bytes | None:
        """Its content, None if there is none of that name."""

    def put(self, name: str, data: bytes) -> str:
        """Write it, in the place of one that is there, and return its address."""


def open_shelf(address: str, cloud: CloudSettings) -> Shelf | None:
    """The shelf at the address of a bundle store; None for the control plane's own storage, which cannot be
    read.

    Raises:
        DeployError: where the cloud's configuration cannot be used.
    """
    kind, separator, rest = address.partition("://")
    if not separator:
        return None
    if kind == "file":
        return FolderShelf(Path(rest))
    bucket, _, prefix = rest.partition("/")
    if kind == "s3":
        return S3Shelf(bucket, prefix.strip("/"), cloud)
    if kind == "gs":
        return GsShelf(bucket, prefix.strip("/"), cloud)
    return None


class FolderShelf:
    """A folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has(self, name: str) -> bool:
        """As `Shelf.has`."""
        return (self._folder / name).is_file()

    def get(self, name: str) -> bytes | None:
        """As `Shelf.get`."""
        path = self._folder / name
        try:
            with path.open("rb") as file:
                return file.read(MOST)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _failed(error.strerror or str(error), str(path), "read") from None

    def put(self, name: str, data: bytes) -> str:
        """As `Shelf.put`: whole or not at all."""
        path = self._folder / name
        partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(data)
            os.replace(partial, path)  # noqa: PTH105
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise _failed(error.strerror or str(error), str(path), "written") from None
        return f"file://{path}"


class S3Shelf:
    """A bucket of S3, or a part of it."""

    def __init__(self, bucket: str, prefix: str, cloud: CloudSettings) -> None:
        from flyte_deploy.cloud.aws import s3

        self._s3 = s3(cloud)
        self._client: Any = self._s3.client
        self._bucket, self._prefix = bucket, prefix

    def has(self, name: str) -> bool:
        """As `Shelf.has`."""
        return self._read(name, self._client.head_object) is not None

    def get(self, name: str) -> bytes | None:
        """As `Shelf.get`."""
        answer = self._read(name, self._client.get_object)
        return None if answer is None else bytes(answer["Body"].read(MOST))

    def put(self, name: str, data: bytes) -> str:
        """As `Shelf.put`."""
        from botocore.exceptions import BotoCoreError, ClientError

        from flyte_deploy.stores.s3_errors import explained

        key = self._key(name)
        try:
            self._client.put_object(Bucket=self._bucket, Key=key, Body=data, ContentType="application/json")
        except (BotoCoreError, ClientError) as error:
            raise explained(error, self._s3, self._address(key), "write") from None
        return self._address(key)

    def _read(self, name: str, call: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        from flyte_deploy.stores.s3_errors import explained, status_of

        key = self._key(name)
        try:
            return call(Bucket=self._bucket, Key=key)
        except (BotoCoreError, ClientError) as error:
            if isinstance(error, ClientError) and status_of(error) == 404:
                return None
            raise explained(error, self._s3, self._address(key), "read") from None

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}".lstrip("/")

    def _address(self, key: str) -> str:
        return f"s3://{self._bucket}/{key}"


class GsShelf:
    """A bucket of Google Cloud Storage, or a part of it."""

    def __init__(self, bucket: str, prefix: str, cloud: CloudSettings) -> None:
        from flyte_deploy.cloud.gcp import gcs

        self._bucket: Any = gcs(cloud).client.bucket(bucket)
        self._prefix = prefix

    def has(self, name: str) -> bool:
        """As `Shelf.has`."""
        return bool(self._do(name, "read", lambda blob: blob.exists()))

    def get(self, name: str) -> bytes | None:
        """As `Shelf.get`."""
        from google.api_core.exceptions import NotFound

        def read(blob: Any) -> bytes | None:
            try:
                return bytes(blob.download_as_bytes(end=MOST))
            except NotFound:
                return None

        data: bytes | None = self._do(name, "read", read)
        return data

    def put(self, name: str, data: bytes) -> str:
        """As `Shelf.put`."""
        self._do(name, "write", lambda blob: blob.upload_from_string(data, content_type="application/json"))
        return f"gs://{self._bucket.name}/{self._name(name)}"

    def _do(self, name: str, doing: str, what: Any) -> Any:
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError
        from requests import RequestException

        try:
            return what(self._bucket.blob(self._name(name)))
        except (GoogleAPIError, GoogleAuthError, RequestException) as error:
            where = f"gs://{self._bucket.name}/{self._name(name)}"
            raise _failed(str(error).splitlines()[0], where, {"write": "written"}.get(doing, doing)) from None

    def _name(self, name: str) -> str:
        return f"{self._prefix}/{name}".lstrip("/")


def _failed(why: str, where: str, doing: str) -> DeployError:
    return DeployError(
        f"the record of the deployment cannot be {doing}: {why}",
        where=where,
        mend="Give who runs this access to it.",
    )
