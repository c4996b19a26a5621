"""Registries with a password, a token server or a certificate, and servers that are no registries."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import json
import shlex
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import socket
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USER, PASSWORD = "ali", "open sesame"
_BCRYPT = "$2b$04$bvx1XX5WY9CSl8A0rfwCA..zjoSi0IaqDdXLDO/EMdUVuVbQWZbim"


def free_port() -> int:
    with socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@dataclass(frozen=True)
class Authority:
    """A certificate authority, and a certificate of it for 127.0.0.1. Paths of PEM files."""

    ca: Path
    certificate: Path
    key: Path
    signing: ec.EllipticCurvePrivateKey
    """The key of `certificate`."""

    @classmethod
    def make(cls, folder: Path) -> Authority:
        folder.mkdir(parents=True, exist_ok=True)
        now = dt.datetime.now(dt.timezone.utc)
        ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test's authority")])
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])

        def builder(subject: x509.Name, public: Any) -> x509.CertificateBuilder:
            return (
                x509.CertificateBuilder()
                .subject_name(subject)
                .issuer_name(ca_name)
                .public_key(public)
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - dt.timedelta(days=1))
                .not_valid_after(now + dt.timedelta(days=1))
            )

        ca = (
            builder(ca_name, ca_key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(ca_key, hashes.SHA256())
        )
        addresses = x509.SubjectAlternativeName(
            [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
        )
        leaf = (
            builder(name, key.public_key())
            .add_extension(addresses, critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        paths = folder / "ca.pem", folder / "server.pem", folder / "server.key"
        paths[0].write_bytes(ca.public_bytes(serialization.Encoding.PEM))
        paths[1].write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
        paths[2].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return cls(*paths, signing=key)


@contextmanager
def registry(
    program: Path, folder: Path, *, auth: Mapping[str, Any] | None = None, tls: Authority | None = None
) -> Iterator[str]:
    """A registry of its own; gives its ``host:port``."""
    folder.mkdir(parents=True, exist_ok=True)
    address = f"127.0.0.1:{free_port()}"
    http: dict[str, Any] = {"addr": address}
    if tls is not None:
        http["tls"] = {"certificate": str(tls.certificate), "key": str(tls.key)}
    config = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": http,
        **({"auth": auth} if auth else {}),
    }
    # JSON is YAML.
    (folder / "config.yml").write_text(json.dumps(config))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "serve", folder / "config.yml"], stdout=log, stderr=subprocess.STDOUT
        )
    try:
        for _ in range(200):
            with socket() as probe:
                if probe.connect_ex(("127.0.0.1", int(address.rpartition(":")[2]))) == 0:
                    break
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        process.wait()


def htpasswd(folder: Path) -> dict[str, Any]:
    """The ``auth`` of a registry that knows `USER` with `PASSWORD`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "htpasswd").write_text(f"{USER}:{_BCRYPT}\n")
    return {"htpasswd": {"realm": "a test", "path": str(folder / "htpasswd")}}


@dataclass
class Seen:
    """A request that a server got."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


Reply = tuple[int, Mapping[str, str], bytes]


@contextmanager
def server(answer: Callable[[Seen], Reply]) -> Iterator[tuple[str, list[Seen]]]:
    """An HTTP server on loopback that answers as it is told; gives ``host:port`` and what it got."""
    seen: list[Seen] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            got = Seen(self.command, self.path, dict(self.headers), body)
            seen.append(got)
            status, headers, content = answer(got)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_POST = _any  # noqa: N815 - the names are the library's

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{httpd.server_port}", seen
    finally:
        httpd.shutdown()
        httpd.server_close()


@dataclass
class Tokens:
    """A token server of registries, by the specification, for `USER` with `PASSWORD`.

    `rights` says which actions are granted on a repository; ``None`` in the place of the user is nobody.
    """

    authority: Authority
    service: str = "a test's registry"
    issuer: str = "a test's tokens"
    rights: Callable[[str | None, str], set[str]] = lambda user, _: {"pull", "push"} if user else set()
    identity: str = "an identity token of the test"
    asked: list[dict[str, list[str]]] = field(default_factory=list)

    def auth(self, address: str) -> dict[str, Any]:
        """The ``auth`` of a registry that trusts this server."""
        return {
            "token": {
                "realm": f"http://{address}/token",
                "service": self.service,
                "issuer": self.issuer,
                "rootcertbundle": str(self.authority.ca),
            }
        }

    def answer(self, got: Seen) -> Reply:
        query = parse_qs(urlsplit(got.path).query if got.method == "GET" else got.body.decode())
        self.asked.append(query)
        user: str | None = None
        authorization = got.headers.get("Authorization", "")
        if authorization:
            if base64.b64decode(authorization.split()[1]).decode() != f"{USER}:{PASSWORD}":
                return 401, {}, b'{"errors": [{"code": "UNAUTHORIZED", "message": "wrong password"}]}'
            user = USER
        elif got.method == "POST":
            if query.get("refresh_token") != [self.identity]:
                return 401, {}, b"{}"
            user = USER
        access = []
        for scope in query.get("scope", []):
            kind, name, actions = scope.split(":")
            granted = self.rights(user, name) & set(actions.split(","))
            access.append({"type": kind, "name": name, "actions": sorted(granted)})
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": user or "",
            "aud": self.service,
            "exp": now + 300,
            "nbf": now - 10,
            "iat": now,
            "jti": str(len(self.asked)),
            "access": access,
        }
        chain = x509.load_pem_x509_certificate(self.authority.certificate.read_bytes())
        encoded = base64.b64encode(chain.public_bytes(serialization.Encoding.DER)).decode()
        token = jwt.encode(claims, self.authority.signing, algorithm="ES256", headers={"x5c": [encoded]})
        key = "access_token" if got.method == "POST" else "token"
        return 200, {"Content-Type": "application/json"}, json.dumps({key: token, "expires_in": 300}).encode()


def push(address: str, repository: str, tag: str, *, headers: Mapping[str, str] | None = None) -> str:
    """Puts an image without layers into a registry, for linux/amd64; gives its digest."""
    from hashlib import sha256

    def send(method: str, url: str, body: bytes | None, kind: str) -> Any:
        asked = urllib.request.Request(
            url, data=body, method=method, headers={"Content-Type": kind, **(headers or {})}
        )
        return urllib.request.urlopen(asked)

    base = f"http://{address}/v2/{repository}"
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}, "tag": tag}
    ).encode()
    digest = "sha256:" + sha256(config).hexdigest()
    location = send("POST", f"{base}/blobs/uploads/", b"", "application/octet-stream").headers["Location"]
    separator = "&" if "?" in location else "?"
    send("PUT", f"{location}{separator}digest={digest}", config, "application/octet-stream")
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": kind,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest,
                "size": len(config),
            },
            "layers": [],
        }
    ).encode()
    send("PUT", f"{base}/manifests/{tag}", manifest, kind)
    return "sha256:" + sha256(manifest).hexdigest()


def helper(folder: Path, name: str, script: str) -> Path:
    """A credential helper `docker-credential-NAME`, a shell script; gives the folder for PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\nhost=$(cat)\n{script}\n")
    path.chmod(0o755)
    return folder


def says(user: str, secret: str) -> str:
    """A helper's line that answers with a login."""
    return "echo " + shlex.quote(json.dumps({"ServerURL": "x", "Username": user, "Secret": secret}))
