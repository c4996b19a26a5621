"""The version of a deployment: a text, or a template that is filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping

from flyte_deploy.errors import DeployError

MAX_LENGTH = 63
"""Of a version, in Flyte's API."""

FIELDS = ("content", "sha", "short_sha", "branch", "tag")
"""What a template can hold."""

_FIELD = re.compile(r"\{([^{}]*)\}")
_FORBIDDEN = re.compile(r"[^A-Za-z0-9._-]+")
_ALLOWED = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
DEFAULT = "{content}"
SHORTEN = "Shorten it: {short_sha} instead of {sha}, for instance."


def has_content(template: str) -> bool:
    """Whether a version made from the template names the content: then one version has one content."""
    return "{content}" in template


def check_template(template: str) -> None:
    """Refuse a template that no values could make a version of; before any work is done.

    Raises:
        DeployError: for an unknown field, a forbidden character, or too many characters.
    """
    for name in _FIELD.findall(template):
        if name not in FIELDS:
            raise DeployError(
                f"a version knows no '{{{name}}}'",
                where="--version",
                mend=f"It can hold {', '.join('{' + field + '}' for field in FIELDS)}.",
                usage=True,
            )
    # A content version has 24 characters, a commit 40; the shortest value of the others is one.
    widths = {"content": "c" * 24, "sha": "c" * 40, "short_sha": "c" * 7}
    check_version(_FIELD.sub(lambda match: widths.get(match[1], "c"), template))


def check_version(version: str, shorten: str = SHORTEN) -> None:
    """Refuse a version that Flyte's API or a URL would not carry.

    Args:
        version: it.
        shorten: how to mend one that is too long.

    Raises:
        DeployError: for forbidden characters or a length beyond `MAX_LENGTH`.
    """
    if len(version) > MAX_LENGTH:
        raise DeployError(
            f"the version '{version}' has {len(version)} characters; Flyte takes {MAX_LENGTH}",
            where="--version",
            mend=shorten,
            usage=True,
        )
    if not _ALLOWED.fullmatch(version):
        raise DeployError(
            f"the version '{version}' holds characters that a version cannot have",
            where="--version",
            mend="Use letters, digits, '-', '_' and '.', with a letter or digit at both ends.",
            usage=True,
        )


def render(template: str, values: Mapping[str, str]) -> str:
    """Fill in a template. In the values `/` and whatever else is forbidden becomes `-`.

    Raises:
        DeployError: where the place lacks a value, or the result is no version.
    """

    def value(match: re.Match[str]) -> str:
        text = values.get(match[1], "")
        if not text:
            raise DeployError(
                f"the version needs {{{match[1]}}}, which there is none of here",
                where="--version",
                mend=_LACKING.get(match[1], "Deploy from a git checkout, or write another version."),
                usage=True,
            )
        return _FORBIDDEN.sub("-", text).strip("-._")

    version = _FIELD.sub(value, template)
    check_version(version)
    return version


_LACKING = {
    "tag": "No tag points at this commit: tag it, or write another version.",
    "branch": "The checkout is on no branch (a detached head): name one, or write another version.",
}
