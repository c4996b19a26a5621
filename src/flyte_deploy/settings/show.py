"""Settings as a table for people."""

from __future__ import annotations

import re
from dataclasses import fields

from flyte_deploy.secrets import HIDDEN
from flyte_deploy.settings.options import OPTIONS
from flyte_deploy.settings.values import Settings

_SECRET = frozenset(option.field for option in OPTIONS if option.secret)


def rows(settings: Settings) -> list[tuple[str, str, str]]:
    """Each setting, its value as text and where it came from; a password in an address is left out.

    A value that is not set is ``-``, or in brackets what happens then.
    """
    usual = {option.field: f"({option.default_text})" for option in OPTIONS if option.default_text}
    found: list[tuple[str, str, str]] = []
    for each in fields(settings):
        values = {each.name: getattr(settings, each.name)}
        if each.name == "images" and settings.images:
            values = {f"images.{name}": uri for name, uri in settings.images.items()}
        elif each.name in ("origins", "confinement", "working_dir", "base_store"):
            continue
        for key, value in values.items():
            origin = settings.origins.get(key, "default")
            shown = HIDDEN if value and each.name in _SECRET else _shown(value)
            found.append((key, shown or usual.get(each.name, "-"), origin))
    return found


def show(settings: Settings) -> str:
    """A table for people of each setting, its value and where it came from."""
    table = [("setting", "value", "from"), *rows(settings)]
    widths = [max(len(row[column]) for row in table) for column in (0, 1)]
    return "\n".join(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin}" for name, value, origin in table)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return " ".join(str(item) for item in value)
    return without_password(str(value)) if value not in (None, {}) else ""


def without_password(text: str) -> str:
    return re.sub(r"://[^\s/]*@", "://***@", text)
