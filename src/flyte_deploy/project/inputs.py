"""What decides what a way installs: files of the checkout, arguments, variables. Nothing is run."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flyte_deploy.errors import DeployError
from flyte_deploy.project.ways import (
    Way,
    content_of,
    is_package,
    lock_of,
    name_of,
    parsed,
    table,
    text_of,
    texts,
    toml_of,
)

# Up to the last end among the comments that follow, as PEP 723 has it.
_HEADER = re.compile(r"(?m)^# /// script[ \t\r]*\n((?:#(?: .*)?\r?\n)*)# ///[ \t\r]*$")
_LINE = re.compile(r"^\s*(?P<option>--?[a-z][a-z-]*)(?:\s*=\s*|\s+)(?P<value>\S+)")
_NAME_AT = re.compile(r"^\s*[\w.-]+\s*(?:\[[^\]]*\])?\s*@\s*")
_ARCHIVE = re.compile(r"\.(?:whl|zip|tar\.\w+|tgz)$")
_CREDENTIALS = re.compile(r"//[^/@\s]*@")

_REQUIREMENTS = frozenset(
    {"-r", "--requirement", "--requirements"}
    | {"-c", "--constraint", "--constraints"}
    | {"-b", "--build-constraint", "--build-constraints"}
    | {"--override", "--overrides", "--exclude", "--excludes"}
)
_FILE = "--config-file"
_EDITABLE = ("-e", "--editable")
_ELSEWHERE = ("--project", "--directory")
_ALL_MEMBERS = ("--all-packages", "--package")

_VARIABLES = ("UV_", "PIP_")
_FILES_OF_VARIABLES = ("UV_CONSTRAINT", "UV_BUILD_CONSTRAINT", "UV_OVERRIDE", "UV_EXCLUDE", "UV_CONFIG_FILE")
# What builds and tools leave beside the sources.
_MADE = re.compile(r"^\.|^__pycache__$|\.egg-info$")
_LARGEST_READ = 1 << 20
# Where things lie, and who asks: what is installed does not depend on it.
_NO_MATTER = re.compile(r"_CACHE_DIR$|_INSTALL_DIR$|_BIN_DIR$|_CERT$|_PASSWORD$|_USERNAME$|_TOKEN$")


@dataclass
class Inputs:
    """What an environment is made of.

    Args:
        top: the checkout's top folder.
        files: contents by their path below it.
        projects: folders with projects of the checkout that are installed along.
        fresh: whether something is copied out of the checkout by a build of its own: files do not tell then
            what is installed, and the environment has to be made anew.
    """

    top: Path
    files: dict[str, bytes] = field(default_factory=dict)
    projects: dict[Path, None] = field(default_factory=dict)
    fresh: bool = False


def inputs_of(way: Way, arguments: Sequence[str], environment: Mapping[str, str], top: Path) -> Inputs:
    """What decides what a way installs.

    What an index offers is not part of it: an environment is not made anew since a newer release is there.

    Args:
        way: the way.
        arguments: more of them for the installer.
        environment: the variables that it sees.
        top: the checkout's top folder.

    Raises:
        DeployError: where files of the way cannot be read.
    """
    found = Inputs(top)
    _configuration(way.folder, found)
    if way.kind == "requirements":
        _follow(way.file, found)
    elif way.kind == "script":
        _script(way.file, found)
    elif way.kind == "project":
        _project(way.folder, found)
    else:
        _locked(way, arguments, found)
    _arguments(way.folder, arguments, found)
    _variables(way.folder, environment, found)
    return found


def _add(path: Path, found: Inputs) -> bytes:
    name = os.path.relpath(path, found.top)
    if name not in found.files:
        found.files[name] = content_of(path, found.top)
    return found.files[name]


def _configuration(folder: Path, found: Inputs) -> None:
    """uv's settings, which it looks for from its folder upwards."""
    for above in (folder, *folder.parents):
        if not above.is_relative_to(found.top):
            break
        for name in ("uv.toml", ".python-version", ".python-versions"):
            if (above / name).is_file():
                _add(above / name, found)
        try:
            content = toml_of(above / "pyproject.toml", found.top)
        except DeployError:
            # Its way says so, if it is that of one.
            continue
        if said := table(content, "tool", "uv"):
            name = os.path.relpath(above / "pyproject.toml", found.top)
            found.files[f"{name} tool.uv"] = json.dumps(said, sort_keys=True, default=str).encode()


