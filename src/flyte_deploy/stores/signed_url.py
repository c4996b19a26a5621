"""Bundles in the control plane's own storage, uploaded by HTTP PUT to an address that it signs."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError, LocationValueError, ProxySchemeUnknown, SSLError, URLSchemeUnknown

from flyte_deploy.bundle.archive import Archive, pack
from flyte_deploy.bundle.reading import open_regular
from flyte_deploy.errors import DeployError
from flyte_deploy.http import backoff, connections, shown, without_query
from flyte_deploy.model import Bundle
from flyte_deploy.secrets import SECRETS
from flyte_deploy.stores import AlreadyExists, Listen, UploadLocation, Uploads
from flyte_deploy.tls import Network

_ATTEMPTS = 6
_TIMEOUT = urllib3.Timeout(connect=30, read=120)
_BLOCK = 1 << 18
_LONGEST_RETRY_AFTER = 60.0
_BODY_LIMIT = 64 << 10
_AZURE = re.compile(r"\.blob\.(?:storage\.azure\.net|core\.[a-z0-9.]+)$")
# What S3, Google and Azure say of a URL that was good once. Their status is the one of a missing permission.
_EXPIRED = re.compile(
    r"request has expired|<code>expiredtoken|not valid in the specified time frame", re.IGNORECASE
)
_STALLED = re.compile(r"<code>requesttimeout</code>", re.IGNORECASE)


class SignedUrlStore:
    """The control plane's storage: the object of a bundle is ``<digest>/<digest>.tar.gz``.

    Args:
        uploads: gives the signed addresses.
        network: how the storage is reached.
        attempts: how often an upload is tried in all.
        pause: waits for some seconds.
    """

    def __init__(
        self,
        uploads: Uploads,
        network: Network | None = None,
        *,
        attempts: int = _ATTEMPTS,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._uploads = uploads
        self._network = network
        self._attempts = attempts
        self._pause = pause

    def describe(self) -> str:
        """The place, in words for people."""
        return "the control plane's storage"

    def find(self, bundle: Bundle) -> str | None:
        """As `Store.find`. Asks the control plane once, and once more for the address if it is there."""
        return self.find_object(bundle.digest, bundle.archive_name)

    def find_object(self, folder: str, name: str) -> str | None:
        """The address of an object whose folder is the digest of its content; None if it is not there."""
        try:
            self._uploads.create_upload_location(
                filename=name,
                filename_root=folder,
                content_md5=None,
                content_length=None,
                add_content_md5_metadata=False,
            )
        except AlreadyExists:
            return self._address(folder, name)
        return None

    def publish(self, bundle: Bundle, progress: Listen) -> str:
        """As `Store.publish`. The storage checks length and MD5, and has an object whole or not at all.

        The archive is a file first: what is signed holds both.
        """
        with tempfile.TemporaryDirectory(prefix="flyte-deploy-") as folder:
            archive = pack(bundle, Path(folder) / bundle.archive_name)
            return self.publish_object(bundle.digest, bundle.archive_name, archive, progress)

    def publish_object(self, folder: str, name: str, file: Archive, progress: Listen) -> str:
        """Put a file into the folder that is the digest of its content, and return its address.

        Repeats what can succeed another time: broken connections, the statuses 408, 429 and 5xx, a stalled
        upload, and, with a fresh address, a refused or expired one.
        """
        location: UploadLocation | None = None
        refusals = 0
        for attempt in range(1, self._attempts + 1):
            try:
                location = location or self._location(folder, name, file)
            except AlreadyExists:
                # Another deployment of the same content was quicker.
                return self._address(folder, name)
            failure = _put(location, file, self._network, progress)
            if failure is None:
                return location.native_url
            refusals += failure.refused
            again = failure.transient or failure.expired or (failure.refused and refusals == 1)
            if not again or attempt == self._attempts:
                raise failure.error(location, attempt)
            if failure.refused or failure.expired:
                location = None
            if failure.transient:
                self._pause(failure.retry_after or backoff(attempt))
        raise AssertionError("unreachable")

    def _location(self, folder: str, name: str, file: Archive) -> UploadLocation:
        return self._uploads.create_upload_location(
            filename=name,
            filename_root=folder,
            content_md5=file.md5,
            content_length=file.size,
            add_content_md5_metadata=True,
        )

    def _address(self, folder: str, name: str) -> str:
        """The address of an object that exists: that of an absent one beside it, with its name."""
        absent = f"{secrets.token_hex(16)}.absent"
        location = self._uploads.create_upload_location(
            filename=absent,
            filename_root=folder,
            content_md5=None,
            content_length=None,
            add_content_md5_metadata=False,
        )
        above, slash, last = location.native_url.rpartition("/")
        if last != absent:
            raise DeployError(
                "the control plane gives an address that does not end with the name it was asked for",
                where=location.native_url,
                mend="Use another store with --bundle-store.",
            )
        return above + slash + name


@dataclass(frozen=True)
class _Failure:
    """Why an upload did not succeed, and what would help.

    `transient`: the same again, `retry_after` seconds later if the storage says so. `refused`: a fresh
    address may help, once. `expired`: a fresh address helps.
    """

    what: str
    transient: bool = False
    refused: bool = False
    expired: bool = False
    retry_after: float | None = None
    mend: str = ""

    def error(self, location: UploadLocation, attempts: int) -> DeployError:
        tries = f" ({attempts} attempts)" if attempts > 1 else ""
        return DeployError(
            f"the bundle was not uploaded{tries}: {self.what}",
            where=without_query(location.signed_url),
            mend=self.mend or "Run the command again; nothing is registered yet.",
        )


def _blocks(stream: BinaryIO, archive: Archive, progress: Listen) -> Iterator[bytes]:
    """What is sent of a file. The last block follows only where all of them are what was signed."""
    md5 = hashlib.md5(usedforsecurity=False)
    left = archive.size
    while left:
        data = stream.read(min(_BLOCK, left))
        md5.update(data)
        left -= len(data)
        if not data or (not left and md5.digest() != archive.md5):
            raise DeployError(
                f"{archive.path} changed while it was uploaded",
                mend="Run the command again when nothing writes there.",
            )
        yield data
        progress(archive.size - left, archive.size)


def _put(
    location: UploadLocation, archive: Archive, network: Network | None, progress: Listen
) -> _Failure | None:
    assert archive.path is not None
    parts = urlsplit(location.signed_url)
    # A signature is a credential.
    SECRETS.add(parts.query)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return _Failure("no usable address was given", mend="The control plane's administrator can mend it.")
    try:
        descriptor = open_regular(archive.path, str(archive.path))
        with os.fdopen(descriptor, "rb") as stream, connections(location.signed_url, network) as pool:
            response = pool.request(
                "PUT",
                location.signed_url,
                body=_blocks(stream, archive, progress),
                headers=_headers(location, archive),
                retries=False,
                redirect=False,
                timeout=_TIMEOUT,
                preload_content=False,
            )
            body = response.read(_BODY_LIMIT).decode("utf-8", "replace")
            return _judge(response.status, body, response.headers)
    except SSLError as error:
        if "CERTIFICATE" not in str(error).upper():
            return _Failure(f"the connection failed: {_said(error)}", transient=True)
        return _Failure(
            f"no trusted connection: {_said(error)}",
            mend="Where TLS goes through an authority of your own, name its certificates with --ca-cert or "
            "in SSL_CERT_FILE.",
        )
    except (LocationValueError, ProxySchemeUnknown, URLSchemeUnknown) as error:
        return _Failure(
            f"no usable address: {_said(error)}",
            mend="Look at HTTPS_PROXY, HTTP_PROXY and the control plane.",
        )
    except (HTTPError, ConnectionError, TimeoutError) as error:
        return _Failure(f"the connection failed: {_said(error)}", transient=True)


def _judge(status: int, body: str, headers: Mapping[str, str]) -> _Failure | None:
    html = re.match(r"\s*<(?:!doctype\s+html|html)\b", body, re.IGNORECASE) is not None
    ok = 200 <= status < 300
    if ok and not html:
        return None
    text = shown(body)
    what = f"the storage answered {status}"
    if html:
        what += " with an HTML page, so it may be a proxy or a login page that answered"
    if 300 <= status < 400:
        what += f", a redirection to {without_query(headers.get('location', '')) or 'nowhere'}"
    if text:
        what += f": {text}"
    expired = status in (400, 403) and _EXPIRED.search(body) is not None
    return _Failure(
        what,
        transient=status in (408, 429)
        or status >= 500
        or (status == 400 and _STALLED.search(body) is not None),
        refused=status == 403 and not expired,
        expired=expired,
        retry_after=_retry_after(headers.get("retry-after")),
        mend="Look at HTTPS_PROXY and NO_PROXY." if html else _mend(status),
    )


def _mend(status: int) -> str:
    if status in (401, 403):
        return "The storage does not take what the control plane signed: its administrator can mend it."
    if status == 413:
        return "Make the bundle smaller, or use another store with --bundle-store."
    return ""


def _headers(location: UploadLocation, archive: Archive) -> urllib3.HTTPHeaderDict:
    headers = urllib3.HTTPHeaderDict()
    headers["Content-MD5"] = base64.b64encode(archive.md5).decode()
    host = urlsplit(location.signed_url).hostname or ""
    if _AZURE.search(host) or location.native_url.startswith(("abfs://", "abfss://")):
        headers["x-ms-blob-type"] = "BlockBlob"
    # What was signed beats what we think, whatever the spelling of the name.
    for name, value in location.headers.items():
        headers[name] = value
    # Except for this: the open-source backend returns the length of the MD5's text.
    headers["Content-Length"] = str(archive.size)
    return headers


def _retry_after(value: str | None) -> float | None:
    """Seconds; dates are passed over, as they compare two clocks."""
    if value is None or not value.strip().isdecimal():
        return None
    return min(float(value), _LONGEST_RETRY_AFTER)


def _said(error: BaseException) -> str:
    """An error's words without the signed address, which urllib3 puts into some."""
    text = re.sub(r"\?[^\s'\")]*", "", str(error))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
