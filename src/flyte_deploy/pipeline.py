"""The conductor: the order of the steps, and nothing else.

Settings ▶ (install) ▶ collect ▶ resolve ▶ identify ▶ compare ▶│ verify ▶ publish ▶ stamp ▶ register ▶ report
                                                `plan` ends here │
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from flyte_deploy.clock import Clock, Listen, redacting
from flyte_deploy.collector.message import Collected
from flyte_deploy.connect import connection
from flyte_deploy.errors import DeployError
from flyte_deploy.identify import identify
from flyte_deploy.isolation.confinement import scratch_folder
from flyte_deploy.model import Deployment, Plan
from flyte_deploy.project.load import collect_from_files
from flyte_deploy.project.prepare import prepared
from flyte_deploy.settings import Settings

if TYPE_CHECKING:
    from flyte_deploy.project.workplace import Container

Collect = Callable[[Settings, Path, Listen], Collected]
"""Brings the environments: from files, in a process of their own, or from this process.

The folder is for files that defaults of parameters need; it is there as long as the run.
"""


def plan(
    settings: Settings,
    listen: Listen,
    collect: Collect = collect_from_files,
    container: Container | None = None,
) -> Plan:
    """Say what `deploy` would do; nothing is written anywhere.

    A plan with breaking changes is a plan: `differences.breaking_error` says whether they are allowed.

    Args:
        settings: all that the user said.
        listen: told of what happens.
        collect: where the environments come from.
        container: the action's container, in which the project's code is confined; None elsewhere.

    Raises:
        DeployError: for everything that is wrong before registration.
    """
    listen = redacting(listen)
    clock = Clock(listen)
    with (
        connection(settings, listen, embedded_later=container is not None) as connected,
        prepared(settings, container, clock) as ready,
        scratch_folder(ready.confinement) as captures,
    ):
        with clock.step("collect", "Loading the code"):
            collected = collect(ready, captures, listen)
        identified = identify(ready, collected, captures, clock)
        plane = connected()
        # What asks the control plane is imported only now: a wrong input should not wait for it.
        from flyte_deploy import compare

        if plane is None:
            plan = compare.without_control_plane(ready, identified, clock)
        else:
            plan = compare.compare(ready, identified, plane, clock).plan
    return dataclasses.replace(plan, steps=clock.steps)


def deploy(
    settings: Settings,
    listen: Listen,
    collect: Collect = collect_from_files,
    container: Container | None = None,
    gate: Callable[[], str] | None = None,
) -> Deployment:
    """Take a project to registered tasks.

    Args: as of `plan`, and
        gate: asked right before tasks are registered: why that is no longer wanted, empty where it is.

    Raises:
        NotWanted: what `gate` has answered.
        DeployError: what was found before registration has left nothing written; a later one says what is
            registered.
    """
    listen = redacting(listen)
    clock = Clock(listen)
    with (
        connection(settings, listen, embedded_later=container is not None) as connected,
        prepared(settings, container, clock) as ready,
        scratch_folder(ready.confinement) as captures,
    ):
        with clock.step("collect", "Loading the code"):
            collected = collect(ready, captures, listen)
        identified = identify(ready, collected, captures, clock)
        check_expected(settings, identified.content)
        plane = connected()
        assert plane is not None, "settings of a deploy name an endpoint"
        from flyte_deploy import carry_out, compare
        from flyte_deploy.differences import breaking_error

        compared = compare.compare(ready, identified, plane, clock)
        refused = breaking_error(settings, compared.plan)
        if refused is not None:
            raise refused
        deployment = carry_out.carry_out(ready, compared, plane, clock, gate)
    return dataclasses.replace(deployment, plan=dataclasses.replace(deployment.plan, steps=clock.steps))


def check_expected(settings: Settings, content: str) -> None:
    """Refuse content that is not what was approved.

    Raises:
        DeployError: where `expect_content` names another content version.
    """
    if settings.expect_content and settings.expect_content != content:
        raise DeployError(
            f"the content is {content}, not {settings.expect_content}, which was expected",
            where=settings.origins.get("expect_content", "--expect-content"),
            mend="What was approved is not what is here: plan again, at the commit that is deployed.",
        )
