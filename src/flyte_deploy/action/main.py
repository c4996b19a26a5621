"""The action: from inputs to outputs, in the order in which it happens."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping
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
from flyte_deploy.model import Deployment, Plan, Progress
from flyte_deploy.report.story import Closed, Story
from flyte_deploy.secrets import SECRETS
from flyte_deploy.settings import Settings, show

_BUDGET = 5.0
"""Seconds in which GitHub is told of a run that is being ended: the runner leaves it ten, all in all."""


def run(environ: Mapping[str, str] = os.environ) -> int:
    """Carry out the step that the environment describes and answer its exit status.

    What happens is told in the log, in the step's outputs and in the job's summary; errors are annotations.

    Raises:
        KeyboardInterrupt: after GitHub was told; whoever has asked for it says so.
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
        return _run(environ, log)
    except Exception as error:
        return _failed(Story("action", _told(error)), environ, log)
    finally:
        forget()


def _run(environ: Mapping[str, str], log: Log) -> int:
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
    if policy.do not in ("skip", "post-comment", "close"):
        return _deploy(asked, policy, reviewer, root, environ, log)
    if policy.do == "skip":
        log.line(f"Nothing is done: {policy.why}")
    elif policy.do == "post-comment":
        _post(settings, reviewer)
    else:
        _close(settings, policy, reviewer, root, environ, log)
    _write(outputs.NOTHING, environ, log)
    return 0


def _deploy(
    asked: inputs.Asked,
    policy: Policy,
    reviewer: Reviewer | None,
    root: str,
    environ: Mapping[str, str],
    log: Log,
) -> int:
    # What the deploy needs is imported only now: a wrong input should not wait for it.
    from flyte_deploy import pipeline
    from flyte_deploy.differences import breaking_error
    from flyte_deploy.project.workplace import Container
    from flyte_deploy.records.record import origin_of
    from flyte_deploy.report.json import deployment_json, plan_json
    from flyte_deploy.report.text import deployment_text, plan_text

    settings = asked.settings
    run_url = origin_of(environ)["run"]

    begun: set[str] = set()

    def listen(progress: Progress) -> None:
        if progress.kind == "step":
            begun.add(progress.data["name"])
        log.listen(progress)

    def story(outcome: Plan | Deployment | DeployError | NotWanted) -> Story:
        plan = outcome.plan if isinstance(outcome, Deployment) else outcome
        return Story(
            kind=policy.do if policy.do in ("push", "release", "preview") else "plan",
            outcome=outcome,
            root=root,
            console_url=outputs.console_url(plan, settings.insecure) if isinstance(plan, Plan) else "",
            run_url=run_url,
            commit=policy.head,
            why_plan=policy.why if policy.do == "plan" else "",
            begun=frozenset(begun),
            target=policy.target.strip("/"),
        )

    os.chdir(asked.folder)
    container = Container(asked.workspace, as_given(environ), untrusted=settings.untrusted)

    def gate() -> str:
        return reviewer.not_wanted() if reviewer is not None else ""

    def tell(page: Story, error: DeployError) -> None:
        if reviewer is None:
            return
        reviewer.end(page, "failure", said=error.what)
        over = reviewer.over()
        if over is None:
            return
        try:
            _close(settings, over, reviewer, root, environ, log)
        except DeployError as problem:
            log.warning(str(in_words_of_a_workflow(problem)))

    outcome: Plan | Deployment
    try:
        if reviewer is not None:
            reviewer.begin()
        if settings.dry_run:
            outcome = pipeline.plan(settings, listen, container=container)
            document, text, plan = plan_json(outcome, root), plan_text(outcome), outcome
        else:
            outcome = pipeline.deploy(settings, listen, container=container, gate=gate)
            document, text, plan = deployment_json(outcome), deployment_text(outcome), outcome.plan
        for warning in plan.warnings:
            log.warning(warning)
        log.line(text)
        page = story(outcome)
        _hand_over(outcome, page, document, environ, log)
        if reviewer is not None:
            reviewer.end(page, "success", page.console_url, f"version {plan.version}")
    except NotWanted as given_up:
        log.warning(f"nothing was registered: {given_up}")
        _write(outputs.NOTHING, environ, log)
        _summarize(story(given_up), environ, log)
        if reviewer is not None:
            reviewer.end(None, "inactive", said=str(given_up))
        return 0
    except (Exception, KeyboardInterrupt) as error:
        told = _told(error)
        page = story(told)
        if isinstance(error, DeployError):
            tell(page, told)
        else:
            _within(_BUDGET, lambda: tell(page, told), log)
        if isinstance(error, KeyboardInterrupt):
            _summarize(page, environ, log)
            raise
        return _failed(page, environ, log)
    # Asked last: whoever closes it from now on has the last word. Who has before has found less to clean up.
    over = reviewer.over() if reviewer is not None else None
    if over is not None:
        _close(settings, over, reviewer, root, environ, log)
        return 0
    refused = breaking_error(settings, plan)
    if refused is not None:
        raise refused
    return 0


