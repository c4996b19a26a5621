"""The engine as Python functions, for environments that exist in this process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from flyte_deploy import pipeline
from flyte_deploy.clock import Listen
from flyte_deploy.collector.message import Collected
from flyte_deploy.model import Deployment, Plan, Progress
from flyte_deploy.secrets import SECRETS
from flyte_deploy.settings import CopyStyle, Settings, resolve


def deploy(
    *environments: Any,
    version: str | None = None,
    project: str | None = None,
    domain: str | None = None,
    org: str | None = None,
    endpoint: str | None = None,
    insecure: bool | None = None,
    config: str | Path | None = None,
    copy_style: CopyStyle | None = None,
    root_dir: str | Path | None = None,
    images: Mapping[str, str] | None = None,
    bundle_store: str | None = None,
    concurrency: int | None = None,
    overwrite: bool | None = None,
    prune_triggers: bool | None = None,
    activate_triggers: bool | None = None,
    sync_local_sys_paths: bool | None = None,
    data: str | Path | None = None,
    listen: Listen | None = None,
) -> Deployment:
    """Deploy environments of this process, and all that they depend on.

    It is what ``flyte-deploy deploy`` does, with the code that is loaded here. It blocks until all is
    registered; inside an event loop, call it in a thread (``await asyncio.to_thread(deploy, env)``).

    Args:
        environments: `flyte.TaskEnvironment` objects.
        version: text or a template, see ``--version``; default ``{content}``. The content version is that of
            the command line where this process runs with ``PYTHONHASHSEED=0`` and loaded the same modules.
        project, domain, org, endpoint, insecure, config, copy_style, root_dir, bundle_store, concurrency,
            overwrite, prune_triggers, activate_triggers, sync_local_sys_paths, data: as the options of these
            names. What is not given comes from the environment, Flyte's ``config.yaml`` and the defaults,
            as there.
        images: image addresses by name, as ``--image``; ``default`` is the one without a name.
        listen: called with everything that happens; nothing is printed without it.

    Raises:
        DeployError: see `flyte_deploy.pipeline.deploy`.
    """
    settings = _settings("deploy", locals())
    return pipeline.deploy(settings, listen or _ignore, partial(_collect, environments))


def plan(
    *environments: Any,
    version: str | None = None,
    project: str | None = None,
    domain: str | None = None,
    org: str | None = None,
    endpoint: str | None = None,
    insecure: bool | None = None,
    config: str | Path | None = None,
    copy_style: CopyStyle | None = None,
    root_dir: str | Path | None = None,
    images: Mapping[str, str] | None = None,
    bundle_store: str | None = None,
    concurrency: int | None = None,
    overwrite: bool | None = None,
    prune_triggers: bool | None = None,
    activate_triggers: bool | None = None,
    sync_local_sys_paths: bool | None = None,
    data: str | Path | None = None,
    listen: Listen | None = None,
) -> Plan:
    """Say what `deploy` with the same arguments would do; nothing is written anywhere.

    Without an endpoint nothing is compared with what is registered.

    Raises:
        DeployError: see `flyte_deploy.pipeline.plan`.
    """
    settings = _settings("plan", locals())
    return pipeline.plan(settings, listen or _ignore, partial(_collect, environments))


def _settings(command: str, arguments: dict[str, Any]) -> Settings:
    SECRETS.add_named(os.environ)
    images = arguments.pop("images") or {}
    given = {
        name: value
        for name, value in arguments.items()
        if value is not None and name not in ("environments", "listen", "sync_local_sys_paths")
    }
    if images:
        given["image"] = tuple(f"{name}={uri}" for name, uri in images.items())
    if arguments["sync_local_sys_paths"] is not None:
        given["no_sync_local_sys_paths"] = not arguments["sync_local_sys_paths"]
    return resolve(given, os.environ, Path.cwd(), command=command, selects=False)


def _collect(environments: tuple[Any, ...], settings: Settings, captures: Path, listen: Listen) -> Collected:
    from flyte_deploy.collector.here import collect_here
    from flyte_deploy.project.load import request_of

    del listen  # nothing is loaded: there is nothing to tell
    return collect_here(request_of(settings, captures), environments)


def _ignore(progress: Progress) -> None:
    del progress
