"""Every way in which a project says what it needs, and all that can be wrong with it; with the real uv."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flyte_deploy.errors import DeployError
from flyte_deploy.project.install import none_found
from tests.install.conftest import Workshop, wheel

Make = Callable[[dict[str, str]], Workshop]
PROJECT = """
[project]
name = "flows"
version = "1.0"
requires-python = ">=3.10"
dependencies = ["flyte", "helper<2"]
"""
VERSIONS = "import flyte, helper; print(flyte.version, helper.version)"


def test_a_lock_file(workshop: Make) -> None:
    made = workshop({"pyproject.toml": PROJECT + '[dependency-groups]\ndev = ["extra"]\n'})
    made.lock()
    before = sorted(path.name for path in made.root.iterdir())
    installed = made.install()
    assert installed is not None
    assert made.imports(installed, VERSIONS + "; import extra") == "99.0 1.0"
    assert sorted(path.name for path in made.root.iterdir()) == before
    again = made.install()
    assert again is not None
    assert (again.folder, again.reused, installed.reused) == (installed.folder, True, False)


def test_a_lock_file_of_a_workspace(workshop: Make) -> None:
    made = workshop(
        {
            "pyproject.toml": '[tool.uv.workspace]\nmembers = ["apps/*"]\n',
            "apps/one/pyproject.toml": PROJECT.replace("flows", "one"),
            "apps/one/flow.py": "",
            "apps/two/pyproject.toml": PROJECT.replace("flows", "two").replace('"flyte", ', ""),
        }
    )
    made.lock()
    installed = made.install("apps/one/flow.py")
    assert installed is not None
    assert made.imports(installed, VERSIONS) == "99.0 1.0"
    with pytest.raises(DeployError, match="not among what the project installs") as caught:
        made.install("apps/two")
    assert caught.value.where == "uv.lock"


def test_a_lock_that_does_not_match(workshop: Make) -> None:
    made = workshop({"pyproject.toml": PROJECT})
    made.lock()
    (made.root / "pyproject.toml").write_text(PROJECT.replace('"helper<2"', '"helper<2", "extra"'))
    with pytest.raises(DeployError, match=r"does not match pyproject\.toml") as caught:
        made.install()
    assert caught.value.where == "uv.lock"
    assert "uv lock" in (caught.value.mend or "")
    assert caught.value.exit_status == 2


def test_a_project_without_a_lock(workshop: Make) -> None:
    made = workshop({"pyproject.toml": PROJECT, "deep/down/flow.py": ""})
    installed = made.install("deep/down")
    assert installed is not None
    assert made.imports(installed, VERSIONS) == "99.0 1.0"
    assert not (made.root / "uv.lock").exists()


def test_a_project_with_a_build_is_editable(workshop: Make) -> None:
    backend = """
    import base64, hashlib, pathlib, zipfile
    def build_editable(folder, config=None, metadata=None):
        source = str(pathlib.Path("src").resolve())
        info = "flows-1.0.dist-info"
        files = {
            "flows.pth": source + "\\n",
            info + "/METADATA": "Metadata-Version: 2.1\\nName: flows\\nVersion: 1.0\\n"
            "Requires-Dist: flyte\\n",
            info + "/WHEEL": "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\n"
            "Tag: py3-none-any\\n",
        }
        files[info + "/RECORD"] = "".join(name + ",,\\n" for name in [*files, info + "/RECORD"])
        with zipfile.ZipFile(pathlib.Path(folder, "flows-1.0-py3-none-any.whl"), "w") as archive:
            for name, text in files.items():
                archive.writestr(name, text)
        return "flows-1.0-py3-none-any.whl"
    """
    made = workshop(
        {
            "pyproject.toml": '[project]\nname = "flows"\nversion = "1.0"\ndependencies = ["flyte"]\n'
            '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
            "backend.py": backend,
            "src/flows/__init__.py": "",
        }
    )
    installed = made.install()
    assert installed is not None
    assert made.imports(installed, "import flows; print(flows.__file__)") == str(
        made.root / "src" / "flows" / "__init__.py"
    )


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-deploy.txt"])
def test_requirements(workshop: Make, name: str) -> None:
    made = workshop({name: "-r more/base.txt\nhelper==2.0\n", "more/base.txt": "flyte\n", "flow.py": ""})
    installed = made.install("flow.py")
    assert installed is not None
    assert made.imports(installed, VERSIONS) == "99.0 2.0"
    (made.root / "more" / "base.txt").write_text("flyte\nextra\n")
    other = made.install("flow.py")
    assert other is not None
    assert other.folder != installed.folder
    made.imports(other, "import extra")


def test_several_files_of_requirements(workshop: Make) -> None:
    made = workshop(
        {"requirements-a.txt": "flyte\nhelper<2\n", "requirements-b.txt": "helper\n", "flow.py": ""}
    )
    with pytest.raises(
        DeployError, match=r"several files of requirements: requirements-a.txt, requirements-b"
    ):
        made.install()
    installed = made.install(how="requirements", arguments="-r requirements-a.txt")
    assert installed is not None
    assert made.imports(installed, VERSIONS) == "99.0 1.0"
    with pytest.raises(DeployError, match=r"there is no file none.txt"):
        made.install(how="requirements", arguments="-r none.txt")


def test_a_script(workshop: Make) -> None:
    header = '# /// script\n# requires-python = ">=3.10"\n# dependencies = ["flyte", "helper<2"]\n# ///\n'
    made = workshop({"flow.py": header, "other.py": ""})
    installed = made.install("flow.py")
    assert installed is not None
    assert made.imports(installed, VERSIONS) == "99.0 1.0"
    assert made.install("other.py") is None
    with pytest.raises(DeployError, match="there is no '# /// script' header"):
        made.install("other.py", how="script")


def test_a_script_with_a_lock(workshop: Make) -> None:
    header = '# /// script\n# requires-python = ">=3.10"\n# dependencies = ["flyte", "helper{}"]\n# ///\n'
    made = workshop({"flow.py": header.format("<2")})
    made.lock(script="flow.py")
    (made.root / "flow.py").write_text(header.format("<3"))
    with pytest.raises(DeployError, match="the lock file does not match the header") as caught:
        made.install("flow.py")
    assert caught.value.mend == "Run uv lock --script flow.py, and commit flow.py.lock."
    (made.root / "flow.py").write_text(header.format("<2"))
    installed = made.install("flow.py")
    assert installed is not None
    assert made.imports(installed, VERSIONS) == "99.0 1.0"


def test_arguments_reach_the_installer(workshop: Make) -> None:
    made = workshop({"pyproject.toml": PROJECT + '[dependency-groups]\ndeploy = ["extra"]\n'})
    made.lock()
    installed = made.install(arguments="--group deploy")
    assert installed is not None
    made.imports(installed, "import extra")
    with pytest.raises(DeployError, match="cannot be told apart"):
        made.install(arguments="--group 'deploy")


def test_flyte_is_missing(workshop: Make) -> None:
    made = workshop({"requirements.txt": "helper\n"})
    with pytest.raises(DeployError, match="not among what the project installs") as caught:
        made.install()
    assert "Add flyte to requirements.txt" in (caught.value.mend or "")


def test_a_dependency_that_does_not_install(workshop: Make) -> None:
    made = workshop({"requirements.txt": "flyte\nthere-is-no-such-thing\n"})
    with pytest.raises(DeployError, match="cannot be installed") as caught:
        made.install()
    assert caught.value.where == "requirements.txt"
    assert any("there-is-no-such-thing" in line for line in caught.value.details)
    assert len(caught.value.details) <= 16


@pytest.mark.parametrize("version", ["3.7", "3.99", "nonsense"])
def test_a_python_that_cannot_be_had(workshop: Make, version: str) -> None:
    made = workshop({"requirements.txt": "flyte\n"})
    with pytest.raises(DeployError, match=f"Python {version} cannot be had") as caught:
        made.install(python=version)
    assert caught.value.where == "--python-version"


@pytest.fixture
def another_python() -> Path:
    """An interpreter of this machine that has another version than the one that runs this."""
    places = [
        *(Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv").glob("versions/*/bin")),
        *Path(os.environ.get("RUNNER_TOOL_CACHE") or "/opt/hostedtoolcache").glob("Python/*/*/bin"),
        *map(Path, ("/usr/local/bin", "/usr/bin")),
    ]
    for minor in range(10, 15):
        for place in places:
            if minor != sys.version_info[1] and (place / f"python3.{minor}").is_file():
                return place / f"python3.{minor}"
    raise AssertionError("this needs a second Python, 3.10 to 3.14: of pyenv, of Debian, of GitHub's runners")


def test_the_python_that_is_asked_for(workshop: Make, another_python: Path) -> None:
    made = workshop({"requirements.txt": "flyte\n"})
    made.more = {"PATH": f"{another_python.parent}:{made.environment['PATH']}"}
    version = another_python.name.removeprefix("python")
    print_version = "import sys; print('%d.%d' % sys.version_info[:2])"
    installed = made.install(python=version)
    own = made.install(python=sys.executable)
    assert installed is not None
    assert own is not None
    assert made.imports(installed, print_version) == version
    assert made.imports(own, print_version) == f"{sys.version_info[0]}.{sys.version_info[1]}"


def test_a_file_that_is_no_toml(workshop: Make) -> None:
    made = workshop({"pyproject.toml": "[project\n"})
    with pytest.raises(DeployError, match=r"pyproject.toml is no TOML"):
        made.install()


def test_a_file_that_leads_out_of_the_checkout(workshop: Make, tmp_path: Path) -> None:
    made = workshop({"flow.py": ""})
    (tmp_path / "secret").write_text("helper\n")
    (made.root / "requirements.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(DeployError, match="leads out of the checkout"):
        made.install()


def test_nothing_says_what_is_needed(workshop: Make) -> None:
    made = workshop({"flow.py": "", "pyproject.toml": "[tool.ruff]\nline-length = 80\n"})
    assert made.install() is None
    assert none_found(made.root).details[1:] == (
        "uv.lock (uv sync --locked)",
        "pyproject.toml with [project]",
        "requirements.txt",
        "a '# /// script' header in the file itself (PEP 723)",
    )
    for how in ("uv", "requirements"):
        with pytest.raises(DeployError, match="neither beside the code nor above it"):
            made.install(how=how)


def test_what_is_built_of_a_folder_is_made_anew(workshop: Make) -> None:
    made = workshop({"requirements.txt": "flyte\n./local.whl\n", "flow.py": ""})
    local = wheel(made.root, "local", "1.0", "word = 'old'\n")
    (made.root / "requirements.txt").write_text(f"flyte\n./{local.name}\n")
    first = made.install()
    assert first is not None
    assert made.imports(first, "import local; print(local.word)") == "old"
    wheel(made.root, "local", "1.0", "word = 'new'\n")
    second = made.install()
    assert second is not None
    assert made.imports(second, "import local; print(local.word)") == "new"


def test_an_environment_outlives_the_machine_in_a_cache(workshop: Make, tmp_path: Path) -> None:
    made = workshop({"requirements.txt": "flyte\n"})
    cache = tmp_path / "runner" / "cache"
    cache.parent.mkdir()
    os.chown(cache.parent, 1001, 1001)
    first = made.install(cache=cache)
    assert first is not None
    kept = list(cache.rglob("*"))
    assert kept
    assert {path.lstat().st_uid for path in kept} == {1001}
    assert {path.lstat().st_mode & 0o777 for path in kept if not path.is_symlink()} <= {0o644, 0o755}
    made.environments.rename(tmp_path / "gone")
    again = made.install(cache=cache)
    assert again is not None
    assert again.reused
    assert {path.lstat().st_uid for path in again.folder.rglob("*")} == {os.getuid()}
    assert made.imports(again, "import flyte; print(flyte.version)") == "99.0"


def test_an_unfinished_environment_is_made_again(workshop: Make) -> None:
    made = workshop({"requirements.txt": "flyte\n"})
    first = made.install()
    assert first is not None
    (first.folder / "complete").unlink()
    again = made.install()
    assert again is not None
    assert not again.reused
    assert made.imports(again, "import flyte; print(flyte.version)") == "99.0"
