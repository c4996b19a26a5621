"""Flyte's configuration file in a GitHub job: whoever opens a pull request may have written it.

Such a file could send credentials to an endpoint of its own, have TLS look away, or run a command. On a
developer's machine it is the developer's, and trusted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from flyte_deploy.errors import DeployError
from flyte_deploy.secrets import is_named_like_a_secret
from flyte_deploy.settings.options import OPTIONS
from flyte_deploy.settings.values import EMBEDDED, Settings

_COMMANDS = ("auth_command", "proxy_command")
GUARDED = (
    *("endpoint", "insecure", "insecure_skip_verify", "ca_cert", "http_proxy"),
    *("client_secret_env", "client_secret_file", *_COMMANDS),
)
"""The settings that decide where credentials go, which ones, and what is run to get them."""

OF_A_PULL = ("org", "project", "domain", "image_builder")
"""What a pull request's own file does not decide either: where its preview is registered, and who builds."""

_FILE = re.compile(r":\d+ \([\w.]+\)$")


def from_file(origin: str) -> bool:
    """Whether an origin is a line of the configuration file."""
    return _FILE.search(origin) is not None


def check_trust(
    settings: Settings, environ: Mapping[str, str], cwd: Path, *, of_a_pull: bool = False
) -> None:
    """In a GitHub job with secrets, follow a file of the checkout only where someone else says the same.

    A file that is named, by a flag, an input or the environment, is trusted.

    Args:
        settings: from everywhere.
        environ: the environment variables.
        cwd: the working directory.
        of_a_pull: whether the checkout is a pull request's.

    Raises:
        DeployError: naming the lines that were not followed.
    """
    if environ.get("GITHUB_ACTIONS") != "true" or settings.config_path is None:
        return
    if not settings.origins["config_path"].startswith("found in "):
        return
    if not _inside(settings.config_path, environ, cwd):
        return
    lines = [
        (settings.origins[name], _flag(name))
        for name in (*GUARDED, *(OF_A_PULL if of_a_pull else ()))
        if from_file(settings.origins[name])
        and getattr(settings, name) not in ("", (), None, False, EMBEDDED)
        # Docker here is the default.
        and (name, getattr(settings, name)) != ("image_builder", "local")
        and _secrets_present(settings, environ, command=name in _COMMANDS)
    ]
    if not lines:
        return
    flags = ", ".join(dict.fromkeys(flag for _, flag in lines))
    raise DeployError(
        "this job has secrets, and the configuration file comes with the code: "
        f"{lines[0][0]} is not followed",
        where=lines[0][0],
        details=tuple(f"not followed either: {where}" for where, _ in lines[1:]),
        mend=f"Say the same with {flags}, or trust the file by naming it: --config "
        f"{_relative(settings.config_path, cwd)}. A pull request may change it.",
        usage=True,
    )


def _flag(name: str) -> str:
    return next(option.flag for option in OPTIONS if option.field == name)


def _secrets_present(settings: Settings, environ: Mapping[str, str], *, command: bool) -> bool:
    if settings.api_key or environ.get(settings.client_secret_env):
        return True
    named = ("client_secret_file", *_COMMANDS)
    if any(getattr(settings, one) and not from_file(settings.origins[one]) for one in named):
        return True
    # GitHub gives every container action this one. It goes to nobody, but a command could take it.
    passed_over = () if command else ("ACTIONS_RUNTIME_TOKEN",)
    return any(
        value and name not in passed_over and is_named_like_a_secret(name) for name, value in environ.items()
    )


def _inside(path: Path, environ: Mapping[str, str], cwd: Path) -> bool:
    from flyte_deploy.project.git import top_folder

    tops = [cwd, top_folder(cwd)]
    if environ.get("GITHUB_WORKSPACE"):
        tops.append(Path(environ["GITHUB_WORKSPACE"]))
    written = Path(os.path.abspath(path))  # noqa: PTH100 - where it stands, not where it leads
    # A link in the checkout is as much somebody's word as a file.
    places = (written, Path(os.path.realpath(path)))
    return any(
        place.is_relative_to(form)
        for top in tops
        if top is not None
        for form in (top, Path(os.path.realpath(top)))
        for place in places
    )


def _relative(path: Path, cwd: Path) -> str:
    return str(path.relative_to(cwd)) if path.is_relative_to(cwd) else str(path)