def _follow(file: Path, found: Inputs) -> None:
    """A file of requirements, with all that it includes and the projects that it names."""
    if os.path.relpath(file, found.top) in found.files:
        return
    for line in _add(file, found).decode(errors="replace").splitlines():
        option = _LINE.match(line)
        if option and option["option"] in (*_REQUIREMENTS, *_EDITABLE):
            value = option["value"].strip("\"'")
            if "$" in value:
                # The installer puts variables in.
                found.fresh = True
            elif option["option"] in _EDITABLE:
                _editable(file.parent, value, found)
            else:
                _included(file.parent, value, found)
        elif not line.lstrip().startswith(("-", "#")):
            _requirement(file.parent, line, found)


def _included(folder: Path, name: str, found: Inputs, *, plain: bool = False) -> None:
    path = Path(os.path.normpath(folder / name.removeprefix("file://")))
    if "://" in name.removeprefix("file://") or not path.is_relative_to(found.top):
        # An address, or a file that is not the project's: what it says can change.
        found.fresh = True
    elif plain:
        _add(path, found)
    else:
        _follow(path, found)


def _requirement(folder: Path, text: str, found: Inputs) -> None:
    """A requirement; one that is a folder or a file of the checkout is copied, not linked."""
    where = _NAME_AT.sub("", text.partition(" #")[0]).strip().partition(";")[0].strip()
    path = where.removeprefix("file://").removeprefix("file:").partition("[")[0]
    if "://" in path or not ("/" in path or path in (".", "..") or _ARCHIVE.search(path)):
        return
    found.fresh = True
    _project(Path(os.path.normpath(folder / path)), found)


def _editable(folder: Path, text: str, found: Inputs) -> None:
    path = text.removeprefix("file://").removeprefix("file:").partition("[")[0]
    target = Path(os.path.normpath(folder / path))
    if "://" in path or not target.is_relative_to(found.top):
        found.fresh = True
        return
    _project(target, found)


def _script(file: Path, found: Inputs) -> None:
    header = _HEADER.search(text_of(file, found.top))
    said = "\n".join(line[2:] for line in header[1].splitlines()) if header else ""
    found.files[f"{os.path.relpath(file, found.top)} script"] = said.encode()
    content = parsed(said.encode(), "the header", os.path.relpath(file, found.top))
    for requirement in texts(content.get("dependencies")):
        _requirement(file.parent, requirement, found)
    _sources(file.parent, content, found)
    if lock_of(file).is_file():
        _add(lock_of(file), found)


def _project(folder: Path, found: Inputs, *, locked: bool = False) -> None:
    """A project whose modules stay where they are when it is installed, and those that it names by path."""
    if folder in found.projects or not folder.is_relative_to(found.top) or not folder.is_dir():
        return
    found.projects[folder] = None
    for name in ("pyproject.toml", "setup.py", "setup.cfg", "MANIFEST.in"):
        if (folder / name).is_file():
            _add(folder / name, found)
    content = toml_of(folder / "pyproject.toml", found.top) if (folder / "pyproject.toml").is_file() else {}
    own_way = (folder / "setup.py").is_file()
    if own_way or is_package(content):
        # Which packages there are is written down when a project is installed editable.
        source = folder / "src"
        places = [folder, *([source] if source.is_dir() and not source.is_symlink() else [])]
        listed = sorted(
            entry.name for place in places for entry in os.scandir(place) if not _MADE.search(entry.name)
        )
        found.files[f"{os.path.relpath(folder, found.top)}/*"] = "\n".join(listed).encode()
        _read_by_the_build(folder, content, found, own_way=own_way)
    build = texts(table(content, "build-system").get("requires"))
    for requirement in (*build, *(() if locked else _dependencies(content))):
        _requirement(folder, requirement, found)
    if not locked:
        _sources(folder, content, found)
    elif any(_name(text) in _sources_of(folder, content, found.top) for text in build):
        # The lock does not hold what builds are made with.
        found.fresh = True


