"""Making the interpreter that the project's code runs in, with what the project says that it needs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flyte_deploy.errors import DeployError
from flyte_deploy.isolation.confinement import Confinement
from flyte_deploy.project import scm
from flyte_deploy.project.environments import Installed, alone, keep, key_of, take
from flyte_deploy.project.inputs import inputs_of
from flyte_deploy.project.steps import Finished, run_step
from flyte_deploy.project.ways import Way, find_way, lock_of, name_of, toml_of

WAYS = (
    "uv.lock (uv sync --locked)",
    "pyproject.toml with [project]",
    "requirements.txt",
    "a '# /// script' header in the file itself (PEP 723)",
)
"""The four ways in which a project can say what it needs."""

_SHOWN = 15
_MISSING_PYTHON = re.compile(
    r"No interpreter found for|No download found for|not a valid Python|Invalid version request"
    r"|Failed to download .*python|No available download|is not a valid interpreter"
    r"|Failed to inspect Python interpreter",
    re.IGNORECASE,
)
_OF_NO_INTEREST = re.compile(r"Using (CPython|PyPy|Python) |Creating virtual environment at|Activate with")
_MISMATCH = re.compile(r"needs to be updated|lockfile .*(outdated|out of date)", re.IGNORECASE)


@dataclass(frozen=True)
class Wanted:
    """What is to be installed, and where.

    Args:
        install: ``auto``, ``uv``, ``requirements`` or ``script``.
        arguments: more of them for the installer, as a shell reads them.
        python: a version of Python, or the path of one; empty for what the project says.
        start: the folder of the code.
        scripts: the files that were named.
        top: the checkout's top folder.
        environments: the folder for environments.
        caches: folders that outlive the machine, from which they are taken; kept in the last one.
        environment: the variables that the installer sees.
        version: what builds are told that take their version from git, where they cannot ask it.
        commit: tells such builds' projects from those of another state, where they can.
        confinement: None where it is installed as the user that runs this.
    """

    install: str
    arguments: str
    python: str
    start: Path
    scripts: tuple[Path, ...]
    top: Path
    environments: Path
    environment: Mapping[str, str]
    caches: tuple[Path, ...] = ()
    version: str = ""
    commit: str = ""
    confinement: Confinement | None = None


def install(wanted: Wanted, say: Callable[[str], None]) -> Installed | None:
    """Install what a project needs, where that is not there yet; None where it does not say what.

    Args:
        wanted: what and where.
        say: told of what is done, in words.

    Raises:
        DeployError: everything that is wrong with the project's files, its dependencies or its Python.
    """
    arguments = _split(wanted.arguments)
    named = _named_requirements(arguments, wanted) if wanted.install == "requirements" else None
    if named is not None:
        way: Way | None = Way("requirements", named[0], named[0].parent)
        arguments = named[1]
    else:
        way = find_way(wanted.install, wanted.start, wanted.scripts, wanted.top)
    if way is None:
        if wanted.install != "auto":
            raise _no_way(wanted)
        return None
    uv = _uv(wanted)
    python = _find_python(uv, way, wanted)
    where = str(way.folder)
    inputs = inputs_of(way, arguments, _environment(wanted, wanted.environments / "none"), wanted.top)
    asking = scm.asking_git(inputs.projects, wanted.top)
    words = (way.kind, where, python.text, python.state, *arguments)
    if asking:
        # Installed metadata hold the version: with each of them it is another environment.
        words += (wanted.version, wanted.commit)
    # What cannot be known is made anew each time, in one place for each project.
    fresh = inputs.fresh
    key = f"fresh-{key_of((), where)}" if fresh else key_of(sorted(inputs.files.items()), *words)
    installed = Installed(wanted.environments / key)
    with alone(installed.folder):
        shown = way.file.relative_to(wanted.top)
        if not fresh and (
            installed.complete or any(take(cache, key, installed.folder) for cache in wanted.caches)
        ):
            say(f"the environment of {shown} is there")
            return Installed(installed.folder, reused=True)
        say(f"installing {shown} with {python.text or 'the Python that it asks for'}")
        shutil.rmtree(installed.folder, ignore_errors=True)
        pretended = scm.pretended(asking, wanted.version) if wanted.version else scm.Pretended({})
        arguments += _built_anew(inputs.projects, wanted.top)
        _make(uv, way, arguments, python, installed, pretended, wanted)
        if not installed.has("flyte"):
            raise _no_flyte(way, wanted)
        installed.finish()
        if wanted.caches and not fresh:
            _keep(installed, wanted.caches[-1], key, say)
    return installed


def _keep(installed: Installed, cache: Path, key: str, say: Callable[[str], None]) -> None:
    try:
        keep(installed, cache, key)
    except DeployError as error:
        # It is only made again the next time.
        say(f"{error.what}: {error.where}")


def _make(
    uv: str,
    way: Way,
    arguments: list[str],
    python: Python,
    installed: Installed,
    pretended: scm.Pretended,
    wanted: Wanted,
) -> None:
    installed.folder.mkdir(mode=0o755)
    installed.folder.chmod(0o755)
    if wanted.confinement:
        wanted.confinement.give(installed.folder)
    environment = {
        **_environment(wanted, installed.pythons),
        **pretended.variables,
        **_configured(pretended.configuration, wanted.environments / "configuration"),
        "UV_PROJECT_ENVIRONMENT": str(installed.venv),
        "VIRTUAL_ENV": str(installed.venv),
        "UV_COMPILE_BYTECODE": "1",
    }
    for command in commands(uv, way, arguments, python.text, installed.venv):
        finished = run_step(
            command, environment=environment, folder=way.folder, confinement=wanted.confinement
        )
        if finished.status != 0:
            raise _explain(finished, way, python, wanted)


def _built_anew(projects: Iterable[Path], top: Path) -> list[str]:
    """For uv, which keeps what it has built of a folder as long as its pyproject.toml stays as it is."""
    found = []
    for folder in projects:
        if (folder / "pyproject.toml").is_file() and (
            name := name_of(toml_of(folder / "pyproject.toml", top))
        ):
            found += ["--reinstall-package", name]
        elif (folder / "setup.py").is_file():
            return ["--reinstall"]
    return found


def _configured(text: str, folder: Path) -> dict[str, str]:
    """The variable that names a configuration of the user's, to which uv adds that of the project."""
    if not text:
        return {}
    file = folder / "uv" / "uv.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    for path, mode in ((folder, 0o755), (file.parent, 0o755), (file, 0o644)):
        path.chmod(mode)
    return {"XDG_CONFIG_HOME": str(folder)}


