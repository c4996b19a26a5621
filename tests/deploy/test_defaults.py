"""Defaults that are files, folders and tables, and inputs of triggers: uploaded once, by their content."""

from __future__ import annotations

from pathlib import Path

from flyteidl2.core.literals_pb2 import Literal

from tests.conftest import Write
from tests.deploy.conftest import Cli

FLOW = """
from pathlib import Path

import flyte
import pandas as pd
from flyte.io import DataFrame, Dir, File

here = Path(__file__).parent
env = flyte.TaskEnvironment(
    name="jobs", image="registry.example/team/image:1", include=("data.csv", "other.csv", "folder")
)
table = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})

@env.task
async def file(f: File = File.from_local_sync(str(here / "data.csv"))) -> None: ...

@env.task
async def folder(d: Dir = Dir.from_local_sync(str(here / "folder"))) -> None: ...

@env.task
async def frame(t: DataFrame = DataFrame.from_df(table)) -> None: ...

@env.task(
    triggers=[
        flyte.Trigger(
            name="nightly",
            automation=flyte.Cron("0 2 * * *"),
            inputs={"f": File.from_local_sync(str(here / "other.csv")), "at": flyte.TriggerTime},
        )
    ]
)
async def triggered(at: "datetime", f: File, count: int = 3) -> None: ...
"""
FILES = {
    "flow.py": FLOW.replace("from pathlib", "from datetime import datetime\nfrom pathlib", 1).replace(
        '"datetime"', "datetime"
    ),
    "data.csv": "a,b\n1,2\n",
    "other.csv": "c\n",
    "folder/one.txt": "1",
    "folder/deep/two.txt": "2",
}


def default(cli: Cli, task: str) -> Literal:
    (parameter,) = cli.requests()[task].spec.default_inputs
    return parameter.parameter.default


def test_what_defaults_need_is_uploaded_once_by_content(write: Write, cli: Cli) -> None:
    root = write(FILES)
    planned = cli.plan(root, "flow.py", "env")
    assert [one["name"] for one in planned["captured"]] == [
        "data.csv",
        "folder, 2 in it",
        "folder, 1 in it",
        "other.csv",
    ]
    assert cli.writes() == []
    deployed = cli.deploy(root, "flow.py", "env")
    assert deployed["version"] == planned["version"]
    file = default(cli, "jobs.file").scalar.blob.uri
    assert Path(file.removeprefix("file://")).read_text() == "a,b\n1,2\n"
    assert planned["captured"][0]["digest"] in file
    folder = Path(default(cli, "jobs.folder").scalar.blob.uri.removeprefix("file://"))
    assert (folder / "one.txt").read_text() == "1"
    assert (folder / "deep" / "two.txt").read_text() == "2"
    frame = Path(default(cli, "jobs.frame").scalar.structured_dataset.uri.removeprefix("file://"))
    assert [path.read_bytes()[:4] for path in frame.iterdir()] == [b"PAR1"]
    puts = cli.writes().count("PUT")
    assert puts == 1 + 5
    assert cli.deploy(root, "flow.py", "env")["changes"] is False
    # Another version of the same content finds everything there.
    cli.deploy(root, "flow.py", "env", "--version", "v2")
    assert cli.writes().count("PUT") == puts
    assert cli.deploy(root, "flow.py", "env", "--version", "v2")["changes"] is False


def test_another_file_is_another_content(write: Write, cli: Cli) -> None:
    root = write(FILES)
    first = cli.plan(root, "flow.py", "env")["version"]
    (root / "folder" / "deep" / "two.txt").write_text("3")
    assert cli.plan(root, "flow.py", "env")["version"] != first


def test_trigger_inputs_are_kept_by_the_backend(write: Write, cli: Cli) -> None:
    root = write(FILES)
    cli.deploy(root, "flow.py", "env")
    (trigger,) = cli.requests()["jobs.triggered"].triggers
    assert trigger.spec.offloaded_input_data.uri
    assert not trigger.spec.HasField("inputs")
    assert "UploadInputs" in cli.writes()
