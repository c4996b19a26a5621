"""The collector as its parent sees it: what it brings, and what comes of code that misbehaves."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from flyte_deploy.collector.message import Collected
from flyte_deploy.collector.run import Request, collect, load_error
from flyte_deploy.errors import DeployError
from flyte_deploy.model import Location, Progress
from tests.conftest import Write

IMAGE = 'image="registry.example/team/image:1"'


def run(
    root: Path, *files: str, names: tuple[str, ...] = (), timeout: float = 60, **more: object
) -> tuple[Collected, list[Progress]]:
    heard: list[Progress] = []
    pairs = tuple(
        (root / name, "" if names else name.removesuffix(".py").replace("/", ".")) for name in files
    )
    request = Request(root=root, files=pairs, names=names, project="p", domain="d", **more)  # type: ignore[arg-type]
    collected = collect(request, python=sys.executable, timeout=timeout, listen=heard.append)
    return collected, heard


def descendants(word: str) -> list[str]:
    """Command lines of running processes that hold a word."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if word in line:
                found.append(line)
    return found


def test_describes_environments_and_tasks(write: Write) -> None:
    root = write(
        {
            "flow.py": f"""
            import datetime
            from dataclasses import dataclass
            import flyte

            base = flyte.TaskEnvironment(
                name="base", {IMAGE}, resources=flyte.Resources(cpu=2, memory="1Gi"), secrets="token"
            )
            env = flyte.TaskEnvironment(
                name="top", {IMAGE}, depends_on=[base], description="On top", include=("data.txt",)
            )

            @base.task(retries=3, timeout=60, cache="auto")
            async def low(a: int, b: str = "x") -> float:
                \"\"\"Lowest of all.\"\"\"
                return 1.0

            @env.task(short_name="high one")
            def high(at: datetime.datetime = datetime.datetime.now()) -> tuple[int, str]:
                return 1, "a"
            """,
            "data.txt": "1",
        }
    )
    collected, _ = run(root, "flow.py", names=("env",))
    assert not collected.answer.failures
    top, base = collected.environments
    assert (top.name, top.variable, top.selected, base.selected) == ("top", "env", True, False)
    assert top.depends_on == (base.key,)
    assert top.location == Location("flow.py", 8)
    assert top.include == ("data.txt",)
    assert base.image.kind == "text"
    (low,) = base.tasks
    assert (low.name, low.short_name, low.location) == ("base.low", "low", Location("flow.py", 12))
    assert [(p.name, p.type, p.default) for p in low.parameters] == [("a", "int", None), ("b", "str", "'x'")]
    assert [output.type for output in low.outputs] == ["float"]
    assert low.resources == {"cpu": "2", "memory": "1Gi"}
    assert (low.retries, low.timeout, low.cache, low.secrets) == (3, 60, "auto", ("token",))
    assert low.documentation == "Lowest of all."
    (high,) = top.tasks
    assert (high.short_name, high.volatile) == ("high one", ("at",))
    assert [output.type for output in high.outputs] == ["int", "str"]


def test_all_failures_are_listed_with_the_users_own_frames(write: Write) -> None:
    root = write(
        {
            "a.py": "import helper\nhelper.fail()\n",
            "helper.py": "def fail():\n    raise ValueError('bad value')\n",
            "b.py": "import no_such_package.sub\n",
            "c.py": "def broken(:\n",
            "d.py": "import flytekit\n",
            "good.py": f"import flyte\nenv = flyte.TaskEnvironment(name='good', {IMAGE})\n",
        }
    )
    collected, heard = run(root, "a.py", "b.py", "c.py", "d.py", "good.py")
    text = str(load_error(collected.answer.failures, root))
    assert "4 files cannot be loaded" in text
    assert "helper.py:2: ValueError: bad value" in text
    assert "a.py:2: helper.fail()" in text
    assert "b.py:1: ModuleNotFoundError: No module named 'no_such_package'" in text
    assert "provides 'no_such_package' to the project's dependencies" in text
    assert "c.py:1: SyntaxError" in text
    assert "d.py:1: this is a Flyte 1 project" in text
    assert "importlib" not in text
    assert [p.data.get("failed") for p in heard if p.kind == "load"] == ["yes"] * 4 + [None]