def _post(settings: Settings, reviewer: Reviewer | None) -> None:
    from flyte_deploy.report.posted import posted, read_posted

    assert settings.plan_file is not None, "the policy asks for it"
    if reviewer is None:
        raise DeployError(
            "mode post-comment needs a token to comment with",
            where="--github-token",
            mend="Leave out the empty one: the job's own is the default.",
            usage=True,
        )
    plan = read_posted(settings.plan_file)
    number = reviewer.whose_plan()
    if number:
        reviewer.post(lambda room: posted(plan, room), number, str(plan.target or ""), plan.root)


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
    try:
        closed = close_preview(settings, policy.number, merged=policy.merged, root=root, run_url=run_url)
    except Exception as error:
        if reviewer is not None:
            reviewer.close(Closed(policy.target, (), (), policy.merged, root, run_url, _told(error)))
        raise
    for trigger in closed.removed:
        log.line(f"removed trigger {trigger}")
    log.line(f"{len(closed.versions)} versions of the preview stay in {closed.target}: Flyte deletes none")
    if reviewer is not None:
        reviewer.close(closed)
    _summarize(closed, environ, log)


def _told(error: BaseException) -> DeployError:
    """What went wrong, for somebody who reads it in a workflow's log, in a summary or a comment."""
    if isinstance(error, DeployError):
        return in_words_of_a_workflow(error)
    if isinstance(error, KeyboardInterrupt):
        outcome = getattr(error, "outcome", None)
        return DeployError(
            "the run was cancelled, or has met its deadline",
            details=(str(outcome),) if outcome is not None else (),
            mend="The same run, repeated, completes what was begun.",
        )
    return DeployError(
        f"internal error: {type(error).__name__}: {error}",
        mend="This is a mistake of flyte-deploy's own: report it, with the log of a run with debug logging,"
        " which has the traceback.",
    )


def _within(seconds: float, tell: Callable[[], None], log: Log) -> None:
    """Tell something, for so long at most; what goes wrong must not hide what is told."""

    def attempt() -> None:
        try:
            tell()
        except Exception:
            log.debug(traceback.format_exc())

    thread = threading.Thread(target=attempt, name="tell", daemon=True)
    thread.start()
    thread.join(seconds)


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
        record = outcome.record if isinstance(outcome, Deployment) else b""
        large = len(record) > outputs.MOST_INLINE
        values = outputs.outputs_of(
            outcome,
            document,
            outputs.keep_file("plan", document, environ),
            outputs.keep_file("record", record, environ) if large else record.decode(),
            page.console_url,
        )
        outputs.write(values, environ)
    except DeployError as error:
        log.warning(f"{error.what} ({error.where})")
    else:
        for name in outputs.dropped(values, SECRETS.values()):
            log.warning(f"output {name} holds what is masked in this job: *** stands for it")
    _summarize(page, environ, log)


def _write(values: Mapping[str, str], environ: Mapping[str, str], log: Log) -> None:
    """Write outputs; what there was to do is done by now, so that what fails here is only a warning."""
    try:
        outputs.write(values, environ)
    except DeployError as error:
        log.warning(f"{error.what} ({error.where})")


def _failed(page: Story, environ: Mapping[str, str], log: Log) -> int:
    """Tell of the error that is handled, and answer the exit status."""
    assert isinstance(page.outcome, DeployError)
    if log.debugs:
        log.debug(traceback.format_exc())
    log.error(page.outcome)
    _summarize(page, environ, log)
    return page.outcome.exit_status


def _summarize(page: Story | Closed, environ: Mapping[str, str], log: Log) -> None:
    from flyte_deploy.action import summary
    from flyte_deploy.report import markdown

    try:
        summary.write(SECRETS.redact(markdown.summary(page)), environ)
    except DeployError as error:
        log.warning(f"{error.what} ({error.where})")


def _private_state() -> None:
    """Keep the state of Docker's client from HOME, which other steps share and which may not be writable."""
    if not os.environ.get("BUILDX_CONFIG"):
        os.environ["BUILDX_CONFIG"] = tempfile.mkdtemp(prefix="flyte-deploy-buildx-")
