"""Versions: what a template may hold and what becomes of its values."""

from __future__ import annotations

import pytest

from flyte_deploy.errors import DeployError
from flyte_deploy.version import check_template, check_version, render

SHA = "0123456789abcdef0123456789abcdef01234567"


def test_templates_are_filled_in() -> None:
    values = {"content": "c" * 24, "short_sha": SHA[:7], "branch": "feature/Größe x", "tag": "v1.2.0"}
    assert render("{content}", values) == "c" * 24
    assert render("{tag}-{short_sha}", values) == "v1.2.0-0123456"
    assert render("b-{branch}", values) == "b-feature-Gr-e-x"
    assert render("v1", {}) == "v1"


@pytest.mark.parametrize(
    ("template", "word"),
    [
        ("{content}-{shaa}", "{shaa}"),
        ("a b", "characters"),
        ("a/b", "characters"),
        ("-a", "characters"),
        ("x" * 64, "64 characters"),
        ("{sha}-{content}-", "characters"),
        ("{sha}-{content}", "65 characters"),
    ],
)
def test_templates_are_refused_before_any_work(template: str, word: str) -> None:
    with pytest.raises(DeployError) as raised:
        check_template(template)
    assert word in raised.value.what
    assert raised.value.exit_status == 2


@pytest.mark.parametrize("field", ["tag", "branch", "sha"])
def test_a_value_that_the_place_lacks_is_an_error(field: str) -> None:
    with pytest.raises(DeployError) as raised:
        render(f"v-{{{field}}}", {"content": "c", field: ""})
    assert f"{{{field}}}" in raised.value.what
    assert raised.value.mend


def test_a_value_can_make_a_version_too_long() -> None:
    with pytest.raises(DeployError, match="81 characters"):
        render("{branch}-", {"branch": "b" * 80})


@pytest.mark.parametrize("version", ["a", "1", "v1.2.0-rc.1_x", "x" * 63])
def test_versions_that_are_taken(version: str) -> None:
    check_version(version)