def test_load_errors_can_be_ignored(write: Write) -> None:
    root = write(
        {
            "bad.py": "1 / 0\n",
            "good.py": f"import flyte\nenv = flyte.TaskEnvironment(name='good', {IMAGE})\n",
        }
    )
    collected, _ = run(root, "bad.py", "good.py", ignore_load_errors=True)
    assert [environment.name for environment in collected.environments] == ["good"]
    assert [failure.type for failure in collected.answer.failures] == ["ZeroDivisionError"]


def test_a_module_that_exits_is_a_failure(write: Write) -> None:
    root = write({"flow.py": "import sys\nsys.exit('bye')\n"})
    collected, _ = run(root, "flow.py")
    error = load_error(collected.answer.failures, root)
    assert error.where == "flow.py:2"
    assert "ends the interpreter" in error.what
    assert "__main__" in (error.mend or "")


def test_a_module_that_hangs_is_ended_and_its_line_named(write: Write) -> None:
    root = write({"flow.py": "import time\n\nwhile True:\n    time.sleep(0.01)\n"})
    with pytest.raises(DeployError) as raised:
        run(root, "flow.py", timeout=10)
    assert raised.value.where in ("flow.py:3", "flow.py:4")
    assert "longer than 10 s" in raised.value.what
    assert "--load-timeout" in (raised.value.mend or "")


def test_a_module_that_crashes_the_interpreter(write: Write) -> None:
    root = write({"flow.py": "import ctypes\n\nctypes.string_at(0)\n"})
    with pytest.raises(DeployError) as raised:
        run(root, "flow.py")
    assert raised.value.where == "flow.py:3"
    assert "SIGSEGV" in raised.value.what


def test_a_module_that_ends_the_process_without_a_word(write: Write) -> None:
    root = write({"flow.py": "import os\nos._exit(7)\n"})
    with pytest.raises(DeployError) as raised:
        run(root, "flow.py")
    assert raised.value.where == "flow.py"
    assert "exit status 7" in raised.value.what


def test_a_flood_of_output_is_cut_and_said(write: Write) -> None:
    root = write(
        {
            "flow.py": f"""
            import flyte
            env = flyte.TaskEnvironment(name="noisy", {IMAGE})
            for _ in range(100):
                print("x" * 1_000_000)
            """
        }
    )
    collected, heard = run(root, "flow.py", names=("env",))
    assert [environment.name for environment in collected.environments] == ["noisy"]
    assert sum(len(p.text) for p in heard if p.kind == "output") < 3 << 20
    (warning,) = [p.text for p in heard if p.kind == "warning"]
    assert "99 MB more" in warning or "98 MB more" in warning


def test_nothing_that_the_code_started_is_left_behind(write: Write) -> None:
    word = f"left-behind-{os.getpid()}"
    root = write(
        {
            "flow.py": f"""
            import subprocess, sys, threading, time
            import flyte
            env = flyte.TaskEnvironment(name="daemons", {IMAGE})
            command = [sys.executable, "-c", "import time; time.sleep(600)", "{word}"]
            subprocess.Popen(command)
            subprocess.Popen(command, start_new_session=True)
            threading.Thread(target=time.sleep, args=(600,)).start()
            """
        }
    )
    started = time.monotonic()
    collected, _ = run(root, "flow.py", names=("env",))
    assert [environment.name for environment in collected.environments] == ["daemons"]
    assert descendants(word) == []
    assert time.monotonic() - started < 60


def test_output_of_user_code_is_heard_line_by_line(write: Write) -> None:
    root = write(
        {
            "flow.py": f"""
            import sys
            import flyte
            env = flyte.TaskEnvironment(name="talks", {IMAGE})
            print("hello", flush=True)
            print("and", "more", file=sys.stderr)
            """
        }
    )
    _, heard = run(root, "flow.py", names=("env",))
    assert {p.text for p in heard if p.kind == "output"} == {"hello", "and more"}


def test_names_that_are_none_list_those_that_are(write: Write) -> None:
    root = write({"flow.py": f"import flyte\nenv = flyte.TaskEnvironment(name='there', {IMAGE})\n"})
    with pytest.raises(DeployError) as raised:
        run(root, "flow.py", names=("other",))
    assert "'other'" in raised.value.what
    assert "env (there)" in (raised.value.mend or "")
    assert raised.value.exit_status == 2


