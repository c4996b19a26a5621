"""The one table of options: each declared once, with its flag, variables, key, default and words.

Command line, documentation and action inputs derive from it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

_PREFIX = "FLYTE_DEPLOY_"

Kind = Literal[
    "text", "flag", "whole number", "seconds", "path", "paths", "names", "images", "words", "command"
]

ACTION = "action"
"""The command of the container action: its options are the action's inputs."""

_PROJECT = ("deploy", "plan", ACTION)
_ALL = (*_PROJECT, "serve")

RELEASES = ("history", "promote", "rollback")
"""The commands that work on what is registered, without any code at hand."""

_FOR_RELEASES = frozenset({"bundle-store", "concurrency", "output-format", "verbose"})


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option: a row of the table.

    The flag is ``--name``, the environment variable ``FLYTE_DEPLOY_NAME``, the parameter in code ``name``
    with underscores. `setting` is the field of `Settings` where that has another name; `negates` says that
    the flag turns the field off. `other` are further spellings of the flag. `variables` and `config_key` are
    those of Flyte's SDK. `default` is shown as `default_text` where it depends on the place. `argument`
    means that the command line takes it without a flag. `required` is for inputs of the action, where
    `action_default` is the default if it is another there, in words `action_default_text`, and
    `action_expression` one that the runner works out. The value of one that is `secret` is hidden wherever it
    could be seen.
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
    commands: tuple[str, ...] = _PROJECT
    argument: bool = False
    required: bool = False
    action_default: str | None = None
    action_default_text: str = ""
    action_expression: str = ""
    secret: bool = False

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
_LOGIN = "Logging in"
_CLOUDS, _IMAGES, _REGISTRATION = "Clouds", "Images", "Registration"
_EVENTS = "Events and GitHub"
LAST_SECTION = _RUN = "This run"

AUTH_TYPES = (
    "ClientSecret",
    "ExternalCommand",
    "GitHub",
    "GitHubAssertion",
    "Pkce",
    "DeviceFlow",
    "Passthrough",
)
"""Ways to log in. All but GitHub's are those of Flyte's SDK; the last three are known, and refused."""

