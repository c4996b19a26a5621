"""Loading the modules that the user named, under the module names and search path of Flyte's SDK."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

Emit = Callable[[dict[str, Any]], None]

# What the collector needs of the SDK once the files are loaded.
_NEEDED_LATER = (
    "flyte._deploy",
    "flyte.git",
    "flyte.remote._data",
    "flyte.report",
    "flyte._internal.runtime.convert",
    "flyte._internal.runtime.task_serde",
    "flyte._internal.runtime.trigger_serde",
    "flyteidl2.task.task_service_pb2",
)


def load_files(files: list[dict[str, str]], root: str, emit: Emit) -> list[dict[str, Any]]:
    """Import the files, each under its dotted name, and return what failed.

    Args:
        files: ``{"path": absolute path, "module": dotted name}``, in the order of loading. An empty module
            name executes the file under its stem with its folder appended to `sys.path`, as the SDK does for
            a file whose environment is named.
        root: the absolute root; frames of files below it are the user's own.
        emit: told of each file before and after.
    """
    failures: list[dict[str, Any]] = []
    for file in files:
        path, module = file["path"], file["module"]
        emit({"event": "loading", "file": path})
        failure: dict[str, Any] | None = None
        try:
            if module:
                importlib.import_module(module)
            else:
                _execute(path)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a module may raise anything, SystemExit included
            failure = explain(error, path, root)
            failures.append(failure)
        emit({"event": "loaded", "file": path, "failed": failure is not None})
    return failures


def _execute(path: str) -> None:
    name = Path(path).stem
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be loaded as a Python module")
    if _takes_a_name(name, path):
        # The SDK would import it in place of the module that it means.
        for needed in _NEEDED_LATER:
            with suppress(ImportError):
                importlib.import_module(needed)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.append(os.path.dirname(path))
    spec.loader.exec_module(module)


def _takes_a_name(name: str, path: str) -> bool:
    """Whether a file's stem is the name of a module of the standard library, or of an installed one."""
    if name in sys.modules:
        return True
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return False
    return found is not None and (
        not found.origin or os.path.realpath(found.origin) != os.path.realpath(path)
    )


def explain(error: BaseException, path: str, root: str) -> dict[str, Any]:
    """Describe an exception as data: what it is, and the frames of the user's own files, outermost first."""
    frames = []
    inside = os.path.join(root, "")
    for frame in traceback.extract_tb(error.__traceback__):
        name = os.path.abspath(frame.filename)
        # The import system's own frames are called "<frozen …>".
        if name.startswith(inside) and not _installed(name) and not frame.filename.startswith("<"):
            frames.append(
                {"file": name, "line": frame.lineno or 0, "function": frame.name, "text": frame.line or ""}
            )
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        frames.append(
            {
                "file": os.path.abspath(error.filename),
                "line": error.lineno,
                "function": "",
                "text": (error.text or "").strip(),
            }
        )
    try:
        text = str(error.msg if isinstance(error, SyntaxError) else error)
    except Exception:  # an exception's own __str__ may be broken
        text = ""
    cause = error.__cause__
    if cause is not None:
        text += f" ({type(cause).__name__}: {cause})"
    return {
        "file": path,
        "type": type(error).__name__,
        "text": text,
        "missing": (error.name or "") if isinstance(error, ModuleNotFoundError) else "",
        "exit": isinstance(error, SystemExit),
        "frames": frames,
    }


def _installed(path: str) -> bool:
    parts = Path(path).parts
    return "site-packages" in parts or "dist-packages" in parts


def loaded_modules(root: str) -> dict[str, str]:
    """The modules that have a file under the root, less installed ones: absolute path by module name.

    Lazily loading modules are not triggered: their own dictionary is read, not their attributes.
    """
    inside = os.path.join(os.path.realpath(root), "")
    outside = interpreter_folders()
    found: dict[str, str] = {}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == __name__.partition(".")[0]:
            continue
        try:
            file = object.__getattribute__(module, "__dict__").get("__file__")
        except AttributeError:
            continue
        if not isinstance(file, str):
            continue
        real = os.path.realpath(file)
        if real.startswith(inside) and not real.startswith(outside) and not _installed(real):
            found[name] = os.path.abspath(file)
    return found


def interpreter_folders() -> tuple[str, ...]:
    """The folders that belong to the interpreter: nothing below them is the project's own code."""
    import site
    import sysconfig

    folders = {sys.prefix, sys.base_prefix, sys.exec_prefix, site.getusersitepackages()}
    folders.update(site.getsitepackages() if hasattr(site, "getsitepackages") else ())
    folders.update(sysconfig.get_paths().values())
    real = {os.path.join(os.path.realpath(folder), "") for folder in folders if folder}
    # A prefix such as "/usr" or "/" would claim project folders too; the folders of its packages do not.
    return tuple(sorted(folder for folder in real if folder.count(os.sep) > 2))
