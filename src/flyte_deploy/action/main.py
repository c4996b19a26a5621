"""The action: from inputs to outputs, in the order in which it happens."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Mapping

from flyte_deploy.action import inputs, outputs
from flyte_deploy.action.environment import as_given
from flyte_deploy.action.event import read_event
from flyte_deploy.action.log import Log
from flyte_deploy.action.reachable import check_loopback
from flyte_deploy.action.words import as_inputs, in_words_of_a_workflow
from flyte_deploy.errors import DeployError
from flyte_deploy.model import Deployment, Plan
from flyte_deploy.secrets import SECRETS
from flyte_deploy.settings import show


def run(environ: Mapping[str, str] = os.environ) -> int:
    """Carry out the step that the environment describes and answer its exit status.

    What happens is told in the log, in the step's outputs and in the job's summary; errors are annotations.
    """
    # One stream: the runner reads the two apart, and order would be lost.
    sys.stderr.flush()
    os.dup2(1, 2)
    # The runner's own word for "show me more".
    log = Log(sys.stdout, debug=environ.get("RUNNER_DEBUG") == "1")
    SECRETS.add_named(environ)
    # Masked before first use: what comes to be known later too.
    forget = SECRETS.on_added(lambda secret: log.mask([secret]))
    try:
        _run(environ, log)
    except DeployError as error:
        if log.debugs:
            log.debug(traceback.format_exc())
        told = in_words_of_a_workflow(error)
        log.error(told)
        _summarize(told, environ, log)
        return told.exit_status
    finally:
        forget()
    return 0


def _run(environ: Mapping[str, str], log: Log) -> None:
    with log.group("Settings"):
        asked = inputs.read(environ)
        settings = asked.settings
        log.root, log.workspace = settings.root_dir, asked.workspace
        # What the event is about decides what is done; for now every event does what the inputs say.
        event = read_event(environ)
        check_loopback(asked)
        log.line(f"event {event.name or 'unknown'}")
        for line in as_inputs(show(settings)).splitlines():
            if not line.endswith(" default"):
                log.line(line)
    log.debug(show(settings))
    _private_state()
    # What the deploy needs is imported only now: a wrong input should not wait for it.
    from flyte_deploy import pipeline
    from flyte_deploy.project.workplace import Container
    from flyte_deploy.report.json import deployment_json, plan_json
    from flyte_deploy.report.text import deployment_text, plan_text

    os.chdir(asked.folder)
    container = Container(asked.workspace, as_given(environ), untrusted=event.untrusted)
    outcome: Plan | Deployment
    if settings.dry_run:
        outcome = pipeline.plan(settings, log.listen, container=container)
        document, text, plan = plan_json(outcome), plan_text(outcome), outcome
    else:
        outcome = pipeline.deploy(settings, log.listen, container=container)
        document, text, plan = deployment_json(outcome), deployment_text(outcome), outcome.plan
    for warning in plan.warnings:
        log.warning(warning)
    log.line(text)
    _hand_over(outcome, document, environ, log)


def _hand_over(outcome: Plan | Deployment, document: bytes, environ: Mapping[str, str], log: Log) -> None:
    """Outputs and summary; everything is done by now, so that what fails here is only a warning."""
    try:
        values = outputs.outputs_of(outcome, outputs.plan_output(document, environ))
        outputs.write(values, environ)
    except DeployError as error:
        log.warning(f"{error.what} ({error.where})")
        return
    for name in outputs.dropped(values, SECRETS.values()):
        log.warning(f"output {name} holds what is masked in this job: *** stands for it")
    _summarize(outcome, environ, log)


def _summarize(outcome: Plan | Deployment | DeployError, environ: Mapping[str, str], log: Log) -> None:
    from flyte_deploy.action import summary

    text = summary.failure_of(outcome) if isinstance(outcome, DeployError) else summary.summary_of(outcome)
    try:
        summary.write(SECRETS.redact(text), environ)
    except DeployError as error:
        log.warning(f"{error.what} ({error.where})")


def _private_state() -> None:
    """Keep the state of Docker's client from HOME, which other steps share and which may not be writable."""
    if not os.environ.get("BUILDX_CONFIG"):
        os.environ["BUILDX_CONFIG"] = tempfile.mkdtemp(prefix="flyte-deploy-buildx-")
