"""Environments and tasks as plain data: what a person is shown, and what the deployer decides by.

Descriptions never fail: what cannot be described is left out, since `serialize.py` is what counts.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import sys
from pathlib import Path
from typing import Any

from . import images

# Calls whose result differs from one load to the next, in the default of a parameter.
_VOLATILE = re.compile(
    r"\b(now|utcnow|today|time|time_ns|monotonic|perf_counter|uuid1|uuid4|random|randint|uniform|choice|"
    r"token_hex|token_urlsafe|token_bytes|urandom|getpid|gettempdir|mkdtemp|mkstemp|gethostname|getcwd|cwd)\("
)
_LONGEST_DEFAULT = 4000
"""Longer than anybody is shown: what shortens it for people takes secrets out of it first."""
_ADDRESS = re.compile(r"0x[0-9a-f]{6,16}")
_LONGEST = 2000


class Describer:
    """Describes environments of one run; holds what is looked up once: variables, lines, parsed files."""

    def __init__(self, root: str, declarations: Any, keys: dict[int, int]) -> None:
        self._root = os.path.realpath(root)
        self._declarations = declarations
        self._keys = keys
        self._variables = _variables(set(keys))
        self._trees: dict[str, dict[int, ast.FunctionDef | ast.AsyncFunctionDef]] = {}
        self._files: dict[str, str] = {}
        self._images: dict[int, dict[str, Any]] = {}

    def environment(self, environment: Any, *, selected: bool) -> dict[str, Any]:
        """Describe an environment, without its tasks."""
        import flyte

        file, line = self._declarations.place(environment)
        module, variable = self._variables.get(id(environment), ("", ""))
        kind = "task" if isinstance(environment, flyte.TaskEnvironment) else type(environment).__name__
        return {
            "key": self._keys[id(environment)],
            "name": str(environment.name),
            "kind": kind,
            "selected": selected,
            "variable": variable,
            "module": module,
            "location": self._location(file, line),
            "description": str(environment.description or "")[:_LONGEST],
            "depends_on": [self._keys[id(other)] for other in environment.depends_on],
            "image": self._image(environment.image),
            "include": [str(entry) for entry in getattr(environment, "include", ()) or ()],
            "declared_in": file,
        }

    def _image(self, value: Any) -> dict[str, Any]:
        described: dict[str, Any] = image(value)
        if described["kind"] != "build":
            return described
        if id(value) not in self._images:
            try:
                self._images[id(value)] = {"source": images.source(value, self._root)}
            except Exception as error:  # told where the image is to be built, and only there
                kind = "" if isinstance(error, images.ImageError) else f"{type(error).__name__}: "
                self._images[id(value)] = {"problem": f"{kind}{error}"[:_LONGEST]}
        return {**described, **self._images[id(value)]}

    def task(self, task: Any, environment: Any) -> dict[str, Any]:
        """Describe a task; `request` is added by the caller."""
        code = getattr(getattr(task, "func", None), "__code__", None)
        location = self._location(code.co_filename, code.co_firstlineno) if code else None
        native: Any = getattr(task, "native_interface", None) or getattr(task, "interface", None)
        return {
            "name": str(task.name),
            "short_name": str(task.short_name),
            "environment": str(environment.name),
            "location": location,
            "kind": _kind(task),
            "parameters": _safely(lambda: [_parameter(*item) for item in native.inputs.items()], []),
            "outputs": _safely(
                lambda: [{"name": n, "type": type_text(t)} for n, t in native.outputs.items()], []
            ),
            "resources": _safely(lambda: resources(task.resources), {}),
            "cache": _safely(lambda: _cache(task.cache), "disable"),
            "retries": _safely(lambda: int(getattr(task.retries, "count", task.retries) or 0), 0),
            "timeout": _safely(lambda: _timeout(task.timeout), 0.0),
            "secrets": _safely(lambda: _secrets(task.secrets), []),
            "triggers": [_trigger(trigger) for trigger in getattr(task, "triggers", ()) or ()],
            "reuse": _safely(lambda: _reuse(task.reusable), ""),
            "documentation": _safely(lambda: str(native.docstring.short_description or "")[:_LONGEST], ""),
            "volatile": _safely(lambda: self._volatile(code), []) if code else [],
        }

    def place(self, task: Any) -> tuple[str, int]:
        """The absolute file and line of a task's function, ``("", 0)`` where it has none."""
        code = getattr(getattr(task, "func", None), "__code__", None)
        return (code.co_filename, code.co_firstlineno) if code else ("", 0)

    def _location(self, file: str, line: int) -> dict[str, Any] | None:
        if not file:
            return None
        if file not in self._files:
            real = os.path.realpath(file)
            inside = real.startswith(os.path.join(self._root, ""))
            self._files[file] = os.path.relpath(real, self._root) if inside else real
        return {"file": self._files[file], "line": line}

    def _volatile(self, code: Any) -> list[str]:
        function = self._functions(code.co_filename).get(code.co_firstlineno)
        if function is None:
            return []
        arguments = function.args
        positional = [*arguments.posonlyargs, *arguments.args]
        pairs: list[tuple[ast.arg, ast.expr | None]] = [
            *zip(positional[len(positional) - len(arguments.defaults) :], arguments.defaults),  # noqa: B905
            *zip(arguments.kwonlyargs, arguments.kw_defaults),  # noqa: B905
        ]
        return [
            argument.arg
            for argument, default in pairs
            if default is not None and _VOLATILE.search(ast.unparse(default))
        ]

    def _functions(self, path: str) -> dict[int, ast.FunctionDef | ast.AsyncFunctionDef]:
        if path not in self._trees:
            found: dict[int, ast.FunctionDef | ast.AsyncFunctionDef] = {}
            try:
                source = Path(path).read_text(encoding="utf-8")
                # Parsing is what costs: a file that calls none of these needs none.
                tree = ast.parse(source) if _VOLATILE.search(source) else ast.Module([], [])
            except (OSError, SyntaxError, ValueError):
                tree = ast.Module([], [])
            for node in ast.walk(tree):
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    first = node.decorator_list[0].lineno if node.decorator_list else node.lineno
                    found[first] = node
            self._trees[path] = found
        return self._trees[path]


