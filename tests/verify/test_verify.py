"""What the bundle's files alone cannot load is refused before anything is uploaded."""

from __future__ import annotations

from typing import Any

import pytest

from tests.deploy.conftest import Cli
from tests.verify.conftest import Make, environment_in

IMAGE = "registry.example/team/image:1"
ENV = f'env = flyte.TaskEnvironment(name="jobs", image="{IMAGE}")'
FLOW = f"""
import flyte

{ENV}

@env.task
async def one(a: int) -> int:
    return a
"""


def names(document: Any) -> list[str]:
    return [step["name"] for step in document["steps"]]


def text(error: Any) -> str:
    return "\n".join([error["what"], *error["details"], error["mend"] or ""])


GOOD = {
    "flow.py": f"""
        import os
        from pathlib import Path

        import flyte
        from pkg.steps import helper
        from pkg.resolver import ByKey

        assert flyte.current_domain() == "development"
        with open(os.environ["LOADS"], "a") as loads:
            loads.write(str(Path.cwd() == Path(__file__).parent) + "\\n")
        words = (Path(__file__).parent / "data" / "words.txt").read_text().split()
        env = flyte.TaskEnvironment(name="jobs", image="{IMAGE}", include=("data",))
        TASKS = {{}}

        def make(word):
            @env.task(short_name=word, task_resolver=ByKey(word))
            async def inner(a: int) -> int:
                return helper(a)
            TASKS[word] = inner
            return inner

        def other(word):
            async def inner(a: int) -> int:
                return helper(a)
            inner.__name__ = inner.__qualname__ = word
            globals()[word] = env.task(inner)

        other("plain")
        make(words[0])

        @env.task
        async def two(a: int) -> int:
            return helper(a)
        """,
    "pkg/__init__.py": "",
    "pkg/steps/__init__.py": "from ..numbers import helper\n",
    "pkg/numbers.py": "def helper(a): return a\n",
    "pkg/resolver.py": """
        class ByKey:
            def __init__(self, key=None):
                self.key = key

            import_path = "pkg.resolver.ByKey"

            def loader_args(self, task, root_dir):
                return ["key", self.key]

            def load_task(self, arguments):
                import flow
                return flow.TASKS[arguments[1]]
        """,
    "data/words.txt": "first second\n",
}


def test_a_project_that_is_complete_passes_and_loads_each_module_once(make: Make) -> None:
    project = make(GOOD)
    loads = project.root.parent / "loads"
    first = project.deploy("flow.py", "env", LOADS=str(loads))
    assert names(first) == ["collect", "resolve", "identify", "compare", "verify", "publish", "register"]
    assert len(first["registered"]) == 3
    # The container works in the folder that the bundle is unpacked into.
    assert loads.read_text().split() == ["True", "True"]
    again = project.deploy("flow.py", "env", LOADS=str(loads))
    assert "verify" not in names(again)
    off = project.deploy("flow.py", "env", "--version", "v2", "--verify", "off", LOADS=str(loads))
    assert "verify" not in names(off)
    assert len(off["registered"]) == 3


def test_a_resolver_that_finds_another_task_is_refused(make: Make) -> None:
    resolver = GOOD["pkg/resolver.py"].replace("flow.TASKS[arguments[1]]", "flow.two")
    error = make({**GOOD, "pkg/resolver.py": resolver}).refused("flow.py", "env", LOADS="/dev/null")
    assert "pkg.resolver.ByKey finds for 'key first' is task 'jobs.two'" in error["what"]


def test_a_file_that_is_read_while_loading_and_not_included(make: Make) -> None:
    project = make(
        {
            "sub/flow.py": f"""
                from pathlib import Path
                import flyte

                {ENV}
                table = (
                    Path(__file__).parent.parent / "data" / "table.csv"
                ).read_text()

                @env.task
                async def one(a: int) -> int:
                    print("said")
                    return a

                @env.task
                async def two(a: int) -> int:
                    return a
                """,
            "data/table.csv": "a\n",
        }
    )
    error = project.refused("--recursive", ".")
    assert error["where"].startswith("sub/flow.py:")
    line = (
        (project.root / "sub" / "flow.py")
        .read_text()
        .splitlines()[int(error["where"].rpartition(":")[2]) - 1]
    )
    assert "table" in line or "read_text" in line
    assert error["what"].startswith("2 tasks cannot be loaded from the bundle's files alone: FileNotFound")
    assert "they are jobs.one, jobs.two" in error["details"]
    assert "data/table.csv is in the checkout, but not in the bundle." in error["details"]
    assert 'include=("../data/table.csv",), or use --copy-style all' in error["mend"]
    # What the mend says does mend it.
    assert "verify" in names(project.deploy("--recursive", ".", "--copy-style", "all"))
    flow = project.root / "sub" / "flow.py"
    flow.write_text(flow.read_text().replace(f'"{IMAGE}"', f'"{IMAGE}", include=("../data/table.csv",)'))
    assert "verify" in names(project.deploy("--recursive", "."))


