"""Versions that a project's build takes from git, for a copy that has none."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flyte_deploy.project.ways import name_of, table, texts, toml_of

_DESCRIBED = re.compile(r"^(?P<tag>.*)-(?P<distance>\d+)-g(?P<commit>[0-9a-f]+)$")
_NUMBERS = re.compile(r"(?:^|[^0-9.])v?(?P<version>\d+(?:\.\d+)*(?:(?:a|b|rc|\.post)\d+)?)$")
_OF_SETUPTOOLS = "SETUPTOOLS_SCM_PRETEND_VERSION"
_VARIABLES = {
    "setuptools-scm": _OF_SETUPTOOLS,
    "flit-scm": _OF_SETUPTOOLS,
    "hatch-vcs": _OF_SETUPTOOLS,
    "pdm-backend": "PDM_BUILD_SCM_VERSION",
    "uv-dynamic-versioning": "UV_DYNAMIC_VERSIONING_BYPASS",
    "poetry-dynamic-versioning": "POETRY_DYNAMIC_VERSIONING_BYPASS",
}
_NAMED = frozenset({"setuptools-scm", "flit-scm"})
"""They look for a variable of the one project; the others for one that every build would obey."""


@dataclass(frozen=True)
class Pretended:
    """How builds are told a version, each project's alone.

    Args:
        variables: the environment's.
        configuration: of uv, which gives variables to the build of one project; empty where none is needed.
    """

    variables: Mapping[str, str]
    configuration: str = ""


def version_of(described: str, sha: str) -> str:
    """The version that setuptools-scm gives a clean checkout by default.

    Args:
        described: as ``git describe --long`` writes it, empty without a tag.
        sha: the commit, empty where it is not known.
    """
    local = f"+g{sha[:9]}" if sha else ""
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


def asking_git(projects: Iterable[Path], top: Path) -> list[tuple[str, str]]:
    """The projects whose builds take their version from git: name, empty where it is not known, and tool.

    Args:
        projects: their folders.
        top: the checkout's top folder.
    """
    found = []
    for folder in projects:
        if not (folder / "pyproject.toml").is_file():
            continue
        content = toml_of(folder / "pyproject.toml", top)
        project = table(content, "project")
        if project and "version" not in texts(project.get("dynamic")):
            continue
        for need in texts(table(content, "build-system").get("requires")):
            tool = re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", need.strip(), maxsplit=1)[0]).lower()
            if tool == "pdm-backend" and table(content, "tool", "pdm", "version").get("source") != "scm":
                continue
            if tool in _VARIABLES:
                found.append((name_of(content), tool))
    return found


def pretended(asking: Iterable[tuple[str, str]], version: str) -> Pretended:
    """How to tell builds the version of their projects.

    Args:
        asking: see `asking_git`.
        version: see `version_of`.
    """
    variables: dict[str, str] = {}
    lines = []
    for name, tool in asking:
        if not name:
            # An old project, whose name only its build knows.
            variables[_VARIABLES[tool]] = version
        elif tool in _NAMED:
            variables[f"{_VARIABLES[tool]}_FOR_{re.sub(r'[-_.]+', '_', name).upper()}"] = version
        else:
            lines.append(f"{json.dumps(name)} = {{ {_VARIABLES[tool]} = {json.dumps(version)} }}")
    return Pretended(variables, "\n".join(["[extra-build-variables]", *lines, ""]) if lines else "")
