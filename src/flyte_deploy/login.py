"""Which way the deployer logs in to the control plane: by the rules of Flyte's SDK, from settings alone.

An API key comes before all else. A client's secret that is there means client credentials, whatever the type
says. Otherwise the type decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flyte_deploy.api_key import ApiKey
from flyte_deploy.errors import DeployError
from flyte_deploy.secrets import SECRETS
from flyte_deploy.settings import Settings

IN_CI = (
    "In CI use an API key (FLYTE_API_KEY), a client's secret (--client-id with --client-secret-env), an "
    "external command (--auth-type ExternalCommand with --auth-command), or in GitHub --auth-type GitHub."
)
_INTERACTIVE = {"Pkce": "a browser", "DeviceFlow": "somebody who types a code", "Passthrough": "a caller"}


@dataclass(frozen=True)
class ClientSecret:
    """Client credentials (RFC 6749, 4.4). `source` says where the secret came from."""

    client_id: str
    secret: str = field(repr=False)
    source: str


@dataclass(frozen=True)
class Command:
    """A command that prints a token, run in `folder`. `source` says where it is named; its arguments are not
    shown."""

    arguments: tuple[str, ...] = field(repr=False)
    source: str
    folder: Path


@dataclass(frozen=True)
class GitHub:
    """GitHub's identity token: exchanged for another, or with `assertion` as what vouches for the client."""

    audience: str
    client_id: str
    assertion: bool
    source: str


@dataclass(frozen=True)
class Nobody:
    """No login. `kind` is an interactive type that was asked for and needs a person, empty for none."""

    kind: str = ""
    source: str = ""

    def mend(self) -> str:
        """What to do where the control plane wants a login."""
        if self.kind:
            return f"{self.kind} needs {_INTERACTIVE[self.kind]}, which a deploy does not have. {IN_CI}"
        return IN_CI


@dataclass(frozen=True)
class Login:
    """How to log in: `way`, and beside it a command for the token of a proxy in front of the control plane.

    `looked_at` are the places where credentials were looked for, in order.
    """

    way: ClientSecret | Command | GitHub | Nobody
    proxy: Command | None = None
    scopes: tuple[str, ...] = ()
    looked_at: tuple[str, ...] = ()

    @property
    def has_credentials(self) -> bool:
        """Whether somebody has given credentials."""
        return not isinstance(self.way, Nobody) or self.proxy is not None


def choose(settings: Settings, environ: Mapping[str, str]) -> Login:
    """The way to log in that the settings and the environment say. Secrets are known as such from here on.

    Raises:
        DeployError: where something is missing for it; the places that were looked at are named.
    """
    proxy = Command(settings.proxy_command, _origin(settings, "proxy_command"), settings.working_dir)
    secret, source, looked_at = _client_secret(settings, environ)
    return Login(
        _way(settings, secret, source, looked_at),
        proxy if proxy.arguments else None,
        settings.scopes,
        looked_at,
    )


def missing(settings: Settings, environ: Mapping[str, str]) -> str:
    """Why there are no credentials, in words; empty where somebody has given some, be they wrong.

    A job without secrets, such as a fork's, names what is not there. Where the client's secret is there, what
    is missing beside it is a mistake.
    """
    from flyte_deploy.cloud.github_oidc import may_prove

    try:
        chosen = choose(settings, environ)
    except DeployError as error:
        return "" if _client_secret(settings, environ)[0] else error.what
    if isinstance(chosen.way, GitHub) and not may_prove(environ):
        return "the job has no identity token of GitHub's (id-token: write)"
    return "" if chosen.has_credentials else "there is nothing to log in to the control plane with"


def _way(
    settings: Settings, secret: str, source: str, looked_at: tuple[str, ...]
) -> ClientSecret | Command | GitHub | Nobody:
    if settings.api_key:
        origin = _origin(settings, "api_key")
        key = ApiKey.decode(settings.api_key, origin)
        return ClientSecret(key.client_id, key.secret, f"the API key ({origin})")
    kind, origin = settings.auth_type, _origin(settings, "auth_type")
    if secret or kind == "ClientSecret":
        if not secret:
            raise _missing("there is no client's secret to log in with", looked_at, settings)
        if not settings.client_id:
            raise _missing("there is a client's secret, but no client to log in as", looked_at, settings)
        SECRETS.add_login(settings.client_id, secret, own=True)
        return ClientSecret(settings.client_id, secret, source)
    if kind == "ExternalCommand":
        if not settings.auth_command:
            raise DeployError(
                "the external command to log in with is not named",
                where=origin,
                mend="Name it with --auth-command, the variable FLYTE_AUTH_COMMAND, or admin.command in "
                "config.yaml.",
                usage=True,
            )
        return Command(settings.auth_command, _origin(settings, "auth_command"), settings.working_dir)
    if kind in ("GitHub", "GitHubAssertion"):
        assertion = kind == "GitHubAssertion"
        if assertion and not settings.client_id:
            raise DeployError(
                "GitHub's token vouches for a client, and none is named",
                where=origin,
                mend="Name it with --client-id.",
                usage=True,
            )
        return GitHub(settings.github_audience, settings.client_id, assertion, origin)
    return Nobody(kind, origin if kind else "")


def _client_secret(settings: Settings, environ: Mapping[str, str]) -> tuple[str, str, tuple[str, ...]]:
    looked_at = ["the API key (--api-key, FLYTE_API_KEY): not set"]
    secret = source = ""
    variable, file = settings.client_secret_env, settings.client_secret_file
    if not variable:
        looked_at.append("the client's secret in a variable (--client-secret-env): none is named")
    elif environ.get(variable):
        secret, source = environ[variable].strip(), f"environment {variable}"
        looked_at.append(f"the client's secret in the variable {variable}: found")
    else:
        looked_at.append(f"the client's secret in the variable {variable}: not set")
    if file is None:
        looked_at.append("the client's secret in a file (--client-secret-file): none is named")
    else:
        read = _read(file)
        looked_at.append(
            f"the client's secret in the file {file}: {'found' if read else 'not there, or empty'}"
        )
        if read and not secret:
            secret, source = read, str(file)
    if secret:
        SECRETS.add(secret, own=True)
    return secret, source, tuple(looked_at)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def _missing(what: str, looked_at: tuple[str, ...], settings: Settings) -> DeployError:
    name = "client_id" if "no client to" in what else "auth_type"
    return DeployError(
        what,
        where=_origin(settings, name) or None,
        details=("looked at, in this order:", *(f"  {line}" for line in looked_at)),
        mend="Name the client with --client-id, its secret with --client-secret-env or --client-secret-file.",
        usage=True,
    )


def _origin(settings: Settings, name: str) -> str:
    origin = settings.origins.get(name, "default")
    return "" if origin == "default" else origin
