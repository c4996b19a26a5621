"""Promote and roll back: registering what is registered already elsewhere, or again, without its code."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from flyteidl2.task.task_definition_pb2 import TaskSpec, TaskTrigger
from flyteidl2.task.task_service_pb2 import DeployTaskRequest

from flyte_deploy.clock import Clock
from flyte_deploy.controlplane import (
    ControlPlane,
    Interrupted,
    Registration,
    register,
    verify,
)
from flyte_deploy.controlplane.versions import list_tasks, versions_before
from flyte_deploy.decision import free_version
from flyte_deploy.errors import DeployError
from flyte_deploy.model import Progress, RegisteredTask, Target
from flyte_deploy.records.record import Record, encode, encoded, find, is_kept, keep, now, origin_of
from flyte_deploy.releases.telling import Telling
from flyte_deploy.releases.triggers import triggers_to_carry
from flyte_deploy.reuse import bundle_is_there, target_of
from flyte_deploy.settings import Settings
from flyte_deploy.specs.carry import PREVIEW, carried, names_of_place, stored, trigger_of
from flyte_deploy.specs.container import primary
from flyte_deploy.specs.image import is_of_a_preview
from flyte_deploy.specs.same import same_content

Make = Callable[[str], DeployTaskRequest]
_NAMED = 20
_RESTORED = re.compile(r"-rollback(-\d+)?$")


@dataclass(frozen=True)
class Promotion:
    """What was, or would be, registered from what is registered.

    Args:
        kind: ``promote`` or ``rollback``.
        source: where the version comes from.
        source_version: that version.
        target: where it goes.
        version: the version that its tasks have there.
        tasks: all of them, by name, with their environments.
        registered: those that were registered, or with `dry_run` would be; the others were there.
        replaced: for each of them the version that was its newest.
        bundles: the addresses of their bundles.
        images: the image of each environment.
        triggers: triggers that went along, as ``task/trigger``.
        notes: what a reader should know.
        warnings: what a reader should look at.
        record_uri: where the record lies; empty where its store cannot be read.
        record: it, as JSON; empty where nothing was registered.
    """

    kind: str
    source: Target
    source_version: str
    target: Target
    version: str
    tasks: Mapping[str, str]
    registered: tuple[str, ...]
    replaced: Mapping[str, str]
    bundles: tuple[str, ...]
    images: Mapping[str, str]
    triggers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    record: bytes = b""
    record_uri: str = ""


def promote(settings: Settings, plane: ControlPlane, clock: Clock, *, kind: str = "promote") -> Promotion:
    """Register a registered version elsewhere, or an earlier one again: the same bundle, the same images.

    Args:
        settings: `version` is what is promoted, `source` where it is registered (for a rollback that is the
            target), `as_version` what it is to be called; with `dry_run` nothing is written.
        plane: the control plane.
        clock: times the steps.
        kind: ``promote`` or ``rollback``.

    Raises:
        DeployError: for a version that is not there, or that cannot be carried over, and why; for another
            content under the same version.
    """
    telling = Telling(clock)
    target = Target(settings.project, settings.domain, settings.org)
    source = target_of(settings.source, settings) if kind == "promote" else target
    before = settings.version
    with clock.step("compare", f"Reading version {before} in {source}"):
        rows = list_tasks(plane, source, before)
        if not rows:
            raise _no_such_version(plane, source, before)
        read = plane.task_specs(source, [row.name for row in rows], before, settings.concurrency)
        record = _record(settings, source, before, telling)
        _check_complete(source, before, [row.name for row in rows], read, record)
        specs = {row.name: TaskSpec.FromString(read[row.name]) for row in rows}
        bundles = _check(settings, plane, source, target, before, specs, telling)
        newest = plane.newest(target, {row.environment for row in rows})
        version, present = _version(settings, plane, target, kind, specs, newest, telling)
        names = [row.name for row in rows if row.name not in present]
        triggers = triggers_to_carry(settings, plane, source, target, kind, record, names, telling)

    def make(name: str) -> DeployTaskRequest:
        # What a restored version's container is told is the name it was first registered under.
        return carried(specs[name], name, before, target, version, triggers.get(name, ()))

    if present:
        _check_same(plane, target, version, present, make, settings)
    promotion = Promotion(
        kind=kind,
        source=source,
        source_version=before,
        target=target,
        version=version,
        tasks={row.name: row.environment for row in rows},
        registered=tuple(names),
        replaced={name: newest[name].version for name in names if name in newest},
        bundles=bundles,
        images={
            spec.environment.name: image
            for spec in specs.values()
            if (image := primary(spec.task_template).image)
        },
        triggers=tuple(f"{name}/{one.name}" for name in names for one in triggers.get(name, ())),
        notes=tuple(telling.notes),
        warnings=tuple(telling.warnings),
    )
    if settings.dry_run or (not names and _is_recorded(settings, promotion, telling)):
        return replace(promotion, warnings=tuple(telling.warnings))
    if names:
        with clock.step("register", f"Registering {len(names)} tasks"):
            _register(settings, plane, promotion, make, clock)
    kept = sorted({row.name for row in rows} - set(names))
    lives = plane.triggers(target, kept) if kept else {}
    there = {
        name: [trigger_of(one.name, one.spec, one.automation, active=one.active) for one in of_task]
        for name, of_task in lives.items()
    }
    if kept and not _is_recorded(settings, promotion, telling):
        # A run has registered these which was killed before it made its record.
        before_it = versions_before(plane, target, kept, version)
        promotion = replace(promotion, replaced={**before_it, **promotion.replaced})
    return _with_record(settings, promotion, record, {**there, **triggers}, telling)


def _no_such_version(plane: ControlPlane, source: Target, version: str) -> DeployError:
    there = list_tasks(plane, source)
    versions = list(dict.fromkeys(row.version for row in there))[:_NAMED]
    return DeployError(
        f"no task of {source} has version '{version}'",
        where="--version",
        mend=f"Its newest versions are {', '.join(versions)}; flyte-deploy history lists more."
        if versions
        else f"Nothing is registered in {source}.",
        usage=True,
    )


def _check_complete(
    source: Target, version: str, names: Sequence[str], read: Mapping[str, bytes], record: Record | None
) -> None:
    """Refuse a version that lacks tasks: what it had is known from its record, where there is one."""
    unread = [name for name in names if name not in read]
    if unread:
        raise DeployError(
            f"{len(unread)} tasks of version '{version}' are listed and cannot be read",
            where=f"{source}",
            details=tuple(unread[:_NAMED]),
            mend="Somebody else may be writing there: run the same command again.",
        )
    known = record.tasks if record is not None else {}
    missing = sorted(known.keys() - set(names))
    if missing:
        raise DeployError(
            f"version '{version}' is not complete: {len(missing)} of the {len(known)} tasks that its"
            " record names are not registered",
            where=f"{source}",
            details=tuple(missing[:_NAMED]),
            mend="Deploy its code again under that version, which completes it, or name another version.",
        )


def _is_recorded(settings: Settings, promotion: Promotion, telling: Telling) -> bool:
    """Whether what is there already needs no record: a run that was killed leaves a version without one."""
    if (promotion.source, promotion.source_version) == (promotion.target, promotion.version):
        return True
    try:
        return is_kept(settings, promotion.target, promotion.version)
    except DeployError as error:
        telling.warn(f"{error.what} ({error.where})")
        return True


def _record(settings: Settings, source: Target, version: str, telling: Telling) -> Record | None:
    try:
        return find(settings, source, version)
    except DeployError as error:
        telling.warn(f"{error.what} ({error.where})")
        return None


def _check(
    settings: Settings,
    plane: ControlPlane,
    source: Target,
    target: Target,
    version: str,
    specs: Mapping[str, TaskSpec],
    telling: Telling,
) -> tuple[str, ...]:
    """Refuse what cannot be carried over; returns the addresses of the bundles."""
    images = {primary(spec.task_template).image for spec in specs.values()} - {""}
    if source != target:
        preview = PREVIEW.match(version)
        built = sorted(image for image in images if is_of_a_preview(image))
        if preview or built:
            raise DeployError(
                f"version '{version}' is a preview" + (f" of pull request {preview[1]}" if preview else ""),
                where=f"{source}",
                details=tuple(built),
                mend="Nothing that a preview wrote is taken over. Merge it, and promote what the default"
                " branch deploys.",
            )
        loose = {name: places for name, spec in specs.items() if (places := names_of_place(spec, source))}
        if loose and source.domain != target.domain:
            some = "; ".join(f"{name}: {', '.join(places)}" for name, places in list(loose.items())[:_NAMED])
            telling.warn(f"these name {source.domain} and are carried over as they are: {some}")
        left = [f"{name} ({', '.join(inputs)})" for name, spec in specs.items() if (inputs := stored(spec))]
        if left:
            telling.note(
                f"defaults that are files stay in the storage of {source}, where these read them:"
                f" {', '.join(left[:_NAMED])}"
            )
    tagged = sorted(image for image in images if "@sha256:" not in image)
    if tagged:
        telling.note(f"registered by tag, not by digest, and carried over so: {', '.join(tagged[:_NAMED])}")
    addresses = {spec.task_template.metadata.code_bundle_uri for spec in specs.values()} - {""}
    there = {one: bundle_is_there(settings, source, one, plane) for one in sorted(addresses)}
    unknown = [one for one, is_there in there.items() if is_there is None]
    if unknown:
        telling.note(f"whether it is still there cannot be looked up: bundle {', '.join(unknown[:_NAMED])}")
    gone = [one for one, is_there in there.items() if is_there is False]
    if gone:
        raise DeployError(
            f"the bundle of version '{version}' is gone",
            where=gone[0],
            details=tuple(gone[1:]),
            mend="Deploy the code of that version again: its commit is in its record, and in the source"
            " link of its tasks.",
        )
    return tuple(sorted(addresses))


def _version(
    settings: Settings,
    plane: ControlPlane,
    target: Target,
    kind: str,
    specs: Mapping[str, TaskSpec],
    newest: Mapping[str, RegisteredTask],
    telling: Telling,
) -> tuple[str, set[str]]:
    """The version for it, and which of the tasks have that already."""
    names = list(specs)
    if settings.as_version:
        version = settings.as_version
        present = set(plane.registered_with_version(target, version, names))
        older = [name for name in present if name in newest and newest[name].version != version]
        if older:
            telling.note(
                f"{len(older)} of the tasks have a newer version than {version} there, such as"
                f" {newest[older[0]].version}: registering it again does not make it the newest"
            )
        return version, present
    if kind == "rollback":
        if all(name in newest and newest[name].version == settings.version for name in names):
            telling.note(f"{settings.version} is the newest version of all its tasks: nothing to restore")
            return settings.version, set(names)
        base = f"{_RESTORED.sub('', settings.version)}-rollback"
    else:
        base = settings.version
    shorten = "Name a shorter version for it with --as."
    version, present, notes = free_version(plane, target, names, base, newest, shorten=shorten)
    for note in notes:
        telling.note(note)
    return version, present


def _check_same(
    plane: ControlPlane,
    target: Target,
    version: str,
    present: Iterable[str],
    make: Make,
    settings: Settings,
) -> None:
    there = plane.task_specs(target, present, version, settings.concurrency)
    other = [
        name for name, data in there.items() if not same_content(TaskSpec.FromString(data), make(name).spec)
    ]
    if other:
        raise DeployError(
            f"version '{version}' is registered in {target} with other content",
            where="--as" if settings.as_version else "--version",
            details=tuple(sorted(other)[:_NAMED]),
            mend="Name another version with --as: a registered version is never changed.",
        )


def _register(
    settings: Settings, plane: ControlPlane, promotion: Promotion, make: Make, clock: Clock
) -> None:

    def registration(name: str) -> Registration:
        return Registration(name, lambda: make(name))

    try:
        outcome = register(
            plane,
            [registration(name) for name in promotion.registered],
            concurrency=settings.concurrency,
            same=same_content,
            listen=clock.listen,
        )
    except Interrupted as interrupted:
        clock.listen(Progress("warning", f"{len(interrupted.outcome.registered)} tasks are registered"))
        raise
    if not outcome.complete:
        reasons = tuple(f"{name}: {error}" for name, error in outcome.failed[:_NAMED])
        raise DeployError(
            f"{len(outcome.failed)} tasks could not be registered",
            details=(*reasons, f"{len(outcome.registered)} tasks are registered"),
            mend="When that is mended, the same command completes it.",
        )
    missing = verify(plane, promotion.target, promotion.version, outcome.registered)
    if missing:
        raise DeployError(
            f"{len(missing)} tasks were registered as {promotion.version} and are not there",
            where=settings.endpoint,
            details=missing[:_NAMED],
            mend="Somebody else may be writing there: run the same command again.",
        )


def _with_record(
    settings: Settings,
    promotion: Promotion,
    before: Record | None,
    triggers: Mapping[str, Sequence[TaskTrigger]],
    telling: Telling,
) -> Promotion:
    target = promotion.target
    record = Record(
        kind=promotion.kind,
        source=f"{promotion.source} {promotion.source_version}",
        version=promotion.version,
        content=before.content if before else "",
        org=target.org,
        project=target.project,
        domain=target.domain,
        created=now(),
        commit=before.commit if before else "",
        bundle_uri=promotion.bundles[0] if len(promotion.bundles) == 1 else "",
        bundle_digest=before.bundle_digest if before else "",
        files=before.files if before else {},
        images=dict(promotion.images),
        tasks=dict(promotion.tasks),
        registered=promotion.registered,
        replaced=dict(promotion.replaced),
        triggers={name: encoded(of_task) for name, of_task in triggers.items() if of_task},
        # Of a version that was there already nobody knows who has registered it.
        **(origin_of() if promotion.registered else {}),
    )
    try:
        data, uri = keep(settings, record)
    except DeployError as error:
        telling.warn(f"{error.what} ({error.where})")
        data, uri = encode(record), ""
    return replace(
        promotion,
        record=data,
        record_uri=uri,
        notes=tuple(telling.notes),
        warnings=tuple(telling.warnings),
    )
