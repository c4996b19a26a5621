"""Small projects, each about one thing that a project may mean to Flyte's SDK.

`PROJECTS` names them all, with what both deployers are called with. Layouts stand in `layouts.py`.
"""

from __future__ import annotations

import os
import subprocess
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Project:
    """A project and a command line.

    Args:
        write: writes the project into a folder.
        arguments: of both deployers.
        tasks: how many it registers.
        at: the working directory, below the project's folder.
        environment: environment variables; in a value ``{root}`` is the project's folder, ``{path}`` the PATH,
            ``{bin}`` the folder with ruff.
        expected: differences that are there by design, each as `compare` says it.
        ours: arguments for us alone.
    """

    write: Callable[[Path], None]
    arguments: tuple[str, ...]
    tasks: int
    at: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    expected: tuple[str, ...] = ()
    ours: tuple[str, ...] = ()


def put(root: Path, files: Mapping[str, str]) -> None:
    """Write files, by path below `root`; common indentation is left out."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")


def tasks(environment: str, *names: str) -> str:
    """The source of tasks of an environment's variable."""
    return "".join(
        f"\n\n@{environment}.task\nasync def {name}(x: int = {number}) -> int:\n"
        f'    """Return {name}."""\n    return x\n'
        for number, name in enumerate(names)
    )


def git(root: Path, *arguments: str) -> None:
    """Run git in a folder, as nobody in particular."""
    settings = ("user.name=t", "user.email=t@example.com", "commit.gpgsign=false", "init.defaultBranch=main")
    subprocess.run(
        ["git", *(part for setting in settings for part in ("-c", setting)), *arguments],
        cwd=root,
        env={"PATH": os.environ["PATH"], "HOME": str(root)},
        check=True,
        capture_output=True,
    )


def commit(root: Path, *forced: str) -> None:
    """Make a folder a checkout with all its files committed, and those named although ignored."""
    git(root, "init", "--quiet")
    git(root, "add", ".")
    if forced:
        git(root, "add", "--force", *forced)
    git(root, "commit", "--quiet", "--message", "all")


def selection(root: Path) -> None:
    """Two files, one importing the other; a clone; an environment without a variable; a nested folder."""
    put(
        root,
        {
            "flow.py": """
                import flyte
                from shared import shared_env as imported, label

                first = flyte.TaskEnvironment(name="first_env")
                second = flyte.TaskEnvironment(name="second_env", depends_on=[imported])
                copied = first.clone_with("copied_env", env_vars={"COPIED": "1"})
                many = [flyte.TaskEnvironment(name=f"many-{n}") for n in range(2)]

                @many[1].task
                async def in_a_list(x: int = 1) -> int:
                    return x
                """
            + textwrap.indent(tasks("first", "one", "two") + tasks("second", "three"), " " * 16)
            + textwrap.indent(tasks("copied", "four"), " " * 16),
            "shared.py": 'import flyte\n\nlabel = "shared"\nshared_env = flyte.TaskEnvironment(name="shared")\n'
            + tasks("shared_env", "five", "six"),
            "deeper/not_listed.py": 'import flyte\n\nenv = flyte.TaskEnvironment(name="not_listed")\n'
            + tasks("env", "seven"),
        },
    )


def init_only(root: Path) -> None:
    """A package that is nothing but its ``__init__.py``."""
    put(
        root,
        {
            "alone/__init__.py": 'import flyte\n\nenv = flyte.TaskEnvironment(name="alone")\n'
            + tasks("env", "one", "two", "three"),
        },
    )


