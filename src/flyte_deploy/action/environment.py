"""The workflow's environment variables: which of them are kept from everything that is started, which are
secrets."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, MutableMapping

# They change what programs do that know nothing of them: they load code, or configuration that names some.
_PREFIXES = ("BASH_", "GIT_", "LD_", "PIP_", "PYTHON", "UV_", "MALLOC_", "PERL", "OPENSSL_")
_NAMES = frozenset(
    {
        "CDPATH",
        "CONDA_PREFIX",
        "ENV",
        "GCONV_PATH",
        "GLIBC_TUNABLES",
        "IFS",
        "LOCPATH",
        "NLSPATH",
        "SHELLOPTS",
        "VIRTUAL_ENV",
        "XDG_CONFIG_DIRS",
        "XDG_CONFIG_HOME",
    }
)
_SECRET = re.compile(
    r"(TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|PRIVATE_KEY|ACCESS_KEY|CREDENTIALS|AUTH_CONFIG)$", re.IGNORECASE
)
_SHORTEST = 6
"""A shorter secret is not masked: its letters would be in every other word."""


_taken: dict[str, str] = {}


def clean(environ: MutableMapping[str, str]) -> None:
    """Take away what would make git, Python, uv, pip, bash or the loader do as the workflow's `env:` says."""
    for name in list(environ):
        if name in _NAMES or name.startswith(_PREFIXES):
            _taken[name] = environ.pop(name)


def as_given(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment with what was taken away: for code that is started with what the workflow names."""
    return {**_taken, **environ}


def secrets_of(environ: Mapping[str, str], inputs: Iterable[str] = ()) -> tuple[str, ...]:
    """What must not be seen: values of variables named like secrets, and `inputs`, whole and by line.

    A file's path is no secret. GitHub masks what it knows as a secret of the repository, but not what was
    fetched or computed in the job.
    """
    values = [value for name, value in environ.items() if _SECRET.search(name) and not _is_path(value)]
    found: dict[str, None] = {}
    for value in (*values, *inputs):
        for part in (value.strip(), *(line.strip() for line in value.splitlines())):
            if len(part) >= _SHORTEST:
                found[part] = None
    # The longest first: one may be a part of another.
    return tuple(sorted(found, key=lambda text: (-len(text), text)))


def redact(text: str, secrets: Iterable[str]) -> str:
    """The text with ``***`` in place of secrets: nobody else masks what leaves by API or file."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def _is_path(value: str) -> bool:
    return value.startswith("/") and os.path.exists(value)  # noqa: PTH110 - never raises
