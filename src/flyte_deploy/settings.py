"""The one `Settings`, and the one table of options that everything about them is made from.

`OPTIONS` declares each option once: the flag, the environment variable, the key in Flyte's ``config.yaml``,
the default and the words that explain it. Command line, documentation and action inputs derive from it.

`resolve` turns what was given into `Settings`. First wins: flag, ``FLYTE_DEPLOY_*``, the environment
variables of Flyte's SDK, Flyte's ``config.yaml``, default. An empty environment variable counts as not
set. Only images add up: each source names the ones it knows, and the earlier source wins name by name.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from flyte_deploy.errors import DeployError
from flyte_deploy.version import MAX_LENGTH, check_template

if TYPE_CHECKING:
    from flyte_deploy.config_file import ConfigFile

CopyStyle = Literal["loaded_modules", "all", "none"]
Verify = Literal["bundle", "off"]
OutputFormat = Literal["text", "json"]

EMBEDDED = "embedded"
"""The endpoint that means: a control plane inside the command."""

DEFAULT_IMAGE = "default"
"""The name that Flyte gives to an image that is named without a name."""

_PREFIX = "FLYTE_DEPLOY_"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything a run is asked to do. Paths are absolute.

    `origins` says for each setting where its value came from: ``flag --project``, ``environment
    FLYTE_TASK_PROJECT``, ``config.yaml:12 (task.project)``, ``default``. Each image has an entry of its own,
    ``images.NAME``.
    """

    paths: tuple[Path, ...] = ()
    envs: tuple[str, ...] = ()
    all: bool = False
    recursive: bool = False
    ignore_load_errors: bool = False
    load_timeout: float = 300.0
    """Seconds."""
    python: str = ""
    """The project's interpreter; empty to find it."""
    root_dir: Path = field(default_factory=Path.cwd)
    copy_style: CopyStyle = "loaded_modules"
    sync_local_sys_paths: bool = True
    version: str = ""
    """Text or template; empty for the default template, ``{content}``."""
    bundle_store: str = ""
    """Empty for the backend's signed URLs."""
    endpoint: str = ""
    """As written; empty for none, ``embedded`` for a control plane inside the command."""
    insecure: bool = False
    org: str = ""
    project: str = ""
    domain: str = ""
    config_path: Path | None = None
    data: Path = field(default_factory=lambda: default_data(os.environ))
    """Where an embedded control plane keeps its data."""
    images: dict[str, str] = field(default_factory=dict)
    """Name to address; the one without a name is called ``default``."""
    image_builder: str = "local"
    image_registry: str = ""
    overwrite: bool = False
    prune_triggers: bool = False
    activate_triggers: bool = False
    skip_apps: bool = False
    verify: Verify = "bundle"
    """``bundle`` loads every task from the bundle's files alone before anything is uploaded."""
    concurrency: int = 32
    dry_run: bool = False
    detailed_exitcode: bool = False
    output_format: OutputFormat = "text"
    verbose: bool = False
    origins: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """What ``flyte-deploy serve`` is asked to do. `data` is absolute; port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: int = 8090
    data: Path = field(default_factory=lambda: default_data(os.environ))
    verbose: bool = False


Kind = Literal["text", "flag", "whole number", "seconds", "path", "paths", "names", "images"]

_BOTH = ("deploy", "plan")
_ALL = ("deploy", "plan", "serve")


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option: a row of the table.

    The flag is ``--name``, the environment variable ``FLYTE_DEPLOY_NAME``, the parameter in code ``name``
    with underscores. `setting` is the field of `Settings` where that has another name; `negates` says that
    the flag turns the field off. `other` are further spellings of the flag. `variables` and `config_key` are
    those of Flyte's SDK. `default` is shown as `default_text` where it depends on the place. `argument`
    means that the command line takes it without a flag.
    """

    name: str
    help: str
    section: str
    kind: Kind = "text"
    short: str = ""
    other: tuple[str, ...] = ()
    metavar: str = ""
    choices: tuple[str, ...] = ()
    default: object = ""
    default_text: str = ""
    minimum: int = 0
    variables: tuple[str, ...] = ()
    config_key: str = ""
    setting: str = ""
    negates: bool = False
    commands: tuple[str, ...] = _BOTH
    argument: bool = False

    @property
    def parameter(self) -> str:
        """The name in Python: the flag's with underscores."""
        return self.name.replace("-", "_")

    @property
    def field(self) -> str:
        """The field of `Settings` it sets."""
        return self.setting or self.parameter

    @property
    def flag(self) -> str:
        """As typed: ``--copy-style``, or the argument's name in capitals."""
        return self.name.upper() if self.argument else f"--{self.name}"

    @property
    def variable(self) -> str:
        """The environment variable of our own: ``FLYTE_DEPLOY_COPY_STYLE``."""
        return _PREFIX + self.parameter.upper()