def test_all_causes_are_told_together_and_the_off_switch_registers(make: Make) -> None:
    project = make(
        {
            # The stem is what the SDK's File says, no file name of an OSError.
            "a.py": f"""
                import flyte
                from flyte.io import File
                {ENV.replace("jobs", "a")}

                @env.task
                async def one(f: File = File.from_local_sync(__file__[:-4] + "data.csv")) -> None: ...
                """,
            "b.py": f"""
                import flyte
                {ENV.replace("jobs", "b")}
                if "flyte-deploy-" in __file__:
                    raise RuntimeError("not outside of a checkout")

                @env.task
                async def one() -> None: ...
                """,
            "c.py": f"""
                import flyte
                {ENV.replace("jobs", "c")}
                if "flyte-deploy-" in __file__:
                    import there_is_no_such_package.part

                @env.task
                async def one() -> None: ...
                """,
            "d.py": f"""
                import flyte
                {ENV.replace("jobs", "d")}
                if "flyte-deploy-" in __file__:
                    raise SystemExit(3)

                @env.task
                async def one() -> None: ...
                """,
            "e.py": FLOW.replace("jobs", "e"),
            "data.csv": "a\n",
        }
    )
    error = project.refused("--recursive", ".")
    said = text(error)
    assert error["what"] == "4 tasks cannot be loaded from the bundle's files alone"
    assert "a.py:6: task 'a.one': ValueError: File not found: data.csv" in said
    assert "data.csv is in the checkout, but not in the bundle." in said
    assert "b.py:4: task 'b.one': RuntimeError: not outside of a checkout" in said
    assert "c.py:4: task 'c.one': ModuleNotFoundError: No module named 'there_is_no_such_package'" in said
    assert "Add the package that provides 'there_is_no_such_package' to the image" in said
    assert "d.py:4: task 'd.one': it ends the interpreter while it is loaded" in said
    assert "e.one" not in said
    assert len(project.deploy("--recursive", ".", "--verify", "off")["registered"]) == 5


def test_includes_alone_lack_the_module(make: Make) -> None:
    flow = FLOW.replace("import flyte\n", "import flyte\nfrom pkg import helper\n").replace(
        f'"{IMAGE}"', f'"{IMAGE}", include=("flow.py", "pkg/__init__.py",)'
    )
    project = make({"flow.py": flow, "pkg/__init__.py": "", "pkg/helper.py": ""})
    arguments = ("flow.py", "env", "--copy-style", "none", "--version", "v1")
    error = project.refused(*arguments)
    assert error["where"] == "flow.py:2"
    assert "task 'jobs.one' cannot be loaded from the bundle's files alone: ImportError" in error["what"]
    assert "pkg/helper.py is in the checkout, but not in the bundle, which" in text(error)
    assert 'include=("pkg/helper.py",)' in error["mend"]
    assert "--copy-style loaded_modules" in error["mend"]
    # The module of the task itself.
    (project.root / "flow.py").write_text(flow.replace('"flow.py", ', ""))
    error = project.refused(*arguments)
    assert error["where"] == "flow.py:7"
    assert "flow.py is in the checkout, but not in the bundle" in text(error)
    # Without any include there is nothing to load from.
    (project.root / "flow.py").write_text(FLOW)
    result = project.cli.to_server("deploy", project.root, *arguments)
    assert result.status == 0
    assert "Note: no code travels with the tasks" in result.err
    assert "verify" not in names(result.json)


def test_ignored_files_are_missing_from_the_whole_tree(make: Make) -> None:
    project = make(
        {
            "flow.py": FLOW.replace("import flyte\n", "import flyte\nimport generated\n"),
            "generated.py": "",
            ".gitignore": "generated.py\n",
        }
    )
    error = project.refused("flow.py", "env", "--copy-style", "all")
    assert (error["where"], "being ignored" in text(error)) == ("flow.py:2", True)
    assert "verify" in names(project.deploy("flow.py", "env"))


LIBRARY = {
    "flow.py": FLOW.replace("import flyte\n", "import flyte\nimport helpers.deep\n"),
    "libs/helpers/__init__.py": "",
    "libs/helpers/deep.py": "",
}
FINDER = """
import sys
from importlib.machinery import PathFinder

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return PathFinder.find_spec(name, [{path!r}]) if name == "helpers" else None

sys.meta_path.append(Finder)
"""


@pytest.mark.parametrize("way", ["pth", "finder", "PYTHONPATH", "relative PYTHONPATH"])
def test_what_leads_into_the_checkout_here_does_not_in_a_container(make: Make, way: str) -> None:
    project = make(LIBRARY)
    libs = str(project.root / "libs")
    # The interpreter lies in the root, and stays in reach.
    packages = environment_in(project.root, {"editable.pth": libs} if way == "pth" else {})
    if way == "finder":
        (packages / "_editable.py").write_text(FINDER.format(path=libs))
        (packages / "editable.pth").write_text("import _editable\n")
    variables = {"PYTHONPATH": {"PYTHONPATH": libs}, "relative PYTHONPATH": {"PYTHONPATH": "libs"}}.get(
        way, {}
    )
    error = project.refused("flow.py", "env", "--no-sync-local-sys-paths", **variables)
    assert error["where"] == "flow.py:2"
    assert "No module named 'helpers'" in error["what"]
    assert "libs/helpers is in the bundle, but a task container looks for no modules in libs." in text(error)
    assert "--root-dir libs" in error["mend"]
    if way == "finder":
        # There is no path to reproduce.
        assert "No module named 'helpers'" in project.refused("flow.py", "env")["what"]
    else:
        assert "verify" in names(project.deploy("flow.py", "env", **variables))


