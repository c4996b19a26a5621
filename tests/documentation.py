"""What README.md and docs/ tell people to copy."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.harness.image import ROOT

ACTION = "octo/flyte-deploy-action@"
"""What our own steps use, in the documentation."""

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


@dataclass(frozen=True)
class Block:
    """A block of a page: its text, and where that is."""

    page: str
    line: int
    text: str

    @property
    def parsed(self) -> Any:
        """As YAML in which each scalar is text, as GitHub hands it to an action."""
        return yaml.load(self.text, Loader=yaml.BaseLoader)

    @property
    def is_workflow(self) -> bool:
        """Whether it is a whole one."""
        found = self.parsed
        return isinstance(found, dict) and {"on", "jobs"} <= found.keys()

    def steps(self) -> list[dict[str, Any]]:
        """All steps of all jobs, or those that the block is a part of."""
        found = self.parsed
        if self.is_workflow:
            return [step for job in found["jobs"].values() for step in job["steps"]]
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    def ours(self) -> list[dict[str, Any]]:
        """The steps that are the action."""
        return [step for step in self.steps() if str(step.get("uses", "")).startswith(ACTION)]


def blocks(language: str = "yaml") -> list[Block]:
    """All blocks of a language on all pages."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            line = text[: match.start()].count("\n") + 1
            found.append(Block(str(page.relative_to(ROOT)), line, match[1]))
    return found


def environment_of(step: dict[str, Any], workspace: Path) -> dict[str, str]:
    """The variables that the runner starts a step of ours with, in a workspace with the folders it names."""
    folders = ("path", "root-dir", "working-directory")
    given = {f"INPUT_{name.upper()}": str(value) for name, value in step["with"].items()}
    given |= {name: str(value) for name, value in step.get("env", {}).items()}
    # What GitHub puts in for an expression is a text.
    given = {name: re.sub(r"\$\{\{.*?\}\}", "a0b1", value) for name, value in given.items()}
    if "FLYTE_API_KEY" in given:
        given["FLYTE_API_KEY"] = base64.b64encode(b"flyte.example.com:client:secret:org").decode()
    inside = workspace / given.get("INPUT_WORKING-DIRECTORY", ".")
    for name in folders:
        (inside / given.get(f"INPUT_{name.upper()}", ".")).mkdir(parents=True, exist_ok=True)
    return {**given, "GITHUB_WORKSPACE": str(workspace), "HOME": str(workspace / "home")}