_WHAT, _CODE, _TARGET = "What to deploy", "Code and version", "Where to"
_IMAGES, _REGISTRATION = "Images", "Registration"
LAST_SECTION = _RUN = "This run"

OPTIONS: tuple[Option, ...] = (
    Option(
        name="path",
        argument=True,
        kind="paths",
        section=_WHAT,
        setting="paths",
        help="Python file that declares environments; with --all or --recursive one or more files or "
        "directories.",
    ),
    Option(
        name="env",
        argument=True,
        kind="names",
        section=_WHAT,
        setting="envs",
        help="Environments of the file to deploy, by their variable; what they depend on comes along.",
    ),
    Option(
        name="all",
        kind="flag",
        default=False,
        section=_WHAT,
        help="Deploy all environments of PATH, a file or the files of a directory, without naming them.",
    ),
    Option(
        name="recursive",
        short="r",
        kind="flag",
        default=False,
        section=_WHAT,
        help="Deploy all environments of all Python files below PATH.",
    ),
    Option(
        name="ignore-load-errors",
        short="i",
        kind="flag",
        default=False,
        section=_WHAT,
        help="Deploy what could be loaded even though other files failed to; the failures become warnings.",
    ),
    Option(
        name="load-timeout",
        kind="seconds",
        default=300.0,
        metavar="SECONDS",
        section=_WHAT,
        help="How long loading and serializing the project may take.",
    ),
    Option(
        name="python",
        metavar="INTERPRETER",
        default_text="the active or neighbouring virtual environment's",
        section=_WHAT,
        help="The project's Python interpreter, the one that has flyte and the project's dependencies.",
    ),
    Option(
        name="root-dir",
        kind="path",
        metavar="DIR",
        default_text="the working directory",
        section=_CODE,
        help="Root of the project's source: modules are named and bundled relative to it.",
    ),
    Option(
        name="copy-style",
        choices=("loaded_modules", "all", "none"),
        default="loaded_modules",
        section=_CODE,
        help="Which code goes along: the modules that were loaded, the whole tree under the root, or none.",
    ),
    Option(
        name="no-sync-local-sys-paths",
        setting="sync_local_sys_paths",
        negates=True,
        kind="flag",
        default=False,
        section=_CODE,
        help="Do not reproduce local import paths under the root in the task container.",
    ),
    Option(
        name="version",
        metavar="TEXT",
        default_text="{content}",
        section=_CODE,
        help="Version of the tasks: text, or a template with {content}, {sha}, {short_sha}, {branch}, {tag}.",
    ),
    Option(
        name="bundle-store",
        metavar="URL",
        default_text="the backend's signed URLs",
        section=_CODE,
        help="Where the code bundle is stored, such as file:///shared/bundles.",
    ),
    Option(
        name="endpoint",
        metavar="URL",
        variables=("FLYTE_ADMIN_ENDPOINT",),
        config_key="admin.endpoint",
        section=_TARGET,
        help="Flyte's control plane: dns:///host:port, https://host or host:port; 'embedded' for one inside "
        "the command, which runs no tasks.",
    ),
    Option(
        name="insecure",
        kind="flag",
        default=False,
        variables=("FLYTE_ADMIN_INSECURE",),
        config_key="admin.insecure",
        section=_TARGET,
        help="Connect without TLS, and so without logging in.",
    ),
    Option(
        name="org",
        metavar="NAME",
        default_text="the first label of the endpoint's host where it has three or more",
        variables=("FLYTE_TASK_ORG",),
        config_key="task.org",
        section=_TARGET,
        help="Organisation; the open-source backend needs none.",
    ),
    Option(
        name="project",
        short="p",
        metavar="NAME",
        variables=("FLYTE_TASK_PROJECT",),
        config_key="task.project",
        section=_TARGET,
        help="Project to deploy to.",
    ),
    Option(
        name="domain",
        short="d",
        metavar="NAME",
        variables=("FLYTE_TASK_DOMAIN",),
        config_key="task.domain",
        section=_TARGET,
        help="Domain to deploy to.",
    ),
    Option(
        name="config",
        short="c",
        kind="path",
        metavar="FILE",
        default_text="the first file found where Flyte's SDK looks",
        setting="config_path",
        section=_TARGET,
        help="Flyte's config.yaml.",
    ),
    Option(
        name="data",
        kind="path",
        metavar="DIR",
        default_text="flyte-deploy/embedded below $XDG_STATE_HOME or ~/.local/state",
        commands=_ALL,
        section=_TARGET,
        help="Where the embedded control plane keeps its data.",
    ),
    Option(
        name="image",
        kind="images",
        metavar="[NAME=]URI",
        default=(),
        config_key="image.image_refs",
        setting="images",
        section=_IMAGES,
        help="Image for Image.from_ref_name(NAME); without a name, for environments that name none. May be "
        "given several times.",
    ),
    Option(
        name="image-builder",
        other=("--builder",),
        metavar="NAME",
        default="local",
        variables=("FLYTE_IMAGE_BUILDER",),
        config_key="image.builder",
        section=_IMAGES,
        help="Who builds images: local or remote.",
    ),
    Option(
        name="registry",
        metavar="HOST/PATH",
        variables=("FLYTE_IMAGE_REGISTRY",),
        config_key="image.registry",
        setting="image_registry",
        section=_IMAGES,
        help="Registry that built images are pushed to, where the code names none.",
    ),
    Option(
        name="overwrite",
        kind="flag",
        default=False,
        section=_REGISTRATION,
        help="Register even where the version exists with other content.",
    ),
    Option(
        name="prune-triggers",
        kind="flag",
        default=False,
        section=_REGISTRATION,
        help="Remove triggers that are gone from the code but still live.",
    ),
    Option(
        name="activate-triggers",
        kind="flag",
        default=False,
        section=_REGISTRATION,
        help="Make triggers as active as the code says, also those that somebody paused or resumed.",
    ),
    Option(
        name="skip-apps",
        kind="flag",
        default=False,
        section=_REGISTRATION,
        help="Leave out app environments, which cannot be deployed yet.",
    ),
    Option(
        name="verify",
        choices=("bundle", "off"),
        default="bundle",
        section=_REGISTRATION,
        help="Load every task from the bundle's files alone, as the task container will, before anything is "
        "uploaded.",
    ),
    Option(
        name="concurrency",
        kind="whole number",
        minimum=1,
        default=32,
        metavar="N",
        section=_REGISTRATION,
        help="How many registrations are in flight at a time.",
    ),
    Option(
        name="dry-run",
        other=("--dryrun",),
        kind="flag",
        default=False,
        commands=("deploy",),
        section=_RUN,
        help="Only say what would be done; the same as plan.",
    ),
    Option(
        name="detailed-exitcode",
        kind="flag",
        default=False,
        commands=("plan",),
        section=_RUN,
        help="Exit with status 3 when a deploy would change something.",
    ),
    Option(
        name="show-settings",
        kind="flag",
        default=False,
        commands=("plan",),
        section=_RUN,
        help="Print each setting and where it came from, and do nothing else.",
    ),
    Option(
        name="output-format",
        short="of",
        choices=("text", "json"),
        default="text",
        section=_RUN,
        help="What is printed on standard output. With json it is one document; progress goes to standard "
        "error.",
    ),
    Option(
        name="host",
        metavar="ADDRESS",
        default="127.0.0.1",
        commands=("serve",),
        section=_RUN,
        help="Address to listen on.",
    ),
    Option(
        name="port",
        kind="whole number",
        default=8090,
        metavar="N",
        commands=("serve",),
        section=_RUN,
        help="Port to listen on; 0 takes a free one.",
    ),
    Option(
        name="verbose",
        short="v",
        kind="flag",
        default=False,
        commands=_ALL,
        section=_RUN,
        help="Show tracebacks.",
    ),
)
"""The table. The order is that of the documentation."""

