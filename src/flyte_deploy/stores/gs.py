"""Bundles in a bucket of Google Cloud Storage.

The object of a bundle is ``PREFIX/<digest>.tar.gz``. Its metadata say which bundle it is, and the CRC32C of
what was sent; Google keeps one of what it received. Where the two differ, the object is broken. Archives up
to a chunk are sent in one request with their CRC32C, larger ones while they are being packed, in chunks of
one resumable upload, which ends with the CRC32C of all. Until that is accepted there is no object.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any

import google_crc32c
import requests
from google.api_core.exceptions import GoogleAPICallError, RetryError
from google.auth.exceptions import GoogleAuthError
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from google.cloud.storage.fileio import BlobWriter
from google.cloud.storage.retry import DEFAULT_RETRY

from flyte_deploy.bundle.streaming import packed
from flyte_deploy.cloud import CloudSettings
from flyte_deploy.cloud.gcp import Gcs, gcs, refused
from flyte_deploy.errors import DeployError
from flyte_deploy.http import shown, without_query
from flyte_deploy.model import Bundle
from flyte_deploy.stores import Listen, Say

CHUNK = 16 << 20
"""Bytes of a chunk. Chunks follow each other, so each costs a round trip."""

_ROUNDS = 3
_BUNDLE, _CRC32C = "flyte-deploy-bundle", "flyte-deploy-crc32c"
_FAILURES = (GoogleAPICallError, RetryError, GoogleAuthError, InvalidResponse, requests.RequestException)


def open_gs(address: str, cloud: CloudSettings, say: Say) -> GsStore:
    """The store at ``gs://bucket/prefix``.

    Raises:
        DeployError: if that names no bucket, or there are no credentials.
    """
    bucket, _, prefix = address.removeprefix("gs://").partition("/")
    if not bucket or any(part in ("..", ".") for part in prefix.split("/")):
        raise DeployError(
            f"{address!r} names no bucket",
            where="--bundle-store",
            mend="Write gs://bucket or gs://bucket/prefix.",
            usage=True,
        )
    return GsStore(gcs(cloud), bucket, prefix.strip("/"), say)


class GsStore:
    """A bucket, or a part of it.

    Args:
        gcs: the client.
        bucket: its name.
        prefix: what the names begin with, without slashes at its ends.
        say: told of broken objects.
        connect: seconds that making a connection may take.
        read: seconds that sending some bytes, or an answer, may take.
        patience: seconds in which a request is repeated.
    """

    def __init__(
        self,
        gcs: Gcs,
        bucket: str,
        prefix: str,
        say: Say,
        *,
        connect: float = 10,
        read: float = 60,
        patience: float = 180,
    ) -> None:
        self._gcs = gcs
        self._bucket = gcs.client.bucket(bucket)
        self._prefix = prefix
        self._say = say
        # Those of the library count for connecting and for each read and write of a socket.
        self._calls = {"timeout": (connect, read), "retry": DEFAULT_RETRY.with_timeout(patience)}
        # What is there and broken, by name: its generation, so that nothing else is replaced.
        self._broken: dict[str, int] = {}

    def describe(self) -> str:
        """The place, in words for people."""
        return f"gs://{self._bucket.name}/{self._prefix}".rstrip("/")

    def find(self, bundle: Bundle) -> str | None:
        """As `Store.find`: one request for the object's metadata, one more where it is not there."""
        name = self._name(bundle)
        self._broken.pop(name, None)
        with self._explained(name, "read"):
            blob = self._bucket.get_blob(name, **self._calls)
            if blob is None:
                # Raises where the bucket is missing: the first answer does not tell.
                next(iter(self._bucket.list_blobs(prefix=name, max_results=1, **self._calls)), None)
                return None
        why = broken(blob.metadata or {}, blob.crc32c, bundle)
        if why:
            self._broken[name] = blob.generation
            self._say(f"what is at {self._address(name)} is broken and has to be replaced: {why}")
            return None
        return self._address(name)

    def publish(self, bundle: Bundle, progress: Listen) -> str:
        """As `Store.publish`. Packs while it sends; every request that failed for the moment is repeated."""
        name = self._name(bundle)
        for _ in range(_ROUNDS):
            try:
                with self._explained(name, "write"), packed(bundle, CHUNK) as parts:
                    self._send(bundle, name, parts, progress)
                return self._address(name)
            except _Taken:
                # Somebody else was quicker, or an answer of our own success was lost.
                if address := self.find(bundle):
                    return address
        raise DeployError(
            "somebody else keeps writing there, and not what belongs there", where=self._address(name)
        )

    def _name(self, bundle: Bundle) -> str:
        return f"{self._prefix}/{bundle.archive_name}".lstrip("/")

    def _address(self, name: str) -> str:
        return f"gs://{self._bucket.name}/{name}"

    def _send(self, bundle: Bundle, name: str, parts: Iterator[bytes], progress: Listen) -> None:
        blob = self._bucket.blob(name, chunk_size=CHUNK)
        blob.metadata = {_BUNDLE: bundle.digest}
        # Generation 0: nothing is there.
        calls = {**self._calls, "checksum": "crc32c", "if_generation_match": self._broken.get(name, 0)}
        checksum = google_crc32c.Checksum()
        first, second = next(parts), next(parts, None)
        if second is None:
            checksum.update(first)
            blob.metadata = {_BUNDLE: bundle.digest, _CRC32C: _base64(checksum)}
            blob.chunk_size = None
            blob.upload_from_file(
                io.BytesIO(first), size=len(first), content_type="application/gzip", **calls
            )
            self._check(blob, checksum)
            progress(len(first), len(first))
            return
        # Its content type is that of the blob; `open` has no other way to say it.
        with _writer(blob, {**calls, "content_type": "application/gzip"}) as writer:
            for part in chain((first, second), parts):
                checksum.update(part)
                writer.write(part)
                progress(writer.tell(), 0)
        blob.reload(**self._calls)
        self._check(blob, checksum)
        blob.metadata = {_BUNDLE: bundle.digest, _CRC32C: _base64(checksum)}
        # A reader finds the digest there already; who may not change metadata does without the rest.
        with suppress(GoogleAPICallError):
            blob.patch(if_metageneration_match=blob.metageneration, **self._calls)

    def _check(self, blob: Any, checksum: Any) -> None:
        if blob.crc32c == _base64(checksum):
            return
        # Google refuses what does not fit the CRC32C it was sent with; other servers may not.
        blob.delete(if_generation_match=blob.generation, **self._calls)
        raise DeployError(
            "the bucket has something else than what was sent; it was deleted",
            where=self._address(blob.name),
            mend="Run the command again.",
        )

    @contextmanager
    def _explained(self, name: str, doing: str) -> Iterator[None]:
        where = self._address(name)
        try:
            yield
        except DataCorruption as error:
            raise DeployError(
                "the bucket received something else than what was sent",
                where=where,
                mend="Run the command again, which replaces it.",
            ) from error
        except _FAILURES as error:
            status = _status(error)
            # 404 and 410 too: an upload is gone when it was completed and the answer was lost.
            if status in (404, 410, 412) and doing == "write":
                raise _Taken from error
            if isinstance(error, GoogleAuthError):
                raise refused(error, self._gcs, where) from error
            raise _answered(error, status, self._gcs, where, doing) from error