def commands(uv: str, way: Way, arguments: list[str], python: str, venv: Path) -> list[list[str]]:
    """The command lines that install a project into a virtual environment.

    Args:
        uv: the installer.
        way: what the project says.
        arguments: more of them.
        python: the interpreter, or a version; empty for uv's choice.
        venv: the virtual environment, which is made.
    """
    chosen = ["--python", python] if python else []
    if way.kind == "uv":
        return [[uv, "sync", "--locked", "--no-progress", *chosen, *arguments]]
    made = [uv, "venv", "--no-progress", *chosen, str(venv)]
    if way.kind == "script":
        # uv pip heeds neither sources nor lock of a script: an index would give what has a source's name.
        locked = ["--locked"] if lock_of(way.file).is_file() else []
        sync = [uv, "sync", "--script", str(way.file), "--active", *locked, "--no-progress"]
        return [made, [*sync, "--python", str(venv / "bin" / "python"), *arguments]]
    into = [uv, "pip", "install", "--no-progress", "--python", str(venv / "bin" / "python")]
    what = {
        "project": ["--editable", "."] if way.built else ["--requirements", "pyproject.toml"],
        "requirements": ["--requirements", str(way.file)],
    }[way.kind]
    return [made, [*into, *what, *arguments]]


@dataclass(frozen=True)
class Python:
    """An interpreter: its path, or the version that is asked for where it is not here; empty for any.

    `state` tells it from another one at that path.
    """

    text: str
    state: str = ""


def _find_python(uv: str, way: Way, wanted: Wanted) -> Python:
    """The interpreter that will be used, so that the environment can be known by it."""
    command = [uv, "python", "find", "--system", "--no-python-downloads"]
    if wanted.python:
        command.append(wanted.python)
    elif way.kind == "script":
        command += ["--script", str(way.file)]
    environment = _environment(wanted, wanted.environments / "none")
    found = run_step(command, environment=environment, folder=way.folder, confinement=wanted.confinement)
    path = found.lines[-1].strip() if found.lines else ""
    if found.status != 0 or not path.startswith("/"):
        # What is not here uv may be able to fetch.
        return Python(wanted.python)
    info = Path(path).stat()
    return Python(path, f"{info.st_size} {info.st_mtime_ns}")


