"""The real Docker Engine, registry and BuildKit daemons of the tests: `tools/engine` brings them up."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TOOL = Path(__file__).parents[1] / "tools" / "engine"


@dataclass(frozen=True)
class Engine:
    """What `tools/engine env` says.

    Attributes:
        registry: `HOST:PORT` of the registry, HTTP, no password.
        registry_program: the registry's program, for a test that needs one with a password or certificate.
        buildkit: the addresses of two BuildKit daemons, `tcp://…`.
        buildkitd: the daemon's program, for a test that needs one that it may stop.
        variables: what a process has to have in its environment to use the engine: DOCKER_HOST, PATH and, for
            an engine of ours, DOCKER_CONFIG (the folder that knows the buildx plugin).
    """

    registry: str
    registry_program: Path
    buildkit: tuple[str, ...]
    buildkitd: Path
    variables: Mapping[str, str]

    def environ(self, **more: str) -> dict[str, str]:
        """The environment of this process with the engine's variables, and `more`."""
        return {**os.environ, **self.variables, **more}

    def docker(self, *arguments: str) -> str:
        """Runs the docker client and answers its standard output.

        Raises:
            AssertionError: with its output, if it fails.
        """
        ran = subprocess.run(
            ["docker", *arguments], check=False, env=self.environ(), capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def client_config(self, folder: Path, auths: Mapping[str, object] | None = None) -> Path:
        """Writes a Docker configuration of a test's own into `folder`, one that still finds buildx."""
        folder.mkdir(parents=True, exist_ok=True)
        base = Path(self.variables.get("DOCKER_CONFIG", Path.home() / ".docker")) / "config.json"
        known = json.loads(base.read_text()) if base.exists() else {}
        plugins = known.get("cliPluginsExtraDirs")
        config = {"auths": dict(auths or {}), **({"cliPluginsExtraDirs": plugins} if plugins else {})}
        (folder / "config.json").write_text(json.dumps(config))
        return folder


def start() -> Engine:
    """Brings the engine up, or finds that it is.

    Raises:
        AssertionError: with what the tool printed, if it cannot.
    """
    ran = subprocess.run([TOOL, "pool"], check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    # The shell says what its own lines come to.
    script = f'eval "$({shlex.quote(str(TOOL))} env)"; env -0'
    out = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    now = dict(line.split("=", 1) for line in out.split("\0") if "=" in line)
    return Engine(
        registry=now["FLYTE_DEPLOY_TEST_REGISTRY"],
        registry_program=Path(now["FLYTE_DEPLOY_TEST_REGISTRY_PROGRAM"]),
        buildkit=tuple(now["FLYTE_DEPLOY_TEST_BUILDKIT"].split()),
        buildkitd=Path(now["FLYTE_DEPLOY_TEST_BUILDKITD"]),
        variables={name: now[name] for name in ("DOCKER_HOST", "DOCKER_CONFIG", "PATH") if name in now},
    )
