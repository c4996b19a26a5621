"""What is tried again, and what is said of what is not."""

from __future__ import annotations

import grpc
import pytest

from flyte_deploy.controlplane import ControlPlane, Retry
from flyte_deploy.errors import DeployError
from tests.controlplane.server import TARGET, Fault, Server

Code = grpc.StatusCode


@pytest.mark.parametrize(
    "code",
    [
        Code.UNAVAILABLE,
        Code.RESOURCE_EXHAUSTED,
        Code.ABORTED,
        Code.DEADLINE_EXCEEDED,
        Code.INTERNAL,
        Code.UNKNOWN,
    ],
)
def test_what_may_pass_is_tried_again(server: Server, client: ControlPlane, code: Code) -> None:
    client.check_target(TARGET)
    server.faults["GetProject"] = [Fault(code)] * 3
    client.check_target(TARGET)
    assert server.count() == {"GetProject": 5}


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (Code.INVALID_ARGUMENT, "the control plane does not accept it: broken on request"),
        (Code.PERMISSION_DENIED, "it is not allowed: broken on request"),
        (Code.UNAUTHENTICATED, "the control plane wants a login: broken on request"),
        (Code.UNIMPLEMENTED, "Check that the endpoint is that of a Flyte 2 control plane"),
        (Code.FAILED_PRECONDITION, "failed: broken on request"),
    ],
)
def test_nothing_else_is_tried_again(server: Server, client: ControlPlane, code: Code, words: str) -> None:
    server.always["GetProject"] = Fault(code)
    with pytest.raises(DeployError) as caught:
        client.check_target(TARGET)
    assert words in str(caught.value)
    assert "looking up project 'shop' failed" in caught.value.what
    assert caught.value.where == f"http://{server.address}"
    assert server.count() == {"GetProject": 1}


def test_a_message_that_is_too_large_stays_so(server: Server, client: ControlPlane) -> None:
    server.always["GetProject"] = Fault(Code.RESOURCE_EXHAUSTED, "Received message larger than max (9 vs. 4)")
    with pytest.raises(DeployError, match="too large for the control plane"):
        client.check_target(TARGET)
    assert server.count() == {"GetProject": 1}


def test_an_error_with_a_long_message(server: Server, client: ControlPlane) -> None:
    server.always["GetProject"] = Fault(Code.INVALID_ARGUMENT, "one rule is broken; " * 5000)
    with pytest.raises(DeployError) as caught:
        client.check_target(TARGET)
    assert "does not accept it: one rule is broken; one rule" in caught.value.what
    assert len(caught.value.what) < 3000
    assert server.count() == {"GetProject": 1}


def test_a_server_that_always_fails_is_given_up(server: Server, client: ControlPlane) -> None:
    server.always["GetProject"] = Fault(Code.INTERNAL, "no database")
    with pytest.raises(DeployError, match="the control plane failed: no database"):
        client.check_target(TARGET)
    assert server.count() == {"GetProject": 5}


def test_the_budget_ends_it(server: Server) -> None:
    with server.plane(Retry(budget=0.3, first_delay=0.05)) as plane:
        plane.check_target(TARGET)
        server.always["GetProject"] = Fault(Code.UNAVAILABLE, "moving house")
        with pytest.raises(DeployError) as caught:
            plane.check_target(TARGET)
    assert "the control plane is not available: moving house" in caught.value.what
    assert 3 <= server.count()["GetProject"] <= 8


def test_waits_grow_to_a_limit_and_are_never_more() -> None:
    retry = Retry(budget=1000, first_delay=0.1, longest_delay=5.0)
    for attempts, longest in [(1, 0.1), (2, 0.2), (4, 0.8), (6, 3.2), (7, 5.0), (5000, 5.0)]:
        waits = [retry.delay(Code.UNAVAILABLE, "", attempts, 0.0, True) for _ in range(50)]
        assert all(wait is not None and longest / 2 <= wait <= longest for wait in waits)
        assert len(set(waits)) > 40


def test_a_control_plane_that_never_answered_is_given_less_time() -> None:
    retry = Retry(budget=60, first_contact=5)
    assert retry.delay(Code.UNAVAILABLE, "", 5, 10.0, answered=False) is None
    assert retry.delay(Code.UNAVAILABLE, "", 5, 10.0, answered=True) is not None
    assert retry.delay(Code.UNAVAILABLE, "", 5, 60.0, answered=True) is None