def test_a_finder_of_the_codes_own_does_not_lead_there_unseen(make: Make) -> None:
    project = make({**LIBRARY, "finder.py": ""})
    libs = str(project.root / "libs")
    (project.root / "finder.py").write_text(FINDER.format(path=libs))
    flow = project.root / "flow.py"
    flow.write_text("import finder\n" + flow.read_text())
    error = project.refused("flow.py", "env", "--no-sync-local-sys-paths")
    assert "imported from the checkout by a way of their own: 'helpers'" in error["what"]


def test_tasks_that_their_names_do_not_find(make: Make) -> None:
    project = make(
        {
            "flow.py": f"""
                import flyte
                {ENV}

                def make(word):
                    @env.task(short_name=word)
                    async def inner(a: int) -> int:
                        return a
                    return inner

                def renamed():
                    async def other(a: int) -> int:
                        return a
                    return env.task(other)

                def wrapped(task):
                    def call(*arguments):
                        return task(*arguments)
                    return call

                hidden = make("hidden")

                @env.task
                async def twice(a: int) -> int:
                    return a

                first = twice
                twice = renamed()

                @wrapped
                @env.task
                async def third(a: int) -> int:
                    return a
                """
        }
    )
    error = project.refused("flow.py", "env")
    said = text(error)
    assert "task 'jobs.inner': it is not found by its loader arguments: AttributeError" in said
    assert "task 'jobs.twice': 'twice' of module 'flow' is task 'jobs.other'" in said
    assert "task 'jobs.other': it is not found by its loader arguments: AttributeError" in said
    assert "task 'jobs.third': 'third' of module 'flow' is no task but a function" in said
    assert "bind it to that name at module level" in said


def test_pods_are_looked_into_and_containers_have_nothing_to_load(make: Make) -> None:
    containers = f"""
        import flyte
        from flyte.extras import ContainerTask

        task = ContainerTask(
            name="shell", image="{IMAGE}", command=["true"], inputs={{}}, outputs={{}}
        )
        env = flyte.TaskEnvironment.from_task("containers", task)
        if "flyte-deploy-" in __file__:
            raise RuntimeError("nothing is loaded here")
        """
    pods = f"""
        import flyte
        from kubernetes.client import V1Container, V1EnvVar, V1PodSpec

        pod = flyte.PodTemplate(
            primary_container_name="main",
            pod_spec=V1PodSpec(
                containers=[
                    V1Container(name="side", args=["--resolver", "no.such.Resolver"]),
                    V1Container(name="main", env=[V1EnvVar(name="A", value="b")]),
                ]
            ),
        )
        env = flyte.TaskEnvironment(name="pods", image="{IMAGE}", pod_template=pod)
        if "flyte-deploy-" in __file__:
            raise RuntimeError("loaded from the bundle")

        @env.task
        async def one(a: int) -> int:
            return a
        """
    project = make({"containers.py": containers, "pods.py": pods})
    assert "verify" in names(project.deploy("containers.py", "env"))
    result = project.cli.to_server("deploy", project.root, "pods.py", "env")
    assert (result.status, result.json["error"]["where"]) == (1, "pods.py:15")
    assert "RuntimeError: loaded from the bundle" in result.json["error"]["what"]


def test_a_module_that_hangs_is_ended(make: Make) -> None:
    hang = 'if "flyte-deploy-" in __file__:\n    import time\n    print("so far", flush=True)\n'
    project = make({"flow.py": FLOW + hang + "    time.sleep(600)\n"})
    # Generous for what has to load within it, on a slow machine.
    result = project.cli.to_server(
        "deploy", project.root, "flow.py", "env", "--load-timeout", "8", TMPDIR=str(project.temporary)
    )
    assert result.status == 1
    error = result.json["error"]
    assert error["what"] == "loading it took longer than 8 s"
    assert error["where"] == "flow.py:11"
    # What it printed is shown where it helps.
    assert "| so far" in result.err
    assert list(project.temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("os._exit(0)", "loading it ended the interpreter (exit status 0"),
        ("os.kill(os.getpid(), 11)", "SIGSEGV"),
    ],
)
def test_a_module_that_ends_the_interpreter(make: Make, end: str, said: str) -> None:
    project = make({"flow.py": FLOW + f'if "flyte-deploy-" in __file__:\n    import os\n    {end}\n'})
    error = project.refused("flow.py", "env")
    assert said in error["what"]
    assert error["where"].startswith("flow.py:")
    assert "while the tasks were loaded from the bundle's files alone" in error["details"]


def test_a_plan_loads_nothing_twice(make: Make, cli: Cli) -> None:
    project = make({"flow.py": FLOW})
    assert "verify" not in names(cli.plan(project.root, "flow.py", "env"))
