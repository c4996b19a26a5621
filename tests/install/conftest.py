"""Projects that say what they need in every way, and a stand-in for the SDK that takes no time to install."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from flyte_deploy.project.environments import Installed
from flyte_deploy.project.install import Wanted, install
from tests.cache import uv_program


def wheel(folder: Path, name: str, version: str, text: str = "") -> Path:
    """A small real wheel with one module."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}/__init__.py": text,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = []
    for path, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()
        record.append(f"{path},sha256={digest},{len(content.encode())}")
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""])
    folder.mkdir(exist_ok=True)
    made = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return made


BACKEND = """
import os, pathlib, zipfile

def _build(folder, files):
    here = pathlib.Path.cwd()
    name, version, *needs = (here / "NAME").read_text().split()
    version = os.environ.get("SETUPTOOLS_SCM_PRETEND_VERSION", version)
    info = f"{name}-{version}.dist-info"
    files = {
        **{file: text.replace("HERE", str(here)) for file, text in files(here, name).items()},
        info + "/METADATA": f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n"
        + "".join(f"Requires-Dist: {need}\\n" for need in needs),
        info + "/WHEEL": "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }
    files[info + "/RECORD"] = "".join(file + ",,\\n" for file in [*files, info + "/RECORD"])
    made = f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(folder, made), "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
    return made

def build_wheel(folder, config=None, metadata=None):
    return _build(folder, lambda here, name: {f"{name}.py": (here / f"{name}.py").read_text()})

def build_editable(folder, config=None, metadata=None):
    return _build(folder, lambda here, name: {f"{name}.pth": "HERE\\n"})
"""
"""A build that needs nothing, and obeys the variable that setuptools-scm and hatch-vcs obey."""


def package(
    name: str, *, version: str = "1.0", needs: str = "", text: str = "", more: str = ""
) -> dict[str, str]:
    """The files of a project that `BACKEND` builds: one module of its name.

    Args:
        name: the project's.
        version: what the build says where it is not told another.
        needs: its dependencies, a word each.
        text: the module's.
        more: more of its pyproject.toml, below the name.
    """
    if "dynamic" not in more:
        listed = ", ".join(f'"{need}"' for need in needs.split())
        more = f'version = "{version}"\ndependencies = [{listed}]\n{more}'
    if "[build-system]" not in more:
        more += "\n[build-system]\nrequires = []\n"
    more = more.replace(
        "[build-system]", '[build-system]\nbuild-backend = "backend"\nbackend-path = ["tools"]'
    )
    return {
        "pyproject.toml": f'[project]\nname = "{name}"\n{more}',
        "NAME": f"{name} {version} {needs}",
        "tools/backend.py": BACKEND,
        f"{name}.py": text,
    }


def below(folder: str, files: Mapping[str, str]) -> dict[str, str]:
    """The same files in a folder."""
    return {f"{folder}/{name}": text for name, text in files.items()}


@dataclass
class Workshop:
    """Installs a project of the test's own; packages come from a folder of wheels."""

    root: Path
    wheels: Path
    environments: Path
    said: list[str] = field(default_factory=list)
    version: str = ""
    commit: str = ""
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("UV_")},
            "PATH": f"{uv_program().parent}:{os.environ['PATH']}",
            "UV_FIND_LINKS": str(self.wheels),
            "UV_OFFLINE": "1",
            **self.more,
        }

    def lock(self, folder: str = ".", script: str = "") -> None:
        """What `uv lock` makes. Committed, it would hold addresses."""
        of_script = ["--script", script] if script else []
        subprocess.run(
            [str(uv_program()), "lock", "-q", *of_script],
            cwd=self.root / folder,
            env=self.environment,
            check=True,
        )

    def wanted(
        self,
        start: str = ".",
        *,
        how: str = "auto",
        arguments: str = "",
        python: str = "",
        cache: Path | None = None,
    ) -> Wanted:
        path = self.root / start
        return Wanted(
            install=how,
            arguments=arguments,
            python=python,
            start=path.parent if path.suffix == ".py" else path,
            scripts=(path,) if path.suffix == ".py" else (),
            top=self.root,
            environments=self.environments,
            environment=self.environment,
            caches=(cache,) if cache else (),
            version=self.version,
            commit=self.commit,
        )

    def install(self, start: str = ".", **more: object) -> Installed | None:
        return install(self.wanted(start, **more), self.said.append)  # type: ignore[arg-type]

    def imports(self, installed: Installed, code: str) -> str:
        """What a program prints in the environment."""
        ran = subprocess.run([installed.python, "-c", code], check=True, capture_output=True, text=True)
        return ran.stdout.strip()


Write = Callable[[dict[str, str]], Path]


@pytest.fixture
def workshop(tmp_path: Path, write: Write) -> Callable[[dict[str, str]], Workshop]:
    wheels = tmp_path / "wheels"
    for name, version in (("flyte", "99.0"), ("helper", "1.0"), ("helper", "2.0"), ("extra", "1.0")):
        wheel(wheels, name, version, f"version = {version!r}\n")

    def make(files: dict[str, str]) -> Workshop:
        return Workshop(write(files).resolve(), wheels, tmp_path / "environments")

    return make
