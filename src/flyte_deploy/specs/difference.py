"""The difference between a task as it is registered and as it would be. Nothing is asked here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from flyteidl2.core.literals_pb2 import Literal
from flyteidl2.core.tasks_pb2 import TaskTemplate
from flyteidl2.core.types_pb2 import LiteralType
from flyteidl2.task.common_pb2 import Inputs, TriggerAutomationSpec
from flyteidl2.task.task_definition_pb2 import TaskSpec, TaskTriggerSpec
from flyteidl2.trigger.trigger_definition_pb2 import TriggerSpec
from google.protobuf.message import Message

from flyte_deploy.specs.changes import Change, FileChange, State
from flyte_deploy.specs.container import Primary, change_container, clear_container, primary, with_options
from flyte_deploy.specs.image import image_identity
from flyte_deploy.specs.same import change_image_of_actor, comparable, content_address
from flyte_deploy.specs.types import literal_text, same_literal, type_identity, type_text
from flyte_deploy.specs.walk import change_text, without_memory_addresses

_RESOURCES = {"ephemeral-storage": "disk", "storage": "disk"}
# These differ with every deploy, or are shown by themselves.
_FLEETING_ARGUMENTS = frozenset({"--version", "--tgz", "--image-cache", "--pkl", "--dest"})


@dataclass(frozen=True)
class TriggerState:
    """A trigger to be compared: its name, what it fires on, and the inputs that it gives.

    `inputs` is None where the backend keeps them elsewhere: those cannot be compared.
    """

    name: str
    automation: TriggerAutomationSpec
    inputs: Inputs | None = None

    @classmethod
    def of(
        cls, name: str, automation: TriggerAutomationSpec, spec: TriggerSpec | TaskTriggerSpec
    ) -> TriggerState:
        """The state of a trigger as it is sent, or lives."""
        return cls(name, automation, None if spec.HasField("offloaded_input_data") else spec.inputs)


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
    changes = [
        *_interface(before, after),
        *_template(before.task_template, after.task_template),
        *_triggers(live, declared),
        *_documentation(before, after),
    ]
    if changes:
        return "changed", tuple(changes)
    one, other = _neutral(before), _neutral(after)
    state: State = "unchanged"
    if _bundle_name(before) != _bundle_name(after):
        state = "bundle"
        _forget_bundle(one)
        _forget_bundle(other)
    return (state, ()) if comparable(one) == comparable(other) else ("changed", (Change("settings"),))


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
    template = copy.task_template
    template.ClearField("id")
    fleeting = {"--version": _nothing, "--image-cache": _nothing}
    change_container(template, image=image_identity, args=lambda args: with_options(args, fleeting))
    change_image_of_actor(template, image_identity)
    if not template.metadata.discoverable:
        # A digest of the task's code, which the SDK writes for tasks that are not cached too.
        template.metadata.discovery_version = ""
    if template.type == "actor" and "version" in template.custom.fields:
        # It moves with the code and the image's address, so that the actor does.
        del template.custom.fields["version"]
    return copy


def _nothing(_: str) -> str:
    return ""


def _bundle_name(spec: TaskSpec) -> str:
    return PurePosixPath(spec.task_template.metadata.code_bundle_uri).name


def _forget_bundle(spec: TaskSpec) -> None:
    spec.task_template.metadata.code_bundle_uri = ""
    change_container(spec.task_template, args=lambda args: with_options(args, {"--tgz": _nothing}))


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
            yield from _details("input", name, old_inputs[name], new_inputs[name])
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
        else:
            yield from _details("output", name, old_outputs[name], new_outputs[name])


def _details(aspect: str, name: str, before: LiteralType, after: LiteralType) -> Iterator[Change]:
    """What differs about a type that takes the same values."""
    one, other = (without_memory_addresses(t.SerializeToString(deterministic=True)) for t in (before, after))
    if one != other:
        text = type_text(after)
        yield Change(aspect, name, type_text(before), f"{text}, with other defaults or descriptions")


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
    old, new = primary(before), primary(after)
    if before.type != after.type:
        yield Change("type", before=before.type, after=after.type)
    yield from _values("resources", _resources(before, old), _resources(after, new))
    if image_identity(old.image) != image_identity(new.image):
        yield Change("image", before=old.image, after=new.image)
    yield from _values("cache", _cache(before), _cache(after))
    yield from _values("retries", {"": _retries(before)}, {"": _retries(after)})
    yield from _values("timeout", _timeouts(before), _timeouts(after))
    yield from _values("secret", _secrets(before), _secrets(after))
    yield from _values("environment variable", _environment(old), _environment(new))
    yield from _values("reuse", {"": _reuse(before)}, {"": _reuse(after)})
    one, other = before.metadata.runtime.version, after.metadata.runtime.version
    yield from _values("SDK", {"": one}, {"": other})
    if _arguments(old) != _arguments(new):
        yield Change("arguments")
    if before.metadata.interruptible != after.metadata.interruptible:
        yield Change(
            "interruptible", "", _yes(before.metadata.interruptible), _yes(after.metadata.interruptible)
        )
    rest, other_rest = _rest(before), _rest(after)
    if rest.SerializeToString(deterministic=True) != other_rest.SerializeToString(deterministic=True):
        yield Change("settings", "of the pod" if rest.k8s_pod != other_rest.k8s_pod else "")


def _resources(template: TaskTemplate, container: Primary) -> dict[str, str]:
    found = {
        f"{_RESOURCES.get(name, name)}{kind}": amount
        for kind, amounts in (("", container.requests), (" limit", container.limits))
        for name, amount in amounts.items()
    }
    extended = template.extended_resources
    if extended.HasField("gpu_accelerator"):
        device = extended.gpu_accelerator
        found["accelerator"] = (
            f"{device.device}{f' {device.partition_size}' if device.partition_size else ''}"
        )
    if extended.HasField("shared_memory"):
        found["shm"] = extended.shared_memory.size_limit or "auto"
    return found


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


def _environment(container: Primary) -> dict[str, str]:
    # Their values may be nobody's business: that they differ is said, not how.
    return {name: value or "''" for name, value in container.env.items() if name != "_F_SYS_PATH"}


def _reuse(template: TaskTemplate) -> str:
    if template.type != "actor":
        return ""
    fields = template.custom.fields
    policy = fields["spec"].struct_value.fields if "spec" in fields else {}
    parts = [
        f"{name.replace('_', ' ')} {_number(policy[name])}"
        for name in sorted(policy)
        if name != "container_image" and _number(policy[name])
    ]
    return ", ".join(parts) or "yes"


def _number(value: Message) -> str:
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        return f"{value.number_value:g}"  # type: ignore[attr-defined]
    return str(value.string_value) if kind == "string_value" else ""  # type: ignore[attr-defined]


def _arguments(container: Primary) -> list[str]:
    arguments = [*container.command, *container.args]
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


def _rest(template: TaskTemplate) -> TaskTemplate:
    """Everything that no aspect above looks at."""
    copy = TaskTemplate()
    copy.CopyFrom(template)
    for field in ("id", "type", "interface", "security_context", "extended_resources"):
        copy.ClearField(field)
    clear_container(copy)
    for field in (
        *("discoverable", "discovery_version", "cache_serializable", "cache_ignore_input_vars"),
        *("cache_max_age", "retries", "timeout", "timeouts", "interruptible", "runtime"),
        *("image_build_run", "code_bundle_uri"),
    ):
        copy.metadata.ClearField(field)
    if template.type == "actor":
        copy.ClearField("custom")
        copy.ClearField("reuse_policy")
    return copy


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
        elif trigger.inputs is not None and other.inputs is not None:
            yield from _inputs(trigger.name, other.inputs, trigger.inputs)
    for name, trigger in there.items():
        yield Change("trigger", name, before=automation_text(trigger.automation))


def _inputs(trigger: str, before: Inputs, after: Inputs) -> Iterator[Change]:
    old = {one.name: one.value for one in before.literals}
    new = {one.name: one.value for one in after.literals}
    for name in _in_order(old, new):
        if name in old and name in new and _comparable(old[name]) == _comparable(new[name]):
            continue
        was = literal_text(old[name]) if name in old else ""
        now = literal_text(new[name]) if name in new else ""
        yield Change("trigger", f"{trigger} input {name}", was, "another value" if was == now else now)


def _comparable(value: Literal) -> bytes:
    copy = Literal()
    copy.CopyFrom(value)
    change_text(copy, content_address)
    return without_memory_addresses(copy.SerializeToString(deterministic=True))


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
