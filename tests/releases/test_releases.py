"""Records, history, promote, rollback, and releases that take over what is registered."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from flyteidl2.task.task_service_pb2 import DeployTaskRequest
from flyteidl2.task.task_service_pb2_grpc import TaskServiceStub

from flyte_deploy.specs.container import primary
from tests.conftest import Write
from tests.deploy.conftest import Cli, Result
from tests.deploy.test_triggers import NIGHTLY

FLOW = """
import flyte

env = flyte.TaskEnvironment(name="jobs", image="registry.example/team/image@sha256:{digest}")

@env.task({task})
async def work(number: int = {number}) -> int:
    return number

@env.task
async def other() -> None: ...
"""
DIGEST = "ab" * 32


def flow(number: int = 1, task: str = f"triggers=[{NIGHTLY}]") -> dict[str, str]:
    return {"flow.py": FLOW.format(digest=DIGEST, number=number, task=task)}


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"file://{tmp_path / 'bundles'}"


def run(
    cli: Cli,
    root: Path,
    command: str,
    *arguments: str,
    json: bool = True,
    job: Mapping[str, str] | None = None,
) -> Result:
    where = ("--endpoint", cli.server.endpoint, "--insecure", "-p", "flytesnacks")
    form = ("--output-format", "json") if json else ()
    return cli.run(root, command, *where, *form, *arguments, **(job or {}))


def argument(arguments: Iterable[str], name: str) -> str:
    words = list(arguments)
    return words[words.index(name) + 1]


def done(result: Result) -> Any:
    assert result.status == 0, result.err
    return result.json


def newest(cli: Cli, domain: str) -> dict[str, tuple[str, DeployTaskRequest]]:
    """The newest version of each task of a domain, with the request that registered it."""
    requests = [DeployTaskRequest.FromString(data) for data in cli.server.deploy_requests()]
    return {one.task_id.name: (one.task_id.version, one) for one in requests if one.task_id.domain == domain}


DEPLOY = ("deploy", "flow.py", "env")


def development(store: str) -> tuple[str, ...]:
    return ("-d", "development", "--bundle-store", store)


GITHUB = {
    "GITHUB_REPOSITORY": "team/project",
    "GITHUB_RUN_ID": "42",
    "GITHUB_ACTOR": "mona",
    "GITHUB_EVENT_NAME": "push",
}


def test_a_deploy_leaves_a_record_where_it_can_be_read(
    write: Write, cli: Cli, store: str, tmp_path: Path
) -> None:
    root = write(flow())
    first = done(run(cli, root, *DEPLOY, *development(store), job=GITHUB))
    path = tmp_path / "bundles/records" / "127/flytesnacks/development" / f"{first['version']}.json"
    assert first["record_uri"] == f"file://{path}"
    record = json.loads(path.read_text())
    assert record == first["record"]
    assert record["run"] == "https://github.com/team/project/actions/runs/42"
    assert (record["actor"], record["event"]) == ("mona", "push")
    assert record["files"].keys() == {"flow.py"}
    assert record["tasks"] == {"jobs.work": "jobs", "jobs.other": "jobs"}
    assert record["replaced"] == {}
    write(flow(2))
    second = done(run(cli, root, *DEPLOY, *development(store)))
    assert second["record"]["replaced"] == dict.fromkeys(record["tasks"], first["version"])
    # The difference knows the files from the record.
    write({**flow(3), "more.py": ""})
    planned = done(run(cli, root, "plan", "flow.py", "env", *development(store)))
    assert planned["difference"]["files"] == [{"path": "flow.py", "what": "changed"}]
    # Without a store that can be read there is only what the command answers.
    third = done(run(cli, root, *DEPLOY, "-d", "staging"))
    assert third["record_uri"] == ""
    assert third["record"]["version"] == third["version"]


def test_a_corrupt_record_is_said_and_does_not_stop_a_deploy(write: Write, cli: Cli, store: str) -> None:
    root = write(flow())
    first = done(run(cli, root, *DEPLOY, *development(store)))
    path = Path(first["record_uri"].removeprefix("file://"))
    for broken in (b"{", b"[]", path.read_bytes()[:-40], b'{"schema": "flyte-deploy/record/9"}'):
        path.write_bytes(broken)
        write(flow(2))
        planned = done(run(cli, root, "plan", "flow.py", "env", *development(store)))
        assert any("is corrupt" in warning for warning in planned["warnings"])
        listed = done(run(cli, root, "history", *development(store)))
        assert "is corrupt" in listed["deployments"][0]["problem"]


def test_history(write: Write, cli: Cli, store: str) -> None:
    root = write(flow())
    empty = cli.run(
        root, "history", "--endpoint", cli.server.endpoint, "--insecure", "-p", "flytesnacks", "-d", "staging"
    )
    assert empty.out == "Nothing is registered in 127/flytesnacks/staging.\n"
    versions = []
    for number in (1, 2, 3):
        write(flow(number))
        one = done(run(cli, root, *DEPLOY, *development(store), job=GITHUB))
        versions.append(one["version"])
    listed = done(run(cli, root, "history", *development(store), "--limit", "2"))
    assert [one["version"] for one in listed["deployments"]] == versions[:0:-1]
    assert [one["newest"] for one in listed["deployments"]] == [2, 0]
    assert listed["deployments"][0]["record"]["actor"] == "mona"
    text = run(cli, root, "history", *development(store), json=False).out
    assert versions[0] in text
    assert "deploy, by mona, https://github.com/team/project/actions/runs/42" in text


@pytest.mark.parametrize("recorded", [True, False])
def test_promote_registers_the_same_bundle_and_images(
    recorded: bool, write: Write, cli: Cli, store: str
) -> None:
    root = write(flow())
    kept = ("--bundle-store", store) if recorded else ()
    deployed = done(run(cli, root, *DEPLOY, "-d", "development", *kept))
    before = newest(cli, "development")
    asked = ("--from", "development", "--to", "production", "--version", deployed["version"], *kept)
    shutil.rmtree(root)
    empty = write({"nothing": ""})
    planned = done(run(cli, empty, "promote", *asked, "--as", "v1.2.0", "--dry-run"))
    assert planned["registered"] == ["jobs.other", "jobs.work"]
    assert newest(cli, "production") == {}
    promoted = done(run(cli, empty, "promote", *asked, "--as", "v1.2.0"))
    after = newest(cli, "production")
    assert promoted["triggers"] == ["jobs.work/nightly"]
    for name, (version, request) in after.items():
        assert version == "v1.2.0"
        one, other = before[name][1].spec.task_template, request.spec.task_template
        assert other.container.image == one.container.image == f"registry.example/team/image@sha256:{DIGEST}"
        assert other.metadata.code_bundle_uri == one.metadata.code_bundle_uri == deployed["bundle_uri"]
        assert other.id.version == "v1.2.0"
        assert argument(other.container.args, "--version") == "v1.2.0"
        assert (other.id.domain, other.id.project) == ("production", "flytesnacks")
    assert [one.name for one in after["jobs.work"][1].triggers] == ["nightly"]
    uploads = [call for call in cli.writes() if "Upload" in call]
    again = done(run(cli, empty, "promote", *asked, "--as", "v1.2.0"))
    assert again["registered"] == []
    assert [call for call in cli.writes() if "Upload" in call] == uploads


def test_promote_refuses(write: Write, cli: Cli, store: str) -> None:
    root = write(flow())
    deployed = done(run(cli, root, *DEPLOY, *development(store)))
    asked = ("--from", "development", "--to", "production", "--bundle-store", store)
    unknown = run(cli, root, "promote", *asked, "--version", "nowhere")
    assert unknown.status == 2
    assert f"Its newest versions are {deployed['version']}" in unknown.err
    missing = run(cli, root, "promote", "--from", "development", "--version", "x")
    assert missing.status == 2
    assert "there is no --to" in missing.err
    done(run(cli, root, "promote", *asked, "--version", deployed["version"], "--as", "v1"))
    write(flow(2))
    other = done(run(cli, root, *DEPLOY, *development(store)))
    conflict = run(cli, root, "promote", *asked, "--version", other["version"], "--as", "v1")
    assert conflict.status == 1
    assert "is registered in 127/flytesnacks/production with other content" in conflict.err
    Path(other["bundle_uri"].removeprefix("file://")).unlink()
    gone = run(cli, root, "promote", *asked, "--version", other["version"])
    assert gone.status == 1
    assert "the bundle of version" in gone.err
    write(flow(3))
    preview = ("--version", "pr-7-{content}", "--preview", "--bundle-store", store)
    made = done(run(cli, root, *DEPLOY, "-d", "development", *preview))
    refused = run(cli, root, "promote", *asked, "--version", made["version"])
    assert "is a preview of pull request 7" in refused.err


def test_a_bundle_that_is_gone_from_the_control_plane(write: Write, cli: Cli) -> None:
    root = write(flow(task=""))
    deployed = done(run(cli, root, *DEPLOY, "-d", "development"))
    asked = ("--from", "development", "--to", "production", "--version", deployed["version"])
    Path(deployed["bundle_uri"].removeprefix("file://")).unlink()
    gone = run(cli, root, "promote", *asked)
    assert gone.status == 1
    assert "the bundle of version" in gone.err
    assert newest(cli, "production") == {}


def test_triggers_that_nobody_knows_any_more(write: Write, cli: Cli) -> None:
    root = write(flow())
    first = done(run(cli, root, *DEPLOY, "-d", "development"))
    write(flow(2))
    done(run(cli, root, *DEPLOY, "-d", "development"))
    asked = ("--from", "development", "--to", "production", "--version", first["version"])
    refused = run(cli, root, "promote", *asked)
    assert refused.status == 1
    assert "jobs.work: nightly fires version" in refused.err
    promoted = done(run(cli, root, "promote", *asked, "--no-triggers"))
    assert promoted["triggers"] == []
    assert not newest(cli, "production")["jobs.work"][1].triggers


@pytest.mark.parametrize("recorded", [True, False])
def test_rollback_makes_the_old_version_the_newest(
    recorded: bool, write: Write, cli: Cli, store: str
) -> None:
    kept = ("--bundle-store", store) if recorded else ()
    root = write(flow())
    first = done(run(cli, root, *DEPLOY, "-d", "production", *kept))
    write(flow(2, task=f"triggers=[{NIGHTLY.replace('0 2', '0 5')}]"))
    done(run(cli, root, *DEPLOY, "-d", "production", *kept))
    asked = ("-d", "production", *kept, "--version", first["version"])
    back = done(run(cli, root, "rollback", *asked))
    assert back["version"] == f"{first['version']}-rollback"
    restored = newest(cli, "production")["jobs.work"][1]
    assert restored.task_id.version == back["version"]
    assert restored.spec.task_template.metadata.code_bundle_uri == first["bundle_uri"]
    (trigger,) = restored.triggers
    # Its own where a record knows them, else those that live.
    assert trigger.automation_spec.schedule.cron.expression == ("0 2 * * *" if recorded else "0 5 * * *")
    again = done(run(cli, root, "rollback", *asked))
    assert again["registered"] == []
    write(flow(3))
    done(run(cli, root, *DEPLOY, "-d", "production", *kept))
    third = done(run(cli, root, "rollback", *asked))
    assert third["version"] == f"{first['version']}-rollback-2"
    listed = done(run(cli, root, "history", "-d", "production", *kept, "--limit", "1"))
    (latest,) = listed["deployments"]
    assert (latest["version"], latest["newest"]) == (third["version"], 2)
    if recorded:
        assert latest["record"]["source"] == f"127/flytesnacks/production {first['version']}"


def test_a_release_takes_over_what_the_default_branch_deployed(write: Write, cli: Cli, store: str) -> None:
    root = write(flow())
    pushed = done(run(cli, root, *DEPLOY, "-d", "development"))
    uploads = len([call for call in cli.writes() if "Upload" in call])
    released = ("-d", "production", "--version", "v1.0.0", "--reuse-from", "development")
    release = done(run(cli, root, *DEPLOY, *released))
    assert release["bundle_uri"] == pushed["bundle_uri"]
    assert not release["uploaded"]
    steps = [step["name"] for step in release["steps"]]
    assert "verify" not in steps
    assert "publish" not in steps
    assert any("nothing is built or uploaded" in note for note in release["notes"])
    # The inputs of triggers are kept for each project and domain.
    assert len([call for call in cli.writes() if call.endswith("CreateUploadLocation")]) <= uploads
    write(flow(2))
    other = run(cli, root, *DEPLOY, *released)
    assert other.status == 1
    assert "is registered with other content" in other.err
    fresh = done(run(cli, root, *DEPLOY, *released[:2], "--version", "v2", *released[4:]))
    assert fresh["uploaded"]
    assert any("nothing is taken over from" in note for note in fresh["notes"])


def test_what_was_approved_is_what_is_deployed(write: Write, cli: Cli) -> None:
    root = write(flow())
    content = done(run(cli, root, "plan", "flow.py", "env", "-d", "production"))["content"]
    done(run(cli, root, *DEPLOY, "-d", "production", "--expect-content", content))
    write(flow(2))
    before = len(cli.writes())
    refused = run(cli, root, *DEPLOY, "-d", "production", "--expect-content", content)
    assert refused.status == 1
    assert f"not {content}, which was expected" in refused.err
    assert len(cli.writes()) == before


def test_previews_alternate_without_new_versions(write: Write, cli: Cli) -> None:
    root = write(flow())
    made = []
    for number in (1, 2, 1):
        write(flow(number))
        preview = ("--version", f"pr-{number}-{{content}}", "--preview", "--no-triggers")
        made.append(done(run(cli, root, *DEPLOY, "-d", "development", *preview)))
    assert made[0]["version"] == made[2]["version"]
    assert made[2]["registered"] == []


POD = """
import flyte
from flyte.io import File

