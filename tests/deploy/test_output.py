"""What is printed: JSON by its schema, warnings, text."""

from __future__ import annotations

import json
import os
from pathlib import Path

from jsonschema import Draft202012Validator

from tests.conftest import Write
from tests.deploy.conftest import Cli

SCHEMA = json.loads((Path(__file__).parent.parent.parent / "docs" / "output.schema.json").read_text())
FLOW = """
import datetime
import flyte

env = flyte.TaskEnvironment(
    name="jobs", image="registry.example/team/image:1", resources=flyte.Resources(cpu="1", gpu="T4:1")
)

@env.task(triggers=[flyte.Trigger(name="hourly", automation=flyte.FixedRate(60))])
async def work(at: datetime.datetime = datetime.datetime.now(), name: str = "\\x1b[31mred") -> int:
    return 1
"""


def test_documents_follow_the_schema(write: Write, cli: Cli) -> None:
    Draft202012Validator.check_schema(SCHEMA)
    validator = Draft202012Validator(SCHEMA)
    root = write({"flow.py": FLOW})
    documents = [
        cli.plan(root, "flow.py", "env"),
        cli.deploy(root, "flow.py", "env"),
        cli.to_server("deploy", root, "flow.py", "nowhere").json,
        cli.run(root, "plan", "flow.py", "env", "--output-format", "json").json,
    ]
    for document in documents:
        validator.validate(document)
    names = [document["schema"].split("/")[1] for document in documents]
    assert names == ["plan", "deployment", "error", "plan"]
    steps = [step["name"] for step in documents[1]["steps"]]
    assert steps == ["collect", "resolve", "identify", "compare", "verify", "publish", "register"]


def test_files_with_names_that_are_no_text(write: Write, cli: Cli) -> None:
    root = write({"flow.py": FLOW.replace("datetime.datetime.now()", "datetime.datetime(2020, 1, 1)")})
    odd = os.fsencode(root) + b"/odd\xff.txt"
    Path(os.fsdecode(odd)).write_text("one")
    deployed = cli.deploy(root, "flow.py", "env", "--copy-style", "all")
    assert "odd\\udcff.txt" in [file["path"] for file in deployed["bundle"]["files"]]
    assert "odd\\udcff.txt" in deployed["record"]["files"]
    assert "odd\\udcff.txt" in cli.run(root, "plan", "flow.py", "env", "--copy-style", "all").out


def test_a_default_that_differs_by_design_is_warned_of(write: Write, cli: Cli) -> None:
    root = write({"flow.py": FLOW})
    one, other = cli.plan(root, "flow.py", "env"), cli.plan(root, "flow.py", "env")
    assert one["version"] != other["version"]
    (warning,) = one["warnings"]
    assert warning.startswith("flow.py:8: ")
    assert "'at'" in warning


def test_the_text_of_a_plan_and_a_deploy(write: Write, cli: Cli) -> None:
    root = write({"flow.py": FLOW.replace("datetime.datetime.now()", "datetime.datetime(2020, 1, 1)")})
    where = ("--endpoint", cli.server.endpoint, "--insecure", "-p", "flytesnacks", "-d", "development")
    planned = cli.run(root, "plan", "flow.py", "env", *where)
    assert "jobs.work(at: datetime.datetime = datetime.datetime(2020, 1, 1" in planned.out
    assert "cpu 1, gpu T4:1, trigger hourly (every 60 minutes)" in planned.out
    assert "To do: upload the bundle, register 1 task." in planned.out
    assert "1 of 1  flow.py" in planned.err
    deployed = cli.run(root, "deploy", "flow.py", "env", *where)
    assert "Registered 1 task of 1 in 1 environment, bundle uploaded." in deployed.out
    again = cli.run(root, "deploy", "flow.py", "env", *where)
    assert "Nothing to do" in again.out
    for result in (planned, deployed, again):
        assert "\x1b" not in result.out + result.err


def test_a_traceback_only_when_asked_for(write: Write, cli: Cli) -> None:
    root = write({"flow.py": FLOW})
    assert "Traceback" not in cli.run(root, "plan", "flow.py", "nowhere").err
    assert "Traceback" in cli.run(root, "plan", "flow.py", "nowhere", "-v").err
