"""The store: a folder whose files are put there through signed addresses."""

# ruff: noqa: ARG002 - the methods of a service have the arguments that the generated code gives

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import errno
import hashlib
import hmac
import os
import secrets
import socket
import sqlite3
import stat
import time
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import parse_qsl, quote, unquote, urlencode

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from flyteidl2.cluster import service_connect
from flyteidl2.cluster.payload_pb2 import SelectClusterRequest, SelectClusterResponse
from flyteidl2.common.run_pb2 import OffloadedInputData
from flyteidl2.dataproxy import dataproxy_service_connect
from flyteidl2.dataproxy.dataproxy_service_pb2 import (
    CreateUploadLocationRequest,
    CreateUploadLocationResponse,
    GetActionDataRequest,
    GetActionDataResponse,
    TailLogsRequest,
    TailLogsResponse,
    UploadInputsRequest,
    UploadInputsResponse,
)
from flyteidl2.task.common_pb2 import Inputs
from flyteidl2.task.task_definition_pb2 import TaskIdentifier, TaskSpec
from google.protobuf.timestamp_pb2 import Timestamp
from hypercorn.typing import ASGIReceiveCallable, ASGIReceiveEvent, ASGISendCallable, HTTPScope

from flyte_deploy.embedded.builds import Runs, action_data, log_lines
from flyte_deploy.embedded.common import Context
from flyte_deploy.embedded.database import Database
from flyte_deploy.embedded.listing import invalid
from flyte_deploy.embedded.projects import require_project
from flyte_deploy.embedded.tasks import find_spec
from flyte_deploy.embedded.triggers import find_trigger
from flyte_deploy.embedded.watch import Fault, Watch, logger

PREFIX = "/store/"
"""Where the store's addresses begin."""

MAX_EXPIRES_IN = 3600
"""How long an address may be valid, in seconds."""

MAX_SIZE = 5 * 1024**3
"""The largest object, in bytes: what S3 takes in one PUT. The backend's own default is 100 MiB."""

_MD5_METADATA = "x-amz-meta-flyteContentMD5"
_BLOCK = 1024 * 1024


@dataclass(frozen=True)
class Grant:
    """The right to put one object.

    Args:
        path: the object's path in the store.
        expires: until when, in milliseconds since 1970.
        md5: of the content, base64; empty for any.
        length: of the content in bytes; None for any.
        keep_md5: whether the object remembers its MD5.
    """

    path: str
    expires: int
    md5: str
    length: int | None
    keep_md5: bool

    def fields(self) -> dict[str, str]:
        """What it says, as the signed address has it in its query."""
        return {
            "expires": str(self.expires),
            "md5": self.md5,
            "length": "" if self.length is None else str(self.length),
            "keep-md5": "1" if self.keep_md5 else "",
        }

    def signature(self, key: bytes) -> str:
        """The signature that makes it valid."""
        message = "\n".join((self.path, *self.fields().values()))
        return hmac.new(key, message.encode(), "sha256").hexdigest()


