"""The command line as its users meet it: exit status, what is on which stream, interruptions.

The engine is not what is tested here: a stub stands in for it, in a process of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

# Stands in for the engine: what it does is told by the environment variable STUB.
BOOT = """
import os, sys, time, types
from dataclasses import dataclass
from flyte_deploy.errors import DeployError

@dataclass
class Plan:
    settings: object
    has_changes: bool = True

def act(settings, listen):
    stub = os.environ.get("STUB", "")
    listen(Progress("note", "progress"))
    if stub == "fail":
        details = ("line\\x1b[2Jone",)
        raise DeployError("the build is broken", where="a.py:1", mend="Repair it.", details=details)
    if stub == "bad":
        raise DeployError("no such task", usage=True)
    if stub == "crash":
        raise ValueError("surprise")
    if stub == "wait":
        while True:
            time.sleep(60)
    if stub == "loop":
        import asyncio
        async def main():
            try:
                await asyncio.sleep(60)
            finally:
                print("cleaned", file=sys.stderr, flush=True)
        asyncio.run(main())
    return Plan(settings, stub != "same")

import json as std
import flyte_deploy
from flyte_deploy.model import Progress
from flyte_deploy.report import json, text
def as_text(plan):
    return f"{plan.settings.version or '-'} {plan.settings.dry_run} \\u2192 " + os.environ.get("LONG", "")
def as_json(plan):
    return std.dumps({"version": plan.settings.version, "plan": plan.settings.dry_run}).encode()
sys.modules["flyte_deploy.pipeline"] = flyte_deploy.pipeline = types.SimpleNamespace(plan=act, deploy=act)
text.plan_text = text.deployment_text = as_text
json.plan_json = json.deployment_json = as_json

from flyte_deploy.cli import main
sys.exit(main())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "flows.py").write_text("")
    return tmp_path


def environment(folder: Path, **variables: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONIOENCODING": "", **variables}


def command(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BOOT, *words],
        cwd=folder,
        env=environment(folder, **variables),
        capture_output=True,
        text=True,
        check=False,
    )


TARGET = ("--endpoint", "localhost:1", "-p", "mine", "-d", "development")


def test_deploy(folder: Path) -> None:
    done = command(folder, "deploy", "flows.py", "env", *TARGET, "--version", "v1")
    assert (done.returncode, done.stdout) == (0, "v1 False → \n")
    assert done.stderr == "Note: progress\n"


def test_dry_run_is_plan(folder: Path) -> None:
    for words in (["deploy", "--dry-run"], ["deploy", "--dryrun"], ["plan"]):
        assert command(folder, *words, "flows.py", "env").stdout == "- True → \n"


def test_options_may_stand_after_the_arguments_and_in_the_environment(folder: Path) -> None:
    done = command(folder, "plan", "flows.py", "env", "--version=v2", FLYTE_DEPLOY_OUTPUT_FORMAT="json")
    assert json.loads(done.stdout) == {"version": "v2", "plan": True}


@pytest.mark.parametrize(
    ("words", "stub", "status"),
    [
        (["plan"], "", 0),
        (["plan", "--detailed-exitcode"], "", 3),
        (["plan", "--detailed-exitcode"], "same", 0),
        (["plan"], "fail", 1),
        (["plan"], "bad", 2),
        (["plan"], "crash", 1),
        (["plan", "--no-such-option"], "", 2),
        (["plan", "--copy-style", "some"], "", 2),
        (["nonsense"], "", 2),
        ([], "", 2),
    ],
)
@pytest.mark.parametrize("output", ["text", "json"])
def test_exit_status(folder: Path, words: list[str], stub: str, status: int, output: str) -> None:
    rest = ["flows.py", "env"] if words and words[0] == "plan" else []
    rest += ["-of", "json"] if output == "json" and rest else []
    done = command(folder, *words, *rest, STUB=stub)
    assert done.returncode == status
    if output == "json" and rest:
        document = json.loads(done.stdout)
        assert ("error" in document) is (status in {1, 2})
    elif status in {1, 2}:
        assert done.stdout == ""
    assert ("Error: " in done.stderr) is (status in {1, 2})
    assert "Traceback" not in done.stderr