class _Taken(Exception):  # noqa: N818 - no error: somebody else was quicker
    pass


@contextmanager
def _writer(blob: Any, calls: dict[str, Any]) -> Iterator[BlobWriter]:
    """A resumable upload, which is taken back where it does not come to its end."""
    retry = calls.pop("retry")
    writer = BlobWriter(blob, ignore_flush=True, retry=retry, **calls)
    try:
        yield writer
        writer.close()
    except BaseException:
        # The writer would complete the upload with what it has when it is forgotten.
        writer._buffer.close()
        # The library's own way to end it deletes another address.
        started = writer._upload_and_transport
        if started and started[0].resumable_url:
            with suppress(*_FAILURES):
                started[1].delete(started[0].resumable_url, timeout=(5, 5))
        raise


def broken(said: dict[str, str], crc32c: str | None, bundle: Bundle) -> str:
    """Why an object is not the bundle's archive as it was sent; empty if nothing speaks against it.

    Args:
        said: its metadata.
        crc32c: what Google computed, in base64.
        bundle: whose archive it should be.
    """
    if said.get(_BUNDLE) != bundle.digest:
        return "it does not say that it is this bundle"
    if _CRC32C in said and said[_CRC32C] != crc32c:
        return f"its CRC32C is {crc32c} instead of {said[_CRC32C]}"
    return ""


