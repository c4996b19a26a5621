"""The order of events inside the collector, from the request to the answer."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import json
import os
import signal
import sys
from base64 import b64encode
from typing import Any

from . import PROTOCOL, describe, images, load, lookups, sdk, serialize
from .capture import Capture
from .imports import lazy_modules


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

    status = 0
    missed = lookups.watch(request["withheld"], request["root"])

    def emit_all(document: dict[str, Any]) -> None:
        if missed and ("answer" in document or "failure" in document):
            emit({"event": "missed", "missed": missed})
        emit(document)

    try:
        collect(request, emit_all)
    except sdk.UnusableError as error:
        emit_all({"failure": {"code": error.code, "text": error.text}})
    except BaseException as error:  # the parent turns it into words
        emit_all({"failure": {"code": "crash", **load.explain(error, "", request["root"])}})
        if os.environ.get("FLYTE_DEPLOY_VERBOSE"):
            import traceback

            traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    answer.flush()
    os._exit(status)


def collect(request: dict[str, Any], emit: load.Emit) -> None:
    """Load, describe and serialize what the request names, in a process of its own."""
    # Import and translation make many objects and little garbage: collecting them on the way costs a third.
    gc.disable()
    version = sdk.sdk_version()
    sdk.initialize(request)
    declarations = sdk.Declarations()
    declarations.watch()
    before = len(sdk.registry())
    failures = load.load_files(request["files"], request["root"], emit)
    if failures and not request["ignore_load_errors"]:
        emit({"answer": _answer(request, version, failures=failures)})
        return
    found = sdk.registry()[before:]
    selected, unknown = _select(request, found)
    if unknown:
        emit({"failure": {"code": "unknown-names", "text": "", "unknown": unknown, "names": _names(request)}})
        return
    emit({"event": "serializing"})
    emit({"answer": finish(request, version, selected, found, declarations, failures, emit)})


def finish(
    request: dict[str, Any],
    version: str,
    selected: list[Any],
    found: list[Any],
    declarations: sdk.Declarations,
    failures: list[dict[str, Any]],
    emit: load.Emit,
) -> dict[str, Any]:
    """Describe and serialize what was found, and return the answer; environments are emitted on the way."""
    loaded = load.loaded_modules(request["root"])
    modules: list[str] = []
    lazy: dict[str, str] = {}
    # With copy style none, images may hold them.
    baked = request["copy_style"] == "none" and any(
        images.wants_modules(getattr(environment, "image", None)) for environment in _closure(selected)
    )
    if baked or request["copy_style"] == "loaded_modules":
        modules = sorted(set(loaded.values()))
        lazy = lazy_modules(loaded, request["root"])
    report = describe_and_serialize(
        request, selected=selected, found=found, declarations=declarations, emit=emit
    )
    return _answer(request, version, failures=failures, modules=modules, names=loaded, lazy=lazy, **report)


def describe_and_serialize(
    request: dict[str, Any], *, selected: list[Any], found: list[Any], declarations: Any, emit: load.Emit
) -> dict[str, Any]:
    """Describe every environment of `found`, serialize the tasks of those that `selected` reaches.

    Environments are emitted one by one (``{"environment": …}``), so that ten thousand serialized tasks never
    stand in memory at once.
    """
    closure = _closure(selected)
    reached = {id(environment) for environment in closure}
    everything = [*closure, *(environment for environment in found if id(environment) not in reached)]
    keys = {id(environment): key for key, environment in enumerate(everything)}
    for environment in everything:
        for other in environment.depends_on:
            if id(other) not in keys:
                keys[id(other)] = len(keys)
                everything.append(other)
    describer = describe.Describer(request["root"], declarations, keys)
    tasks_of = [e for e in closure if hasattr(e, "tasks")]
    serialized_ids = {id(environment) for environment in tasks_of}
    with_bundle = request["copy_style"] != "none" or any(getattr(e, "include", ()) for e in closure)
    serializer = serialize.Serializer(
        request["root"],
        tasks_of,
        with_bundle=with_bundle,
        sync_local_sys_paths=request["sync_local_sys_paths"],
    )
    selected_ids = {id(environment) for environment in selected}
    problems: list[dict[str, Any]] = []

    async def run() -> None:
        for environment in everything:
            described = describer.environment(environment, selected=id(environment) in selected_ids)
            described["tasks"] = []
            if id(environment) in serialized_ids:
                for task in environment.tasks.values():
                    one = describer.task(task, environment)
                    try:
                        one["request"] = b64encode(await serializer.request(task)).decode()
                    except Exception as error:
                        file, line = describer.place(task)
                        problems.append(
                            {
                                "task": one["name"],
                                "line": line,
                                **load.explain(error, file, request["root"]),
                            }
                        )
                    described["tasks"].append(one)
            emit({"environment": described})

    capture = Capture(request["captures"])
    with serialize.without_git(), capture.instead_of_uploading():
        asyncio.run(run())
    return {
        "problems": problems,
        "image_cache": serializer.image_cache,
        "with_bundle": with_bundle,
        "captured": capture.captured,
    }


def _closure(selected: list[Any]) -> list[Any]:
    """What the selected environments reach, each once; a cycle ends here and is reported by the deployer."""
    seen: set[int] = set()
    order: list[Any] = []
    stack = list(reversed(selected))
    while stack:
        environment = stack.pop()
        if id(environment) in seen:
            continue
        seen.add(id(environment))
        order.append(environment)
        stack.extend(reversed(environment.depends_on))
    return order


def _select(request: dict[str, Any], found: list[Any]) -> tuple[list[Any], list[str]]:
    """The environments that the request asks for, and the names that are none."""
    if not request["names"]:
        return list(found), []
    here = _environments_of_file(request)
    selected: list[Any] = []
    unknown: list[str] = []
    for name in request["names"]:
        matches = [here[name]] if name in here else [e for e in here.values() if e.name == name]
        if len({id(e) for e in matches}) != 1:
            unknown.append(name)
        elif all(e is not matches[0] for e in selected):
            selected.append(matches[0])
    return selected, unknown


def _environments_of_file(request: dict[str, Any]) -> dict[str, Any]:
    from pathlib import Path

    module = sys.modules.get(Path(request["files"][0]["path"]).stem)
    cls = sdk.environment_class()
    return {name: value for name, value in vars(module).items() if isinstance(value, cls)} if module else {}


def _names(request: dict[str, Any]) -> list[str]:
    return [f"{variable} ({e.name})" for variable, e in _environments_of_file(request).items()]


def _answer(request: dict[str, Any], version: str, **more: Any) -> dict[str, Any]:
    return {
        "protocol": PROTOCOL,
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "executable": sys.executable,
        "sdk": version,
        "interpreter_folders": list(load.interpreter_folders()),
        "path": [entry for entry in sys.path if entry],
        "copy_style": request["copy_style"],
        **more,
    }
