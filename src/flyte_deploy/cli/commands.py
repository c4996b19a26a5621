"""The commands, and how click's options are made from the table of options."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from flyte_deploy.cli import output
from flyte_deploy.secrets import SECRETS
from flyte_deploy.settings import (
    LAST_SECTION,
    Option,
    early,
    gather,
    options_of,
    resolve,
    resolve_serve,
    rows,
    show,
)

if TYPE_CHECKING:
    from flyte_deploy.settings import Settings

CHANGES = 3
"""The exit status of ``plan --detailed-exitcode`` when a deploy would change something."""

_HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_EPILOG = (
    "Every option is an environment variable too: --copy-style is FLYTE_DEPLOY_COPY_STYLE. "
    "A flag beats the environment, the environment Flyte's config.yaml."
)


@dataclass
class Run:
    """What is known of this run before and while it is carried out; errors are reported accordingly."""

    json: bool = False
    verbose: bool = False


class _Command(click.Command):
    """A command whose help groups the options as the table does."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, a section for each of the table's."""
        sections = {option.parameter: option.section for option in options_of(self.name or "")}
        written: dict[str, list[tuple[str, str]]] = {section: [] for section in sections.values()}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if isinstance(parameter, click.Option) and record is not None:
                # Only -h itself is not in the table.
                written[sections.get(parameter.name or "", LAST_SECTION)].append(record)
        for section, records in written.items():
            with formatter.section(section):
                formatter.write_dl(records)


def _print_version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"flyte-deploy {version('flyte-deploy')}")
        ctx.exit()


@click.group(context_settings=_HELP, no_args_is_help=False, subcommand_metavar="COMMAND ...")
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the version of flyte-deploy itself and exit.",
)
def group() -> None:
    """Take a Flyte 2 project from a commit to registered, runnable tasks."""


def flags_of(option: Option) -> list[str]:
    """As it can be typed: ``["-p", "--project"]``, the long form last but for further spellings."""
    short = [f"-{option.short}"] if option.short else []
    return [*short, option.flag, *option.other]


def default_of(option: Option) -> str:
    """The default as text, empty where there is none worth a word."""
    if option.default_text or option.default in ("", (), False):
        return option.default_text
    return f"{option.default:g}" if isinstance(option.default, float) else str(option.default)


def _click_option(option: Option) -> click.Option:
    default = default_of(option)
    text = f"{option.help}  [default: {default}]" if default else option.help
    # The words themselves are understood by the settings, which know the other sources too.
    if option.kind == "flag":
        return click.Option([*flags_of(option), option.parameter], is_flag=True, default=False, help=text)
    metavar = f"[{'|'.join(option.choices)}]" if option.choices else option.metavar
    return click.Option(
        [*flags_of(option), option.parameter],
        metavar=metavar,
        multiple=option.kind in ("images", "names"),
        help=text,
    )


def add_command(name: str, run: Any, *, arguments: bool, options: bool = True) -> None:
    """Make a command of a function: its options are the table's, its docstring its help."""
    parameters: list[click.Parameter] = []
    if arguments:
        parameters.append(click.Argument(["arguments"], nargs=-1, metavar="PATH [ENV ...]"))
    if options:
        parameters += [_click_option(option) for option in options_of(name) if not option.argument]
    group.add_command(
        _Command(
            name,
            callback=click.pass_context(run),
            params=parameters,
            help=run.__doc__,
            epilog=_EPILOG if options else None,
            context_settings=_HELP,
        )
    )


