"""Flyte's ``config.yaml``: where Flyte's SDK finds it, and its values with the lines they stand on.

A value is read as text from the file itself, so that ``project: 0123`` means ``0123``, and is checked when
it is asked for: a file may hold whatever else it likes. An empty value (``project:``, ``project: ""``) counts
as not given, as it does for the SDK.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from flyte_deploy.errors import DeployError
from flyte_deploy.project.git import top_folder

NAME = "config.yaml"
SEARCHED = (
    f"./{NAME}",
    f"./.flyte/{NAME}",
    f"<root of the git checkout>/.flyte/{NAME}",
    "the file named by UCTL_CONFIG",
    "the file named by FLYTECTL_CONFIG",
    f"~/.union/{NAME}",
    f"~/.flyte/{NAME}",
)
"""Where a file is looked for, in this order, when none is named."""


@dataclass(frozen=True)
class Text:
    """A text of the file. `where` is ``config.yaml:12 (task.project)``."""

    value: str
    where: str


@dataclass(frozen=True)
class ConfigFile:
    """A file that was read. Ask it by dotted keys (``task.project``).

    `path` is absolute. `label` is what people see: relative to the working directory where it lies below it.
    `mend` ends every error about the file.
    """

    path: Path
    label: str
    mend: str
    _loader: yaml.SafeLoader
    _root: yaml.Node | None

    def text(self, key: str) -> Text | None:
        """The scalar under `key`, None where there is none.

        Raises:
            DeployError: there is a mapping or a list, or what should hold the key is no mapping.
        """
        node = self._node(key)
        if node is None or _is_null(node):
            return None
        if not isinstance(node, yaml.ScalarNode):
            raise self._error(f"{key} is {_kind(node)}, where a single value is expected", node, key)
        return Text(node.value, self._where(node, key)) if node.value else None

    def texts(self, key: str) -> dict[str, Text]:
        """The mapping of names to scalars under `key`, empty where there is none.

        Raises:
            DeployError: it is no mapping, or one of its values is no scalar.
        """
        node = self._node(key)
        if node is None or _is_null(node):
            return {}
        if not isinstance(node, yaml.MappingNode):
            raise self._error(
                f"{key} is {_kind(node)}, where a mapping of names to values is expected", node, key
            )
        found = {}
        for name, value in self._pairs(node, key):
            if not isinstance(value, yaml.ScalarNode):
                raise self._error(
                    f"{key}.{name} is {_kind(value)}, where a single value is expected", value, key
                )
            if value.value and not _is_null(value):
                found[name] = Text(value.value, self._where(value, f"{key}.{name}"))
        return found

    def items(self, key: str) -> list[Text]:
        """The list of scalars under `key`; a single scalar is a list of one, nothing an empty one.

        Raises:
            DeployError: it is a mapping, or holds anything but scalars.
        """
        node = self._node(key)
        if node is None or _is_null(node):
            return []
        items = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for item in items:
            if not isinstance(item, yaml.ScalarNode):
                raise self._error(f"{key} holds {_kind(item)}, where a list of values is expected", item, key)
        return [Text(item.value, self._where(item, key)) for item in items]

    def is_list(self, key: str) -> bool:
        """Whether there is a list under `key`."""
        return isinstance(self._node(key), yaml.SequenceNode)

    def _node(self, key: str) -> yaml.Node | None:
        node = self._root
        seen: list[str] = []
        for part in key.split("."):
            if node is None or _is_null(node):
                return None
            name = ".".join(seen)
            if not isinstance(node, yaml.MappingNode):
                what = name or "the file"
                raise self._error(f"{what} is {_kind(node)}, where a mapping is expected", node, name)
            node = dict(self._pairs(node, name)).get(part)
            seen.append(part)
        return node

    def _pairs(self, node: yaml.MappingNode, key: str) -> list[tuple[str, yaml.Node]]:
        try:
            # Merge keys (<<) count, as they do for the SDK's parser.
            self._loader.flatten_mapping(node)
        except (yaml.YAMLError, RecursionError) as error:
            raise self._error(f"its merge keys cannot be resolved: {_problem(error)}", node, key) from None
        return [(name.value, value) for name, value in node.value if isinstance(name, yaml.ScalarNode)]

    def _where(self, node: yaml.Node, key: str) -> str:
        line = f"{self.label}:{node.start_mark.line + 1}"
        return f"{line} ({key})" if key else line

    def _error(self, what: str, node: yaml.Node, key: str) -> DeployError:
        return DeployError(
            f"Flyte's configuration file is wrong: {what}",
            where=self._where(node, key),
            mend=self.mend,
            usage=True,
        )


def find(environ: Mapping[str, str], cwd: Path) -> tuple[Path, str] | None:
    """The file that Flyte's SDK would use from `cwd`, and how it was found; None where there is none.

    The path is absolute. A file that an environment variable names is answered whether it exists or not.
    """
    for path in (cwd / NAME, cwd / ".flyte" / NAME):
        if _is_file(path):
            return path, "found in the working directory"
    root = top_folder(cwd)
    if root is not None and _is_file(root / ".flyte" / NAME):
        return root / ".flyte" / NAME, "found in the root of the git checkout"
    for variable in ("UCTL_CONFIG", "FLYTECTL_CONFIG"):
        if environ.get(variable):
            return cwd / environ[variable], f"environment {variable}"
    home = Path(environ.get("HOME") or os.path.expanduser("~"))  # noqa: PTH111 - never raises
    for folder in (".union", ".flyte"):
        path = home / folder / NAME
        if _is_file(path):
            return path, "found in the home directory"
    return None


def load(path: Path, cwd: Path, *, named_by: str = "") -> ConfigFile:
    """Read the file at `path`.

    Args:
        path: absolute, or relative to `cwd`.
        cwd: what paths in messages are relative to.
        named_by: the flag or environment variable that names it, empty where it was found by itself.

    Raises:
        DeployError: it does not exist, cannot be read, or is no YAML; with the line where that is known.
    """
    path = cwd / path
    label = _label(path, cwd)
    mend = (
        f"Correct it, or let {named_by} name another file."
        if named_by
        else 'Correct it, or name Flyte\'s own file with --config if this is not it (--config "" for none).'
    )
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DeployError(
            f"the configuration file {label} does not exist",
            where=named_by or None,
            mend="Name a file that exists, or name none: Flyte's own places are searched then.",
            usage=True,
        ) from None
    except OSError as error:
        raise DeployError(
            f"the configuration file {label} cannot be read: {error.strerror}",
            where=named_by or None,
            mend="Name a file that can be read.",
            usage=True,
        ) from None
    try:
        loader = yaml.SafeLoader(data)
        root = loader.get_single_node()
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        raise DeployError(
            f"the configuration file is not valid YAML: {_problem(error)}",
            where=f"{label}:{mark.line + 1}" if mark else label,
            mend=mend,
            usage=True,
        ) from None
    return ConfigFile(path, label, mend, loader, root)


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 - Path's own raises where a folder above cannot be entered


def _label(path: Path, cwd: Path) -> str:
    return str(path.relative_to(cwd)) if path.is_relative_to(cwd) else str(path)


def _is_null(node: yaml.Node) -> bool:
    return node.tag == "tag:yaml.org,2002:null"


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    return "a list" if isinstance(node, yaml.SequenceNode) else f"the value {node.value!r}"


def _problem(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, yaml.reader.ReaderError):
        return str(error.reason)
    problem = getattr(error, "problem", None) or getattr(error, "context", None)
    return str(problem or error).splitlines()[0]
