"""Which bundle belongs to what was collected."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from flyte_deploy.bundle import Include, ModuleFile, identify, select
from flyte_deploy.collector.message import Collected
from flyte_deploy.images.checkout import find_checkout
from flyte_deploy.images.choose import Workshop
from flyte_deploy.images.render import CodeFiles
from flyte_deploy.images.workers import pinned
from flyte_deploy.model import Bundle, Environment
from flyte_deploy.settings import CopyStyle, Settings
from flyte_deploy.specs.image import PREVIEW_SUFFIX


def bundle_of(settings: Settings, collected: Collected, environments: Sequence[Environment]) -> Bundle | None:
    """The one bundle for all environments; None where the tasks' code is in their images.

    Raises:
        DeployError: for files that cannot or may not go into it.
    """
    answer = collected.answer
    if not answer.with_bundle:
        return None
    modules: list[ModuleFile] = []
    if settings.copy_style == "loaded_modules":
        modules = _modules(collected)
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
            interpreter_paths=_interpreter(collected),
        )
    )


def workshop(settings: Settings, collected: Collected) -> Workshop:
    """What it takes to know the images that are built.

    Their files lie in the checkout, which may begin above the root. The project's code goes into an image
    that asks for it where none travels with the tasks.
    """
    root = settings.root_dir.resolve()
    checkout = find_checkout(root, settings.working_dir)
    code = None
    if settings.copy_style == "none":
        code = CodeFiles(
            prefix=root.relative_to(checkout).as_posix(),
            loaded=lambda: _paths(settings, collected, "loaded_modules"),
            everything=lambda: _paths(settings, collected, "all"),
        )
    pin = partial(pinned, settings) if settings.pin_base_images else None
    return Workshop(
        checkout,
        registry=settings.image_registry,
        platforms=settings.platforms,
        code=code,
        pin=pin,
        sdk=collected.answer.sdk,
        endpoint=settings.endpoint,
        builder=settings.image_builder,
        load=settings.load_images,
        suffix=PREVIEW_SUFFIX if settings.preview else "",
    )


def _paths(settings: Settings, collected: Collected, style: CopyStyle) -> list[str]:
    files = select(
        settings.root_dir,
        style,
        modules=_modules(collected) if style == "loaded_modules" else [],
        includes=[],
        interpreter_paths=_interpreter(collected),
    )
    return [file.path for file in files.files]


def _modules(collected: Collected) -> list[ModuleFile]:
    modules = [ModuleFile(Path(path)) for path in collected.answer.modules]
    return modules + [ModuleFile(Path(path), "lazy import") for path in collected.answer.lazy]


def _interpreter(collected: Collected) -> list[Path]:
    return [Path(folder) for folder in collected.answer.interpreter_folders]
