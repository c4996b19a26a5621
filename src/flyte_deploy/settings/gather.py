"""Gather the settings from their sources: flags, environment, Flyte's config.yaml, defaults.

First wins: flag, ``FLYTE_DEPLOY_*``, the environment variables of Flyte's SDK, Flyte's ``config.yaml``,
default. An empty environment variable counts as not set. Only images add up: each source names the ones it
knows, and the earlier source wins name by name.
"""

from __future__ import annotations

import json
import math
import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, cast

from flyte_deploy.api_key import ApiKey
from flyte_deploy.errors import DeployError
from flyte_deploy.secrets import SECRETS
from flyte_deploy.settings.check import check, check_release
from flyte_deploy.settings.key import apply_key
from flyte_deploy.settings.options import ACTION, BY_PARAMETER, RELEASES, Option, options_of
from flyte_deploy.settings.trust import check_trust
from flyte_deploy.settings.values import DEFAULT_IMAGE, EMBEDDED, ServeSettings, Settings, default_data

if TYPE_CHECKING:
    from flyte_deploy.config_file import ConfigFile


_FIELDS = frozenset(field.name for field in fields(Settings))


def resolve(
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    cwd: Path,
    *,
    command: str = "deploy",
    selects: bool = True,
) -> Settings:
    """Gather the settings of `command` (``deploy`` or ``plan``) from all sources and check them.

    Args:
        flags: by parameter name (``copy_style``); text as typed, or values of the right type. None and empty
            tuples count as not given. ``arguments`` holds what was given without a flag, in order: PATHs with
            ``all`` or ``recursive``, else a PATH followed by ENVs.
        environ: the environment variables.
        cwd: absolute; what relative paths are relative to, and where ``config.yaml`` is looked for.
        command: ``plan`` needs no endpoint; ``history``, ``promote`` and ``rollback`` no code; for ``action``
            the flags are the action's inputs.
        selects: False where the environments are in hand already and no PATH is wanted.

    Raises:
        DeployError: anything that can be seen to be wrong before any work; always with exit status 2.
    """
    settings = gather(flags, environ, cwd, command=command)
    check_trust(settings, environ, cwd)
    if command in RELEASES:
        check_release(settings, command)
    else:
        check(settings, cwd, selects=selects)
    return settings


def gather(
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    cwd: Path,
    *,
    command: str = "deploy",
) -> Settings:
    """Like `resolve`, but each value is checked only by itself: enough to be shown, not to work with."""
    unknown = sorted(set(flags) - set(BY_PARAMETER) - {"arguments"})
    if unknown:
        raise TypeError(f"no such option: {', '.join(unknown)}")
    given = {name: value for name, value in flags.items() if value is not None and value != ()}
    sources = _Sources(given, environ, cwd, None)
    config, config_origin = _config(sources)
    sources = _Sources(given, environ, cwd, config)

    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    for option in options_of(command):
        if option.field not in _FIELDS or option.name in {"path", "env", "config", "image"}:
            continue
        value, origins[option.field] = sources.value(option)
        if command == ACTION and option.action_default and origins[option.field] == "default":
            value = _convert(option, option.action_default, "default", cwd)
        values[option.field] = not value if option.negates else value
    everything = bool(values.get("all") or values.get("recursive"))
    paths, values["envs"], found = _selection(sources, everything)
    origins.update(found)
    values["images"], found = _images(sources)
    origins.update(found)
    values["config_path"] = config.path if config else None
    origins["config_path"] = config_origin

    if command == "plan":
        values["dry_run"], origins["dry_run"] = True, "command plan"
    if command == "deploy":
        # What changes is what a plan is for; a deploy only asks where something depends on it.
        values["difference"] = values["difference"] and values["dry_run"]
    if values.get("fail_on_breaking"):
        values["difference"] = True
    written_root = cast("Path", values.get("root_dir") or cwd)
    root = Path(os.path.realpath(written_root))
    values["root_dir"] = root
    values["working_dir"] = cwd
    values["paths"] = tuple(_below(root, written_root, path) for path in paths)
    for name in ("ca_cert", "buildkit_tls", "cache_dir", "client_secret_file", "plan_file"):
        if name in values:
            values[name] = values[name] or None
    if not values["data"]:
        values["data"] = default_data(environ)
    if values["api_key"]:
        apply_key(ApiKey.decode(cast("str", values["api_key"]), origins["api_key"]), values, origins)
    if values["endpoint"] == EMBEDDED:
        for name, usual in (("project", "flytesnacks"), ("domain", "development")):
            if not values[name]:
                values[name], origins[name] = usual, "default of the embedded control plane"
    if not values["org"] and (org := org_of(cast("str", values["endpoint"]))):
        values["org"], origins["org"] = org, f"host of {origins['endpoint']}"
    for name in (each.name for each in fields(Settings)):
        origins.setdefault(name, "default")
    return cast("Callable[..., Settings]", Settings)(**values, origins=origins)


