"""Projects of every kind register what the unmodified ``flyte deploy`` registers."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.same_meaning.compare import Comparison, compare
from tests.same_meaning.layouts import LAYOUTS
from tests.same_meaning.projects import PROJECTS, Project

ALL = {**PROJECTS, **LAYOUTS}


def compared(project: Project, folder: Path) -> Comparison:
    folder.mkdir()
    project.write(folder)
    places = {"root": folder, "path": os.environ["PATH"], "bin": Path(sys.executable).parent}
    environment = {name: value.format(**places) for name, value in project.environment.items()}
    return compare(folder / project.at, project.arguments, environment, ours=project.ours)


@pytest.mark.parametrize("name", ALL)
def test_a_project_means_the_same(name: str, tmp_path: Path) -> None:
    project = ALL[name]
    result = compared(project, tmp_path / "project")
    assert result.differences == project.expected
    assert result.tasks == project.tasks
    assert result.requests >= project.tasks
