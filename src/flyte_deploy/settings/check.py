"""What can be seen to be wrong with settings as a whole, before any work."""

from __future__ import annotations

import os
import re
from pathlib import Path

from flyte_deploy.errors import DeployError
from flyte_deploy.settings.options import BY_PARAMETER
from flyte_deploy.settings.show import without_password
from flyte_deploy.settings.values import EMBEDDED, Settings
from flyte_deploy.version import MAX_LENGTH, check_template, check_version

GCP_PROVIDER = re.compile(
    r"projects/\d+/locations/global/workloadIdentityPools/[a-z0-9-]+/providers/[a-z0-9-]+"
)
"""The name of a workload identity provider."""


def check(settings: Settings, cwd: Path, *, selects: bool = True) -> None:
    """Everything about settings as a whole that can be seen to be wrong before any work.

    Raises:
        DeployError: what is wrong, where it was said, how to mend it.
    """
    if not settings.root_dir.is_dir():
        raise DeployError(
            f"the root {settings.root_dir} is no directory",
            where=_said(settings, "root_dir"),
            mend="Give an existing directory with --root-dir.",
            usage=True,
        )
    if selects:
        _check_selection(settings, cwd)
    if settings.version:
        _check_version(settings)
    _check_endpoint(settings)
    _check_clouds(settings)
    for name in ("org", "project", "domain"):
        value: str = getattr(settings, name)
        if len(value) > MAX_LENGTH:
            raise DeployError(
                f"the {name} {_shortened(value)!r} has {len(value)} characters, Flyte allows {MAX_LENGTH}",
                where=_said(settings, name),
                mend=f"Give an existing {name} with --{name}.",
                usage=True,
            )
    if settings.dry_run:
        return
    if not settings.endpoint:
        raise DeployError(
            "there is no endpoint to deploy to",
            mend=f"Give one with {_ways('endpoint')}; --endpoint {EMBEDDED} tries it out on a control plane "
            "inside the command, and flyte-deploy plan needs none.",
            usage=True,
        )
    for name in ("project", "domain"):
        if not getattr(settings, name):
            raise DeployError(
                f"there is no {name} to deploy to", mend=f"Give one with {_ways(name)}.", usage=True
            )


def check_release(settings: Settings, command: str) -> None:
    """The same for the commands that work on what is registered.

    Raises:
        DeployError: as `check`.
    """
    _check_endpoint(settings)
    _check_clouds(settings)
    wanted = {"endpoint": settings.endpoint, "project": settings.project}
    wanted |= {"from": settings.source, "to": settings.domain} if command == "promote" else {}
    wanted |= {"domain": settings.domain} if command != "promote" else {}
    wanted |= {"version": settings.version} if command != "history" else {}
    for name, value in wanted.items():
        if not value:
            what = {"endpoint": "there is no control plane to ask", "version": "no version is named"}
            raise DeployError(
                what.get(name, f"there is no --{name}"), mend=f"Give it with {_ways(name)}.", usage=True
            )
    for version in (settings.version, settings.as_version):
        if version:
            check_version(version)


def _check_selection(settings: Settings, cwd: Path) -> None:
    everything = settings.all or settings.recursive
    mode = "--all" if settings.all else "--recursive"
    if not settings.paths:
        raise DeployError(
            "there is no PATH",
            mend="Name the Python file, or with --recursive the directory, that declares the environments.",
            usage=True,
        )
    if everything and settings.envs:
        raise DeployError(
            f"{mode} deploys every environment, yet some are named: {', '.join(settings.envs)}",
            where=_said(settings, "envs"),
            mend=f"Leave out {mode}, or the names.",
            usage=True,
        )
    if not everything and len(settings.paths) > 1:
        raise _several_paths(str(settings.paths[1]))
    for number, path in enumerate(settings.paths):
        _check_path(settings, path, cwd, first=number == 0)
    if everything:
        return
    for env in settings.envs:
        if env.endswith(".py") or "/" in env:
            raise _several_paths(env)
    if not settings.envs:
        raise DeployError(
            f"no environment of {_relative(settings.paths[0], cwd)} is named",
            mend="Name one or more by their variable after the file, or take them all with --all.",
            usage=True,
        )


def _several_paths(second: str) -> DeployError:
    return DeployError(
        f"{second} is a second path, and several need --all or --recursive",
        mend="Give --all to deploy every environment of each of them.",
        usage=True,
    )