_ROWS: tuple[Option, ...] = (
    Option(
        name="path",
        argument=True,
        kind="paths",
        section=_WHAT,
        setting="paths",
        action_default=".",
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
        action_default="",
        action_default_text="true where path is a directory, unless all or env says otherwise",
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
        name="install",
        choices=("auto", "uv", "requirements", "script", "none"),
        default="none",
        action_default="auto",
        section=_WHAT,
        help="How the project's interpreter is made: from uv.lock or pyproject.toml (uv), requirements*.txt "
        "or the header of the file (script, PEP 723), whichever is there (auto), or not at all (none: it is "
        "found). On the command line auto uses an active or neighbouring virtual environment as it is.",
    ),
    Option(
        name="install-args",
        metavar="TEXT",
        section=_WHAT,
        help="More arguments for the installer, uv sync or uv pip install, such as --group deploy.",
    ),
    Option(
        name="python-version",
        metavar="VERSION",
        default_text="what the project says",
        section=_WHAT,
        help="Python version to install the project with, such as 3.12; uv downloads one that is not there.",
    ),
    Option(
        name="cache-dir",
        kind="path",
        metavar="DIR",
        default_text="flyte-deploy/environments below $XDG_CACHE_HOME or ~/.cache",
        action_default_text="flyte-deploy-environments below RUNNER_TEMP",
        section=_WHAT,
        help="Where environments that were installed are kept, to be used again as long as nothing that they "
        "were made of changes.",
    ),
    Option(
        name="pass-env",
        kind="names",
        metavar="NAME",
        default=(),
        commands=(ACTION,),
        section=_WHAT,
        help="Environment variable that the project's code and its installation may see. May be given "
        "several times.",
    ),
    Option(
        name="discovery-network",
        choices=("none", "allow"),
        default="none",
        commands=(ACTION,),
        section=_WHAT,
        help="Whether the project's code has a network while it is loaded.",
    ),
    Option(
        name="working-directory",
        kind="path",
        metavar="DIR",
        commands=(ACTION,),
        action_default=".",
        section=_WHAT,
        help="Directory of the workspace that the step works in: path, root-dir and other relative paths "
        "start from it.",
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
        help="Version of the tasks: text, or a template with {content}, {sha}, {short_sha}, {branch}, {tag}. "
        "For promote and rollback the version that is registered.",
    ),
    Option(
        name="bundle-store",
        metavar="URL",
        default_text="the backend's signed URLs",
        section=_CODE,
        help="Where the code bundle is stored: s3://bucket/prefix, gs://bucket/prefix or a folder, "
        "file:///shared/bundles. The task containers have to be able to read it.",
    ),
    Option(
        name="s3-endpoint",
        metavar="URL",
        default_text="AWS's",
        variables=("FLYTE_AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
        section=_CLOUDS,
        help="The server of s3:// where that is not AWS, such as https://minio.example.com.",
    ),
    Option(
        name="s3-region",
        metavar="NAME",
        default_text="the profile's, else us-east-1",
        variables=("AWS_REGION", "AWS_DEFAULT_REGION"),
        section=_CLOUDS,
        help="Region of the bucket.",
    ),
    Option(
        name="s3-addressing",
        choices=("auto", "path", "virtual"),
        default="auto",
        variables=("FLYTE_AWS_S3_ADDRESSING_STYLE",),
        section=_CLOUDS,
        help="Whether the bucket's name goes into the path or the host of a request; with auto into the path "
        "where an endpoint is named.",
    ),
    Option(
        name="aws-role",
        metavar="ARN",
        section=_CLOUDS,
        help="Role to take on with GitHub's identity token instead of stored keys. The job needs "
        "id-token: write.",
    ),
    Option(
        name="gcp-workload-identity",
        metavar="PROVIDER",
        section=_CLOUDS,
        help="Workload identity provider that trusts GitHub: "
        "projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/NAME. The job needs "
        "id-token: write.",
    ),
    Option(
        name="gcp-service-account",
        metavar="EMAIL",
        section=_CLOUDS,
        help="Service account to take on with --gcp-workload-identity; without it the provider's principals "
        "need the roles themselves.",
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
        name="insecure-skip-verify",
        kind="flag",
        default=False,
        variables=("FLYTE_ADMIN_INSECURESKIPVERIFY",),
        config_key="admin.insecureSkipVerify",
        section=_TARGET,
        help="Take any certificate of the control plane and its token endpoint: whoever is on the way can "
        "read and change everything, credentials too. Has no effect where --ca-cert names an authority.",
    ),
    Option(
        name="ca-cert",
        kind="path",
        metavar="FILE",
        variables=("FLYTE_ADMIN_CACERTFILEPATH",),
        config_key="admin.caCertFilePath",
        section=_TARGET,
        help="PEM file of certificate authorities to trust beside the machine's own: for the control plane, "
        "stores, token endpoints, registries and image builds.",
    ),
    Option(
        name="http-proxy",
        metavar="URL",
        variables=("FLYTE_ADMIN_HTTPPROXYURL",),
        config_key="admin.httpProxyURL",
        default_text="what HTTPS_PROXY and NO_PROXY say",
        section=_TARGET,
        help="Proxy to reach the control plane and its token endpoint through, such as http://proxy:3128.",
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
        required=True,
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
        name="api-key",
        metavar="KEY",
        variables=("FLYTE_API_KEY",),
        secret=True,
        section=_LOGIN,
        help="API key of the control plane: endpoint, client, secret and organisation in one. Other "
        "processes can read a command line: the environment is the better place.",
    ),
    Option(
        name="auth-type",
        choices=AUTH_TYPES,
        variables=("FLYTE_AUTH_TYPE", "FLYTE_ADMIN_AUTHTYPE"),
        config_key="admin.authType",
        default_text="ClientSecret with an API key or a client secret, else none",
        section=_LOGIN,
        help="How to log in to the control plane. GitHub exchanges the job's identity token for one of the "
        "identity provider (RFC 8693), GitHubAssertion shows it as the client's assertion (RFC 7523). Pkce "
        "and DeviceFlow need a person, and are refused.",
    ),
    Option(
        name="client-id",
        metavar="ID",
        variables=("FLYTE_ADMIN_CLIENTID",),
        config_key="admin.clientId",
        section=_LOGIN,
        help="Client to log in as.",
    ),
    Option(
        name="client-secret-env",
        metavar="VARIABLE",
        variables=("FLYTE_ADMIN_CLIENTSECRETENVVAR",),
        config_key="admin.clientSecretEnvVar",
        section=_LOGIN,
        help="Environment variable that holds the client's secret. It comes before a file.",
    ),
    Option(
        name="client-secret-file",
        kind="path",
        metavar="FILE",
        variables=("FLYTE_ADMIN_CLIENTSECRETLOCATION",),
        config_key="admin.clientSecretLocation",
        section=_LOGIN,
        help="File that holds the client's secret.",
    ),
    Option(
        name="scopes",
        kind="words",
        metavar="SCOPE ...",
        default=(),
        variables=("FLYTE_ADMIN_SCOPES",),
        config_key="admin.scopes",
        default_text="those that the control plane names",
        section=_LOGIN,
        help="Scopes to ask for.",
    ),
    Option(
        name="auth-command",
        kind="command",
        metavar="COMMAND",
        default=(),
        variables=("FLYTE_AUTH_COMMAND", "FLYTE_ADMIN_COMMAND"),
        config_key="admin.command",
        section=_LOGIN,
        help="Command that prints a token, for the type ExternalCommand: as in a shell, or a JSON list.",
    ),
    Option(
        name="proxy-command",
        kind="command",
        metavar="COMMAND",
        default=(),
        variables=("FLYTE_AUTH_PROXY_COMMAND", "FLYTE_ADMIN_PROXYCOMMAND"),
        config_key="admin.proxyCommand",
        section=_LOGIN,
        help="Command that prints a token for a proxy in front of the control plane. It is sent besides, as "
        "proxy-authorization.",
    ),
    Option(
        name="github-audience",
        metavar="AUDIENCE",
        default_text="the control plane's audience, else the token endpoint's address",
        section=_LOGIN,
        help="Audience of the job's identity token for the types GitHub and GitHubAssertion. The job needs "
        "id-token: write.",
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
        help="Who builds images: local (Docker with buildx), remote (the backend's image builder) or auto "
        "(remote where the backend has one that can build these images, else local).",
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
        name="platform",
        kind="names",
        metavar="OS/ARCH",
        default=(),
        setting="platforms",
        section=_IMAGES,
        help="Platform to build images for, such as linux/amd64, in place of what the code says. May be "
        "given several times.",
    ),
    Option(
        name="build-secret",
        kind="names",
        metavar="NAME[=ENV|FILE]",
        default=(),
        setting="build_secrets",
        section=_IMAGES,
        help="Secret that image builds may mount: from the environment variable of that name, another one, "
        "or a file. May be given several times.",
    ),
    Option(
        name="image-concurrency",
        kind="whole number",
        minimum=1,
        default=4,
        metavar="N",
        section=_IMAGES,
        help="How many images are built at a time.",
    ),
    Option(
        name="image-timeout",
        kind="seconds",
        minimum=1,
        default=3600.0,
        metavar="SECONDS",
        section=_IMAGES,
        help="How long the build of one image may take.",
    ),
    Option(
        name="keep-builds",
        kind="flag",
        default=False,
        section=_IMAGES,
        help="Let builds in the backend go on when this run is stopped or fails.",
    ),
    Option(
        name="load",
        kind="flag",
        default=False,
        setting="load_images",
        section=_IMAGES,
        help="Leave built images in Docker here in place of pushing them to a registry, for a cluster that "
        "takes them from there. Tasks are registered with their tags.",
    ),
    Option(
        name="untrusted",
        kind="flag",
        default=False,
        section=_IMAGES,
        help="Build images of code that may want to harm later builds: with a builder that is gone "
        "afterwards, without writing GitHub's cache of layers, sharing no cache of packages.",
    ),
    Option(
        name="buildx-builder",
        metavar="NAME",
        variables=("FLYTE_DOCKER_BUILDKIT_BUILDER_NAME",),
        default_text="the one that docker buildx uses",
        section=_IMAGES,
        help="Builder of docker buildx that builds images.",
    ),
    Option(
        name="builder-endpoint",
        metavar="docker-container://NAME",
        section=_IMAGES,
        help="Container that runs BuildKit, reached through Docker's socket, such as that of a builder which "
        "another step has made.",
    ),
    Option(
        name="buildkit",
        kind="names",
        metavar="tcp://HOST:PORT",
        default=(),
        section=_IMAGES,
        help="BuildKit daemon that builds images. May be given several times: images are spread over them, "
        "each to the one that has its layers.",
    ),
    Option(
        name="buildkit-tls",
        kind="path",
        metavar="DIR",
        default_text="no TLS",
        section=_IMAGES,
        help="Folder with ca.pem, cert.pem and key.pem for the BuildKit daemons.",
    ),
    Option(
        name="cache-from",
        kind="names",
        metavar="CACHE",
        default=(),
        variables=("FLYTE_DOCKER_BUILDER_CACHE_FROM",),
        section=_IMAGES,
        help="Cache of layers to read, as docker buildx has it, such as type=registry,ref=HOST/NAME. May be "
        "given several times.",
    ),
    Option(
        name="cache-to",
        kind="names",
        metavar="CACHE",
        default=(),
        variables=("FLYTE_DOCKER_BUILDER_CACHE_TO",),
        section=_IMAGES,
        help="Cache of layers to write, as docker buildx has it. One that fails is a warning. May be given "
        "several times.",
    ),
    Option(
        name="provenance",
        metavar="VALUE",
        section=_IMAGES,
        help="Attestation of how images were built, as docker buildx has it: true, false, mode=max.",
    ),
    Option(
        name="sbom",
        metavar="VALUE",
        section=_IMAGES,
        help="Attestation of what images hold, as docker buildx has it: true, false.",
    ),
    Option(
        name="image-compression",
        choices=("gzip", "estargz", "zstd", "uncompressed"),
        section=_IMAGES,
        default_text="the builder's",
        help="Compression of the layers that are pushed.",
    ),
    Option(
        name="build-context",
        kind="names",
        metavar="NAME=VALUE",
        default=(),
        setting="build_contexts",
        section=_IMAGES,
        help="Takes the place of an image that is copied from or built upon, as docker buildx has it, such "
        "as ghcr.io/astral-sh/uv:0.13.4=docker-image://HOST/uv. May be given several times.",
    ),
    Option(
        name="registry-auth",
        kind="names",
        metavar="HOST=USER:VARIABLE",
        default=(),
        section=_IMAGES,
        help="Login of an image registry; the password is in the environment variable VARIABLE. May be "
        "given several times. Others come from Docker's configuration, GITHUB_TOKEN (ghcr.io), AWS (ECR) and "
        "Google (Artifact Registry).",
    ),
    Option(
        name="insecure-registry",
        kind="names",
        metavar="HOST",
        default=(),
        setting="insecure_registries",
        section=_IMAGES,
        help="Image registry that may do without TLS or a good certificate; one on loopback may do without "
        "TLS anyway. May be given several times.",
    ),
    Option(
        name="pin-base-images",
        kind="flag",
        default=False,
        section=_IMAGES,
        help="Build on the digests that the tags of base images stand for now, so that a tag that has moved "
        "means a new build.",
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
        name="preview",
        kind="flag",
        default=False,
        section=_REGISTRATION,
        help="Deploy as a preview: images are built in repositories of their own (NAME-preview), and a "
        "version that is complete needs not be the newest.",
    ),
    Option(
        name="no-triggers",
        setting="triggers",
        negates=True,
        kind="flag",
        default=False,
        section=_REGISTRATION,
        help="Leave out the triggers of tasks; those that live stay as they are.",
    ),
    Option(
        name="compare-to",
        metavar="[PROJECT/]DOMAIN",
        default_text="where it is deployed to",
        section=_REGISTRATION,
        help="Say what changes against what is registered there.",
    ),
    Option(
        name="fail-on-breaking",
        kind="flag",
        default=False,
        section=_REGISTRATION,
        help="Fail before anything is registered where an interface changes so that callers may break: an "
        "input removed, a required one added, a type changed, an output removed or changed. A plan is shown "
        "all the same.",
    ),
    Option(
        name="expect-content",
        metavar="CONTENT",
        section=_REGISTRATION,
        help="The content version that was planned and approved; refuse to deploy another one.",
    ),
    Option(
        name="reuse-from",
        metavar="[PROJECT/]DOMAIN",
        section=_REGISTRATION,
        help="Take bundle and images over from what is registered there with the same content, instead of "
        "uploading and building them.",
    ),
    Option(
        name="reuse-version",
        metavar="TEXT",
        default_text="{content}",
        section=_REGISTRATION,
        help="Version that the same content has there, text or a template.",
    ),
    Option(
        name="reuse-branch",
        metavar="BRANCH",
        section=_REGISTRATION,
        help="Branch that the reused deployment has to come from: nothing is taken over where its record "
        "names another one. It stands for {branch} in --reuse-version.",
    ),
    Option(
        name="no-difference",
        setting="difference",
        negates=True,
        kind="flag",
        default=False,
        section=_REGISTRATION,
        help="Do not find out what changes about each task, which takes a call for each that does; "
        "--fail-on-breaking does it all the same.",
    ),
    Option(
        name="from",
        metavar="[PROJECT/]DOMAIN",
        setting="source",
        commands=("promote",),
        section=_REGISTRATION,
        help="Where the version to promote is registered.",
    ),
    Option(
        name="to",
        metavar="DOMAIN",
        setting="domain",
        commands=("promote",),
        section=_REGISTRATION,
        help="Domain to register it in.",
    ),
    Option(
        name="as",
        metavar="VERSION",
        setting="as_version",
        default_text="the same version; for a rollback VERSION-rollback",
        commands=("promote", "rollback"),
        section=_REGISTRATION,
        help="Version to register it under.",
    ),
    Option(
        name="limit",
        kind="whole number",
        minimum=1,
        default=10,
        metavar="N",
        commands=("history",),
        section=_RUN,
        help="How many deployments are listed, the newest first.",
    ),
    Option(
        name="dry-run",
        other=("--dryrun",),
        kind="flag",
        default=False,
        commands=("deploy", ACTION, "promote", "rollback"),
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
        commands=("deploy", "plan"),
        section=_RUN,
        help="What is printed on standard output. With json it is one document; progress goes to standard "
        "error.",
    ),
    Option(
        name="mode",
        choices=("auto", "push", "preview", "release", "plan", "post-comment"),
        default="auto",
        commands=(ACTION,),
        section=_EVENTS,
        help="What the event is taken for. With auto a push to the default branch deploys, a pull request "
        "gets a preview, a tag a release, anything else a plan.",
    ),
    Option(
        name="preview-project",
        metavar="NAME",
        default_text="project",
        commands=(ACTION,),
        section=_EVENTS,
        help="Project that previews of pull requests are deployed to.",
    ),
    Option(
        name="preview-domain",
        metavar="NAME",
        default="development",
        commands=(ACTION,),
        section=_EVENTS,
        help="Domain that previews of pull requests are deployed to.",
    ),
    Option(
        name="preview-triggers",
        kind="flag",
        default=False,
        commands=(ACTION,),
        section=_EVENTS,
        help="Deploy the triggers of tasks with a preview, too; they are removed when it is over.",
    ),
    Option(
        name="tag-domains",
        metavar="PATTERN=DOMAIN, …",
        default="*=production",
        commands=(ACTION,),
        section=_EVENTS,
        help="Domain that a tag is released to, by the first pattern that fits it, such as "
        "'v*-rc*=staging, v*=production'. A domain may be PROJECT/DOMAIN.",
    ),
    Option(
        name="if-stale",
        choices=("skip", "deploy"),
        default="skip",
        commands=(ACTION,),
        section=_EVENTS,
        help="What a deploy of a branch does that has moved on meanwhile: an older run that ends last would "
        "make its version the newest.",
    ),
    Option(
        name="comment",
        choices=("always", "changes", "new", "off"),
        default="always",
        commands=(ACTION,),
        section=_EVENTS,
        help="Whether a pull request gets a comment: always, where something changes, a new one each time, "
        "or none.",
    ),
    Option(
        name="comment-group",
        metavar="NAME",
        commands=(ACTION,),
        section=_EVENTS,
        help="Steps of one name share a comment, a part for each: the legs of a matrix, for instance.",
    ),
    Option(
        name="github-deployment",
        choices=("auto", "off"),
        default="auto",
        commands=(ACTION,),
        section=_EVENTS,
        help="Whether a deploy is a GitHub deployment, with a status and a link. Say off where the job has "
        "an environment of its own, unless with deployment: false: GitHub makes a deployment for it already.",
    ),
    Option(
        name="pr-number",
        kind="whole number",
        default=0,
        default_text="the pull request of the event, or of its run",
        metavar="N",
        commands=(ACTION,),
        section=_EVENTS,
        help="Pull request that mode post-comment writes to.",
    ),
    Option(
        name="plan-file",
        kind="path",
        metavar="FILE",
        commands=(ACTION,),
        section=_EVENTS,
        help="The plan that mode post-comment posts, as JSON: output plan of a job without secrets.",
    ),
    Option(
        name="github-token",
        metavar="TOKEN",
        commands=(ACTION,),
        secret=True,
        action_expression="${{ github.token }}",
        section=_EVENTS,
        help="Token for comments, deployments and the state of branches and pull requests; with an empty one "
        "there are none of these.",
    ),
    Option(
        name="deadline",
        kind="seconds",
        default=21600.0,
        metavar="SECONDS",
        commands=(ACTION,),
        section=_RUN,
        help="How long the whole run may take. What still runs then is ended, also where the runner is gone "
        "and cannot cancel it any more.",
    ),
    Option(
        name="build-registry",
        metavar="HOST/PATH",
        commands=("serve",),
        section=_RUN,
        help="Registry for images that clients have built with the image builder 'remote'; Docker here "
        "builds them. Without it, no images are built.",
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
        commands=("deploy", "plan", "serve"),
        section=_RUN,
        help="Show tracebacks.",
    ),
)


def _with_releases(option: Option) -> Option:
    shared = option.section in (_TARGET, _LOGIN, _CLOUDS) or option.name in _FOR_RELEASES
    more = [name for name in RELEASES if shared and name not in option.commands]
    if option.name in ("version", "no-triggers"):
        more = ["promote", "rollback"]
    if option.name == "domain":
        more.remove("promote")
    return replace(option, commands=(*option.commands, *more)) if more else option


OPTIONS = tuple(map(_with_releases, _ROWS))
"""The table. The order is that of the documentation."""

BY_PARAMETER = {option.parameter: option for option in OPTIONS}


def options_of(command: str) -> tuple[Option, ...]:
    """The rows of one command, arguments included."""
    return tuple(option for option in OPTIONS if command in option.commands)
