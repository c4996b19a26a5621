"""The comments that a pull request sees, one of each kind."""

from __future__ import annotations

from dataclasses import replace

from flyte_deploy.errors import DeployError
from flyte_deploy.model import Plan, Step
from flyte_deploy.report.story import Closed, Story
from flyte_deploy.specs.changes import Change, State
from tests.report import plans

CONSOLE = "https://flyte.example.com/v2/domain/development/project/flytesnacks/tasks"
RUN = "https://github.com/team/project/actions/runs/1"


def _story(outcome: object, begun: frozenset[str] | None = None) -> Story:
    console = "" if isinstance(outcome, DeployError) else CONSOLE
    return Story("preview", outcome, "", console, RUN, "a1" * 20, "", begun, "flytesnacks/development")  # type: ignore[arg-type]


def _unchanged() -> Plan:
    made = plans.plan(plans.SMALL, {})
    assert made.difference is not None
    return replace(made, steps=(Step("collect", 1.9),), difference=replace(made.difference, files=()))


def scenes() -> dict[str, Story | Closed]:
    """By name: a first preview, one that breaks callers, one without changes, a failure, and the end."""
    new: dict[str, tuple[State, tuple[Change, ...]]] = {
        f"{environment}.{task}": ("new", ())
        for environment, (tasks, _) in plans.SMALL.items()
        for task in tasks
    }
    images = plans.small().images
    first = plans.plan(plans.SMALL, new, images=images, warnings=plans.small().warnings)
    failure = DeployError(
        'image train: process "/bin/sh -c pip install torch==99" did not complete: exit code 1',
        where="Dockerfile:12",
        details=(
            "RUN pip install torch==99",
            "ERROR: Could not find a version that satisfies the requirement torch==99",
            "ERROR: No matching distribution found for torch==99",
        ),
        mend="Correct the packages of the image.",
    )
    return {
        "first": _story(plans.deployed(first)),
        "breaking": _story(plans.deployed(plans.small())),
        "unchanged": _story(plans.deployed(_unchanged())),
        "failure": _story(failure, frozenset({"collect", "verify", "publish", "images"})),
        "closed": Closed(
            "flytesnacks/development",
            ("pr-12-0123456789abcdef01234567", "pr-12-76543210fedcba9876543210"),
            ("report.render/nightly",),
            merged=True,
            run_url=RUN,
        ),
    }
