"""Bundles in a bucket of S3, or of a server that speaks its language.

The object of a bundle is ``PREFIX/<digest>.tar.gz``. Its metadata say which bundle it is and how it was sent;
S3 keeps a SHA-256 of what it received beside it. Where the two do not fit, the object is broken. An object
that was sent whole has its SHA-256 in its metadata. One that was sent in parts, while it was still being
packed, has the size of the parts there, and S3's is a digest over the digests of the parts
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html).
"""

from __future__ import annotations

import base64
import hashlib
import io
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from flyte_deploy.bundle.streaming import packed
from flyte_deploy.cloud import CloudSettings
from flyte_deploy.cloud.aws import S3, s3
from flyte_deploy.errors import DeployError
from flyte_deploy.model import Bundle
from flyte_deploy.stores import Listen, Say
from flyte_deploy.stores.s3_errors import code_of, explained, status_of

PART = 8 << 20
"""Bytes of a part; smaller archives are sent whole. S3 takes 10,000 parts, so 84 GB."""

_IN_FLIGHT = 4
_GRACE = 5.0
_ROUNDS = 3
_BUNDLE, _SHA256, _SIZE, _PART = (f"flyte-deploy-{name}" for name in ("bundle", "sha256", "size", "part"))


def open_s3(address: str, cloud: CloudSettings, say: Say) -> S3Store:
    """The store at ``s3://bucket/prefix``.

    Raises:
        DeployError: if that names no bucket, or AWS's configuration cannot be used.
    """
    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    if not bucket or any(part in ("..", ".") for part in prefix.split("/")):
        raise DeployError(
            f"{address!r} names no bucket",
            where="--bundle-store",
            mend="Write s3://bucket or s3://bucket/prefix.",
            usage=True,
        )
    return S3Store(s3(cloud), bucket, prefix.strip("/"), say)