def import_time(root: Path) -> None:
    """Code that asks for the configuration while it is imported."""
    put(
        root,
        {
            "config.yaml": """
                admin:
                  endpoint: dns:///not.asked.example.com
                image:
                  registry: registry.example.com/team
                  image_refs:
                    base: registry.example.com/team/base:1
                task:
                  project: not-this-one
                """,
            "flow.py": """
                import os
                import sys
                import flyte

                plain = flyte.Image.from_debian_base()
                older = flyte.Image.from_debian_base(python_version=(3, 12))
                built = flyte.Image.from_debian_base(name="built").with_pip_packages("attrs")
                asked = {
                    "PROJECT": str(flyte.current_project()),
                    "DOMAIN": str(flyte.current_domain()),
                    "PLAIN": plain.uri,
                    "BUILT": built.uri,
                    "NAME": __name__,
                    "FILE": os.path.basename(__file__),
                    "PACKAGE": str(__package__),
                    "MAIN": str(__name__ == "__main__"),
                }
                in_domain = flyte.TaskEnvironment(
                    name=f"in_{flyte.current_domain()}", image=plain, env_vars=asked
                )
                by_default = flyte.TaskEnvironment(name="by_default", env_vars=asked)
                in_older = flyte.TaskEnvironment(name="in_older", image=older)
                by_reference = flyte.TaskEnvironment(
                    name="by_reference", image=flyte.Image.from_ref_name("base")
                )
                elsewhere = flyte.TaskEnvironment(
                    name="elsewhere", image=flyte.Image.from_base("docker.io/library/python:3.13")
                )
                written = flyte.TaskEnvironment(name="written", image="docker.io/library/python:3.12")
                nothing = flyte.TaskEnvironment(name="nothing", image=None)

                if flyte.current_domain() == "production":
                    raise RuntimeError("this is another domain")
                """
            + textwrap.indent(
                tasks("in_domain", "one")
                + tasks("by_default", "two")
                + tasks("in_older", "three")
                + tasks("by_reference", "four")
                + tasks("elsewhere", "five")
                + tasks("written", "six")
                + tasks("nothing", "seven"),
                " " * 16,
            ),
        },
    )


def includes(root: Path) -> None:
    """Files, a folder and globs, beside the declaring file and above it, some of them ignored."""
    put(
        root,
        {
            ".gitignore": "*.secret\nraw/\n",
            "team/__init__.py": "",
            "team/envs.py": """
                from pathlib import Path

                import flyte

                env = flyte.TaskEnvironment(
                    name="team",
                    include=(
                        "notes.txt",
                        "plain.secret",
                        "data/",
                        "templates/*.html",
                        "../top.cfg",
                        str(Path(__file__).parent / "absolute.txt"),
                        "notes.txt",
                    ),
                )
                """,
            "team/flow.py": "from team.envs import env\n" + tasks("env", "one", "two"),
            "team/other.py": 'import flyte\n\nother = flyte.TaskEnvironment(name="other", include=["more/*"])\n'
            + tasks("other", "three"),
            "team/notes.txt": "notes",
            "team/plain.secret": "named, so it is wanted",
            "team/absolute.txt": "absolute",
            "team/data/a.csv": "1",
            "team/data/inner/b.csv": "2",
            "team/data/raw/c.csv": "3",
            "team/data/hidden.secret": "4",
            "team/templates/page.html": "page",
            "team/templates/page.txt": "no page",
            "team/templates/part.html": "part",
            "team/more/x.sql": "select 1",
            "team/more/y.sql": "select 2",
            "team/more/deeper/z.sql": "select 3",
            "top.cfg": "top",
            "unused.py": "raise RuntimeError('nobody imports this')\n",
        },
    )
    commit(root)


def generated(root: Path) -> None:
    """Modules that git ignores, and that are imported."""
    put(
        root,
        {
            ".gitignore": "generated/\n*_pb2.py\n/local.py\n",
            "app/__init__.py": "",
            "app/flow.py": """
                import flyte
                import local
                from app import rates_pb2
                from generated.models import Model

                env = flyte.TaskEnvironment(name="generated", env_vars={"RATE": str(rates_pb2.RATE)})
                """
            + textwrap.indent(tasks("env", "one", "two"), " " * 16),
            "app/rates_pb2.py": "RATE = 3\n",
            "app/unused_pb2.py": "import flyte\n\nflyte.TaskEnvironment(name='never')\n",
            "generated/__init__.py": "",
            "generated/models.py": "class Model:\n    pass\n",
            "local.py": "HERE = True\n",
        },
    )
    commit(root)


