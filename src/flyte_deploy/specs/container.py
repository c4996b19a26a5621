"""The container that a task's own code runs in: that of its template, or the primary one of its pod."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from flyteidl2.core.tasks_pb2 import Container, Resources, TaskTemplate
from google.protobuf.struct_pb2 import ListValue, Struct

_PRIMARY = "primary_container_name"

Arguments = Callable[[list[str]], list[str]]


@dataclass(frozen=True)
class Primary:
    """What a task's container is. All is empty for a task without one.

    Args:
        image: its address.
        command: its command.
        args: the arguments.
        env: environment variables; the value is empty where it is not written down.
        requests: resources in Kubernetes' words, ``cpu``, ``ephemeral-storage``, with their amounts.
        limits: likewise.
    """

    image: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    requests: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, str] = field(default_factory=dict)


def primary(template: TaskTemplate) -> Primary:
    """Read a task's container."""
    if template.HasField("container"):
        own = template.container
        return Primary(
            image=own.image,
            command=tuple(own.command),
            args=tuple(own.args),
            env={pair.key: pair.value for pair in own.env},
            requests={_resource(entry.name): entry.value for entry in own.resources.requests},
            limits={_resource(entry.name): entry.value for entry in own.resources.limits},
        )
    pod = _of_pod(template)
    if pod is None:
        return Primary()
    resources = pod.fields["resources"].struct_value if "resources" in pod.fields else Struct()
    return Primary(
        image=_text(pod, "image"),
        command=tuple(_texts(pod, "command")),
        args=tuple(_texts(pod, "args")),
        env={
            _text(one.struct_value, "name"): _text(one.struct_value, "value")
            for one in _list(pod, "env").values
        },
        requests=_amounts(resources, "requests"),
        limits=_amounts(resources, "limits"),
    )


def change_container(
    template: TaskTemplate, *, image: Callable[[str], str] = str, args: Arguments = list
) -> None:
    """Put what `image` and `args` make of a task's image and arguments in their place.

    A task that has no container stays as it is.
    """
    if template.HasField("container"):
        template.container.image = image(template.container.image)
        template.container.args[:] = args(list(template.container.args))
        return
    pod = _of_pod(template)
    if pod is None:
        return
    if "image" in pod.fields:
        pod.fields["image"].string_value = image(_text(pod, "image"))
    if "args" in pod.fields:
        changed = args(_texts(pod, "args"))
        values = pod.fields["args"].list_value.values
        del values[:]
        for text in changed:
            values.add().string_value = text


def clear_container(template: TaskTemplate) -> None:
    """Take away all that `primary` reads."""
    if template.HasField("container"):
        for name in ("image", "command", "args", "env", "resources"):
            template.container.ClearField(name)
        if template.container == Container():
            template.ClearField("container")
        return
    pod = _of_pod(template)
    if pod is not None:
        for name in ("image", "command", "args", "env", "resources"):
            pod.fields.pop(name, None)


def with_options(arguments: list[str], changes: Mapping[str, Callable[[str], str]]) -> list[str]:
    """The arguments, with the value after each of the named options changed."""
    changed = list(arguments)
    for index, name in enumerate(arguments[:-1]):
        if name in changes:
            changed[index + 1] = changes[name](arguments[index + 1])
    return changed


def _of_pod(template: TaskTemplate) -> Struct | None:
    if not template.HasField("k8s_pod"):
        return None
    containers = [one.struct_value for one in _list(template.k8s_pod.pod_spec, "containers").values]
    name = template.k8s_pod.primary_container_name or template.config.get(_PRIMARY)
    named = [one for one in containers if _text(one, "name") == name] or containers[:1]
    return named[0] if named else None


# Looking into a map of messages makes what is not there: each of these looks first.


def _text(struct: Struct, name: str) -> str:
    return struct.fields[name].string_value if name in struct.fields else ""


def _list(struct: Struct, name: str) -> ListValue:
    return struct.fields[name].list_value if name in struct.fields else ListValue()


def _texts(struct: Struct, name: str) -> list[str]:
    return [one.string_value for one in _list(struct, name).values]


def _amounts(resources: Struct, kind: str) -> dict[str, str]:
    if kind not in resources.fields:
        return {}
    amounts = resources.fields[kind].struct_value.fields
    return {name: value.string_value or f"{value.number_value:g}" for name, value in sorted(amounts.items())}


def _resource(name: int) -> str:
    return str(Resources.ResourceName.Name(name)).lower().replace("_", "-")
