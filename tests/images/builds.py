"""A command line that finds the real engine, and a way to run a task in an image as the cluster does."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flyteidl2.core.literals_pb2 import Literal, Primitive, Scalar
from flyteidl2.task.common_pb2 import Inputs, NamedLiteral, Outputs
from flyteidl2.task.task_service_pb2 import DeployTaskRequest

from flyte_deploy.embedded import Embedded
from tests.deploy.conftest import Cli, Result
from tests.engine import Engine


@dataclass(frozen=True)
class Builds:
    """The command line, a control plane, the engine, and a repository of this test alone."""

    cli: Cli
    engine: Engine
    server: Embedded
    repository: str

    def run(self, root: Path, *arguments: str, **environment: str) -> Result:
        """Deploy, and answer the result."""
        return self.cli.to_server(
            "deploy",
            root,
            *arguments,
            "--registry",
            self.repository,
            **{**dict(self.engine.variables), **environment},
        )

    def deploy(self, root: Path, *arguments: str, **environment: str) -> Any:
        """Deploy, which has to work, and answer its document."""
        result = self.run(root, *arguments, **environment)
        assert result.status == 0, result.err
        return result.json

    def request(self, name: str) -> DeployTaskRequest:
        """What was registered last of a task."""
        found = [
            request
            for request in map(DeployTaskRequest.FromString, self.server.deploy_requests())
            if request.task_id.name == name
        ]
        return found[-1]

    def task(self, name: str, folder: Path, **values: int) -> Outputs:
        """Run a registered task in its image, by the command of its request."""
        container = self.request(name).spec.task_template.container
        folder.mkdir()
        literals = [
            NamedLiteral(name=key, value=Literal(scalar=Scalar(primitive=Primitive(integer=value))))
            for key, value in values.items()
        ]
        (folder / "inputs.pb").write_bytes(Inputs(literals=literals).SerializeToString())
        folder.chmod(0o777)
        places = {
            "{{.input}}": "/run-of-task/inputs.pb",
            "{{.outputPrefix}}": "/run-of-task",
            "{{.rawOutputDataPrefix}}": "/run-of-task/raw",
            "{{.runName}}": "r1",
            "{{.actionName}}": "a0",
        }
        arguments = [places.get(argument, argument) for argument in container.args]
        empty = [index for index, argument in enumerate(arguments) if argument.startswith("{{.")]
        for index in reversed(empty):
            del arguments[index - 1 : index + 1]
        position = arguments.index("--resolver")
        arguments[position:position] = [
            *("--run-base-dir", "/run-of-task", "--org", "o", "--project", "p", "--domain", "d")
        ]
        self.engine.docker(
            *("run", "--rm", "--network", "none", "--volume", f"{folder}:/run-of-task"),
            *("--volume", f"{self.server.data}:{self.server.data}:ro"),
            *(f"--env={pair.key}={pair.value}" for pair in container.env),
            *("--env=DO_NOT_TRACK=1", "--entrypoint", arguments[0]),
            *(container.image, *arguments[1:]),
        )
        outputs = folder / "outputs.pb"
        assert outputs.exists(), list(folder.iterdir())
        return Outputs.FromString(outputs.read_bytes())

    def inspect(self, address: str) -> Any:
        """The configuration of an image that the registry has."""
        self.engine.docker("pull", "--quiet", address)
        return json.loads(self.engine.docker("image", "inspect", address))[0]["Config"]

    def inside(self, address: str, *command: str) -> str:
        """What a command prints in a container of an image."""
        return self.engine.docker("run", "--rm", "--entrypoint", command[0], address, *command[1:])


def docker_processes() -> list[str]:
    """The builds that run on this machine."""
    listed = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if "buildx build" in line]
