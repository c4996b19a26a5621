"""Which bundle belongs to what was collected."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flyte_deploy.bundle import Include, ModuleFile, identify, select
from flyte_deploy.collector.message import Collected
from flyte_deploy.model import Bundle, Environment
from flyte_deploy.settings import Settings


def bundle_of(settings: Settings, collected: Collected, environments: Sequence[Environment]) -> Bundle | None:
    """The one bundle for all environments; None where the tasks' code is in their images.

    Raises:
        DeployError: for files that cannot or may not go into it.
    """
    answer = collected.answer
    if not answer.with_bundle:
        return None
    modules = [ModuleFile(Path(path)) for path in answer.modules]
    modules += [ModuleFile(Path(path), "lazy import") for path in answer.lazy]
    includes = [
        Include(
            environment=environment.name,
            patterns=environment.include,
            declared_in=Path(environment.declared_in),
            location=environment.location,
        )
        for environment in environments
        if environment.include
    ]
    return identify(
        select(
            settings.root_dir,
            settings.copy_style,
            modules=modules,
            includes=includes,
            interpreter_paths=[Path(folder) for folder in answer.interpreter_folders],
        )
    )
