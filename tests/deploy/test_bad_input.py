"""Bad input: one clear message, a status that says so, and nothing written anywhere."""

# A table reads better in long lines.
# ruff: noqa: E501

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from flyte_deploy.embedded import running
from tests.conftest import Write
from tests.deploy.conftest import TARGET, Cli, Result, tree_hash

IMAGE = 'image="registry.example/team/image:1"'
GOOD = f"""
import flyte

env = flyte.TaskEnvironment(name="good", {IMAGE})
other = flyte.TaskEnvironment(name="other", {IMAGE})

@env.task
async def work() -> None: ...
"""


@dataclass(frozen=True)
class Case:
    """What is wrong, the arguments, and what the error has to say and where."""

    name: str
    arguments: tuple[str, ...]
    says: tuple[str, ...]
    status: int = 2
    files: tuple[tuple[str, str], ...] = ()


CASES = [
    Case("a path that does not exist", ("no/such.py", "env"), ("no/such.py",)),
    Case("a directory with neither --recursive nor --all", (".",), ("--recursive", "--all")),
    Case("a file that is no Python", ("notes.txt", "env"), ("notes.txt", "Python"), 2, (("notes.txt", "hello"),)),
    Case("a file without an environment", ("empty.py", "env"), ("empty.py", "TaskEnvironment"), 2, (("empty.py", "X = 1\n"),)),
    Case("no environment found", ("--all", "empty.py"), ("no environment",), 2, (("empty.py", "X = 1\n"),)),
    Case("a name that is not in the file", ("flow.py", "nowhere"), ("'nowhere'", "env (good)", "other (other)")),
    Case("--all with a named environment", ("--all", "flow.py", "env"), ("env",)),
    Case("a root that does not contain the file", ("flow.py", "env", "--root-dir", "sub"), ("--root-dir",), 2, (("sub/x.py", ""),)),
    Case("a syntax error", ("bad.py", "env"), ("bad.py:2", "SyntaxError"), 1, (("bad.py", "import flyte\ndef (\n"),)),
    Case("an import that is missing", ("bad.py", "env"), ("bad.py:2", "no_such_thing", "dependencies"), 1, (("bad.py", "import flyte\nimport no_such_thing\n"),)),
    Case("a Flyte 1 project", ("bad.py", "env"), ("Flyte 1", "pyflyte"), 1, (("bad.py", "from flytekit import task\n"),)),
    Case("an interpreter that is not there", ("flow.py", "env", "--python", "/no/such/python"), ("/no/such/python", "--python")),
    Case("an interpreter that does not start", ("flow.py", "env", "--python", "/bin/false"), ("/bin/false", "--python")),
    Case("none without a version", ("flow.py", "env", "--copy-style", "none"), ("--version",)),
    Case("a version too long", ("flow.py", "env", "--version", "x" * 64), ("64", "63", "--version")),
    Case("a version with forbidden characters", ("flow.py", "env", "--version", "a/b"), ("a/b", "--version")),
    Case("a version with an unknown field", ("flow.py", "env", "--version", "{commit}"), ("{commit}", "{sha}")),
    Case("a version from a tag that there is none of", ("flow.py", "env", "--version", "{tag}"), ("{tag}",)),
    Case("a cycle", ("cycle.py", "env"), ("a → b → a", "cycle.py:3", "cycle.py:2"), 2, (("cycle.py", f"import flyte\nb = flyte.TaskEnvironment(name='b', {IMAGE})\nenv = flyte.TaskEnvironment(name='a', {IMAGE}, depends_on=[b])\nb.add_dependency(env)\n"),)),
    Case("two environments of one name", ("--all", "same.py"), ("'twice'", "same.py:2", "same.py:3"), 2, (("same.py", f"import flyte\na = flyte.TaskEnvironment(name='twice', {IMAGE})\nb = flyte.TaskEnvironment(name='twice', {IMAGE})\n"),)),
    Case("an include that matches nothing", ("inc.py", "env"), ("nothing.sql", "inc.py:2"), 1, (("inc.py", f"import flyte\nenv = flyte.TaskEnvironment(name='i', {IMAGE}, include=('nothing.sql',))\n"),)),
    Case("a config.yaml that is no YAML", ("flow.py", "env"), ("config.yaml:2",), 2, (("config.yaml", "admin:\n  - }\n"),)),
    Case("an unknown option", ("flow.py", "env", "--no-such"), ("--no-such",)),
    Case("a concurrency of nothing", ("flow.py", "env", "--concurrency", "0"), ("--concurrency",)),
]  # fmt: skip


