"""Compare: ask the control plane and the store what is there, and make the plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from flyteidl2.task.task_service_pb2 import DeployTaskRequest

from flyte_deploy import version
from flyte_deploy.clock import Clock
from flyte_deploy.cloud import CloudSettings
from flyte_deploy.controlplane import ControlPlane, Uploads
from flyte_deploy.decision import Decision, decide
from flyte_deploy.identify import Identified, selected_how
from flyte_deploy.images.workers import Workers, workers
from flyte_deploy.model import (
    Plan,
    PlannedEnvironment,
    PlannedImage,
    PlannedTask,
    PlannedUpload,
    Progress,
    Target,
    Task,
)
from flyte_deploy.settings import Settings
from flyte_deploy.specs.stamp import Stamps, image_cache, stamper
from flyte_deploy.stores import Store, open_store


@dataclass(frozen=True)
class Compared:
    """A plan and what it takes to carry it out."""

    plan: Plan
    identified: Identified
    decision: Decision
    store: Store
    workers: Workers | None = None
    """Who was asked for images; None where there was no need to ask."""


def compare(settings: Settings, identified: Identified, plane: ControlPlane, clock: Clock) -> Compared:
    """Decide what is to be done; nothing but reads.

    Raises:
        DeployError: where the version exists with other content, or something cannot be asked.
    """
    template = settings.version or version.DEFAULT
    name = version.render(template, identified.version_values)
    target = Target(settings.project, settings.domain, settings.org)
    said: list[str] = []
    with clock.step("compare", "Comparing with what is registered"):
        wanted = identified.images.wanted
        who = workers(settings, wanted, plane, target) if wanted else None
        images = who.look(wanted) if who is not None and who.by_asking else ()
        stamps = lru_cache(maxsize=2)(
            lambda chosen: requests(
                identified, target, chosen, _archive_name(identified), _contents(identified), images
            )
        )
        store = open_store(
            settings.bundle_store,
            uploads=Uploads(plane, target),
            cloud=CloudSettings.of(settings),
            say=said.append,
        )
        decision = decide(
            plane,
            target,
            identified.tasks,
            name,
            by_content=version.has_content(template),
            make=lambda task, chosen: stamps(chosen)(task, {}),
            overwrite=settings.overwrite,
            concurrency=settings.concurrency,
        )
        address = None
        if identified.bundle is not None and decision.reasons:
            address = store.find(identified.bundle)
        if who is not None and decision.reasons and not who.by_asking:
            images = who.look(wanted)
    stale = tuple(f"{trigger.task_name}/{trigger.name}" for trigger in decision.stale)
    warnings = (*identified.warnings, *said)
    for text in said:
        clock.listen(Progress("warning", text))
    if stale and not settings.prune_triggers:
        warning = (
            f"gone from the code, yet firing what they fired before: trigger {', '.join(stale)}"
            " (--prune-triggers removes what is gone)"
        )
        warnings = (*warnings, warning)
        clock.listen(Progress("warning", warning))
    for note in decision.notes:
        clock.listen(Progress("note", note))
    plan = _plan(
        settings,
        identified,
        target=target,
        version=decision.version,
        reasons=decision.reasons,
        address=address or "",
        store=store.describe(),
        images=images if decision.reasons else (),
        stale=stale,
        notes=decision.notes,
        warnings=warnings,
    )
    return Compared(plan, identified, decision, store, who)


def without_control_plane(settings: Settings, identified: Identified, clock: Clock) -> Plan:
    """The plan where no endpoint was named: everything would be registered, for all that is known."""
    note = "no endpoint was named: nothing was compared with what is registered"
    clock.listen(Progress("note", note))
    return _plan(
        settings,
        identified,
        target=Target(settings.project, settings.domain, settings.org) if settings.project else None,
        version=version.render(settings.version or version.DEFAULT, identified.version_values),
        reasons={task.name: "not compared" for task in identified.tasks},
        store=settings.bundle_store or "the backend's signed URL",
        images=tuple(PlannedImage(one.reference, one.environments) for one in identified.images.wanted),
        notes=(note,),
        warnings=identified.warnings,
    )


def requests(
    identified: Identified,
    target: Target,
    version: str,
    bundle_uri: str,
    captured: Mapping[str, str],
    images: Iterable[PlannedImage] = (),
) -> Callable[[Task, Mapping[str, bool]], DeployTaskRequest]:
    """A function that makes the request of a task, given which of its triggers are active.

    `captured` are the addresses of what was captured, by placeholder; `images` are those that were built, or
    are there, with their digests.
    """
    answer = identified.collected.answer
    addresses = dict(identified.images.addresses)
    addresses.update({name: image.address for image in images for name in image.environments})
    runs = {name: image.run for image in images for name in image.environments if image.run is not None}
    stamp = stamper(
        Stamps(
            target=target,
            version=version,
            bundle_uri=bundle_uri,
            bundle_digest=identified.bundle.digest if identified.bundle else "",
            images=addresses,
            image_cache=image_cache(answer.image_cache, addresses, runs),
            captured=captured,
            image_runs=runs,
        )
    )

    def link(task: Task) -> str:
        if identified.commit is None or task.location is None:
            return ""
        # The SDK's link names the line after that of the decorator.
        return identified.commit.link(identified.root / task.location.file, task.location.line + 1)

    return lambda task, active: stamp(task, link(task), active)


def _archive_name(identified: Identified) -> str:
    # Enough to compare specs by: a bundle's address ends in its digest.
    return identified.bundle.archive_name if identified.bundle else ""


def _contents(identified: Identified) -> dict[str, str]:
    # Likewise: the address of what was captured ends in its digest and name.
    return {
        one.placeholder: f"{one.digest}/{one.name}" if one.name else one.digest for one in identified.captured
    }


def _plan(
    settings: Settings,
    identified: Identified,
    *,
    target: Target | None,
    version: str,
    reasons: Mapping[str, str],
    store: str,
    address: str = "",
    images: tuple[PlannedImage, ...] = (),
    stale: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
    warnings: tuple[str, ...] = (),
) -> Plan:
    return Plan(
        target=target,
        endpoint=settings.endpoint,
        version=version,
        content=identified.content,
        environments=tuple(
            PlannedEnvironment(
                environment=one.environment,
                reason=f"needed by {one.needed_by}"
                if one.needed_by
                else selected_how(settings, one.environment),
                depends_on=one.depends_on,
                image=identified.images.addresses[one.name],
                tasks=tuple(
                    PlannedTask(task, "register", reasons[task.name])
                    if task.name in reasons
                    else PlannedTask(task, "keep", "registered already")
                    for task in one.environment.tasks
                ),
            )
            for one in identified.resolved
        ),
        bundle=identified.bundle,
        bundle_address=address,
        bundle_store=store,
        captured=tuple(
            PlannedUpload(one.name or f"folder, {len(one.files)} in it", one.digest, one.size)
            for one in identified.captured
        ),
        images=images,
        stale_triggers=stale,
        prune=settings.prune_triggers,
        notes=notes,
        warnings=warnings,
        python=identified.collected.answer.python,
        sdk=identified.collected.answer.sdk,
    )
