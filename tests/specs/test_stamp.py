"""A stamped request equals one that was serialized with the values known from the start."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import flyte
import pytest
from flyte._internal.image_cache import ImageCache
from flyte._internal.runtime.convert import convert_upload_default_inputs
from flyte._internal.runtime.task_serde import translate_task_to_wire
from flyte.models import CodeBundle, SerializationContext
from flyteidl2.task.task_definition_pb2 import TaskSpec
from flyteidl2.task.task_service_pb2 import DeployTaskRequest
from google.protobuf.json_format import MessageToDict

from flyte_deploy.collector.inside import sdk
from flyte_deploy.collector.inside.serialize import Serializer
from flyte_deploy.errors import DeployError
from flyte_deploy.model import Target, Task
from flyte_deploy.specs.stamp import Stamps, image_cache, stamper

ROOT = Path(__file__).parent
BUNDLE = "s3://bucket/prefix/abc.tar.gz"
IMAGES = {"layered": "registry.example/layered:1", "plain": "registry.example/plain:2"}

layered = flyte.TaskEnvironment(
    name="layered",
    image=flyte.Image.from_debian_base(name="x", registry="registry.example").with_pip_packages("numpy"),
    resources=flyte.Resources(cpu=1, memory="1Gi"),
    env_vars={"A": "1"},
    secrets="token",
)
plain = flyte.TaskEnvironment(name="plain", image="registry.example/plain:2", depends_on=[layered])
pod = flyte.TaskEnvironment(
    name="pod",
    image="registry.example/plain:2",
    pod_template=flyte.PodTemplate(primary_container_name="primary", labels={"team": "a"}),
)
reused = flyte.TaskEnvironment(
    name="reused",
    image="registry.example/plain:2",
    reusable=flyte.ReusePolicy(replicas=2, idle_ttl=60),
)


@layered.task
async def one(a: int, b: str = "x", c: float = 1.5) -> str:
    return b


@plain.task(retries=2, timeout=30, cache="auto")
def two(a: list[int]) -> dict[str, float]:
    return {}


@pod.task
async def three() -> None: ...


@reused.task
async def four(a: int = 1) -> int:
    return a


ENVIRONMENTS = [layered, plain, pod, reused]


def collected(task: object) -> tuple[Task, str]:
    serializer = Serializer(str(ROOT), ENVIRONMENTS, with_bundle=True, sync_local_sys_paths=False)
    request = asyncio.run(serializer.request(task))
    name = task.name  # type: ignore[attr-defined]
    environment = name.partition(".")[0]
    return Task(name=name, short_name="", environment=environment, request=request), serializer.image_cache


def stamps(template: str, version: str = "v1", digest: str = "abc") -> Stamps:
    return Stamps(Target("p", "d", "o"), version, BUNDLE, digest, IMAGES, image_cache(template, IMAGES, {}))


@pytest.mark.parametrize("task", [one, two, three], ids=["container", "cached", "pod"])
def test_stamped_equals_directly_serialized(task: object) -> None:
    collected_task, template = collected(task)
    stamped = stamper(stamps(template))(collected_task, "", {})
    direct = translate_task_to_wire(
        task,
        SerializationContext(
            project="p",
            domain="d",
            org="o",
            version="v1",
            code_bundle=CodeBundle(tgz=BUNDLE, computed_version="abc", destination="."),
            image_cache=ImageCache(image_lookup={"layered": IMAGES["layered"]}),
            root_dir=ROOT,
        ),
        default_inputs=asyncio.run(convert_upload_default_inputs(task.interface)),  # type: ignore[attr-defined]
    )
    assert plain_data(stamped.spec) == plain_data(direct)
    identity = stamped.task_id
    assert (identity.project, identity.domain, identity.org, identity.version) == ("p", "d", "o", "v1")


def plain_data(spec: TaskSpec) -> Any:
    """A spec as plain data, its image cache unpacked: order and compression of that may differ."""
    spec.ClearField("documentation")
    text = json.dumps(MessageToDict(spec), sort_keys=True)
    (packed,) = re.findall(r'"--image-cache", "([^"]+)"', text)
    cache = json.loads(gzip.decompress(base64.b64decode(packed)))
    return json.loads(text.replace(packed, "images")), cache


def actor_version(**values: str) -> str:
    task, template = collected(four)
    request = stamper(stamps(template, **values))(task, "", {})
    assert request.spec.task_template.type == "actor"
    return str(request.spec.task_template.custom["version"])


def test_an_actors_version_moves_with_the_bundle_and_not_with_the_version() -> None:
    assert actor_version(digest="abc") == actor_version(digest="abc", version="v2")
    assert actor_version(digest="abc") != actor_version(digest="abd")
    assert len(actor_version()) == 15


def test_what_the_message_says_of_the_target_does_not_count() -> None:
    task, template = collected(one)
    forged = DeployTaskRequest.FromString(task.request)
    for identity in (forged.task_id, forged.spec.task_template.id):
        identity.project, identity.domain, identity.version, identity.name = "theirs", "production", "v9", "n"
    forged_task = Task(
        name="layered.one", short_name="", environment="layered", request=forged.SerializeToString()
    )
    request = stamper(stamps(template))(forged_task, "", {})
    for identity in (request.task_id, request.spec.task_template.id):
        assert (identity.project, identity.domain, identity.version) == ("p", "d", "v1")
        assert identity.name == "layered.one"


def test_a_placeholder_without_a_value_is_an_error() -> None:
    task, template = collected(one)
    forged = DeployTaskRequest.FromString(task.request)
    forged.spec.short_name = sdk.IMAGE.format("nowhere")
    with pytest.raises(DeployError, match="a placeholder was left"):
        stamper(stamps(template))(
            Task(name="n", short_name="", environment="layered", request=forged.SerializeToString()), "", {}
        )


def test_what_is_no_request_is_an_error() -> None:
    with pytest.raises(DeployError, match="cannot be read"):
        stamper(stamps('{"image_lookup": {}}'))(
            Task(name="n", short_name="", environment="", request=b"\xff\xff"), "", {}
        )


def test_only_what_is_deployed_is_in_the_image_cache() -> None:
    text = image_cache('{"image_lookup": {"layered": "x", "gone": "y"}, "build_run_ids": {}}', IMAGES, {})
    cache = json.loads(gzip.decompress(base64.b64decode(text)))
    assert cache == {"image_lookup": {"layered": IMAGES["layered"]}, "build_run_ids": {}}
    assert ImageCache.from_transport(text).image_lookup == {"layered": IMAGES["layered"]}
