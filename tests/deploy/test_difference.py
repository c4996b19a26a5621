"""What a deploy changes: found by a plan, against what is registered, with the real SDK."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.conftest import Write
from tests.deploy.conftest import Cli
from tests.deploy.test_triggers import HOURLY, NIGHTLY

BEFORE = {
    "env": 'name="jobs", image="registry.example/team/image:1", secrets="token", env_vars={"MODE": "one"}',
    "task": "retries=1",
    "signature": 'number: int, name: str = "x"',
    "returns": "int",
    "body": "return 1",
}


def flow(**changes: str) -> dict[str, str]:
    parts = {**BEFORE, **changes}
    text = f"""
import dataclasses
import flyte

env = flyte.TaskEnvironment({parts["env"]})

@dataclasses.dataclass
class Point:
    x: int
    y: int = 0

@env.task({parts["task"]})
async def work({parts["signature"]}) -> {parts["returns"]}:
    {parts["body"]}

@env.task
async def other(point: Point) -> None: ...
"""
    return {"flow.py": text}


def changes_of(difference: Any, name: str = "jobs.work") -> tuple[str, list[str], list[str]]:
    """A task's state, its changes in words, and those of them that break."""
    (task,) = (task for task in difference["tasks"] if task["name"] == name)

    def words(change: Any) -> str:
        return "|".join((change["aspect"], change["name"], change["before"], change["after"]))

    breaking = [words(change) for change in task["changes"] if change["breaking"]]
    return task["state"], [words(change) for change in task["changes"]], breaking


@pytest.mark.parametrize(
    ("change", "expected", "breaks"),
    [
        ({"signature": "number: int"}, ["input|name|str|"], True),
        ({"signature": 'number: int, name: str = "x", more: float = 1.5'},
         ["input|more||float = 1.5"], False),
        ({"signature": 'number: int, more: bool, name: str = "x"'}, ["input|more||bool, required"], True),
        ({"signature": 'number: int | None, name: str = "x"'}, ["input|number|int|int | None"], True),
        ({"signature": "number: int, name: str"}, ["default|name|'x'|required"], True),
        ({"signature": 'number: int, name: str = "y"'}, ["default|name|'x'|'y'"], False),
        ({"signature": 'number: int = 3, name: str = "x"'}, ["default|number||3"], False),
        ({"returns": "str"}, ["output|o0|int|str"], True),
        ({"returns": "None"}, ["output|o0|int|"], True),
        ({"returns": "tuple[int, str]"}, ["output|o1||str"], False),
        ({"task": "retries=2"}, ["retries||1|2"], False),
        ({"task": "retries=1, timeout=60"}, ["timeout|||60 s"], False),
        ({"env": BEFORE["env"].replace("image:1", "image:2")},
         ["image||registry.example/team/image:1|registry.example/team/image:2"], False),
        ({"env": BEFORE["env"] + ', resources=flyte.Resources(cpu=2, memory="1Gi")'},
         ["resources|cpu||2", "resources|memory||1Gi"], False),
        ({"env": BEFORE["env"].replace('"token"', '"key"')},
         ["secret|token|as TOKEN|", "secret|key||as KEY"], False),
        ({"env": BEFORE["env"].replace('"one"', '"two"')},
         ["environment variable|MODE|a value|another"], False),
        ({"body": '"""What it does."""; return 1'}, ["documentation|||"], False),
        ({"task": f"retries=1, triggers=[{NIGHTLY}]"}, ["trigger|nightly||cron 0 2 * * * UTC"], False),
    ],
)  # fmt: skip
def test_one_change(
    change: dict[str, str], expected: list[str], breaks: bool, write: Write, cli: Cli
) -> None:
    root = write(flow())
    before = cli.deploy(root, "flow.py", "env")["version"]
    write(flow(**change))
    document = cli.plan(root, "flow.py", "env")
    state, changes, breaking = changes_of(document["difference"])
    assert (state, changes) == ("changed", expected)
    assert breaking == (expected if breaks else [])
    tasks = document["difference"]["tasks"]
    assert {task["before"] for task in tasks} == {before}
    others = {name: change for name, change in change.items() if name == "env"}
    if not others:
        # The file is another, the task is not.
        assert changes_of(document["difference"], "jobs.other") == ("bundle", [], [])


def test_each_state(write: Write, cli: Cli) -> None:
    root = write({**flow(), "unrelated.py": ""})
    first = cli.plan(root, "flow.py", "env")
    assert Counter(task["state"] for task in first["difference"]["tasks"]) == {"new": 2}
    cli.deploy(root, "flow.py", "env")
    before = len(cli.server.calls())
    same = cli.plan(root, "flow.py", "env")
    assert Counter(task["state"] for task in same["difference"]["tasks"]) == {"unchanged": 2}
    # What stays is not read.
    assert "GetTaskDetails" not in [call.method.rpartition("/")[2] for call in cli.server.calls()[before:]]
    write({"flow.py": flow()["flow.py"].replace("async def other", "async def another")})
    changed = cli.plan(root, "flow.py", "env")["difference"]
    states = {task["name"]: task["state"] for task in changed["tasks"]}
    assert states == {"jobs.work": "bundle", "jobs.another": "new", "jobs.other": "gone"}
    assert changed["against"].endswith("flytesnacks/development")


