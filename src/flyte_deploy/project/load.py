"""Which files the collector loads, under which module names."""

from __future__ import annotations

import re
from pathlib import Path

from flyte_deploy.clock import Listen
from flyte_deploy.collector.message import Collected
from flyte_deploy.collector.run import Request, collect, load_error
from flyte_deploy.errors import DeployError
from flyte_deploy.project.interpreter import find_interpreter
from flyte_deploy.settings import Settings

_NO_NETWORK = re.compile(
    r"Network is unreachable|Temporary failure in name resolution|Name or service not known"
    r"|Errno 101|Address family not supported"
)


def collect_from_files(settings: Settings, captures: Path, listen: Listen) -> Collected:
    """Load the files that the settings name, in the project's own interpreter.

    Raises:
        DeployError: for files that do not load, and for all that goes wrong with the interpreter.
    """
    files = files_to_load(settings)
    if not files:
        raise DeployError(
            "there is no Python file to load",
            where=", ".join(str(path) for path in settings.paths),
            mend="Name a folder that has some; what git ignores, hidden folders and virtual environments are"
            " left out.",
            usage=True,
        )
    first = settings.paths[0]
    try:
        collected = collect(
            request_of(settings, captures, files),
            python=find_interpreter(settings.python, first if first.is_dir() else first.parent),
            timeout=settings.load_timeout,
            listen=listen,
            confinement=settings.confinement,
        )
        if settings.confinement is not None:
            for folder in filter(None, (captures, settings.confinement.checkout)):
                settings.confinement.take_back(folder)
        failures = collected.answer.failures
        if failures and (settings.envs or not settings.ignore_load_errors):
            raise load_error(failures, settings.root_dir)
    except DeployError as error:
        raise _without_network(error, settings) from None
    return collected


def _without_network(error: DeployError, settings: Settings) -> DeployError:
    """The error, with the likely way to mend it where the code was kept from the network."""
    if settings.confinement is None or settings.confinement.network or not _NO_NETWORK.search(str(error)):
        return error
    return DeployError(
        error.what,
        where=error.where,
        details=error.details,
        mend="The project's code has no network while it is loaded: move what needs one from module level"
        " into a task, or allow it with --discovery-network allow.",
    )


def request_of(settings: Settings, captures: Path, files: tuple[tuple[Path, str], ...] = ()) -> Request:
    """The collector's request for settings, files, and a folder for files that defaults need."""
    return Request(
        root=settings.root_dir,
        files=files,
        names=settings.envs,
        project=settings.project,
        domain=settings.domain,
        org=settings.org,
        images=settings.images,
        image_registry=settings.image_registry,
        image_builder=settings.image_builder,
        copy_style=settings.copy_style,
        sync_local_sys_paths=settings.sync_local_sys_paths,
        ignore_load_errors=settings.ignore_load_errors,
        captures=captures,
        withheld=settings.confinement.withheld if settings.confinement else (),
        folder=settings.working_dir,
    )


def files_to_load(settings: Settings) -> tuple[tuple[Path, str], ...]:
    """The files in the order of loading, with the dotted name to import each under.

    A file whose environments are named is executed under its stem (no dotted name). All others are imported
    under their real path below the root, as Flyte's SDK does: a link to a file or folder is another way to
    name it, not another module. ``__init__.py`` is loaded by what it belongs to; a folder with no other file
    is imported as a package.
    """
    if not settings.all and not settings.recursive:
        return ((settings.paths[0], ""),)
    found: dict[Path, str] = {}
    for path in settings.paths:
        for written in _files_of(path, settings):
            real = written.resolve()
            # What a link leads to outside the root has no name but the link's.
            file = real if real.is_relative_to(settings.root_dir) else written
            found.setdefault(file, _dotted(file, settings.root_dir))
    return tuple(found.items())


def _files_of(path: Path, settings: Settings) -> list[Path]:
    if path.is_file():
        return [path]
    if settings.recursive:
        from flyte_deploy.project.discover import python_files

        files = python_files(path, settings.root_dir)
    else:
        files = sorted(path.glob("*.py"))
    modules = [file for file in files if file.name != "__init__.py"]
    return modules or [file for file in files if file == path / "__init__.py"]


def _dotted(file: Path, root: Path) -> str:
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
