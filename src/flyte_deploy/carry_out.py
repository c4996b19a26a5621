"""Verify, publish, stamp, register: the part of a deploy that writes."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from flyteidl2.task.task_definition_pb2 import TaskSpec
from flyteidl2.task.task_service_pb2 import DeployTaskRequest

from flyte_deploy.captured import publish_captured
from flyte_deploy.clock import Clock
from flyte_deploy.compare import Compared, requests
from flyte_deploy.controlplane import (
    ControlPlane,
    Interrupted,
    Outcome,
    Registration,
    Uploads,
    offload_trigger_inputs,
    register,
    verify,
)
from flyte_deploy.controlplane.versions import versions_before
from flyte_deploy.decision import active_triggers
from flyte_deploy.errors import DeployError, NotWanted
from flyte_deploy.images.workers import Build, prepare
from flyte_deploy.model import Bundle, Deployment, Plan, PlannedImage, Progress, Task
from flyte_deploy.records.record import Record, encode, encoded, is_kept, keep, now, origin_of
from flyte_deploy.settings import Settings
from flyte_deploy.specs.carry import trigger_of
from flyte_deploy.specs.container import primary
from flyte_deploy.specs.same import same_content
from flyte_deploy.stores import Store
from flyte_deploy.stores.signed_url import SignedUrlStore
from flyte_deploy.tls import Network
from flyte_deploy.verify import verify_bundle

_NAMED = 20
"""How many tasks an error lists by name."""
_GRACE = 6.0
"""Seconds that an upload has to take back what it sent; GitHub gives a cancelled job ten."""


def carry_out(
    settings: Settings,
    compared: Compared,
    plane: ControlPlane,
    clock: Clock,
    gate: Callable[[], str] | None = None,
) -> Deployment:
    """Do what a plan says.

    Raises:
        DeployError: says what is registered by then; the same command completes it.
        KeyboardInterrupt: after saying the same.
    """
    plan = compared.plan
    # A builder that is not there is found before anything is done.
    wanted = compared.identified.images.wanted
    build = None
    if plan.to_build:
        assert compared.workers is not None
        build = prepare(compared.workers, wanted, plan.images)
    if plan.to_register and settings.verify == "bundle" and not compared.reused:
        _verify(settings, compared, clock)
    published = Published(plan.bundle_address, {}, plan.images)
    record, record_uri = b"", ""
    if plan.to_register:
        published = _publish(settings, compared, plane, build, clock)
        why_not = gate() if gate is not None else ""
        if why_not:
            raise NotWanted(why_not)
        with clock.step("register", f"Registering {len(plan.to_register)} tasks"):
            triggers = _register(settings, compared, published, plane, clock)
        record, record_uri = _keep_record(settings, compared, published, triggers, plane, clock)
    elif plan.tasks:
        record, record_uri = _keep_missing_record(settings, compared, plane, clock)
    pruned: tuple[str, ...] = ()
    if plan.prune and plan.stale_triggers:
        assert plan.target is not None
        with clock.step("prune", "Removing triggers that are gone from the code"):
            plane.delete_triggers(plan.target, compared.decision.stale)
        pruned = plan.stale_triggers
    return Deployment(
        plan=plan,
        bundle_uri=published.bundle,
        uploaded=plan.uploads,
        images=published.images,
        registered=tuple(one.task.name for one in plan.to_register),
        pruned=pruned,
        record=record,
        record_uri=record_uri,
    )


def _keep_record(
    settings: Settings,
    compared: Compared,
    published: Published,
    triggers: Mapping[str, tuple[str, ...]],
    plane: ControlPlane,
    clock: Clock,
) -> tuple[bytes, str]:
    """Make the record of what was registered, and put it into its store: what fails there is a warning."""
    plan, identified, newest = compared.plan, compared.identified, compared.decision.newest
    assert plan.target is not None
    built = {name: image.address for image in published.images for name in image.environments}
    registered = tuple(one.task.name for one in plan.to_register)
    versions = {task.name: newest[task.name].version for task in identified.tasks if task.name in newest}
    there = {name for name, version in versions.items() if version == plan.version}
    replaced = {name: versions[name] for name in registered if name in versions and name not in there}
    commit = identified.commit
    record = Record(
        version=plan.version,
        content=plan.content,
        org=plan.target.org,
        project=plan.target.project,
        domain=plan.target.domain,
        created=now(),
        root=identified.root.relative_to(commit.folder.resolve()).as_posix()
        if commit is not None and identified.root.is_relative_to(commit.folder.resolve())
        else "",
        commit=commit.sha if commit else "",
        branch=commit.branch if commit else "",
        tag=commit.tag if commit else "",
        bundle_uri=published.bundle,
        bundle_digest=plan.bundle.digest if plan.bundle else "",
        files={file.name: file.sha256 for file in plan.bundle.files} if plan.bundle else {},
        images={**identified.images.addresses, **built},
        tasks={task.name: task.environment for task in identified.tasks},
        registered=registered,
        replaced=replaced | _replaced_before(settings, plan, there, plane),
        triggers=dict(triggers),
        # Of a version that was there already nobody knows who has registered it.
        **(origin_of() if registered else {}),
    )
    try:
        return keep(settings, record)
    except DeployError as error:
        clock.listen(Progress("warning", f"{error.what} ({error.where})"))
        return encode(record), ""


def _replaced_before(
    settings: Settings, plan: Plan, names: Collection[str], plane: ControlPlane
) -> dict[str, str]:
    """What was replaced by tasks that a run has registered which was killed before it made its record."""
    assert plan.target is not None
    try:
        if names and not is_kept(settings, plan.target, plan.version):
            return versions_before(plane, plan.target, sorted(names), plan.version)
    except DeployError:
        # All else that is recorded does not depend on it.
        pass
    return {}


def _keep_missing_record(
    settings: Settings, compared: Compared, plane: ControlPlane, clock: Clock
) -> tuple[bytes, str]:
    """Make the record of a version that is complete and has none: a run that was killed leaves it so."""
    plan, target = compared.plan, compared.plan.target
    assert target is not None
    first = {one.environment.name: one.tasks[0].task.name for one in plan.environments if one.tasks}
    try:
        if is_kept(settings, target, plan.version):
            return b"", ""
        specs = plane.task_specs(target, first.values(), plan.version, settings.concurrency)
    except DeployError as error:
        clock.listen(Progress("warning", f"{error.what} ({error.where})"))
        return b"", ""
    templates = {
        name: TaskSpec.FromString(specs[task]).task_template for name, task in first.items() if task in specs
    }
    images = {name: primary(template).image for name, template in templates.items()}
    known = [PlannedImage(image, (name,), image) for name, image in images.items() if image]
    triggers = {
        name: encoded(trigger_of(one.name, one.spec, one.automation, active=one.active) for one in live)
        for name, live in compared.decision.triggers.items()
        if live
    }
    published = Published(
        next((one.metadata.code_bundle_uri for one in templates.values()), ""),
        {},
        tuple(known),
    )
    return _keep_record(settings, compared, published, triggers, plane, clock)


@dataclass(frozen=True)
class Published:
    """What tasks need besides their registration: the bundle's address, those of captured files by
    placeholder, and the images."""

    bundle: str
    captured: Mapping[str, str]
    images: tuple[PlannedImage, ...]


def _publish(
    settings: Settings, compared: Compared, plane: ControlPlane, build: Build | None, clock: Clock
) -> Published:
    """Bundle and captured files, and beside them the images.

    Images are built in this thread, so that an interruption ends their builds. Where one fails, what is
    being uploaded is taken back.
    """
    plan = compared.plan
    stopped = threading.Event()

    def upload() -> tuple[str, dict[str, str]]:
        address, captured = plan.bundle_address, {}
        if plan.uploads:
            assert plan.bundle is not None
            with clock.step("publish", f"Uploading the bundle to {plan.bundle_store}"):
                address = publish(plan.bundle, compared.store, clock, stopped)
        if plan.captured:
            with clock.step("captured", f"Uploading {len(plan.captured)} files that defaults need"):
                captured = _publish_captured(settings, compared, plane, clock)
        return address, captured

    if build is None:
        published = Published(*upload(), plan.images)
        who, wanted = compared.workers, compared.identified.images.wanted
        if who is None or not who.by_asking or not plan.images:
            return published
        # The backend's images expire, and verifying and uploading take their time.
        images = who.look(wanted)
        if all(image.known for image in images):
            return published
        build = prepare(who, wanted, images)
        with clock.step("images", f"Building images that expired with {build.builder.describe()}"):
            return dataclasses.replace(published, images=build.run(clock.listen))
    uploading: Future[tuple[str, dict[str, str]]] = Future()

    def run() -> None:
        try:
            uploading.set_result(upload())
        except BaseException as error:  # raised where the result is asked for
            uploading.set_exception(error)

    thread = threading.Thread(target=run, name="publish", daemon=True)
    thread.start()
    try:
        with clock.step("images", f"Building {len(plan.to_build)} images with {build.builder.describe()}"):
            images = build.run(clock.listen)
    except BaseException:
        stopped.set()
        thread.join(_GRACE)
        raise
    return Published(*uploading.result(), images)


def _verify(settings: Settings, compared: Compared, clock: Clock) -> None:
    plan = compared.plan
    if plan.bundle is None:
        note = "no code travels with the tasks: that they load cannot be verified without their image"
        clock.listen(Progress("note", note))
        return
    with clock.step("verify", f"Loading {len(plan.to_register)} tasks from the bundle alone"):
        verify_bundle(settings, plan, compared.identified.collected.answer.path, clock.listen)


class _NotWanted(Exception):  # noqa: N818 - no error: something else failed
    pass


def publish(bundle: Bundle, store: Store, clock: Clock, stopped: threading.Event) -> str:
    """Have a bundle packed and stored; returns its address. Ends soon after `stopped` is set."""

    def progress(done: int, total: int) -> None:
        if stopped.is_set():
            raise _NotWanted
        clock.listen(Progress("upload", bundle.archive_name, done, total))

    return store.publish(bundle, progress)


def _publish_captured(
    settings: Settings, compared: Compared, plane: ControlPlane, clock: Clock
) -> dict[str, str]:
    assert compared.plan.target is not None
    return publish_captured(
        compared.identified.captured,
        SignedUrlStore(Uploads(plane, compared.plan.target), Network(settings.ca_cert)),
        lambda done, total: clock.listen(Progress("upload", "", done, total)),
    )


def _register(
    settings: Settings,
    compared: Compared,
    published: Published,
    plane: ControlPlane,
    clock: Clock,
) -> dict[str, tuple[str, ...]]:
    """Register, and return the triggers that went along, by task."""
    plan = compared.plan
    assert plan.target is not None
    stamp = requests(
        compared.identified,
        plan.target,
        plan.version,
        published.bundle,
        published.captured,
        published.images,
        triggers=settings.triggers,
    )
    live = compared.decision.triggers

    def make(task: Task) -> DeployTaskRequest:
        active = active_triggers(task, live.get(task.name, ()), insist=settings.activate_triggers)
        return stamp(task, active)

    # Those with triggers are made at once, so that their inputs are uploaded side by side; they are few.
    made = {one.task.name: make(one.task) for one in plan.to_register if one.task.triggers}
    offload_trigger_inputs(plane, plan.target, list(made.values()))

    def registration(task: Task) -> Registration:
        return Registration(task.name, lambda: made[task.name] if task.name in made else make(task))

    try:
        outcome = register(
            plane,
            [registration(one.task) for one in plan.to_register],
            concurrency=settings.concurrency,
            same=same_content,
            listen=clock.listen,
        )
    except Interrupted as interrupted:
        clock.listen(Progress("warning", str(interrupted.outcome)))
        raise
    if not outcome.complete:
        raise _incomplete(outcome)
    # The API has no transaction over tasks: what came of it is read back.
    missing = verify(plane, plan.target, plan.version, outcome.registered)
    if missing:
        raise DeployError(
            f"{len(missing)} tasks were registered as {plan.version} and are not there",
            where=plan.endpoint,
            details=missing[:_NAMED],
            mend="Somebody else may be writing there: run the same command again.",
        )
    made.update(
        {
            task.name: make(task)
            for task in compared.identified.tasks
            if task.triggers and task.name not in made
        }
    )
    return {name: encoded(request.triggers) for name, request in made.items() if request.triggers}


def _incomplete(outcome: Outcome) -> DeployError:
    reasons: dict[str, list[str]] = {}
    for name, error in outcome.failed:
        reasons.setdefault(str(error), []).append(name)
    details = [
        f"{', '.join(names[:_NAMED])}{' and more' if len(names) > _NAMED else ''}: {reason}"
        for reason, names in reasons.items()
    ]
    return DeployError(
        f"{len(outcome.failed)} tasks could not be registered",
        details=(*details, str(outcome)),
        mend="When that is mended, the same command completes it.",
    )
