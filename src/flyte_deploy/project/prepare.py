"""The interpreter that the project's code runs in: made before anything of it is loaded."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flyte_deploy.clock import Clock
from flyte_deploy.model import Progress
from flyte_deploy.project.git import read_commit, top_folder
from flyte_deploy.project.interpreter import neighbouring
from flyte_deploy.settings import Settings, default_cache

if TYPE_CHECKING:
    from flyte_deploy.project.workplace import Container


@contextmanager
def prepared(settings: Settings, container: Container | None, clock: Clock) -> Iterator[Settings]:
    """Make the project's interpreter as the settings say, and give settings that name it.

    On the command line nothing is made unless ``--install`` asks for it. With ``auto`` an active or
    neighbouring virtual environment is taken as it is, and a project that does not say what it needs has the
    interpreter that runs this.

    Args:
        settings: all that the user said.
        container: the action's container, in which the project's code is confined; None on the command line.
        clock: times the step.

    Raises:
        DeployError: for all that goes wrong in installing the project.
    """
    if container is not None:
        # Loaded where it is used: the command line has no need of it.
        from flyte_deploy.project.workplace import workplace

        with workplace(settings, container, clock) as inside:
            yield inside
        return
    if settings.install == "none" or settings.python or not settings.paths:
        yield settings
        return
    first = settings.paths[0]
    start = first if first.is_dir() else first.parent
    python = neighbouring(start) if settings.install == "auto" else None
    if python is None:
        with clock.step("install", "Installing the project"):
            python = _install(settings, clock)
    yield dataclasses.replace(settings, python=python) if python else settings


def _install(settings: Settings, clock: Clock) -> str | None:
    from flyte_deploy.project.install import Wanted, install

    first = settings.paths[0].resolve()
    start = first if first.is_dir() else first.parent
    top = top_folder(start) or settings.root_dir
    commit = read_commit(top)
    installed = install(
        Wanted(
            install=settings.install,
            arguments=settings.install_args,
            python=settings.python_version,
            start=start,
            scripts=settings.paths if settings.paths[0].is_file() else (),
            top=top if start.is_relative_to(top) else start,
            environments=settings.cache_dir or default_cache(os.environ),
            environment=os.environ,
            commit=commit.sha if commit else "",
        ),
        lambda text: clock.listen(Progress("note", text)),
    )
    return str(installed.python) if installed else None
