"""The frozen objects that hold what a run is asked to do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from flyte_deploy.isolation.confinement import Confinement

CopyStyle = Literal["loaded_modules", "all", "none"]
Install = Literal["auto", "uv", "requirements", "script", "none"]
DiscoveryNetwork = Literal["none", "allow"]
Verify = Literal["bundle", "off"]
OutputFormat = Literal["text", "json"]

Mode = Literal["auto", "push", "preview", "release", "plan", "post-comment"]
IfStale = Literal["skip", "deploy"]
Comment = Literal["always", "changes", "new", "off"]
Switch = Literal["auto", "off"]

EMBEDDED = "embedded"
"""The endpoint that means: a control plane inside the command."""

DEFAULT_IMAGE = "default"
"""The name that Flyte gives to an image that is named without a name."""


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
    install: Install = "none"
    """How the interpreter is made; ``none`` where it is found."""
    install_args: str = ""
    python_version: str = ""
    cache_dir: Path | None = None
    """Where installed environments are kept; None for the user's cache folder."""
    pass_env: tuple[str, ...] = ()
    """In the container: variables that the project's code sees."""
    discovery_network: DiscoveryNetwork = "none"
    """In the container: whether the project's code has a network while it is loaded."""
    confinement: Confinement | None = None
    """In the container: what the project's code is confined to. Nobody says it, the workplace sets it."""
    root_dir: Path = field(default_factory=Path.cwd)
    working_dir: Path = field(default_factory=Path.cwd)
    """Where the command was started: what is written without a folder is meant from here. In the container
    the workplace moves it into the copy, and the deployer itself stays where it was."""
    copy_style: CopyStyle = "loaded_modules"
    sync_local_sys_paths: bool = True
    version: str = ""
    """Text or template; empty for the default template, ``{content}``."""
    bundle_store: str = ""
    """Empty for the backend's signed URLs."""
    base_store: str = ""
    """Where the records of `compare_to` lie; empty for `bundle_store`. Nobody says it, a preview sets it."""
    s3_endpoint: str = ""
    """Empty for AWS's own."""
    s3_region: str = ""
    s3_addressing: str = "auto"
    aws_role: str = ""
    gcp_workload_identity: str = ""
    gcp_service_account: str = ""
    endpoint: str = ""
    """As written; empty for none, ``embedded`` for a control plane inside the command."""
    insecure: bool = False
    insecure_skip_verify: bool = False
    ca_cert: Path | None = None
    """Certificate authorities to trust beside the machine's own."""
    http_proxy: str = field(default="", repr=False)
    """Of the control plane and its token endpoint; empty for what the environment says."""
    org: str = ""
    project: str = ""
    domain: str = ""
    config_path: Path | None = None
    data: Path = field(default_factory=lambda: default_data(os.environ))
    """Where an embedded control plane keeps its data."""
    api_key: str = field(default="", repr=False)
    auth_type: str = ""
    """Empty where nothing is said."""
    client_id: str = ""
    client_secret_env: str = ""
    client_secret_file: Path | None = None
    scopes: tuple[str, ...] = ()
    """Empty for those that the control plane names."""
    auth_command: tuple[str, ...] = field(default=(), repr=False)
    proxy_command: tuple[str, ...] = field(default=(), repr=False)
    github_audience: str = ""
    images: dict[str, str] = field(default_factory=dict)
    """Name to address; the one without a name is called ``default``."""
    image_builder: str = "local"
    image_registry: str = ""
    platforms: tuple[str, ...] = ()
    """Of images that are built, in place of what the code says."""
    build_secrets: tuple[str, ...] = ()
    """``NAME``, ``NAME=VARIABLE`` or ``NAME=FILE``; nothing else can be mounted by a build."""
    image_concurrency: int = 4
    image_timeout: float = 3600.0
    """Seconds that the build of one image may take."""
    keep_builds: bool = False
    """Whether builds in the backend go on when the run is stopped or fails."""
    untrusted: bool = False
    """Whether images are built on behalf of somebody who may harm later builds."""
    load_images: bool = False
    """Whether images stay in the engine here, and no registry gets them."""
    buildx_builder: str = ""
    builder_endpoint: str = ""
    buildkit: tuple[str, ...] = ()
    buildkit_tls: Path | None = None
    provenance: str = ""
    sbom: str = ""
    image_compression: str = ""
    cache_from: tuple[str, ...] = ()
    cache_to: tuple[str, ...] = ()
    build_contexts: tuple[str, ...] = ()
    registry_auth: tuple[str, ...] = ()
    """``HOST=USER:VARIABLE``: the variable holds the password."""
    insecure_registries: tuple[str, ...] = ()
    pin_base_images: bool = False
    overwrite: bool = False
    prune_triggers: bool = False
    activate_triggers: bool = False
    skip_apps: bool = False
    verify: Verify = "bundle"
    """``bundle`` loads every task from the bundle's files alone before anything is uploaded."""
    concurrency: int = 32
    difference: bool = True
    """Whether what changes about each task is found out, which reads the specs of those that do."""
    compare_to: str = ""
    """``PROJECT/DOMAIN`` or ``DOMAIN`` to take the difference against; empty for the target itself."""
    fail_on_breaking: bool = False
    reuse_from: str = ""
    """``[PROJECT/]DOMAIN`` whose bundle and images are taken over where the content is the same."""
    reuse_version: str = ""
    """The version that the content has there: text or template; empty for the default template."""
    reuse_branch: str = ""
    """The branch that it has to come from; empty where that does not matter."""
    expect_content: str = ""
    """The content version that was approved; another one is refused."""
    preview: bool = False
    """Whether this deploys a pull request: images go to repositories of their own, and a version that is
    complete needs not be the newest."""
    triggers: bool = True
    """Whether triggers are deployed with their tasks."""
    source: str = ""
    """``[PROJECT/]DOMAIN`` that a version is promoted from."""
    as_version: str = ""
    """The version that something promoted or restored gets; empty to choose it."""
    limit: int = 10
    """How many deployments a history lists."""
    mode: Mode = "auto"
    preview_project: str = ""
    """Empty for `project`."""
    preview_domain: str = "development"
    preview_triggers: bool = False
    tag_domains: str = "*=production"
    if_stale: IfStale = "skip"
    comment: Comment = "always"
    comment_group: str = ""
    github_deployment: Switch = "auto"
    pr_number: int = 0
    """0 for the pull request of the event."""
    plan_file: Path | None = None
    github_token: str = field(default="", repr=False)
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
    build_registry: str = ""
    verbose: bool = False


def default_data(environ: Mapping[str, str]) -> Path:
    """Where an embedded control plane keeps its data when nothing is said: the user's state folder."""
    state = environ.get("XDG_STATE_HOME") or ""
    # The XDG specification wants a relative path to be ignored.
    base = Path(state) if Path(state).is_absolute() else Path(home(environ)) / ".local" / "state"
    return base / "flyte-deploy" / EMBEDDED


def default_cache(environ: Mapping[str, str]) -> Path:
    """Where installed environments are kept when nothing is said: the user's cache folder."""
    cache = environ.get("XDG_CACHE_HOME") or ""
    base = Path(cache) if Path(cache).is_absolute() else Path(home(environ)) / ".cache"
    return base / "flyte-deploy" / "environments"


def home(environ: Mapping[str, str]) -> str:
    return environ.get("HOME") or os.path.expanduser("~")  # noqa: PTH111 - never raises
