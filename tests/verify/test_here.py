"""Environments of a process are verified too: in its interpreter, but not in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.deploy.conftest import Cli
from tests.verify.conftest import Make

SCRIPT = """
import json
from pathlib import Path

import flyte
import flyte_deploy

env = flyte.TaskEnvironment(name="jobs", image="registry.example/team/image:1")
{more}

@env.task
async def one(a: int) -> int:
    return a

def main(again=False):
    try:
        deployment = flyte_deploy.deploy(
            env, endpoint={endpoint!r}, insecure=True, project="flytesnacks", domain="development"
        )
    except flyte_deploy.DeployError as error:
        if again and __name__ != "__main__":
            raise
        print(json.dumps([error.what, error.where]))
    else:
        print(json.dumps([step.name for step in deployment.plan.steps]))

{call}
"""
GUARDED = 'if __name__ == "__main__":\n    main()'


def run(root: Path, cli: Cli, *, more: str = "", call: str = GUARDED) -> list[str]:
    (root / "script.py").write_text(SCRIPT.format(more=more, endpoint=cli.server.endpoint, call=call))
    result = subprocess.run(
        [sys.executable, "script.py"],
        cwd=root,
        env=cli.environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return list(json.loads(result.stdout))


def test_a_script_is_loaded_by_its_path(make: Make, cli: Cli) -> None:
    project = make({"data.csv": "a\n"})
    what, where = run(project.root, cli, more='(Path(__file__).parent / "data.csv").read_text()')
    assert "task 'jobs.one' cannot be loaded from the bundle's files alone: FileNotFoundError" in what
    assert where == "script.py:9"
    assert cli.writes() == []
    assert "verify" in run(project.root, cli)
    assert "DeployTask" in cli.writes()


def test_a_script_that_deploys_whenever_it_is_loaded_is_told_so(make: Make, cli: Cli) -> None:
    project = make({"other.py": ""})
    what, where = run(project.root, cli, call="main(again=True)")
    assert "DeployError: a deploy is started by code that is being loaded for one" in what
    assert where.startswith("script.py:")
    assert cli.writes() == []