def _environment(wanted: Wanted, pythons: Path) -> dict[str, str]:
    kept = {
        name: value
        for name, value in wanted.environment.items()
        # They would say where to install to.
        if name not in ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "PYTHONHOME", "UV_PYTHON")
    }
    if wanted.confinement:
        kept["UV_PYTHON_INSTALL_DIR"] = str(pythons)
        kept["UV_CACHE_DIR"] = str(Path(kept["HOME"]) / ".cache" / "uv")
    return {**kept, "UV_NO_PROGRESS": "1", "NO_COLOR": "1"}


def _uv(wanted: Wanted) -> str:
    found = shutil.which("uv", path=wanted.environment.get("PATH", os.defpath))
    if found is None:
        raise DeployError(
            "uv is not installed, and it is what installs the project",
            mend="Install uv, or name an interpreter that has the project's dependencies with --python.",
        )
    return found


def _split(arguments: str) -> list[str]:
    try:
        return shlex.split(arguments)
    except ValueError as error:
        raise DeployError(
            f"the arguments cannot be told apart: {error}", where="--install-args", usage=True
        ) from None


def _named_requirements(arguments: list[str], wanted: Wanted) -> tuple[Path, list[str]] | None:
    """The file of a first ``-r FILE`` among the arguments, and the others."""
    for number, word in enumerate(arguments[:-1]):
        if word in ("-r", "--requirement", "--requirements"):
            for folder in (wanted.start, *wanted.start.parents):
                file = folder / arguments[number + 1]
                if folder.is_relative_to(wanted.top) and file.is_file():
                    return file, [*arguments[:number], *arguments[number + 2 :]]
            raise DeployError(f"there is no file {arguments[number + 1]}", where="--install-args", usage=True)
    return None


def _no_way(wanted: Wanted) -> DeployError:
    needed = {
        "uv": "pyproject.toml with [project]",
        "requirements": "requirements.txt",
        "script": "'# /// script' header in the one file that is deployed",
    }[wanted.install]
    return DeployError(
        f"there is no {needed}, neither beside the code nor above it",
        where="--install",
        mend="Add it, or choose another way.",
        usage=True,
    )


def none_found(top: Path) -> DeployError:
    """The error for a project that says nowhere what it needs, where nothing else is there to run it in."""
    return DeployError(
        "the project does not say what it needs installed",
        where=str(top),
        details=("it can say so in one of four ways, beside the code or above it:", *WAYS),
        mend="Add one of them with flyte in it, or name an interpreter with --python and --install none.",
        usage=True,
    )


def _no_flyte(way: Way, wanted: Wanted) -> DeployError:
    place = {
        "uv": "uv add flyte, and commit pyproject.toml and uv.lock",
        "project": "Add flyte to [project.dependencies] in pyproject.toml",
        "requirements": f"Add flyte to {way.file.name}",
        "script": "Add flyte to the dependencies of its '# /// script' header",
    }[way.kind]
    return DeployError(
        "the package 'flyte' is not among what the project installs",
        where=str(way.file.relative_to(wanted.top)),
        mend=f"{place}; if it is in a group or an extra, name that with --install-args.",
        usage=True,
    )


def _explain(finished: Finished, way: Way, python: Python, wanted: Wanted) -> DeployError:
    lines = [
        line.replace(f"{wanted.top}/", "")
        for line in finished.lines
        if line.strip() and not _OF_NO_INTEREST.match(line)
    ]
    text = "\n".join(lines)
    where = str(way.file.relative_to(wanted.top))
    if way.kind in ("uv", "script") and _MISMATCH.search(text):
        script = f" --script {way.file.name}" if way.kind == "script" else ""
        return DeployError(
            f"the lock file does not match {'the header' if script else 'pyproject.toml'}",
            where=where,
            mend=f"Run uv lock{script}, and commit {lock_of(way.file).name if script else 'uv.lock'}.",
            usage=True,
        )
    if _MISSING_PYTHON.search(text):
        return DeployError(
            f"Python {wanted.python or python.text or 'that the project asks for'} cannot be had",
            where="--python-version" if wanted.python else where,
            details=tuple(lines[-_SHOWN:]),
            mend="Ask for a version that is there or that uv can download (uv python list).",
            usage=True,
        )
    return DeployError(
        "what the project needs cannot be installed",
        where=where,
        details=tuple(_last(lines)),
        mend="uv pip and uv sync say the same on any machine; --install-args hands them more arguments.",
    )


def _last(lines: Iterable[str]) -> list[str]:
    found = list(lines)
    left_out = len(found) - _SHOWN
    return [f"… {left_out} lines before", *found[-_SHOWN:]] if left_out > 0 else found