def test_an_environment_is_found_by_its_name_too(write: Write) -> None:
    root = write({"flow.py": f"import flyte\nenv = flyte.TaskEnvironment(name='there', {IMAGE})\n"})
    collected, _ = run(root, "flow.py", names=("there",))
    assert collected.environments[0].variable == "env"


def test_an_interpreter_without_flyte(write: Write, tmp_path: Path) -> None:
    root = write({"flow.py": "import flyte\n"})
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    bare.chmod(0o755)
    request = Request(root=root, files=((root / "flow.py", "flow"),))
    with pytest.raises(DeployError) as raised:
        collect(request, python=str(bare), timeout=20, listen=lambda _: None)
    assert "'flyte' is not installed" in raised.value.what
    assert raised.value.where == str(bare)


@pytest.mark.parametrize("command", ["/no/such/python", "/bin/false", "/etc/passwd"])
def test_an_interpreter_that_does_not_start(write: Write, command: str) -> None:
    root = write({"flow.py": "import flyte\n"})
    request = Request(root=root, files=((root / "flow.py", "flow"),))
    with pytest.raises(DeployError) as raised:
        collect(request, python=command, timeout=20, listen=lambda _: None)
    assert command in raised.value.what
    assert raised.value.exit_status == 2


def test_forged_answers_are_refused(write: Write) -> None:
    root = write(
        {
            "flow.py": """
            import os
            for fd in range(3, 64):
                try:
                    os.write(fd, b'{"environment": {"key": "no number"}}\\n')
                except OSError:
                    pass
            """
        }
    )
    with pytest.raises(DeployError) as raised:
        run(root, "flow.py")
    assert "not what it should be" in raised.value.what


def test_lazy_imports_are_found_by_reading(write: Write) -> None:
    root = write(
        {
            "flow.py": f"""
            import importlib
            import flyte
            from pack import eager
            env = flyte.TaskEnvironment(name="lazy", {IMAGE})

            @env.task
            def go() -> None:
                from pack.sub import deep
                import single
                importlib.import_module("pack.literal")
                if False: import conditional
            """,
            "pack/__init__.py": "",
            "pack/eager.py": "def f():\n    from . import sibling\n",
            "pack/sibling.py": "import onward\n",
            "pack/literal.py": "",
            "pack/sub/__init__.py": "",
            "pack/sub/deep.py": "",
            "single.py": "",
            "onward.py": "",
            "conditional.py": "",
            "never.py": "",
        }
    )
    collected, _ = run(root, "flow.py", names=("env",))
    lazy = {Path(path).relative_to(root).as_posix(): place for path, place in collected.answer.lazy.items()}
    assert set(lazy) == {
        "pack/sub/__init__.py",
        "pack/sub/deep.py",
        "pack/sibling.py",
        "pack/literal.py",
        "single.py",
        "onward.py",
        "conditional.py",
    }
    assert lazy["single.py"] == f"{root}/flow.py:9"
    imported = {Path(path).relative_to(root).as_posix() for path in collected.answer.modules}
    assert imported == {"flow.py", "pack/__init__.py", "pack/eager.py"}


def test_configuration_can_be_read_at_import(write: Write) -> None:
    root = write(
        {
            "flow.py": f"""
            import flyte
            name = f"in-{{flyte.current_domain()}}-of-{{flyte.current_project()}}"
            env = flyte.TaskEnvironment(name=name, {IMAGE})
            """
        }
    )
    collected, _ = run(root, "flow.py", names=("env",))
    assert collected.environments[0].name == "in-d-of-p"


def test_the_declaring_file_below_a_folder_called_flyte(write: Write) -> None:
    root = write(
        {"flyte/work/flow.py": f"import flyte as f\nenv = f.TaskEnvironment(name='deep', {IMAGE})\n"}
    )
    folder = root / "flyte" / "work"
    collected, _ = run(folder, "flow.py", names=("env",))
    assert collected.environments[0].declared_in == str(folder / "flow.py")


def test_the_collector_leaves_no_trace_in_the_project(write: Write) -> None:
    root = write(
        {
            "flow.py": f"import flyte, helper\nenv = flyte.TaskEnvironment(name='tidy', {IMAGE})\n",
            "helper.py": "",
        }
    )
    before = sorted(root.rglob("*"))
    run(root, "flow.py", names=("env",))
    assert sorted(root.rglob("*")) == before


