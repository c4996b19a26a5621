"""Compare: ask the control plane and the store what is there, and make the plan."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from flyteidl2.task.task_service_pb2 import DeployTaskRequest
from msgspec import structs

from flyte_deploy import version
from flyte_deploy.clock import Clock
from flyte_deploy.cloud import CloudSettings
from flyte_deploy.controlplane import ControlPlane, Uploads
from flyte_deploy.decision import Decision, decide
from flyte_deploy.differences import find_difference
from flyte_deploy.errors import DeployError
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
from flyte_deploy.records.record import find
from flyte_deploy.reuse import Reused, find_reusable, target_of
from flyte_deploy.settings import Settings
from flyte_deploy.specs.changes import Difference
from flyte_deploy.specs.difference import file_changes
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
    reused: bool = False
    """Whether bundle and images are those of a deployment of the same content, verified when it was made."""


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
        tasks = identified.tasks
        if not settings.triggers:
            tasks = tuple(structs.replace(task, triggers=()) for task in tasks)
        decision = decide(
            plane,
            target,
            tasks,
            name,
            by_content=version.has_content(template),
            make=lambda task, chosen: stamps(chosen)(task, {}),
            overwrite=settings.overwrite,
            concurrency=settings.concurrency,
            complete=settings.preview,
        )
        if not settings.triggers:
            # They were not asked about: that they live says nothing about the code.
            decision = dataclasses.replace(decision, stale=())
        difference = None
        if settings.difference:
            difference = find_difference(
                plane,
                target,
                identified.tasks if settings.triggers or settings.compare_to else tasks,
                decision,
                make=lambda task: stamps(decision.version)(task, {}),
                base=base_of(settings),
                concurrency=settings.concurrency,
            )
            difference = _with_files(settings, identified, difference, base_of(settings) or target, said)
        address = None
        reused = (
            find_reusable(settings, identified, plane) if settings.reuse_from and decision.reasons else None
        )
        taken = reused is not None and not reused.why_not
        if reused is not None and taken:
            address, images = reused.bundle, reused.images
        elif identified.bundle is not None and decision.reasons:
            address = store.find(identified.bundle)
        if who is not None and decision.reasons and not taken and not who.by_asking:
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
    notes = (*decision.notes, *(_reuse_note(reused) if reused else ()))
    for note in notes:
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
        notes=notes,
        warnings=warnings,
        difference=difference,
    )
    return Compared(plan, identified, decision, store, who, taken)


def base_of(settings: Settings) -> Target | None:
    """What the difference is taken against, where that is not the target."""
    return target_of(settings.compare_to, settings) if settings.compare_to else None


def _reuse_note(reused: Reused) -> tuple[str]:
    where = f"{reused.source} as {reused.version}"
    if reused.why_not:
        return (f"nothing is taken over from {where}: {reused.why_not}",)
    return (f"bundle and images are those that are registered in {where}: nothing is built or uploaded",)


def _with_files(
    settings: Settings, identified: Identified, difference: Difference, against: Target, said: list[str]
) -> Difference:
    """The difference with the files of the bundle, where a record lists those of the one before."""
    versions = Counter(task.before for task in difference.tasks if task.before and task.state != "unchanged")
    if not versions or identified.bundle is None:
        return difference
    store = settings.base_store if settings.compare_to else ""
    try:
        record = find(
            dataclasses.replace(settings, bundle_store=store or settings.bundle_store),
            against,
            versions.most_common(1)[0][0],
        )
    except DeployError as error:
        said.append(f"{error.what} ({error.where})")
        return difference
    if record is None or not record.files:
        return difference
    after = {file.name: file.sha256 for file in identified.bundle.files}
    return dataclasses.replace(difference, files=file_changes(record.files, after))


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
    *,
    triggers: bool = True,
) -> Callable[[Task, Mapping[str, bool]], DeployTaskRequest]:
    """A function that makes the request of a task, given which of its triggers are active.

    `captured` are the addresses of what was captured, by placeholder; `images` are those that were built, or
    are there, with their digests. Without `triggers` requests carry none.
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

    def make(task: Task, active: Mapping[str, bool]) -> DeployTaskRequest:
        request = stamp(task, link(task), active)
        if not triggers:
            del request.triggers[:]
        return request

    return make


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
    difference: Difference | None = None,
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
        difference=difference,
    )