def _read_by_the_build(folder: Path, content: Mapping[str, Any], found: Inputs, *, own_way: bool) -> None:
    """Files that metadata are made of."""
    system, project = table(content, "build-system"), table(content, "project")
    backends = texts(system.get("backend-path"))
    # Code of the project's own can read anything; what lies beside it is what it usually reads.
    for name in (*backends, *((".",) if own_way else ())):
        below = Path(os.path.normpath(folder / name))
        if below.is_relative_to(found.top) and below.is_dir():
            for entry in sorted(below.iterdir()):
                if entry.is_file() and not _MADE.search(entry.name) and entry.stat().st_size <= _LARGEST_READ:
                    _beside(entry, found)
    dynamic = texts(project.get("dynamic"))
    if project and not dynamic:
        return
    named = set(_all_texts(content.get("tool")))
    modules = {text.rpartition(".")[0].replace(".", "/") for text in named if re.fullmatch(r"[\w.]+", text)}
    if str(system.get("build-backend")).startswith("flit"):
        modules.add(str(project.get("name")).replace("-", "_"))
    for base in ("", "src/"):
        named |= {f"{base}{module}{end}" for module in modules - {""} for end in (".py", "/__init__.py")}
    for name in sorted(named):
        path = Path(os.path.normpath(folder / name)) if name and "\0" not in name else folder
        if len(name) < 256 and path.is_relative_to(folder) and path.is_file():
            _beside(path, found)


def _beside(path: Path, found: Inputs) -> None:
    try:
        if path.suffix in (".txt", ".in"):
            _follow(path, found)
        else:
            _add(path, found)
    except DeployError:
        # A link that leads out of the checkout: the build may never look at it.
        found.fresh = True


def _dependencies(content: Mapping[str, Any]) -> Iterator[str]:
    project = table(content, "project")
    yield from texts(project.get("dependencies"))
    for groups in (table(project, "optional-dependencies"), table(content, "dependency-groups")):
        for listed in groups.values():
            yield from texts(listed)
    for one in table(content, "tool", "poetry", "dependencies").values():
        # It writes an address with the path into the metadata.
        if isinstance(one, Mapping) and isinstance(one.get("path"), str):
            yield f"./{one['path']}"


def _sources(folder: Path, content: Mapping[str, Any], found: Inputs) -> None:
    for name, sources in _sources_of(folder, content, found.top).items():
        for above, source in sources:
            if isinstance(path := source.get("path"), str):
                if source.get("editable") is not True:
                    found.fresh = True
                _editable(above, path, found)
            elif source.get("workspace") is True:
                for member in _members(above, found.top):
                    if _name(name_of(toml_of(member / "pyproject.toml", found.top))) == name:
                        _project(member, found)


def _sources_of(
    folder: Path, content: Mapping[str, Any], top: Path
) -> dict[str, list[tuple[Path, Mapping[str, Any]]]]:
    """Where in the checkout a project's dependencies lie, with the folder that paths start from."""
    sources: dict[str, list[tuple[Path, Mapping[str, Any]]]] = defaultdict(list)
    tables = [(folder, content)]
    for above in folder.parents:
        if above.is_relative_to(top) and (above / "pyproject.toml").is_file():
            holder = toml_of(above / "pyproject.toml", top)
            if "workspace" in table(holder, "tool", "uv"):
                tables.append((above, holder))
    for place, said in tables:
        for name, source in table(said, "tool", "uv", "sources").items():
            for one in source if isinstance(source, list) else [source]:
                if isinstance(one, Mapping) and ("path" in one or "workspace" in one):
                    sources[_name(name)].append((place, one))
    return sources