def resolve_serve(flags: Mapping[str, object], environ: Mapping[str, str], cwd: Path) -> ServeSettings:
    """The settings of ``serve``, from flags, ``FLYTE_DEPLOY_*`` and defaults.

    Raises:
        DeployError: a value that is not of its kind; a port over 65535.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    sources = _Sources(given, environ, cwd, None)
    values = {option.field: sources.value(option) for option in options_of("serve")}
    port, origin = values["port"]
    if cast("int", port) > 65535:
        raise DeployError(f"there is no port {port}", where=origin, mend="Ports end at 65535.", usage=True)
    return ServeSettings(
        host=cast("str", values["host"][0]),
        port=cast("int", port),
        data=cast("Path", values["data"][0] or default_data(environ)),
        build_registry=cast("str", values["build_registry"][0]),
        verbose=cast("bool", values["verbose"][0]),
    )


def early(name: str, flags: Mapping[str, object], environ: Mapping[str, str]) -> object:
    """One option that is needed before the others are read; its default where what is given is wrong."""
    option = BY_PARAMETER[name]
    try:
        return _Sources(flags, environ, Path(), None).value(option)[0]
    except DeployError:
        return option.default


def org_of(endpoint: str) -> str:
    """The organisation that Flyte's SDK takes from an endpoint: the host's first label of three or more.

    An address of numbers is no exception there, so it is none here: what the SDK's commands look up must
    be what was registered.
    """
    if not endpoint or endpoint == EMBEDDED:
        return ""
    host = endpoint.split("://", 1)[-1].strip("/").split("/", 1)[0].rpartition("@")[2]
    labels = host.split(".")
    return labels[0] if len(labels) > 2 else ""


@dataclass(frozen=True)
class _Sources:
    """The sources in their order; asks them for one option after the other."""

    flags: Mapping[str, object]
    environ: Mapping[str, str]
    cwd: Path
    config: ConfigFile | None

    def raw(self, option: Option) -> tuple[object, str] | None:
        """What the first source that knows the option says, and where."""
        if option.parameter in self.flags:
            value = self.flags[option.parameter]
            if value is not None:
                return value, f"argument {option.flag}" if option.argument else f"flag {option.flag}"
        for variable in (option.variable, *option.variables):
            if self.environ.get(variable):
                return self.environ[variable], f"environment {variable}"
        if not self.config or not option.config_key:
            return None
        if option.kind in {"words", "command"}:
            # A list, or one text that is taken apart like a variable's.
            items = self.config.items(option.config_key)
            values = [item.value for item in items]
            single = len(items) == 1 and not self.config.is_list(option.config_key)
            return (values[0] if single else values, items[0].where) if items else None
        if text := self.config.text(option.config_key):
            return text.value, text.where
        return None

    def value(self, option: Option) -> tuple[object, str]:
        """The option's value, converted, and where it came from."""
        found = self.raw(option)
        if found is None:
            return option.default, "default"
        raw, origin = found
        if option.secret:
            SECRETS.add(str(raw), own=True)
        return _convert(option, raw, origin, self.cwd), origin


def _convert(option: Option, raw: object, origin: str, cwd: Path) -> object:
    if option.kind == "flag":
        return raw if isinstance(raw, bool) else _boolean(option, str(raw), origin)
    if option.kind in {"paths", "names"}:
        # Paths and what docker buildx takes may hold commas; names of variables do not.
        separator = r"[\s,]+" if option.argument and option.kind == "names" else r"\n"
        parts = re.split(separator, raw) if isinstance(raw, str) else list(cast("Iterable[object]", raw))
        words = [part.strip() if isinstance(part, str) else str(part) for part in parts]
        return tuple(dict.fromkeys(word for word in words if word))
    if option.kind in {"words", "command"}:
        return _words(option, raw, origin)
    text = str(raw).strip()
    if option.kind == "path":
        return Path(os.path.abspath(cwd / text)) if text else ""  # noqa: PTH100 - links are kept
    if option.kind in {"whole number", "seconds"}:
        return _number(option, text, origin)
    if option.choices and text:
        for choice in option.choices:
            if choice.lower() == text.lower():
                return choice
    if option.choices and (text or option.default):
        raise DeployError(
            f"{option.flag} cannot be {text!r}",
            where=origin,
            mend=f"It is one of: {', '.join(option.choices)}.",
            usage=True,
        )
    return text


