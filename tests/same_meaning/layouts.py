"""Projects that differ in where their files lie, and how they are found."""

from __future__ import annotations

from pathlib import Path

from tests.same_meaning.projects import Project, put, tasks


def environment(name: str, *names: str, imports: str = "", options: str = "") -> str:
    """The source of a module with one environment, `env`, and its tasks."""
    return f'import flyte\n{imports}\n\nenv = flyte.TaskEnvironment(name="{name}"{options})\n' + tasks(
        "env", *names
    )


def flat(root: Path) -> None:
    """Modules side by side, some without environments, one that another imports by its own name."""
    put(
        root,
        {
            "ingest.py": environment(
                "ingest", "fetch", "clean", imports="from common import SETTINGS\nimport units"
            ),
            "train.py": environment(
                "train", "fit", imports="import ingest", options=", depends_on=[ingest.env]"
            ),
            "predict.py": environment("predict", "run", imports="from train import env as train_env"),
            "common.py": "import units\n\nSETTINGS = {}\n",
            "units.py": "",
            "unused.py": "",
            "setup_things.py": "if __name__ == '__main__':\n    raise SystemExit(1)\n",
            "with-dash.py": environment("dashed", "one", imports="import units"),
        },
    )


def package(root: Path) -> None:
    """A package of packages, with relative and absolute imports, and environments in ``__init__.py``."""
    put(
        root,
        {
            "shop/__init__.py": environment("shop", "open_shop", imports="from shop.base import BASE"),
            "shop/base.py": "BASE = 1\n",
            "shop/orders/__init__.py": "from .flow import env as orders_env\n",
            "shop/orders/flow.py": environment(
                "orders",
                "take",
                "send",
                imports="from ..base import BASE\nfrom . import prices\nfrom shop import env as shop_env",
                options=", depends_on=[shop_env]",
            ),
            "shop/orders/prices.py": "from .. import base\n",
            "shop/stock/__init__.py": environment("stock", "count", imports="from shop.stock import shelves"),
            "shop/stock/shelves.py": environment("shelves", "fill"),
            "shop/main.py": environment("main", "run", imports="import shop.orders.flow\nimport shop.stock"),
        },
    )


def src_layout(root: Path) -> None:
    """A package below ``src``, with relative imports only, so that it loads under either name."""
    put(
        root,
        {
            "pyproject.toml": '[project]\nname = "app"\nversion = "1"\n',
            "src/app/__init__.py": "",
            "src/app/flow.py": environment(
                "flow", "one", "two", imports="from .inner import helper\nfrom . import envs"
            ),
            "src/app/envs.py": environment("envs", "three"),
            "src/app/inner/__init__.py": "",
            "src/app/inner/helper.py": "",
            "tests/test_app.py": "import nothing_that_is_there\n",
        },
    )


def namespace(root: Path) -> None:
    """Namespace packages: folders without ``__init__.py``, one of them in two places."""
    put(
        root,
        {
            "company/team/flow.py": environment("team", "one", imports="from company.shared import tools"),
            "company/team/deep/er/flow.py": environment("deeper", "two", imports="from ... import helper"),
            "company/team/helper.py": "",
            "company/shared/tools.py": "import company.team.helper\n",
            "company/regular/__init__.py": "",
            "company/regular/flow.py": environment(
                "regular", "three", imports="from company.elsewhere import there"
            ),
            "elsewhere/company/elsewhere/there.py": environment("there", "four"),
        },
    )


def workspace(root: Path) -> None:
    """Two packages, each with ``src``, one of which uses the other."""
    put(
        root,
        {
            "packages/core/pyproject.toml": '[project]\nname = "core"\nversion = "1"\n',
            "packages/core/src/core/__init__.py": "",
            "packages/core/src/core/envs.py": environment(
                "core", "base", imports="from core.rates import RATE"
            ),
            "packages/core/src/core/rates.py": "RATE = 1\n",
            "packages/app/pyproject.toml": '[project]\nname = "app"\nversion = "1"\n',
            "packages/app/src/app/__init__.py": "",
            "packages/app/src/app/flow.py": environment(
                "app",
                "one",
                "two",
                imports="from core.envs import env as core_env\nfrom core import rates\nfrom app import steps",
                options=", depends_on=[core_env]",
            ),
            "packages/app/src/app/steps.py": "",
            "packages/app/src/app/later.py": environment("later", "three", imports="from . import steps"),
        },
    )


def linked(root: Path) -> None:
    """A package, a folder and a file that are reached through links."""
    put(
        root,
        {
            "packages/real/__init__.py": "",
            "packages/real/flow.py": environment("linked", "one", imports="from real.values import VALUE"),
            "packages/real/values.py": "VALUE = 1\n",
            "jobs/real_jobs/job.py": environment(
                "job", "two", imports="from beside import BESIDE\nfrom real import flow"
            ),
            "jobs/real_jobs/beside.py": "BESIDE = 1\n",
            "main.py": environment("main", "three", imports="from real.flow import env as linked_env"),
        },
    )
    (root / "real").symlink_to("packages/real", target_is_directory=True)
    (root / "linked_jobs").symlink_to("jobs/real_jobs", target_is_directory=True)
    (root / "jobs/real_jobs/again.py").symlink_to("job.py")


def linked_root(root: Path) -> None:
    """A project that is itself reached through a link."""
    flat(root / "elsewhere/project")
    (root / "here").symlink_to("elsewhere/project", target_is_directory=True)