def _members(folder: Path, top: Path) -> Iterator[Path]:
    """The projects of the workspace that a folder belongs to."""
    for above in (folder, *folder.parents):
        if not above.is_relative_to(top):
            return
        if not (above / "pyproject.toml").is_file():
            continue
        workspace = table(toml_of(above / "pyproject.toml", top), "tool", "uv", "workspace")
        if workspace:
            yield above
            for pattern in texts(workspace.get("members")):
                if pattern and not pattern.startswith("/"):
                    yield from (path.parent for path in sorted(above.glob(f"{pattern}/pyproject.toml")))
            return


def _locked(way: Way, arguments: Sequence[str], found: Inputs) -> None:
    """What the lock file installs for a project."""
    base = way.file.parent
    _add(way.file, found)
    _add(base / "pyproject.toml", found)
    packages: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    start: list[str] = []
    listed = toml_of(way.file, found.top).get("package")
    for package in listed if isinstance(listed, list) else ():
        if isinstance(package, Mapping):
            packages[str(package.get("name"))].append(package)
            if _place(package, base) == way.folder:
                start.append(str(package.get("name")))
    _project(way.folder, found, locked=True)
    every = any(word.partition("=")[0] in _ALL_MEMBERS for word in arguments)
    pending, seen = (list(packages) if every or not start else start), set[str]()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        for package in packages[name]:
            place = _place(package, base)
            if place is not None:
                _project(place, found, locked=True)
                found.fresh |= "directory" in package["source"]
            needs = [package.get("dependencies")]
            for key in ("optional-dependencies", "dev-dependencies"):
                needs += table(package, key).values()
            for group in needs:
                for need in group if isinstance(group, list) else ():
                    pending.append(str(need.get("name")) if isinstance(need, Mapping) else "")


def _place(package: Mapping[str, Any], base: Path) -> Path | None:
    source = table(package, "source")
    for kind in ("editable", "virtual", "directory"):
        if isinstance(path := source.get(kind), str):
            return Path(os.path.normpath(base / path))
    return None


def _arguments(folder: Path, arguments: Sequence[str], found: Inputs) -> None:
    words = iter(arguments)
    for word in words:
        option, equals, value = word.partition("=")
        if word[:2] in ("-r", "-c", "-b", "-e") and len(word) > 2:
            option, equals, value = word[:2], "=", word[2:].removeprefix("=")
        if option in (*_REQUIREMENTS, _FILE, *_EDITABLE, *_ELSEWHERE):
            value = value if equals else next(words, "")
            if option in _ELSEWHERE:
                found.fresh = True
            elif option in _EDITABLE:
                _editable(folder, value, found)
            else:
                _named(folder, value, found, plain=option == _FILE)
        elif not word.startswith("-"):
            _requirement(folder, word, found)


def _named(folder: Path, name: str, found: Inputs, *, plain: bool) -> None:
    """A file that is named on the command line or in a variable; one that is missing the installer names."""
    try:
        _included(folder, name, found, plain=plain)
    except DeployError:
        if (folder / name).exists():
            raise
        found.fresh = True


def _variables(folder: Path, environment: Mapping[str, str], found: Inputs) -> None:
    for name, value in sorted(environment.items()):
        if name.startswith(_VARIABLES) and not _NO_MATTER.search(name):
            found.files[f"${name}"] = _CREDENTIALS.sub("//", value).encode("utf-8", "surrogateescape")
        if name in _FILES_OF_VARIABLES:
            for word in value.split():
                _named(folder, word, found, plain=name == "UV_CONFIG_FILE")


def _name(text: str) -> str:
    """The normalized name of a requirement's distribution."""
    found = re.match(r"\s*([\w.-]+)", text)
    return re.sub(r"[-_.]+", "-", found[1]).lower() if found else ""


def _all_texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _all_texts(one)
    elif isinstance(value, Iterable):
        for one in value:
            yield from _all_texts(one)
