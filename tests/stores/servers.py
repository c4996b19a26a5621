"""Real servers that speak S3's and Google Cloud Storage's languages, on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import urllib3

ROOT = Path(__file__).parent.parent.parent
ACCESS, SECRET = "root-access", "root-secret"
REGION = "eu-central-1"


@lru_cache
def programs() -> dict[str, str]:
    """The paths of versitygw and fake-gcs-server, compiled if need be."""
    output = subprocess.check_output([str(ROOT / "tools/object-stores")], text=True)
    return {Path(line).name: line for line in output.splitlines()}


@dataclass(frozen=True)
class S3Server:
    """A versitygw: an access key and its secret, the folder that buckets are folders of."""

    port: int
    folder: Path

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, access: str = ACCESS, secret: str = SECRET) -> Any:
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=access,
            aws_secret_access_key=secret,
        )

    def add_user(self, access: str, secret: str) -> None:
        """A user who may nothing that no policy says."""
        command = [programs()["versitygw"], "admin", "--access", ACCESS, "--secret", SECRET]
        command += ["--region", REGION, "--endpoint-url", self.endpoint]
        command += ["create-user", "--access", access, "--secret", secret, "--role", "user"]
        subprocess.run(command, check=True, capture_output=True)


@contextlib.contextmanager
def s3_server(folder: Path, *, wrapped: Sequence[str] = (), region: str = REGION) -> Iterator[S3Server]:
    """A fresh one, its data below `folder`. `wrapped` is what its command line begins with."""
    for name in ("data", "sidecar", "iam"):
        (folder / name).mkdir(parents=True)
    port = free_port()
    command = [*wrapped, programs()["versitygw"], "--port", f"127.0.0.1:{port}", "--access", ACCESS]
    command += ["--secret", SECRET, "--region", region, "--iam-dir", str(folder / "iam"), "--quiet"]
    command += ["--keep-alive", "--health", "/health"]
    command += ["posix", "--sidecar", str(folder / "sidecar"), str(folder / "data")]
    with _running(command, f"http://127.0.0.1:{port}/health", folder / "log"):
        yield S3Server(port, folder / "data")


@dataclass(frozen=True)
class GsServer:
    """A fake-gcs-server with its objects in memory. It asks nobody who they are."""

    port: int

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def make_bucket(self, name: str) -> None:
        body = json.dumps({"name": name})
        answer = urllib3.request("POST", f"{self.endpoint}/storage/v1/b", body=body)
        assert answer.status == 200, answer.data

    def client(self) -> Any:
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage

        options = {"api_endpoint": self.endpoint}
        return storage.Client(project="p", credentials=AnonymousCredentials(), client_options=options)


@contextlib.contextmanager
def gs_server(folder: Path, *, port: int = 0, public: str = "") -> Iterator[GsServer]:
    """A fresh one. `public` is the address that it gives clients to go on with, where that is not its own."""
    port = port or free_port()
    command = [programs()["fake-gcs-server"], "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    command += ["-backend", "memory", "-log-level", "warn", "-public-host", f"127.0.0.1:{port}"]
    command += ["-external-url", public or f"http://127.0.0.1:{port}"]
    folder.mkdir(parents=True, exist_ok=True)
    with _running(command, f"http://127.0.0.1:{port}/_internal/healthcheck", folder / "log"):
        yield GsServer(port)


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def _running(
    command: Sequence[str], health: str, log: Path, environ: Mapping[str, str] = {}
) -> Iterator[None]:
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT, env={**os.environ, **environ}
        )
    try:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            with contextlib.suppress(urllib3.exceptions.HTTPError):
                if urllib3.request("GET", health, timeout=1, retries=False).status == 200:
                    break
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