class _Refused(Exception):  # noqa: N818 - an answer, not a failure
    """An answer of the store that is no success."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Store:
    """The folder and its HTTP side: PUT with a signed address, GET and HEAD without.

    An object is there whole or not at all: it is written beside the store and then renamed.
    """

    def __init__(self, data: Path, database: Database, watch: Watch, background: Executor) -> None:
        self._folder = data / "store"
        self._incoming = data / "incoming"
        self._database = database
        self._watch = watch
        self._background = background
        self._running: set[asyncio.Task[None] | None] = set()
        for folder in (self._folder, self._incoming):
            folder.mkdir(exist_ok=True)
        for leftover in self._incoming.iterdir():
            leftover.unlink()
        rows = database.read("SELECT value FROM keys WHERE name = 'signing'")
        if not rows:
            database.write("INSERT INTO keys VALUES ('signing', ?)", secrets.token_bytes(32))
            rows = database.read("SELECT value FROM keys WHERE name = 'signing'")
        self._key: bytes = rows[0][0]

    def exists(self, path: str) -> bool:
        """Whether there is an object of that path."""
        return self._file(path).is_file()

    def md5(self, path: str) -> str:
        """The MD5 that an object remembers, base64; empty if it does not."""
        rows = self._database.read("SELECT flyte_md5 FROM objects WHERE path = ?", path)
        return rows[0][0] if rows else ""

    def native_url(self, path: str) -> str:
        """An object's address as a task reads it."""
        return f"file://{self._file(path)}"

    def sign(self, base: str, grant: Grant) -> str:
        """The address to put an object to, on a server of this base address."""
        query = urlencode(grant.fields() | {"signature": grant.signature(self._key)})
        return f"{base}{PREFIX}{quote(grant.path)}?{query}"

    def read_native(self, address: str) -> bytes:
        """The content of an object, by the address that tasks read it from.

        Raises:
            OSError: there is no such object.
        """
        file = Path(address.removeprefix("file://"))
        if not file.is_relative_to(self._folder) or ".." in file.parts:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), address)
        return file.read_bytes()

    def write(self, path: str, content: bytes) -> None:
        """Write a small object."""
        temporary = self._incoming / secrets.token_hex(16)
        temporary.write_bytes(content)
        self._move(temporary, path)

    async def __call__(self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Answer a request below `PREFIX`."""
        task = asyncio.current_task()
        self._running.add(task)
        try:
            await self._answer(scope, receive, send)
        except asyncio.CancelledError:
            # `stop` did that: the server ends the connection in its own way.
            self._database.log(scope["method"], "Canceled")
        finally:
            self._running.discard(task)

    def stop(self) -> None:
        """End the requests under way. Nothing is left of what they put."""
        for task in self._running:
            if task is not None:
                task.cancel()

    async def _answer(self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        method = scope["method"]
        if method == "PUT":
            fault = self._watch.count("PUT")
            status, code, body = 200, "ok", b""
            ended = False

            async def read() -> ASGIReceiveEvent:
                nonlocal ended
                message = await receive()
                ended = message["type"] != "http.request" or not message["more_body"]
                return message

            try:
                await self._put(scope, read, fault)
            except _Refused as refused:
                status, code, body = refused.status, refused.code, _xml(refused)
            except (OSError, sqlite3.Error) as error:
                logger.exception("PUT failed")
                failure = _Refused(500, "InternalError", str(error))
                status, code, body = 500, failure.code, _xml(failure)
            self._database.log("PUT", code)
            if code not in ("Canceled", "Dropped"):
                # A client that is still sending would see a broken connection instead of the answer.
                while not ended:
                    await read()
                await _answer(send, status, body)
        elif method in ("GET", "HEAD"):
            await self._get(scope, send)
        else:
            await _answer(send, 405, _xml(_Refused(405, "MethodNotAllowed", "Only PUT, GET and HEAD are.")))

    async def _put(self, scope: HTTPScope, receive: ASGIReceiveCallable, fault: Fault | None) -> None:
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        if fault is not None:
            await self._watch.pause(fault)
            _fail(fault, "before")
        grant = self._granted(scope)
        length = _check_headers(grant, headers)
        temporary = self._incoming / secrets.token_hex(16)
        try:
            drop = fault.drop_after if fault else None
            md5 = await self._receive(receive, temporary, length, drop)
            if drop is not None:
                _drop(scope)
                raise _Refused(0, "Dropped", "")
            declared = grant.md5 or headers.get("content-md5", "")
            if declared and declared != md5:
                raise _Refused(
                    400, "BadDigest", "The Content-MD5 you specified did not match what we received."
                )
            # Before the object itself: one that lacks its MD5 could be taken for another's.
            self._database.write(
                "INSERT OR REPLACE INTO objects VALUES (?, ?)", grant.path, md5 if grant.keep_md5 else ""
            )
            await self._database.saved()
            self._move(temporary, grant.path)
        finally:
            temporary.unlink(missing_ok=True)
        if fault is not None:
            _fail(fault, "after")

    def _granted(self, scope: HTTPScope) -> Grant:
        fields = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        path = unquote(scope["raw_path"].decode("latin-1"))[len(PREFIX) :]
        try:
            grant = Grant(
                path=path,
                expires=int(fields["expires"]),
                md5=fields["md5"],
                length=int(fields["length"]) if fields["length"] else None,
                keep_md5=bool(fields["keep-md5"]),
            )
            genuine = hmac.compare_digest(grant.signature(self._key), fields["signature"])
        except (KeyError, ValueError, TypeError):
            genuine = False
        if not genuine:
            raise _Refused(403, "SignatureDoesNotMatch", "The signature is not the one of this address.")
        if grant.expires <= time.time() * 1000:
            raise _Refused(403, "AccessDenied", "Request has expired")
        return grant

    async def _receive(
        self, receive: ASGIReceiveCallable, path: Path, length: int, drop_after: int | None
    ) -> str:
        """Write a request's body to a file and return its MD5, base64."""
        loop = asyncio.get_running_loop()
        digest = hashlib.md5(usedforsecurity=False)
        with path.open("wb", buffering=0) as file:
            size, waiting, block, more = 0, 0, [], True
            writing: asyncio.Future[None] | None = None
            try:
                while more:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise _Refused(0, "Canceled", "")
                    body, more = message["body"], message["more_body"]
                    size += len(body)
                    waiting += len(body)
                    block.append(body)
                    if drop_after is not None and size >= drop_after:
                        return ""
                    if waiting >= _BLOCK or not more:
                        if writing is not None:
                            await writing
                        writing = loop.run_in_executor(self._background, _append, file, digest, block)
                        waiting, block = 0, []
            finally:
                if writing is not None:
                    await writing
        if size != length:
            raise _Refused(
                400, "IncompleteBody", f"The body has {size} bytes, the Content-Length header says {length}."
            )
        return base64.b64encode(digest.digest()).decode()

    async def _get(self, scope: HTTPScope, send: ASGISendCallable) -> None:
        file = self._file(unquote(scope["raw_path"].decode("latin-1"))[len(PREFIX) :])
        inside = file.is_relative_to(self._folder) and ".." not in file.parts
        try:
            if not inside:
                raise FileNotFoundError
            stream = file.open("rb")
        except (OSError, ValueError):
            self._database.log("GET", "NoSuchKey")
            await _answer(send, 404, _xml(_Refused(404, "NoSuchKey", "The specified key does not exist.")))
            return
        loop = asyncio.get_running_loop()
        with stream:
            self._database.log("GET", "ok")
            size = os.fstat(stream.fileno()).st_size
            await _start(send, 200, size, b"application/octet-stream")
            while scope["method"] == "GET":
                body = await loop.run_in_executor(self._background, stream.read, _BLOCK)
                if not body:
                    break
                await send({"type": "http.response.body", "body": body, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _file(self, path: str) -> Path:
        return self._folder / path

    def _move(self, temporary: Path, path: str) -> None:
        file = self._file(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(file)


class DataProxyService(dataproxy_service_connect.DataProxyService):
    """The API's service: uploads, and what runs of image builds left."""

    def __init__(self, database: Database, store: Store, runs: Runs) -> None:
        self._database = database
        self._store = store
        self._runs = runs

    async def create_upload_location(
        self, request: CreateUploadLocationRequest, ctx: Context
    ) -> CreateUploadLocationResponse:
        if not request.filename_root and not request.content_md5:
            raise invalid("either filename_root or content_md5 must be provided")
        expires_in = (
            request.expires_in.ToNanoseconds() / 1e9 if request.HasField("expires_in") else MAX_EXPIRES_IN
        )
        if expires_in > MAX_EXPIRES_IN:
            raise invalid(f"expires_in ({expires_in}s) exceeds maximum allowed duration of {MAX_EXPIRES_IN}s")
        if request.content_length > MAX_SIZE:
            raise invalid(
                f"content_length ({request.content_length} bytes) exceeds maximum allowed size of {MAX_SIZE}"
            )
        require_project(self._database, request.project)
        root = request.filename_root or base64.b32encode(request.content_md5).decode()
        path = _path("uploads", request.project, request.domain, root, request.filename)
        md5 = base64.b64encode(request.content_md5).decode()
        if request.filename and request.filename_root and self._store.exists(path):
            if not md5:
                raise ConnectError(
                    Code.ALREADY_EXISTS,
                    f"file already exists at [{self._store.native_url(path)}];"
                    " content_md5 is required to verify safe overwrite",
                )
            if md5 != self._store.md5(path):
                raise ConnectError(
                    Code.ALREADY_EXISTS,
                    f"file already exists at [{self._store.native_url(path)}]"
                    " with different content (hash mismatch)",
                )
        expires = int((time.time() + expires_in) * 1000)
        grant = Grant(path, expires, md5, request.content_length or None, request.add_content_md5_metadata)
        return CreateUploadLocationResponse(
            signed_url=self._store.sign(_base(ctx), grant),
            native_url=self._store.native_url(path),
            expires_at=Timestamp(seconds=expires // 1000, nanos=expires % 1000 * 1_000_000),
            headers=_required(grant),
        )

    async def upload_inputs(self, request: UploadInputsRequest, ctx: Context) -> UploadInputsResponse:
        if request.base_dir:
            raise ConnectError(Code.UNIMPLEMENTED, "base_dir: this control plane has one store")
        run, project = request.run_id, request.project_id
        if request.HasField("project_id"):
            place = (project.organization, project.name, project.domain)
        else:
            place = (run.org, run.project, run.domain)
        require_project(self._database, place[1])
        ignored = set(self._spec(request).task_template.metadata.cache_ignore_input_vars)
        hashed = request.inputs
        if ignored:
            hashed = Inputs(literals=[each for each in hashed.literals if each.name not in ignored])
        inputs_hash = _fnv(hashed.SerializeToString(deterministic=True))
        folder = _path("uploads", *place, "offloaded-inputs", inputs_hash)
        self._store.write(f"{folder}/inputs.pb", request.inputs.SerializeToString())
        return UploadInputsResponse(
            offloaded_input_data=OffloadedInputData(
                uri=self._store.native_url(folder), inputs_hash=inputs_hash
            )
        )

    async def get_action_data(self, request: GetActionDataRequest, ctx: Context) -> GetActionDataResponse:
        return action_data(self._runs, request)

    async def tail_logs(self, request: TailLogsRequest, ctx: Context) -> AsyncIterator[TailLogsResponse]:
        async for response in log_lines(self._runs, request):
            yield response

    def _spec(self, request: UploadInputsRequest) -> TaskSpec:
        if request.HasField("task_spec"):
            return request.task_spec
        if request.HasField("task_id"):
            return find_spec(self._database, request.task_id)
        row = find_trigger(self._database, request.trigger_name)
        task = TaskIdentifier(
            project=row["project"],
            domain=row["domain"],
            name=row["task_name"],
            version=row["task_version"],
        )
        return find_spec(self._database, task)


class ClusterService(service_connect.ClusterService):
    """The API's service: there is one cluster, this one."""

    async def select_cluster(self, request: SelectClusterRequest, ctx: Context) -> SelectClusterResponse:
        return SelectClusterResponse(cluster_endpoint=_base(ctx))


def _base(ctx: Context) -> str:
    """The server's address as the client wrote it."""
    headers = ctx.request_headers()
    scheme = headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    return f"{scheme if scheme in ('http', 'https') else 'http'}://{headers.get('host', '')}"


def _path(*parts: str) -> str:
    """An object's path of parts that may hold slashes; it cannot lead out of the store."""
    path = "/".join(part for part in parts if part)
    for name in path.split("/"):
        if name in ("", ".", "..") or "\0" in name or len(name.encode()) > 255:
            raise invalid(f"not a name in the store: {name!r} in {path!r}")
    return path


def _required(grant: Grant) -> Mapping[str, str]:
    """The headers that go with a signed address, exactly as the backend answers them for S3.

    Content-Length is the length of the MD5's text there, and every client puts the real one in its place.
    """
    headers = {"Content-Length": str(len(grant.md5)), "Content-MD5": grant.md5}
    if grant.keep_md5:
        headers[_MD5_METADATA] = grant.md5
    return headers


def _check_headers(grant: Grant, headers: Mapping[str, str]) -> int:
    """Check a PUT's headers and return its Content-Length."""
    for name, value in _required(grant).items():
        if name != "Content-Length" and headers.get(name.lower(), "") != value and value:
            raise _Refused(403, "SignatureDoesNotMatch", f"The header {name} is not the one that was signed.")
    length = headers.get("content-length", "")
    if not length.isdecimal():
        raise _Refused(411, "MissingContentLength", "You must provide the Content-Length header.")
    if grant.length is not None and int(length) != grant.length:
        raise _Refused(
            403, "SignatureDoesNotMatch", f"The Content-Length is {length}, {grant.length} was announced."
        )
    if int(length) > MAX_SIZE:
        raise _Refused(400, "EntityTooLarge", f"The object has over {MAX_SIZE} bytes.")
    try:
        well_formed = len(base64.b64decode(headers.get("content-md5", ""), validate=True)) in (0, 16)
    except binascii.Error:
        well_formed = False
    if not well_formed:
        raise _Refused(400, "InvalidDigest", "The Content-MD5 you specified is not valid.")
    return int(length)


def _append(file: BinaryIO, digest: hashlib._Hash, block: list[bytes]) -> None:
    data = b"".join(block)
    digest.update(data)
    view = memoryview(data)
    while view:
        written = file.write(view)
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        view = view[written:]


def _fnv(data: bytes) -> str:
    """The 64-bit FNV-1a hash, in URL-safe base64 without padding."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return base64.urlsafe_b64encode(value.to_bytes(8, "big")).decode().rstrip("=")


def _fail(fault: Fault, when: str) -> None:
    if fault.code and fault.when == when:
        raise _Refused(503, "SlowDown", f"A fault that the test asked for, {when} the object was written.")


def _drop(scope: HTTPScope) -> None:
    """Close a request's connection under it. No server offers that, so its socket is looked for."""
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - numbers, no paths
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                with socket.socket(fileno=os.dup(int(name))) as connection:
                    if connection.getpeername()[:2] == tuple(scope["client"] or ()):
                        connection.shutdown(socket.SHUT_RDWR)


def _xml(refused: _Refused) -> bytes:
    from xml.sax.saxutils import escape

    text = f"<Error><Code>{refused.code}</Code><Message>{escape(str(refused))}</Message></Error>"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()


async def _start(send: ASGISendCallable, status: int, length: int, content_type: bytes) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", content_type), (b"content-length", b"%d" % length)],
            "trailers": False,
        }
    )


async def _answer(send: ASGISendCallable, status: int, body: bytes) -> None:
    await _start(send, status, len(body), b"application/xml")
    await send({"type": "http.response.body", "body": body, "more_body": False})
