"""The action's container: its size as pushed, its start, an unchanged project, and staging."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from tests import engine as real
from tests.harness import image as action
from tests.harness.runner import Runner
from tests.harness.services import services

from bench.measure import run
from flyte_deploy.isolation.staging import Owner, copy_tree

_RECENTLY_DELETED = 370
"""Seconds until ext4 uses the inode of a removed file again: 60, and 300 where that is not on disk yet
(fs/ext4/ialloc.c)."""
TARGET = {"project": "flytesnacks", "domain": "development", "insecure": "true"}


def compressed(engine: real.Engine) -> dict[str, float]:
    """The megabytes that a registry holds of the image, in each compression, beside its base.

    The base is a stand-in here, made of Debian's packages; the one that a release has is 41 MB in gzip.
    """
    found = {}
    for kind, level in (("gzip", 9), ("zstd", 19)):
        name = f"bench-{secrets.token_hex(4)}/action"
        output = f"type=image,name={engine.registry}/{name}:{kind},push=true,compression={kind}"
        action.build(engine, "--output", f"{output},compression-level={level},force-compression=true")
        accept = (
            "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
        )
        url = f"http://{engine.registry}/v2/{name}/manifests/{kind}"
        request = urllib.request.Request(url, headers={"Accept": accept})
        with urllib.request.urlopen(request) as answer:
            manifest = json.load(answer)
        found[kind] = sum(layer["size"] for layer in manifest["layers"][1:]) / 1e6
    return found


def first_line(engine: real.Engine, command: Sequence[str], wanted: str) -> float:
    """Seconds from the start of a command to a line of its output that holds a text, or to its end."""
    started = time.perf_counter()
    with subprocess.Popen(
        command, env=engine.environ(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if wanted and wanted in line:
                break
        seconds = time.perf_counter() - started
        process.stdout.read()
    if not wanted:
        seconds = time.perf_counter() - started
    return seconds


def starting(engine: real.Engine, image: str) -> tuple[float, float]:
    """Seconds to the first line of the first step, and of a container that does nothing at all."""
    docker = ["docker", "run", "--rm"]
    environment = ["-e", "GITHUB_WORKSPACE=/github/workspace", "--tmpfs", "/github/workspace"]
    ours, nothing = [], []
    for _ in range(7):
        ours.append(first_line(engine, [*docker, *environment, image], "::group::"))
        nothing.append(first_line(engine, [*docker, "--entrypoint", "/bin/true", image], ""))
    return min(ours), min(nothing)


def unchanged(engine: real.Engine, image: str, flyte_deploy: str) -> tuple[float, float]:
    """Seconds of a deploy that finds nothing to do: the whole container, and the command outside.

    A good part of it is the copy of the environment, thousands of files, which goes with the container. ext4
    takes ten times as long to make files while the inodes of removed ones may not be used again, which a run
    after another one meets here, and a job on a runner does not: so it is one that comes after a rest.
    """
    project = action.ROOT / "examples" / "single_file"
    with tempfile.TemporaryDirectory(prefix="flyte-deploy-bench-") as name:
        folder = Path(name)
        with services(engine, image, folder) as job:
            runner = Runner(engine, image, folder / "runner", network=job.network)
            runner.check_out(project)
            for _ in range(2):
                step = runner.run({**TARGET, "endpoint": job.endpoint})
                if step.status:
                    raise SystemExit(step.log)
            os.sync()
            time.sleep(_RECENTLY_DELETED)
            inside = runner.run({**TARGET, "endpoint": job.endpoint}).seconds
            # The same control plane, by its address in the job's network.
            address = engine.docker(
                *("network", "inspect", "-f", "{{range .Containers}}{{.IPv4Address}} {{end}}", job.network)
            ).split()
            endpoint = next(one for one in (f"{one.split('/')[0]}:8090" for one in address) if _answers(one))
            command = [flyte_deploy, "deploy", "--recursive", ".", "--endpoint", endpoint, "--insecure"]
            command += ["--project", "flytesnacks", "--domain", "development"]
            outside = [run(command, folder=runner.workspace) for _ in range(4)]
            if any(one.status for one in outside):
                raise SystemExit(outside[0].output)
    return inside, min(one.seconds or 0 for one in outside[1:])


def _answers(address: str) -> bool:
    host, _, port = address.partition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1):
            return True
    except OSError:
        return False


def staging(tree: Path) -> tuple[float, float]:
    """Seconds of copying a tree for another user, and of ``cp -a``; its pages are warm."""
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(3):
        for figures, copy in ((ours, _stage), (theirs, _cp)):
            target = tree.with_name(f"{tree.name}-copy")
            # What the one before has written is not written back at the other's expense.
            os.sync()
            started = time.perf_counter()
            copy(tree, target)
            figures.append(time.perf_counter() - started)
            shutil.rmtree(target)
    return min(ours), min(theirs)


def _stage(tree: Path, target: Path) -> None:
    copy_tree(tree, target, owner=Owner(1879048200, 1879048200))


def _cp(tree: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", str(tree), str(target)], check=True)
