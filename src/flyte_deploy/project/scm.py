"""Versions that a project's build takes from git, for a copy that has none."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from flyte_deploy.errors import DeployError
from flyte_deploy.project.ways import toml_of

_DESCRIBED = re.compile(r"^(?P<tag>.*)-(?P<distance>\d+)-g(?P<commit>[0-9a-f]+)$")
_NUMBERS = re.compile(r"(?:^|[^0-9.])v?(?P<version>\d+(?:\.\d+)*(?:(?:a|b|rc|\.post)\d+)?)$")
_FOR_ONE = re.compile(r"setuptools[-_.]scm|flit[-_.]scm", re.IGNORECASE)
# They know of no variable for one project alone.
_FOR_ALL = {
    "hatch-vcs": "SETUPTOOLS_SCM_PRETEND_VERSION",
    "pdm-backend": "PDM_BUILD_SCM_VERSION",
    "uv-dynamic-versioning": "UV_DYNAMIC_VERSIONING_BYPASS",
    "poetry-dynamic-versioning": "POETRY_DYNAMIC_VERSIONING_BYPASS",
}
_NAME = re.compile(r"^[A-Za-z0-9][\w.-]*$")


def version_of(described: str, sha: str) -> str:
    """The version that setuptools-scm gives a clean checkout by default.

    Args:
        described: as ``git describe --long`` writes it, empty without a tag.
        sha: the commit, empty where it is not known.
    """
    local = f"+g{sha[:7]}" if sha else ""
    found = _DESCRIBED.match(described)
    numbers = _NUMBERS.search(found["tag"]) if found else None
    if found is None or numbers is None:
        return f"0.1.dev0{local}"
    if found["distance"] == "0":
        return numbers["version"]
    base = re.match(r"\d+(?:\.\d+)*", numbers["version"])
    assert base is not None
    *first, last = base[0].split(".")
    return f"{'.'.join([*first, str(int(last) + 1)])}.dev{found['distance']}{local}"


def pretended(folder: Path, top: Path, version: str) -> dict[str, str]:
    """The variables that tell the builds of a checkout's projects their version.

    Args:
        folder: where its projects lie, at any depth.
        top: the checkout's top folder.
        version: see `version_of`.
    """
    found: dict[str, str] = {}
    for name, needs in _projects(folder, top):
        for need in needs:
            if _FOR_ONE.match(need):
                suffix = re.sub(r"[-_.]+", "_", name).upper()
                found[f"SETUPTOOLS_SCM_PRETEND_VERSION_FOR_{suffix}"] = version
            for tool, variable in _FOR_ALL.items():
                if need.lower().replace("_", "-").startswith(tool):
                    found[variable] = version
    return found


def _projects(folder: Path, top: Path) -> Iterator[tuple[str, list[str]]]:
    for path, below, files in os.walk(folder):
        below[:] = [name for name in below if not name.startswith(".") and name != "node_modules"]
        if "pyproject.toml" not in files:
            continue
        try:
            content = toml_of(Path(path, "pyproject.toml"), top)
        except DeployError:
            # One that is not ours to install; the one that is was read before.
            continue
        name = content.get("project", {}).get("name", "")
        needs = content.get("build-system", {}).get("requires", [])
        dynamic = content.get("project", {}).get("dynamic", [])
        if not isinstance(name, str) or not _NAME.match(name) or not isinstance(needs, list):
            continue
        if isinstance(dynamic, list) and "version" in dynamic:
            yield name, [need for need in needs if isinstance(need, str)]
