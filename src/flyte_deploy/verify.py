"""Verify: load every task from the bundle's files alone, as the task container will.

The files are laid into an empty folder, and a process in the project's interpreter
(`flyte_deploy.collector.inside.verify`) loads each task there by the loader arguments of its request. What is
installed in that interpreter stands for what the image has; the checkout is out of its reach.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec
from flyteidl2.task.task_service_pb2 import DeployTaskRequest
from google.protobuf.message import DecodeError
from msgspec import Struct

from flyte_deploy.bundle.reading import open_regular, unreadable
from flyte_deploy.clock import Listen
from flyte_deploy.collector.message import LoadFailure
from flyte_deploy.collector.process import ended, in_isolated_process
from flyte_deploy.collector.run import (
    Watch,
    decode,
    ended_early,
    environment_of_collector,
    explain_load_failure,
    start_inside,
    took_too_long,
)
from flyte_deploy.errors import DeployError
from flyte_deploy.isolation.confinement import scratch_folder
from flyte_deploy.model import Bundle, Environment, Plan, Progress, Task, Text
from flyte_deploy.project.interpreter import find_interpreter
from flyte_deploy.settings import Settings
from flyte_deploy.specs.container import primary

_SYS_PATH = "_F_SYS_PATH"
_NAMED = 20
_PRINTED = 200
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Loadable:
    """A task that a container loads by the arguments of its request.

    `search_path` is what the container's ``_F_SYS_PATH`` holds.
    """

    task: Task
    resolver: str
    arguments: tuple[str, ...]
    search_path: str = ""


class Problem(Struct, frozen=True, kw_only=True):
    """Why one task is not what its loader arguments find.

    Either `found` says what they find instead, or `failure` what was raised; then `path` is a file that was
    missing, and `hidden` where in the checkout a missing module lies, where something leads there.
    """

    task: int
    found: Text = ""
    failure: LoadFailure | None = None
    path: Text = ""
    hidden: Text = ""


class Line(Struct, frozen=True, kw_only=True):
    """One document of the process: exactly one of `loading`, `problem`, `done`, `crash` is set."""

    loading: int = -1
    problem: Problem | None = None
    done: bool = False
    escaped: dict[str, str] = {}
    crash: LoadFailure | None = None


def verify_bundle(settings: Settings, plan: Plan, search_path: Sequence[str], listen: Listen) -> None:
    """Load the tasks that are to be registered from the plan's bundle alone.

    What the project's code prints here is shown only where something is wrong: it was shown when the code
    was collected.

    Args:
        settings: all that the user said.
        plan: what is to be registered, and the bundle.
        search_path: the search path that the code was collected with.
        listen: told of what user code printed.

    Raises:
        DeployError: naming all tasks that do not load, by cause, and for what keeps them from being loaded.
    """
    assert plan.bundle is not None
    if in_isolated_process():
        raise DeployError(
            "a deploy is started by code that is being loaded for one",
            mend="Keep the call of flyte_deploy.deploy under: if __name__ == '__main__'.",
        )
    groups: dict[str, list[Loadable]] = {}
    for planned in plan.to_register:
        one = loadable(planned.task)
        if one is not None:
            groups.setdefault(one.search_path, []).append(one)
    if not groups:
        return
    environments = {one.environment.name: one.environment for one in plan.environments}
    with scratch_folder(settings.confinement) as folder:
        lay_out(plan.bundle, folder)
        if settings.confinement is not None:
            settings.confinement.give(folder)
        by_cause: dict[object, list[tuple[Loadable, Problem]]] = {}
        for group in groups.values():
            for problem in _load(settings, folder, group, listen):
                one = group[problem.task]
                by_cause.setdefault(_same(one, problem), []).append((one, problem))
        if by_cause:
            cause_of = _Explain(settings, plan.bundle, folder, search_path, environments)
            raise _error(
                [(cause_of(*pairs[0]), [one.task.name for one, _ in pairs]) for pairs in by_cause.values()]
            )


def loadable(task: Task) -> Loadable | None:
    """How a container loads a task: from the arguments of its container, or of its pod's primary one.

    None for tasks that are not loaded, such as those that run a container of their own.

    Raises:
        DeployError: where the collector's bytes are no request.
    """
    request = DeployTaskRequest()
    try:
        request.ParseFromString(task.request)
    except DecodeError:
        raise DeployError(f"the collector's request for task '{task.name}' cannot be read") from None
    template = request.spec.task_template
    container = primary(template)
    arguments = list(container.args)
    if "--resolver" not in arguments:
        return None
    resolver, *rest = arguments[arguments.index("--resolver") + 1 :] or [""]
    return Loadable(task, resolver, tuple(rest), container.env.get(_SYS_PATH, ""))


def lay_out(bundle: Bundle, folder: Path) -> None:
    """Copy a bundle's files into an empty folder.

    They are copies, not links: what user code does to them does not reach the checkout. Where the file
    system can, they share their blocks.

    Raises:
        DeployError: for a file that may not be read or has vanished, and for a full disk.
    """
    made: set[PurePosixPath] = set()
    for file in bundle.files:
        parent = PurePosixPath(file.path).parent
        source = open_regular(file.source, file.path)
        try:
            if parent not in made:
                (folder / parent).mkdir(parents=True, exist_ok=True)
                made.add(parent)
            target = os.open(folder / file.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.fchmod(target, file.mode)
                _copy(source, target)
            finally:
                os.close(target)
        except OSError as error:
            if error.errno in _FULL:
                raise DeployError(
                    "the disk is full: there is no room to load the tasks from the bundle's files",
                    where=str(folder.parent),
                    mend="Make room, or set TMPDIR to a folder on a larger disk.",
                ) from error
            raise unreadable(file.path, error) from error
        finally:
            os.close(source)


def _copy(source: int, target: int) -> None:
    copy: Callable[[int, int, int], int] | None = getattr(os, "copy_file_range", None)
    if copy is not None:
        try:
            while copy(source, target, 1 << 30):
                pass
        except OSError as error:
            # Between some file systems it cannot; it says so before it has copied anything.
            if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
                raise
        else:
            return
    with os.fdopen(os.dup(source), "rb") as reader, os.fdopen(os.dup(target), "wb") as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)


def _load(settings: Settings, folder: Path, tasks: list[Loadable], listen: Listen) -> list[Problem]:
    """Load tasks in a process of their own and return what is wrong with which."""
    printed: list[str] = []
    python = _interpreter(settings)
    watch = Watch(since=time.monotonic())
    process = start_inside(
        "verify",
        _document(settings, folder, tasks),
        # The process works in another folder.
        python=os.path.abspath(python),  # noqa: PTH100  a virtual environment's python is a link
        environment=_environment(settings, folder),
        folder=folder,
        confinement=settings.confinement,
        on_line=printed.append,
    )
    decoder = msgspec.json.Decoder(Line)
    problems: list[Problem] = []
    last: Line | None = None
    try:
        with ended(process):
            try:
                for raw in process.lines(lambda: watch.patience(settings.load_timeout)):
                    last = decode(decoder, raw)
                    if last.done or last.crash is not None:
                        break
                    number = last.loading if last.problem is None else last.problem.task
                    if not 0 <= number < len(tasks) or len(problems) > len(tasks):
                        raise DeployError("the collector's answer names a task that it was not asked for")
                    if last.problem is not None:
                        problems.append(last.problem)
                    watch.file, watch.since = _place(tasks[number].task), time.monotonic()
            except TimeoutError:
                process.ask_where()
                raise took_too_long(process, watch, folder, settings.load_timeout) from None
        status = process.end()
        if last is not None and last.crash is not None:
            where, what, details, _ = explain_load_failure(last.crash, folder)
            raise DeployError(
                f"tasks cannot be loaded from the bundle: {what}", where=where or None, details=details
            )
        if last is None or not last.done:
            raise ended_early(process, status, watch, folder, python)
        _check_escaped(last.escaped, settings.root_dir)
    except DeployError as error:
        _show(printed, listen)
        raise DeployError(
            error.what,
            where=error.where,
            mend=error.mend,
            details=(*error.details, "while the tasks were loaded from the bundle's files alone"),
        ) from None
    if problems:
        _show(printed, listen)
    return problems


def _document(settings: Settings, folder: Path, tasks: list[Loadable]) -> dict[str, object]:
    return {
        "root": str(folder),
        "project": settings.project,
        "domain": settings.domain,
        "org": settings.org,
        "images": settings.images,
        "image_registry": settings.image_registry,
        "image_builder": settings.image_builder,
        "sync_local_sys_paths": settings.sync_local_sys_paths,
        "checkout": str(settings.root_dir),
        "paths": tasks[0].search_path,
        "tasks": [
            {"name": one.task.name, "resolver": one.resolver, "arguments": one.arguments} for one in tasks
        ],
    }


def _interpreter(settings: Settings) -> str:
    """The one that the code was collected in."""
    if not settings.paths:
        return sys.executable
    first = settings.paths[0]
    return find_interpreter(settings.python, first if first.is_dir() else first.parent)


def _environment(settings: Settings, folder: Path) -> dict[str, str]:
    """That of the collector, less what leads into the checkout before the process can keep out of it."""
    root = settings.root_dir
    kept = environment_of_collector(os.environ, settings.confinement)
    kept.pop("OLDPWD", None)
    kept["PWD"] = str(folder)
    entries = [
        entry
        for entry in kept.pop("PYTHONPATH", "").split(os.pathsep)
        # A relative one would lead into the bundle, which the container's does not.
        if Path(entry).is_absolute() and not Path(entry).resolve().is_relative_to(root.resolve())
    ]
    if entries:
        kept["PYTHONPATH"] = os.pathsep.join(entries)
    return kept


def _check_escaped(escaped: Mapping[str, str], root: Path) -> None:
    if escaped:
        raise DeployError(
            "modules were imported from the checkout by a way of their own: "
            + ", ".join(f"'{name}' ({file})" for name, file in sorted(escaped.items())[:_NAMED]),
            where=str(root),
            mend="A finder that the code puts into sys.meta_path leads there, and has no checkout to lead to"
            " in a task container.",
        )


def _show(printed: Sequence[str], listen: Listen) -> None:
    for line in printed[-_PRINTED:]:
        listen(Progress("output", line))


def _place(task: Task) -> str:
    return str(task.location) if task.location else f"task '{task.name}'"


@dataclass(frozen=True)
class Cause:
    """What keeps tasks from being loaded: where, what, further lines, and how to mend it."""

    where: str
    what: str
    details: tuple[str, ...] = ()
    mend: str | None = None


def _same(one: Loadable, problem: Problem) -> object:
    """Equal for tasks that one cause keeps from being loaded."""
    if problem.failure is None:
        return one.resolver, one.arguments, problem.found
    failure = problem.failure
    return failure.type, failure.text, failure.frames, problem.path, problem.hidden


def _error(causes: list[tuple[Cause, list[str]]]) -> DeployError:
    """One error for all causes, each with the tasks that it keeps from being loaded."""
    if len(causes) == 1:
        ((cause, tasks),) = causes
        what, names = _subject(tasks)
        return DeployError(
            f"{what} cannot be loaded from the bundle's files alone: {cause.what}",
            where=cause.where or None,
            details=(*names, *cause.details),
            mend=cause.mend,
        )
    lines: list[str] = []
    for cause, tasks in causes:
        what, names = _subject(tasks)
        lines.append(f"{cause.where}: {what}: {cause.what}" if cause.where else f"{what}: {cause.what}")
        lines += [f"  {line}" for line in (*names, *cause.details)]
        if cause.mend:
            lines.append(f"  {cause.mend}")
    return DeployError(
        f"{sum(len(tasks) for _, tasks in causes)} tasks cannot be loaded from the bundle's files alone",
        details=tuple(lines),
        mend="Nothing was uploaded or registered.",
    )


def _subject(tasks: list[str]) -> tuple[str, tuple[str, ...]]:
    """How the tasks are called in a sentence, and a line that names them where that is no place to."""
    if len(tasks) == 1:
        return f"task '{tasks[0]}'", ()
    more = f" and {len(tasks) - _NAMED} more" if len(tasks) > _NAMED else ""
    return f"{len(tasks)} tasks", (f"they are {', '.join(tasks[:_NAMED])}{more}",)


class _Explain:
    """Finds the cause of a problem, and the mend that fits it.

    Args:
        settings: all that the user said.
        bundle: what the tasks were loaded from.
        folder: where that was laid out.
        search_path: the search path that the code was collected with.
        environments: those of the plan, by name.
    """

    def __init__(
        self,
        settings: Settings,
        bundle: Bundle,
        folder: Path,
        search_path: Sequence[str],
        environments: Mapping[str, Environment],
    ) -> None:
        self._settings = settings
        self._root = settings.root_dir.resolve()
        self._folder = folder
        self._environments = environments
        self._mentions = re.compile(rf"{re.escape(str(folder))}/([^\s'\",;:)\]]+)")
        self._bundled = {file.path for file in bundle.files}
        for file in bundle.files:
            self._bundled.update(str(parent) for parent in PurePosixPath(file.path).parents)
        # Folders below the root that modules were imported from, and the root itself first.
        bases = (self._below_root(entry) for entry in search_path)
        self._bases = tuple(dict.fromkeys((".", *(base for base in bases if base))))

    def __call__(self, one: Loadable, problem: Problem) -> Cause:
        location = _place(one.task)
        if problem.failure is None:
            return self._another(one, problem.found)
        where, what, frames, mend = explain_load_failure(problem.failure, self._folder)
        what = self._mentions.sub(lambda match: os.path.normpath(match[1]), what)
        where = where or location
        if not frames and problem.failure.type == "AttributeError":
            return Cause(location, f"it is not found by its loader arguments: {what}", (), _BY_NAME)
        missing = self._missing(one, problem)
        if missing is not None:
            explanation, mend = missing
            return Cause(where, what, (*frames, explanation), mend)
        if mend is None:
            mend = (
                "It does load in the checkout. If it reads a file while it is loaded, include that in the"
                " environment, or use --copy-style all."
            )
        return Cause(where, what, frames, mend)

    def _another(self, one: Loadable, found: str) -> Cause:
        if len(one.arguments) >= 4 and one.arguments[0] == "mod":
            loader = f"'{one.arguments[3]}' of module '{one.arguments[1]}'"
        else:
            loader = f"what {one.resolver} finds for '{' '.join(one.arguments)}'"
        return Cause(_place(one.task), f"{loader} is {found}", (), _BY_NAME)

    def _missing(self, one: Loadable, problem: Problem) -> tuple[str, str] | None:
        """What is missing and how to mend that; None where nothing is, or where it is not known what."""
        assert problem.failure is not None
        if problem.failure.missing.partition(".")[0] == "flytekit":
            return None
        if problem.failure.missing:
            return self._missing_module(one, problem.failure.missing, problem.hidden)
        if problem.path:
            return self._missing_file(one, problem.path)
        # Flyte's own File and others say it in their words alone.
        for path in self._mentions.findall(problem.failure.text):
            below = os.path.normpath(path.rstrip("."))
            if (self._root / below).exists() and below not in self._bundled:
                return self._not_bundled(one, below)
        return None

    def _missing_module(self, one: Loadable, name: str, hidden: str) -> tuple[str, str] | None:
        path, base = self._find_module(name, hidden)
        if not path:
            if "." in name and self._find_module(name.rpartition(".")[0], "")[0]:
                # Not a module but a name that a module lacks.
                return None
            top = name.partition(".")[0]
            explanation = f"'{top}' is neither in the bundle nor in the checkout."
            return explanation, (
                f"Add the package that provides '{top}' to the image, as a pip layer, and to the project's"
                " dependencies."
            )
        if path not in self._bundled:
            return self._not_bundled(one, path)
        if base == "." or base in {os.path.normpath(entry) for entry in one.search_path.split(":")}:
            return None
        name_it = f"ame that folder with --root-dir {self._typed(base)}"
        if base in self._bases and not self._settings.sync_local_sys_paths:
            mend = f"Leave out --no-sync-local-sys-paths, or n{name_it}."
        else:
            mend = f"N{name_it}, or install the package in the image."
        return f"{path} is in the bundle, but a task container looks for no modules in {base}.", mend

    def _find_module(self, name: str, hidden: str) -> tuple[str, str]:
        """Where a module lies in the checkout, and the folder that it is imported from; empty if nowhere."""
        parts = name.split(".")
        if hidden:
            file = Path(hidden)
            path = self._below_root(str(file.parent if file.name == "__init__.py" else file))
            parents = PurePosixPath(path).parents
            return path, str(parents[min(len(parts), len(parents)) - 1]) if path else ""
        if not all(part.isidentifier() for part in parts):
            return "", ""
        for base in self._bases:
            below = PurePosixPath(base, *parts)
            for candidate in (below, below.with_suffix(".py")):
                if (self._root / candidate).exists():
                    return str(candidate), base
        return "", ""

    def _missing_file(self, one: Loadable, path: str) -> tuple[str, str] | None:
        absolute = Path(path)
        if not absolute.is_absolute():
            if not (self._root / path).exists() and (self._settings.working_dir / path).exists():
                explanation = f"{path} is looked for in the working directory, which is the bundle's root."
                return explanation, (
                    "Begin its path with Path(__file__).parent, and include the file in the environment."
                )
            absolute = self._folder / path
        normal = Path(os.path.normpath(absolute))
        if not normal.is_relative_to(self._folder):
            return None
        below = normal.relative_to(self._folder).as_posix()
        if not (self._root / below).exists():
            return (
                f"{below} is not in the checkout either.",
                "The code that reads it while it is loaded has to do without it in a task container.",
            )
        return None if below in self._bundled else self._not_bundled(one, below)

    def _not_bundled(self, one: Loadable, path: str) -> tuple[str, str]:
        environment = self._environments.get(one.task.environment)
        declared = Path(environment.declared_in).parent if environment else self._root
        relative = os.path.relpath(self._root / path, declared.resolve())
        at = f" '{environment.name}' ({environment.location})" if environment else ""
        include = f'Add it to environment{at}: include=("{PurePosixPath(relative)}",)'
        style = self._settings.copy_style
        if style == "all":
            why, mend = ", being ignored", f"{include}."
        elif style == "none":
            why = ", which holds the includes alone"
            mend = (
                f"{include}, or bundle the code with --copy-style loaded_modules. Where the image has it,"
                " --verify off leaves this out."
            )
        else:
            why, mend = "", f"{include}, or use --copy-style all."
        return f"{path} is in the checkout, but not in the bundle{why}.", mend

    def _below_root(self, path: str) -> str:
        """A path relative to the root, empty where it lies outside."""
        real = Path(path).resolve()
        return real.relative_to(self._root).as_posix() if real.is_relative_to(self._root) else ""

    def _typed(self, base: str) -> str:
        """A folder below the root as one would type it."""
        return os.path.relpath(self._root / base, self._settings.working_dir)


_BY_NAME = (
    "A task container finds a task by its module and its function's own name: bind it to that name at module"
    " level, or give it a task_resolver."
)
