"""Identify: what this content is, writing nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flyte_deploy import graph
from flyte_deploy.clock import Clock
from flyte_deploy.collector.message import Collected
from flyte_deploy.collector.run import explain_load_failure, load_error
from flyte_deploy.errors import DeployError
from flyte_deploy.images import choose_images
from flyte_deploy.model import Bundle, Environment, Progress, Task
from flyte_deploy.project.contents import bundle_of
from flyte_deploy.project.git import Commit, read_commit
from flyte_deploy.settings import Settings
from flyte_deploy.specs.content import content_version


@dataclass(frozen=True)
class Identified:
    """What would be deployed, known by its content.

    Args:
        root: the absolute root that locations are relative to.
        collected: what the collector brought.
        resolved: the environments, dependencies before dependents.
        bundle: the code, None where tasks get none.
        images: the image address of each environment, by name.
        content: the content version.
        commit: the state of the checkout, None outside of one.
        warnings: what a reader should look at.
    """

    root: Path
    collected: Collected
    resolved: tuple[graph.Resolved, ...]
    bundle: Bundle | None
    images: Mapping[str, str]
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


def identify(settings: Settings, collected: Collected, clock: Clock) -> Identified:
    """Resolve what was collected, and find out what its content is.

    Raises:
        DeployError: for everything that is wrong with the environments, their images or their files.
    """
    with clock.step("resolve", "Resolving dependencies"):
        resolved = graph.resolve(collected.environments)
        environments = [one.environment for one in resolved]
        _check(environments, collected, settings)
        images = choose_images(environments, settings.images)
    with clock.step("identify", "Identifying the content"):
        bundle = bundle_of(settings, collected, environments)
        content = content_version(
            environments,
            bundle_digest=bundle.digest if bundle else "",
            # An address written as text stands in the requests themselves.
            images={e.name: images[e.name] for e in environments if e.image.kind != "text"},
        )
        commit = read_commit(settings.root_dir)
    warnings = (
        *_not_loaded(collected, settings),
        *_volatile(environments),
        *(bundle.warnings if bundle else ()),
    )
    for warning in warnings:
        clock.listen(Progress("warning", warning))
    return Identified(settings.root_dir, collected, resolved, bundle, images, content, commit, warnings)


def _check(environments: Sequence[Environment], collected: Collected, settings: Settings) -> None:
    if not environments:
        raise DeployError(
            "no environment was found",
            where=", ".join(str(path) for path in settings.paths) or None,
            mend="Define one: env = flyte.TaskEnvironment(name=…), with its tasks under @env.task.",
            usage=True,
        )
    for environment in environments:
        if environment.kind != "task":
            raise DeployError(
                f"environment '{environment.name}' is of the kind {environment.kind};"
                " only task environments can be deployed",
                where=str(environment.location) if environment.location else None,
                mend="Leave it out of depends_on and of what is deployed.",
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


def _volatile(environments: Sequence[Environment]) -> Iterator[str]:
    for environment in environments:
        for task in environment.tasks:
            for parameter in task.volatile:
                place = f"{task.location}: " if task.location else ""
                yield (
                    f"{place}the default of parameter '{parameter}' of task '{task.name}' differs each time"
                    " the code is loaded, and so does the content version"
                )