def test_an_error_says_what_where_and_how_to_mend_it(folder: Path) -> None:
    done = command(folder, "plan", "flows.py", "env", STUB="fail")
    assert done.stderr == textwrap.dedent("""\
        Note: progress
        Error: the build is broken
          where: a.py:1
            lineone
          Repair it.
        """)


def test_an_unexpected_error_is_called_internal(folder: Path) -> None:
    done = command(folder, "plan", "flows.py", "env", STUB="crash")
    assert "Error: internal error: ValueError: surprise\n" in done.stderr
    assert "-v for the traceback" in done.stderr
    for verbose in (["-v"], ["-vv"], ["--verbose"]):
        done = command(folder, "plan", "flows.py", "env", *verbose, STUB="crash")
        assert "Traceback" in done.stderr
        assert "ValueError: surprise" in done.stderr
        assert "-v for the traceback" not in done.stderr
    assert (
        "Traceback"
        in command(folder, "plan", "flows.py", "env", STUB="fail", FLYTE_DEPLOY_VERBOSE="1").stderr
    )


def test_usage_errors_point_at_the_help(folder: Path) -> None:
    done = command(folder, "deploy", "--prject", "x")
    assert "--project" in done.stderr
    assert "See flyte-deploy deploy -h." in done.stderr
    done = command(folder, "deploy", "flows.py", "env")
    assert "--endpoint embedded" in done.stderr


def test_show_settings_does_nothing_else(folder: Path) -> None:
    (folder / "config.yaml").write_text("task:\n  project: mine\n")
    done = command(folder, "plan", "--show-settings", STUB="fail")
    assert done.returncode == 0
    assert any(
        line.split() == ["project", "mine", "config.yaml:2", "(task.project)"]
        for line in done.stdout.splitlines()
    )
    done = command(folder, "plan", "--show-settings", "--output-format", "json", STUB="fail")
    assert json.loads(done.stdout)["settings"]["project"] == {
        "value": "mine",
        "from": "config.yaml:2 (task.project)",
    }


def test_a_text_that_the_terminal_cannot_show_is_no_failure(folder: Path) -> None:
    done = command(folder, "plan", "flows.py", "env", PYTHONIOENCODING="iso-8859-1")
    assert (done.returncode, done.stdout) == (0, "- True \\u2192 \n")


def test_a_reader_that_leaves_is_no_crash(folder: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", BOOT, "plan", "flows.py", "env"],
        cwd=folder,
        env=environment(folder, LONG="x" * (1 << 16)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    said = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), said) == (1, "Note: progress\n")


@pytest.mark.parametrize("words", [["-h"], ["--help"], ["deploy", "-h"], ["plan", "--help"], ["serve", "-h"]])
def test_help(folder: Path, words: list[str]) -> None:
    done = command(folder, *words)
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: flyte-deploy")
    assert done.stderr == ""


def test_version_of_the_tool(folder: Path) -> None:
    assert command(folder, "--version").stdout.startswith("flyte-deploy 0.")


@pytest.fixture(params=["wait", "loop"])
def waiting(folder: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """A command that waits for ever, plainly or in an event loop."""
    with subprocess.Popen(
        [sys.executable, "-c", BOOT, "plan", "flows.py", "env", "-of", "json"],
        cwd=folder,
        env=environment(folder, STUB=request.param),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        try:
            assert process.stderr.readline() == "Note: progress\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interruptions(waiting: subprocess.Popen[str], number: int, status: int) -> None:
    waiting.send_signal(number)
    out, err = waiting.communicate(timeout=60)
    assert waiting.returncode == status
    assert json.loads(out)["error"]["what"] == ("interrupted" if status == 130 else "terminated")
    assert "Traceback" not in err


def test_sigterm_in_the_background_of_a_shell(folder: Path) -> None:
    """A shell without job control starts background commands with SIGINT ignored."""
    script = 'trap "" INT; exec "$0" -c "$1" plan flows.py env'
    with subprocess.Popen(
        ["/bin/sh", "-c", script, sys.executable, BOOT],
        cwd=folder,
        env=environment(folder, STUB="wait"),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        try:
            assert process.stderr.readline() == "Note: progress\n"
            process.terminate()
            assert "Error: terminated" in process.stderr.read()
            assert process.wait(timeout=60) == 143
        finally:
            process.kill()