_BY_PARAMETER = {option.parameter: option for option in OPTIONS}


def options_of(command: str) -> tuple[Option, ...]:
    """The rows of one command, arguments included."""
    return tuple(option for option in OPTIONS if command in option.commands)


def default_data(environ: Mapping[str, str]) -> Path:
    """Where an embedded control plane keeps its data when nothing is said: the user's state folder."""
    state = environ.get("XDG_STATE_HOME") or ""
    # The XDG specification wants a relative path to be ignored.
    base = Path(state) if Path(state).is_absolute() else Path(_home(environ)) / ".local" / "state"
    return base / "flyte-deploy" / EMBEDDED


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
        command: ``plan`` needs no endpoint.
        selects: False where the environments are in hand already and no PATH is wanted.

    Raises:
        DeployError: anything that can be seen to be wrong before any work; always with exit status 2.
    """
    settings = gather(flags, environ, cwd, command=command)
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
    unknown = sorted(set(flags) - set(_BY_PARAMETER) - {"arguments"})
    if unknown:
        raise TypeError(f"no such option: {', '.join(unknown)}")
    given = {name: value for name, value in flags.items() if value is not None and value != ()}
    sources = _Sources(given, environ, cwd, None)
    config, config_origin = _config(sources)
    sources = _Sources(given, environ, cwd, config)

    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    for option in options_of(command):
        if option.name in {"path", "env", "config", "image", "show-settings"}:
            continue
        value, origins[option.field] = sources.value(option)
        values[option.field] = not value if option.negates else value
    everything = bool(values["all"] or values["recursive"])
    paths, values["envs"], found = _selection(sources, everything)
    origins.update(found)
    values["images"], found = _images(sources)
    origins.update(found)
    values["config_path"] = config.path if config else None
    origins["config_path"] = config_origin

    if command == "plan":
        values["dry_run"], origins["dry_run"] = True, "command plan"
    written_root = cast("Path", values["root_dir"] or cwd)
    root = Path(os.path.realpath(written_root))
    values["root_dir"] = root
    values["paths"] = tuple(_below(root, written_root, path) for path in paths)
    if not values["data"]:
        values["data"] = default_data(environ)
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
        verbose=cast("bool", values["verbose"][0]),
    )


def early(name: str, flags: Mapping[str, object], environ: Mapping[str, str]) -> object:
    """One option that is needed before the others are read; its default where what is given is wrong."""
    option = _BY_PARAMETER[name]
    try:
        return _Sources(flags, environ, Path(), None).value(option)[0]
    except DeployError:
        return option.default


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


def rows(settings: Settings) -> list[tuple[str, str, str]]:
    """Each setting, its value as text and where it came from; a password in an address is left out.

    A value that is not set is ``-``, or in brackets what happens then.
    """
    usual = {option.field: f"({option.default_text})" for option in OPTIONS if option.default_text}
    found: list[tuple[str, str, str]] = []
    for each in fields(settings):
        values = {each.name: getattr(settings, each.name)}
        if each.name == "images" and settings.images:
            values = {f"images.{name}": uri for name, uri in settings.images.items()}
        elif each.name == "origins":
            continue
        for key, value in values.items():
            origin = settings.origins.get(key, "default")
            found.append((key, _shown(value) or usual.get(each.name, "-"), origin))
    return found


def show(settings: Settings) -> str:
    """A table for people of each setting, its value and where it came from."""
    table = [("setting", "value", "from"), *rows(settings)]
    widths = [max(len(row[column]) for row in table) for column in (0, 1)]
    return "\n".join(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin}" for name, value, origin in table)


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
        if self.config and option.config_key and (text := self.config.text(option.config_key)):
            return text.value, text.where
        return None

    def value(self, option: Option) -> tuple[object, str]:
        """The option's value, converted, and where it came from."""
        found = self.raw(option)
        if found is None:
            return option.default, "default"
        raw, origin = found
        return _convert(option, raw, origin, self.cwd), origin


