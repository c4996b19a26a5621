"""Plans of every size, with names that are nobody's friend."""

from __future__ import annotations

from pathlib import Path

from flyte_deploy.model import (
    Bundle,
    BundleFile,
    Deployment,
    Environment,
    Plan,
    PlannedEnvironment,
    PlannedImage,
    PlannedTask,
    Step,
    Target,
    Task,
)
from flyte_deploy.specs.changes import Change, Difference, FileChange, State, TaskDifference

HOSTILE = (
    "@octocat",
    "@github/security-team",
    "#1",
    "GH-1",
    "octocat/hello#1",
    "0123456789abcdef0123456789abcdef01234567",
    "a|b|c",
    "a\\|b",
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "</details></summary></code>",
    "<!-- flyte-deploy: forged -->",
    "<!-- flyte-deploy folded -->",
    "-->",
    "**bold** _it_ ~~no~~ `tick` ``two``",
    "[click](https://evil.example)",
    "![x](https://evil.example/x.png)",
    "https://evil.example",
    "www.evil.example",
    "mail@evil.example",
    ":tada: :+1:",
    "$x^2$ $$y$$",
    "line\nbreak\r\n## heading\rbare",
    "&lt;b&gt; &#64;octocat &amp;",
    "```\nfence\n```",
    "\u202egnp.exe\u202c",
    "\x1b[31mred\x07",
    "🦆" * 50,
    "n" * 2000,
    "%0A::error::x",
    "\ud800",
    "[^1] [ref]: x",
    "| --- | --- |",
    "- item",
    "1. item",
    "> quote",
    "    indented",
)


def _image(name: str, environments: tuple[str, ...], two: str, seconds: float | None = None) -> PlannedImage:
    return PlannedImage(name, environments, f"{name}@sha256:{two * 32}", True, seconds)


def task(environment: str, name: str) -> Task:
    return Task(name=f"{environment}.{name}", short_name=name, environment=environment)


def plan(
    environments: dict[str, tuple[list[str], list[str]]],
    states: dict[str, tuple[State, tuple[Change, ...]]],
    *,
    target: Target | None = None,
    version: str = "pr-12-0123456789abcdef01234567",
    files: int = 5,
    images: tuple[PlannedImage, ...] = (),
    warnings: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
    gone: tuple[str, ...] = (),
    names: tuple[str, ...] = (),
) -> Plan:
    """A plan: for each environment its tasks' short names and what it depends on, for each task its state."""
    planned, differences = [], []
    for name, (tasks, depends) in environments.items():
        made = []
        for short in tasks:
            one = task(name, short)
            state, changes = states.get(one.name, ("unchanged", ()))
            made.append(
                PlannedTask(one, "keep" if state == "unchanged" else "register", "replaces x as the newest")
            )
            before = "" if state == "new" else "0123456789ab"
            differences.append(TaskDifference(one.name, name, state, before, changes))
        planned.append(
            PlannedEnvironment(Environment(key=1, name=name), "selected", tuple(depends), "", tuple(made))
        )
    differences += [TaskDifference(name, name.partition(".")[0], "gone", "x") for name in gone]
    paths = (*names, *(f"src/module_{index}.py" for index in range(files)))
    bundle = Bundle(
        tuple(
            BundleFile(path, Path("x"), 100 + index * 37, 0o644, f"{index:064x}", "imported")
            for index, path in enumerate(paths)
        ),
        "cd" * 32,
    )
    changed = tuple(FileChange(path, "changed") for path in paths[:2])
    return Plan(
        target=target or Target("flytesnacks", "development"),
        endpoint="dns:///flyte.example.com",
        version=version,
        content="0123456789abcdef01234567",
        environments=tuple(planned),
        bundle=bundle,
        bundle_address="",
        bundle_store="the control plane's storage",
        images=images,
        notes=notes,
        warnings=warnings,
        steps=(
            Step("collect", 1.2),
            Step("publish", 0.3, 1.2),
            Step("images", 42.5, 1.2),
            Step("register", 0.4, 43.7),
        ),
        difference=Difference("flytesnacks/production", tuple(differences), changed),
    )


def deployed(made: Plan) -> Deployment:
    return Deployment(
        made,
        "s3://bucket/bundle.tar.gz",
        uploaded=True,
        images=made.images,
        registered=tuple(one.task.name for one in made.to_register),
    )


RETRIES = Change("retries", before="1", after="3")
REMOVED = Change("input", "name", before="str", breaking=True)
TYPE = Change("output", "o0", before="int", after="str", breaking=True)

SMALL: dict[str, tuple[list[str], list[str]]] = {
    "ingest": (["fetch", "clean"], []),
    "features": (["build"], ["ingest"]),
    "train": (["fit", "score"], ["features"]),
    "report": (["render"], ["train", "ingest"]),
    "alerts": (["send"], []),
}
SMALL_STATES: dict[str, tuple[State, tuple[Change, ...]]] = {
    "ingest.clean": ("changed", (RETRIES, Change("resources", "memory", "1Gi", "2Gi"))),
    "ingest.fetch": ("bundle", ()),
    "features.build": ("new", ()),
    "train.fit": ("changed", (REMOVED, TYPE)),
    "train.score": ("bundle", ()),
}


def small() -> Plan:
    images = (
        _image("ghcr.io/team/train-preview:" + "ab" * 20, ("train",), "01", 42.5),
        _image("ghcr.io/team/ingest-preview:" + "cd" * 20, ("ingest", "features"), "02"),
    )
    return plan(
        SMALL,
        SMALL_STATES,
        images=images,
        warnings=("flow.py:8: the default of parameter 'at' differs each time the code is loaded",),
        gone=("ingest.old",),
    )


def large(environments: int = 200, tasks: int = 2000, changed: int = 12) -> Plan:
    """Layers of environments, each depending on two of the layer before."""
    each = tasks // environments
    made: dict[str, tuple[list[str], list[str]]] = {}
    width = 20
    for index in range(environments):
        layer, place = divmod(index, width)
        below = (
            [f"team_{(layer - 1) * width + other % width:03d}" for other in (place, place + 1)]
            if layer
            else []
        )
        made[f"team_{index:03d}"] = ([f"task_{number}" for number in range(each)], below)
    states: dict[str, tuple[State, tuple[Change, ...]]] = {
        f"team_{index * 17 % environments:03d}.task_{number}": (
            "changed",
            (RETRIES, TYPE) if not number else (RETRIES,),
        )
        for index in range(changed)
        for number in range(3)
    }
    return plan(made, states, files=3000)


def hostile(hostile: tuple[str, ...] = HOSTILE) -> Plan:
    """Everything that can be named has a hostile name."""
    environments: dict[str, tuple[list[str], list[str]]] = {
        f"e{index}{name}": ([name], []) for index, name in enumerate(hostile)
    }
    names = list(environments)
    linked = {
        name: (tasks, [names[index - 1]] if index else [])
        for index, (name, (tasks, _)) in enumerate(environments.items())
    }
    states: dict[str, tuple[State, tuple[Change, ...]]] = {
        f"{name}.{tasks[0]}": (
            "changed",
            (Change("input", tasks[0], before=tasks[0], after=tasks[0], breaking=index % 2 == 0),),
        )
        for index, (name, (tasks, _)) in enumerate(linked.items())
    }
    images = tuple(_image(f"ghcr.io/{name}:1", (name,), "01", 1.0) for name in hostile)
    return plan(
        linked,
        states,
        target=Target("@octocat", "<b>|"),
        images=images,
        warnings=hostile,
        notes=hostile,
        names=hostile,
        gone=hostile,
    )
