"""Signed addresses, and what is put there."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import http.client
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest
from flyteidl2.cluster.payload_pb2 import SelectClusterRequest
from flyteidl2.dataproxy.dataproxy_service_pb2 import (
    CreateUploadLocationRequest,
    CreateUploadLocationResponse,
    UploadInputsRequest,
)
from flyteidl2.task.common_pb2 import Inputs
from google.protobuf.duration_pb2 import Duration

from flyte_deploy.embedded import Embedded, Fault, running
from tests.embedded.conftest import PROJECT, Client, Connect, deployment, refusal

CONTENT = b"the bundle's bytes" * 1000
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).digest()
MD5_TEXT = base64.b64encode(MD5).decode()


def ask(client: Client, **fields: object) -> CreateUploadLocationResponse:
    request = CreateUploadLocationRequest(project=PROJECT.name, domain=PROJECT.domain)
    request.MergeFrom(CreateUploadLocationRequest(filename="bundle.tar.gz", content_md5=MD5))
    for name, value in fields.items():
        if isinstance(value, Duration):
            getattr(request, name).CopyFrom(value)
        else:
            setattr(request, name, value)
    location: CreateUploadLocationResponse = client.data.CreateUploadLocation(request)
    return location


@dataclass(frozen=True)
class Answer:
    status: int
    body: str


def send(url: str, content: bytes, headers: dict[str, str], method: str = "PUT") -> Answer:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    try:
        connection.request(method, f"{parts.path}?{parts.query}", content, headers)
        response = connection.getresponse()
        return Answer(response.status, response.read().decode())
    finally:
        connection.close()


def put(location: CreateUploadLocationResponse, content: bytes = CONTENT, **headers: str) -> Answer:
    changed = {name.replace("_", "-"): value for name, value in headers.items()}
    given = {**location.headers, "Content-Length": str(len(content)), **changed}
    return send(location.signed_url, content, {name: value for name, value in given.items() if value})


def stored(location: CreateUploadLocationResponse) -> Path:
    return Path(location.native_url.removeprefix("file://"))


@pytest.fixture
def clean(plane: Embedded) -> Iterator[Embedded]:
    """A control plane that leaves nothing half written, whatever the test does."""
    yield plane
    assert list((plane.data / "incoming").iterdir()) == []


def test_what_is_put_lies_at_its_native_address(client: Client, clean: Embedded) -> None:
    location = ask(client)
    assert not stored(location).exists()
    assert put(location).status == 200
    assert stored(location).read_bytes() == CONTENT
    folder = base64.b32encode(MD5).decode()
    assert location.native_url.endswith(f"/uploads/flytesnacks/development/{folder}/bundle.tar.gz")
    assert [(call.method, call.code) for call in clean.calls()] == [
        ("CreateUploadLocation", "ok"),
        ("PUT", "ok"),
    ]


def test_flytes_own_storage_reads_it(client: Client) -> None:
    from flyte.storage import get_stream  # the SDK takes a second to import

    location = ask(client)
    put(location)

    async def read() -> bytes:
        return b"".join([bytes(chunk) async for chunk in get_stream(location.native_url)])

    assert asyncio.run(read()) == CONTENT


def test_it_can_be_fetched(client: Client) -> None:
    location = ask(client)
    url = location.signed_url.partition("?")[0]
    assert send(url, b"", {}, "GET").status == 404
    put(location)
    assert send(url, b"", {}, "GET") == Answer(200, CONTENT.decode())
    assert send(url, b"", {}, "HEAD") == Answer(200, "")
    assert send(url, b"", {}, "POST").status == 405


def test_it_can_be_put_again(client: Client) -> None:
    location = ask(client)
    assert [put(location).status for _ in range(3)] == [200, 200, 200]


def test_an_empty_object(client: Client) -> None:
    location = ask(client, content_md5=hashlib.md5(b"", usedforsecurity=False).digest())
    assert put(location, b"").status == 200
    assert stored(location).read_bytes() == b""


def test_names_with_odd_characters(client: Client) -> None:
    location = ask(client, filename="größe & 100%?.txt", filename_root="a b/c+d")
    assert put(location).status == 200
    assert stored(location).read_bytes() == CONTENT
    assert stored(location).name == "größe & 100%?.txt"


def test_a_body_that_is_not_what_was_announced(client: Client, clean: Embedded) -> None:
    location = ask(client)
    answer = put(location, CONTENT[:-1] + b"!")
    assert (answer.status, "<Code>BadDigest</Code>" in answer.body) == (400, True)
    assert not stored(location).exists()
    assert clean.calls()[-1].code == "BadDigest"


def test_the_md5_of_the_header_counts_where_none_was_signed(client: Client) -> None:
    location = ask(client, content_md5=b"", filename_root="root")
    assert put(location, Content_MD5=base64.b64encode(b"0" * 16).decode()).status == 400
    assert put(location, Content_MD5="nonsense").status == 400
    assert not stored(location).exists()
    assert put(location).status == 200


@pytest.mark.parametrize("header", ["Content_MD5", "x_amz_meta_flyteContentMD5"])
@pytest.mark.parametrize("value", ["", base64.b64encode(b"0" * 16).decode()])
def test_headers_that_were_signed(client: Client, clean: Embedded, header: str, value: str) -> None:
    location = ask(client, add_content_md5_metadata=True)
    answer = put(location, CONTENT, **{header: value})
    assert (answer.status, "SignatureDoesNotMatch" in answer.body) == (403, True)
    assert not stored(location).exists()


def test_a_length_that_was_announced(client: Client, clean: Embedded) -> None:
    location = ask(client, content_length=len(CONTENT) + 1)
    assert put(location).status == 403
    assert not stored(location).exists()
    assert put(ask(client, content_length=len(CONTENT))).status == 200


def test_a_length_is_needed(client: Client) -> None:
    location = ask(client)
    headers = {"Content-MD5": MD5_TEXT, "Transfer-Encoding": "chunked"}
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(CONTENT), CONTENT)
    assert send(location.signed_url, chunked, headers).status == 411


def test_a_body_that_ends_early_leaves_nothing(client: Client, clean: Embedded) -> None:
    location = ask(client)
    parts = urlsplit(location.signed_url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    connection.putrequest("PUT", f"{parts.path}?{parts.query}")
    connection.putheader("Content-Length", str(len(CONTENT)))
    connection.putheader("Content-MD5", MD5_TEXT)
    connection.endheaders(CONTENT[:100])
    connection.close()
    assert put(ask(client, filename="another")).status == 200
    wait_for(lambda: "Canceled" in {call.code for call in clean.calls()})
    assert not stored(location).exists()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_address_that_has_expired(client: Client, clean: Embedded) -> None:
    location = ask(client, expires_in=Duration(nanos=1))
    answer = put(location)
    assert (answer.status, "Request has expired" in answer.body) == (403, True)
    assert not stored(location).exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("bundle.tar.gz?", "other.tar.gz?"),
        ("bundle.tar.gz?", "../bundle.tar.gz?"),
        ("/development/", "/production/"),
        ("expires=1", "expires=2"),
        ("length=&", "length=18000&"),
        ("keep-md5=&", "keep-md5=1&"),
        ("signature=", "signature=0"),
        ("signature=", "other="),
        ("?", "#?"),
    ],
)
def test_an_address_that_was_tampered_with(client: Client, clean: Embedded, old: str, new: str) -> None:
    location = ask(client)
    assert old in location.signed_url
    tampered = CreateUploadLocationResponse()
    tampered.CopyFrom(location)
    tampered.signed_url = location.signed_url.replace(old, new, 1)
    answer = put(tampered)
    assert (answer.status, "SignatureDoesNotMatch" in answer.body) == (403, True)
    assert not any(path.is_file() for path in (clean.data / "store").rglob("*"))


def test_a_large_body_that_is_refused_gets_its_answer(client: Client, clean: Embedded) -> None:
    answer = put(ask(client, expires_in=Duration(nanos=1)), bytes(30_000_000))
    assert (answer.status, "Request has expired" in answer.body) == (403, True)


def test_an_address_of_another_control_plane(client: Client, connect: Connect) -> None:
    location = ask(client)
    with running() as other:
        moved = CreateUploadLocationResponse(
            signed_url=location.signed_url.replace(urlsplit(location.signed_url).netloc, other.endpoint)
        )
        moved.headers.update(location.headers)
        assert put(moved).status == 403


@pytest.mark.parametrize("path", ["../control-plane.db", "..%2fcontrol-plane.db", "%2fetc%2fpasswd", "%00"])
def test_no_way_out_of_the_store(plane: Embedded, path: str) -> None:
    assert send(f"http://{plane.endpoint}/store/{path}", b"", {}, "GET").status == 404


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"filename_root": "../.."}, "not a name in the store: '..'"),
        ({"filename_root": "/etc"}, "not a name in the store: ''"),
        ({"filename": "a/../b"}, "not a name in the store: '..'"),
        ({"filename": "n" * 300}, "not a name in the store"),
        ({"project": ""}, "project: "),
        ({"content_md5": b""}, "either filename_root or content_md5 must be provided"),
        ({"content_md5": b"short"}, "content_md5: "),
        ({"expires_in": Duration(seconds=3601)}, "exceeds maximum allowed duration"),
        ({"content_length": 6 * 1024**3}, "exceeds maximum allowed size"),
    ],
)
def test_wrong_requests_are_refused(client: Client, fields: dict[str, object], words: str) -> None:
    status, said = refusal(lambda: ask(client, **fields))
    assert status is grpc.StatusCode.INVALID_ARGUMENT
    assert words in said


def test_an_unknown_project(client: Client) -> None:
    assert refusal(lambda: ask(client, project="nobodys"))[0] is grpc.StatusCode.NOT_FOUND


def test_looking_whether_a_named_object_is_there(client: Client) -> None:
    look = {"filename_root": "digest", "content_md5": b""}
    assert ask(client, **look).native_url.endswith("/uploads/flytesnacks/development/digest/bundle.tar.gz")
    put(ask(client, filename_root="digest"))
    status, said = refusal(lambda: ask(client, **look))
    assert status is grpc.StatusCode.ALREADY_EXISTS
    assert "content_md5 is required" in said


def test_the_same_content_again_is_accepted_where_its_md5_is_known(client: Client) -> None:
    put(ask(client, filename_root="known", add_content_md5_metadata=True))
    put(ask(client, filename_root="unknown"))
    assert ask(client, filename_root="known").signed_url
    others: tuple[dict[str, Any], ...] = (
        {"filename_root": "unknown"},
        {"filename_root": "known", "content_md5": b"0" * 16},
    )
    for fields in others:
        status, said = refusal(partial(ask, client, **fields))
        assert status is grpc.StatusCode.ALREADY_EXISTS
        assert "hash mismatch" in said


def test_headers_are_those_that_the_backend_answers_for_s3(client: Client) -> None:
    # Content-Length is the length of the MD5's text there: clients have to put their own.
    assert dict(ask(client).headers) == {"Content-MD5": MD5_TEXT, "Content-Length": "24"}
    assert ask(client, add_content_md5_metadata=True).headers["x-amz-meta-flyteContentMD5"] == MD5_TEXT


def test_a_large_object_goes_through_in_pieces(client: Client) -> None:
    content = bytes(range(256)) * 50_000
    md5 = hashlib.md5(content, usedforsecurity=False).digest()
    location = ask(client, content_md5=md5, content_length=len(content))
    assert put(location, content).status == 200
    assert stored(location).read_bytes() == content
    url = location.signed_url.partition("?")[0]
    assert send(url, b"", {}, "HEAD").status == 200


def test_faults_of_a_put(connect: Connect) -> None:
    faults = [
        Fault("PUT", nth=1, drop_after=5000),
        Fault("PUT", nth=2, code="unavailable"),
        Fault("PUT", nth=3, code="unavailable", when="after"),
    ]
    with running(faults=faults) as plane:
        location = ask(connect(plane.endpoint))
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            put(location)
        assert put(location).status == 503
        assert not stored(location).exists()
        assert put(location).status == 503
        assert stored(location).exists()
        assert put(location).status == 200
        assert [call.code for call in plane.calls()] == ["ok", "Dropped", "SlowDown", "SlowDown", "ok"]
        assert list((plane.data / "incoming").iterdir()) == []


def inputs(value: int) -> Inputs:
    given = Inputs()
    given.literals.add(name="x").value.scalar.primitive.integer = value
    given.literals.add(name="seed").value.scalar.primitive.integer = 7 * value
    return given


def test_inputs_are_offloaded_by_their_content(client: Client) -> None:
    def upload(given: Inputs, *ignored: str) -> Any:
        spec = deployment().spec
        spec.task_template.metadata.cache_ignore_input_vars.extend(ignored)
        request = UploadInputsRequest(project_id=PROJECT, task_spec=spec, inputs=given)
        return client.data.UploadInputs(request).offloaded_input_data

    first, again, other = upload(inputs(1)), upload(inputs(1)), upload(inputs(2))
    assert first == again
    assert first.inputs_hash != other.inputs_hash
    file = Path(first.uri.removeprefix("file://")) / "inputs.pb"
    assert Inputs.FromString(file.read_bytes()) == inputs(1)
    assert first.uri.endswith(f"/flytesnacks/development/offloaded-inputs/{first.inputs_hash}")
    changed = inputs(1)
    changed.literals[1].value.scalar.primitive.integer = 0
    assert upload(inputs(1), "seed").inputs_hash == upload(changed, "seed").inputs_hash


def test_inputs_of_a_task_that_is_registered(client: Client) -> None:
    request = UploadInputsRequest(project_id=PROJECT, task_id=deployment().task_id, inputs=inputs(1))
    assert refusal(lambda: client.data.UploadInputs(request))[0] is grpc.StatusCode.NOT_FOUND
    client.tasks.DeployTask(deployment())
    assert client.data.UploadInputs(request).offloaded_input_data.uri


def test_the_cluster_is_this_server(client: Client, plane: Embedded) -> None:
    operation = SelectClusterRequest.OPERATION_CREATE_UPLOAD_LOCATION
    answer = client.clusters.SelectCluster(SelectClusterRequest(project_id=PROJECT, operation=operation))
    assert answer.cluster_endpoint == f"http://{plane.endpoint}"
    assert refusal(lambda: client.clusters.SelectCluster(SelectClusterRequest(project_id=PROJECT)))