@pytest.fixture
def check(cli: Cli, write: Write) -> Callable[..., Result]:
    def checked(root: Path, *arguments: str, says: tuple[str, ...], status: int) -> Result:
        before = tree_hash(root)
        where = ("--endpoint", cli.server.endpoint, "--insecure", *TARGET)
        result = cli.run(root, "deploy", *arguments, *where)
        assert result.status == status, result.err
        errors = [line for line in result.err.splitlines() if line.startswith("Error: ")]
        assert len(errors) == 1, result.err
        message = result.err[result.err.index("Error: ") :]
        for word in says:
            assert word in message
        assert "Traceback" not in result.err
        assert result.out == ""
        assert cli.writes() == []
        assert tree_hash(root) == before
        return result

    return checked


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_bad_input(case: Case, write: Write, check: Callable[..., Result]) -> None:
    root = write({"flow.py": GOOD, **dict(case.files)})
    check(root, *case.arguments, says=case.says, status=case.status)


def test_flyte_is_missing_in_the_interpreter(
    write: Write, check: Callable[..., Result], tmp_path: Path
) -> None:
    root = write({"flow.py": GOOD})
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    check(root, "flow.py", "env", "--python", python, says=("'flyte' is not installed", python), status=2)


def test_an_endpoint_that_nobody_listens_on(write: Write, cli: Cli) -> None:
    root = write({"flow.py": GOOD})
    where = ("--endpoint", "127.0.0.1:1", "--insecure", *TARGET)
    result = cli.run(root, "deploy", "flow.py", "env", *where)
    assert result.status == 1
    assert "127.0.0.1:1" in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("project", "domain", "says"),
    [
        ("nowhere", "development", ("project", "nowhere", "flytesnacks")),
        ("flytesnacks", "elsewhere", ("domain", "elsewhere", "production")),
    ],
)
def test_an_unknown_project_or_domain(
    write: Write, cli: Cli, project: str, domain: str, says: tuple[str, ...]
) -> None:
    root = write({"flow.py": GOOD})
    where = ("--endpoint", cli.server.endpoint, "--insecure", "--project", project, "--domain", domain)
    result = cli.run(root, "deploy", "flow.py", "env", *where)
    assert result.status != 0
    for word in says:
        assert word in result.err
    assert cli.writes() == []


def test_no_endpoint_at_all(write: Write, cli: Cli) -> None:
    root = write({"flow.py": GOOD})
    result = cli.run(root, "deploy", "flow.py", "env", *TARGET)
    assert result.status == 2
    assert "--endpoint embedded" in result.err


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")
def test_no_permission_to_read_a_file(write: Write, cli: Cli, tmp_path: Path) -> None:
    root = write(
        {"flow.py": GOOD.replace('name="good"', 'name="good", include=("secret.txt",)'), "secret.txt": "x"}
    )
    (root / "secret.txt").chmod(0)
    # Root may read everything: without that power it is as everybody.
    command = [sys.executable, "-c", UNPRIVILEGED, "plan", "flow.py", "env"]
    result = subprocess.run(
        command, cwd=root, env=cli.environment(), capture_output=True, text=True, check=False
    )
    assert result.returncode == 1, result.stderr
    assert "secret.txt" in result.stderr
    assert "Traceback" not in result.stderr


# Gives up what lets root read every file, for itself and what it starts.
UNPRIVILEGED = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
header = (ctypes.c_uint32 * 2)(0x20080522, 0)
data = (ctypes.c_uint32 * 6)()
assert libc.capget(header, data) == 0
for index in range(3):
    data[index] &= ~0b110
assert libc.capset(header, data) == 0
from flyte_deploy.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_full_disk_says_so_and_leaves_nothing(write: Write, cli: Cli, tmp_path: Path) -> None:
    root = write({"flow.py": GOOD})
    (root / "big.bin").write_bytes(os.urandom(3_000_000))
    full = tmp_path / "full"
    full.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(full)], check=True)
    try:
        where = ("--endpoint", cli.server.endpoint, "--insecure", *TARGET, "--copy-style", "all")
        result = cli.run(root, "deploy", "flow.py", "env", *where, TMPDIR=str(full))
        assert result.status == 1
        assert "space" in result.err or "full" in result.err
        assert "Traceback" not in result.err
        assert list(full.iterdir()) == []
    finally:
        subprocess.run(["umount", str(full)], check=True)
    assert cli.writes() == []


def test_a_registration_that_fails_lists_what_is_registered(write: Write, tmp_path: Path) -> None:
    from flyte_deploy.embedded import Fault

    tasks = "".join(f"\n@env.task\nasync def t{n}() -> None: ...\n" for n in range(20))
    root = write({"flow.py": GOOD + tasks})
    home = tmp_path / "home"
    home.mkdir()
    with running(tmp_path / "data", faults=[Fault("DeployTask", 10, code="permission_denied")]) as server:
        cli = Cli(server, home)
        failed = cli.to_server("deploy", root, "flow.py", "env", "--concurrency", "1")
        assert failed.status == 1
        details = "\n".join(failed.json["error"]["details"])
        assert "9 tasks are registered" in details
        assert "are not" in details
        assert "same command" in failed.json["error"]["mend"]
        done = cli.deploy(root, "flow.py", "env")
        assert len(done["registered"]) == 21 - 9
        assert cli.deploy(root, "flow.py", "env")["changes"] is False