def given(ctx: click.Context) -> dict[str, object]:
    """What was typed, and nothing that click would add to it."""
    said = {
        name: value
        for name, value in ctx.params.items()
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    run = ctx.ensure_object(Run)
    run.verbose = bool(early("verbose", said, os.environ))
    if ctx.command.name != "serve":
        run.json = early("output_format", said, os.environ) == "json"
    return said


def deploy(ctx: click.Context, **_: object) -> int:
    """Register the tasks of a project.

    PATH is a Python file, ENV the variable of an environment in it. With --all or --recursive every argument
    is a PATH, a file or a directory.

    \b
    Examples:
      flyte-deploy deploy hello.py env
      flyte-deploy deploy --all hello.py
      flyte-deploy deploy --recursive src --project flytesnacks --domain development
    """
    settings = resolve(given(ctx), os.environ, Path.cwd())
    return _plan(settings) if settings.dry_run else _deploy(settings)


def plan(ctx: click.Context, **_: object) -> int:
    """Say what a deploy would do: bundle, upload, build and register.

    Takes the same arguments as deploy and changes nothing anywhere. Without an endpoint it works offline.
    """
    said = given(ctx)
    cwd = Path.cwd()
    if said.pop("show_settings", False) or early("show_settings", {}, os.environ):
        settings = gather(said, os.environ, cwd, command="plan")
        if settings.output_format == "json":
            _show_as_json(rows(settings))
        else:
            output.say(show(settings))
        return 0
    return _plan(resolve(said, os.environ, cwd, command="plan"))


def serve(ctx: click.Context, **_: object) -> int:
    """Keep an embedded control plane running, for trying and testing.

    It keeps what is registered but runs no tasks. The flyte command line works against it too.
    """
    settings = resolve_serve(given(ctx), os.environ, Path.cwd())
    from flyte_deploy import embedded
    from flyte_deploy.errors import DeployError

    worker = None
    if settings.build_registry:
        from flyte_deploy.embedded.worker import ImageWorker

        worker = ImageWorker(settings.build_registry.strip("/"), dict(os.environ))
        try:
            worker.check()
        except DeployError as error:
            click.echo(f"No images are built here: {error.what}", err=True)
            worker = None

    def ready(endpoint: object) -> None:
        click.echo(f"The embedded control plane listens on {endpoint} (it runs no tasks). Ctrl-C ends it.")
        sys.stdout.flush()

    embedded.serve(host=settings.host, port=settings.port, data=settings.data, on_ready=ready, worker=worker)
    return 0


def action(ctx: click.Context, **_: object) -> int:
    """Be a step of a GitHub workflow: inputs and event from the environment, outputs to where it says.

    This is what the container of the action runs. action.yml lists the inputs, the step outputs and what they
    mean; each input is the option of deploy that has its name.
    """
    ctx.ensure_object(Run).verbose = os.environ.get("RUNNER_DEBUG") == "1"
    from flyte_deploy.action.main import run

    return run(os.environ)


def _deploy(settings: Settings) -> int:
    from flyte_deploy import pipeline

    deployment = pipeline.deploy(settings, listener())
    if settings.output_format == "json":
        from flyte_deploy.report.json import deployment_json

        output.document(deployment_json(deployment))
    else:
        from flyte_deploy.report.text import deployment_text

        output.say(deployment_text(deployment))
    return 0


def _plan(settings: Settings) -> int:
    from flyte_deploy import pipeline

    result = pipeline.plan(settings, listener())
    if settings.output_format == "json":
        from flyte_deploy.report.json import plan_json

        output.document(plan_json(result))
    else:
        from flyte_deploy.report.text import plan_text

        output.say(plan_text(result))
    from flyte_deploy.differences import breaking_error

    refused = breaking_error(settings, result)
    if refused is not None:
        click.echo(output.error_text(refused), err=True)
        return refused.exit_status
    return CHANGES if settings.detailed_exitcode and result.has_changes else 0


def listener() -> Any:
    """Tells what happens on standard error."""
    from flyte_deploy.report import text

    return text.listener(sys.stderr)


def _show_as_json(found: Iterable[tuple[str, str, str]]) -> None:
    import json

    settings = {name: {"value": SECRETS.redact(value), "from": origin} for name, value, origin in found}
    text = json.dumps({"schema": "flyte-deploy/settings/1", "settings": settings}, indent=2)
    output.document(text.encode())


add_command("deploy", deploy, arguments=True)
add_command("plan", plan, arguments=True)
add_command("serve", serve, arguments=False)
add_command("action", action, arguments=False, options=False)
