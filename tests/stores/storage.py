"""An object storage over HTTP, and a control plane's side of uploading to it, as FACTS.md has it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import ssl
import struct
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from flyte_deploy.stores import AlreadyExists, UploadLocation

REQUIRED = "x-meta-digest"


@dataclass(frozen=True)
class Fault:
    """What the next PUT meets instead of success.

    `read` bytes of the body are read (None for all). Then the connection is reset, or `status` answered.
    `stored`: the object is kept all the same.
    """

    status: int = 0
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    read: int | None = None
    stored: bool = False


class Storage:
    """Objects by path. A PUT needs the path's signature of the day, the length, the MD5 and a header."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.md5_known: set[str] = set()
        self.faults: list[Fault] = []
        self.puts: list[dict[str, str]] = []
        self.signature = 0
        self.address = ""

    def put(self, handler: BaseHTTPRequestHandler) -> None:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.puts.append(headers)
        path, _, query = handler.path.partition("?")
        length = int(headers["content-length"])
        fault = self.faults.pop(0) if self.faults else None
        body = handler.rfile.read(length if fault is None or fault.read is None else min(fault.read, length))
        if fault is not None:
            if fault.stored:
                self.objects[path] = body
            if not fault.status:
                reset(handler)
                return
            answer(handler, fault.status, fault.body, fault.headers)
        elif query != f"signature={self.signature}":
            answer(
                handler, 403, "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
            )
        elif len(body) != length:
            reset(handler)
        elif headers.get("content-md5") != base64.b64encode(hashlib.md5(body).digest()).decode():
            answer(handler, 400, "<Error><Code>BadDigest</Code></Error>")
        elif REQUIRED not in headers:
            answer(handler, 403, "<Error><Code>SignatureDoesNotMatch</Code></Error>")
        else:
            self.objects[path] = body
            # As Google's storage does: a type, and no body.
            answer(handler, 200, "", {"Content-Type": "text/html; charset=UTF-8"})


def answer(handler: BaseHTTPRequestHandler, status: int, body: str, headers: Mapping[str, str] = {}) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body.encode())))
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body.encode())
    handler.close_connection = True


def reset(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.shutdown(socket.SHUT_RDWR)


class ControlPlane:
    """CreateUploadLocation for one project and domain."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.calls: list[dict[str, object]] = []
        self.native = "s3://bucket/"
        self.headers: dict[str, str] = {REQUIRED: "1"}

    def create_upload_location(
        self,
        *,
        filename: str,
        filename_root: str,
        content_md5: bytes | None,
        content_length: int | None,
        add_content_md5_metadata: bool,
    ) -> UploadLocation:
        self.calls.append({"filename": filename, "md5": content_md5, "length": content_length})
        key = f"/project/development/{filename_root}/{filename}"
        stored = self.storage.objects.get(key)
        if stored is not None and not (
            content_md5 == hashlib.md5(stored).digest() and key in self.storage.md5_known
        ):
            raise AlreadyExists
        if add_content_md5_metadata:
            self.storage.md5_known.add(key)
        return UploadLocation(
            f"{self.storage.address}{key}?signature={self.storage.signature}",
            self.native + key.removeprefix("/"),
            self.headers,
        )


@contextlib.contextmanager
def running(storage: Storage, tls: ssl.SSLContext | None = None) -> Iterator[None]:
    """Serve a storage on loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            with contextlib.suppress(ConnectionError):
                storage.put(self)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        storage.address = f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
