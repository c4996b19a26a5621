"""Loading tasks from a bundle's files alone, as the task container will: an entry point beside `main`.

It is started and answers as the package's docstring says, in a folder that holds the bundle's files and
nothing else. Its request holds what `sdk.initialize` reads, with that folder as ``root``, and

* ``checkout``: the folder that the files come from; nothing is imported from below it,
* ``paths``: the task container's ``_F_SYS_PATH``,
* ``tasks``: of each its ``name``, its ``resolver`` and that one's ``arguments``, out of its request.

It writes ``{"loading": n}`` before the nth task; ``{"problem": {"task": n, …}}`` for each that is not found
(decoded as `flyte_deploy.verify.Problem`), and at last ``{"done": true, "escaped": {…}}``, or
``{"crash": {…}}`` where it cannot go on.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import importlib.util
import json
import os
import re
import signal
import sys
from collections.abc import Iterable
from importlib.machinery import BuiltinImporter, FrozenImporter, ModuleSpec
from typing import Any

from . import load, sdk

_DEFAULT_RESOLVER = "flyte._internal.resolvers.default.DefaultTaskResolver"
_CANNOT_IMPORT = re.compile(r"cannot import name '(\w+)' from ")
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


def main(arguments: list[str]) -> None:
    """Serve one request and leave at once: threads that user code started are not waited for."""
    request_fd, answer_fd = int(arguments[0]), int(arguments[1])
    os.set_inheritable(answer_fd, False)
    with os.fdopen(request_fd, "rb") as stream:
        request = json.loads(stream.read())
    answer = os.fdopen(answer_fd, "wb", buffering=1 << 16)
    # A hanging module is asked where it hangs before it is ended.
    faulthandler.register(signal.SIGUSR1, all_threads=False)

    def emit(document: dict[str, Any]) -> None:
        answer.write(json.dumps(document, ensure_ascii=True).encode() + b"\n")
        answer.flush()

    try:
        load_tasks(request, emit)
    except BaseException as error:  # the parent turns it into words
        emit({"crash": load.explain(error, "", request["root"])})
    for output in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # user code may have closed it
            output.flush()
    os._exit(0)


def load_tasks(request: dict[str, Any], emit: load.Emit) -> None:
    """Load every task of the request, each module once, and tell what is not that task."""
    # As while collecting: imports make many objects and little garbage.
    gc.disable()
    fence = Fence(request["checkout"], [request["root"], os.path.dirname(__file__), *_installed_folders()])
    fence.put_up(request["root"])
    import flyte  # noqa: F401  before the bundle is on the path, as in the container

    os.environ.pop("_F_SYS_PATH", None)
    if request["paths"]:
        os.environ["_F_SYS_PATH"] = request["paths"]
    sys.path.insert(0, ".")
    sdk.initialize(request)
    from flyte._utils import adjust_sys_path

    adjust_sys_path()
    loader = _Loader()
    for number, task in enumerate(request["tasks"]):
        emit({"loading": number})
        problem = loader.problem(task, request["root"], fence)
        if problem is not None:
            emit({"problem": {"task": number, **problem}})
    emit({"done": True, "escaped": fence.loaded()})


def _installed_folders() -> list[str]:
    """Folders that the task container's image has, wherever they lie here."""
    folders = list(load.interpreter_folders())
    # The SDK may be installed from a checkout of its own. Looking for it imports nothing.
    spec = importlib.util.find_spec("flyte")
    if spec is not None and spec.origin:
        folders.append(os.path.dirname(spec.origin))
    return folders


class Fence:
    """Keeps modules out that lie in the checkout, whoever leads there.

    Args:
        checkout: the folder to keep out of.
        allowed: folders that stay reachable though they lie in it.
    """

    def __init__(self, checkout: str, allowed: Iterable[str]) -> None:
        self._checkout = os.path.join(os.path.realpath(checkout), "")
        folders = (os.path.join(os.path.realpath(folder), "") for folder in allowed)
        # One that holds the checkout allows nothing in it.
        self._allowed = tuple(folder for folder in folders if len(folder) > len(self._checkout))
        self._known: dict[str, bool] = {}
        self.refused: dict[str, str] = {}
        """The file or folder of each module that was refused, by its name."""

    def put_up(self, bundle: str) -> None:
        """Close the ways that are open by now: search path, finders, modules loaded at start.

        Entries of the search path that lead into the bundle go as well (a relative ``PYTHONPATH``): the
        container has only those that it makes.
        """
        inside = os.path.join(bundle, "")
        sys.path[:] = [
            entry
            for entry in sys.path
            if not self.hides(entry) and not os.path.join(os.path.realpath(entry), "").startswith(inside)
        ]
        sys.meta_path[:] = [
            finder if finder in (BuiltinImporter, FrozenImporter) else _Fenced(finder, self)
            for finder in sys.meta_path
        ]
        for name in self.loaded():
            del sys.modules[name]

    def hides(self, folder: str) -> bool:
        """Whether a folder is kept out."""
        if not os.path.isabs(folder):
            return self._hides(folder)
        hidden = self._known.get(folder)
        if hidden is None:
            hidden = self._known[folder] = self._hides(folder)
        return hidden

    def _hides(self, path: str) -> bool:
        real = os.path.join(os.path.realpath(path), "")
        if not real.startswith(self._checkout) or real.startswith(self._allowed):
            return False
        below = real[len(self._checkout) - 1 :]
        return not any(name in below for name in _INSTALLED)

    def _hides_file(self, path: str) -> bool:
        return self.hides(os.path.dirname(path)) or (os.path.islink(path) and self._hides(path))

    def refuses(self, spec: ModuleSpec) -> bool:
        """Whether a module is kept out; of a namespace package those parts are that lie in the checkout."""
        if spec.has_location and spec.origin:
            if not self._hides_file(spec.origin):
                return False
            self.refused.setdefault(spec.name, spec.origin)
            return True
        folders = list(spec.submodule_search_locations or ())
        kept = [folder for folder in folders if not self.hides(folder)]
        if len(kept) == len(folders):
            return False
        if kept:
            spec.submodule_search_locations = kept
            return False
        self.refused.setdefault(spec.name, folders[0])
        return True

    def loaded(self) -> dict[str, str]:
        """The files of modules that are loaded although they lie in the checkout, by name."""
        found: dict[str, str] = {}
        for name, module in list(sys.modules.items()):
            try:
                file = object.__getattribute__(module, "__dict__").get("__file__")
            except AttributeError:
                continue
            if isinstance(file, str) and self._hides_file(file):
                found[name] = file
        return found