def whole_tree(root: Path) -> None:
    """A checkout whose ignore files say the same to git and to the peer."""
    put(
        root,
        {
            ".gitignore": "*.tmp\n/cache-here/\nignored.txt\ntracked.bin\n!kept.tmp\n",
            ".flyteignore": "large.dat\n/docs/\n*.bak\n",
            "flow.py": 'import flyte\n\nenv = flyte.TaskEnvironment(name="tree", include=("named.bak",))\n'
            + tasks("env", "one", "two"),
            "package/__init__.py": "",
            "package/never_imported.py": "import nothing_that_is_there\n",
            "package/.gitignore": "only-in-package.txt\n",
            "package/only-in-package.txt": "ignored",
            "package/data.json": "{}",
            "a.tmp": "ignored",
            "kept.tmp": "kept",
            "tracked.bin": "tracked, although ignored",
            "untracked.txt": "not ignored",
            "cache-here/x": "ignored",
            "deep/cache-here/x": "kept",
            "deep/ignored.txt": "ignored",
            "large.dat": "left out by .flyteignore",
            "deep/large.dat": "left out too",
            "docs/index.md": "left out",
            "deep/docs/index.md": "kept",
            "named.bak": "named",
            "other.bak": "left out",
            "build/out.txt": "left out at the top",
            "deep/build/out.txt": "kept below",
            "dist/wheel.txt": "left out",
            "run.log": "left out",
            "deep/run.log": "left out, the star takes slashes",
            "__pycache__/flow.cpython-311.pyc": "left out",
            ".venv/lib/x.py": "left out",
            "thing.egg-info/PKG-INFO": "left out",
            ".hidden/settings.toml": "kept",
            "notebook.ipynb": "{}",
        },
    )
    commit(root, "tracked.bin")
    (root / "later.txt").write_text("neither tracked nor ignored", encoding="utf-8")


def ignore_accidents(root: Path) -> None:
    """Where the peer's ignore rules are not git's, or not those of `.flyteignore`'s documentation."""
    put(
        root,
        {
            ".gitignore": "",
            "flow.py": 'import flyte\n\nenv = flyte.TaskEnvironment(name="accidents")\n'
            + tasks("env", "one"),
            # The peer applies a nested file's patterns to the whole tree.
            "a/.gitignore": "*.part\n/here.txt\n",
            "a/x.part": "ignored",
            "a/here.txt": "ignored",
            "b/y.part": "kept by git",
            "here.txt": "kept by git",
            # It reads git's list of ignored files without undoing its quotes, and so does not know this one.
            "c/.gitignore": "übrig.txt\n",
            "c/übrig.txt": "ignored",
            # It does not ask for the repository's own excludes.
            "excluded.txt": "ignored",
            "id_rsa.pem": "-----BEGIN PRIVATE KEY-----\nno key\n-----END PRIVATE KEY-----\n",
            "deep/.env": "TOKEN=1\n",
        },
    )
    git(root, "init", "--quiet")
    (root / ".git/info/exclude").write_text("excluded.txt\n", encoding="utf-8")


def lazy(root: Path) -> None:
    """Modules that are imported later, in every way that source can say so."""
    put(
        root,
        {
            "flow.py": """
                from __future__ import annotations

                import importlib
                from typing import TYPE_CHECKING

                import flyte
                from package import entry

                if TYPE_CHECKING:
                    from only_types import Shape

                env = flyte.TaskEnvironment(name="lazy")


                @env.task
                async def one(x: int = 1) -> int:
                    import in_function

                    return in_function.double(x)


                @env.task
                async def two(x: int = 1) -> int:
                    from package.sub import deep
                    from package.sub.values import VALUE

                    return deep.value() + VALUE


                @env.task
                async def three(x: int = 1) -> int:
                    try:
                        import not_there
                    except ImportError:
                        import instead
                    return x


                @env.task
                async def four(x: int = 1) -> int:
                    return entry.plugin().answer(x)
                """,
            "in_function.py": "import second_hand\n\n\ndef double(x):\n    return 2 * x\n",
            "second_hand.py": "",
            "instead.py": "",
            "only_types.py": "class Shape: ...\n",
            "package/__init__.py": "",
            "package/entry.py": """
                def plugin():
                    from . import plugins
                    from .plugins import csv as chosen

                    return chosen
                """,
            "package/plugins/__init__.py": "",
            "package/plugins/csv.py": "def answer(x):\n    from ..sub.helpers import same\n    return same(x)\n",
            "package/plugins/not_chosen.py": "",
            "package/sub/__init__.py": "",
            "package/sub/deep.py": "from .values import VALUE\n\n\ndef value():\n    return VALUE\n",
            "package/sub/values.py": "VALUE = 1\n",
            "package/sub/helpers.py": "def same(x):\n    return x\n",
            "never.py": "",
        },
    )


