"""The action's inputs: from environment variables to the one `Settings`."""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flyte_deploy.action.environment import as_given
from flyte_deploy.action.event import Event
from flyte_deploy.action.events import PULLS, Policy, decide
from flyte_deploy.action.policy import applied, facts_of
from flyte_deploy.errors import DeployError
from flyte_deploy.isolation.confinement import CERTIFICATES
from flyte_deploy.isolation.staging import is_left_out
from flyte_deploy.secrets import SECRETS
from flyte_deploy.settings import ACTION, Option, Settings, check, check_trust, early, gather, options_of

PREFIX = "INPUT_"

INPUTS = {option.name: option for option in options_of(ACTION)}
"""The inputs by name, in the order of the table."""


@dataclass(frozen=True)
class Asked:
    """What the step asks for.

    Args:
        settings: the inputs, with all else that says something about the run.
        workspace: the checkout that GitHub has made room for, absolute.
        folder: where the step works, in it.
        policy: what is done for the event; the settings follow it. None where no event was given.
    """

    settings: Settings
    workspace: Path
    folder: Path
    policy: Policy | None = None


def default_input(option: Option) -> str:
    """The default that ``action.yml`` declares; empty where the value is looked for elsewhere, or depends."""
    if option.action_expression:
        return option.action_expression
    if option.action_default is not None:
        return option.action_default
    if option.variables or option.config_key or option.default in ("", ()):
        return ""
    if isinstance(option.default, bool):
        return "true" if option.default else "false"
    return f"{option.default:g}" if isinstance(option.default, float) else str(option.default)


def given_inputs(environ: Mapping[str, str]) -> dict[str, str]:
    """The inputs that say something: neither empty nor the default, which the runner fills in.

    Raises:
        DeployError: for one that there is none of; it says the nearest name.
    """
    given: dict[str, str] = {}
    for variable, value in environ.items():
        if not variable.startswith(PREFIX):
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name not in INPUTS:
            raise _unknown(name)
        if value.strip() and value.strip() != default_input(INPUTS[name]):
            given[name] = value.strip()
            if INPUTS[name].secret:
                SECRETS.add(value, own=True)
    return given


def _unknown(name: str) -> DeployError:
    near = difflib.get_close_matches(name, INPUTS, n=1, cutoff=0.5) or difflib.get_close_matches(
        name.replace("_", "-"), INPUTS, n=1, cutoff=0.4
    )
    return DeployError(
        f"there is no input '{name}'",
        where="with:",
        mend=f"Did you mean '{near[0]}'?" if near else "docs/reference.md lists the inputs.",
        usage=True,
    )


def early_input(name: str, environ: Mapping[str, str]) -> object:
    """One input that is needed before the others are read; its default where what is given is wrong."""
    value = environ.get(f"{PREFIX}{name.upper()}", "").strip()
    return early(INPUTS[name].parameter, {INPUTS[name].parameter: value or None}, environ)