def test_a_trigger_that_changes_and_one_that_goes(write: Write, cli: Cli) -> None:
    root = write(flow(task=f"triggers=[{NIGHTLY}, {HOURLY}]"))
    cli.deploy(root, "flow.py", "env")
    write(flow(task=f"triggers=[{NIGHTLY.replace('0 2', '0 3')}]"))
    _, changes, _ = changes_of(cli.plan(root, "flow.py", "env")["difference"])
    assert "trigger|nightly|cron 0 2 * * * UTC|cron 0 3 * * * UTC" in changes
    assert "trigger|hourly|every 60 minutes|" in changes


def test_breaking_changes_can_be_refused_before_anything_is_written(write: Write, cli: Cli) -> None:
    root = write(flow())
    cli.deploy(root, "flow.py", "env", "--fail-on-breaking")
    write(flow(signature="number: str"))
    before = len(cli.writes())
    refused = cli.to_server("deploy", root, "flow.py", "env", "--fail-on-breaking")
    assert refused.status == 1
    assert "jobs.work: input number: int -> str" in refused.err
    assert "jobs.work: input name removed (str)" in refused.err
    assert len(cli.writes()) == before
    # It is found out, whatever else is asked for.
    planned = cli.to_server("plan", root, "flow.py", "env", "--fail-on-breaking", "--no-difference")
    assert planned.status == 1
    assert planned.json["difference"]["breaking"] == 2
    cli.deploy(root, "flow.py", "env")


def test_fields_of_a_dataclass(write: Write, cli: Cli) -> None:
    root = write(flow())
    cli.deploy(root, "flow.py", "env")
    write({"flow.py": flow()["flow.py"].replace("y: int = 0", "y: str = ''")})
    state, changes, breaking = changes_of(cli.plan(root, "flow.py", "env")["difference"], "jobs.other")
    assert (state, changes) == ("changed", ["input|point|Point|Point, with other fields"])
    assert breaking == changes
    write({"flow.py": flow()["flow.py"].replace("y: int = 0", "y: int = 5")})
    state, changes, breaking = changes_of(cli.plan(root, "flow.py", "env")["difference"], "jobs.other")
    assert (state, changes) == ("changed", ["input|point|Point|Point, with other defaults or descriptions"])
    assert breaking == []
    write({"flow.py": flow()["flow.py"].replace("y: int = 0", "y: int")})
    assert changes_of(cli.plan(root, "flow.py", "env")["difference"], "jobs.other")[2]


def test_against_another_domain(write: Write, cli: Cli) -> None:
    root = write(flow(task=f"triggers=[{NIGHTLY}]"))
    where = ("--endpoint", cli.server.endpoint, "--insecure", "-p", "flytesnacks", "-d", "production")
    assert cli.run(root, "deploy", "flow.py", "env", *where).status == 0
    same = cli.plan(root, "flow.py", "env", "--compare-to", "production", "--no-triggers")
    assert same["changes"]
    assert {task["state"] for task in same["difference"]["tasks"]} == {"unchanged"}
    assert same["difference"]["against"].endswith("flytesnacks/production")
    write(flow())
    other = cli.plan(root, "flow.py", "env", "--compare-to", "flytesnacks/production")
    assert changes_of(other["difference"])[1] == ["retries||0|1"]


def test_a_deploy_without_triggers_leaves_those_that_live(write: Write, cli: Cli) -> None:
    root = write(flow(task=f"triggers=[{NIGHTLY}]"))
    first = cli.deploy(root, "flow.py", "env")["version"]
    write(flow(task=f"retries=3, triggers=[{HOURLY}]"))
    deployed = cli.deploy(root, "flow.py", "env", "--no-triggers")
    assert deployed["stale_triggers"] == []
    assert not cli.requests()["jobs.work"].triggers
    assert deployed["version"] != first


def test_the_text_says_what_changes(write: Write, cli: Cli) -> None:
    root = write(flow())
    cli.deploy(root, "flow.py", "env")
    write(flow(signature="number: str, name: str = 'x'", task="retries=5"))
    where = ("--endpoint", cli.server.endpoint, "--insecure", "-p", "flytesnacks", "-d", "development")
    text = cli.run(root, "plan", "flow.py", "env", *where).out
    assert "development: 1 changed, 1 unchanged but for the bundle, 1 breaking change." in text
    assert "input number: int -> str  (breaking)" in text
    assert "retries: 1 -> 5" in text
