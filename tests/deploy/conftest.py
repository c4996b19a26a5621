"""The command line against an embedded control plane, as users run it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flyteidl2.task.task_service_pb2 import DeployTaskRequest

from flyte_deploy.embedded import READS, Embedded, running

FLYTE_DEPLOY = str(Path(sys.executable).with_name("flyte-deploy"))
TARGET = ("--project", "flytesnacks", "--domain", "development")


@dataclass(frozen=True)
class Result:
    """What a command left: its exit status and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Cli:
    """Runs ``flyte-deploy`` in a folder against a control plane."""

    server: Embedded
    home: Path

    def environment(self, **more: str) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("FLYTE", "GIT_", "UCTL")) and name != "VIRTUAL_ENV"
        }
        return {**kept, "HOME": str(self.home), "DO_NOT_TRACK": "1", **more}

    def run(self, folder: Path, *arguments: str, **environment: str) -> Result:
        result = subprocess.run(
            [FLYTE_DEPLOY, *arguments],
            cwd=folder,
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Result(result.returncode, result.stdout, result.stderr)

    def to_server(self, command: str, folder: Path, *arguments: str, **environment: str) -> Result:
        """A deploy or plan against the control plane, with JSON output."""
        where = ("--endpoint", self.server.endpoint, "--insecure", *TARGET, "--output-format", "json")
        return self.run(folder, command, *arguments, *where, **environment)

    def deploy(self, folder: Path, *arguments: str, **environment: str) -> Any:
        """A deploy that has to succeed; its JSON document."""
        result = self.to_server("deploy", folder, *arguments, **environment)
        assert result.status == 0, result.err
        return result.json

    def plan(self, folder: Path, *arguments: str, **environment: str) -> Any:
        """A plan that has to succeed; its JSON document."""
        result = self.to_server("plan", folder, *arguments, **environment)
        assert result.status == 0, result.err
        return result.json

    def requests(self) -> dict[str, DeployTaskRequest]:
        """The registrations so far, by task; of several of one task the last."""
        requests = map(DeployTaskRequest.FromString, self.server.deploy_requests())
        return {request.task_id.name: request for request in requests}

    def newest(self) -> dict[str, str]:
        """The version of each task that was created last."""
        return {task.name: task.version for task in self.server.tasks()}

    def writes(self) -> list[str]:
        """The calls so far that were no reads."""
        return [call.method for call in self.server.calls() if call.method not in READS]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Embedded]:
    with running(tmp_path / "server") as embedded:
        yield embedded


@pytest.fixture
def cli(server: Embedded, tmp_path: Path) -> Cli:
    home = tmp_path / "home"
    home.mkdir()
    return Cli(server, home)


def tree_hash(root: Path) -> str:
    """A digest of all files, folders, modes and modification times below a folder."""
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        info = path.lstat()
        digest.update(f"{path.relative_to(root)} {info.st_mode:o} {info.st_mtime_ns}\n".encode())
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()
