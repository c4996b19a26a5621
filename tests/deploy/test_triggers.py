"""Triggers: what deploys do to those that live, in every state that Flyte leaves them in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import grpc
import pytest
from flyteidl2.common.identifier_pb2 import ProjectIdentifier, TriggerName
from flyteidl2.common.list_pb2 import ListRequest
from flyteidl2.trigger.trigger_service_pb2 import (
    DeleteTriggersRequest,
    GetTriggerDetailsRequest,
    ListTriggersRequest,
    UpdateTriggersRequest,
)
from flyteidl2.trigger.trigger_service_pb2_grpc import TriggerServiceStub

from tests.conftest import Write
from tests.deploy.conftest import Cli

FLOW = """
import flyte

env = flyte.TaskEnvironment(name="jobs", image="registry.example/team/image:1")

@env.task({first})
async def first(count: int = 1) -> int:
    return count

@env.task
async def second() -> None: ...
"""
NIGHTLY = 'flyte.Trigger(name="nightly", automation=flyte.Cron("0 2 * * *"))'
HOURLY = 'flyte.Trigger(name="hourly", automation=flyte.FixedRate(60), auto_activate=False)'


def flow(*triggers: str) -> dict[str, str]:
    given = f"triggers=[{', '.join(triggers)}]" if triggers else ""
    return {"flow.py": FLOW.format(first=given)}


@dataclass(frozen=True)
class Live:
    """A trigger as the control plane has it."""

    version: str
    active: bool
    cron: str


class Triggers:
    """The triggers of the control plane, as somebody else sees and changes them."""

    def __init__(self, channel: grpc.Channel, org: str) -> None:
        self.stub = TriggerServiceStub(channel)  # type: ignore[no-untyped-call]
        self.project = ProjectIdentifier(organization=org, name="flytesnacks", domain="development")

    def name(self, name: str) -> TriggerName:
        return TriggerName(
            org=self.project.organization,
            project="flytesnacks",
            domain="development",
            task_name="jobs.first",
            name=name,
        )

    def live(self) -> dict[str, Live]:
        request = ListTriggersRequest(request=ListRequest(limit=100), project_id=self.project)
        found = {}
        for row in self.stub.ListTriggers(request).triggers:
            details = self.stub.GetTriggerDetails(GetTriggerDetailsRequest(name=row.id.name)).trigger
            found[row.id.name.name] = Live(
                details.spec.task_version,
                details.spec.active,
                details.automation_spec.schedule.cron.expression,
            )
        return found

    def pause(self, name: str) -> None:
        self.stub.UpdateTriggers(UpdateTriggersRequest(names=[self.name(name)], active=False))

    def delete(self, name: str) -> None:
        self.stub.DeleteTriggers(DeleteTriggersRequest(names=[self.name(name)]))


@pytest.fixture
def triggers(cli: Cli) -> Iterator[Triggers]:
    with grpc.insecure_channel(cli.server.endpoint) as channel:
        # The SDK and we take the organization from the host's first label.
        yield Triggers(channel, "127")


def deploy(cli: Cli, write: Write, *code: str, options: tuple[str, ...] = ()) -> dict[str, object]:
    root = write(flow(*code))
    return dict(cli.deploy(root, "flow.py", "env", *options))


def test_new_triggers_have_the_state_that_the_code_says(write: Write, cli: Cli, triggers: Triggers) -> None:
    version = deploy(cli, write, NIGHTLY, HOURLY)["version"]
    live = triggers.live()
    assert live["nightly"] == Live(str(version), True, "0 2 * * *")
    assert live["hourly"].active is False
    assert deploy(cli, write, NIGHTLY, HOURLY)["changes"] is False


def test_a_paused_trigger_stays_paused(write: Write, cli: Cli, triggers: Triggers) -> None:
    deploy(cli, write, NIGHTLY)
    triggers.pause("nightly")
    assert deploy(cli, write, NIGHTLY)["changes"] is False
    later = deploy(cli, write, NIGHTLY.replace("0 2", "0 3"))
    assert triggers.live()["nightly"] == Live(str(later["version"]), False, "0 3 * * *")
    deploy(cli, write, NIGHTLY.replace("0 2", "0 4"), options=("--activate-triggers",))
    assert triggers.live()["nightly"].active is True


def test_a_trigger_that_somebody_deleted_comes_back(write: Write, cli: Cli, triggers: Triggers) -> None:
    first = deploy(cli, write, NIGHTLY, HOURLY)
    triggers.delete("nightly")
    again = deploy(cli, write, NIGHTLY, HOURLY)
    assert again["registered"] == ["jobs.first"]
    assert again["version"] == first["version"]
    assert set(triggers.live()) == {"nightly", "hourly"}
    assert deploy(cli, write, NIGHTLY, HOURLY)["changes"] is False


def test_a_trigger_that_points_at_another_version_is_set_right(
    write: Write, cli: Cli, triggers: Triggers
) -> None:
    first = deploy(cli, write, NIGHTLY, options=("--version", "v1"))
    deploy(cli, write, NIGHTLY.replace("0 2", "0 3"), options=("--version", "v2"))
    assert triggers.live()["nightly"].version == "v2"
    back = deploy(cli, write, NIGHTLY, options=("--version", "v1"))
    assert first["version"] == back["version"] == "v1"
    assert back["registered"] == ["jobs.first"]
    assert triggers.live()["nightly"] == Live("v1", True, "0 2 * * *")


def test_a_trigger_that_left_the_code_is_named_and_can_be_pruned(
    write: Write, cli: Cli, triggers: Triggers
) -> None:
    first = deploy(cli, write, NIGHTLY, HOURLY)
    second = deploy(cli, write)
    assert second["stale_triggers"] == ["jobs.first/hourly", "jobs.first/nightly"]
    assert "--prune-triggers" in str(second["warnings"])
    # Flyte leaves them firing what they fired.
    assert {live.version for live in triggers.live().values()} == {first["version"]}
    pruned = deploy(cli, write, options=("--prune-triggers",))
    assert pruned["pruned"] == ["jobs.first/hourly", "jobs.first/nightly"]
    assert triggers.live() == {}
    assert deploy(cli, write, options=("--prune-triggers",))["changes"] is False


def test_one_of_two_that_left_the_code_goes_with_the_deploy(
    write: Write, cli: Cli, triggers: Triggers
) -> None:
    deploy(cli, write, NIGHTLY, HOURLY)
    assert deploy(cli, write, NIGHTLY)["stale_triggers"] == []
    assert set(triggers.live()) == {"nightly"}


def test_a_trigger_read_from_the_environment_follows_it(
    write: Write, cli: Cli, triggers: Triggers, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        'flyte.Trigger(name="nightly", automation=flyte.Cron(__import__("os").environ["SCHEDULE"]),'
        ' auto_activate=__import__("os").environ["ACTIVE"] == "yes")'
    )
    monkeypatch.setenv("SCHEDULE", "0 2 * * *")
    monkeypatch.setenv("ACTIVE", "yes")
    first = deploy(cli, write, code)["version"]
    assert triggers.live()["nightly"] == Live(str(first), True, "0 2 * * *")
    # Whether it is active is not content: the same version, and nothing to do.
    monkeypatch.setenv("ACTIVE", "no")
    again = deploy(cli, write, code)
    assert (again["version"], again["registered"]) == (first, [])
    assert triggers.live()["nightly"] == Live(str(first), True, "0 2 * * *")
    # Its schedule is content.
    monkeypatch.setenv("SCHEDULE", "30 6 * * *")
    second = deploy(cli, write, code)["version"]
    assert second != first
    assert triggers.live()["nightly"] == Live(str(second), True, "30 6 * * *")
