"""The end of a preview: what can be cleaned up is."""

from __future__ import annotations

import re

from flyte_deploy.connect import connection
from flyte_deploy.model import Target
from flyte_deploy.report.story import Closed
from flyte_deploy.settings import Settings


def close_preview(
    settings: Settings, number: int, *, merged: bool = False, root: str = "", run_url: str = ""
) -> Closed:
    """Remove the triggers that a pull request's preview has left, and list the versions that stay.

    Flyte keeps the versions of tasks.

    Args:
        settings: with the preview's project and domain.
        number: the pull request.
        merged: whether it was merged.
        root: the project's folder in the repository.
        run_url: the workflow run.

    Raises:
        DeployError: where the control plane cannot be asked, or refuses.
    """
    from flyte_deploy.controlplane.versions import list_tasks, list_versions

    target = Target(settings.project, settings.domain, settings.org)
    ours = re.compile(rf"pr-{number}-.+")
    with connection(settings) as connected:
        plane = connected()
        assert plane is not None, "settings of the action name an endpoint"
        names = [task.name for task in list_tasks(plane, target)]
        # First what fires: listing versions takes its time where many were registered.
        live = [
            trigger
            for triggers in plane.triggers(target, names).values()
            for trigger in triggers
            if ours.fullmatch(trigger.version)
        ]
        if live:
            plane.delete_triggers(target, live)
        versions = {
            one.version: None for one in list_versions(plane, target, names) if ours.fullmatch(one.version)
        }
    return Closed(
        target=str(target),
        versions=tuple(versions),
        removed=tuple(map(str, live)),
        merged=merged,
        root=root,
        run_url=run_url,
    )