def triggers(root: Path) -> None:
    """Triggers of every kind, with inputs of many types."""
    put(
        root,
        {
            "flow.py": """
                from dataclasses import dataclass
                from datetime import datetime, timedelta, timezone
                from enum import Enum
                from typing import Optional

                import flyte
                import flyte.notify as notify
                from flyte.io import File

                env = flyte.TaskEnvironment(name="triggered", cache="auto")


                class Size(Enum):
                    SMALL = "small"
                    LARGE = "large"


                @dataclass
                class Window:
                    days: int = 7
                    names: tuple[str, ...] = ("a", "b")


                FIRST = datetime(2026, 1, 1, 6, tzinfo=timezone.utc)
                SHARED = flyte.Trigger(
                    name="shared", automation=flyte.FixedRate(90, start_time=FIRST), inputs={"x": 5}
                )


                @env.task(
                    triggers=(
                        flyte.Trigger(
                            name="cron",
                            automation=flyte.Cron("15 4 * * 1-5", timezone="Asia/Tokyo"),
                            description="d" * 300,
                            inputs={
                                "when": flyte.TriggerTime,
                                "window": Window(days=2),
                                "size": Size.LARGE,
                                "share": 0.25,
                                "wait": timedelta(minutes=3),
                                "note": None,
                            },
                            env_vars={"LEVEL": "info"},
                            labels={"by": "cron"},
                            annotations={"note/one": "1"},
                            custom_context={"run": "nightly"},
                            queue="slow",
                            max_action_concurrency=4,
                            interruptible=False,
                            overwrite_cache=True,
                        ),
                        flyte.Trigger(name="by-hand", inputs={"share": 1.0}, auto_activate=False),
                        SHARED,
                    )
                )
                async def report(
                    x: int = 1,
                    when: datetime = FIRST,
                    window: Window = Window(),
                    size: Size = Size.SMALL,
                    share: float = 0.5,
                    wait: timedelta = timedelta(0),
                    note: Optional[str] = "n",
                ) -> str:
                    return str(when)


                @env.task(
                    triggers=(
                        flyte.Trigger.daily("start", name="d"),
                        flyte.Trigger.hourly("start", name="h", auto_activate=False),
                        flyte.Trigger.weekly("start", name="w", inputs={"x": 3}),
                        flyte.Trigger.monthly(name="m", inputs={"start": FIRST}),
                        flyte.Trigger.minutely(name="min", inputs={"start": FIRST}, labels={"a": "b"}),
                    )
                )
                async def often(start: datetime, x: int = 1) -> int:
                    return x


                @env.task(
                    triggers=[
                        flyte.Trigger(
                            name="on-model",
                            automation=flyte.OnArtifact("model", version="3", region="eu"),
                            inputs={"model": flyte.TriggeredArtifact, "day": flyte.TriggeredPartition("date")},
                            notifications=notify.NamedRule("on-call"),
                        ),
                        SHARED,
                    ]
                )
                async def validate(model: File, day: str, x: int = 1) -> str:
                    return day


                @env.task
                async def without(x: int = 1) -> int:
                    return x
                """,
        },
    )


