"""The engine as Python functions: from a script and from an event loop, with the same results."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Write
from tests.deploy.conftest import Cli

FLOW = """
import flyte

base = flyte.TaskEnvironment(name="base", image="registry.example/team/image:1")
env = flyte.TaskEnvironment(name="top", image="registry.example/team/image:1", depends_on=[base])

@base.task
async def low(a: int = 1) -> int:
    return a

@env.task
async def high(a: int) -> int:
    return await low(a)
"""
SCRIPT = """
import asyncio, json
import flyte_deploy
from flow import env

where = dict(endpoint={endpoint!r}, insecure=True, project="flytesnacks", domain="development")

async def main():
    plan = await asyncio.to_thread(flyte_deploy.plan, env, **where)
    {call}
    print(json.dumps([plan.version, deployment.version, list(deployment.registered), deployment.uploaded]))

asyncio.run(main())
"""


def run(root: Path, cli: Cli, text: str, **environment: str) -> list[object]:
    (root / "script.py").write_text(text)
    result = subprocess.run(
        [sys.executable, "script.py"],
        cwd=root,
        env=cli.environment(**environment),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return list(json.loads(result.stdout))


@pytest.mark.parametrize(
    "call",
    [
        "deployment = await asyncio.to_thread(flyte_deploy.deploy, env, **where)",
        "deployment = flyte_deploy.deploy(env, **where)",
    ],
    ids=["in a thread", "in the event loop's thread"],
)
def test_deploys_from_an_event_loop(write: Write, cli: Cli, call: str) -> None:
    root = write({"flow.py": FLOW})
    text = SCRIPT.format(endpoint=cli.server.endpoint, call=call)
    planned, version, registered, uploaded = run(root, cli, text)
    assert planned == version
    assert (registered, uploaded) == (["base.low", "top.high"], True)
    assert run(root, cli, text)[2:] == [[], False]


def test_the_version_is_that_of_the_command_line(write: Write, cli: Cli) -> None:
    root = write({"flow.py": FLOW})
    # The same modules: a script is one more, unless it lies outside of the root.
    outside = root.parent / "outside"
    outside.mkdir()
    call = "deployment = flyte_deploy.deploy(env, **where)"
    text = f"import sys; sys.path.insert(0, {str(root)!r})"
    text += SCRIPT.format(endpoint=cli.server.endpoint, call=call)
    text = text.replace("dict(", f"dict(root_dir={str(root)!r}, sync_local_sys_paths=False, ")
    version = run(outside, cli, text, PYTHONHASHSEED="0")[1]
    planned = cli.plan(root, "flow.py", "env", "--no-sync-local-sys-paths")
    assert planned["version"] == version
    assert planned["changes"] is False


def test_errors_are_exceptions_that_say_how_to_mend(write: Write, cli: Cli) -> None:
    import flyte

    import flyte_deploy

    environment = flyte.TaskEnvironment(name="nowhere", image="registry.example/team/image:1")
    with pytest.raises(flyte_deploy.DeployError) as raised:
        flyte_deploy.deploy(environment, project="p", domain="d", endpoint="", config="")
    assert "no endpoint" in raised.value.what
    assert "embedded" in (raised.value.mend or "")
