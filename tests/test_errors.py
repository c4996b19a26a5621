"""Errors that say very much."""

from __future__ import annotations

from flyte_deploy.errors import DeployError


def test_of_very_many_details_both_ends_stay_however_often_the_error_is_told_again() -> None:
    lines = tuple(f"line {number}" for number in range(2000))
    once = DeployError("it failed", details=lines)
    assert (once.details[0], once.details[-1]) == ("line 0", "line 1999")
    assert len(once.details) < 300
    assert f"… {2001 - len(once.details)} lines are left out …" in once.details
    assert DeployError(once.what, details=once.details).details == once.details
