"""A release of what the default branch has deployed, and the pages about a large deployment."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

from tests import engine as real
from tests.report.plans import deployed, large

from bench.images import PACKAGES, project
from bench.measure import control_plane, run
from flyte_deploy.report.markdown import comment, summary
from flyte_deploy.report.story import Story

ROOM = 65_536
"""Characters that GitHub takes in a comment."""


def release(folder: Path, ours: str) -> tuple[float, float]:
    """Seconds of a release, and of the first deploy of the same content, which has two images to build."""
    engine = real.start()
    environment = engine.environ()
    # Wheels and base images are there for both.
    project(folder / "warm", PACKAGES[:2], secrets.token_hex(4))
    project(folder / "code", PACKAGES[:2], secrets.token_hex(4))
    registry = f"{engine.registry}/bench-{secrets.token_hex(4)}"

    def deploy(endpoint: str, where: Path, domain: str, *more: str) -> float:
        command = [ours, "deploy", "--all", "flow.py", "--endpoint", endpoint, "--insecure"]
        command += ["--project", "flytesnacks", "--domain", domain, "--registry", registry, *more]
        result = run(command, folder=where, environment=environment)
        if result.status:
            raise SystemExit(result.output)
        return result.seconds or 0

    with control_plane([ours], folder / "plane") as endpoint:
        deploy(endpoint, folder / "warm", "development")
        first = deploy(endpoint, folder / "code", "staging")
        taken = ("--reuse-from", "flytesnacks/staging")
        released = min(
            deploy(endpoint, folder / "code", "production", "--version", f"v1.0.{number}", *taken)
            for number in range(3)
        )
    return released, first


def pages() -> float:
    """Seconds of rendering comment and summary of 200 environments with 2,000 tasks."""
    story = Story(kind="preview", outcome=deployed(large(200, 2000)))
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        comment(story, ROOM)
        summary(story)
        seconds.append(time.perf_counter() - started)
    return max(seconds)
