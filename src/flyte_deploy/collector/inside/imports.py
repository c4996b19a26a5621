"""Modules that loaded modules would import later: inside functions, under conditions, by literal name.

They are found by reading the source, never by executing it. Only the project's own files below the root
count, and only where an import names them.
"""

from __future__ import annotations

import ast
import os
import re
import sys
from collections import deque
from pathlib import Path

# A module all of whose imports stand at the left margin has executed them all: it need not be parsed. That
# is nearly every module of a large project, and parsing is what would cost.
_LATER = re.compile(
    rb"^[ \t]+(?:import|from)[ \t]|^[^#\n]*[;:][ \t]*(?:import|from)[ \t]|import_module|__import__", re.M
)


def lazy_modules(loaded: dict[str, str], root: str) -> dict[str, str]:
    """Find what the loaded modules import lazily, and what those import in turn.

    Args:
        loaded: absolute path by module name, of the project's modules that are loaded.
        root: the absolute root.

    Returns:
        For each file found the place of the import that explains it, as ``path:line``.
    """
    resolver = _Resolver(root)
    known = {os.path.realpath(path) for path in loaded.values()}
    explained: dict[str, str] = {}
    queue: deque[tuple[str, str, bool]] = deque((name, path, True) for name, path in loaded.items())
    while queue:
        name, path, executed = queue.popleft()
        if not path.endswith(".py"):
            continue
        try:
            source = Path(path).read_bytes()
            if executed and not _LATER.search(source):
                continue
            tree = ast.parse(source, path)
        except (OSError, SyntaxError, ValueError, RecursionError):
            continue
        package = name if os.path.basename(path) == "__init__.py" else name.rpartition(".")[0]
        for module, line in _imported_names(tree, package):
            for found_name, found in resolver.files(module, os.path.dirname(path)):
                real = os.path.realpath(found)
                if real in known:
                    continue
                known.add(real)
                explained[found] = f"{path}:{line}"
                queue.append((found_name, found, False))
    return explained


def _imported_names(tree: ast.AST, package: str) -> list[tuple[str, int]]:
    """Dotted names that the source imports, with their lines; ``from a import b`` gives ``a`` and ``a.b``."""
    names: list[tuple[str, int]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node.module or "", node.level, package)
            if base is None:
                continue
            if base:
                names.append((base, node.lineno))
            names += [
                (f"{base}.{alias.name}" if base else alias.name, node.lineno)
                for alias in node.names
                if alias.name != "*"
            ]
        elif isinstance(node, ast.Call) and node.args:
            called = node.func
            function = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            first = node.args[0]
            if (
                function in ("import_module", "__import__")
                and isinstance(first, ast.Constant)
                and isinstance(first.value, str)
            ):
                stripped = first.value.lstrip(".")
                base = _absolute(stripped, len(first.value) - len(stripped), package)
                if base:
                    names.append((base, node.lineno))
    return names


def _absolute(module: str, level: int, package: str) -> str | None:
    if level == 0:
        return module
    parts = package.split(".") if package else []
    if level - 1 > len(parts):
        return None
    base = parts[: len(parts) - (level - 1)]
    return ".".join([*base, module] if module else base)


class _Resolver:
    """Finds the project's file of a dotted name along `sys.path`, without importing anything."""

    def __init__(self, root: str) -> None:
        from .load import interpreter_folders

        inside = os.path.join(os.path.realpath(root), "")
        outside = interpreter_folders()
        self._folders: list[str] = []
        for entry in sys.path:
            folder = os.path.join(os.path.realpath(entry or os.getcwd()), "")
            if folder.startswith(inside) and not folder.startswith(outside) and folder not in self._folders:
                self._folders.append(folder)

    def files(self, dotted: str, beside: str) -> list[tuple[str, str]]:
        """The files that importing the name would execute: its own and those of its packages.

        `beside` is the folder of the importing file: a script's own folder is on the path when it runs.
        """
        parts = dotted.split(".")
        if not all(part.isidentifier() for part in parts):
            return []
        for folder in [*self._folders, os.path.join(beside, "")]:
            found: list[tuple[str, str]] = []
            current = folder
            for depth, part in enumerate(parts):
                name = ".".join(parts[: depth + 1])
                package = os.path.join(current, part, "__init__.py")
                module = os.path.join(current, f"{part}.py")
                if os.path.isfile(package):
                    found.append((name, package))
                elif os.path.isfile(module):
                    found.append((name, module))
                    if depth + 1 < len(parts):
                        break
                elif not os.path.isdir(os.path.join(current, part)):
                    if depth == 0:
                        found = []
                    break
                current = os.path.join(current, part)
            if found:
                return found
        return []