def loaders(root: Path) -> None:
    """Tasks that are made, renamed, wrapped or found in unusual ways."""
    put(
        root,
        {
            "flow.py": """
                import functools

                import flyte
                from flyte.extras import ContainerTask
                from tools import logged, make_task, task_of
                from resolvers import ByNumber

                env = flyte.TaskEnvironment(name="loaders")
                cloned = env.clone_with("loaders_cloned", resources=flyte.Resources(cpu=2))


                @env.task(short_name="A friendly name that is longer than the sixty-three characters allowed")
                async def renamed(x: int = 1) -> int:
                    return x


                @env.task(short_name="in the clone")
                @logged
                async def wrapped(x: int = 1) -> int:
                    \"\"\"Return x, and say so.\"\"\"
                    return x


                @cloned.task
                def synchronous(x: int = 1) -> int:
                    return x


                @task_of(cloned, retries=2)
                async def decorated_elsewhere(x: int = 1) -> int:
                    return x


                @env.task(task_resolver=ByNumber())
                async def resolved(x: int = 1) -> int:
                    return x


                made_here = make_task(env, "made_here", 2)
                for factor in (3, 5):
                    globals()[f"times_{factor}"] = make_task(cloned, f"times_{factor}", factor)


                class Holder:
                    @staticmethod
                    def method(x: int) -> int:
                        return x


                partly = ContainerTask(
                    name="partly",
                    image="docker.io/library/alpine:3.22",
                    command=["/bin/sh", "-c", "echo {{.inputs.x}} > /var/outputs/y"],
                    inputs={"x": int},
                    outputs={"y": int},
                    cache="auto",
                    resources=flyte.Resources(cpu="100m", memory="64Mi"),
                    env_vars={"A": "b"},
                    secrets=[flyte.Secret(key="k", as_env_var="K")],
                )
                whole = ContainerTask(
                    name="whole",
                    image=flyte.Image.from_base("docker.io/library/busybox:1"),
                    command=["true", "and", "more"],
                    metadata_format="YAML",
                    input_data_dir="/in",
                    output_data_dir="/out",
                )
                containers = flyte.TaskEnvironment.from_task("containers", partly)
                other_containers = flyte.TaskEnvironment.from_task("other_containers", whole)
                """,
            "tools.py": """
                import functools


                def logged(function):
                    @functools.wraps(function)
                    async def wrapper(*arguments, **named):
                        print(function.__name__)
                        return await function(*arguments, **named)

                    return wrapper


                def task_of(env, **options):
                    return lambda function: env.task(**options)(function)


                def make_task(env, name, factor):
                    async def multiply(x: int = 1) -> int:
                        return x * factor

                    multiply.__name__ = multiply.__qualname__ = name
                    multiply.__module__ = "flow"
                    return env.task(short_name=f"times {factor}")(multiply)
                """,
            "resolvers.py": """
                import importlib


                class ByNumber:
                    \"\"\"Finds a task by its module and the number of its line.\"\"\"

                    @property
                    def import_path(self) -> str:
                        return "resolvers.ByNumber"

                    def loader_args(self, task, root_dir):
                        return ["module", "flow", "line", str(task.func.__code__.co_firstlineno)]

                    def load_task(self, loader_args):
                        _, module, _, line = loader_args
                        for value in vars(importlib.import_module(module)).values():
                            code = getattr(getattr(value, "func", None), "__code__", None)
                            if code is not None and code.co_firstlineno == int(line):
                                return value
                        raise ValueError(line)
                """,
        },
    )


