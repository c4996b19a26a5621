"""Identify: what this content is, writing nothing."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from flyte_deploy import graph
from flyte_deploy.captured import Captured, read_captured
from flyte_deploy.clock import Clock
from flyte_deploy.collector.message import Collected
from flyte_deploy.collector.run import explain_load_failure, load_error
from flyte_deploy.errors import DeployError
from flyte_deploy.images.choose import Chosen, choose_images
from flyte_deploy.model import Bundle, Environment, Progress, Task
from flyte_deploy.project.contents import bundle_of, workshop
from flyte_deploy.project.git import Commit, read_commit
from flyte_deploy.settings import Settings
from flyte_deploy.specs.content import content_version

TESTED_SDK = ((2, 0), (2, 12))
"""The first and the last minor version of Flyte's SDK that this was tried with."""


@dataclass(frozen=True)
class Identified:
    """What would be deployed, known by its content.

    Args:
        root: the absolute root that locations are relative to.
        collected: what the collector brought.
        resolved: the environments, dependencies before dependents.
        bundle: the code, None where tasks get none.
        images: the image of each environment, and those that have to exist.
        captured: files that defaults and trigger inputs need besides the bundle.
        content: the content version.
        commit: the state of the checkout, None outside of one.
        warnings: what a reader should look at.
    """

    root: Path
    collected: Collected
    resolved: tuple[graph.Resolved, ...]
    bundle: Bundle | None
    images: Chosen
    captured: tuple[Captured, ...]
    content: str
    commit: Commit | None
    warnings: tuple[str, ...]

    @property
    def tasks(self) -> tuple[Task, ...]:
        """All tasks, dependencies before dependents."""
        return tuple(task for one in self.resolved for task in one.environment.tasks)

    @property
    def version_values(self) -> dict[str, str]:
        """What a version's template can be filled in with here."""
        values = {"content": self.content}
        if self.commit is not None:
            values["sha"] = self.commit.sha
            values["short_sha"] = self.commit.sha[:7]
            values["branch"] = self.commit.branch
            values["tag"] = self.commit.tag
        return values


def identify(settings: Settings, collected: Collected, captures: Path, clock: Clock) -> Identified:
    """Resolve what was collected, and find out what its content is.

    Args:
        settings: all that the user said.
        collected: what the collector brought.
        captures: the folder with the files that it captured.
        clock: times the steps.

    Raises:
        DeployError: for everything that is wrong with the environments, their images or their files.
    """
    with clock.step("resolve", "Resolving dependencies"):
        resolved, left_out = _without_apps(graph.resolve(collected.environments), settings)
        environments = [one.environment for one in resolved]
        _check(environments, collected, settings)
    with clock.step("identify", "Identifying the content"):
        bundle = bundle_of(settings, collected, environments)
        images = choose_images(environments, settings.images, workshop(settings, collected))
        content = content_version(
            environments,
            bundle_digest=bundle.digest if bundle else "",
            images=images.contents,
        )
        captured = read_captured(captures, collected.answer.captured)
        commit = read_commit(settings.root_dir)
    warnings = (
        *_sdk(collected),
        *_not_loaded(collected, settings),
        *_installed(collected, settings, resolved),
        *left_out,
        *_volatile(environments),
        *(bundle.warnings if bundle else ()),
    )
    for warning in warnings:
        clock.listen(Progress("warning", warning))
    return Identified(
        settings.root_dir, collected, resolved, bundle, images, captured, content, commit, warnings
    )


def _without_apps(
    resolved: tuple[graph.Resolved, ...], settings: Settings
) -> tuple[tuple[graph.Resolved, ...], list[str]]:
    """The task environments, and a warning for each other one that was to be left out."""
    others = [one for one in resolved if one.environment.kind != "task"]
    if others and not settings.skip_apps:
        first = others[0].environment
        raise DeployError(
            f"environment '{first.name}' is of the kind {first.kind}: only task environments can be deployed",
            where=str(first.location) if first.location else None,
            details=tuple(f"so is '{one.name}', {one.environment.kind}" for one in others[1:]),
            mend="Leave it out with --skip-apps, and deploy it with flyte deploy.",
            usage=True,
        )
    names = {one.name for one in others}
    kept = tuple(
        dataclasses.replace(one, depends_on=tuple(name for name in one.depends_on if name not in names))
        for one in resolved
        if one.name not in names
    )
    return kept, [f"environment '{one.name}' ({one.environment.kind}) is left out" for one in others]


def _sdk(collected: Collected) -> Iterator[str]:
    numbers = re.match(r"(\d+)\.(\d+)", collected.answer.sdk)
    if numbers is None or not TESTED_SDK[0] <= (int(numbers[1]), int(numbers[2])) <= TESTED_SDK[1]:
        first, last = (".".join(map(str, version)) for version in TESTED_SDK)
        yield f"flyte {collected.answer.sdk} was not tried with this deployer, only {first} to {last} were"


def _check(environments: Sequence[Environment], collected: Collected, settings: Settings) -> None:
    if not environments:
        raise DeployError(
            "no environment was found",
            where=", ".join(str(path) for path in settings.paths) or None,
            mend="Define one: env = flyte.TaskEnvironment(name=…), with its tasks under @env.task.",
            usage=True,
        )
    if collected.answer.problems:
        raise load_error(collected.answer.problems, settings.root_dir)
    if not collected.answer.with_bundle and not settings.version:
        raise DeployError(
            "with --copy-style none no code travels with the tasks, so that it says nothing of their version",
            where="--version",
            mend="Give one with --version, the one that the image was built as.",
            usage=True,
        )


def _not_loaded(collected: Collected, settings: Settings) -> Iterator[str]:
    for failure in collected.answer.failures:
        where, what, _, _ = explain_load_failure(failure, settings.root_dir)
        yield f"{where}: not loaded, and so not deployed: {what}"


def selected_how(settings: Settings, environment: Environment) -> str:
    """Why an environment that nothing depends on is deployed: it was selected, or came by import.

    ``--all`` and ``--recursive`` select whatever is registered while the files load, as Flyte's SDK does.
    """
    if not environment.declared_in or not (settings.all or settings.recursive):
        return "selected"
    file = Path(environment.declared_in).resolve()
    named = [path.resolve() for path in settings.paths]
    folders = file.parents if settings.recursive else file.parents[:1]
    return "selected" if any(path == file or path in folders for path in named) else "came by import"


def _installed(collected: Collected, settings: Settings, resolved: Sequence[graph.Resolved]) -> Iterator[str]:
    for one in resolved:
        file = Path(one.environment.declared_in).resolve()
        outside = any(file.is_relative_to(folder) for folder in collected.answer.interpreter_folders)
        if one.environment.declared_in and (outside or "site-packages" in file.parts):
            how = (
                f"is needed by '{one.needed_by}'"
                if one.needed_by
                else selected_how(settings, one.environment)
            )
            yield f"environment '{one.name}' {how}, from an installed package: {file}"


def _volatile(environments: Sequence[Environment]) -> Iterator[str]:
    for environment in environments:
        for task in environment.tasks:
            for parameter in task.volatile:
                place = f"{task.location}: " if task.location else ""
                yield (
                    f"{place}the default of parameter '{parameter}' of task '{task.name}' differs each time"
                    " the code is loaded, and so does the content version"
                )
