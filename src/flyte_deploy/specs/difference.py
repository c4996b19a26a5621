"""The difference between a task as it is registered and as it would be. Nothing is asked here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from flyteidl2.core.tasks_pb2 import Resources, TaskTemplate
from flyteidl2.task.common_pb2 import TriggerAutomationSpec
from flyteidl2.task.task_definition_pb2 import TaskSpec
from google.protobuf.message import Message

from flyte_deploy.specs.changes import Change, FileChange, State
from flyte_deploy.specs.same import comparable
from flyte_deploy.specs.types import literal_text, same_literal, type_identity, type_text

_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_OWN_TAG = re.compile(r":([0-9a-f]{40})$")
_ALLOCATED = {"CPU": "cpu", "MEMORY": "memory", "GPU": "gpu", "EPHEMERAL_STORAGE": "disk", "STORAGE": "disk"}
# These differ with every deploy, or are shown by themselves.
_FLEETING_ARGUMENTS = frozenset({"--version", "--tgz", "--image-cache", "--pkl", "--dest"})


@dataclass(frozen=True)
class TriggerState:
    """A trigger to be compared: its name and what it fires on."""

    name: str
    automation: TriggerAutomationSpec


def task_changes(
    before: TaskSpec,
    after: TaskSpec,
    live: Sequence[TriggerState] = (),
    declared: Sequence[TriggerState] = (),
) -> tuple[State, tuple[Change, ...]]:
    """What changes about a task.

    Args:
        before: as it is registered.
        after: as it would be registered.
        live: its triggers as they live.
        declared: those of the code. A code without any leaves live ones as they are, which is no change.

    Returns:
        ``changed`` with the changes, ``bundle`` where only the code that goes along differs, ``unchanged``.
    """
    one, other = _neutral(before), _neutral(after)
    changes = [
        *_interface(one, other),
        *_template(one.task_template, other.task_template),
        *_triggers(live, declared),
        *_documentation(one, other),
    ]
    if changes:
        return "changed", tuple(changes)
    if _bundle_name(before) != _bundle_name(after):
        _forget_bundle(one)
        _forget_bundle(other)
        return ("bundle", ()) if comparable(one) == comparable(other) else ("changed", (Change("settings"),))
    return ("unchanged", ()) if comparable(one) == comparable(other) else ("changed", (Change("settings"),))


def file_changes(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[FileChange, ...]:
    """The files that differ between two bundles, by path; the mappings are from path to digest."""
    paths = sorted(before.keys() | after.keys())
    return tuple(
        FileChange(path, "added" if path not in before else "removed" if path not in after else "changed")
        for path in paths
        if before.get(path) != after.get(path)
    )


def _neutral(spec: TaskSpec) -> TaskSpec:
    """The spec without what says where it was registered: a preview is compared with another domain."""
    copy = TaskSpec()
    copy.CopyFrom(spec)
    copy.task_template.ClearField("id")
    arguments = list(copy.task_template.container.args)
    for index, argument in enumerate(arguments[:-1]):
        if argument in ("--version", "--image-cache"):
            arguments[index + 1] = ""
    if copy.task_template.HasField("container"):
        copy.task_template.container.args[:] = arguments
    return copy


def _bundle_name(spec: TaskSpec) -> str:
    return PurePosixPath(spec.task_template.metadata.code_bundle_uri).name


def _forget_bundle(spec: TaskSpec) -> None:
    spec.task_template.metadata.code_bundle_uri = ""
    if spec.task_template.type == "actor" and "version" in spec.task_template.custom.fields:
        # It moves with the code, so that the actor does.
        del spec.task_template.custom.fields["version"]
    arguments = list(spec.task_template.container.args)
    for index, argument in enumerate(arguments[:-1]):
        if argument == "--tgz":
            arguments[index + 1] = ""
    if spec.task_template.HasField("container"):
        spec.task_template.container.args[:] = arguments


def _interface(before: TaskSpec, after: TaskSpec) -> Iterator[Change]:
    old, new = before.task_template.interface, after.task_template.interface
    old_inputs = {entry.key: entry.value.type for entry in old.inputs.variables}
    new_inputs = {entry.key: entry.value.type for entry in new.inputs.variables}
    old_defaults = {one.name: one.parameter for one in before.default_inputs}
    new_defaults = {one.name: one.parameter for one in after.default_inputs}
    for name in _in_order(old_inputs, new_inputs):
        required = name not in new_defaults or new_defaults[name].required
        if name not in new_inputs:
            yield Change("input", name, before=type_text(old_inputs[name]), breaking=True)
        elif name not in old_inputs:
            text = type_text(new_inputs[name]) + (
                ", required" if required else f" = {literal_text(new_defaults[name].default)}"
            )
            yield Change("input", name, after=text, breaking=required)
        elif type_identity(old_inputs[name]) != type_identity(new_inputs[name]):
            yield Change("input", name, *_two_types(old_inputs[name], new_inputs[name]), breaking=True)
        else:
            yield from _default(name, old_defaults, new_defaults, required=required)
    old_outputs = {entry.key: entry.value.type for entry in old.outputs.variables}
    new_outputs = {entry.key: entry.value.type for entry in new.outputs.variables}
    for name in _in_order(old_outputs, new_outputs):
        if name not in new_outputs:
            yield Change("output", name, before=type_text(old_outputs[name]), breaking=True)
        elif name not in old_outputs:
            yield Change("output", name, after=type_text(new_outputs[name]))
        elif type_identity(old_outputs[name]) != type_identity(new_outputs[name]):
            yield Change("output", name, *_two_types(old_outputs[name], new_outputs[name]), breaking=True)


def _default(
    name: str, before: Mapping[str, Message], after: Mapping[str, Message], *, required: bool
) -> Iterator[Change]:
    old, new = before.get(name), after.get(name)
    was = literal_text(old.default) if old is not None else "required"  # type: ignore[attr-defined]
    if required and old is not None and not old.required:  # type: ignore[attr-defined]
        yield Change("default", name, before=was, after="required", breaking=True)
    elif old is None and new is not None:
        yield Change("default", name, after=literal_text(new.default))  # type: ignore[attr-defined]
    elif old is not None and new is not None and not _same_default(old, new):
        yield Change("default", name, before=was, after=literal_text(new.default))  # type: ignore[attr-defined]


def _same_default(old: Message, new: Message) -> bool:
    return same_literal(old.default, new.default)  # type: ignore[attr-defined]


def _two_types(before: Message, after: Message) -> tuple[str, str]:
    one, other = type_text(before), type_text(after)  # type: ignore[arg-type]
    return one, other if one != other else f"{other}, with other fields"


def _template(before: TaskTemplate, after: TaskTemplate) -> Iterator[Change]:
    if before.type != after.type:
        yield Change("type", before=before.type, after=after.type)
    yield from _values("resources", _resources(before), _resources(after))
    one, other = _image(before), _image(after)
    if _image_identity(one) != _image_identity(other):
        yield Change("image", before=one, after=other)
    yield from _values("cache", _cache(before), _cache(after))
    yield from _values("retries", {"": _retries(before)}, {"": _retries(after)})
    yield from _values("timeout", _timeouts(before), _timeouts(after))
    yield from _values("secret", _secrets(before), _secrets(after))
    yield from _values("environment variable", _environment(before), _environment(after))
    yield from _values("reuse", {"": _reuse(before)}, {"": _reuse(after)})
    one, other = before.metadata.runtime.version, after.metadata.runtime.version
    yield from _values("SDK", {"": one}, {"": other})
    if _arguments(before) != _arguments(after):
        yield Change("arguments")
    if before.metadata.interruptible != after.metadata.interruptible:
        yield Change(
            "interruptible", "", _yes(before.metadata.interruptible), _yes(after.metadata.interruptible)
        )
    if _rest(before) != _rest(after):
        yield Change("settings", "of the pod" if before.k8s_pod != after.k8s_pod else "")


def _resources(template: TaskTemplate) -> dict[str, str]:
    found: dict[str, str] = {}
    for kind, entries in (
        ("", template.container.resources.requests),
        (" limit", template.container.resources.limits),
    ):
        for entry in entries:
            name = Resources.ResourceName.Name(entry.name)
            found[_ALLOCATED.get(name, name.lower()) + kind] = entry.value
    extended = template.extended_resources
    if extended.HasField("gpu_accelerator"):
        device = extended.gpu_accelerator
        found["accelerator"] = (
            f"{device.device}{f' {device.partition_size}' if device.partition_size else ''}"
        )
    if extended.HasField("shared_memory"):
        found["shm"] = extended.shared_memory.size_limit or "auto"
    return found


def _image(template: TaskTemplate) -> str:
    return str(template.container.image)


def _image_identity(image: str) -> str:
    """What tells one image from another: its digest says less than its tag, and one of our own tags all."""
    # Without a tag the digest is all there is.
    address = _DIGEST.sub("", image) if ":" in _DIGEST.sub("", image).rpartition("/")[2] else image
    own = _OWN_TAG.search(address)
    return own[1] if own else address


def _cache(template: TaskTemplate) -> dict[str, str]:
    metadata = template.metadata
    if not metadata.discoverable:
        return {"": "off"}
    found = {"": "on", "version": metadata.discovery_version[:12]}
    if metadata.cache_serializable:
        found["serialize"] = "yes"
    if metadata.cache_ignore_input_vars:
        found["ignored inputs"] = ", ".join(sorted(metadata.cache_ignore_input_vars))
    if metadata.HasField("cache_max_age"):
        found["max age"] = f"{metadata.cache_max_age.seconds} s"
    return found


def _retries(template: TaskTemplate) -> str:
    strategy = template.metadata.retries
    rest = type(strategy)()
    rest.CopyFrom(strategy)
    rest.retries = 0
    return f"{strategy.retries}" + (" with backoff" if rest.ByteSize() else "")


def _timeouts(template: TaskTemplate) -> dict[str, str]:
    found: dict[str, str] = {}
    if template.metadata.timeout.seconds:
        found[""] = f"{template.metadata.timeout.seconds} s"
    for field, value in template.metadata.timeouts.ListFields():
        seconds = getattr(value, "seconds", None)
        found[field.name.replace("_", " ")] = f"{seconds} s" if seconds is not None else str(value)
    return found


def _secrets(template: TaskTemplate) -> dict[str, str]:
    return {
        "/".join(part for part in (secret.group, secret.key) if part): f"as {secret.env_var}"
        if secret.env_var
        else "mounted"
        for secret in template.security_context.secrets
    }


def _environment(template: TaskTemplate) -> dict[str, str]:
    # Their values may be nobody's business: that they differ is said, not how.
    return {pair.key: pair.value or "''" for pair in template.container.env if pair.key != "_F_SYS_PATH"}


def _reuse(template: TaskTemplate) -> str:
    if template.type != "actor":
        return ""
    fields = template.custom.fields
    parts = [
        f"{name.replace('_', ' ')} {_number(fields[name])}"
        for name in sorted(fields)
        if name not in ("name", "version", "type") and _number(fields[name])
    ]
    return ", ".join(parts) or "yes"


def _number(value: Message) -> str:
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        return f"{value.number_value:g}"  # type: ignore[attr-defined]
    return str(value.string_value) if kind == "string_value" else ""  # type: ignore[attr-defined]


def _arguments(template: TaskTemplate) -> list[str]:
    arguments = [*template.container.command, *template.container.args]
    kept: list[str] = []
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument in _FLEETING_ARGUMENTS:
            skip = True
        else:
            kept.append(argument)
    return kept


def _rest(template: TaskTemplate) -> bytes:
    """Everything that no aspect above looks at."""
    copy = TaskTemplate()
    copy.CopyFrom(template)
    for field in ("id", "type", "interface", "security_context", "extended_resources"):
        copy.ClearField(field)
    for field in ("image", "args", "command", "resources", "env"):
        copy.container.ClearField(field)
    if copy.container.ByteSize() == 0:
        copy.ClearField("container")
    for field in (
        *("discoverable", "discovery_version", "cache_serializable", "cache_ignore_input_vars"),
        *("cache_max_age", "retries", "timeout", "timeouts", "interruptible", "runtime"),
        *("image_build_run", "code_bundle_uri"),
    ):
        copy.metadata.ClearField(field)
    if copy.type == "actor" or template.type == "actor":
        copy.ClearField("custom")
    return copy.SerializeToString(deterministic=True)


def _triggers(live: Sequence[TriggerState], declared: Sequence[TriggerState]) -> Iterator[Change]:
    if not declared:
        return
    there = {trigger.name: trigger for trigger in live}
    for trigger in declared:
        other = there.pop(trigger.name, None)
        now = automation_text(trigger.automation)
        if other is None:
            yield Change("trigger", trigger.name, after=now)
        elif other.automation != trigger.automation:
            yield Change("trigger", trigger.name, automation_text(other.automation), now)
    for name, trigger in there.items():
        yield Change("trigger", name, before=automation_text(trigger.automation))


def automation_text(automation: TriggerAutomationSpec) -> str:
    """What a trigger fires on, in words."""
    schedule = automation.schedule
    which = schedule.WhichOneof("expression")
    if which == "rate":
        unit = {1: "minute", 2: "hour", 3: "day"}.get(schedule.rate.unit, "unit")
        return f"every {schedule.rate.value} {unit}{'' if schedule.rate.value == 1 else 's'}"
    if which == "cron":
        zone = f" {schedule.cron.timezone}" if schedule.cron.timezone else ""
        return f"cron {schedule.cron.expression}{zone}"
    if which == "cron_expression":
        return f"cron {schedule.cron_expression}"
    return "an artifact" if automation.HasField("artifact") else "something"


def _documentation(before: TaskSpec, after: TaskSpec) -> Iterator[Change]:
    one, other = before.documentation, after.documentation
    # The backend cuts descriptions, so that the end of a long one is not known.
    same = (
        one.short_description[:255] == other.short_description[:255]
        and one.long_description[:2048] == other.long_description[:2048]
        and before.environment.description[:255] == after.environment.description[:255]
    )
    if not same:
        yield Change("documentation")


def _values(aspect: str, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Change]:
    hidden = aspect == "environment variable"
    for name in _in_order(before, after):
        old, new = before.get(name, ""), after.get(name, "")
        if old == new:
            continue
        if hidden:
            old, new = ("a value" if old else ""), ("another" if old and new else "a value" if new else "")
        yield Change(aspect, name, old, new)


def _in_order(before: Iterable[str], after: Iterable[str]) -> list[str]:
    return list(dict.fromkeys([*before, *after]))


def _yes(value: object) -> str:
    return "yes" if value else "no"
