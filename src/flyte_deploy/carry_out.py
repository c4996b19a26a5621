"""Publish, stamp, register: the part of a deploy that writes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from flyte_deploy.bundle import pack
from flyte_deploy.clock import Clock
from flyte_deploy.compare import Compared, requests
from flyte_deploy.controlplane import ControlPlane
from flyte_deploy.decision import active_triggers
from flyte_deploy.errors import DeployError
from flyte_deploy.model import Bundle, Deployment, Progress
from flyte_deploy.settings import Settings
from flyte_deploy.stores import Store


def carry_out(settings: Settings, compared: Compared, plane: ControlPlane, clock: Clock) -> Deployment:
    """Do what a plan says.

    Raises:
        DeployError: says what is registered by then; the same command completes it.
    """
    plan = compared.plan
    address, uploaded = plan.bundle_address, False
    if plan.uploads:
        assert plan.bundle is not None
        with clock.step("publish", f"Uploading the bundle to {plan.bundle_store}"):
            address = publish(plan.bundle, compared.store, clock)
        uploaded = True
    if plan.to_register:
        with clock.step("register", f"Registering {len(plan.to_register)} tasks"):
            _register(settings, compared, address, plane, clock)
    pruned: tuple[str, ...] = ()
    if plan.prune and plan.stale_triggers:
        with clock.step("prune", "Removing triggers that are gone from the code"):
            assert plan.target is not None
            plane.delete_triggers(plan.target, compared.decision.stale)
            pruned = plan.stale_triggers
    return Deployment(
        plan=plan,
        bundle_uri=address,
        uploaded=uploaded,
        registered=tuple(one.task.name for one in plan.to_register),
        pruned=pruned,
    )


def publish(bundle: Bundle, store: Store, clock: Clock) -> str:
    """Pack a bundle and hand it to its store; returns its address."""
    with tempfile.TemporaryDirectory(prefix="flyte-deploy-") as folder:
        archive = pack(bundle, Path(folder) / bundle.archive_name)
        return store.publish(
            bundle, archive, lambda done, total: clock.listen(Progress("upload", bundle.archive_name, done, total))
        )
