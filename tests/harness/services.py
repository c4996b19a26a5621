"""The services of a job: containers on its bridge network, reached by name."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cache import cache_folder
from tests.engine import Engine

SERVE = "import sys; from flyte_deploy.cli import main; sys.exit(main())"


@dataclass(frozen=True)
class Services:
    """A job's network and what listens there.

    Attributes:
        network: the network's name.
        endpoint: the embedded control plane, from inside: ``flyte:8090``, without TLS.
        registry: a registry, from inside: ``registry:5000``, without TLS. It holds what that of the engine
            does, base images among it.
        data: the control plane's folder on this machine, for `flyte_deploy.embedded.read_tasks`.
    """

    network: str
    endpoint: str
    registry: str
    data: Path

    @property
    def inputs(self) -> dict[str, str]:
        """The inputs of a step that deploys to the control plane."""
        return {
            "project": "flytesnacks",
            "domain": "development",
            "endpoint": self.endpoint,
            "insecure": "true",
        }


@contextmanager
def services(engine: Engine, image: str, folder: Path) -> Iterator[Services]:
    """A network with a control plane and a registry, gone afterwards.

    Args:
        engine: where they run.
        image: the action's image, which has the embedded control plane.
        folder: where the control plane keeps its data, on this machine.
    """
    network = f"github_network_{uuid.uuid4().hex}"
    data = folder / "control-plane"
    data.mkdir(parents=True)
    started: list[str] = []
    engine.docker("network", "create", network)
    try:
        started.append(
            engine.docker(
                *("run", "-d", "--network", network, "--network-alias", "flyte", "-v", f"{data}:/data"),
                *("--entrypoint", "/opt/flyte-deploy/bin/python", image, "-I", "-c", SERVE, "serve"),
                *("--host", "0.0.0.0", "--port", "8090", "--data", "/data"),
            ).strip()
        )
        started.append(
            engine.docker(
                *("run", "-d", "--network", network, "--network-alias", "registry"),
                *("-v", f"{cache_folder() / 'engine' / 'registry'}:/var/lib/registry", "registry:2"),
            ).strip()
        )
        _wait(engine, started[0])
        yield Services(network, "flyte:8090", "registry:5000", data)
    finally:
        for container in started:
            engine.docker("rm", "--force", "--volumes", container)
        engine.docker("network", "rm", network)
        shutil.rmtree(data, ignore_errors=True)


def _wait(engine: Engine, container: str) -> None:
    for _ in range(300):
        if "listens on" in engine.docker("logs", container):
            return
        state = engine.docker("inspect", "-f", "{{.State.Running}}", container).strip()
        assert state == "true", engine.docker("logs", container)
        time.sleep(0.1)
    raise AssertionError("the control plane does not start")
