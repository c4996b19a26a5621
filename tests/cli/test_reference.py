"""The reference is what the table says."""

from __future__ import annotations

from pathlib import Path

from flyte_deploy.cli.reference import reference
from flyte_deploy.settings import OPTIONS

PAGE = Path(__file__).parents[2] / "docs" / "reference.md"


def test_the_page_is_in_step_with_the_table() -> None:
    again = "python -m flyte_deploy.cli.reference > docs/reference.md"
    assert PAGE.read_text(encoding="utf-8") == reference(), f"run: {again}"


def test_the_page_names_every_option() -> None:
    page = reference()
    for option in OPTIONS:
        assert f"`{option.flag}`" in page
        assert f"`{option.variable}`" in page
