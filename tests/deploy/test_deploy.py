"""The main job: a project from files to registered tasks, again, and back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from flyte_deploy.embedded import Embedded
from tests.conftest import Write
from tests.deploy.conftest import FLYTE_DEPLOY, TARGET, Cli, tree_hash

IMAGE = 'image="registry.example/team/image:1"'

BASE = f"""
import flyte
from shapes import area

base = flyte.TaskEnvironment(name="base", {IMAGE})

@base.task
async def measure(side: int = 2) -> int:
    return area(side)
"""
TOP = f"""
import flyte
from base import base, measure

top = flyte.TaskEnvironment(name="top", {IMAGE}, depends_on=[base])
other = flyte.TaskEnvironment(name="other", {IMAGE})

@top.task
async def main(count: int) -> list[int]:
    import lazily
    return [await measure() for _ in range(count)]

@other.task
async def alone() -> None: ...
"""
PROJECT = {
    "base.py": BASE,
    "top.py": TOP,
    "shapes.py": "def area(side: int) -> int:\n    return side * side\n",
    "lazily.py": "X = 1\n",
    "unused.py": "X = 2\n",
}


def test_a_first_deploy_registers_all_in_order(write: Write, cli: Cli, server: Embedded) -> None:
    root = write(PROJECT)
    before = tree_hash(root)
    deployed = cli.deploy(root, "top.py", "top")
    assert [e["name"] for e in deployed["environments"]] == ["base", "top"]
    assert [e["reason"] for e in deployed["environments"]] == ["needed by top", "selected"]
    assert deployed["registered"] == ["base.measure", "top.main"]
    assert {f["path"]: f["reason"] for f in deployed["bundle"]["files"]} == {
        "base.py": "imported",
        "top.py": "imported",
        "shapes.py": "imported",
        "lazily.py": "lazy import",
    }
    assert deployed["uploaded"] is True
    requests = cli.requests()
    assert list(requests) == ["base.measure", "top.main"]
    main = requests["top.main"]
    assert main.task_id.version == deployed["version"] == deployed["content"]
    arguments = list(main.spec.task_template.container.args)
    assert arguments[arguments.index("--tgz") + 1] == deployed["bundle_uri"]
    assert main.spec.task_template.metadata.code_bundle_uri == deployed["bundle_uri"]
    assert b"<<flyte-deploy" not in main.SerializeToString()
    archive = Path(deployed["bundle_uri"].removeprefix("file://"))
    with tarfile.open(archive) as tar:
        assert sorted(tar.getnames()) == ["base.py", "lazily.py", "shapes.py", "top.py"]
    assert tree_hash(root) == before


def test_a_second_deploy_does_nothing(write: Write, cli: Cli) -> None:
    root = write(PROJECT)
    first = cli.deploy(root, "--all", "top.py")
    writes = cli.writes()
    second = cli.deploy(root, "--all", "top.py")
    assert cli.writes() == writes
    assert second["changes"] is False
    assert (second["version"], second["registered"], second["uploaded"]) == (first["version"], [], False)
    assert cli.plan(root, "--all", "top.py")["changes"] is False


def test_a_plan_writes_nothing_and_says_everything(write: Write, cli: Cli) -> None:
    root = write(PROJECT)
    before = tree_hash(root)
    planned = cli.plan(root, "top.py", "top", "other")
    assert cli.writes() == []
    assert tree_hash(root) == before
    assert planned["changes"] is True
    assert planned["bundle"]["upload"] is True
    assert [e["name"] for e in planned["environments"]] == ["base", "top", "other"]
    result = cli.to_server("plan", root, "top.py", "top", "--detailed-exitcode")
    assert result.status == 3
    cli.deploy(root, "top.py", "top", "other")
    assert cli.to_server("plan", root, "top.py", "top", "other", "--detailed-exitcode").status == 0


def test_a_plan_works_offline(write: Write, cli: Cli) -> None:
    root = write(PROJECT)
    result = cli.run(root, "plan", "--all", "top.py")
    assert result.status == 0
    assert "no endpoint was named" in result.out
    assert "base.measure(side: int = 2) -> int" in result.out
    assert "needed by" not in result.out
    assert cli.server.calls() == []


def test_a_return_to_earlier_content_becomes_the_newest(write: Write, cli: Cli, server: Embedded) -> None:
    root = write(PROJECT)
    first = cli.deploy(root, "--all", "top.py")["version"]
    (root / "shapes.py").write_text("def area(side: int) -> int:\n    return side\n")
    second = cli.deploy(root, "--all", "top.py")["version"]
    assert second != first
    (root / "shapes.py").write_text(PROJECT["shapes.py"])
    again = cli.deploy(root, "--all", "top.py")
    assert again["version"] == f"{first}-2"
    assert "registered again" in again["notes"][0]
    assert set(cli.newest().values()) == {f"{first}-2"}
    assert again["uploaded"] is False
    writes = cli.writes()
    assert cli.deploy(root, "--all", "top.py")["changes"] is False
    assert cli.writes() == writes


def test_a_killed_deploy_is_completed_by_the_same_command(write: Write, cli: Cli, server: Embedded) -> None:
    files = dict(PROJECT)
    files["top.py"] += "".join(f"\n@other.task\nasync def more_{n}() -> None: ...\n" for n in range(200))
    root = write(files)
    command = [
        FLYTE_DEPLOY,
        "deploy",
        "--all",
        "top.py",
        "--endpoint",
        server.endpoint,
        "--insecure",
        *TARGET,
    ]
    process = subprocess.Popen(
        [*command, "--concurrency", "1"],
        cwd=root,
        env=cli.environment(),
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while len(server.tasks()) < 5 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    some = len(server.tasks())
    assert 5 <= some < 203
    done = cli.deploy(root, "--all", "top.py")
    assert len(done["registered"]) == 203 - some
    assert done["version"] == done["content"]
    assert len(server.tasks()) == 203
    assert cli.deploy(root, "--all", "top.py")["changes"] is False


def test_a_version_with_other_content_is_refused(write: Write, cli: Cli, server: Embedded) -> None:
    root = write(PROJECT)
    cli.deploy(root, "--all", "top.py", "--version", "v1")
    writes = cli.writes()
    assert cli.deploy(root, "--all", "top.py", "--version", "v1")["changes"] is False
    (root / "shapes.py").write_text("def area(side: int) -> int:\n    return side\n")
    refused = cli.to_server("deploy", root, "--all", "top.py", "--version", "v1")
    assert refused.status == 1
    assert set(refused.json["error"]["details"]) == {"base.measure", "top.main", "other.alone"}
    assert cli.writes() == writes
    insisted = cli.deploy(root, "--all", "top.py", "--version", "v1", "--overwrite")
    assert len(insisted["registered"]) == 3
    assert set(cli.newest().values()) == {"v1"}


def test_an_older_version_is_said_not_to_be_the_newest(write: Write, cli: Cli) -> None:
    root = write(PROJECT)
    cli.deploy(root, "--all", "top.py", "--version", "v1")
    cli.deploy(root, "--all", "top.py", "--version", "v2")
    again = cli.deploy(root, "--all", "top.py", "--version", "v1")
    assert again["changes"] is False
    assert "newer version than v1" in again["notes"][0]


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=n", "-c", "user.email=e@example.com")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def test_the_version_is_the_same_on_every_machine(write: Write, cli: Cli, tmp_path: Path) -> None:
    root = write(PROJECT)
    elsewhere = tmp_path / "some where" / "é"
    shutil.copytree(root, elsewhere)
    git(root, "init", "-b", "main")
    git(root, "remote", "add", "origin", "git@github.com:team/project.git")
    git(root, "add", ".")
    git(root, "commit", "-m", "one")
    for path in elsewhere.rglob("*.py"):
        path.chmod(0o600)
        os.utime(path, (1, 1))
    one = cli.plan(root, "--all", "top.py")
    other = cli.plan(
        elsewhere,
        "--all",
        "top.py",
        TZ="Asia/Tokyo",
        LANG="C",
        LC_ALL="C",
        PYTHONHASHSEED="7",
    )
    assert one["version"] == other["version"]
    assert one["bundle"]["digest"] == other["bundle"]["digest"]
    cli.deploy(root, "--all", "top.py")
    assert cli.deploy(elsewhere, "--all", "top.py")["changes"] is False


def test_versions_from_templates(write: Write, cli: Cli) -> None:
    root = write(PROJECT)
    git(root, "init", "-b", "feature/x")
    git(root, "add", ".")
    git(root, "commit", "-m", "one")
    git(root, "tag", "v1.0")
    sha = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=root, text=True).strip()
    planned = cli.plan(root, "--all", "top.py", "--version", "{branch}-{short_sha}")
    assert planned["version"] == f"feature-x-{sha[:7]}"
    assert cli.plan(root, "--all", "top.py", "--version", "{tag}")["version"] == "v1.0"
    assert (
        cli.plan(root, "--all", "top.py", "--version", "r-{content}")["version"] == f"r-{planned['content']}"
    )


def test_the_source_link_of_a_clean_checkout(write: Write, cli: Cli, server: Embedded) -> None:
    root = write(PROJECT)
    git(root, "init", "-b", "main")
    git(root, "remote", "add", "origin", "git@github.com:team/project.git")
    git(root, "add", ".")
    git(root, "commit", "-m", "one")
    sha = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=root, text=True).strip()
    cli.deploy(root, "base.py", "base")
    (request,) = cli.requests().values()
    link = request.spec.documentation.source_code.link
    assert link == f"https://github.com/team/project/blob/{sha}/base.py#L7"


def test_bundles_in_a_folder(write: Write, cli: Cli, tmp_path: Path) -> None:
    root = write(PROJECT)
    store = tmp_path / "store"
    store.mkdir()
    deployed = cli.deploy(root, "base.py", "base", "--bundle-store", store.as_uri())
    assert deployed["bundle_uri"].startswith(store.as_uri())
    assert [path.name for path in store.rglob("*.tar.gz")] == [f"{deployed['bundle']['digest']}.tar.gz"]
    again = cli.deploy(root, "base.py", "base", "--bundle-store", store.as_uri(), "--version", "v9")
    assert again["uploaded"] is False


def test_the_whole_tree_and_no_code(write: Write, cli: Cli, server: Embedded) -> None:
    root = write({**PROJECT, "data/table.csv": "a,b\n"})
    everything = cli.plan(root, "base.py", "base", "--copy-style", "all")
    assert {f["path"] for f in everything["bundle"]["files"]} == {*PROJECT, "data/table.csv"}
    nothing = cli.deploy(root, "base.py", "base", "--copy-style", "none", "--version", "v1")
    assert nothing["bundle"] is None
    (request,) = cli.requests().values()
    assert "--tgz" not in request.spec.task_template.container.args


def test_the_images_that_are_given(write: Write, cli: Cli, server: Embedded) -> None:
    root = write(
        {
            "flow.py": """
            import flyte
            one = flyte.TaskEnvironment(name="one", image=flyte.Image.from_ref_name("ours"))
            two = flyte.TaskEnvironment(name="two", depends_on=[one])
            built = flyte.Image.from_debian_base(name="x").with_pip_packages("numpy")
            three = flyte.TaskEnvironment(name="three", image=built)

            @one.task
            async def a() -> None: ...

            @two.task
            async def b() -> None: ...

            @three.task
            async def c() -> None: ...
            """
        }
    )
    given = (
        "--image",
        "ours=r.example/ours:1",
        "--image",
        "r.example/default:2",
        "--image",
        "three=r.example/c:3",
    )
    deployed = cli.deploy(root, "--all", "flow.py", *given)
    assert [e["image"] for e in deployed["environments"]] == [
        "r.example/ours:1",
        "r.example/default:2",
        "r.example/c:3",
    ]
    images = {r.task_id.name: r.spec.task_template.container.image for r in cli.requests().values()}
    assert images == {"one.a": "r.example/ours:1", "two.b": "r.example/default:2", "three.c": "r.example/c:3"}
    refused = cli.to_server("deploy", root, "--all", "flow.py", *given[:4])
    assert refused.status == 2
    assert "has to be built, and there is no registry" in refused.json["error"]["what"]
    assert "--image three=URI" in refused.json["error"]["mend"]


def test_load_errors_that_are_ignored_are_warnings(write: Write, cli: Cli) -> None:
    root = write({**PROJECT, "broken.py": "import nowhere\n"})
    refused = cli.to_server("deploy", root, "--recursive", ".")
    assert refused.status == 1
    assert refused.json["error"]["where"] == "broken.py:1"
    assert cli.writes() == []
    deployed = cli.deploy(root, "--recursive", ".", "--ignore-load-errors")
    assert len(deployed["registered"]) == 3
    assert "broken.py:1" in deployed["warnings"][0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_load_leaves_nothing(write: Write, cli: Cli, number: int) -> None:
    root = write({"flow.py": "import time\nprint('loading', flush=True)\ntime.sleep(600)\n"})
    process = subprocess.Popen(
        [FLYTE_DEPLOY, "plan", "--all", "flow.py"],
        cwd=root,
        env=cli.environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    while "loading" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(number)
    assert process.wait(30) == (130 if number == signal.SIGINT else 143)
    assert "Traceback" not in process.stderr.read()


def test_flytes_own_command_line_reads_it_back(write: Write, cli: Cli, server: Embedded) -> None:
    root = write(PROJECT)
    version = cli.deploy(root, "top.py", "top")["version"]
    flyte = str(Path(sys.executable).with_name("flyte"))
    command = [flyte, "--endpoint", f"dns:///{server.endpoint}", "--insecure", "get", "task"]
    command += ["-p", "flytesnacks", "-d", "development"]
    output = subprocess.check_output(command, env=cli.environment(COLUMNS="200"), text=True)
    assert "base.measure" in output
    assert "top.main" in output
    assert version in output


def test_the_embedded_endpoint_keeps_its_data(write: Write, cli: Cli, tmp_path: Path) -> None:
    root = write(PROJECT)
    where = ("--endpoint", "embedded", "--data", str(tmp_path / "data"))
    assert "Registered 3 tasks" in cli.run(root, "deploy", "--all", "top.py", *where).out
    assert "Nothing to do" in cli.run(root, "deploy", "--all", "top.py", *where).out


def test_environments_that_came_by_import_are_said_to(write: Write, cli: Cli, tmp_path: Path) -> None:
    tasks = "\n\n@env.task\nasync def one() -> None: ...\n"
    image = 'image="registry.example/team/image:1"'
    vendor = tmp_path / "lib" / "site-packages"
    vendor.mkdir(parents=True)
    (vendor / "vendor.py").write_text(f"import flyte\nenv = flyte.TaskEnvironment('vendor', {image}){tasks}")
    root = write(
        {
            "jobs/flow.py": "import flyte, jobs.beside, vendor, other.far\n"
            f"env = flyte.TaskEnvironment('flow', {image}){tasks}",
            "jobs/beside.py": f"import flyte\nenv = flyte.TaskEnvironment('beside', {image}){tasks}",
            "other/far.py": f"import flyte\nenv = flyte.TaskEnvironment('far', {image}){tasks}",
        }
    )
    paths = {"PYTHONPATH": str(vendor)}

    def reasons(*arguments: str) -> dict[str, str]:
        result = cli.run(root, "plan", *arguments, "--output-format", "json", **paths)
        document = json.loads(result.out)
        assert [w for w in document["warnings"] if "from an installed package" in w] == [
            f"environment 'vendor' came by import, from an installed package: {vendor / 'vendor.py'}"
        ]
        return {one["name"]: one["reason"] for one in document["environments"]}

    imported = "came by import"
    assert reasons("--all", "jobs/flow.py") == {
        "beside": imported,
        "vendor": imported,
        "far": imported,
        "flow": "selected",
    }
    assert reasons("--recursive", "jobs") == {
        "beside": "selected",
        "vendor": imported,
        "far": imported,
        "flow": "selected",
    }
