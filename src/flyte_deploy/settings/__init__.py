"""The one `Settings`, and the one table of options that everything about them is made from."""

from __future__ import annotations

from flyte_deploy.settings.check import check
from flyte_deploy.settings.gather import early, gather, org_of, resolve, resolve_serve
from flyte_deploy.settings.options import ACTION, LAST_SECTION, OPTIONS, Option, options_of
from flyte_deploy.settings.show import rows, show
from flyte_deploy.settings.trust import check_trust
from flyte_deploy.settings.values import (
    DEFAULT_IMAGE,
    EMBEDDED,
    CopyStyle,
    OutputFormat,
    ServeSettings,
    Settings,
    Verify,
    default_cache,
    default_data,
)

__all__ = [
    "ACTION",
    "DEFAULT_IMAGE",
    "EMBEDDED",
    "LAST_SECTION",
    "OPTIONS",
    "CopyStyle",
    "Option",
    "OutputFormat",
    "ServeSettings",
    "Settings",
    "Verify",
    "check",
    "check_trust",
    "default_cache",
    "default_data",
    "early",
    "gather",
    "options_of",
    "org_of",
    "resolve",
    "resolve_serve",
    "rows",
    "show",
]