def other_letters(root: Path) -> None:
    """Folders and files with spaces and letters of other scripts."""
    put(
        root,
        {
            "Prüfung 1/größe.py": environment(
                "groesse", "one", imports="from hilfe import WERT\nimport 計算"
            ),
            "Prüfung 1/hilfe.py": "WERT = 'ä'\n",
            "Prüfung 1/計算.py": "",
            "Prüfung 1/ein (neuer) ordner/fluß 2.py": environment("fluss", "two"),
            "Prüfung 1/daten & mehr/tabelle 1.csv": "a;ß\n",
            "Prüfung 1/mit daten.py": environment(
                "daten", "three", options=', include=("daten & mehr/*.csv", "hilfe.py")'
            ),
        },
    )


def shadowing(root: Path) -> None:
    """Modules and packages with the names of the standard library's and of installed ones."""
    put(
        root,
        {
            "queue.py": environment("own_queue", "one", imports="import calendar\nimport secrets_of_ours"),
            "calendar.py": "raise RuntimeError('the standard one is the one that is imported')\n",
            "secrets_of_ours.py": "",
            "json/__init__.py": "raise RuntimeError('not this one')\n",
            "tools/__init__.py": "",
            "tools/types.py": environment(
                "types", "two", imports="import types\nfrom . import json\nimport tools.email"
            ),
            "tools/json.py": "import json\n\nassert json.dumps\n",
            "tools/email/__init__.py": "from . import typing\n",
            "tools/email/typing.py": "from typing import Any\n",
            "tools/click.py": environment("click", "three", imports="import click\nimport yaml"),
            "tools/main.py": environment("main", "four", imports="from tools import types, click as own"),
            "tools/load.py": environment("load", "five", imports="import tools.sdk"),
            "tools/sdk.py": "",
        },
    )


def circular(root: Path) -> None:
    """Modules that import each other."""
    put(
        root,
        {
            "ring/__init__.py": "from ring import a\n",
            "ring/a.py": environment("ring_a", "one", imports="import ring.b")
            + "\nfrom ring.b import env as other\n",
            "ring/b.py": environment("ring_b", "two", imports="import ring.c")
            + "\ndef later():\n    from ring.a import one\n    return one\n",
            "ring/c.py": environment("ring_c", "three", imports="import ring.a as a"),
        },
    )


def large(root: Path) -> None:
    """Two thousand files in one package."""
    files = {
        "big/__init__.py": "",
        "big/flow.py": environment("big", "one", "two", "three", imports="from big.group_0 import member_0"),
    }
    for group in range(20):
        files[f"big/group_{group}/__init__.py"] = ""
        for member in range(100):
            following = f"from big.group_{group} import member_{member + 1}\n" if member % 10 < 9 else ""
            files[f"big/group_{group}/member_{member}.py"] = f"{following}VALUE = {group * 100 + member}\n"
    put(root, files)


_PACKAGES = "{root}/packages/core/src:{root}/packages/app/src"

LAYOUTS: dict[str, Project] = {
    "flat, recursive": Project(flat, ("--recursive", "."), 5),
    "flat, variable": Project(flat, ("train.py", "env"), 3),
    "package, recursive": Project(package, ("--recursive", "."), 6),
    "package, variable": Project(package, ("shop/main.py", "env"), 1, environment={"PYTHONPATH": "{root}"}),
    "src, root": Project(src_layout, ("--root-dir", "src", "--recursive", "src"), 3),
    "src, no root": Project(src_layout, ("--recursive", "src"), 3),
    "src, path": Project(
        src_layout, ("--all", "src/app/envs.py"), 1, environment={"PYTHONPATH": "{root}/src"}
    ),
    "src, variable": Project(src_layout, ("--root-dir", "src", "src/app/envs.py", "env"), 1),
    "namespace": Project(namespace, ("--recursive", "company"), 4, environment={"PYTHONPATH": "elsewhere"}),
    "workspace, one": Project(
        workspace, ("--recursive", "packages/app"), 4, environment={"PYTHONPATH": _PACKAGES}
    ),
    "workspace, variable": Project(
        workspace, ("packages/app/src/app/flow.py", "env"), 3, environment={"PYTHONPATH": _PACKAGES}
    ),
    "workspace, root": Project(
        workspace,
        ("--root-dir", "packages/core/src", "--recursive", "packages/core/src"),
        1,
        environment={"PYTHONPATH": _PACKAGES},
    ),
    "subdirectory": Project(package, ("--root-dir", "../..", "--recursive", "."), 3, at="shop/orders"),
    "subdirectory, variable": Project(
        package,
        ("--root-dir", "..", "main.py", "env"),
        1,
        at="shop",
        environment={"PYTHONPATH": "{root}"},
    ),
    "links, recursive": Project(
        linked, ("--recursive", "jobs"), 2, environment={"PYTHONPATH": "{root}/linked_jobs"}
    ),
    "links, variable": Project(linked, ("linked_jobs/job.py", "env"), 1),
    "links, all": Project(linked, ("--all", "real"), 1),
    "linked root": Project(linked_root, ("--recursive", "."), 5, at="here"),
    "linked root dir": Project(linked_root, ("--root-dir", "here", "--all", "here/train.py"), 3),
    "other letters": Project(other_letters, ("--recursive", "."), 3, at="Prüfung 1"),
    "other letters, root": Project(
        other_letters, ("--root-dir", "Prüfung 1", "Prüfung 1/größe.py", "env"), 1
    ),
    "shadowing, recursive": Project(shadowing, ("--recursive", "tools"), 4),
    "shadowing, variable": Project(shadowing, ("tools/click.py", "env"), 1),
    "circular": Project(circular, ("--recursive", "ring"), 3),
    "large": Project(large, ("--recursive", "big"), 3),
}
