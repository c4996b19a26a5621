"""A registered task as the request that registers it elsewhere, or under another version."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from flyteidl2.task.common_pb2 import TriggerAutomationSpec
from flyteidl2.task.task_definition_pb2 import TaskSpec, TaskTrigger, TaskTriggerSpec
from flyteidl2.task.task_service_pb2 import DeployTaskRequest
from flyteidl2.trigger.trigger_definition_pb2 import TriggerSpec
from google.protobuf.struct_pb2 import ListValue, Struct

from flyte_deploy.model import Target

PREVIEW = re.compile(r"pr-(\d+)-")
"""What the versions of previews begin with, and the pull request's number."""


def carried(
    spec: TaskSpec, name: str, before: str, target: Target, version: str, triggers: Iterable[TaskTrigger] = ()
) -> DeployTaskRequest:
    """The request that registers a task's spec in a target, under a version; everything else stays.

    Args:
        spec: as it is registered, with the version `before`.
        name: the task's name.
        before: the version that its container is told.
        target: where.
        version: the new one.
        triggers: those that go along.
    """
    request = DeployTaskRequest(triggers=list(triggers))
    request.spec.CopyFrom(spec)
    for identity in (request.task_id, request.spec.task_template.id):
        identity.org, identity.project, identity.domain = target.org, target.project, target.domain
        identity.name, identity.version = name, version
    template = request.spec.task_template
    if template.HasField("container"):
        arguments = list(template.container.args)
        for index, argument in enumerate(arguments[:-1]):
            if argument == "--version" and arguments[index + 1] == before:
                arguments[index + 1] = version
        template.container.args[:] = arguments
    if template.HasField("k8s_pod"):
        _version_in_struct(template.k8s_pod.pod_spec, before, version)
    return request


def trigger_of(
    name: str, spec: TriggerSpec, automation: TriggerAutomationSpec, *, active: bool
) -> TaskTrigger:
    """A live trigger as it is sent along with a task."""
    sent = TaskTriggerSpec(active=active, description=spec.description)
    for field in ("inputs", "offloaded_input_data", "run_spec"):
        if spec.HasField(field):
            getattr(sent, field).CopyFrom(getattr(spec, field))
    return TaskTrigger(name=name, spec=sent, automation_spec=automation)


def names_of_place(spec: TaskSpec, place: Target) -> tuple[str, ...]:
    """Where a spec names the domain it was made for, in words: such a text goes along as it is."""
    word = re.compile(rf"(?<![\w-]){re.escape(place.domain)}(?![\w-])")
    container = spec.task_template.container
    found = [f"environment variable {pair.key}" for pair in container.env if word.search(pair.value)]
    skip = False
    for argument in container.args:
        if skip:
            skip = False
        elif argument in ("--tgz", "--image-cache", "--version"):
            skip = True
        elif word.search(argument):
            found.append(f"argument {argument}")
    return tuple(found)


def _version_in_struct(struct: Struct, before: str, version: str) -> None:
    for values in _lists(struct):
        for index, value in enumerate(values[:-1]):
            following = values[index + 1]
            if value.string_value == "--version" and following.string_value == before:
                following.string_value = version


def _lists(struct: Struct | ListValue) -> Iterator[list]:  # type: ignore[type-arg]
    values = list(struct.fields.values()) if isinstance(struct, Struct) else list(struct.values)
    if isinstance(struct, ListValue):
        yield values
    for value in values:
        kind = value.WhichOneof("kind")
        if kind in ("struct_value", "list_value"):
            yield from _lists(getattr(value, kind))
