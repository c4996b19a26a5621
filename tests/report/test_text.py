"""Plans on a terminal: short enough to be read, however many tasks change."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flyte_deploy.clock import Clock
from flyte_deploy.model import Plan
from flyte_deploy.report.text import SHOWN_CHANGES, deployment_text, plan_text
from flyte_deploy.specs.changes import Change, State
from tests.report import plans


def difference(made: Plan) -> list[str]:
    lines = plan_text(made).splitlines()
    return lines[next(index for index, line in enumerate(lines) if line.startswith("Against")) :]


def wide(changes: dict[str, tuple[State, tuple[Change, ...]]], environments: int = 200) -> Plan:
    tasks = [f"task_{number}" for number in range(10)]
    none: list[str] = []
    return plans.plan({f"team_{number:03d}": (tasks, none) for number in range(environments)}, changes)


def test_one_task_that_changes() -> None:
    made = plans.plan(plans.SMALL, {"train.fit": ("changed", (plans.RETRIES, plans.REMOVED))}, gone=("a.b",))
    assert difference(made)[:5] == [
        "Against flytesnacks/production: 1 changed, 6 unchanged, 1 gone from the code, 1 breaking change.",
        "  ~ train.fit",
        "      retries: 1 -> 3",
        "      input name removed (str)  (breaking)",
        "  - a.b  gone from the code; what is registered stays",
    ]


def test_what_breaks_comes_first_and_what_is_alike_is_said_once() -> None:
    made = plans.large(10, 40, 7)
    lines = difference(made)
    assert lines[1:4] == ["  ~ 7 tasks", "      retries: 1 -> 3", "      output o0: int -> str  (breaking)"]
    told = " ".join(line.strip() for line in lines)
    assert "in team_000.task_0, team_001.task_0, team_002.task_0," in told
    assert told.count("retries: 1 -> 3") == 2
    for number in (0, 1, 2, 4, 5, 7, 8):
        for task in range(3):
            assert told.count(f"team_{number:03d}.task_{task}") == 1


@pytest.mark.parametrize("state", ["new", "changed", "distinct"])
def test_thousands_of_tasks_can_be_read(state: str) -> None:
    def one(number: int) -> tuple[State, tuple[Change, ...]]:
        if state == "new":
            return "new", ()
        return "changed", (Change("retries", before="1", after=str(number) if state == "distinct" else "2"),)

    changes = {f"team_{number // 10:03d}.task_{number % 10}": one(number) for number in range(2000)}
    text = plan_text(wide(changes))
    assert len(text.splitlines()) < 350
    assert max(map(len, text.splitlines())) < 120
    assert "    1 team_000  10 to register  (selected)" in text
    if state == "distinct":
        assert f"and {2000 - SHOWN_CHANGES:,} tasks more with other changes" in text
    else:
        assert "2,000 tasks" in text
        assert "and 1,980" in text
    assert text.splitlines()[-1].startswith("To do: upload the bundle, register 2,000 tasks")


def test_tasks_that_stay_are_counted() -> None:
    text = plan_text(wide({"team_000.task_0": ("new", ())}, 20))
    assert "    1 team_000  1 to register, 9 there  (selected)" in text
    assert "    2 team_001  10 there  (selected)" in text


def test_time_is_that_which_passed() -> None:
    clock = Clock(lambda _: None)
    with clock.step("outer", "one"), clock.step("inner", "beside it"):
        pass
    with clock.step("last", "after both"):
        pass
    inner, outer, last = clock.steps
    assert outer.began <= inner.began <= inner.began + inner.seconds <= last.began
    made = replace(plans.small(), steps=clock.steps)
    assert made.elapsed == last.began + last.seconds
    assert f"  time     {made.elapsed:.2f} s (" in deployment_text(plans.deployed(made))
