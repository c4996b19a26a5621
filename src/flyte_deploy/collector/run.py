"""The parent's side of the collector: start it, read its answer, and turn what went wrong into words."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

from flyte_deploy.collector.inside import PROTOCOL
from flyte_deploy.collector.message import Answer, Collected, Failure, Line, LoadFailure
from flyte_deploy.collector.process import IsolatedProcess, ended
from flyte_deploy.errors import DeployError, bounded
from flyte_deploy.isolation.confinement import Confinement
from flyte_deploy.model import Environment, Location, Progress
from flyte_deploy.secrets import SECRETS

BOOT = """\
import importlib, importlib.util, sys
folder, module, *rest = sys.argv[1:]
sys.argv = ["flyte"]
sys.path[:] = [entry for entry in sys.path if entry]
spec = importlib.util.spec_from_file_location(
    "_flyte_deploy_collector", folder + "/__init__.py", submodule_search_locations=[folder])
package = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = package
spec.loader.exec_module(package)
importlib.import_module(spec.name + "." + module).main(rest)
"""

# What the deployer itself logs in with is none of the loaded code's business.
_OWN_CREDENTIALS = (
    *("FLYTE_API_KEY", "FLYTE_ADMIN_CLIENTSECRET", "FLYTE_CREDENTIALS_CLIENT_SECRET"),
    *("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL"),
)

INSIDE = Path(__file__).with_name("inside")
"""What runs in the project's interpreter."""

_NAMED = 20
"""How many variables are named that the code looked for in vain."""

_LONGEST_NAME = 255
"""What the API takes, in characters."""

_LONGEST_TEXT = 2000
_LONGEST_PLACE = 500
_MOST_FRAMES = 20

