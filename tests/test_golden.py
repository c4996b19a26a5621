"""The content versions of the examples are pinned: a change of ours that moves them shows here.

They hold for the SDK's version and the Python minor version that they were made with. Where a change is
worth a new version for every project, ``python -m tests.test_golden`` writes the file anew, and the change
log says so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILE = ROOT / "tests" / "golden.json"
NAMES = sorted(path.name for path in (ROOT / "examples").iterdir() if path.is_dir())
MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"


def plan(name: str) -> dict[str, str]:
    folder = ROOT / "examples" / name
    root = folder / "src" if (folder / "src").is_dir() else folder
    output = subprocess.check_output(
        [
            Path(sys.executable).with_name("flyte-deploy"),
            *("plan", "--recursive", str(root), "--root-dir", str(root), "--output-format", "json"),
            *("--registry", "registry.example.com/team"),
        ],
        env={k: v for k, v in os.environ.items() if not k.startswith(("FLYTE", "UCTL"))},
        stderr=subprocess.PIPE,
    )
    document = json.loads(output)
    return {"version": document["version"], "bundle": document["bundle"]["digest"], "sdk": document["sdk"]}


@pytest.mark.parametrize("name", NAMES)
def test_the_content_version_of_an_example_stays(name: str) -> None:
    golden = json.loads(FILE.read_text())
    assert MINOR in golden, f"no versions for Python {MINOR}: run python -m tests.test_golden"
    assert plan(name) == golden[MINOR].get(name)


if __name__ == "__main__":
    known = json.loads(FILE.read_text()) if FILE.exists() else {}
    known[MINOR] = {name: plan(name) for name in NAMES}
    FILE.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")
