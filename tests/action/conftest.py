"""The action's container on the real engine, as a step of a job."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engine import Engine
from tests.github.server import GitHub
from tests.github.server import running as github_running
from tests.harness.image import action_image, image_with_project
from tests.harness.runner import Runner
from tests.harness.services import Services, services

Job = Callable[..., Runner]
PYTHON = "/opt/project/bin/python"


def target(services: Services) -> dict[str, str]:
    """The inputs of a step that deploys to a job's control plane, by the interpreter that is in its image."""
    return {**services.inputs, "python": PYTHON}


@pytest.fixture(scope="session")
def image(engine: Engine) -> str:
    return action_image(engine)


@pytest.fixture(scope="session")
def project_image(engine: Engine) -> str:
    return image_with_project(engine)


@pytest.fixture(scope="session")
def services_of_job(
    engine: Engine, image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Services]:
    with services(engine, image, tmp_path_factory.mktemp("services")) as running:
        yield running


@pytest.fixture
def job(engine: Engine, project_image: str, services_of_job: Services) -> Iterator[Job]:
    """Makes a runner that has checked out a folder, with the control plane among its services.

    The action's container has an interpreter with Flyte's SDK, `PYTHON`.
    """
    yield from _jobs(engine, project_image, services_of_job)


@pytest.fixture
def fresh_job(engine: Engine, image: str, services_of_job: Services) -> Iterator[Job]:
    """The same with the action's image as it is: projects have to be installed."""
    yield from _jobs(engine, image, services_of_job)


def _jobs(engine: Engine, image: str, services_of_job: Services) -> Iterator[Job]:
    folders: list[Path] = []

    def make(source: Path | None = None) -> Runner:
        folders.append(Path(tempfile.mkdtemp(prefix="flyte-deploy-runner-")))
        runner = Runner(engine, image, folders[-1], network=services_of_job.network)
        if source is not None:
            runner.check_out(source)
        return runner

    yield make
    for folder in folders:
        shutil.rmtree(folder)


@pytest.fixture
def github(engine: Engine, services_of_job: Services) -> Iterator[GitHub]:
    """GitHub where the job's containers reach it: the address of their network on this machine."""
    where = engine.docker("network", "inspect", services_of_job.network)
    with github_running(json.loads(where)[0]["IPAM"]["Config"][0]["Gateway"]) as server:
        yield server
        assert server.problems == []