Listen = Callable[[Progress], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """What the collector is asked to do. Paths are absolute.

    `files` are pairs of a path and the dotted module name to import it under, empty to execute it by its
    stem. Without `names` everything that was loaded is selected.
    `withheld` are names of environment variables that the code is not given. The code's working directory is
    `folder`.
    """

    root: Path
    files: tuple[tuple[Path, str], ...]
    names: tuple[str, ...] = ()
    project: str = ""
    domain: str = ""
    org: str = ""
    images: Mapping[str, str] | None = None
    image_registry: str = ""
    image_builder: str = ""
    copy_style: str = "loaded_modules"
    sync_local_sys_paths: bool = True
    ignore_load_errors: bool = False
    captures: Path | None = None
    withheld: tuple[str, ...] = ()
    folder: Path = field(default_factory=Path.cwd)

    def document(self) -> dict[str, object]:
        """As the collector reads it."""
        return {
            "root": str(self.root),
            "files": [{"path": str(path), "module": module} for path, module in self.files],
            "names": list(self.names),
            "project": self.project,
            "domain": self.domain,
            "org": self.org,
            "images": dict(self.images or {}),
            "image_registry": self.image_registry,
            "image_builder": self.image_builder,
            "copy_style": self.copy_style,
            "sync_local_sys_paths": self.sync_local_sys_paths,
            "ignore_load_errors": self.ignore_load_errors,
            "captures": str(self.captures or ""),
            "withheld": list(self.withheld),
        }


@dataclass
class Watch:
    """Which file is being loaded, and since when; which `files` are to be, and how many were; which variables
    have been named."""

    file: str = ""
    since: float = 0.0
    files: frozenset[str] = frozenset()
    loaded: int = 0
    named: set[str] = field(default_factory=set)

    def patience(self, timeout: float) -> float:
        """How many seconds are left of `timeout`."""
        return self.since + timeout - time.monotonic()


def collect(
    request: Request,
    *,
    python: str,
    timeout: float,
    listen: Listen,
    confinement: Confinement | None = None,
) -> Collected:
    """Run the collector once in `python`.

    Args:
        request: what to load and select.
        python: the project's interpreter.
        timeout: how long one file may take to load, in seconds.
        listen: told of every file, and of every line that user code prints.
        confinement: what user code is confined to; None where it runs as the user that runs this.

    Raises:
        DeployError: for all that can go wrong in the project's code and its interpreter.
    """
    watch = Watch(since=time.monotonic(), files=frozenset(str(path) for path, _ in request.files))
    if confinement is not None and request.captures is not None:
        confinement.give(request.captures)
    process = start_inside(
        "main",
        request.document(),
        python=python,
        environment=environment_of_collector(os.environ, confinement),
        folder=request.folder,
        confinement=confinement,
        on_line=lambda text: listen(Progress("output", text)),
    )
    environments: list[Environment] = []
    decoder = msgspec.json.Decoder(Line)
    last: Line | None = None
    events = 0
    with ended(process):
        try:
            for raw in process.lines(lambda: watch.patience(timeout)):
                last = decode(decoder, raw)
                events += bool(last.event)
                # Each file is told of before and after, then the tasks, then the variables.
                if events > 2 * len(request.files) + 2:
                    raise DeployError("the answer of the project's code is larger than is taken")
                if last.environment is not None:
                    environments.append(last.environment)
                elif last.event:
                    _hear(last, watch, request, listen)
                else:
                    break
                watch.since = time.monotonic()
        except TimeoutError:
            process.ask_where()
            raise took_too_long(process, watch, request.root, timeout) from None
    status = process.end()
    if process.suppressed:
        listen(
            Progress(
                "warning",
                f"the project's code printed {process.suppressed / 1e6:.0f} MB more than is shown here",
            )
        )
    if last is None or (last.answer is None and last.failure is None):
        raise ended_early(process, status, watch, request.root, python)
    if last.failure is not None:
        raise explain_failure(last.failure, request.root, python, request.files)
    assert last.answer is not None
    if len(last.answer.failures) > len(request.files):
        raise DeployError("the collector says that more files failed than it was to load")
    return checked(last.answer, tuple(environments))


def checked(answer: Answer, environments: tuple[Environment, ...]) -> Collected:
    """Put an answer and its environments together, after checking that they fit each other."""
    if answer.protocol != PROTOCOL:
        raise DeployError(f"the collector speaks protocol {answer.protocol}, not {PROTOCOL}")
    keys = {environment.key for environment in environments}
    if len(keys) != len(environments):
        raise DeployError("the collector described one environment twice")
    for environment in environments:
        _check_name("environment", environment.name, environment.location)
        for task in environment.tasks:
            _check_name("task", task.name, task.location or environment.location)
            for trigger in task.triggers:
                _check_name("trigger", trigger.name, task.location or environment.location)
        if any(task.environment != environment.name for task in environment.tasks):
            raise DeployError(f"a task of environment '{environment.name}' says that it belongs to another")
        if not keys.issuperset(environment.depends_on):
            raise DeployError(
                f"the collector did not describe all that environment '{environment.name}' depends on"
            )
    return Collected(answer, environments)


def _check_name(what: str, name: str, location: Location | None) -> None:
    if 0 < len(name) <= _LONGEST_NAME and name.isprintable():
        return
    problem = "is empty"
    if len(name) > _LONGEST_NAME:
        problem = f"has {len(name)} characters"
    elif name:
        problem = "has a line break or another control character in it"
    raise DeployError(
        f"the name of {what} {bounded(name, 80)!r} {problem}",
        where=str(location) if location else None,
        mend=f"A name has 1 to {_LONGEST_NAME} characters that can be printed.",
        usage=True,
    )


def start_inside(
    module: str,
    document: Mapping[str, object],
    *,
    python: str,
    environment: Mapping[str, str],
    folder: Path,
    on_line: Callable[[str], None],
    confinement: Confinement | None = None,
) -> IsolatedProcess:
    """Start a module of `collector.inside` in an interpreter.

    Args:
        module: its name; its function ``main`` is called.
        document: what it is asked.
        python: the project's interpreter.
        environment: its environment variables.
        folder: its working directory.
        on_line: told of every line that it prints.
        confinement: what it is confined to, if it is.

    Raises:
        DeployError: where the interpreter does not start.
    """
    inside = INSIDE
    if confinement is not None and confinement.collector is not None:
        inside = confinement.collector
    try:
        return IsolatedProcess(
            [python, "-c", BOOT, str(inside), module],
            document=msgspec.json.encode(document),
            environment=environment,
            folder=folder,
            on_line=on_line,
            confinement=confinement,
        )
    except OSError as error:
        raise DeployError(
            f"the Python interpreter '{python}' does not start: {error.strerror or error}",
            where="--python",
            mend="Name the interpreter that has the project's dependencies with --python.",
            usage=True,
        ) from None


def environment_of_collector(
    environ: Mapping[str, str], confinement: Confinement | None = None
) -> dict[str, str]:
    """The environment that the project's code sees: that of the caller, less the deployer's own settings.

    What is confined has an environment of its own. The hash seed is fixed, since the order of a set can reach
    what is serialized.
    """
    kept = {
        name: value
        for name, value in (environ if confinement is None else confinement.environment).items()
        if not name.startswith("FLYTE_DEPLOY_") and name not in _OWN_CREDENTIALS and not SECRETS.is_own(value)
    }
    return {
        **kept,
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
        "DO_NOT_TRACK": "1",
        **({"FLYTE_DEPLOY_VERBOSE": "1"} if environ.get("FLYTE_DEPLOY_VERBOSE") else {}),
    }


def decode(decoder: msgspec.json.Decoder[T], raw: bytes) -> T:
    """A line of the answer.

    Raises:
        DeployError: where it is not what it should be.
    """
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise DeployError(f"the collector's answer is not what it should be: {error}") from None


def _hear(line: Line, watch: Watch, request: Request, listen: Listen) -> None:
    """Tell what the collector tells: nothing of it is longer, or comes more often, than what it was asked."""
    if line.file:
        if line.file not in watch.files:
            raise DeployError("the collector's answer tells of a file that it was not to load")
        watch.file = _relative(line.file, request.root)
    if line.event == "missed":
        for name in sorted(line.missed.keys() & set(request.withheld) - watch.named):
            if len(watch.named) == _NAMED:
                break
            watch.named.add(name)
            listen(
                Progress(
                    "warning",
                    f"{_relative(bounded(line.missed[name], _LONGEST_PLACE), request.root)}: the environment"
                    f" variable {name} is there, but the project's code does not see it unless --pass-env"
                    " names it",
                )
            )
    if line.event == "loaded":
        watch.loaded += 1
        data = {"failed": "yes"} if line.failed else {}
        took = time.monotonic() - watch.since
        listen(Progress("load", watch.file, watch.loaded, len(request.files), took, data))


def took_too_long(process: IsolatedProcess, watch: Watch, root: Path, timeout: float) -> DeployError:
    """The error for a file that was not loaded within `timeout` seconds; the process has been asked where."""
    where = process.where(root) or watch.file
    return DeployError(
        f"loading it took longer than {timeout:g} s" if watch.file else f"nothing came for {timeout:g} s",
        where=where or None,
        mend="Move slow work out of module level into a task, or allow more with --load-timeout SECONDS.",
    )


def ended_early(process: IsolatedProcess, status: int, watch: Watch, root: Path, python: str) -> DeployError:
    """The error for a process that ended without its last word."""
    where = process.where(root) or watch.file
    not_confined = process.not_confined(status)
    if not_confined is not None:
        return not_confined
    if not watch.file:
        return DeployError(
            f"the Python interpreter '{python}' ended before it loaded anything (exit status {status})",
            where="--python",
            mend="Check that it starts: it needs to be Python 3.10 or newer.",
            usage=True,
        )
    if status < 0:
        name = signal.Signals(-status).name
        return DeployError(
            f"loading it crashed the interpreter ({name})",
            where=where,
            mend="An extension module that it imports is the likely cause.",
        )
    return DeployError(
        f"loading it ended the interpreter (exit status {status}, as os._exit does)",
        where=where,
        mend="Keep what ends the process under: if __name__ == '__main__'.",
    )


def explain_failure(
    failure: Failure, root: Path, python: str, files: tuple[tuple[Path, str], ...]
) -> DeployError:
    """Turn a failure of the collector into an error for people."""
    if failure.code == "no-flyte":
        return DeployError(
            "the package 'flyte' is not installed in the project's interpreter",
            where=python,
            mend="Add flyte to the project's dependencies and install them, or name another interpreter"
            " with --python.",
            usage=True,
        )
    if failure.code == "flyte-1":
        return DeployError(
            f"this is no Flyte 2 SDK: {failure.text}",
            where=python,
            mend="Install flyte 2.0 or newer; Flyte 1 projects (flytekit) are deployed with pyflyte.",
            usage=True,
        )
    if failure.code == "no-boundary":
        return DeployError(
            f"the installed Flyte SDK is not one that can be deployed from: {failure.text}",
            where=python,
            mend="Use flyte 2.0 to 2.12.",
        )
    if failure.code == "unknown-names":
        file = _relative(str(files[0][0]), root)
        names = ", ".join(f"'{name}'" for name in failure.unknown)
        return DeployError(
            f"no environment {names} in this file",
            where=file,
            mend=f"It has: {', '.join(failure.names)}." if failure.names else _NO_ENVIRONMENT,
            usage=True,
        )
    load = LoadFailure(file=failure.file, type=failure.type, text=failure.text, frames=failure.frames)
    where, what, details, mend = explain_load_failure(load, root)
    return DeployError(what, where=where or None, details=details, mend=mend)


_NO_ENVIRONMENT = "It defines no flyte.TaskEnvironment."


def explain_load_failure(failure: LoadFailure, root: Path) -> tuple[str, str, tuple[str, ...], str | None]:
    """Where, what, the user's own frames, and how to mend it; what is very long is cut."""
    frames = [
        bounded(
            f"{_relative(frame.file, root)}:{frame.line}"
            + (f" in {frame.function}" if frame.function and frame.function != "<module>" else "")
            + (f": {frame.text}" if frame.text else ""),
            _LONGEST_PLACE,
        )
        for frame in failure.frames[-_MOST_FRAMES:]
    ]
    last = failure.frames[-1] if failure.frames else None
    if last is not None:
        where = f"{_relative(last.file, root)}:{last.line}"
    elif failure.file:
        where = _relative(failure.file, root) + (f":{failure.line}" if failure.line else "")
    else:
        where = ""
    where = bounded(where, _LONGEST_PLACE)
    text = bounded(failure.text.strip(), _LONGEST_TEXT)
    what = f"{failure.type}: {text}" if text else failure.type
    mend: str | None = None
    if failure.exit:
        what = f"it ends the interpreter while it is loaded (sys.exit({text}))"
        mend = "Keep what ends the process under: if __name__ == '__main__'."
    elif failure.missing.partition(".")[0] == "flytekit":
        what = "this is a Flyte 1 project: it imports flytekit"
        mend = (
            "Flyte 1 projects are deployed with pyflyte; the migration to Flyte 2 is described in its docs."
        )
    elif failure.missing:
        mend = (
            f"Add the package that provides '{failure.missing.partition('.')[0]}' to the project's"
            " dependencies, or name the folder that it lies in with --root-dir."
        )
    if failure.task:
        what = f"task '{failure.task}' cannot be serialized: {what}"
    what = bounded(what, 2 * _LONGEST_TEXT)
    return where, what, tuple(frames if len(frames) > 1 else frames[:1]), mend


def load_error(failures: tuple[LoadFailure, ...], root: Path) -> DeployError:
    """One error for all files that did not load."""
    if len(failures) == 1:
        where, what, details, mend = explain_load_failure(failures[0], root)
        return DeployError(what, where=where, details=details, mend=mend)
    lines: list[str] = []
    for failure in failures:
        where, what, details, mend = explain_load_failure(failure, root)
        lines += [f"{where}: {what}", *(f"  {line}" for line in details), *([f"  {mend}"] if mend else [])]
    return DeployError(
        f"{len(failures)} files cannot be loaded",
        details=tuple(lines),
        mend="Mend them, or go on without them with --ignore-load-errors.",
    )


def _relative(path: str, root: Path) -> str:
    for base in (str(root), os.path.realpath(root)):
        if path.startswith(f"{base}{os.sep}"):
            return path[len(base) + 1 :]
    return path