def _words(option: Option, raw: object, origin: str) -> tuple[str, ...]:
    """A list of texts: as such, as JSON, or apart at blanks, as a shell does it where it is a command."""
    if not isinstance(raw, str):
        return tuple(str(word) for word in cast("Iterable[object]", raw))
    text = raw.strip()
    try:
        if text.startswith("["):
            found = json.loads(text)
            if all(isinstance(word, str) for word in found):
                return tuple(found)
            raise ValueError
        return tuple(
            shlex.split(text) if option.kind == "command" else re.split(r"[\s,]+", text) if text else ()
        )
    except ValueError:
        raise DeployError(
            f"{option.flag} cannot be understood",
            where=origin,
            mend='Write it as in a shell, with quotes that end, or as a JSON list: ["gcloud", "auth"].',
            usage=True,
        ) from None


def _boolean(option: Option, text: str, origin: str) -> bool:
    word = text.strip().lower()
    if word in {"true", "1", "yes", "on"}:
        return True
    if word in {"false", "0", "no", "off"}:
        return False
    raise DeployError(
        f"{option.flag} cannot be {text!r}", where=origin, mend="It is true or false.", usage=True
    )


def _number(option: Option, text: str, origin: str) -> float:
    try:
        value = int(text) if option.kind == "whole number" else float(text)
    except ValueError:
        value = math.nan
    # No number is larger or smaller than nan, so this catches it too.
    good = option.minimum <= value < math.inf and (option.kind == "whole number" or value > 0)
    if not good:
        at_least = f" of at least {option.minimum}" if option.kind == "whole number" else " above 0"
        raise DeployError(
            f"{option.flag} cannot be {text!r}",
            where=origin,
            mend=f"It is a {'whole number' if option.kind == 'whole number' else 'number'}{at_least}.",
            usage=True,
        )
    return value


def _config(sources: _Sources) -> tuple[ConfigFile | None, str]:
    # Imported late: the command line imports this module to print its help, which needs no YAML.
    from flyte_deploy import config_file

    given = sources.raw(BY_PARAMETER["config"])
    if given is not None:
        path, origin = given
        loaded = config_file.load(Path(str(path)), sources.cwd, named_by=origin) if str(path) else None
        return loaded, origin
    discovered = config_file.find(sources.environ, sources.cwd)
    if discovered is None:
        return None, "default"
    path, origin = discovered
    named_by = origin if origin.startswith("environment ") else ""
    return config_file.load(path, sources.cwd, named_by=named_by), origin


def _selection(
    sources: _Sources, everything: bool
) -> tuple[tuple[Path, ...], tuple[str, ...], dict[str, str]]:
    words = tuple(str(word) for word in cast("Iterable[object]", sources.flags.get("arguments", ())))
    flags = dict(sources.flags)
    if words:
        flags["path"] = words if everything else words[:1]
        if words[1:] and not everything:
            flags["env"] = words[1:]
    sources = _Sources(flags, sources.environ, sources.cwd, None)
    paths, path_origin = sources.value(BY_PARAMETER["path"])
    envs, env_origin = sources.value(BY_PARAMETER["env"])
    absolute = (os.path.abspath(sources.cwd / str(path)) for path in cast("Iterable[str]", paths))  # noqa: PTH100
    return (
        tuple(dict.fromkeys(Path(path) for path in absolute)),
        tuple(cast("Iterable[str]", envs)),
        {"paths": path_origin, "envs": env_origin},
    )


def _below(root: Path, written_root: Path, path: Path) -> Path:
    """`path` as it stands below `root`, where a link on the way to the root hides that it does.

    Links below the root are kept: modules are named by where they are seen, not by where they lie.
    """
    if path.is_relative_to(root):
        return path
    if path.is_relative_to(written_root):
        return root / path.relative_to(written_root)
    resolved = Path(os.path.realpath(path))
    return resolved if resolved.is_relative_to(root) else path


def _images(sources: _Sources) -> tuple[dict[str, str], dict[str, str]]:
    option = BY_PARAMETER["image"]
    images: dict[str, str] = {}
    origins: dict[str, str] = {}
    if sources.config:
        for name, text in sources.config.texts(option.config_key).items():
            images[name], origins[f"images.{name}"] = text.value, text.where
    environment = sources.environ.get(option.variable, "")
    given = sources.flags.get(option.parameter, ())
    if isinstance(given, Mapping):
        given = [f"{name}={uri}" for name, uri in given.items()]
    for origin, entries in (
        (f"environment {option.variable}", re.split(r"[\s,]+", environment)),
        (f"flag {option.flag}", [given] if isinstance(given, str) else cast("Iterable[str]", given)),
    ):
        for entry in filter(None, entries):
            name, equals, uri = entry.partition("=")
            name, uri = (name.strip(), uri.strip()) if equals else (DEFAULT_IMAGE, entry.strip())
            if not name or not uri:
                raise DeployError(
                    f"{option.flag} cannot be {entry!r}",
                    where=origin,
                    mend="It is NAME=URI, or URI alone for environments that name no image.",
                    usage=True,
                )
            images[name], origins[f"images.{name}"] = uri, origin
    origins["images"] = ", ".join(dict.fromkeys(origins.values())) or "default"
    return images, origins
