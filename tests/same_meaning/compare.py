"""Deploys a project with both deployers, each to an embedded control plane of its own, and compares."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flyteidl2.task.task_service_pb2 import DeployTaskRequest

from flyte_deploy.embedded import running
from tests.same_meaning.normal import bundle_address, bundle_files, differences, normal

_TARGET = ("--project", "flytesnacks", "--domain", "development")


@dataclass(frozen=True)
class Comparison:
    """How many tasks were compared with how many of the peer's requests, and what differs."""

    tasks: int
    requests: int
    differences: tuple[str, ...]


class PeerFailed(Exception):  # noqa: N818
    """The peer could not deploy the project; its output."""


class OursFailed(Exception):  # noqa: N818
    """We could not; our output."""


def compare(
    folder: Path,
    arguments: Sequence[str],
    environment: Mapping[str, str] | None = None,
    *,
    ours: Sequence[str] = (),
    peer_folder: Path | None = None,
    flyte: str = "",
    python: str = "",
) -> Comparison:
    """Deploy with both and compare.

    Args:
        folder: the working directory.
        arguments: of both: options that both have, paths, environments.
        environment: variables to add.
        ours: arguments of ours alone.
        peer_folder: the peer's working directory, where it cannot deploy from ours.
        flyte: the peer's command, by default that of this interpreter.
        python: the project's interpreter for us, by default this one.

    Raises:
        PeerFailed, OursFailed: where one of them does not deploy it.
    """
    with tempfile.TemporaryDirectory(prefix="flyte-deploy-compare-") as scratch:
        home = Path(scratch) / "home"
        home.mkdir()
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("FLYTE", "UCTL", "GIT_"))}
        variables = {
            **kept,
            "HOME": str(home),
            "DO_NOT_TRACK": "1",
            "PYTHONHASHSEED": "0",
            **(environment or {}),
        }
        variables["PYTHONDONTWRITEBYTECODE"] = "1"
        # With a ruff there the peer guesses at lazily imported modules, and takes json for the project's own.
        entries = variables.get("PATH", os.defpath).split(os.pathsep)
        variables["PATH"] = os.pathsep.join(entry for entry in entries if not Path(entry, "ruff").exists())
        with running(Path(scratch) / "theirs") as server:
            theirs = _peer(peer_folder or folder, arguments, server.endpoint, variables, server, flyte)
        with running(Path(scratch) / "ours") as server:
            arguments = [*arguments, *ours, *(("--python", python) if python else ())]
            return _compare(*_ours(folder, arguments, server.endpoint, variables, server), theirs)


def _peer(
    folder: Path,
    arguments: Sequence[str],
    endpoint: str,
    variables: dict[str, str],
    server: Any,
    flyte: str,
) -> dict[str, list[tuple[DeployTaskRequest, dict[str, bytes]]]]:
    flyte = flyte or str(Path(sys.executable).with_name("flyte"))
    command = [flyte, "--endpoint", f"dns:///{endpoint}", "--insecure", "deploy", *_TARGET, *arguments]
    result = subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, timeout=300, check=False
    )
    if result.returncode != 0:
        raise PeerFailed(f"{' '.join(command)}\n{result.stdout[-3000:]}{result.stderr[-3000:]}")
    files: dict[str, dict[str, bytes]] = {"": {}}
    found: dict[str, list[tuple[DeployTaskRequest, dict[str, bytes]]]] = {}
    for request in map(DeployTaskRequest.FromString, server.deploy_requests()):
        address = bundle_address(request)
        if address not in files:
            files[address] = bundle_files(address)
        found.setdefault(request.task_id.name, []).append((request, files[address]))
    return found


def _ours(
    folder: Path, arguments: Sequence[str], endpoint: str, variables: dict[str, str], server: Any
) -> tuple[dict[str, tuple[DeployTaskRequest, dict[str, bytes]]], dict[str, Any]]:
    ours = str(Path(sys.executable).with_name("flyte-deploy"))
    command = [ours, "deploy", *arguments, "--endpoint", endpoint, "--insecure", *_TARGET]
    command += ["--output-format", "json"]
    result = subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, timeout=300, check=False
    )
    if result.returncode != 0:
        raise OursFailed(f"{' '.join(command)}\n{result.stderr[-3000:]}")
    files: dict[str, dict[str, bytes]] = {"": {}}
    found = {}
    for request in map(DeployTaskRequest.FromString, server.deploy_requests()):
        address = bundle_address(request)
        if address not in files:
            files[address] = bundle_files(address)
        found[request.task_id.name] = (request, files[address])
    document: dict[str, Any] = json.loads(result.stdout)
    return found, document


def _compare(
    ours: dict[str, tuple[DeployTaskRequest, dict[str, bytes]]],
    document: dict[str, Any],
    theirs: dict[str, list[tuple[DeployTaskRequest, dict[str, bytes]]]],
) -> Comparison:
    found: list[str] = [f"{name}: only the peer registers it" for name in sorted(set(theirs) - set(ours))]
    reasons = {file["path"]: file["reason"] for file in (document["bundle"] or {"files": ()})["files"]}
    for name, (request, files) in sorted(ours.items()):
        if name not in theirs:
            found.append(f"{name}: only we register it")
            continue
        candidates = [list(differences(normal(request), normal(other))) for other, _ in theirs[name]]
        fewest = min(candidates, key=len)
        found += [f"{name}: {difference}" for difference in fewest]
        # The peer may send a task several times, each with another bundle: ours has the files of all.
        bundles = [
            bundle
            for candidate, (_, bundle) in zip(candidates, theirs[name], strict=True)
            if len(candidate) == len(fewest)
        ]
        found += _bundle_differences(files, bundles, reasons)
    return Comparison(
        len(ours), sum(len(requests) for requests in theirs.values()), tuple(dict.fromkeys(found))
    )


def _bundle_differences(
    ours: dict[str, bytes], theirs: Sequence[dict[str, bytes]], reasons: dict[str, str]
) -> list[str]:
    every = {path: content for bundle in theirs for path, content in bundle.items()}
    missing = [f"bundle: {path} is missing" for path in sorted(set(every) - set(ours))]
    changed = [
        f"bundle: {path} has other bytes"
        for path in sorted(set(every) & set(ours))
        if ours[path] != every[path]
    ]
    surplus = [
        f"bundle: {path} is too much, and no import explains it ({reasons.get(path)})"
        for path in sorted(set(ours) - set(every))
        if reasons.get(path) not in ("imported", "lazy import", "include")
    ]
    return [*missing, *changed, *surplus]
