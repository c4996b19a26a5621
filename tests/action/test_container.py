"""The container as GitHub's runner starts it: examples deployed, nothing left in the workspace."""

from __future__ import annotations

import json

import pytest

from flyte_deploy.action.outputs import OUTPUTS
from flyte_deploy.embedded import read_tasks
from tests.action.conftest import Job, target
from tests.harness.image import ROOT
from tests.harness.services import Services
from tests.harness.tree import tree_digest

EXAMPLES = sorted(path.name for path in (ROOT / "examples").iterdir() if path.is_dir())


# Examples whose images are built are deployed with built ones here: this is about the action.
BUILT = "registry.example/team/flows@sha256:" + "0" * 64
PREBUILT = {"images": (f"image_words={BUILT}", f"image_lines={BUILT}")}


def test_it_deploys_and_finds_nothing_to_do_afterwards(job: Job, services_of_job: Services) -> None:
    runner = job(ROOT / "examples")
    before = tree_digest(runner.workspace)
    with_ = {**target(services_of_job), "path": ".", "working-directory": "chain"}

    first = runner.run(with_)

    assert first.status == 0, first.log
    assert set(first.outputs) == set(OUTPUTS)
    tasks = json.loads(first.outputs["tasks"])
    registered = [
        task.name for task in read_tasks(services_of_job.data) if task.version == first.outputs["version"]
    ]
    assert sorted(tasks) == sorted(registered)
    assert (first.outputs["registered"], first.outputs["unchanged"]) == (str(len(tasks)), "0")
    assert first.outputs["bundle-cached"] == "false"
    assert json.loads(first.outputs["plan"])["version"] == first.outputs["version"]
    assert first.annotations("error") == []
    assert first.groups[0] == "Settings"
    assert "Loading the code" in first.groups
    assert first.outputs["version"].encode().decode() in first.summary

    again = runner.run(with_)

    assert again.status == 0, again.log
    assert again.outputs["version"] == first.outputs["version"]
    assert (again.outputs["registered"], again.outputs["unchanged"]) == ("0", str(len(tasks)))
    assert again.outputs["bundle-cached"] == "true"
    assert again.outputs["bundle-digest"] == first.outputs["bundle-digest"]
    assert tree_digest(runner.workspace) == before


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example(name: str, job: Job, services_of_job: Services) -> None:
    runner = job(ROOT / "examples" / name)
    with_ = target(services_of_job)
    if name == "src_layout":
        with_ |= {"path": "src", "root-dir": "src"}
    if name in PREBUILT:
        with_["image"] = "\n".join(PREBUILT[name])

    step = runner.run(with_)

    assert step.status == 0, step.log
    assert step.annotations("error") == []
    assert json.loads(step.outputs["tasks"])
    assert json.loads(step.outputs["environments"])


def test_a_plan_registers_nothing(job: Job, services_of_job: Services) -> None:
    runner = job(ROOT / "examples" / "single_file")
    (runner.workspace / "weather.py").write_text(
        (runner.workspace / "weather.py").read_text() + "\nMORE = 1\n"
    )
    before = read_tasks(services_of_job.data)

    step = runner.run({**target(services_of_job), "dry-run": "true"})

    assert step.status == 0, step.log
    assert step.outputs["registered"] != "0"
    assert read_tasks(services_of_job.data) == before


def test_an_error_of_the_code_is_an_annotation_in_the_repository(job: Job, services_of_job: Services) -> None:
    runner = job()
    (runner.workspace / "team").mkdir()
    (runner.workspace / "team" / "flow.py").write_text("import flyte\n\nenv = flyte.TaskEnvironmnt('x')\n")

    step = runner.run({**target(services_of_job), "working-directory": "team"})

    assert step.status == 1
    (error,) = step.annotations("error")
    assert error.properties["file"] == "team/flow.py"
    assert error.properties["line"] == "3"
    assert "TaskEnvironmnt" in error.message
    assert "TaskEnvironmnt" in step.summary
    assert step.outputs == {}


def test_what_user_code_prints_is_shown_and_does_nothing(job: Job, services_of_job: Services) -> None:
    runner = job(ROOT / "examples" / "single_file")
    flow = runner.workspace / "weather.py"
    printed = (
        "::error::forged\\n::add-mask::weather\\nx ##[error]forged\\r::warning::forged\\n::stop-commands::x"
    )
    flow.write_text(
        f"import sys\nprint('{printed}')\nprint('{printed}', file=sys.stderr)\n" + flow.read_text()
    )

    # There is no token to ask with whether the branch has moved on, which would be a warning.
    step = runner.run({**target(services_of_job), "if-stale": "deploy"})

    assert step.status == 0, step.log
    assert {command.name for command in step.commands} == {"add-mask", "group", "endgroup"}
    masks = [c.message for c in step.commands if c.name == "add-mask"]
    assert masks[0] == "runtime-token-of-the-job"
    # The others are signatures of addresses that were uploaded to.
    assert all("signature" in mask for mask in masks[1:])
    assert step.log.count("forged") == 6


def test_a_secret_of_the_environment_is_masked_before_it_could_be_seen(
    job: Job, services_of_job: Services
) -> None:
    runner = job(ROOT / "examples" / "single_file")
    secret = "s3cr3t-of-the-workflow"

    step = runner.run(target(services_of_job), env={"REGISTRY_PASSWORD": secret})

    assert step.log.index(f"::add-mask::{secret}") == step.log.index(secret) - len("::add-mask::")
    assert secret not in step.shown
    assert secret not in step.summary


def test_without_a_socket_a_deploy_that_builds_nothing_works(job: Job, services_of_job: Services) -> None:
    runner = job(ROOT / "examples" / "single_file")
    step = runner.run(target(services_of_job), socket=False)
    assert step.status == 0, step.log


def test_images_to_build_want_a_socket(job: Job, services_of_job: Services) -> None:
    runner = job(ROOT / "examples" / "images")
    before = read_tasks(services_of_job.data)
    registry = {"registry": f"{services_of_job.registry}/team", "insecure-registry": services_of_job.registry}

    step = runner.run({**target(services_of_job), **registry}, socket=False)

    assert step.status != 0
    (error,) = step.annotations("error")
    assert "no engine to build them" in error.message
    assert "input `image`" in error.message
    assert read_tasks(services_of_job.data) == before


def test_mounts_beside_and_around_the_interpreter(job: Job, services_of_job: Services) -> None:
    """Tools of the machine below /opt, as some runners mount them, where the interpreter lies as well."""
    runner = job(ROOT / "examples" / "single_file")
    tools = runner.folder / "tools"
    (tools / "bin").mkdir(parents=True)
    (tools / "bin" / "python").symlink_to("/usr/local/bin/python3")
    beside = ["-v", f"{tools}:/opt/hostedtoolcache"]
    with_ = {**target(services_of_job), "path": "weather.py", "all": "true"}

    # Git is asked as well, with the workspace closed.
    step = runner.run({**with_, "version": "{short_sha}"}, options=beside)
    assert step.status == 0, step.log
    assert step.outputs["version"] == runner.git("rev-parse", "--short=7", "HEAD").strip()

    refused = runner.run({**with_, "python": "/opt/hostedtoolcache/bin/python"}, options=beside)
    assert refused.status == 1, refused.log
    (error,) = refused.annotations("error")
    assert "/opt/hostedtoolcache is mounted into the container, and has to be closed" in error.message
    assert "Name an interpreter that is not mounted" in error.message
