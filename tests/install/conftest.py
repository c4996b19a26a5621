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


@dataclass
class Workshop:
    """Installs a project of the test's own; packages come from a folder of wheels."""

    root: Path
    wheels: Path
    environments: Path
    said: list[str] = field(default_factory=list)
    pretended: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("UV_")},
            "PATH": f"{uv_program().parent}:{os.environ['PATH']}",
            "UV_FIND_LINKS": str(self.wheels),
            "UV_OFFLINE": "1",
        }

    def lock(self, folder: str = ".") -> None:
        """What `uv lock` makes. Committed, it would hold addresses."""
        subprocess.run(
            [str(uv_program()), "lock", "-q"], cwd=self.root / folder, env=self.environment, check=True
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
            pretended=self.pretended,
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
