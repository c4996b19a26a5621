"""What changes about a task, by its specs alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from flyteidl2.core.literals_pb2 import Literal
from flyteidl2.core.tasks_pb2 import Resources
from flyteidl2.core.types_pb2 import LiteralType, SimpleType
from flyteidl2.task.common_pb2 import Inputs, TriggerAutomationSpec
from flyteidl2.task.task_definition_pb2 import TaskSpec, TaskTriggerSpec

from flyte_deploy.specs.container import primary
from flyte_deploy.specs.difference import TriggerState, task_changes
from flyte_deploy.specs.same import same_content
from flyte_deploy.specs.stamp import image_cache
from flyte_deploy.specs.types import type_identity

TAG, OTHER_TAG = "0a" * 20, "0b" * 20
DIGEST, OTHER_DIGEST = f"@sha256:{'1' * 64}", f"@sha256:{'2' * 64}"
BUNDLE, OTHER_BUNDLE = f"s3://bucket/{'3' * 64}.tar.gz", f"s3://bucket/previews/{'4' * 64}.tar.gz"
FORMS = ("container", "pod", "actor")


def spec(
    form: str, image: str = f"r.example/t/app:{TAG}", bundle: str = BUNDLE, mode: str = "one", **more: str
) -> TaskSpec:
    """A spec as the SDK makes it of a task in a container, in a pod, or in a reusable environment."""
    made = TaskSpec()
    template = made.task_template
    template.metadata.code_bundle_uri = bundle
    # The SDK's newer versions write a digest of the code there, cached or not.
    template.metadata.discovery_version = bundle.rpartition("/")[2]
    template.type = "actor" if form == "actor" else "python"
    images = image_cache('{"image_lookup": {"e": ""}}', {"e": image}, {})
    arguments = ["a0", "--version", more.get("version", "v1"), "--image-cache", images, "--tgz", bundle]
    if form == "pod":
        main: dict[str, Any] = {
            "name": "main",
            "image": image,
            "args": arguments,
            "env": [{"name": "MODE", "value": mode}],
            "resources": {"requests": {"cpu": more.get("cpu", "1")}},
        }
        side = {"name": "side", "image": more.get("side", "side:1")}
        template.k8s_pod.pod_spec.update({"containers": [side, main]})
        template.config["primary_container_name"] = "main"
    else:
        template.container.image = image
        template.container.args.extend(arguments)
        template.container.env.add(key="MODE", value=mode)
        template.container.resources.requests.add(name=Resources.CPU, value=more.get("cpu", "1"))
    if form == "actor":
        policy: dict[str, Any] = {"container_image": image, "replica_count": float(more.get("replicas", "2"))}
        version = f"{image.partition('@')[0]} {bundle}"
        template.custom.update({"name": "e", "version": version, "type": "actor", "spec": policy})
    return made


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "preview", [f"r.example/t/app-preview:{TAG}{OTHER_DIGEST}", f"r.example/t/app:{TAG}"]
)
def test_a_preview_with_an_image_of_its_own(form: str, preview: str) -> None:
    before = spec(form, f"r.example/t/app:{TAG}{DIGEST}")
    assert task_changes(before, spec(form, preview, version="v2")) == ("unchanged", ())
    assert task_changes(before, spec(form, preview, OTHER_BUNDLE, version="v2")) == ("bundle", ())
    other = preview.replace(TAG, OTHER_TAG)
    state, changes = task_changes(before, spec(form, other, OTHER_BUNDLE))
    assert (state, [change.aspect for change in changes]) == ("changed", ["image"])


@pytest.mark.parametrize("form", FORMS)
def test_each_form_says_what_changes(form: str) -> None:
    before = spec(form)
    for after, expected in (
        (spec(form, mode="two"), "environment variable MODE: a value -> another"),
        (spec(form, cpu="2"), "resources cpu: 1 -> 2"),
        (spec(form, "app:2"), f"image: r.example/t/app:{TAG} -> app:2"),
    ):
        state, changes = task_changes(before, after)
        assert (state, list(map(str, changes))) == ("changed", [expected])


def test_what_belongs_to_one_form_alone() -> None:
    _, changes = task_changes(spec("pod"), spec("pod", side="side:2"))
    assert list(map(str, changes)) == ["settings of the pod changed"]
    _, changes = task_changes(spec("actor"), spec("actor", replicas="3"))
    assert list(map(str, changes)) == ["reuse: replica count 2 -> replica count 3"]
    before = spec("pod")
    kept = before.SerializeToString(deterministic=True)
    task_changes(before, spec("container"))
    assert before.SerializeToString(deterministic=True) == kept


@pytest.mark.parametrize("form", FORMS)
def test_the_same_content_elsewhere(form: str) -> None:
    one = spec(form, f"r.example/t/app:{TAG}{DIGEST}")
    assert same_content(one, spec(form, f"r.example/t/app:{TAG}{OTHER_DIGEST}"))
    moved = spec(form, f"r.example/t/app:{TAG}{DIGEST}", BUNDLE.replace("bucket", "other"))
    if form == "actor":
        moved.task_template.custom["version"] = one.task_template.custom["version"]
    assert same_content(one, moved)
    assert not same_content(one, spec(form, f"r.example/t/app:{TAG}", OTHER_BUNDLE))
    assert not same_content(one, spec(form, f"r.example/t/app:{OTHER_TAG}"))
    # A digest that somebody wrote is the content.
    for address in ("r.example/t/app", "r.example/t/app:1"):
        assert not same_content(spec(form, address + DIGEST), spec(form, address + OTHER_DIGEST))


def test_the_container_of_a_pod_is_read_as_any_other() -> None:
    one, other = primary(spec("container").task_template), primary(spec("pod").task_template)
    assert one == other
    assert primary(TaskSpec().task_template).image == ""


SCHEMA: dict[str, Any] = {
    "title": "Point",
    "type": "object",
    "description": "A point.",
    "required": ["x"],
    "properties": {
        "x": {"type": "integer", "title": "X"},
        "y": {"type": "integer", "default": 0.0, "examples": ["1"]},
        "default": {"type": "string", "default": ""},
        "inner": {"$ref": "#/$defs/Inner", "default": {"a": 1.0}},
    },
    "$defs": {"Inner": {"properties": {"a": {"type": "number", "default": 1.0}}}},
}


def schema_type(schema: dict[str, Any]) -> LiteralType:
    made = LiteralType(simple=SimpleType.STRUCT)
    made.metadata.update(schema)
    return made


def changed(*path: str, to: Any) -> dict[str, Any]:
    schema = copy.deepcopy(SCHEMA)
    place = schema
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = to
    return schema


@pytest.mark.parametrize(
    ("path", "to", "same"),
    [
        (("properties", "y", "default"), 7.0, True),
        (("properties", "inner", "default"), {"a": 2.0}, True),
        (("$defs", "Inner", "properties", "a", "default"), 2.0, True),
        (("description",), "Another.", True),
        (("required",), ["x", "y"], False),
        (("properties", "y", "type"), "string", False),
        # A field of that name is one like others.
        (("properties", "default", "type"), "integer", False),
        (("$defs", "Inner", "properties", "a", "type"), "string", False),
    ],
)
def test_which_values_a_dataclass_takes(path: tuple[str, ...], to: Any, same: bool) -> None:
    one, other = type_identity(schema_type(SCHEMA)), type_identity(schema_type(changed(*path, to=to)))
    assert (one == other) is same


def test_memory_addresses_are_no_change() -> None:
    def pickled(name: str) -> TaskSpec:
        kind = LiteralType(simple=SimpleType.STRUCT)
        kind.metadata.update({"title": name, "python_class_name": name})
        made = TaskSpec()
        made.task_template.interface.inputs.variables.add(key="x").value.type.CopyFrom(kind)
        made.default_inputs.add(name="x").parameter.default.scalar.primitive.string_value = name
        return made

    before = pickled("<app.Thing object at 0x7f3a5c0d1e90>")
    assert task_changes(before, pickled("<app.Thing object at 0x55d0aa10b3c0>")) == ("unchanged", ())
    _, changes = task_changes(before, pickled("<app.Other object at 0x7f3a5c0d1e90>"))
    assert [change.breaking for change in changes] == [True]


def given(**inputs: int | bytes) -> TriggerState:
    sent = TaskTriggerSpec(inputs=Inputs())
    for name, value in inputs.items():
        literal = Literal()
        if isinstance(value, bytes):
            literal.scalar.binary.value = value
        else:
            literal.scalar.primitive.integer = value
        sent.inputs.literals.add(name=name, value=literal)
    return TriggerState.of("nightly", TriggerAutomationSpec(), sent)


def test_the_inputs_of_a_trigger() -> None:
    def changes(live: TriggerState, declared: TriggerState) -> list[str]:
        return list(map(str, task_changes(spec("container"), spec("container"), [live], [declared])[1]))

    assert changes(given(x=1, y=2), given(x=1, y=2)) == []
    assert changes(given(x=1, y=2), given(x=2, z=3)) == [
        "trigger nightly input x: 1 -> 2",
        "trigger nightly input y removed (2)",
        "trigger nightly input z added: 3",
    ]
    assert changes(given(x=b"1"), given(x=b"2")) == ["trigger nightly input x: a value -> another value"]
    # What lies elsewhere cannot be read.
    elsewhere = TaskTriggerSpec()
    elsewhere.offloaded_input_data.uri = "s3://inputs"
    live = TriggerState.of("nightly", TriggerAutomationSpec(), elsewhere)
    assert changes(live, given(x=1)) == []