class S3Store:
    """A bucket, or a part of it.

    Args:
        s3: the client.
        bucket: its name.
        prefix: what the keys begin with, without slashes at its ends.
        say: told of broken objects.
    """

    def __init__(self, s3: S3, bucket: str, prefix: str, say: Say) -> None:
        self._s3 = s3
        self._client = s3.client
        self._bucket = bucket
        self._prefix = prefix
        self._say = say
        # What is there and broken, by key: its ETag, so that nothing else is replaced.
        self._broken: dict[str, str] = {}

    def describe(self) -> str:
        """The place, in words for people."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def find(self, bundle: Bundle) -> str | None:
        """As `Store.find`: one HEAD, which reads no content; one more where the object is not there."""
        key = self._key(bundle)
        self._broken.pop(key, None)
        try:
            head = self._head(key)
        except ClientError as error:
            if status_of(error) == 404:
                self._check_bucket()
                return None
            raise explained(error, self._s3, self._address(key), "read") from error
        except (BotoCoreError, RuntimeError) as error:
            raise explained(error, self._s3, self._address(key), "read") from error
        self._check_answer(head, "ETag")
        why = broken(head, bundle)
        if why:
            self._broken[key] = head["ETag"]
            self._say(f"what is at {self._address(key)} is broken and has to be replaced: {why}")
            return None
        return self._address(key)

    def publish(self, bundle: Bundle, progress: Listen) -> str:
        """As `Store.publish`. Packs while it sends, four parts at a time.

        Every request that failed for the moment is repeated. Leaving in any way but death takes back what was
        sent of an upload.
        """
        key = self._key(bundle)
        for _ in range(_ROUNDS):
            try:
                with packed(bundle, PART) as parts:
                    self._send(bundle, key, parts, progress)
                return self._address(key)
            except _Taken:
                # Somebody else was quicker, or an answer of our own success was lost.
                if address := self.find(bundle):
                    return address
            except (ClientError, BotoCoreError, RuntimeError) as error:
                raise explained(error, self._s3, self._address(key), "write") from error
        raise DeployError(
            "somebody else keeps writing there, and not what belongs there", where=self._address(key)
        )

    def _key(self, bundle: Bundle) -> str:
        return f"{self._prefix}/{bundle.archive_name}".lstrip("/")

    def _address(self, key: str) -> str:
        return f"s3://{self._bucket}/{key}"

    def _check_bucket(self) -> None:
        """Say that the bucket is missing: the answer to the HEAD of an object does not tell."""
        try:
            self._client.head_bucket(Bucket=self._bucket)
        except ClientError as error:
            if status_of(error) == 404:
                error.response["Error"]["Code"] = "NoSuchBucket"
                raise explained(error, self._s3, self.describe(), "read") from error
        except BotoCoreError as error:
            raise explained(error, self._s3, self.describe(), "read") from error

    def _head(self, key: str) -> Any:
        request = {"Bucket": self._bucket, "Key": key, "ChecksumMode": "ENABLED"}
        try:
            return self._client.head_object(**request)
        except ClientError as error:
            if status_of(error) not in (301, 400, 401, 403):
                raise
            # The answer to a HEAD has no room for reasons. That to a list has, and from them the SDK learns
            # which region the bucket is in.
            self._client.list_objects_v2(Bucket=self._bucket, Prefix=key, MaxKeys=1)
            if status_of(error) not in (301, 400):
                raise
        self._say(
            f"the bucket {self._bucket} is in another region than {self._client.meta.region_name}:"
            " with --s3-region it is found at once"
        )
        return self._client.head_object(**request)

    def _check_answer(self, answer: Mapping[str, Any], name: str) -> None:
        """Say that it was no S3 that answered: to the SDK a page of HTML with status 200 is a success."""
        if not answer.get(name):
            raise DeployError(
                f"{self._client.meta.endpoint_url} does not answer as S3 does",
                where=self.describe(),
                mend="It may be a proxy or a login page: look at --s3-endpoint, HTTPS_PROXY and NO_PROXY.",
            )

    def _send(self, bundle: Bundle, key: str, parts: Iterator[bytes], progress: Listen) -> None:
        etag = self._broken.get(key)
        condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
        target = {"Bucket": self._bucket, "Key": key}
        described = {"ContentType": "application/gzip", "Metadata": {_BUNDLE: bundle.digest}}
        first, second = next(parts), next(parts, None)
        if second is not None:
            described["Metadata"] = {_BUNDLE: bundle.digest, _PART: str(PART)}
            self._send_parts(target, described, condition, chain((first, second), parts), progress)
            return
        checksum = _base64(hashlib.sha256(first))
        described["Metadata"] = {_BUNDLE: bundle.digest, _SHA256: checksum, _SIZE: str(len(first))}
        with _conditional():
            answer = self._client.put_object(
                **target, **described, **condition, Body=first, ChecksumSHA256=checksum
            )
        self._check_answer(answer, "ETag")
        if answer.get("ChecksumSHA256", checksum) != checksum:
            raise _corrupted(self._address(key))
        progress(len(first), len(first))

    def _send_parts(
        self,
        target: Mapping[str, Any],
        described: Mapping[str, Any],
        condition: Mapping[str, Any],
        parts: Iterable[bytes],
        progress: Listen,
    ) -> None:
        client = self._client
        upload = client.create_multipart_upload(**target, **described, ChecksumAlgorithm="SHA256")
        self._check_answer(upload, "UploadId")
        target = {**target, "UploadId": upload["UploadId"]}
        try:
            sent = _Parts(client, target, progress).send(parts)
            with _conditional():
                done = client.complete_multipart_upload(
                    **target, **condition, MultipartUpload={"Parts": [part for part, _ in sent]}
                )
            whole = hashlib.sha256(b"".join(digest for _, digest in sent))
            if done.get("ChecksumSHA256", "").partition("-")[0] not in ("", _base64(whole)):
                raise _corrupted(self._address(target["Key"]))
        except BaseException:
            with suppress(ClientError, BotoCoreError):
                client.abort_multipart_upload(**target)
            raise


class _Taken(Exception):  # noqa: N818 - no error: somebody else was quicker
    pass


class _Stopped(Exception):  # noqa: N818 - no error: nobody wants the rest
    pass


@contextmanager
def _conditional() -> Iterator[None]:
    """`_Taken` where a condition does not hold, or the upload is gone because it was completed."""
    try:
        yield
    except ClientError as error:
        if status_of(error) in (409, 412) or code_of(error) in ("NoSuchUpload", "NoSuchKey"):
            raise _Taken from error
        raise


class _Parts:
    """Sends parts side by side, no more than a few at a time, and stops all when one fails."""

    def __init__(self, client: Any, target: Mapping[str, Any], progress: Listen) -> None:
        self._client = client
        self._target = target
        self._progress = progress
        self._stop = threading.Event()

    def send(self, parts: Iterable[bytes]) -> list[tuple[dict[str, Any], bytes]]:
        """Send all; gives what S3 wants to hear of each part at the end, and its SHA-256."""
        results: list[Future[tuple[dict[str, Any], bytes]]] = []
        waiting: set[Future[Any]] = set()
        done = 0
        events = self._client.meta.events
        events.register("before-send.s3.UploadPart", self._look, unique_id=str(id(self)))
        pool = ThreadPoolExecutor(_IN_FLIGHT, thread_name_prefix="part")
        try:
            for number, part in enumerate(parts, 1):
                results.append(pool.submit(self._send, number, part))
                results[-1].size = len(part)  # type: ignore[attr-defined]
                waiting.add(results[-1])
                if len(waiting) >= _IN_FLIGHT:
                    ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    done += self._ended(ended, done)
            while waiting:
                ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                done += self._ended(ended, done)
            self._progress(done, done)
            return [result.result() for result in results]
        finally:
            # What is under way ends when it reads on: its parts would come after the abort otherwise.
            self._stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            wait(waiting, timeout=_GRACE)
            events.unregister("before-send.s3.UploadPart", unique_id=str(id(self)))

    def _ended(self, ended: Iterable[Future[Any]], before: int) -> int:
        size = 0
        for future in ended:
            future.result()
            size += future.size  # type: ignore[attr-defined]
            self._progress(before + size, 0)
        return size

    def _send(self, number: int, part: bytes) -> tuple[dict[str, Any], bytes]:
        digest = hashlib.sha256(part)
        checksum = _base64(digest)
        answer = self._client.upload_part(
            **self._target, PartNumber=number, Body=_Body(part, self._stop), ChecksumSHA256=checksum
        )
        return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum}, digest.digest()

    def _look(self, **_: object) -> None:
        if self._stop.is_set():
            raise _Stopped


class _Body(io.BytesIO):
    """A part that ends its request when nobody wants it any more."""

    def __init__(self, data: bytes, stop: threading.Event) -> None:
        super().__init__(data)
        self._stop = stop

    def read(self, size: int | None = -1, /) -> bytes:
        if self._stop.is_set():
            raise _Stopped
        return super().read(size)


def broken(head: Mapping[str, Any], bundle: Bundle) -> str:
    """Why an object is not the bundle's archive as it was sent; empty if nothing speaks against it.

    Args:
        head: what S3 says of it.
        bundle: whose archive it should be.
    """
    said = head.get("Metadata", {})
    length = head["ContentLength"]
    checksum = head.get("ChecksumSHA256", "")
    if said.get(_BUNDLE) != bundle.digest:
        return "it does not say that it is this bundle"
    # A server that keeps checksums has one for all that was sent with one, and we send one.
    if not checksum and any(name.startswith("Checksum") and name != "ChecksumType" for name in head):
        return "it was written without its SHA-256"
    if _PART in said:
        part = int(said[_PART]) if said[_PART].isdecimal() else 0
        count = -(-length // part) if part else 0
        if count < 2 or (checksum and checksum.rpartition("-")[2] != str(count)):
            return f"{length} bytes and the SHA-256 {checksum or '-'} are not those of {count} parts"
        return ""
    if said.get(_SIZE) != str(length):
        return f"it has {length} bytes instead of {said.get(_SIZE)}"
    if checksum and checksum != said.get(_SHA256):
        return f"its SHA-256 is {checksum} instead of {said.get(_SHA256)}"
    return ""


def _corrupted(where: str) -> DeployError:
    return DeployError(
        "S3 has something else than what was sent",
        where=where,
        mend="Run the command again, which replaces it.",
    )


def _base64(digest: Any) -> str:
    return base64.b64encode(digest.digest()).decode()
