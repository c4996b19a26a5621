"""What is wrong with a step, as its author sees it: one annotation, and nothing was done."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from flyte_deploy.embedded import read_tasks
from tests.action.conftest import Job, target
from tests.harness.image import ROOT
from tests.harness.runner import Runner
from tests.harness.services import Services

SOCKET = "/var/run/docker.sock"


def without(runner: Runner, place: str) -> list[str]:
    """The runner's mounts but for one."""
    pairs = list(zip(*[iter(runner.mounts())] * 2, strict=True))
    kept = [pair for pair in pairs if not pair[1].endswith(f":{place}")]
    assert len(kept) == len(pairs) - 1
    return [part for pair in kept for part in pair]


BAD: dict[str, tuple[dict[str, str], dict[str, Any], str, str]] = {
    "a typo": ({"endpont": "x"}, {}, "there is no input 'endpont'", "Did you mean 'endpoint'?"),
    "a path outside": ({"path": "../../home"}, {}, "lies outside the workspace", "in the checkout"),
    "no boolean": ({"dry-run": "si"}, {}, "input `dry-run` cannot be 'si'", "true or false"),
    "no project": ({"project": ""}, {}, "there is no project to deploy to", "input `project`"),
    "loopback": (
        {"endpoint": "localhost:30080"},
        {},
        "localhost:30080 is the action's own container",
        "reached by its name",
    ),
    "a loopback daemon": (
        {"buildkit": "tcp://127.0.0.1:1234"},
        {},
        "tcp://127.0.0.1:1234 is the action's own container",
        "reached by its name",
    ),
    "no event": ({}, {"mounts": "/github/workflow"}, "the event file cannot be read", "event.json"),
    "an event cut off": ({}, {"payload": b'{"ref": "refs/he'}, "the event file is no JSON", "event.json"),
    "an empty event": ({}, {"payload": b""}, "the event file is no JSON", "event.json"),
    "an event that is a list": ({}, {"payload": b"[]"}, "no object", "event.json"),
}


@pytest.mark.parametrize("name", BAD)
def test_it_is_said_in_one_annotation(name: str, job: Job, services_of_job: Services) -> None:
    given, more, what, mend = BAD[name]
    runner = job(ROOT / "examples" / "single_file")
    before = read_tasks(services_of_job.data)
    if "mounts" in more:
        more = {"mounts": without(runner, more["mounts"])}

    step = runner.run({**target(services_of_job), **given}, **more)

    assert step.status == 2, step.log
    (error,) = step.annotations("error")
    assert what in error.message
    assert mend in error.message
    assert "Traceback" not in step.log
    assert what in step.summary.replace("\\", "")
    assert step.outputs == {}
    assert read_tasks(services_of_job.data) == before


def test_no_socket_at_all(job: Job, services_of_job: Services) -> None:
    runner = job(ROOT / "examples" / "single_file")
    step = runner.run(target(services_of_job), mounts=without(runner, SOCKET))
    assert step.status == 0, step.log


def test_no_socket_at_all_where_images_have_to_be_built(job: Job, services_of_job: Services) -> None:
    runner = job(ROOT / "examples" / "images")
    registry = {"registry": f"{services_of_job.registry}/team", "insecure-registry": services_of_job.registry}
    step = runner.run({**target(services_of_job), **registry}, mounts=without(runner, SOCKET))
    assert step.status != 0
    (error,) = step.annotations("error")
    assert "no engine to build them" in error.message


@pytest.mark.parametrize("debug", [{}, {"RUNNER_DEBUG": "1"}])
def test_debugging_tells_where_an_error_comes_from(
    debug: Mapping[str, str], job: Job, services_of_job: Services
) -> None:
    runner = job(ROOT / "examples" / "single_file")
    step = runner.run({**target(services_of_job), "python": "/nowhere/python"}, env=debug)
    assert step.status == 2, step.log
    told = [command.message for command in step.annotations("debug")]
    assert ("Traceback (most recent call last):" in told) == bool(debug)
    # All settings with where they come from, not only those that were given.
    assert any(re.match(r"concurrency +32 +default$", line) for line in told) == bool(debug), told
    assert bool(told) == bool(debug)
    (error,) = step.annotations("error")
    assert "Traceback" not in error.message
