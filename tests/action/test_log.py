"""The log: what it says, and what nothing in it can do."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from flyte_deploy.action.environment import clean
from flyte_deploy.action.log import MOST_ANNOTATIONS, Log, command, harmless
from flyte_deploy.errors import DeployError
from flyte_deploy.model import Progress
from tests.harness.log import commands_of, lines_of

HOSTILE = [
    "::add-mask::the",
    "   ::set-output name=version::forged",
    "\t::error file=x.py::forged",
    "text ##[add-mask]the",
    "##[error]forged",
    "one\r::error::forged",
    "one\r\n::stop-commands::token",
    "\x1b[2K::error::forged",
    "\x1b[2K##\x1b[0m[error]forged",
    "#\x00#[error]forged",
    "one\u2028::error::forged",
    "one\x85::error::forged",
    "one\x0b::error::forged",
    ":\x00:error::forged",
    "\ufeff::error::forged",
    "%0A::error::forged",
    "::::error::forged",
    "###[error]forged",
    "##[##[error]forged",
]


def written(log: Log) -> str:
    stream = log._stream
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()


@pytest.fixture
def log() -> Log:
    return Log(io.StringIO(), debug=True)


@pytest.mark.parametrize("text", HOSTILE)
def test_foreign_text_does_nothing_wherever_it_stands(log: Log, text: str, tmp_path: Path) -> None:
    control = commands_of(text)
    log.root = log.workspace = tmp_path
    log.line(text)
    for kind in ("output", "note", "load", "image", "upload"):
        log.listen(Progress(kind, text, done=1, total=2))
    assert commands_of(written(log)) == [], control
    for kind in ("step", "done", "warning", "build"):
        log.listen(Progress(kind, text, seconds=1.0))
    log.error(DeployError(text, where=text, mend=text, details=(text,)))
    log.debug(text)
    allowed = {"group", "endgroup", "warning", "error", "debug"}
    found = commands_of(written(log))
    assert {one.name for one in found} <= allowed
    # An annotation's file and line are those of the error alone.
    assert all(set(one.properties) <= {"title"} for one in found)
    assert [one.name for one in found].count("error") == 1


def test_the_control_does_act() -> None:
    # Without this the test above would pass for a stand-in that recognizes nothing.
    assert [one.name for one in commands_of("\n".join(HOSTILE[:5]))] == [
        "add-mask",
        "set-output",
        "error",
        "add-mask",
        "error",
    ]
    assert [one.name for one in commands_of("one\r::error::forged")] == ["error"]


# Of actions/setup-python, -node and -dotnet and of the runner's documentation.
MATCHERS = {
    "python": r"^\s*File\s\"(.*)\",\sline\s(\d+),\sin\s(.*)$",
    "python, shorter": r'^\s*File "(.*)", line (\d+)',
    "gcc": r"^(.+):(\d+):(\d+):\s+(?:fatal )?(warning|error):\s+(.*)$",
    "mypy": r"^(.+):(\d+):\s(error|warning):\s(.+)$",
    "tsc": r"^([^\s].*)[\(:](\d+)[,:](\d+)(?:\):\s+|\s+-\s+)(error|warning|info)\s+TS(\d+)\s*:\s*(.*)$",
    "eslint-compact": r"^(.+):\sline\s(\d+),\scol\s(\d+),\s(Error|Warning|Info)\s-\s(.+)\s\((.+)\)$",
    "eslint-stylish": r"^\s+(\d+):(\d+)\s+(error|warning|info)\s+(.*)\s\s+(.*)$",
    "dotnet": r"^([^\s].*)\((\d+)(?:,\d+)*\):\s+(error|warning)\s+([a-zA-Z]+\d+):\s*(.*?)\s+\[(.*?)\]$",
}
MATCHED = {
    "python": '  File "flow.py", line 3, in work',
    "python, shorter": 'File "flow.py", line 3',
    "gcc": "flow.c:3:7: error: forged",
    "mypy": "flow.py:3: error: forged",
    "tsc": "flow.ts(3,7): error TS2304: forged",
    "eslint-compact": "flow.js: line 3, col 7, Error - forged (semi)",
    "eslint-stylish": "  3:7  error  forged  semi",
    "dotnet": "flow.cs(3,7): error CS1002: forged [flow.csproj]",
}


@pytest.mark.parametrize("name", MATCHERS)
def test_foreign_text_is_no_problem_for_any_matcher(log: Log, name: str, tmp_path: Path) -> None:
    texts = [MATCHED[name]]
    if name == "tsc":
        texts.append("flow.ts:3:7 - error TS2304: forged")
    log.root = log.workspace = tmp_path
    for text in texts:
        assert re.search(MATCHERS[name], text)
        for where in ("", "Warning: ", "  ~ ", "one\n", "one\r", "\x1b[1m"):
            log.line(where + text)
            for kind in ("output", "note", "load", "image", "upload", "step", "done", "warning", "build"):
                log.listen(Progress(kind, where + text, done=1, total=2, seconds=1.0))
        for _ in range(MOST_ANNOTATIONS + 1):
            log.error(DeployError(text, where=text, mend=text, details=(text,)))
    # The runner shows commands to no matcher.
    lines = [line for line in lines_of(written(log)) if not commands_of(line)]
    assert any("forged" in line or "flow.py" in line for line in lines)
    assert [line for line in lines if re.search(MATCHERS[name], line, re.IGNORECASE)] == []


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "  indented",
        "a::b",
        "std::vector<int>",
        "[x] # [y]",
        "50% done",
        "Error: 3 of 7",
        "at 10:30 - a note",
        "a.py:3: failed",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert harmless(text) == text


def test_a_command_cannot_be_ended_by_its_text() -> None:
    line = command("error", "a\nb%0A::x::\r", file="a,b:c.py", line="3")
    assert lines_of(line) == [line]
    (found,) = commands_of(line)
    assert (found.name, found.message) == ("error", "a\nb%0A::x::\r")
    assert found.properties == {"file": "a,b:c.py", "line": "3"}


def test_an_error_points_at_its_file_in_the_repository(log: Log, tmp_path: Path) -> None:
    (tmp_path / "pipelines" / "src").mkdir(parents=True)
    (tmp_path / "pipelines" / "src" / "flow.py").write_text("x\n")
    log.workspace, log.root = tmp_path, tmp_path / "pipelines"
    log.listen(Progress("step", "Loading the code"))
    log.error(DeployError("NameError: name 'x'", where="src/flow.py:1", mend="Mend it."))
    group, end, error = commands_of(written(log))
    assert (group.name, end.name) == ("group", "endgroup")
    assert error.properties == {"file": "pipelines/src/flow.py", "line": "1", "title": "flyte-deploy"}
    assert error.message == "NameError: name 'x'\nMend it."


def test_an_error_of_several_files_points_at_each(log: Log, tmp_path: Path) -> None:
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text("\n")
    log.workspace = log.root = tmp_path
    log.error(DeployError("2 files cannot be loaded", details=("a.py:3: one", "  inner", "b.py:4: two")))
    places = [(one.properties.get("file"), one.properties.get("line")) for one in commands_of(written(log))]
    assert places == [(None, None), ("a.py", "3"), ("b.py", "4")]


def test_a_place_outside_the_repository_is_text(log: Log, tmp_path: Path) -> None:
    log.workspace = log.root = tmp_path
    log.error(DeployError("broken", where="/etc/hostname:1"))
    (error,) = commands_of(written(log))
    assert "file" not in error.properties
    assert "/etc/hostname:1" in error.message


def test_annotations_stop_where_github_stops_showing_them(log: Log) -> None:
    for number in range(MOST_ANNOTATIONS + 3):
        log.warning(f"number {number}")
    log.warning("number 0")
    assert len(commands_of(written(log))) == MOST_ANNOTATIONS
    assert written(log).count(f"Warning: number {MOST_ANNOTATIONS + 2}") == 1


def test_groups_end_with_their_duration(log: Log) -> None:
    log.listen(Progress("step", "Loading the code"))
    log.listen(Progress("output", "hello"))
    log.listen(Progress("done", "Loading the code", seconds=1.234))
    assert written(log) == "::group::Loading the code\n  | hello\n::endgroup::\nLoading the code: 1.23 s\n"


def test_steps_side_by_side_do_not_leave_a_group_open(log: Log) -> None:
    for kind, text in (("step", "A"), ("step", "B"), ("done", "A"), ("done", "B")):
        log.listen(Progress(kind, text, seconds=1.0))
    names = [one.name for one in commands_of(written(log))]
    assert names == ["group", "endgroup", "group", "endgroup"]


def test_masks_come_one_a_line(log: Log) -> None:
    log.mask(["one%two", "three\nfour"])
    assert [(one.name, one.message) for one in commands_of(written(log))] == [
        ("add-mask", "one%two"),
        ("add-mask", "three\nfour"),
    ]


def test_variables_that_make_programs_obey_are_gone() -> None:
    environ = dict.fromkeys(
        (
            *("PYTHONPATH", "PYTHONSTARTUP", "BASH_ENV", "BASH_FUNC_git%%", "LD_PRELOAD", "LD_LIBRARY_PATH"),
            *(
                "GIT_SSH_COMMAND",
                "GIT_CONFIG_COUNT",
                "UV_INDEX_URL",
                "PIP_EXTRA_INDEX_URL",
                "VIRTUAL_ENV",
                "ENV",
            ),
            *("OPENSSL_CONF", "GCONV_PATH", "PERL5LIB"),
        ),
        "x",
    )
    kept = {
        "INPUT_COPY-STYLE": "all",
        "PATH": "/bin",
        "HOME": "/h",
        "DOCKER_CONFIG": "/d",
        "GITHUB_TOKEN": "t",
    }
    environ.update(kept)
    clean(environ)
    assert environ == kept
