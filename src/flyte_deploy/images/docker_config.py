"""The logins of Docker's own configuration, as Docker reads them.

Sources: https://docs.docker.com/reference/cli/docker/login/ and the protocol of
https://github.com/docker/docker-credential-helpers.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flyte_deploy.errors import DeployError
from flyte_deploy.images.auth import HUB_KEY, Login, Source, decoded
from flyte_deploy.images.reference import DOCKER_HUB

_SECONDS = 30
_TOKEN_USER = "<token>"  # noqa: S105 - the helpers' word for "what follows is an identity token"
_NOTHING = "credentials not found in native keychain"


def docker_config(environ: Mapping[str, str]) -> Source:
    """The source of DOCKER_AUTH_CONFIG and of ``config.json`` below DOCKER_CONFIG or ``~/.docker``.

    The file is read when a login is first asked for. It raises DeployError for one that is no JSON, and for a
    helper that is missing, fails or does not end within 30 seconds.
    """
    read: list[dict[str, Any]] = []

    def login(host: str) -> Login | None:
        if not read:
            read.extend((auth_variable(environ), _file(environ)))
        variable, file = read
        return (
            _of_auths(variable, host, "environment DOCKER_AUTH_CONFIG")
            or _of_helper(file, host, environ)
            or _of_auths(file, host, str(config_path(environ)))
        )

    return login


def config_path(environ: Mapping[str, str]) -> Path:
    """Where Docker's configuration is, if there is any."""
    folder = environ.get("DOCKER_CONFIG")
    return (Path(folder) if folder else Path(environ.get("HOME") or Path.home()) / ".docker") / "config.json"


def auth_variable(environ: Mapping[str, str]) -> dict[str, Any]:
    """What DOCKER_AUTH_CONFIG holds, empty where it is not set.

    Raises:
        DeployError: for what is no JSON.
    """
    text = environ.get("DOCKER_AUTH_CONFIG", "")
    return _object(text, "environment DOCKER_AUTH_CONFIG") if text.strip() else {}


def _file(environ: Mapping[str, str]) -> dict[str, Any]:
    path = config_path(environ)
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise DeployError(f"Docker's configuration cannot be read ({error})", where=str(path)) from None
    return _object(text, str(path)) if text.strip() else {}


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        # Its text may hold passwords: it is not shown.
        raise DeployError("Docker's configuration is no JSON object", where=where, mend="Mend or remove it.")
    return value


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = config.get(name)
    return value if isinstance(value, dict) else {}


def _of_auths(config: Mapping[str, Any], host: str, where: str) -> Login | None:
    auths = _section(config, "auths")
    entry = auths.get(HUB_KEY) if host == DOCKER_HUB else auths.get(host)
    if entry is None:
        # As Docker does: a key may be written with a scheme and a path.
        entry = next((value for key, value in auths.items() if _host(key) == host), None)
    if not isinstance(entry, dict):
        return None
    token = entry.get("identitytoken") or ""
    user, password = entry.get("username") or "", entry.get("password") or ""
    if entry.get("auth"):
        pair = decoded(str(entry["auth"]))
        if pair is None:
            raise DeployError(f"the login of {host} in Docker's configuration is broken", where=where)
        user, password = pair
    if not token and not (user and password):
        return None
    return Login(str(user), str(password), where, str(token))


def _host(key: str) -> str:
    host = key.split("://", 1)[-1].split("/", 1)[0]
    return DOCKER_HUB if host in {"index.docker.io", "registry-1.docker.io"} else host


def _of_helper(config: Mapping[str, Any], host: str, environ: Mapping[str, str]) -> Login | None:
    key = HUB_KEY if host == DOCKER_HUB else host
    helpers = _section(config, "credHelpers")
    helper = helpers.get(host) or helpers.get(key) or config.get("credsStore")
    if not helper:
        return None
    program = f"docker-credential-{helper}"
    path = shutil.which(program, path=environ.get("PATH"))
    if path is None or "/" in str(helper):
        raise DeployError(
            f"Docker's configuration names the credential helper {program}, which is not installed",
            where=str(config_path(environ)),
            mend="Install it, or log in another way: --registry-auth HOST=USER:VARIABLE.",
        )
    problem = ""
    try:
        ran = subprocess.run(
            [path, "get"],
            input=key,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            env=dict(environ),
            check=False,
        )
    except subprocess.TimeoutExpired:
        problem = f"did not answer within {_SECONDS} seconds"
    except OSError as error:
        problem = f"cannot be run ({error.strerror})"
    else:
        if ran.returncode == 0:
            return _answer(ran.stdout, program, host)
        # It prints what is wrong to standard output.
        said = " ".join((ran.stdout or ran.stderr).split())[:200]
        if _NOTHING in said:
            return None
        problem = f"failed: {said}" if said else f"failed with status {ran.returncode}"
    raise DeployError(f"the credential helper {program} {problem}", where=host)


def _answer(text: str, program: str, host: str) -> Login | None:
    try:
        answer = json.loads(text)
        user, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError):
        raise DeployError(f"the credential helper {program} answers no credentials", where=host) from None
    if not secret:
        return None
    if user == _TOKEN_USER:
        return Login("", "", program, secret)
    return Login(user, secret, program)
