"""App environments: refused by name, or left out."""

from __future__ import annotations

from tests.conftest import Write
from tests.deploy.conftest import Cli

FLOW = """
import flyte
import flyte.app

app = flyte.app.AppEnvironment(name="site", image="registry.example/team/image:1", args="serve")
env = flyte.TaskEnvironment(name="jobs", image="registry.example/team/image:1", depends_on=[app])

@env.task
async def work() -> None: ...
"""


def test_an_app_is_refused_before_anything_is_registered(write: Write, cli: Cli) -> None:
    root = write({"flow.py": FLOW})
    refused = cli.to_server("deploy", root, "flow.py", "env")
    assert refused.status == 2
    error = refused.json["error"]
    assert "'site' is of the kind AppEnvironment" in error["what"]
    assert error["where"] == "flow.py:4"
    assert "--skip-apps" in error["mend"]
    assert cli.writes() == []


def test_an_app_can_be_left_out(write: Write, cli: Cli) -> None:
    root = write({"flow.py": FLOW})
    deployed = cli.deploy(root, "flow.py", "env", "--skip-apps")
    assert deployed["registered"] == ["jobs.work"]
    assert deployed["warnings"] == ["environment 'site' (AppEnvironment) is left out"]
    assert deployed["environments"][0]["depends_on"] == []
    assert cli.deploy(root, "--all", "flow.py", "--skip-apps")["changes"] is False
