"""The job summary."""

from __future__ import annotations

import re
from collections.abc import Mapping

from flyte_deploy.errors import DeployError
from flyte_deploy.model import Deployment, Plan
from flyte_deploy.report.text import plain, summary

LIMIT = 900 * 1024
"""Bytes: near a mebibyte a summary vanishes without a word."""


def summary_of(outcome: Plan | Deployment) -> str:
    """A plan or a deployment as Markdown."""
    plan = outcome.plan if isinstance(outcome, Deployment) else outcome
    done = isinstance(outcome, Deployment)
    rows = [
        ("Version", _code(plan.version)),
        ("Target", _code(f"{plan.target or '-'}")),
        ("Tasks", f"{len(plan.to_register)} {'registered' if done else 'to register'} of {len(plan.tasks)}"),
        ("Time", f"{sum(step.seconds for step in plan.steps):.1f} s"),
    ]
    title = "Nothing to do" if not plan.has_changes else "Deployed" if done else "Plan"
    lines = [
        f"### Flyte: {title}",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows),
    ]
    return "\n".join([*lines, "", "" if done and plan.has_changes else _code(summary(plan)), ""])


def failure_of(error: DeployError) -> str:
    """An error as Markdown."""
    parts = [error.what, *([f"where: {error.where}"] if error.where else []), *error.details]
    parts += [error.mend] if error.mend else []
    # Indented, it is code: nothing in it is Markdown or HTML.
    lines = [f"    {plain(line)}" for part in parts for line in part.splitlines()]
    return "\n".join(["### Flyte: failed", "", *lines, ""])


def write(text: str, environ: Mapping[str, str]) -> None:
    """Append to the job's summary, as much as it holds; nothing where there is no file for it."""
    path = environ.get("GITHUB_STEP_SUMMARY", "")
    if not path:
        return
    data = text.encode()[:LIMIT].decode(errors="ignore")
    try:
        with open(path, "a", encoding="utf-8") as file:  # noqa: PTH123
            file.write(f"{data}\n")
    except OSError as error:
        raise DeployError(
            f"the job's summary cannot be written: {error.strerror}", where=f"GITHUB_STEP_SUMMARY, {path}"
        ) from None


def _code(text: str) -> str:
    return f"<code>{_text(text)}</code>"


def _text(text: str) -> str:
    # Numeric references stand for every character that Markdown, HTML or GitHub would act on.
    return re.sub(r"[^\w\s,{}-]|_", lambda found: f"&#{ord(found[0])};", plain(text).replace("\n", " "))
