"""A registered task as the request that registers it elsewhere, or under another version."""

from __future__ import annotations

import re
from collections.abc import Iterable

from flyteidl2.task.common_pb2 import TriggerAutomationSpec
from flyteidl2.task.task_definition_pb2 import TaskSpec, TaskTrigger, TaskTriggerSpec
from flyteidl2.task.task_service_pb2 import DeployTaskRequest
from flyteidl2.trigger.trigger_definition_pb2 import TriggerSpec

from flyte_deploy.model import Target
from flyte_deploy.specs.container import change_container, primary, with_options
from flyte_deploy.specs.walk import change_text

PREVIEW = re.compile(r"pr-(\d+)-")
"""What the versions of previews begin with, and the pull request's number."""

# What a deploy uploads lies below a digest of its content.
_STORED = re.compile(r"[a-z0-9]+://.*/[0-9a-f]{64}(/|$)")


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

    def with_version(arguments: list[str]) -> list[str]:
        return with_options(arguments, {"--version": lambda told: version if told == before else told})

    change_container(template, args=with_version)
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
    container = primary(spec.task_template)
    found = [f"environment variable {name}" for name, value in container.env.items() if word.search(value)]
    skip = False
    for argument in container.args:
        if skip:
            skip = False
        elif argument in ("--tgz", "--image-cache", "--version"):
            skip = True
        elif word.search(argument):
            found.append(f"argument {argument}")
    return tuple(found)


def stored(spec: TaskSpec) -> tuple[str, ...]:
    """The inputs whose defaults are files, or tables, that lie in some storage."""
    found = []
    for one in spec.default_inputs:
        addresses: list[str] = []

        def note(text: str, addresses: list[str] = addresses) -> str:
            if _STORED.match(text):
                addresses.append(text)
            return text

        change_text(one.parameter.default, note)
        if addresses:
            found.append(one.name)
    return tuple(found)