# The pipe that the collector answers on, and a line on it.
FORGE = """
import fcntl, json, os
import flyte

def say(**document):
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}").startswith("pipe:") and int(name) > 2:
                if fcntl.fcntl(int(name), fcntl.F_GETFL) & 3 == os.O_WRONLY:
                    os.write(int(name), json.dumps(document).encode() + b"\\n")
        except OSError:
            pass

answer = {"protocol": 1, "python": "3.11.2", "sdk": "2.12.1", "with_bundle": True}
environment = {"key": 0, "name": "e", "selected": True, "location": {"file": "flow.py", "line": 7}}
task = {"name": "e.t", "short_name": "t", "environment": "e"}
"""


def forge(write: Write, *lines: str) -> Path:
    return write({"flow.py": FORGE + "\n".join((*lines, "say(answer=answer)", "os._exit(0)")) + "\n"})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("''", "is empty"),
        ("'a\\nb'", "a line break or another control character"),
        ("'a\\x1b[31m'", "a line break or another control character"),
        ("'a\\u2028b'", "a line break or another control character"),
        ("'a\\u202eb'", "a line break or another control character"),
        ("'x' * 256", "has 256 characters"),
        ("'x' * 10_000", "has 10000 characters"),
    ],
)
@pytest.mark.parametrize("what", ["environment", "task", "trigger"])
def test_names_that_nothing_can_have_are_refused(write: Write, what: str, name: str, said: str) -> None:
    made = {
        "environment": f"say(environment={{**environment, 'name': {name}}})",
        "task": f"say(environment={{**environment, 'tasks': [{{**task, 'name': {name}}}]}})",
        "trigger": "say(environment={**environment, 'tasks':"
        f" [{{**task, 'triggers': [{{'name': {name}}}]}}]}})",
    }
    with pytest.raises(DeployError) as raised:
        run(forge(write, made[what]), "flow.py")
    assert f"the name of {what}" in raised.value.what
    assert said in raised.value.what
    assert raised.value.where == "flow.py:7"
    assert raised.value.what.isprintable()
    assert len(raised.value.what) < 300


def test_names_that_the_api_takes_are_taken(write: Write) -> None:
    long = "say(environment={**environment, 'tasks': [{**task, 'name': 'e.' + 'ä' * 253}]})"
    collected, _ = run(forge(write, long), "flow.py")
    assert len(collected.environments[0].tasks[0].name) == 255


def test_a_function_s_name_that_is_too_long_is_an_error_at_its_place(write: Write) -> None:
    flow = f"""
    import flyte
    env = flyte.TaskEnvironment(name="long", {IMAGE})

    @env.task
    def {"f" * 260}() -> None: ...
    """
    with pytest.raises(DeployError) as raised:
        run(write({"flow.py": flow}), "flow.py", names=("env",))
    assert "has 265 characters" in raised.value.what
    assert raised.value.where == "flow.py:4"


def test_variables_are_named_once_and_only_those_that_the_code_is_not_given(write: Write) -> None:
    missed = "say(event='missed', missed={'TOKEN': 'p' * 100000, 'OTHER': 'place'})"
    _, heard = run(
        forge(write, missed, missed, "say(environment=environment)"), "flow.py", withheld=("TOKEN",)
    )
    (warning,) = [one.text for one in heard if one.kind == "warning"]
    assert "TOKEN" in warning
    assert len(warning) < 1000


def test_no_more_files_are_told_of_than_are_loaded(write: Write) -> None:
    loaded = "say(event='loaded', file=__file__)"
    with pytest.raises(DeployError, match="larger than is taken"):
        run(forge(write, *[loaded] * 4), "flow.py")
    _, heard = run(forge(write, loaded, "say(environment=environment)"), "flow.py")
    assert [(one.text, one.done, one.total) for one in heard if one.kind == "load"] == [("flow.py", 1, 1)]


def test_a_very_long_error_is_cut(write: Write) -> None:
    root = write({"flow.py": "raise ValueError('x' * 10_000_000)\n"})
    collected, _ = run(root, "flow.py")
    text = str(load_error(collected.answer.failures, root))
    assert "flow.py:1: ValueError: xxx" in text
    assert "characters more" in text
    assert len(text) < 10_000