def _convert(option: Option, raw: object, origin: str, cwd: Path) -> object:
    if option.kind == "flag":
        return raw if isinstance(raw, bool) else _boolean(option, str(raw), origin)
    if option.kind in {"paths", "names"}:
        # Paths may hold commas; names of variables do not.
        separator = r"\n" if option.kind == "paths" else r"[\s,]+"
        parts = re.split(separator, raw) if isinstance(raw, str) else list(cast("Iterable[object]", raw))
        words = [part.strip() if isinstance(part, str) else str(part) for part in parts]
        return tuple(dict.fromkeys(word for word in words if word))
    text = str(raw).strip()
    if option.kind == "path":
        return Path(os.path.abspath(cwd / text)) if text else ""  # noqa: PTH100 - links are kept
    if option.kind in {"whole number", "seconds"}:
        return _number(option, text, origin)
    if option.choices and text not in option.choices:
        raise DeployError(
            f"{option.flag} cannot be {text!r}",
            where=origin,
            mend=f"It is one of: {', '.join(option.choices)}.",
            usage=True,
        )
    return text


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

    given = sources.raw(_BY_PARAMETER["config"])
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
    paths, path_origin = sources.value(_BY_PARAMETER["path"])
    envs, env_origin = sources.value(_BY_PARAMETER["env"])
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
    option = _BY_PARAMETER["image"]
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
            f"the endpoint {_without_password(endpoint)!r} is no address",
            where=_said(settings, "endpoint"),
            mend=f"Write dns:///host:port, https://host, host:port or {EMBEDDED}.",
            usage=True,
        )


def _ways(name: str) -> str:
    option = _BY_PARAMETER[name]
    variables = " or ".join((option.variable, *option.variables))
    return f"{option.flag}, the environment variable {variables}, or {option.config_key} in config.yaml"


def _home(environ: Mapping[str, str]) -> str:
    return environ.get("HOME") or os.path.expanduser("~")  # noqa: PTH111 - never raises


def _relative(path: Path, cwd: Path) -> str:
    return str(path.relative_to(cwd)) if path.is_relative_to(cwd) else str(path)


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return " ".join(str(item) for item in value)
    return _without_password(str(value)) if value not in (None, {}) else ""


def _without_password(text: str) -> str:
    return re.sub(r"://[^\s/]*@", "://***@", text)


def _said(settings: Settings, name: str) -> str | None:
    """Where the value of a setting was said, None where it is nobody's word."""
    origin = settings.origins.get(name, "default")
    return None if origin == "default" else origin
