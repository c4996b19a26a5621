"""The commands that work on what is registered: history, promote, rollback."""

from __future__ import annotations

import os
from pathlib import Path

import click

from flyte_deploy.cli import output
from flyte_deploy.cli.commands import add_command, given, listener
from flyte_deploy.settings import Settings, resolve


def history(ctx: click.Context, **_: object) -> int:
    """List the deployments of a project and domain.

    Versions and times come from the control plane; commit, run and actor from records, where the store of
    bundles can be read.
    """
    settings = resolve(given(ctx), os.environ, Path.cwd(), command="history")
    from flyte_deploy.connect import connection

    with connection(settings) as connected:
        plane = connected()
        assert plane is not None
        from flyte_deploy.model import Target
        from flyte_deploy.releases.history import history as listed
        from flyte_deploy.report.releases import history_json, history_text

        target = Target(settings.project, settings.domain, settings.org)
        found = listed(settings, plane)
    if settings.output_format == "json":
        output.document(history_json(target, found))
    else:
        output.say(history_text(target, found))
    return 0


def promote(ctx: click.Context, **_: object) -> int:
    """Register a registered version in another domain: the same bundle, the same images, no code at hand.

    \b
    Example:
      flyte-deploy promote --from development --version 1f3c… --to production --as v1.2.0
    """
    return _promote(resolve(given(ctx), os.environ, Path.cwd(), command="promote"), "promote")


def rollback(ctx: click.Context, **_: object) -> int:
    """Register an earlier version again, so that it is the newest.

    It gets a version of its own that names what it restores, for registering an old version again does not
    make it the newest. Its triggers are those of its record, or else those that live now.

    \b
    Example:
      flyte-deploy rollback --domain production --version v1.1.0
    """
    return _promote(resolve(given(ctx), os.environ, Path.cwd(), command="rollback"), "rollback")


def _promote(settings: Settings, kind: str) -> int:
    from flyte_deploy.connect import connection

    tell = listener()
    with connection(settings) as connected:
        plane = connected()
        assert plane is not None
        from flyte_deploy.clock import Clock
        from flyte_deploy.releases.promotion import promote as promoted
        from flyte_deploy.report.releases import promotion_json, promotion_text

        promotion = promoted(settings, plane, Clock(tell), kind=kind)
    if settings.output_format == "json":
        output.document(promotion_json(promotion, dry_run=settings.dry_run))
    else:
        output.say(promotion_text(promotion, dry_run=settings.dry_run))
    return 0


for _name, _run in (("history", history), ("promote", promote), ("rollback", rollback)):
    add_command(_name, _run, arguments=False)