def operations(root: Path) -> None:
    """What a task may ask of the cluster."""
    put(
        root,
        {
            "flow.py": """
                from dataclasses import dataclass
                from datetime import timedelta

                import flyte
                from flyte.extend import AsyncFunctionTaskTemplate, TaskPluginRegistry
                from kubernetes.client import V1Container, V1EnvVar, V1PodSpec, V1ResourceRequirements


                @dataclass
                class Dashboard(flyte.Link):
                    name: str = "Dashboard"
                    icon_uri: str = ""

                    def get_link(
                        self, run_name, project, domain, context, parent_action_name, action_name, pod_name, **_
                    ):
                        return f"https://d.example.com/{project}/{domain}/{run_name}/{action_name}/{pod_name}"


                class Yearly(flyte.CachePolicy):
                    def get_version(self, salt, params):
                        return f"{salt}-2026"


                @dataclass
                class Cluster:
                    workers: int


                @dataclass(kw_only=True)
                class ClusterTask(AsyncFunctionTaskTemplate):
                    task_type: str = "cluster"
                    plugin_config: Cluster

                    def custom_config(self, sctx):
                        return {"workers": self.plugin_config.workers}


                TaskPluginRegistry.register(config_type=Cluster, plugin=ClusterTask)
                clusters = flyte.TaskEnvironment(name="clusters", plugin_config=Cluster(workers=3))


                @clusters.task
                async def on_cluster(x: int = 1) -> int:
                    return x


                pool = flyte.TaskEnvironment(
                    name="pool",
                    resources=flyte.Resources(cpu=1, memory="1Gi"),
                    reusable=flyte.ReusePolicy(replicas=(1, 3), concurrency=4, idle_ttl=timedelta(minutes=5)),
                )
                pod_pool = flyte.TaskEnvironment(
                    name="pod_pool",
                    pod_template=flyte.PodTemplate(labels={"a": "b"}),
                    reusable=flyte.ReusePolicy(replicas=2, scope="run"),
                )
                pods = flyte.TaskEnvironment(
                    name="pods",
                    pod_template=flyte.PodTemplate(
                        pod_spec=V1PodSpec(
                            containers=[
                                V1Container(
                                    name="primary",
                                    env=[V1EnvVar(name="A", value="1")],
                                    resources=V1ResourceRequirements(limits={"example.com/fpga": "1"}),
                                ),
                                V1Container(name="beside", image="docker.io/library/busybox:1"),
                            ]
                        ),
                        annotations={"x/y": "z"},
                    ),
                    resources=flyte.Resources(cpu=("1", "2"), memory=("1Gi", "2Gi")),
                    env_vars={"B": "2"},
                )
                plain = flyte.TaskEnvironment(
                    name="plain",
                    secrets=["first", flyte.Secret(group="g", key="second", as_env_var="SECOND")],
                    interruptible=True,
                    service_account="runner",
                    queue="default-queue",
                    description="what it is for, " * 30,
                    cache=flyte.Cache("override", version_override="v1", serialize=True, ignored_inputs=("y",)),
                    resources=flyte.Resources(gpu="A100:2", shm="1Gi", disk="10Gi"),
                    env_vars={"C": "3"},
                )
                short = flyte.PodTemplate().with_termination_grace_period(timedelta(seconds=20))


                @pool.task
                async def pooled(x: int = 1) -> int:
                    return x


                @pool.task(cache="auto", retries=1)
                async def pooled_too(x: int = 1) -> int:
                    return x


                @pod_pool.task
                def pod_pooled(x: int = 1) -> int:
                    return x


                @pods.task
                async def in_pod(x: int = 1) -> int:
                    return x


                @pods.task(pod_template="named-template", links=(Dashboard(), Dashboard(name="Other")))
                async def in_named_pod(x: int = 1) -> int:
                    return x


                @pods.task(pod_template=short)
                async def in_short_pod(x: int = 1) -> int:
                    return x


                @plain.task(links=Dashboard(), report=True, entrypoint=True, produces_artifacts=True)
                async def linked(x: int = 1, y: int = 2) -> int:
                    return x


                @plain.task(
                    cache=flyte.Cache("auto", policies=[Yearly()], salt="s", max_age=timedelta(days=2)),
                    interruptible=False,
                    queue="other-queue",
                    service_account="other",
                    max_inline_io_bytes=1000,
                )
                async def policed(x: int = 1) -> int:
                    return x


                @plain.task(
                    cache="disable",
                    retries=flyte.RetryStrategy(count=3, backoff=flyte.Backoff(base=timedelta(seconds=1), factor=2, cap=timedelta(minutes=1))),
                    timeout=flyte.Timeout(max_runtime=60, max_queued_time=30, deadline=timedelta(hours=1)),
                )
                async def patient(x: int = 1) -> int:
                    return x
                """,
        },
    )


