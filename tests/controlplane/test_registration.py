"""Registering: in order, many at a time, complete or said what is not."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Literal

import grpc
import pytest
from flyteidl2.task.task_definition_pb2 import TaskSpec
from flyteidl2.task.task_service_pb2 import DeployTaskRequest
from flyteidl2.trigger.trigger_definition_pb2 import TriggerDetails

from flyte_deploy.controlplane import (
    ControlPlane,
    Endpoint,
    Interrupted,
    Outcome,
    Registration,
    Retry,
    verify,
)
from flyte_deploy.embedded import Embedded, running
from flyte_deploy.embedded import Fault as EmbeddedFault
from flyte_deploy.errors import DeployError
from flyte_deploy.model import Progress
from tests.controlplane.server import (
    QUICK,
    TARGET,
    Fault,
    Server,
    names_of,
    put,
    registration,
    request,
    wait_until,
)

Code = grpc.StatusCode


def test_all_are_registered_and_told(embedded: Embedded, plane: ControlPlane) -> None:
    names, heard = names_of(300), list[Progress]()
    outcome = put(plane, [registration(name, text=name) for name in names], listen=heard.append)
    assert outcome.complete
    assert sorted(outcome.registered) == sorted(names)
    assert Counter(call.method for call in embedded.calls()) == {"DeployTask": 300}
    assert [(one.kind, one.done, one.total) for one in heard] == [
        ("register", number + 1, 300) for number in range(300)
    ]
    assert sorted(one.text for one in heard) == sorted(names)
    specs = plane.task_specs(TARGET, names, "v1", 8)
    for name in names:
        assert TaskSpec.FromString(specs[name]).documentation.long_description == name
    assert verify(plane, TARGET, "v1", [*names, "e0.gone"]) == ("e0.gone",)


def test_nothing_to_register(server: Server, client: ControlPlane) -> None:
    assert put(client, []) == Outcome(())
    assert server.calls == []


def test_as_many_as_asked_for_are_in_flight_and_requests_are_made_just_before(
    server: Server, client: ControlPlane
) -> None:
    made = 0
    gate = threading.Event()

    def before(method: str, asked: object) -> None:
        gate.wait(20)

    def make(name: str) -> DeployTaskRequest:
        nonlocal made
        made += 1
        return request(name)

    def open_gate() -> None:
        wait_until(lambda: server.in_flight == 6)
        waiting.append(made)
        gate.set()

    server.before = before
    waiting: list[int] = []
    watcher = threading.Thread(target=open_gate)
    watcher.start()
    outcome = put(client, [Registration(n, lambda n=n: make(n)) for n in names_of(40)], concurrency=6)  # type: ignore[misc]
    watcher.join()
    assert outcome.complete
    assert waiting == [6]
    assert server.most_in_flight == 6
    assert made == 40


def test_they_are_started_in_order_one_at_a_time(server: Server, client: ControlPlane) -> None:
    names = names_of(50)
    assert put(client, [registration(name) for name in names], concurrency=1).registered == tuple(names)
    assert [one.task_id.name for one in server.requests("DeployTask")] == names


@pytest.mark.parametrize("concurrency", [1, 4])
def test_after_a_failure_nothing_is_started(server: Server, client: ControlPlane, concurrency: int) -> None:
    names = names_of(500)
    server.refused[names[20]] = Fault(Code.INVALID_ARGUMENT, "a cron of three fields")
    outcome = put(client, [registration(name) for name in names], concurrency=concurrency)
    assert [name for name, _ in outcome.failed] == [names[20]]
    error = outcome.failed[0][1]
    assert f"registering task '{names[20]}' failed" in error.what
    assert "a cron of three fields" in error.what
    assert not outcome.complete
    assert outcome.uncertain == ()
    assert sorted((*outcome.registered, names[20], *outcome.not_started)) == sorted(names)
    assert outcome.not_started == tuple(names[len(server.calls) :])
    assert {name for name, _ in server.tasks} == set(outcome.registered)
    if concurrency == 1:
        assert outcome.registered == tuple(names[:20])
    else:
        assert outcome.not_started


def test_a_request_that_cannot_be_made(server: Server, client: ControlPlane) -> None:
    def make() -> DeployTaskRequest:
        raise DeployError("a placeholder was left")

    outcome = put(
        client, [registration("e.a"), Registration("e.b", make), registration("e.c")], concurrency=1
    )
    assert outcome.registered == ("e.a",)
    assert [(name, error.what) for name, error in outcome.failed] == [("e.b", "a placeholder was left")]
    assert outcome.not_started == ("e.c",)


@pytest.mark.parametrize("code", ["internal", "unknown", "unavailable", "deadline_exceeded"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lost_call_and_a_lost_answer_are_made_good(code: str, when: Literal["before", "after"]) -> None:
    faults = [EmbeddedFault("DeployTask", nth=5, times=3, code=code, when=when)]
    with running(projects=["shop"], faults=faults) as embedded:
        with ControlPlane(Endpoint.parse(embedded.endpoint, insecure=True), retry=QUICK) as plane:
            outcome = put(plane, [registration(name) for name in names_of(20)])
        assert outcome.complete
        assert sorted(one.name for one in embedded.tasks()) == sorted(names_of(20))
        assert Counter(call.code for call in embedded.calls()) == {"ok": 20, code: 3}


def test_a_lost_answer_of_a_control_plane_that_replaces_nothing(server: Server, client: ControlPlane) -> None:
    server.replaces = False
    server.faults["DeployTask"] = [Fault(Code.INTERNAL, applied=True)] * 3
    outcome = put(client, [registration(name) for name in names_of(20)])
    assert outcome.complete
    assert server.count()["GetTaskDetails"] == 3


def test_answers_that_are_always_lost_are_read_back(server: Server, client: ControlPlane) -> None:
    server.always["DeployTask"] = Fault(Code.INTERNAL, "Exception deserializing response!", applied=True)
    assert put(client, [registration("e.a")]).registered == ("e.a",)


def test_an_error_that_was_no_lost_answer(server: Server, client: ControlPlane) -> None:
    server.tasks["e.a", "v1"] = request("e.a", text="other").spec
    server.always["DeployTask"] = Fault(Code.INTERNAL, "no database")
    outcome = put(client, [registration("e.a"), registration("e.b")], concurrency=2)
    assert sorted(name for name, _ in outcome.failed) == ["e.a", "e.b"]
    assert "no database" in str(outcome.failed[0][1])


def test_a_spec_that_is_there_does_not_prove_its_triggers(server: Server, client: ControlPlane) -> None:
    server.tasks["e.a", "v1"] = request("e.a").spec
    server.always["DeployTask"] = Fault(Code.INTERNAL, "no database")
    outcome = put(client, [registration("e.a", triggers=("nightly",))])
    assert [name for name, _ in outcome.failed] == ["e.a"]


def test_the_same_content_that_is_not_replaced_counts_as_done(server: Server, client: ControlPlane) -> None:
    server.replaces = False
    server.tasks["e.a", "v1"] = request("e.a", text="same").spec
    assert put(client, [registration("e.a", text="same")]).registered == ("e.a",)


def test_other_content_that_is_not_replaced_is_a_conflict(server: Server, client: ControlPlane) -> None:
    server.replaces = False
    server.tasks["e.a", "v1"] = request("e.a", text="other").spec
    outcome = put(client, [registration("e.a", text="mine"), registration("e.b")], concurrency=1)
    ((name, error),) = outcome.failed
    assert name == "e.a"
    assert "task 'e.a' is registered under version 'v1' with other content" in error.what
    assert outcome.not_started == ("e.b",)
    assert server.tasks["e.a", "v1"] == request("e.a", text="other").spec


def test_triggers_beside_a_task_that_is_not_replaced(server: Server, client: ControlPlane) -> None:
    server.replaces = False
    server.tasks["e.a", "v1"] = request("e.a").spec
    outcome = put(client, [registration("e.a", triggers=("nightly", "hourly"))])
    assert "did not set its triggers: hourly, nightly" in outcome.failed[0][1].what
    for name in ("nightly", "hourly"):
        details = TriggerDetails()
        details.spec.task_version = "v1"
        server.triggers["e.a", name] = details
    assert put(client, [registration("e.a", triggers=("nightly", "hourly"))]).complete


def test_a_control_plane_that_goes_away_for_a_while(server: Server, client: ControlPlane) -> None:
    client.check_target(TARGET)
    server.faults["DeployTask"] = [Fault(Code.UNAVAILABLE, "GOAWAY")] * 30
    assert put(client, [registration(name) for name in names_of(100)]).complete
    assert server.count()["DeployTask"] == 130


def test_a_control_plane_that_stays_away(server: Server) -> None:
    with server.plane(Retry(budget=0.2, first_delay=0.02)) as plane:
        plane.check_target(TARGET)
        server.always["DeployTask"] = Fault(Code.UNAVAILABLE, "moved")
        outcome = put(plane, [registration(name) for name in names_of(50)], concurrency=4)
    assert len(outcome.failed) == 4
    assert len(outcome.not_started) == 46
    assert "not available: moved" in outcome.failed[0][1].what


def test_an_interrupt_says_what_is_registered(server: Server, client: ControlPlane) -> None:
    names = names_of(30)

    def listen(progress: Progress) -> None:
        if progress.done == 5:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        put(client, [registration(name) for name in names], concurrency=3, listen=listen)
    outcome = caught.value.outcome
    assert len(outcome.registered) == 5
    assert len(outcome.uncertain) == 2
    assert [*sorted((*outcome.registered, *outcome.uncertain)), *outcome.not_started] == [
        *sorted(names[:7]),
        *names[7:],
    ]
    assert set(outcome.registered) <= {name for name, _ in server.tasks}


SCRIPT = """
    import json, sys
    from flyte_deploy.controlplane import ControlPlane, Endpoint, Interrupted, register
    from tests.controlplane.server import names_of, registration

    with ControlPlane(Endpoint(sys.argv[1], insecure=True)) as plane:
        try:
            register(
                plane,
                [registration(name) for name in names_of(20)],
                concurrency=4,
                same=lambda one, other: False,
                listen=lambda progress: None,
            )
        except Interrupted as interrupted:
            outcome = interrupted.outcome
            print(json.dumps([outcome.registered, outcome.uncertain, outcome.not_started]))
"""


@pytest.fixture
def stuck(server: Server) -> Iterator[Server]:
    """A server that answers ten registrations and lets the others wait."""
    gate = threading.Event()

    def before(method: str, asked: DeployTaskRequest) -> None:
        if asked.task_id.name not in names_of(10):
            gate.wait(30)

    server.before = before
    yield server
    gate.set()


def test_a_signal_interrupts_at_once(stuck: Server) -> None:
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), stuck.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        wait_until(lambda: len(stuck.calls) == 14 and len(stuck.tasks) == 10)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
    registered, uncertain, not_started = json.loads(out)
    names = names_of(20)
    assert sorted(registered) == names[:10]
    assert uncertain == names[10:14]
    assert not_started == names[14:]


def test_a_large_spec_goes_through(server: Server, client: ControlPlane) -> None:
    text = "x" * 3_000_000
    assert put(client, [registration("e.a", text=text)]).complete
    found = client.task_specs(TARGET, ["e.a"], "v1", 1)
    assert TaskSpec.FromString(found["e.a"]).documentation.long_description == text
