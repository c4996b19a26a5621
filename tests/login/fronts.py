"""Certificates that are good or not, and what stands between a deployer and a control plane."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import ipaddress
import os
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from flyte_deploy.embedded import Tls

Kind = Literal["good", "expired", "wrong name", "self-signed"]


def certificate(folder: Path, kind: Kind) -> tuple[Path, Tls]:
    """A new authority's file, and a certificate of it for localhost, or what should have been one."""
    folder.mkdir()
    now = dt.datetime.now(dt.timezone.utc)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test's authority")])
    host = "other.example.com" if kind == "wrong name" else "localhost"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    ends = now - dt.timedelta(days=1) if kind == "expired" else now + dt.timedelta(days=1)

    def builder(
        subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=2))
        )

    ca = (
        builder(ca_name, ca_name, ca_key.public_key())
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    names: list[x509.GeneralName] = [x509.DNSName(host)]
    if kind != "wrong name":
        names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    own = kind == "self-signed"
    leaf = (
        builder(name, name if own else ca_name, key.public_key())
        .not_valid_after(ends)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key if own else ca_key, hashes.SHA256())
    )
    paths = folder / "ca.pem", folder / "server.pem", folder / "server.key"
    paths[0].write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    paths[2].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return paths[0], Tls(paths[1], paths[2])


@contextmanager
def _serving(serve: Callable[[], Awaitable[asyncio.Server]]) -> Iterator[int]:
    """Run a server of asyncio in a thread; gives its port."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(_start(serve))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()


async def _start(serve: Callable[[], Awaitable[asyncio.Server]]) -> asyncio.Server:
    return await serve()


@dataclass
class Proxy:
    """A forward proxy: CONNECT, and requests for whole addresses over HTTP/1.1.

    Args:
        login: ``user:password`` that it wants; empty for none.
        refuses: the status that it answers everything with; 0 for none.
        connects: whether it knows CONNECT.
        to: where every name leads, a port of 127.0.0.1; 0 for where it really does.
    """

    login: str = ""
    refuses: int = 0
    connects: bool = True
    to: int = 0
    port: int = 0
    seen: list[str] = field(default_factory=list)
    """The first line of each request."""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with _closing(writer):
            head = await reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            self.seen.append(first)
            headers = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines}
            wanted = f"Basic {base64.b64encode(self.login.encode()).decode()}"
            if self.login and headers.get("proxy-authorization") != wanted:
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                return
            method, target, _ = first.split(" ")
            if self.refuses or (method == "CONNECT" and not self.connects):
                writer.write(b"HTTP/1.1 %d Not Here\r\nContent-Length: 0\r\n\r\n" % (self.refuses or 405))
                return
            place = target if method == "CONNECT" else target.split("/")[2]
            host, _, port = place.partition(":")
            address = ("127.0.0.1", self.to) if self.to else (host, int(port or 80))
            there, back = await asyncio.open_connection(*address)
            async with _closing(back):
                if method == "CONNECT":
                    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                else:
                    path = "/" + "/".join(target.split("/")[3:])
                    # One request a connection: the next one may be for another server.
                    one = head.replace(target.encode(), path.encode(), 1)
                    back.write(one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
                await asyncio.gather(_pump(reader, back), _pump(there, writer))


@contextmanager
def proxying(proxy: Proxy, tls: Tls | None = None) -> Iterator[Proxy]:
    """Run a forward proxy on loopback."""
    context = None
    if tls is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(tls.certificate, tls.key)

    with _serving(lambda: asyncio.start_server(proxy.handle, "127.0.0.1", 0, ssl=context)) as proxy.port:
        yield proxy


@asynccontextmanager
async def _closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    try:
        yield
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


@contextmanager
def http1_front(to: str, tls: Tls, ca: Path | None = None) -> Iterator[int]:
    """A reverse proxy that speaks TLS and HTTP/1.1, and nothing newer, in front of a server. Gives its port.

    Args:
        to: the server, ``http://…`` or ``https://…``.
        tls: what it speaks TLS with.
        ca: the authority of the server.
    """
    pool = urllib3.PoolManager(ca_certs=str(ca) if ca else None)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            drop = {"connection", "content-length", "te", "transfer-encoding"}
            headers = {name: value for name, value in self.headers.items() if name.lower() not in drop}
            headers["X-Forwarded-Proto"] = "https"
            answer = pool.request(
                self.command, f"{to}{self.path}", body=body, headers=headers, redirect=False
            )
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in drop:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.data)))
            self.end_headers()
            self.wfile.write(answer.data)

        do_GET = do_PUT = do_HEAD = do_POST = pass_on  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls.certificate, tls.key)
    context.set_alpn_protocols(["http/1.1"])
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def web_page(tls: Tls | None, status: int = 200) -> Iterator[int]:
    """A web server over HTTP/2 and HTTP/1.1 that answers everything with a page. Gives its port."""
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    page = b"<!DOCTYPE html><title>Please log in</title>"

    async def application(scope, receive, send):  # type: ignore[no-untyped-def]
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        headers = [(b"content-type", b"text/html"), (b"content-length", b"%d" % len(page))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": page})

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        config = Config()
        config.bind = [f"fd://{os.dup(listener.fileno())}"]
        config.loglevel = "CRITICAL"
        if tls is not None:
            config.certfile, config.keyfile = str(tls.certificate), str(tls.key)
        stop = threading.Event()

        async def until() -> None:
            while not stop.is_set():
                await asyncio.sleep(0.02)

        thread = threading.Thread(
            target=lambda: asyncio.run(serve(application, config, shutdown_trigger=until))
        )
        thread.start()
        try:
            yield port
        finally:
            stop.set()
            thread.join()
