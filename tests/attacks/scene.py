"""What a job leaves lying about when the action's container starts, with secrets in all of it."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cache import cache_folder, uv_program

PROJECT = Path(__file__).with_name("project")
CONTROL = Path(__file__).with_name("control.py")
DEPLOYER = Path(__file__).with_name("deployer.py")
MOUNTS = ("github", "run", "mounted")
"""The folders of a scene that hold what the container would have mounted."""
WORD = "planted-secret"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB+/0=\n-----END CERTIFICATE-----\n"
SDK = "2.12.1"


@dataclass(frozen=True)
class Attempt:
    """What a probe got, or what denied it."""

    name: str
    got: str = ""
    denied: str = ""


@dataclass
class Scene:
    """A job's folders with planted secrets, and servers that listen.

    `folder` can be entered by everybody; what the container would have mounted lies in `MOUNTS` below it.
    """

    folder: Path
    loopback: int = 0
    abstract: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    also_mounted: tuple[str, ...] = ()

    @property
    def workspace(self) -> Path:
        return self.folder / "github" / "workspace"

    @property
    def base(self) -> Path:
        return self.folder / "base"

    @property
    def open(self) -> Path:
        """A folder that everybody can write to."""
        folder = self.folder / "open"
        folder.mkdir(exist_ok=True)
        folder.chmod(0o1777)
        return folder

    @property
    def places(self) -> dict[str, object]:
        """Where things lie, as the probes read it."""
        github = self.folder / "github"
        return {
            "commands": str(github / "file_commands"),
            "temp": str(github / "runner_temp"),
            "home": str(github / "home"),
            "workspace": str(self.workspace),
            "socket": str(self.folder / "run" / "docker.sock"),
            "datagrams": str(self.folder / "run" / "datagrams.sock"),
            "abstract": self.abstract,
            "loopback": self.loopback,
            "programs": str(self.folder / "bin"),
            "secrets": [str(self.folder / "mounted" / "token")],
        }

    @property
    def certificates(self) -> dict[str, str]:
        """The workflow's variables that name files of certificates in the checkout."""
        found = {
            "CURL_CA_BUNDLE": self.workspace / "ca.pem",
            "PIP_CERT": self.workspace / "link.pem",
            "REQUESTS_CA_BUNDLE": self.workspace / "process.pem",
        }
        return {name: str(path) for name, path in found.items() if os.path.lexists(path)}

    def check_out(self, project: Path | None = None, files: Mapping[str, str] | None = None) -> None:
        """Fill the workspace with a repository, of a project or of files."""
        self.open_mounts()
        shutil.rmtree(self.workspace)
        if project is not None:
            # Links are refused before, where inputs are read; here nobody looks.
            links = {
                "link.pem": f"-> {self.folder}/github/home/notes",
                "process.pem": "-> /proc/self/environ",
            }
            files = {**links, "ca.pem": f"{CERTIFICATE}{WORD}\n", **(files or {})}
        plant_checkout(self.workspace, project, files or {})

    def open_mounts(self) -> None:
        """Have everything as it is before the deployer closes it."""
        for name in MOUNTS:
            (self.folder / name).chmod(0o755)

    def run(
        self,
        endpoint: str = "",
        network: str = "none",
        *,
        landlock: bool = True,
        untrusted: bool = False,
        insecure: bool = True,
        variables: Mapping[str, str] | None = None,
        **options: object,
    ) -> dict[str, Any]:
        """Let the deployer plan or carry out a deploy of the workspace: what it was told, how it ended.

        Without `landlock` it is as on a kernel that has none. `variables` are more of the deployer's own.
        """
        for made in self.base.glob("*"):
            # An environment is as good as new, and slow to copy.
            if made.name != "environments":
                shutil.rmtree(made)
        self.open_mounts()
        described = self.folder / "scene.json"
        mounts = [path for name in MOUNTS for path in (self.folder / name).iterdir()]
        mounts += [self.folder / name for name in self.also_mounted]
        described.write_text(
            json.dumps(
                {
                    "workspace": str(self.workspace),
                    "base": str(self.base),
                    "path": f"{self.folder / 'bin'}:/usr/bin:/bin",
                    "mounts": [str(mount) for mount in mounts],
                    "held_open": str(self.folder / "github" / "home" / "notes"),
                    "environment": {**self.certificates, **self.environment},
                    "endpoint": endpoint,
                    "insecure": insecure,
                    "network": network,
                    "landlock": landlock,
                    "untrusted": untrusted,
                    "pass_env": ["ATTACK_PLACES", *self.environment],
                    "options": {
                        "arguments": ["."],
                        "recursive": True,
                        "project": "flytesnacks",
                        "domain": "development",
                        "install": "auto",
                        "cache_dir": str(cache_folder() / "environments"),
                        **options,
                    },
                }
            )
        )
        described.chmod(0o600)
        outcome = self.folder / "outcome.json"
        outcome.unlink(missing_ok=True)
        ran = subprocess.run(
            [sys.executable, str(DEPLOYER), str(described), str(outcome)],
            env={
                **os.environ,
                "DEPLOYER_TOKEN": WORD,
                "ATTACK_PLACES": json.dumps(self.places),
                "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
                "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
                **(variables or {}),
            },
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr[-4000:]
        found: dict[str, Any] = json.loads(outcome.read_text())
        return found

    def control(self, *command: str) -> str:
        """What probes print as root, who is not confined, against a process that holds the secret.

        Args:
            command: what runs the probes, `probes.py` of the workspace itself if it is not said.
        """
        self.open_mounts()
        command = command or (sys.executable, str(self.workspace / "probes.py"))
        ran = subprocess.run(
            [sys.executable, str(CONTROL), "--own-network", WORD, *command],
            env={**os.environ, **self.certificates, "ATTACK_PLACES": json.dumps(self.places), "TOKEN": WORD},
            cwd=self.workspace,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout


def attempts(lines: list[str]) -> dict[str, Attempt]:
    """The attempts that probes reported, by name; a log puts a mark before each line."""
    found = [json.loads(match[1]) for line in lines if (match := re.search(r"attack (\{.*\})", line))]
    return {one["name"]: Attempt(**one) for one in found}


def plant_runner(places: Mapping[str, Path]) -> None:
    """What earlier steps and the runner leave in the folders that are mounted, by their names there."""
    files = {
        "file_commands/set_env_1": f"AWS_SECRET_ACCESS_KEY={WORD}\n",
        "file_commands/set_output_1": f"token={WORD}\n",
        "file_commands/add_path_1": "",
        "file_commands/step_summary_1": "",
        "runner_temp/1234.sh": f"curl -H 'Authorization: {WORD}'\n",
        "runner_temp/git-credentials-1.config": f"[http]\n\textraheader = {WORD}\n",
        "home/.docker/config.json": json.dumps({"auths": {"ghcr.io": {"auth": WORD}}}),
        "home/notes": WORD,
        "workflow/event.json": "{}",
    }
    for name, text in files.items():
        mount, _, below = name.partition("/")
        path = places[mount] / below
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)


def plant_checkout(workspace: Path, project: Path | None, files: Mapping[str, str]) -> None:
    """A checkout with the token in git's configuration, and Google's credentials in it."""
    workspace.mkdir(exist_ok=True)
    if project is not None:
        shutil.copytree(project, workspace, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    (workspace / "requirements.txt").write_text(f"flyte=={SDK}\n")
    for name, text in files.items():
        path = workspace / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("-> "):
            path.symlink_to(text.removeprefix("-> "))
        else:
            path.write_text(text)
    safe = ("-c", f"safe.directory={workspace}")
    for command in (
        ("init", "-q", "-b", "main"),
        ("remote", "add", "origin", f"https://x:{WORD}@github.com/octo/flows"),
        ("config", "http.https://github.com/.extraheader", f"AUTHORIZATION: basic {WORD}"),
        ("add", "-A"),
        ("-c", "user.name=Mona", "-c", "user.email=mona@example.com", "commit", "-q", "-m", "Flows"),
    ):
        subprocess.run(["git", *safe, *command], cwd=workspace, check=True, capture_output=True)
    for name in ("gha-creds-0123.json", "gha-kubeconfig-0123"):
        (workspace / name).write_text(json.dumps({"private_key": WORD}))


@contextmanager
def scene() -> Iterator[Scene]:
    """A scene with its servers; everything is gone afterwards."""
    with ExitStack() as stack:
        folder = stack.enter_context(_slot())
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)
        for name in ("github/workspace", "run", "mounted", "bin"):
            (folder / name).mkdir(parents=True)
        (folder / "mounted" / "token").write_text(WORD)
        shutil.copy(uv_program(), folder / "bin" / "uv")
        names = ("file_commands", "runner_temp", "home", "workflow")
        plant_runner({name: folder / "github" / name for name in names})
        made = Scene(folder)
        stack.enter_context(open_sockets(folder / "run"))
        made.abstract = folder.name
        stack.enter_context(_listening(socket.AF_UNIX, f"\0{made.abstract}"))
        stack.enter_context(_receiving(f"\0{made.abstract}-datagrams"))
        server = stack.enter_context(_listening(socket.AF_INET, ("127.0.0.1", 0)))
        made.loopback = server.getsockname()[1]
        yield made


@contextmanager
def open_sockets(folder: Path) -> Iterator[None]:
    """Docker's socket and one for datagrams, which everybody may write to."""
    with (
        _listening(socket.AF_UNIX, str(folder / "docker.sock")),
        _receiving(str(folder / "datagrams.sock")),
    ):
        for path in folder.glob("*.sock"):
            path.chmod(0o666)
        yield


@contextmanager
def _receiving(address: str) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(address)
        yield


@contextmanager
def _slot() -> Iterator[Path]:
    """A fresh folder that nobody else uses; its path is one of a few: installed environments know it."""
    locks = cache_folder() / "attacks"
    locks.mkdir(exist_ok=True)
    for number in range(64):
        with (locks / f"{number}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            folder = Path(tempfile.gettempdir(), f"flyte-deploy-attacks-{number}")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            yield folder
            return
    raise AssertionError("64 scenes are in use")


@contextmanager
def _listening(family: int, address: object) -> Iterator[socket.socket]:
    with socket.socket(family, socket.SOCK_STREAM) as server:
        server.bind(address)  # type: ignore[arg-type]
        server.listen(64)
        server.settimeout(0.2)
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                try:
                    server.accept()[0].close()
                except TimeoutError:
                    continue

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server
        finally:
            ended.set()
            thread.join()