def types(root: Path) -> None:
    """Defaults of many types, files among them, and documentation that is long or in other scripts."""
    put(
        root,
        {
            "shapes.py": """
                from dataclasses import dataclass, field
                from enum import Enum

                from pydantic import BaseModel


                class Colour(Enum):
                    RED = "rot"
                    BLUE = "blau"


                @dataclass
                class Point:
                    x: float = 0.5
                    y: float = 1.5
                    names: list[str] = field(default_factory=lambda: ["p"])


                class Order(BaseModel):
                    number: int = 7
                    at: Point = Point()
                    lines: dict[str, float] = {"a": 1.5}
                """,
            "data/table.csv": "a,b\n1,2\n",
            "data/other.csv": "c\n3\n",
            "flow.py": """
                from datetime import date, datetime, timedelta, timezone
                from pathlib import Path
                from typing import Literal, NamedTuple, Optional, Union

                import flyte
                from flyte.io import Dir, File
                from shapes import Colour, Order, Point

                env = flyte.TaskEnvironment(
                    name="types", description="Größen und 大きさ", include=["data/table.csv"]
                )
                here = Path(__file__).parent


                class Both(NamedTuple):
                    first: int
                    second: str


                @env.task
                async def simple(
                    a: int = 1,
                    b: float = 1e-3,
                    c: str = "ä “quoted”\\n",
                    d: bool = True,
                    e: bytes = b"\\x00\\xff",
                    f: datetime = datetime(2026, 1, 2, tzinfo=timezone.utc),
                    g: timedelta = timedelta(hours=1, microseconds=5),
                    h: date = date(2026, 2, 3),
                ) -> None:
                    \"\"\"Nimmt Größen entgegen — 値, величины.

                    """
            + " ".join(f"Sentence {n} of a long description." for n in range(100))
            + """

                    Args:
                        a: die Größe
                        b: """
            + "a long description of b " * 20
            + """
                    \"\"\"


                @env.task
                async def composed(
                    a: list[int] = [1, 2],
                    b: dict[str, list[float]] = {"x": [1.0]},
                    c: Optional[int] = None,
                    d: Union[int, str] = "text",
                    e: Literal["fast", "slow"] = "fast",
                    f: Colour = Colour.BLUE,
                    g: Point = Point(x=2.0),
                    h: Order = Order(number=8),
                    i: tuple[int, str] = (1, "a"),
                    j: list[Point] = [Point(), Point(y=3.0)],
                    k: Optional[Order] = None,
                    m: int | None = 3,
                ) -> Both:
                    return Both(1, "a")


                @env.task(docs=flyte.Documentation(description="Written, " * 60))
                async def documented(without_default: Order, *, named: int = 1) -> dict[str, Point]:
                    \"\"\"Not this.

                    Returns:
                        Points by name: Straße → ストリート.
                    \"\"\"
                    return {}


                @env.task
                async def files(
                    file: File = File.from_existing_remote("s3://bucket/existing.csv"),
                    local: File = File.from_local_sync(str(here / "data/table.csv")),
                    folder: Dir = Dir.from_local_sync(str(here / "data")),
                ) -> File:
                    return file


                @env.task
                async def untyped_result(x: int = 1):
                    return None


                @env.task
                async def many() -> tuple[int, str, Colour]:
                    return 1, "", Colour.RED
                """,
        },
    )


def search_path(root: Path) -> None:
    """Code that makes its own folders importable."""
    put(
        root,
        {
            "jobs/flow.py": """
                import os
                import sys
                from pathlib import Path

                HERE = os.path.dirname(os.path.abspath(__file__))
                sys.path.insert(0, os.path.join(HERE, "..", "vendored"))
                sys.path.insert(0, os.path.normpath(os.path.join(HERE, "..", "shared")))
                sys.path.append(str(Path(HERE) / "libs"))
                sys.path.append(str(Path(HERE) / "libs"))
                sys.path.append("/outside/of/the/project")

                import flyte
                import beside
                from helper import HELP
                from vendor import VENDOR
                from lib import LIB

                env = flyte.TaskEnvironment(name="search", env_vars={"OWN": HELP + VENDOR + LIB + beside.BESIDE})
                """
            + textwrap.indent(tasks("env", "one", "two"), " " * 16),
            "jobs/beside.py": 'BESIDE = "b"\n',
            "jobs/libs/lib.py": 'LIB = "l"\n',
            "shared/helper.py": 'HELP = "h"\n',
            "vendored/vendor.py": 'VENDOR = "v"\n',
        },
    )


def depending(root: Path) -> None:
    """Environments that depend on each other, declared in any order."""
    put(
        root,
        {
            # Flyte cuts names of environments at 63 characters, not those of their tasks.
            "base.py": 'import flyte\n\nbase = flyte.TaskEnvironment(name="base-'
            + "b" * 70
            + '")\n'
            + tasks("base", "one"),
            "left.py": """
                import flyte
                from base import base

                left = flyte.TaskEnvironment(name="left", depends_on=[base], description="left")
                """
            + textwrap.indent(tasks("left", "two"), " " * 16),
            "right.py": """
                import flyte
                from base import base

                right = flyte.TaskEnvironment(name="right")
                right.add_dependency(base)
                """
            + textwrap.indent(tasks("right", "three"), " " * 16),
            "flow.py": """
                import flyte
                from left import left
                from right import right

                top = flyte.TaskEnvironment(name="top", depends_on=[left, right, left], include=["read.me"])
                empty = flyte.TaskEnvironment(name="empty", depends_on=[top])
                """
            + textwrap.indent(tasks("top", "four"), " " * 16),
            "read.me": "read",
        },
    )


