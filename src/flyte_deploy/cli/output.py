"""What a command prints: results on standard output, everything else on standard error."""

from __future__ import annotations

import sys
import traceback

import click

from flyte_deploy.errors import DeployError
from flyte_deploy.secrets import SECRETS


def report(error: DeployError, *, json: bool, verbose: bool) -> None:
    """Say what went wrong. Call it while the exception is handled: `verbose` shows where it came from."""
    from flyte_deploy.report.text import plain

    if verbose:
        click.echo(SECRETS.redact(plain(traceback.format_exc())), err=True, nl=False)
    click.echo(SECRETS.redact(error_text(error)), err=True)
    if json:
        from flyte_deploy.report.json import error_json

        document(error_json(error))


def error_text(error: DeployError) -> str:
    """An error for people: what; where, details and mend on lines of their own."""
    from flyte_deploy.report.text import plain

    lines = [f"Error: {error.what}"]
    if error.where:
        lines.append(f"  where: {error.where}")
    lines += [f"    {line}" for detail in error.details for line in detail.splitlines()]
    if error.mend:
        lines.append(f"  {error.mend}")
    return plain("\n".join(lines))


def say(text: str) -> None:
    """Write text for people to standard output."""
    click.echo(SECRETS.redact(text))


def document(data: bytes) -> None:
    """Write the one JSON document of a run to standard output."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data.rstrip(b"\n") + b"\n")
    sys.stdout.buffer.flush()
