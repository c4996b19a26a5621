"""The workflows of README.md and docs/: they fit their schema, are safe, and name what the action has."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flyte_deploy.action.event import Event
from flyte_deploy.action.inputs import INPUTS, read
from flyte_deploy.action.outputs import OUTPUTS
from tests.action.payloads import REPOSITORY, payload
from tests.documentation import PAGES, Block, blocks, environment_of
from tests.harness.image import ROOT

WORKFLOWS = [block for block in blocks() if block.is_workflow]
STEPS = [(block, step) for block in blocks() for step in block.ours()]
BIN = Path(sys.executable).parent
ZIZMOR = """
rules:
  unpinned-uses:
    config:
      policies:
        # Documentation names versions; docs/security.md says to pin them.
        "*": ref-pin
  secrets-outside-env:
    # What pushes and previews need is no secret of production.
    disable: true
  concurrency-limits:
    # Jobs that only plan need none; of the others a test asks more.
    disable: true
"""


def name_of(block: Block) -> str:
    return f"{block.page}:{block.line}"


def write(folder: Path) -> list[Path]:
    written = []
    for number, block in enumerate(WORKFLOWS):
        path = folder / f"{number:02d}-{block.page.replace('/', '-')}-{block.line}.yml"
        path.write_text(block.text, encoding="utf-8")
        written.append(path)
    return written


def test_the_readme_has_the_three_uses_whole() -> None:
    names = [block.parsed["name"] for block in WORKFLOWS if block.page == "README.md"]
    assert names == ["Deploy", "Preview", "Release"]
    assert len(WORKFLOWS) >= 13
    assert len(STEPS) > len(WORKFLOWS)


def test_each_fits_the_schema_of_workflows(tmp_path: Path) -> None:
    schema = ["-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    files = map(str, write(tmp_path))
    ran = subprocess.run([sys.executable, *schema, *files], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_zizmor_finds_nothing(tmp_path: Path) -> None:
    (tmp_path / "zizmor.yml").write_text(ZIZMOR)
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    write(folder)
    command = [str(BIN / "zizmor"), "--offline", "--persona", "pedantic", "--config", "zizmor.yml", "."]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "No findings to report" in ran.stdout + ran.stderr


@pytest.mark.parametrize("block", WORKFLOWS, ids=name_of)
def test_permissions_are_given_by_the_job_each_with_its_reason(block: Block) -> None:
    workflow = block.parsed
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert job["permissions"]
        for name, access in job["permissions"].items():
            assert re.search(rf"^ +{name}: {access} # \w", block.text, re.MULTILINE), (name, access)
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] == "false"


@pytest.mark.parametrize("block", WORKFLOWS, ids=name_of)
def test_runs_that_deploy_wait_for_each_other(block: Block) -> None:
    workflow = block.parsed
    for job in workflow["jobs"].values():
        modes = {step.get("with", {}).get("mode", "auto") for step in job["steps"] if "with" in step}
        if modes == {"plan"} or not block.ours():
            continue
        concurrency = job.get("concurrency") or workflow.get("concurrency")
        if "plan" not in modes:
            assert concurrency["cancel-in-progress"] == "false"
            assert concurrency["group"]


@pytest.mark.parametrize(
    ("block", "step"), STEPS, ids=lambda one: name_of(one) if isinstance(one, Block) else ""
)
def test_each_input_is_one_with_a_value_that_it_takes(
    block: Block, step: dict[str, Any], tmp_path: Path
) -> None:
    assert set(step["with"]) <= set(INPUTS)
    environ = environment_of(step, tmp_path)
    if step["with"].get("mode") in ("plan", "post-comment"):
        environ["INPUT_DRY-RUN"] = "true"
    assert read(environ).settings.project == "team"


@pytest.mark.parametrize("block", WORKFLOWS, ids=name_of)
def test_what_is_passed_is_set(block: Block) -> None:
    for step in block.ours():
        for name in step["with"].get("pass-env", "").split():
            assert name in step["env"]


def test_each_output_that_is_used_is_one() -> None:
    used = 0
    for block in blocks():
        ids = {step.get("id") for step in block.ours()}
        for step, name in re.findall(r"steps\.([\w-]+)\.outputs\.([\w-]+)", block.text):
            if step in ids:
                assert name in OUTPUTS, (block.page, name)
                used += 1
        if block.is_workflow:
            for job, name in re.findall(r"needs\.([\w-]+)\.outputs\.([\w-]+)", block.text):
                assert name in block.parsed["jobs"][job]["outputs"]
    assert used >= 5


def test_the_table_of_the_readme_has_every_output() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    table = page.partition("| output | holds |")[2].partition("\n\n")[0]
    named = {
        name for line in table.splitlines()[2:] for name in re.findall(r"`([\w-]+)`", line.split("|")[1])
    }
    assert named == set(OUTPUTS)


@pytest.mark.parametrize(
    ("name", "event", "ref", "do"),
    [
        (
            "Deploy",
            Event("push", payload("push", repository__default_branch="main")),
            "refs/heads/main",
            "push",
        ),
        ("Preview", Event("pull_request", payload("pull_request", "opened")), "refs/pull/2/merge", "preview"),
        ("Release", Event("push", payload("push")), "refs/tags/v1.2.0", "release"),
    ],
)
def test_the_three_uses_do_what_they_say(name: str, event: Event, ref: str, do: str, tmp_path: Path) -> None:
    (block,) = [one for one in WORKFLOWS if one.page == "README.md" and one.parsed["name"] == name]
    facts = {"GITHUB_REPOSITORY": REPOSITORY, "GITHUB_REF": ref, "GITHUB_SHA": "a" * 40}
    *before, step = block.ours()
    asked = read({**environment_of(step, tmp_path), **facts}, event)
    assert asked.policy is not None
    assert asked.policy.do == do
    assert asked.settings.domain == {"push": "staging", "preview": "development", "release": "production"}[do]
    if do == "release":
        assert asked.policy.reuse_from == "team/staging"
        # The plan before it looks at the same target.
        plan = read({**environment_of(before[0], tmp_path), **facts}, event).policy
        assert plan is not None
        assert (plan.do, plan.target) == ("plan", asked.policy.target)


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith(("http:", "https:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), link


def said() -> str:
    """What the program can say, with ``…`` for what is known only then."""
    found = []
    for path in sorted((ROOT / "src").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                parts = [one.value if isinstance(one, ast.Constant) else "…" for one in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and id(node) not in documentation:
                found.append(str(node.value))
    return "\n".join(found)


def test_every_message_of_the_troubleshooting_is_one_of_the_program() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    messages = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)
    assert len(messages) == len(re.findall(r"^\| `", page, re.MULTILINE)) >= 40
    known = said()
    assert [one for one in messages if one not in known] == []