class _Fenced:
    """A finder of `sys.meta_path`, less what the fence refuses. In all else it is that finder."""

    def __init__(self, finder: Any, fence: Fence) -> None:
        self._finder = finder
        self._fence = fence

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        find = getattr(self._finder, "find_spec", None)
        spec: ModuleSpec | None = find(fullname, path, target) if find else None
        if spec is None or not self._fence.refuses(spec):
            return spec
        # What was refused may stand before another of that name.
        rest = [entry for entry in (sys.path if path is None else path) if not self._fence.hides(str(entry))]
        spec = find(fullname, rest, target) if find else None
        return None if spec is None or self._fence.refuses(spec) else spec

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)

    def __eq__(self, other: object) -> bool:
        # Those who look for a finder of theirs in `sys.meta_path` find it.
        return other is self or other is self._finder

    def __hash__(self) -> int:
        return hash(self._finder)


class _Loader:
    """Loads tasks by their loader arguments, as the SDK's `load_task`."""

    def __init__(self) -> None:
        from flyte._task import TaskTemplate

        self._task_class = TaskTemplate
        self._resolvers: dict[str, Any] = {}
        self._failed: dict[str, dict[str, Any]] = {}

    def problem(self, task: dict[str, Any], root: str, fence: Fence) -> dict[str, Any] | None:
        """What is wrong, None where exactly that task is found."""
        module = _module_of(task)
        if module in self._failed:
            # Python would execute it once more.
            return self._failed[module]
        try:
            if module:
                importlib.import_module(module)
        except BaseException as error:  # a module may raise anything, SystemExit included
            self._failed[module] = explained(error, root, fence)
            return self._failed[module]
        try:
            found = self._resolver(task["resolver"]).load_task(tuple(task["arguments"]))
        except BaseException as error:
            return explained(error, root, fence)
        if isinstance(found, self._task_class) and found.name == task["name"]:
            return None
        if isinstance(found, self._task_class):
            return {"found": f"task '{found.name}'"}
        return {"found": f"no task but a {type(found).__name__}"}

    def _resolver(self, path: str) -> Any:
        if path not in self._resolvers:
            module, _, name = path.rpartition(".")
            self._resolvers[path] = getattr(importlib.import_module(module), name)()
        return self._resolvers[path]


def _module_of(task: dict[str, Any]) -> str:
    """The module that the SDK's own resolver loads a task from; nothing for other resolvers."""
    arguments = task["arguments"]
    return arguments[1] if task["resolver"] == _DEFAULT_RESOLVER and len(arguments) >= 4 else ""


def explained(error: BaseException, root: str, fence: Fence) -> dict[str, Any]:
    """A failure as data: with the module or file that is missing, where that is what it comes from."""
    needed = _needed(error)
    failure = load.explain(error, "", root)
    if needed is not error:
        failure["frames"] = load.explain(needed, "", root)["frames"] or failure["frames"]
    missing, path = "", ""
    if isinstance(needed, ModuleNotFoundError):
        missing = needed.name or ""
    elif isinstance(needed, ImportError):
        match = _CANNOT_IMPORT.match(str(needed.msg))
        missing = f"{needed.name}.{match[1]}" if match and needed.name else ""
    elif isinstance(needed, OSError):
        path = os.fsdecode(needed.filename) if isinstance(needed.filename, (str, bytes)) else ""
    failure["missing"] = missing
    return {"failure": failure, "path": path, "hidden": fence.refused.get(missing, "")}


def _needed(error: BaseException) -> BaseException:
    """The outermost error of a chain that says what is missing, else the error itself."""
    current: BaseException | None = error
    seen: set[int] = set()
    while current is not None and id(current) not in seen:
        if isinstance(current, (ImportError, FileNotFoundError, NotADirectoryError)):
            return current
        seen.add(id(current))
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return error
