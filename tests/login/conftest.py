"""A control plane behind TLS and a login, an identity provider, and the command line in front of them."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from flyte_deploy.embedded import Embedded, LoginSide, Tls, running
from tests.cloud.identity import Identity, serving
from tests.login.provider import CLIENT, SECRET, Provider, providing
from tests.registries.servers import Authority

FLYTE_DEPLOY = str(Path(sys.executable).with_name("flyte-deploy"))
FLYTE = str(Path(sys.executable).with_name("flyte"))
FLOW = """
import flyte

env = flyte.TaskEnvironment(name="tiny", image="python:3.13-slim")


@env.task
async def double(x: int) -> int:
    return 2 * x
"""


@dataclass(frozen=True)
class Result:
    """What a command left."""

    status: int
    out: str
    err: str

    @property
    def all(self) -> str:
        return self.out + self.err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Company:
    """A control plane as a company has it, and a developer's machine with a project."""

    folder: Path
    authority: Authority
    provider: Provider
    server: Embedded
    environ: dict[str, str] = field(default_factory=dict)
    """Of every command, beside what the machine has."""

    @property
    def project(self) -> Path:
        return self.folder / "project"

    @property
    def port(self) -> str:
        return self.server.endpoint.rpartition(":")[2]

    @property
    def endpoint(self) -> str:
        return f"dns:///localhost:{self.port}"

    @property
    def api_key(self) -> str:
        return base64.b64encode(f"localhost:{CLIENT}:{SECRET}:".encode()).decode()

    def config(self, text: str) -> None:
        """Write the project's config.yaml; `admin` has the endpoint and the authority already."""
        text = text.rstrip("\n").replace("\n", "\n  ")
        admin = f"admin:\n  endpoint: {self.endpoint}\n  caCertFilePath: {self.authority.ca}\n  {text}\n"
        (self.project / "config.yaml").write_text(admin)

    def run(self, *command: str, **environ: str) -> Result:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("FLYTE", "GIT", "UCTL", "ACTIONS"))
            and not name.lower().endswith("_proxy")
        }
        home = {"HOME": str(self.folder / "home"), "DO_NOT_TRACK": "1", "COLUMNS": "1000"}
        done = subprocess.run(
            command,
            cwd=self.project,
            env={**kept, **home, **self.environ, **environ},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        result = Result(done.returncode, done.stdout, done.stderr)
        self.check(result)
        return result

    def check(self, result: Result) -> None:
        """No output ever holds a secret."""
        for secret in (SECRET, self.api_key, *self.provider.issued):
            assert secret not in result.all

    def deploy(self, *arguments: str, endpoint: bool = True, **environ: str) -> Result:
        """Deploy the project, with JSON output."""
        where = ("--endpoint", self.endpoint, "--ca-cert", str(self.authority.ca)) if endpoint else ()
        return self.run(
            *(FLYTE_DEPLOY, "deploy", "flow.py", "env", "--output-format", "json", "--verify", "off"),
            *("--project", "flytesnacks", "--domain", "development", *where, *arguments),
            **environ,
        )

    def run_as(self, identity: Identity, *arguments: str) -> Result:
        """Deploy as a GitHub job with ``id-token: write``."""
        self.environ = identity.environ()
        return self.deploy(*arguments)

    def registered(self) -> list[str]:
        return sorted({task.name for task in self.server.tasks()})

    def turned_away(self) -> int:
        return sum(1 for call in self.server.calls() if call.code == "unauthenticated")


Open = Callable[..., Company]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def open_company(tmp_path: Path, authority: Authority) -> Iterator[Open]:
    """Opens a company: `open_company(provider, header=…)`."""
    with contextlib.ExitStack() as stack:

        def start(provider: Provider | None = None, **options: Any) -> Company:
            (tmp_path / "project").mkdir()
            (tmp_path / "home").mkdir()
            (tmp_path / "project" / "flow.py").write_text(FLOW)
            provider = stack.enter_context(providing(provider or Provider(), authority))
            options.setdefault("accepts", provider.accepts)
            options.setdefault("token_endpoint", provider.url)
            tls = options.pop("tls", Tls(authority.certificate, authority.key))
            worker = options.pop("worker", None)
            login = LoginSide(**options)
            server = stack.enter_context(running(tmp_path / "server", worker=worker, login=login, tls=tls))
            return Company(tmp_path, authority, provider, server)

        yield start


@pytest.fixture
def company(open_company: Open) -> Company:
    return open_company()


@pytest.fixture
def identity() -> Iterator[Identity]:
    with serving() as running_identity:
        yield running_identity