def no_checkout(root: Path) -> None:
    """A tree with a ``.gitignore`` that is no checkout."""
    put(
        root,
        {
            ".gitignore": "ignored.txt\n",
            "flow.py": 'import flyte\n\nenv = flyte.TaskEnvironment(name="tree")\n' + tasks("env", "one"),
            "ignored.txt": "ignored",
            "kept.txt": "kept",
        },
    )


_ALL = ("--copy-style", "all", "--all", "flow.py")
PROJECTS: dict[str, Project] = {
    "variable": Project(selection, ("flow.py", "second"), 3),
    "imported variable": Project(selection, ("flow.py", "imported"), 2),
    "cloned variable": Project(selection, ("flow.py", "copied"), 1),
    "all of a file": Project(selection, ("--all", "flow.py"), 7),
    "all of a folder": Project(selection, ("--all", "."), 7),
    "all and recursive": Project(selection, ("--all", "--recursive", "."), 8),
    "recursive file": Project(selection, ("--recursive", "flow.py"), 7),
    "init only, recursive": Project(init_only, ("--recursive", "alone"), 3),
    "init only, all": Project(init_only, ("--all", "alone"), 3),
    "init file": Project(init_only, ("alone/__init__.py", "env"), 3),
    "import time, all": Project(import_time, ("--all", "flow.py"), 7),
    "import time, variable": Project(import_time, ("flow.py", "in_domain"), 1),
    "given images": Project(
        import_time,
        (
            "--image",
            "registry.example.com/d:2",
            "--image",
            "base=registry.example.com/b:3",
            "--all",
            "flow.py",
        ),
        7,
    ),
    "includes": Project(includes, ("--recursive", "team"), 3),
    "includes, whole tree": Project(includes, ("--copy-style", "all", "--recursive", "team"), 3),
    "includes, none": Project(
        includes,
        ("--copy-style", "none", "--recursive", "team"),
        3,
        # Without code in the bundle there, the peer takes ignored files of folders too.
        expected=("bundle: team/data/hidden.secret is missing", "bundle: team/data/raw/c.csv is missing"),
        ours=("--verify", "off"),
    ),
    "none": Project(generated, ("--copy-style", "none", "--version", "v1", "--all", "app/flow.py"), 2),
    "generated modules": Project(generated, ("--all", "app/flow.py"), 2),
    "whole tree": Project(whole_tree, ("--copy-style", "all", "flow.py", "env"), 2),
    "whole tree, accidents": Project(
        ignore_accidents,
        _ALL,
        1,
        expected=(
            "bundle: a/here.txt is missing",
            "bundle: c/übrig.txt is missing",
            "bundle: deep/.env is missing",
            "bundle: excluded.txt is missing",
            "bundle: id_rsa.pem is missing",
            "bundle: b/y.part is too much, and no import explains it (all)",
            "bundle: here.txt is too much, and no import explains it (all)",
        ),
    ),
    # Without a checkout the peer ignores nothing but the standard list.
    "whole tree, no checkout": Project(no_checkout, _ALL, 1, expected=("bundle: ignored.txt is missing",)),
    "lazy": Project(lazy, ("--all", "flow.py"), 4, environment={"PATH": "{bin}:{path}"}),
    "lazy, no ruff": Project(lazy, ("flow.py", "env"), 4),
    "triggers": Project(triggers, ("flow.py", "env"), 4),
    "loaders": Project(loaders, ("--all", "flow.py"), 10),
    "operations": Project(operations, ("--all", "flow.py"), 10),
    "types": Project(types, ("--all", "flow.py"), 6),
    "search path": Project(search_path, ("jobs/flow.py", "env"), 2),
    # Registered there, but no task container finds its modules.
    "no search path": Project(
        search_path,
        ("--no-sync-local-sys-paths", "jobs/flow.py", "env"),
        2,
        ours=("--verify", "off"),
    ),
    "depending": Project(depending, ("flow.py", "empty"), 4),
    "version": Project(depending, ("--version", "v1.2.3", "--all", "flow.py"), 4),
}
