"""When an environment is used again, and when not: whatever decides what is in it is part of its key."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from flyte_deploy.project import environments
from flyte_deploy.project.environments import Installed
from flyte_deploy.project.inputs import inputs_of
from flyte_deploy.project.ways import Way, find_way
from tests.install.conftest import Workshop, below, package, wheel

Make = Callable[[dict[str, str]], Workshop]
VERSION = "import helper; print(helper.version)"
WORD = "import local; print(local.word)"
LOCAL = below("lib", package("local", text="word = 'old'\n"))
HEADER = "# /// script\n# dependencies = [{needs}]\n# ///\n"


def made_twice(made: Workshop, start: str, change: Callable[[], object], code: str, **how: str) -> list[str]:
    """What a program prints before and after a change."""
    printed = []
    for again in (False, True):
        if again:
            change()
        installed = made.install(start, **how)
        assert installed is not None
        assert not installed.reused
        printed.append(made.imports(installed, code))
    return printed


def reused(made: Workshop, start: str = ".", **how: str) -> bool:
    installed = made.install(start, **how)
    assert installed is not None
    return installed.reused


@pytest.mark.parametrize(
    ("arguments", "how"),
    [
        ("-c pins.txt", "auto"),
        ("-cpins.txt", "auto"),
        ("--constraint=pins.txt", "auto"),
        ("--override pins.txt", "auto"),
        ("-r requirements.txt -r pins.txt", "requirements"),
    ],
)
def test_files_that_arguments_name(workshop: Make, arguments: str, how: str) -> None:
    made = workshop(
        {"requirements.txt": "flyte\nhelper\n", "pins.txt": "-r more.txt\n", "more.txt": "helper==1.0\n"}
    )
    pins = made.root / "more.txt"
    printed = made_twice(
        made, ".", lambda: pins.write_text("helper==2.0\n"), VERSION, arguments=arguments, how=how
    )
    assert printed == ["1.0", "2.0"]
    assert reused(made, arguments=arguments, how=how)


def test_a_folder_that_arguments_name_is_built_each_time(workshop: Make) -> None:
    made = workshop({"requirements.txt": "flyte\n", **LOCAL})
    module = made.root / "lib" / "local.py"
    printed = made_twice(made, ".", lambda: module.write_text("word = 'new'\n"), WORD, arguments="./lib")
    assert printed == ["old", "new"]


@pytest.mark.parametrize("name", ["uv.toml", "pyproject.toml"])
def test_the_configuration_of_uv(workshop: Make, name: str) -> None:
    made = workshop({"flows/requirements.txt": "flyte\nhelper\n"})
    table = "[tool.uv]\n" if name == "pyproject.toml" else ""

    def say(version: str) -> None:
        (made.root / name).write_text(f'{table}constraint-dependencies = ["helper=={version}"]\n')

    say("1.0")
    assert made_twice(made, "flows", lambda: say("2.0"), VERSION) == ["1.0", "2.0"]
    assert reused(made, "flows")


def test_variables_of_the_installer(workshop: Make, tmp_path: Path) -> None:
    made = workshop({"requirements.txt": "flyte\nhelper\n", "pins.txt": "helper==1.0\n"})

    def constrain() -> None:
        made.more = {"UV_CONSTRAINT": "pins.txt"}

    assert made_twice(made, ".", constrain, VERSION) == ["2.0", "1.0"]
    (made.root / "pins.txt").write_text("helper<2\n")
    assert not reused(made)
    assert reused(made)
    # Another index may have something else, but it does not matter who asks it, nor what lies where.
    for address in ("https://one:secret@index.example/simple", "https://two:other@index.example/simple"):
        made.more = {"UV_EXTRA_INDEX_URL": address}
        assert reused(made) == ("two" in address)
    for more in ({"UV_INDEX_PRIVATE_PASSWORD": "x"}, {"UV_CACHE_DIR": str(tmp_path / "cache")}):
        made.more = {**made.more, **more}
        assert reused(made)
    made.more = {"UV_EXTRA_INDEX_URL": "https://other.example/simple"}
    assert not reused(made)


def test_a_source_below_a_path_is_built_each_time(workshop: Make) -> None:
    needs = '[project]\nname = "flows"\nversion = "1"\ndependencies = ["flyte", "local"]\n'
    source = '[tool.uv.sources]\nlocal = { path = "../lib" }\n'
    made = workshop({"flows/pyproject.toml": needs + source, **LOCAL})
    module = made.root / "lib" / "local.py"
    assert made_twice(made, "flows", lambda: module.write_text("word = 'new'\n"), WORD) == ["old", "new"]


@pytest.mark.parametrize("needs", ["local", "local @ file://{root}/lib"])
def test_a_script_that_needs_a_folder_builds_it_each_time(workshop: Make, needs: str) -> None:
    made = workshop({"flow.py": "", **LOCAL})
    # What an index has under the name is not what is meant.
    wheel(made.wheels, "local", "9.0", "word = 'of somebody else'\n")
    header = HEADER.format(needs=f'"flyte", "{needs.format(root=made.root)}"')
    if needs == "local":
        header = header.replace("# ///\n", "# [tool.uv.sources]\n# local = { path = 'lib' }\n# ///\n")
    (made.root / "flow.py").write_text(header)
    module = made.root / "lib" / "local.py"
    assert made_twice(made, "flow.py", lambda: module.write_text("word = 'new'\n"), WORD) == ["old", "new"]


@pytest.mark.parametrize(
    ("script", "header"),
    [
        ("# /// script\n# dependencies = []\n# ///\n# A licence.\nimport os\n", "dependencies = []"),
        ("# /// script\r\n# dependencies = []\r\n# ///\r\nimport os\r\n", "dependencies = []"),
        ("# /// script\n# dependencies = []\n#\n# # ///\n# ///", "dependencies = []\n\n# ///"),
        ("import os\n# /// script\n# ///\n", ""),
        ("# /// script\n# never ends\n", ""),
    ],
)
def test_where_a_script_s_header_ends(tmp_path: Path, script: str, header: str) -> None:
    file = tmp_path / "flow.py"
    file.write_bytes(script.encode())
    found = inputs_of(Way("script", file, tmp_path, built=False), (), {}, tmp_path)
    assert found.files == {"flow.py script": header.encode()}


def test_a_script_s_code_does_not_matter_but_its_header(workshop: Make) -> None:
    made = workshop({"flow.py": HEADER.format(needs="'flyte'", more="")})
    script = made.root / "flow.py"
    assert not reused(made, "flow.py")
    script.write_text(script.read_text() + "print('more')\n")
    assert reused(made, "flow.py")
    script.write_text(HEADER.format(needs="'flyte', 'extra'"))
    assert not reused(made, "flow.py")


@pytest.mark.parametrize("locked", [True, False])
def test_an_editable_source_elsewhere_in_the_checkout(workshop: Make, locked: bool) -> None:
    flows = '[project]\nname = "flows"\nversion = "1"\nrequires-python = ">=3.10"\n'
    source = '[tool.uv.sources]\nlocal = { path = "../lib", editable = true }\n'
    made = workshop({"flows/pyproject.toml": f'{flows}dependencies = ["flyte", "local"]\n{source}', **LOCAL})

    def change() -> None:
        for name, text in below("lib", package("local", needs="extra", text="word = 'new'\n")).items():
            (made.root / name).write_text(text)
        if locked:
            made.lock("flows")

    if locked:
        made.lock("flows")
    assert made_twice(made, "flows", change, WORD) == ["old", "new"]
    # Its modules stay where they are: they need no new environment.
    (made.root / "lib" / "local.py").write_text("word = 'newer'\n")
    installed = made.install("flows")
    assert installed is not None
    assert installed.reused
    assert made.imports(installed, WORD + "; import extra") == "newer"


def test_files_that_metadata_are_read_from(workshop: Make) -> None:
    dynamic = (
        'dynamic = ["version", "dependencies"]\n[tool.setuptools.dynamic]\n'
        'dependencies = { file = ["needs.in"] }\nversion = { attr = "flows.about.version" }\n'
    )
    made = workshop(
        {
            **package("flows", needs="flyte", more=dynamic),
            "needs.in": "flyte\n",
            "src/flows/about.py": "version = '1'\n",
            "src/flows/code.py": "",
        }
    )
    assert [reused(made), reused(made)] == [False, True]
    for name, again in (("src/flows/code.py", True), ("src/flows/about.py", False), ("needs.in", False)):
        path = made.root / name
        path.write_text(path.read_text() + "# more\n")
        assert reused(made) == again, name


def test_another_image(workshop: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = workshop({"requirements.txt": "flyte\n"})
    packages = tmp_path / "status"
    monkeypatch.setattr(environments, "_MACHINE", (str(packages),))
    found = [reused(made)]
    for text in ("Package: libpq5\nVersion: 1\n", "Package: libpq5\nVersion: 2\n"):
        packages.write_text(text)
        found += [reused(made), reused(made)]
    assert found == [False, False, True, False, True]


ASKING = 'dynamic = ["version"]\n{more}\n[build-system]\nrequires = ["hatch-vcs"]\n'


@pytest.fixture
def asking(workshop: Make) -> Workshop:
    """A project whose version comes from git, beside another; one of its dependencies has to be built."""
    needs = 'dependencies = ["flyte", "sent"]'
    made = workshop(
        {
            **below("flows", package("flows", needs="flyte sent", more=ASKING.format(more=needs))),
            **below("other", package("other", needs="flyte")),
            **below("unrelated", package("unrelated", more=ASKING.format(more=""))),
        }
    )
    wheel(made.wheels, "hatch_vcs", "1.0")
    sent = made.root.parent / "sent"
    for name, text in package("sent").items():
        (sent / name).parent.mkdir(exist_ok=True, parents=True)
        (sent / name).write_text(text)
    (sent / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: sent\nVersion: 1.0\n")
    with tarfile.open(made.wheels / "sent-1.0.tar.gz", "w:gz") as archive:
        archive.add(sent, "sent-1.0")
    return made


def versions(made: Workshop, installed: Installed | None) -> str:
    assert installed is not None
    return made.imports(
        installed, "from importlib.metadata import version; print(version('flows'), version('sent'))"
    )


def test_a_version_is_told_to_the_build_of_its_project_alone(asking: Workshop) -> None:
    asking.version = "7.1"
    assert versions(asking, asking.install("flows")) == "7.1 1.0"


def test_a_version_makes_another_environment_of_its_project_alone(asking: Workshop) -> None:
    found = []
    for version in ("7.1", "7.2", "7.2"):
        asking.version = version
        found.append((reused(asking, "flows"), reused(asking, "other")))
    assert found == [(False, False), (False, True), (True, True)]
    assert versions(asking, asking.install("flows")) == "7.2 1.0"


def test_a_commit_does_where_the_build_can_ask_git(asking: Workshop) -> None:
    found = []
    for commit in ("a" * 40, "b" * 40, "b" * 40):
        asking.commit = commit
        found.append((reused(asking, "flows"), reused(asking, "other")))
    assert found == [(False, False), (False, True), (True, True)]


def test_members_of_a_workspace_without_a_lock(workshop: Make) -> None:
    source = "[tool.uv.sources]\nlocal = { workspace = true }\n[build-system]\nrequires = []\n"
    made = workshop(
        {
            "pyproject.toml": '[tool.uv.workspace]\nmembers = ["*"]\n',
            **below("flows", package("flows", needs="flyte local", more=source)),
            **below("lib", package("local", text="word = 'old'\n")),
            **below("other", package("other")),
        }
    )

    def change(folder: str, name: str) -> None:
        for path, text in below(folder, package(name, needs="extra", text="word = 'new'\n")).items():
            (made.root / path).write_text(text)

    printed = made_twice(made, "flows", lambda: change("lib", "local"), WORD)
    assert printed == ["old", "new"]
    change("other", "other")
    assert reused(made, "flows")


@pytest.mark.parametrize(
    ("line", "fresh"),
    [
        ("flyte>=2,<3", False),
        ("flyte[extra] ; python_version < '3.12'  # see ./notes", False),
        ("flyte==2.0 --hash=sha256:0123", False),
        ("flyte @ https://host.example/flyte-2.0-py3-none-any.whl", False),
        ("git+https://host.example/team/flyte@main", False),
        ("--index-url https://host.example/simple", False),
        ("-c pins.txt", False),
        ("-e ./lib", False),
        ("-e ../elsewhere", True),
        ("-r https://host.example/requirements.txt", True),
        ('-r "pins.txt"', False),
        ("-r ${HERE}/more.txt", True),
        ("-e ${HERE}", True),
        ("./lib", True),
        ("lib/", True),
        ("local.whl", True),
        ("local[extra] @ ./lib", True),
        ("local @ file:///srv/local.whl", True),
    ],
)
def test_what_a_line_of_requirements_means(workshop: Make, line: str, fresh: bool) -> None:
    made = workshop({"requirements.txt": f"{line}\n", "pins.txt": "flyte\n", **LOCAL})
    file = made.root / "requirements.txt"
    found = inputs_of(Way("requirements", file, made.root), (), {}, made.root)
    assert found.fresh == fresh
    assert ("pins.txt" in found.files) == ("pins" in line)
    assert (made.root / "lib" in found.projects) == ("lib" in line)


def test_a_lock_tells_what_is_installed_with_a_project(workshop: Make) -> None:
    source = "[tool.uv.sources]\nlocal = { workspace = true }\n"
    made = workshop(
        {
            "pyproject.toml": '[tool.uv.workspace]\nmembers = ["flows", "lib", "other"]\n',
            **below("flows", package("flows", needs="flyte local", more=source)),
            **below("lib", package("local")),
            **below("other", package("other", needs="flyte")),
        }
    )
    made.lock()
    way = find_way("auto", made.root / "flows", (), made.root)
    assert way is not None

    def projects(*arguments: str) -> set[str]:
        return {folder.name for folder in inputs_of(way, arguments, {}, made.root).projects}

    assert projects() == {"flows", "lib"}
    assert projects("--all-packages") == {"flows", "lib", "other"}