pod = flyte.PodTemplate(labels={{"team": "a"}})
env = flyte.TaskEnvironment(name="pods", image="registry.example/team/image:1", pod_template=pod)

@env.task
async def work(number: int, data: File = File.from_local_sync(__file__)) -> int:
    return number + {more}
"""


def test_tasks_with_a_pod_template(write: Write, cli: Cli) -> None:
    root = write({"flow.py": POD.format(more=0)})
    done(run(cli, root, *DEPLOY, "-d", "development", "--version", "v1"))
    assert done(run(cli, root, *DEPLOY, "-d", "development", "--version", "v1"))["registered"] == []
    reuse = ("--reuse-from", "development", "--reuse-version", "v1")
    release = done(run(cli, root, *DEPLOY, "-d", "production", "--version", "r1", *reuse))
    assert any("nothing is built or uploaded" in note for note in release["notes"])
    promoted = done(
        run(cli, root, "promote", "--from", "development", "--to", "staging", "--version", "v1", "--as", "s1")
    )
    assert promoted["images"] == {"pods": "registry.example/team/image:1"}
    notes = "\n".join(promoted["notes"])
    assert "registered by tag, not by digest, and carried over so: registry.example/team/image:1" in notes
    assert "where these read them: pods.work (data)" in notes
    template = newest(cli, "staging")["pods.work"][1].spec.task_template
    assert argument(primary(template).args, "--version") == "s1"
    write({"flow.py": POD.format(more=1).replace("__file__", repr(str(root / "data.txt"))), "data.txt": ""})
    # The default is another file, which is no other task.
    planned = done(run(cli, root, "plan", "flow.py", "env", "-d", "development"))
    (task,) = planned["difference"]["tasks"]
    assert [change["aspect"] for change in task["changes"]] == ["default"]
    write({"flow.py": POD.format(more=1).replace("__file__", repr(str(root / "same/flow.py")))})
    write({"same/flow.py": POD.format(more=0)})
    planned = done(run(cli, root, "plan", "flow.py", "env", "-d", "development"))
    assert [task["state"] for task in planned["difference"]["tasks"]] == ["bundle"]


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=n", "-c", "user.email=e@example.org")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def test_a_release_of_a_tag_asks_for_what_the_default_branch_deployed(
    write: Write, cli: Cli, store: str
) -> None:
    root = write(flow(task=""))
    git(root, "init", "--initial-branch", "side")
    git(root, "add", ".")
    git(root, "commit", "--message", "one")
    version = "{branch}-{short_sha}"
    done(run(cli, root, *DEPLOY, *development(store), "--version", version))
    git(root, "checkout", "--detach")
    asked = (
        *("plan", *DEPLOY[1:], "-d", "production", "--bundle-store", store, "--version", "v1"),
        *("--reuse-from", "development", "--reuse-version", version),
    )

    def note(*more: str) -> str:
        (said,) = done(run(cli, root, *asked, *more))["notes"]
        return str(said)

    assert "nothing is taken over from 127/flytesnacks/development as {branch}" in note()
    assert "the version needs {branch}" in note()
    assert "nothing is built or uploaded" in note("--reuse-branch", "side")
    refused = note("--reuse-branch", "main", "--reuse-version", version.replace("{branch}", "side"))
    assert refused.endswith("it was deployed from branch side, not from main")


def test_versions_that_are_not_complete_and_records_that_are_corrupt(
    write: Write, cli: Cli, store: str
) -> None:
    root = write(flow())
    first = done(run(cli, root, *DEPLOY, *development(store)))
    path = Path(first["record_uri"].removeprefix("file://"))
    kept = json.loads(path.read_text())
    path.write_text(json.dumps({**kept, "tasks": {**kept["tasks"], "jobs.more": "jobs"}}))
    asked = (
        *("promote", "--from", "development", "--to", "production", "--bundle-store", store),
        *("--version", first["version"]),
    )
    refused = run(cli, root, *asked)
    assert refused.status == 1
    assert "is not complete: 1 of the 3 tasks that its record names" in refused.err
    assert "jobs.more" in refused.err
    path.write_text("{")
    promoted = done(run(cli, root, *asked))
    assert promoted["registered"] == ["jobs.other", "jobs.work"]
    assert any("is corrupt" in warning for warning in promoted["warnings"])
    write(flow(2))
    done(run(cli, root, *DEPLOY, *development(store)))
    back = done(run(cli, root, "rollback", *development(store), "--version", first["version"]))
    assert back["version"] == f"{first['version']}-rollback"
    assert any("is corrupt" in warning for warning in back["warnings"])


def test_a_version_that_leaves_no_room_and_a_bundle_that_nobody_can_look_up(write: Write, cli: Cli) -> None:
    root = write(flow(task=""))
    done(run(cli, root, *DEPLOY, "-d", "development"))
    elsewhere = [DeployTaskRequest.FromString(data) for data in cli.server.deploy_requests()]
    long = "v" * 60
    with grpc.insecure_channel(cli.server.endpoint) as channel:
        stub = TaskServiceStub(channel)  # type: ignore[no-untyped-call]
        for version in (long, "v2"):
            for request in elsewhere:
                request.task_id.version = request.spec.task_template.id.version = version
                request.spec.task_template.metadata.code_bundle_uri = "https://example.org/code.tar.gz"
                stub.DeployTask(request)
    asked = ("rollback", "-d", "development", "--version", long)
    refused = run(cli, root, *asked)
    assert refused.status == 2
    assert "Name a shorter version for it with --as." in refused.err
    back = done(run(cli, root, *asked, "--as", "back"))
    assert back["version"] == "back"
    assert any("bundle https://example.org/code.tar.gz" in note for note in back["notes"])


def test_a_record_that_a_killed_run_left_out_is_made_by_the_next(write: Write, cli: Cli, store: str) -> None:
    root = write({**flow(), "more.py": flow()["flow.py"].replace('name="jobs"', 'name="more"')})
    before = done(run(cli, root, *DEPLOY, *development(store), "--version", "v0"))
    first = done(run(cli, root, *DEPLOY, *development(store), "--version", "v1"))
    path = Path(first["record_uri"].removeprefix("file://"))
    path.unlink()
    again = done(run(cli, root, *DEPLOY, *development(store), "--version", "v1", job=GITHUB))
    assert again["registered"] == []
    record = json.loads(path.read_text())
    assert record == again["record"]
    # Who has registered it is not known.
    assert (record["actor"], record["run"], record["event"]) == ("", "", "")
    for name in ("version", "bundle_uri", "images", "tasks", "files", "content", "replaced"):
        assert record[name] == first["record"][name]
    assert record["triggers"].keys() == {"jobs.work"}
    # Once is enough.
    assert done(run(cli, root, *DEPLOY, *development(store), "--version", "v1"))["record"] is None
    # What completes a version keeps what is said of the rest.
    path.write_text(json.dumps(first["record"]))
    other = done(run(cli, root, "deploy", "more.py", "env", *development(store), "--version", "v1"))
    record = json.loads(path.read_text())
    assert record == other["record"]
    assert record["replaced"] == dict.fromkeys(before["record"]["tasks"], "v0")
    assert record["tasks"].keys() == record["replaced"].keys() | {"more.work", "more.other"}
    assert record["triggers"].keys() == {"jobs.work", "more.work"}
    asked = ("promote", "--from", "development", "--to", "production", "--bundle-store", store)
    promoted = done(run(cli, root, *asked, "--version", "v1"))
    kept = Path(promoted["record_uri"].removeprefix("file://"))
    kept.unlink()
    assert done(run(cli, root, *asked, "--version", "v1"))["registered"] == []
    assert json.loads(kept.read_text())["triggers"].keys() == {"jobs.work", "more.work"}