def _check_path(settings: Settings, path: Path, cwd: Path, *, first: bool) -> None:
    shown = _relative(path, cwd)
    origin = _said(settings, "paths")
    mode = "--all" if settings.all else "--recursive"
    # Path's own raises where a folder above cannot be entered, or the name is too long.
    if not os.path.exists(path):  # noqa: PTH110
        mend = "Name a Python file or a directory that exists."
        if not first and path.suffix != ".py":
            mend = (
                f"With {mode} every argument is a path; leave it out to deploy the environment {path.name}."
            )
        raise DeployError(f"{shown} does not exist", where=origin, mend=mend, usage=True)
    if path.is_dir():
        if not (settings.all or settings.recursive):
            raise DeployError(
                f"{shown} is a directory",
                where=origin,
                mend="Name a file in it, or give --recursive for all files below it, --all for those in it.",
                usage=True,
            )
    elif path.suffix != ".py" or not path.is_file():
        raise DeployError(
            f"{shown} is no Python file", where=origin, mend="Its name has to end in .py.", usage=True
        )
    if not path.is_relative_to(settings.root_dir):
        raise DeployError(
            f"{shown} is not below the root, {settings.root_dir}",
            where=_said(settings, "root_dir"),
            mend=f"Give --root-dir {_root_for(path)}, or another directory that holds it.",
            usage=True,
        )


def _root_for(path: Path) -> Path:
    """The nearest folder upwards that looks like a project's, else the one the path lies in."""
    start = path if path.is_dir() else path.parent
    for folder in (start, *start.parents):
        if any((folder / name).exists() for name in ("pyproject.toml", "setup.py", ".git")):
            return folder
    return start


def _check_version(settings: Settings) -> None:
    try:
        check_template(settings.version)
    except DeployError as error:
        where = _said(settings, "version") or error.where
        raise DeployError(
            error.what, where=where, mend=error.mend, usage=True, details=error.details
        ) from None


def _check_endpoint(settings: Settings) -> None:
    endpoint = settings.endpoint
    if not endpoint or endpoint == EMBEDDED:
        return
    scheme, separator, rest = endpoint.rpartition("://")
    rest = rest.removeprefix("/") if scheme == "dns" else rest
    good = not separator or scheme in {"dns", "https", "http"}
    if not good or not rest.strip("/") or re.search(r"\s", endpoint):
        raise DeployError(
            f"the endpoint {without_password(endpoint)!r} is no address",
            where=_said(settings, "endpoint"),
            mend=f"Write dns:///host:port, https://host, host:port or {EMBEDDED}.",
            usage=True,
        )


def _check_clouds(settings: Settings) -> None:
    endpoint = settings.s3_endpoint
    if endpoint and not re.fullmatch(r"https?://[^\s/@]+(/\S*)?", endpoint):
        raise DeployError(
            f"{without_password(endpoint)!r} is no server of S3",
            where=_said(settings, "s3_endpoint"),
            mend="Write https://host or http://host:port, without a user.",
            usage=True,
        )
    role = settings.aws_role
    if role and not re.fullmatch(r"arn:aws[a-z-]*:iam::\d{12}:role/\S+", role):
        raise DeployError(
            f"{_shortened(role)!r} is no role",
            where=_said(settings, "aws_role"),
            mend="Write its ARN: arn:aws:iam::123456789012:role/NAME.",
            usage=True,
        )
    provider, account = settings.gcp_workload_identity, settings.gcp_service_account
    if account and not provider:
        raise DeployError(
            "a service account is named and no workload identity provider to take it on with",
            where=_said(settings, "gcp_service_account"),
            mend="Give --gcp-workload-identity too, or leave it out to use the credentials that are there.",
            usage=True,
        )
    if provider and not GCP_PROVIDER.fullmatch(provider):
        raise DeployError(
            f"{_shortened(provider)!r} is no workload identity provider",
            where=_said(settings, "gcp_workload_identity"),
            mend="Write projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/NAME.",
            usage=True,
        )
    if account and not re.fullmatch(r"[^\s/@]+@[^\s/@]+", account):
        raise DeployError(
            f"{_shortened(account)!r} is no service account",
            where=_said(settings, "gcp_service_account"),
            mend="Write its email: NAME@PROJECT.iam.gserviceaccount.com.",
            usage=True,
        )


def _ways(name: str) -> str:
    option = BY_PARAMETER[name]
    variables = " or ".join((option.variable, *option.variables))
    config = f", or {option.config_key} in config.yaml" if option.config_key else ""
    return f"{option.flag}, the environment variable {variables}{config}"


def _relative(path: Path, cwd: Path) -> str:
    return str(path.relative_to(cwd)) if path.is_relative_to(cwd) else str(path)


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


def _said(settings: Settings, name: str) -> str | None:
    """Where the value of a setting was said, None where it is nobody's word."""
    origin = settings.origins.get(name, "default")
    return None if origin == "default" else origin