def _variables(wanted: set[int]) -> dict[int, tuple[str, str]]:
    """Module and variable of each environment. The module that declares it wins over those that import it."""
    import flyte

    found: dict[int, tuple[str, str]] = {}
    cls = flyte.Environment
    for module_name, module in list(sys.modules.items()):
        try:
            names = object.__getattribute__(module, "__dict__")
        except AttributeError:
            continue
        for variable, value in list(names.items()):
            if id(value) in wanted and isinstance(value, cls) and id(value) not in found:
                found[id(value)] = (module_name, variable)
    return found


def image(value: Any) -> dict[str, str]:
    """Describe an environment's image: see `flyte_deploy.model.Image`."""
    import flyte

    if value is None:
        return {"kind": "none"}
    if value == "auto":
        return {"kind": "default", "uri": _safely(lambda: str(flyte.Image.from_debian_base().uri), "")}
    if isinstance(value, str):
        return {"kind": "text", "uri": value}
    name = str(getattr(value, "name", None) or "")
    if images.to_build(value):
        # Its address is ours to give: the SDK would hash all its files for one.
        return {"kind": "build", "name": name}
    reference = getattr(value, "_ref_name", None)
    if reference is not None:
        return {"kind": "named", "name": str(reference)}
    return {"kind": "prebuilt", "uri": _safely(lambda: str(value.uri), ""), "name": name}


def type_text(annotation: Any) -> str:
    """A type as one would write it."""
    text = inspect.formatannotation(annotation) if annotation is not inspect.Parameter.empty else "Any"
    return _ADDRESS.sub("0x…", text.replace("typing.", ""))[:_LONGEST]


def _parameter(name: str, value: tuple[Any, Any]) -> dict[str, Any]:
    annotation, default = value
    described: dict[str, Any] = {"name": name, "type": type_text(annotation)}
    if default is not inspect.Parameter.empty:
        described["default"] = _ADDRESS.sub("0x…", _safely(lambda: repr(default), "…"))[:_LONGEST_DEFAULT]
    return described


def resources(value: Any) -> dict[str, str]:
    """Resources by their name in Flyte's notation; a request and a limit as ``1-2``."""
    found = {}
    for attribute, name in (
        ("cpu", "cpu"),
        ("memory", "memory"),
        ("gpu", "gpu"),
        ("disk", "disk"),
        ("shm", "shm"),
    ):
        amount = getattr(value, attribute, None) if value is not None else None
        if amount is None:
            continue
        if isinstance(amount, (tuple, list)):
            found[name] = "-".join(str(part) for part in amount)
        elif isinstance(amount, (str, int, float)):
            found[name] = str(amount)
        else:
            kind = getattr(amount, "device", None) or type(amount).__name__
            found[name] = f"{kind}:{getattr(amount, 'quantity', 1)}"
    return found


def _kind(task: Any) -> str:
    names = [cls.__name__ for cls in type(task).__mro__]
    if names[0] == "AsyncFunctionTaskTemplate":
        return "python"
    if "ContainerTask" in names:
        return "container"
    return str(getattr(task, "task_type", "") or names[0])


def _cache(value: Any) -> str:
    behavior = str(getattr(value, "behavior", value) or "disable")
    override = getattr(value, "version_override", None)
    return f"{behavior} {override}" if override else behavior


def _timeout(value: Any) -> float:
    inner = getattr(value, "max_runtime", value)
    if inner is None:
        return 0.0
    return float(inner.total_seconds() if hasattr(inner, "total_seconds") else inner)


def _secrets(value: Any) -> list[str]:
    if not value:
        return []
    entries = value if isinstance(value, (list, tuple)) else [value]
    return [
        entry
        if isinstance(entry, str)
        else "/".join(p for p in (getattr(entry, "group", None), entry.key) if p)
        for entry in entries
    ]


def _trigger(trigger: Any) -> dict[str, Any]:
    automation = getattr(trigger, "automation", None)
    schedule = ""
    if automation is not None:
        expression = getattr(automation, "expression", None)
        minutes = getattr(automation, "interval_minutes", None)
        if expression:
            zone = getattr(automation, "timezone", "") or ""
            schedule = f"{expression} {zone}".strip()
        elif minutes:
            schedule = f"every {minutes} minutes"
        else:
            schedule = type(automation).__name__
    return {
        "name": str(trigger.name),
        "schedule": schedule,
        "active": bool(getattr(trigger, "auto_activate", True)),
    }


def _reuse(policy: Any) -> str:
    if policy is None or policy == "off":
        return ""
    low, high = getattr(policy, "min_replicas", 1), getattr(policy, "max_replicas", 1)
    replicas = str(low) if low == high else f"{low}-{high}"
    return f"replicas {replicas}, concurrency {getattr(policy, 'concurrency', 1)}"


def _safely(make: Any, otherwise: Any) -> Any:
    try:
        return make()
    except Exception:
        return otherwise
