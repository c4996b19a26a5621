"""The action: from inputs to outputs, in the order in which it happens."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path

from flyte_deploy.action import inputs, outputs
from flyte_deploy.action.environment import as_given
from flyte_deploy.action.event import read_event
from flyte_deploy.action.events import Policy
from flyte_deploy.action.log import Log
from flyte_deploy.action.policy import unchecked
from flyte_deploy.action.reachable import check_loopback
from flyte_deploy.action.reviewer import Reviewer, reviewer_of
from flyte_deploy.action.words import as_inputs, in_words_of_a_workflow
from flyte_deploy.errors import DeployError, NotWanted
from flyte_deploy.model import Deployment, Plan
from flyte_deploy.report.story import Closed, Story
from flyte_deploy.secrets import SECRETS
from flyte_deploy.settings import Settings, show


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
        event = read_event(environ)
        asked = inputs.read(environ, event)
        settings, policy = asked.settings, asked.policy
        assert policy is not None
        log.root, log.workspace = settings.root_dir, asked.workspace
        check_loopback(asked)
        log.line(f"event {event.name or 'unknown'}: {policy.do}, {policy.why}")
        for note in policy.notes:
            log.line(note)
        for line in as_inputs(show(settings)).splitlines():
            if not line.endswith(" default"):
                log.line(line)
    log.debug(show(settings))
    _private_state()
    root = _below(settings.root_dir, asked.workspace)
    reviewer = reviewer_of(environ, settings, policy, root, log)
    if reviewer is None and (text := unchecked(settings, policy)):
        log.warning(text)
    if policy.do == "skip":
        log.line(f"Nothing is done: {policy.why}")
        return
    if policy.do == "post-comment":
        _post(settings, policy, reviewer)
        return
    if policy.do == "close":
        _close(settings, policy, reviewer, root, environ, log)
        return
    _deploy(asked, policy, reviewer, root, environ, log)


def _deploy(
    asked: inputs.Asked,
    policy: Policy,
    reviewer: Reviewer | None,
    root: str,
    environ: Mapping[str, str],
    log: Log,
) -> None:
    # What the deploy needs is imported only now: a wrong input should not wait for it.
    from flyte_deploy import pipeline
    from flyte_deploy.project.workplace import Container
    from flyte_deploy.records.record import origin_of
    from flyte_deploy.report.json import deployment_json, plan_json
    from flyte_deploy.report.text import deployment_text, plan_text

    settings = asked.settings
    run_url = origin_of(environ)["run"]

    def story(outcome: Plan | Deployment | DeployError, *, written: bool = False) -> Story:
        plan = outcome.plan if isinstance(outcome, Deployment) else outcome
        return Story(
            kind=policy.do if policy.do in ("push", "release", "preview") else "plan",
            outcome=outcome,
            root=root,
            console_url=outputs.console_url(plan) if isinstance(plan, Plan) else "",
            run_url=run_url,
            commit=policy.head,
            why_plan=policy.why if policy.do == "plan" else "",
            written=written,
            summary_url=run_url,
        )

    os.chdir(asked.folder)
    container = Container(asked.workspace, as_given(environ), untrusted=settings.untrusted)
    if reviewer is not None:
        reviewer.begin()
    begun: list[str] = []

    def gate() -> str:
        why = reviewer.not_wanted() if reviewer is not None else ""
        begun.append(why)
        return why

    outcome: Plan | Deployment
    try:
        if settings.dry_run:
            outcome = pipeline.plan(settings, log.listen, container=container)
            document, text, plan = plan_json(outcome), plan_text(outcome), outcome
        else:
            outcome = pipeline.deploy(settings, log.listen, container=container, gate=gate)
            document, text, plan = deployment_json(outcome), deployment_text(outcome), outcome.plan
    except NotWanted as given_up:
        log.warning(f"nothing was registered: {given_up}")
        if reviewer is not None:
            reviewer.end(None, "inactive", said=str(given_up))
        return
    except DeployError as error:
        told = in_words_of_a_workflow(error)
        if reviewer is not None:
            reviewer.end(story(told, written=bool(begun)), "failure", said=told.what)
        raise
    for warning in plan.warnings:
        log.warning(warning)
    log.line(text)
    page = story(outcome)
    _hand_over(outcome, page, document, environ, log)
    if reviewer is None:
        return
    if policy.do == "preview" and reviewer.not_wanted():
        # It was closed while this was under way, and whoever closed it has found less to clean up.
        _close(settings, policy, reviewer, root, environ, log)
        return
    reviewer.end(page, "success", page.console_url, f"version {plan.version}")


def _post(settings: Settings, policy: Policy, reviewer: Reviewer | None) -> None:
    from flyte_deploy.report.posted import posted, read_posted

    if settings.plan_file is None or reviewer is None:
        missing = "plan-file" if settings.plan_file is None else "github-token"
        raise DeployError(
            f"mode post-comment needs input {missing}",
            where="mode",
            mend=f"Give it with {missing}.",
            usage=True,
        )
    plan = read_posted(settings.plan_file)
    reviewer.post(lambda room: posted(plan, room), policy.number)


def _close(
    settings: Settings,
    policy: Policy,
    reviewer: Reviewer | None,
    root: str,
    environ: Mapping[str, str],
    log: Log,
) -> None:
    from flyte_deploy.records.record import origin_of
    from flyte_deploy.releases.close import close_preview

    run_url = origin_of(environ)["run"]
    closed = close_preview(settings, policy.number, merged=policy.merged, root=root, run_url=run_url)
    for trigger in closed.removed:
        log.line(f"removed trigger {trigger}")
    log.line(f"{len(closed.versions)} versions of the preview stay in {closed.target}: Flyte deletes none")
    if reviewer is not None:
        reviewer.close(closed)
    _summarize(closed, environ, log)


def _below(folder: Path, workspace: Path) -> str:
    """A folder relative to the workspace; empty for the workspace itself."""
    real = Path(os.path.realpath(folder))
    below = real.relative_to(workspace).as_posix() if real.is_relative_to(workspace) else ""
    return "" if below == "." else below


def _hand_over(
    outcome: Plan | Deployment, page: Story, document: bytes, environ: Mapping[str, str], log: Log
) -> None:
    """Outputs and summary; everything is done by now, so that what fails here is only a warning."""
    try:
        values = outputs.outputs_of(outcome, outputs.plan_output(document, environ))
        outputs.write(values, environ)
    except DeployError as error:
        log.warning(f"{error.what} ({error.where})")
        return
    for name in outputs.dropped(values, SECRETS.values()):
        log.warning(f"output {name} holds what is masked in this job: *** stands for it")
    _summarize(page, environ, log)


def _summarize(page: Story | Closed | DeployError, environ: Mapping[str, str], log: Log) -> None:
    from flyte_deploy.action import summary
    from flyte_deploy.report import markdown

    text = summary.failure_of(page) if isinstance(page, DeployError) else markdown.summary(page)
    try:
        summary.write(SECRETS.redact(text), environ)
    except DeployError as error:
        log.warning(f"{error.what} ({error.where})")


def _private_state() -> None:
    """Keep the state of Docker's client from HOME, which other steps share and which may not be writable."""
    if not os.environ.get("BUILDX_CONFIG"):
        os.environ["BUILDX_CONFIG"] = tempfile.mkdtemp(prefix="flyte-deploy-buildx-")
