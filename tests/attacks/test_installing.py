"""The same attacks while the project is installed, and caches that somebody has written to."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.scene import CERTIFICATE, PROJECT, SDK, WORD, Attempt, Scene, attempts, scene
from tests.attacks.test_attacks import DENIALS, FORBIDDEN, HELD, UNCONTROLLED

NO_SUCH_SOCKET = r"OSError: \[Errno 97\] Address family not supported"
REACHED = {"loopback", "datagram", "metadata_address"}
"""Installing has a network: `docs/security.md` says so."""
WHILE_INSTALLING = {
    **{name: denial for name, denial in DENIALS.items() if name not in REACHED},
    "docker_socket": NO_SUCH_SOCKET,
    "abstract_socket": NO_SUCH_SOCKET,
    "raw_socket": FORBIDDEN,
}

BACKEND = """
import os, pathlib, sys, zipfile

def build_editable(folder, config=None, metadata=None):
    sys.path.insert(0, str(pathlib.Path.cwd()))
    import probes
    with open("report.txt", "w") as report:
        probes.report(report, probes.attempt if os.getuid() else probes.apart)
    info = "flows-1.0.dist-info"
    files = {
        "flows.pth": str(pathlib.Path.cwd()) + "\\n",
        info + "/METADATA": "Metadata-Version: 2.1\\nName: flows\\nVersion: 1.0\\n"
        "Requires-Dist: flyte==SDK\\n",
        info + "/WHEEL": "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }
    files[info + "/RECORD"] = "".join(name + ",,\\n" for name in [*files, info + "/RECORD"])
    with zipfile.ZipFile(pathlib.Path(folder, "flows-1.0-py3-none-any.whl"), "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return "flows-1.0-py3-none-any.whl"
""".replace("SDK", SDK)
FLOW = """
import pathlib
import flyte
print((pathlib.Path(__file__).parent / "report.txt").read_text())
env = flyte.TaskEnvironment(name="innocent", image="registry.example/team/image:1")

@env.task
def work(x: int) -> int:
    return x
"""
FILES = {
    "pyproject.toml": f'[project]\nname = "flows"\nversion = "1.0"\ndependencies = ["flyte=={SDK}"]\n'
    '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
    "backend.py": BACKEND,
    "ca.pem": f"{CERTIFICATE}{WORD}\n",
    "probes.py": (PROJECT / "probes.py").read_text(),
    "flow.py": FLOW,
}


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Scene, dict[str, Attempt]]]:
    with scene() as made:
        made.check_out(files=FILES)
        (made.workspace / "requirements.txt").unlink()
        outcome = made.run(cache_dir=str(tmp_path_factory.mktemp("cache")))
        assert outcome.get("tasks") == ["innocent.work"], outcome
        yield made, attempts([text for kind, text in outcome["heard"] if kind == "output"])


@pytest.fixture(scope="module")
def controlled(attacked: tuple[Scene, dict[str, Attempt]]) -> dict[str, Attempt]:
    """The same installation as root, unconfined."""
    made = attacked[0]
    python = next(made.base.glob("environments/*/venv/bin/python"))
    made.control(str(made.folder / "bin" / "uv"), "pip", "install", "--no-deps", f"--python={python}", "-e.")
    return attempts((made.workspace / "report.txt").read_text().splitlines())


@pytest.mark.parametrize("name", sorted(WHILE_INSTALLING))
def test_is_denied_while_the_project_is_installed(
    attacked: tuple[Scene, dict[str, Attempt]], name: str
) -> None:
    attempt = attacked[1][name]
    assert attempt.got == ""
    assert re.search(WHILE_INSTALLING[name], attempt.denied), attempt.denied


@pytest.mark.parametrize("name", sorted(set(WHILE_INSTALLING) - UNCONTROLLED))
def test_succeeds_where_root_installs_unconfined(controlled: dict[str, Attempt], name: str) -> None:
    attempt = controlled[name]
    assert attempt.denied == ""
    assert name not in HELD or WORD in attempt.got


def test_what_a_package_has_python_run_at_its_start_runs_confined(tmp_path: Path) -> None:
    """A `.pth` file of an editable install, which each start of the environment's interpreter obeys."""
    with scene() as made:
        marks = made.open / "users"
        line = f"import os; open({str(marks)!r}, 'a').write(str(os.getuid()) + chr(10))\n"
        backend = BACKEND.replace("probes.report(", "print(").replace(
            '"flows.pth": ', f'"planted.pth": {line!r}, "flows.pth": '
        )
        made.check_out(files={**FILES, "backend.py": backend})
        (made.workspace / "requirements.txt").unlink()
        outcome = made.run(cache_dir=str(tmp_path / "cache"))
        assert outcome.get("tasks") == ["innocent.work"], outcome
        users = set(marks.read_text().split())
    assert users
    assert "0" not in users


INNOCENT = FLOW.replace('print((pathlib.Path(__file__).parent / "report.txt").read_text())', "")


@pytest.fixture
def cached(tmp_path: Path) -> Iterator[tuple[Scene, Path]]:
    """A scene, and a cache in which its environment is kept."""
    with scene() as made:
        made.check_out(files={"flow.py": INNOCENT})
        cache = tmp_path / "cache"
        cache.mkdir()
        assert made.run(cache_dir=str(cache)).get("tasks") == ["innocent.work"]
        shutil.rmtree(made.base / "environments")
        (kept,) = cache.glob("*/venv")
        yield made, kept


def test_nothing_of_a_cache_is_run_as_root(cached: tuple[Scene, Path]) -> None:
    made, venv = cached
    python = venv / "bin" / "python"
    real = python.resolve()
    marks = made.open / "users"
    python.unlink()
    python.write_text(f'#!/bin/sh\nid -u >>{marks}\nexec -a {python} {real} "$@"\n')
    python.chmod(0o4755)
    (library,) = venv.glob("lib/python*/site-packages")
    (library / "planted.pth").write_text(
        f"import os; open({str(marks)!r}, 'a').write(str(os.getuid()) + chr(10))\n"
    )
    (library / "link.py").symlink_to(made.folder / "github" / "home" / "notes")

    outcome = made.run(cache_dir=str(venv.parent.parent))

    users = set(marks.read_text().split())
    assert users
    assert "0" not in users
    assert WORD not in str(outcome)
    # What was taken over keeps no more than the right to be run.
    (taken,) = made.base.glob("environments/*/venv/bin/python")
    assert taken.stat().st_mode & 0o7777 == 0o755
    (link,) = made.base.glob("environments/*/venv/lib/python*/site-packages/link.py")
    assert link.is_symlink()


def test_what_a_pull_request_has_installed_is_nobody_else_s(cached: tuple[Scene, Path]) -> None:
    made, venv = cached
    cache = venv.parent.parent

    def said(**more: bool) -> str:
        shutil.rmtree(made.base / "environments")
        outcome = made.run(cache_dir=str(cache), **more)  # type: ignore[arg-type]
        assert outcome.get("tasks") == ["innocent.work"], outcome
        return " ".join(text for kind, text in outcome["heard"] if kind == "note")

    (made.base / "environments").mkdir()
    # It may use what others have installed.
    assert "is there" in said(untrusted=True)
    shutil.rmtree(venv.parent)
    assert "installing" in said(untrusted=True)
    assert "is there" in said(untrusted=True)
    assert "installing" in said()


def test_a_cache_that_is_a_link_is_not_followed(cached: tuple[Scene, Path]) -> None:
    made, venv = cached
    venv.rename(made.open / "venv")
    venv.symlink_to(made.open / "venv")
    outcome = made.run(cache_dir=str(venv.parent.parent))
    assert outcome.get("tasks") == ["innocent.work"]
    assert any("installing requirements.txt" in text for _, text in outcome["heard"])
