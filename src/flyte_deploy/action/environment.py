"""The workflow's environment variables: which of them are kept from everything that is started."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

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


_taken: dict[str, str] = {}


def clean(environ: MutableMapping[str, str]) -> None:
    """Take away what would make git, Python, uv, pip, bash or the loader do as the workflow's `env:` says."""
    for name in list(environ):
        if name in _NAMES or name.startswith(_PREFIXES):
            _taken[name] = environ.pop(name)


def as_given(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment with what was taken away: for code that is started with what the workflow names."""
    return {**_taken, **environ}
