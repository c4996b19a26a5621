"""The runner: one step with the action, from its `with:` block to its outputs.

As actions/runner 2.336 does it (ContainerActionHandler, ContainerOperationProvider): mounts, user, network,
environment, event file, file commands, Docker's socket.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.engine import Engine
from tests.harness.image import ROOT
from tests.harness.log import Command, commands_of, file_command, masked

RUNNER_UID = 1001
"""The user of the hosted runners."""

INSIDE = {
    "runner_temp": "/github/runner_temp",
    "home": "/github/home",
    "workflow": "/github/workflow",
    "file_commands": "/github/file_commands",
    "workspace": "/github/workspace",
}


@dataclass(frozen=True)
class Step:
    """What a step left.

    Attributes:
        status: the container's exit status.
        log: all that it wrote, as it came.
        commands: the workflow commands in it that the runner obeys.
        outputs: the step's outputs.
        environment: what it put into GITHUB_ENV.
        summary: the job summary, Markdown.
        seconds: from `docker run` to the end.
    """

    status: int
    log: str
    commands: list[Command]
    outputs: dict[str, str]
    environment: dict[str, str]
    summary: str
    seconds: float

    @property
    def shown(self) -> str:
        """The log as a reader sees it, without commands, masked."""
        return masked(self.log, self.commands)

    def annotations(self, level: str) -> list[Command]:
        """The annotations of a level: error, warning, notice."""
        return [command for command in self.commands if command.name == level]

    @property
    def groups(self) -> list[str]:
        return [command.message for command in self.commands if command.name == "group"]


@dataclass
class Runner:
    """A job on a runner: its folders live as long as the job, as those of a runner do.

    Args:
        engine: the Docker Engine of the machine.
        image: the action's image.
        folder: where the runner works, a fresh folder.
        network: the job's network.
        repository: `owner/name`.
        environment: more variables of the job.
        inside: where its folders are mounted; other runners of the same workflows have other places.
        ref: what the workflow runs for.
        api_url: GitHub's API.
        token: the job's own, `github.token`; empty where there is no such server.
        unset: variables that it does not set, other than GitHub's runner.
    """

    engine: Engine
    image: str
    folder: Path
    network: str = "bridge"
    repository: str = "octo/flows"
    environment: dict[str, str] = field(default_factory=dict)
    inside: Mapping[str, str] = field(default_factory=lambda: INSIDE)
    ref: str = "refs/heads/main"
    api_url: str = "https://api.github.com"
    token: str = ""
    unset: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        name = self.repository.partition("/")[2]
        temp = self.folder / "_temp"
        self.paths = {
            "runner_temp": temp,
            "home": temp / "_github_home",
            "workflow": temp / "_github_workflow",
            "file_commands": temp / "_runner_file_commands",
            "workspace": self.folder / name / name,
        }
        for path in self.paths.values():
            path.mkdir(parents=True, exist_ok=True)
        self.own()

    @property
    def workspace(self) -> Path:
        return self.paths["workspace"]

    def check_out(self, source: Path) -> str:
        """Fill the workspace with a repository that has the files of a folder; the commit."""
        shutil.copytree(
            source, self.workspace, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
        )
        self.git("init", "-q", "-b", "main")
        self.git("remote", "add", "origin", f"https://github.com/{self.repository}")
        self.git("add", "-A")
        self.git("-c", "user.name=Mona", "-c", "user.email=mona@example.com", "commit", "-q", "-m", "Flows")
        self.own()
        return self.git("rev-parse", "HEAD").strip()

    def git(self, *arguments: str) -> str:
        command = ["git", "-c", f"safe.directory={self.workspace}", *arguments]
        return subprocess.run(command, cwd=self.workspace, check=True, capture_output=True, text=True).stdout

    def run(
        self,
        with_: Mapping[str, str],
        *,
        env: Mapping[str, str] | None = None,
        event: str = "push",
        payload: Mapping[str, Any] | bytes | None = None,
        options: Sequence[str] = (),
        socket: bool = True,
        mounts: Sequence[str] | None = None,
        during: Callable[[str], None] = lambda container: None,
    ) -> Step:
        """Run the action as a step.

        Args:
            with_: the step's `with:`.
            env: the workflow's `env:`.
            event: the event's name.
            payload: its payload; bytes as they are.
            options: more options of `docker run`.
            socket: whether the machine has Docker's socket; else an empty folder of that name appears.
            mounts: what is mounted in place of what the runner mounts, see `mounts`.
            during: told the container's name as soon as it runs; may send it signals.
        """
        files = self._file_commands()
        usual = {
            "ref": self.ref,
            "repository": {"full_name": self.repository, "default_branch": "main"},
        }
        self._event(payload if payload is not None else usual)
        container = f"action_{uuid.uuid4().hex}"
        environment = self._environment(with_, env or {}, event, files)
        command = [
            *("docker", "run", "--name", container, "--rm", "--workdir", self.inside["workspace"]),
            # With its value: what is for the container must not change what Docker's client does.
            *(part for name, value in environment.items() for part in ("-e", f"{name}={value}")),
            *("--network", self.network),
            *(self.mounts(socket=socket) if mounts is None else mounts),
            *options,
            self.image,
        ]
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            env=self.engine.environ(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            during(container)
            output = process.communicate(timeout=300)[0].decode()
        finally:
            if process.poll() is None:
                subprocess.run(
                    ["docker", "rm", "-f", container],
                    env=self.engine.environ(),
                    capture_output=True,
                    check=False,
                )
                process.kill()
        seconds = time.perf_counter() - started
        found = commands_of(output)
        return Step(
            status=process.returncode,
            log=output,
            commands=found,
            outputs=file_command(files["GITHUB_OUTPUT"].read_text()),
            environment=file_command(files["GITHUB_ENV"].read_text()),
            summary=files["GITHUB_STEP_SUMMARY"].read_text(),
            seconds=seconds,
        )

    def mounts(self, *, socket: bool = True) -> list[str]:
        """The options of `docker run` that mount what the runner mounts."""
        host = os.environ.get("DOCKER_HOST") or self.engine.environ().get("DOCKER_HOST", "")
        there = host.removeprefix("unix://") if socket else str(self.folder / "no-socket")
        if not socket:
            Path(there).mkdir(exist_ok=True)
        return [
            *("-v", f"{there or '/var/run/docker.sock'}:/var/run/docker.sock"),
            *(part for name, path in self.paths.items() for part in ("-v", f"{path}:{self.inside[name]}")),
        ]

    def _file_commands(self) -> dict[str, Path]:
        names = {
            "GITHUB_PATH": "add_path",
            "GITHUB_ENV": "set_env",
            "GITHUB_STEP_SUMMARY": "step_summary",
            "GITHUB_STATE": "save_state",
            "GITHUB_OUTPUT": "set_output",
        }
        step = uuid.uuid4()
        files = {name: self.paths["file_commands"] / f"{kind}_{step}" for name, kind in names.items()}
        for path in files.values():
            path.touch(mode=0o644)
            os.chown(path, RUNNER_UID, RUNNER_UID)
        return files

    def _event(self, payload: Mapping[str, Any] | bytes) -> None:
        path = self.paths["workflow"] / "event.json"
        path.write_bytes(payload if isinstance(payload, bytes) else json.dumps(payload).encode())

    def _environment(
        self, with_: Mapping[str, str], env: Mapping[str, str], event: str, files: Mapping[str, Path]
    ) -> dict[str, str]:
        """What the runner puts into the container; paths below a mount are those inside."""
        sha = self.git("rev-parse", "HEAD").strip() if (self.workspace / ".git").exists() else "0" * 40
        known = {
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_ACTION": "__self",
            "GITHUB_ACTOR": "mona",
            "GITHUB_API_URL": self.api_url,
            "GITHUB_EVENT_NAME": event,
            "GITHUB_EVENT_PATH": str(self.paths["workflow"] / "event.json"),
            "GITHUB_JOB": "deploy",
            "GITHUB_REF": self.ref,
            "GITHUB_REF_NAME": self.ref.split("/", 2)[2],
            "GITHUB_REF_TYPE": "tag" if self.ref.startswith("refs/tags/") else "branch",
            "GITHUB_REPOSITORY": self.repository,
            "GITHUB_REPOSITORY_OWNER": self.repository.partition("/")[0],
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_RUN_ID": "1",
            "GITHUB_RUN_NUMBER": "1",
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_SHA": sha,
            "GITHUB_WORKFLOW": "Deploy",
            "GITHUB_WORKSPACE": str(self.workspace),
            "HOME": str(self.paths["home"]),
            "RUNNER_ARCH": "X64",
            "RUNNER_NAME": "runner",
            "RUNNER_OS": "Linux",
            "RUNNER_TEMP": str(self.paths["runner_temp"]),
            "RUNNER_TOOL_CACHE": "/opt/hostedtoolcache",
            "RUNNER_WORKSPACE": str(self.workspace.parent),
            "ACTIONS_RUNTIME_TOKEN": "runtime-token-of-the-job",
            "ACTIONS_RUNTIME_URL": "https://pipelines.example.com/",
            "ACTIONS_RESULTS_URL": "https://results.example.com/",
            "ACTIONS_CACHE_URL": "https://cache.example.com/",
            **{name: str(path) for name, path in files.items()},
            **{
                f"INPUT_{name.upper().replace(' ', '_')}": value
                for name, value in self._inputs(with_).items()
            },
        }
        # The workflow's env: comes first: it cannot replace what the runner sets.
        found = {**self.environment, **env, **known}
        return {name: self._inside(value) for name, value in found.items() if name not in self.unset}

    def _inputs(self, with_: Mapping[str, str]) -> dict[str, str]:
        declared = yaml.safe_load((ROOT / "action.yml").read_text())["inputs"]
        defaults = {name: str(one.get("default", "")) for name, one in declared.items() if "default" in one}
        found = {**defaults, **with_}
        return {name: value.replace("${{ github.token }}", self.token) for name, value in found.items()}

    def _inside(self, value: str) -> str:
        # The longest path first: the temporary folder holds the others.
        for name, path in sorted(self.paths.items(), key=lambda item: -len(str(item[1]))):
            if value == str(path) or value.startswith(f"{path}/"):
                return self.inside[name] + value[len(str(path)) :]
        return value

    def own(self) -> None:
        """Make everything the runner's."""
        for folder, names, files in os.walk(self.folder):
            for name in (*names, *files):
                os.chown(Path(folder, name), RUNNER_UID, RUNNER_UID, follow_symlinks=False)
        os.chown(self.folder, RUNNER_UID, RUNNER_UID)


def send(engine: Engine, container: str, number: signal.Signals) -> None:
    """A signal to the container's process 1, as the runner's Docker client hands it on."""
    engine.docker("kill", "--signal", str(int(number)), container)
