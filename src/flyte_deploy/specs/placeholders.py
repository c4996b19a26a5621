"""The placeholders that the collector leaves in requests, and how they are replaced in text."""

from __future__ import annotations

import re
from collections.abc import Mapping

from flyte_deploy.collector.inside import sdk

MARK = "<<flyte-deploy:"
_PLACEHOLDER = re.compile(r"<<flyte-deploy:[a-z-]+(?::[^<>]*)?>>")


def image(environment: str) -> str:
    """The placeholder of an environment's image."""
    return sdk.IMAGE.format(environment)


def replace(text: str, values: Mapping[str, str]) -> str:
    """Put the values of all placeholders into a text; one that has no value is left in place."""
    return _PLACEHOLDER.sub(lambda match: values.get(match[0], match[0]), text)