def read(environ: Mapping[str, str], event: Event | None = None) -> Asked:
    """All inputs, checked, and what the event makes of them.

    Raises:
        DeployError: everything that can be seen to be wrong before any work, in the words of a workflow.
    """
    workspace = _workspace(environ)
    given = given_inputs(environ)
    flags: dict[str, object] = {
        INPUTS[name].parameter: _value(INPUTS[name], value)
        for name, value in given.items()
        if name != "working-directory"
    }
    flags.setdefault("path", default_input(INPUTS["path"]))
    cwd = _inside(workspace, workspace / given.get("working-directory", "."), "working-directory")
    if not cwd.is_dir():
        raise DeployError(
            f"{given['working-directory']} is no directory",
            where="input working-directory",
            mend="Name a directory of the checkout; actions/checkout has to come before this step.",
            usage=True,
        )
    for line in str(flags["path"]).splitlines():
        _inside(workspace, cwd / line.strip(), "path")
    if flags.keys().isdisjoint({"recursive", "all", "env"}) and _names_a_folder(cwd, str(flags["path"])):
        flags["recursive"] = True
    _check_configuration(
        str(given.get("config") or environ.get("FLYTE_DEPLOY_CONFIG", "")), environ, workspace, cwd
    )
    settings, policy = gather(flags, environ, cwd, command=ACTION), None
    check_trust(settings, environ, cwd, of_a_pull=event is not None and event.name in PULLS)
    _check_links(settings, environ, workspace, cwd)
    if event is not None:
        policy = decide(event, facts_of(environ, settings), settings)
        settings = applied(settings, policy)
        settings = dataclasses.replace(settings, untrusted=settings.untrusted or event.untrusted)
    if policy is not None and policy.do in ("skip", "post-comment", "close"):
        # No code is looked at.
        return Asked(settings, workspace, cwd, policy)
    check(settings, cwd)
    # The selection may have come from elsewhere than the inputs.
    for name, path in (("root-dir", settings.root_dir), *(("path", path) for path in settings.paths)):
        _inside(workspace, path, name)
    return Asked(settings, workspace, cwd, policy)


def _check_configuration(named: str, environ: Mapping[str, str], workspace: Path, cwd: Path) -> None:
    from flyte_deploy import config_file

    found = (cwd / named, "") if named else config_file.find(environ, cwd)
    if found is not None:
        _leads_nowhere_else(workspace, found[0], "the configuration file")


def _check_links(settings: Settings, environ: Mapping[str, str], workspace: Path, cwd: Path) -> None:
    for option in INPUTS.values():
        path = getattr(settings, option.field, None)
        if option.kind == "path" and isinstance(path, Path):
            _leads_nowhere_else(workspace, path, settings.origins[option.field])
    for name in CERTIFICATES:
        # Copied to where the code can read them.
        if value := as_given(environ).get(name):
            _leads_nowhere_else(workspace, cwd / value, f"environment {name}")


def _leads_nowhere_else(workspace: Path, path: Path, where: str) -> None:
    """Refuse a link of the checkout that leads to what is not of it: that could be shown."""
    written = Path(os.path.normpath(path))
    # The workspace may be written as a link, too.
    top = next((folder for folder in written.parents if Path(os.path.realpath(folder)) == workspace), None)
    if top is None:
        return
    named, real = written.relative_to(top), Path(os.path.realpath(path))
    if not real.is_relative_to(workspace):
        leads = "out of the workspace"
    elif real.relative_to(workspace) != named and any(map(is_left_out, real.relative_to(workspace).parts)):
        leads = "to where credentials lie"
    else:
        return
    raise DeployError(
        f"{named} is a link that leads {leads}",
        where=where,
        mend="Put the file itself there, or name one that is not in the checkout.",
        usage=True,
    )


def _value(option: Option, text: str) -> object:
    # A list of images or names may be written in lines.
    return tuple(re.split(r"[\s,]+", text)) if option.kind == "images" else text


def _names_a_folder(cwd: Path, text: str) -> bool:
    return any((cwd / line.strip()).is_dir() for line in text.splitlines())


def _workspace(environ: Mapping[str, str]) -> Path:
    written = environ.get("GITHUB_WORKSPACE", "")
    if not written or not os.path.isdir(written):  # noqa: PTH112 - never raises
        raise DeployError(
            "there is no workspace" if not written else f"the workspace {written} is no directory",
            where="environment GITHUB_WORKSPACE",
            mend="flyte-deploy action is a step of a GitHub workflow; anywhere else use flyte-deploy deploy.",
            usage=True,
        )
    return Path(os.path.realpath(written))


def _inside(workspace: Path, path: Path, name: str) -> Path:
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(workspace):
        raise DeployError(
            f"{path} lies outside the workspace, {workspace}",
            where=f"input {name}",
            mend="Name something in the checkout, relative to it; links must not lead out of it either.",
            usage=True,
        )
    return real
