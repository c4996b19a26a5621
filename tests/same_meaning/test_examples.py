"""Every example registers what the unmodified ``flyte deploy`` registers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.same_meaning.compare import compare

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
# Where images have to be built, the peer wants an engine of its own: tests/images compares those.
NAMES = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir() and path.name != "images")


def arguments(folder: Path) -> list[str]:
    root = "src" if (folder / "src").is_dir() else "."
    return ["--recursive", "--root-dir", root, root]


def test_there_are_examples() -> None:
    assert len(NAMES) >= 8


@pytest.mark.parametrize("name", NAMES)
def test_an_example_means_the_same(name: str, tmp_path: Path) -> None:
    # A copy: the peer leaves compiled files where it runs.
    folder = tmp_path / name
    shutil.copytree(EXAMPLES / name, folder, ignore=shutil.ignore_patterns("__pycache__"))
    result = compare(folder, arguments(folder))
    assert result.differences == ()
    assert result.tasks >= 10
    assert result.requests >= result.tasks