def _base64(checksum: Any) -> str:
    return base64.b64encode(checksum.digest()).decode()


def _status(error: Exception) -> int:
    if isinstance(error, RetryError):
        return _status(error.cause) if isinstance(error.cause, Exception) else 0
    if isinstance(error, GoogleAPICallError):
        return int(error.code or 0)
    response = getattr(error, "response", None)
    return int(getattr(response, "status_code", 0) or 0)


def _message(error: Exception) -> str:
    if isinstance(error, InvalidResponse):
        with suppress(ValueError, TypeError, KeyError):
            return str(error.response.json()["error"]["message"])
        return str(error.response.reason or "")
    # Without the request's method and address, which the library begins with.
    return re.sub(r"^[A-Z]+ \S+: ", "", str(getattr(error, "message", "") or error))


def _answered(error: Exception, status: int, gcs: Gcs, where: str, doing: str) -> DeployError:
    cause = error.cause if isinstance(error, RetryError) and isinstance(error.cause, Exception) else error
    message = shown(_message(cause))
    # An upload's address is a credential: who has it may go on with the upload.
    words = " ".join(without_query(word) if "://" in word else word for word in message.split())
    if status < 300:
        mend = "Look at STORAGE_EMULATOR_HOST, HTTPS_PROXY and NO_PROXY."
        what = f"Google Cloud Storage is out of reach ({type(cause).__name__}): {words}"
        if isinstance(cause, ValueError) or 200 <= status < 300:
            what = (
                "the server does not answer as Google Cloud Storage does: it may be a proxy or a login page"
            )
        elif isinstance(cause, requests.exceptions.SSLError):
            what = f"no trusted connection to Google Cloud Storage: {words}"
            mend = "Where TLS goes through an authority of your own, name its certificates in SSL_CERT_FILE."
        elif isinstance(cause, requests.exceptions.ProxyError):
            what = "the proxy on the way to Google Cloud Storage refuses"
            mend = "Look at HTTPS_PROXY and NO_PROXY."
        elif isinstance(cause, (requests.exceptions.Timeout, requests.exceptions.ConnectionError)):
            mend += " Running the command again may do; nothing is registered yet."
        return DeployError(what, where=where, mend=mend)
    said = f"Google Cloud Storage answered {status}: {words}"
    if status == 404:
        return DeployError(
            f"there is no such bucket ({said})",
            where=where,
            mend="Make it, or name another with --bundle-store.",
        )
    if status in (401, 403):
        return DeployError(
            f"no permission to {doing} it ({said}); the credentials came from {gcs.source}",
            where=where,
            details=gcs.claims,
            mend="They need roles/storage.objectUser on the bucket (docs/backends.md has commands to copy).",
        )
    if status in (413, 429, 507):
        return DeployError(
            f"the bucket takes no more ({said})", where=where, mend="Look at its quotas and limits."
        )
    again = "Run the command again; nothing is registered yet." if status >= 500 else None
    return DeployError(said, where=where, mend=again)
