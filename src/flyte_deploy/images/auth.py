"""Logins of image registries: which there is for a host, and how one docker process gets them.

For a host, the first of these that knows it: ``--registry-auth``; Docker's own configuration, as Docker reads
it (DOCKER_AUTH_CONFIG, ``credHelpers``, ``credsStore``, ``auths``); GitHub's token for ghcr.io; AWS's
credentials for ECR; Google's for Artifact Registry. Nothing is written anywhere.
"""

from __future__ import annotations

import base64
import binascii
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from flyte_deploy.errors import DeployError
from flyte_deploy.images.reference import DOCKER_HUB

HUB_KEY = "https://index.docker.io/v1/"
"""The name that Docker's configuration has for Docker Hub."""

_GHCR = "ghcr.io"
_ECR = re.compile(r"(\d{12})\.dkr\.ecr(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?")
_ECR_PUBLIC = "public.ecr.aws"
_GOOGLE = re.compile(r"[a-z0-9-]+-docker\.pkg\.dev|(?:[a-z]+\.)?gcr\.io")
_ENTRY = re.compile(r"(?P<host>[^=\s]+)=(?P<user>\S+):(?P<variable>[A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True)
class Login:
    """What a registry is shown. `password` and `token` are secrets and not part of the repr.

    Args:
        user: the name; empty where there is a `token` alone.
        password: goes with it.
        token: an identity token, which is traded for others at the registry's token server.
        source: where it comes from, in words for people.
    """

    user: str
    password: str = field(repr=False)
    source: str
    token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """``user:password`` in Base64: a secret."""
        return base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


class Source(Protocol):
    """Knows the logins of some hosts."""

    def __call__(self, host: str) -> Login | None:
        """The login of a host, None if it has none.

        Raises:
            DeployError: it should have one, and cannot.
        """


class Credentials:
    """The logins of registries, each looked up once. May be used by several threads.

    Args:
        sources: asked in this order.
        on_secret: is told each password and token when it becomes known.
    """

    def __init__(
        self, sources: Iterable[Source], *, on_secret: Callable[[str], object] | None = None
    ) -> None:
        self._sources = tuple(sources)
        self._on_secret = on_secret
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._found: dict[str, tuple[Login | None, tuple[str, ...]]] = {}

    def of(self, host: str) -> Login | None:
        """The login of a registry (``docker.io``, ``ghcr.io``, ``127.0.0.1:5000``), None if there is none."""
        return self._look_up(host)[0]

    def problems(self, host: str) -> tuple[str, ...]:
        """What went wrong when a login was looked for, a line each. It matters where a registry refuses."""
        return self._look_up(host)[1]

    def _look_up(self, host: str) -> tuple[Login | None, tuple[str, ...]]:
        with self._lock:
            lock = self._locks.setdefault(host, threading.Lock())
        with lock:
            if host not in self._found:
                self._found[host] = self._ask(host)
            return self._found[host]

    def _ask(self, host: str) -> tuple[Login | None, tuple[str, ...]]:
        problems = []
        for source in self._sources:
            try:
                login = source(host)
            except DeployError as error:
                problems.append(str(error))
                continue
            if login is not None:
                if self._on_secret is not None:
                    for secret in filter(None, (login.password, login.token, login.password and login.basic)):
                        self._on_secret(secret)
                return login, tuple(problems)
        return None, tuple(problems)


def docker_auth(hosts: Iterable[str], credentials: Credentials) -> dict[str, Any]:
    """The logins of some registries as one docker process reads them from DOCKER_AUTH_CONFIG, which is JSON.

    Empty where no host has a login. Identity tokens are left out: docker reads no such thing there, and they
    come from its own configuration, which it has beside. Docker 28.3 and newer look at the variable.
    """
    auths = {}
    for host in dict.fromkeys(hosts):
        login = credentials.of(host)
        if login is not None and not login.token:
            auths[HUB_KEY if host == DOCKER_HUB else host] = {"auth": login.basic}
    return {"auths": auths} if auths else {}


def given(entries: Iterable[str], environ: Mapping[str, str]) -> Source:
    """The source of ``--registry-auth HOST=USER:VARIABLE``: the password is in that environment variable.

    Raises:
        DeployError: for an entry that is none, and a variable that is not set.
    """
    logins: dict[str, Login] = {}
    for entry in entries:
        match = _ENTRY.fullmatch(entry)
        if match is None:
            # What was meant as a password may stand in it: it is not repeated.
            raise DeployError(
                f"--registry-auth for {entry.partition('=')[0]!r} is not HOST=USER:VARIABLE",
                mend="VARIABLE is the name of the environment variable that holds the password.",
                usage=True,
            )
        host, user, variable = match["host"], match["user"], match["variable"]
        password = environ.get(variable, "")
        if not password:
            raise DeployError(
                f"there is no password for {host}: the environment variable {variable} is not set",
                where="--registry-auth",
                mend=f"Set {variable}; in a workflow, from a secret.",
                usage=True,
            )
        host = DOCKER_HUB if host in {HUB_KEY, "index.docker.io", "registry-1.docker.io"} else host
        logins[host] = Login(user, password, f"--registry-auth, environment {variable}")

    def login(host: str) -> Login | None:
        return logins.get(host)

    return login


def variables(entries: Iterable[str]) -> tuple[str, ...]:
    """The environment variables that ``--registry-auth`` names: they hold secrets."""
    return tuple(match["variable"] for entry in entries if (match := _ENTRY.fullmatch(entry)))


def github(environ: Mapping[str, str]) -> Source:
    """The source of GitHub's token, GITHUB_TOKEN: it is the password of ghcr.io."""

    def login(host: str) -> Login | None:
        token = environ.get("GITHUB_TOKEN", "")
        if host != _GHCR or not token:
            return None
        return Login(environ.get("GITHUB_ACTOR") or "x-access-token", token, "environment GITHUB_TOKEN")

    return login


def aws(session: Callable[[], Any] | None = None) -> Source:
    """The source of AWS's credentials: a password of ECR, private or public, good for twelve hours.

    Args:
        session: gives the ``boto3.Session`` to ask with; by default one of the SDK's own chain.
    """

    def login(host: str) -> Login | None:
        match = _ECR.fullmatch(host)
        if match is None and host != _ECR_PUBLIC:
            return None
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        try:
            opened = session() if session is not None else boto3.Session()
            if opened.get_credentials() is None:
                return None
            if match is not None:
                client = opened.client("ecr", region_name=match[2])
                data = client.get_authorization_token()["authorizationData"][0]
            else:
                # It has one address, whatever the region.
                client = opened.client("ecr-public", region_name="us-east-1")
                data = client.get_authorization_token()["authorizationData"]
        except NoCredentialsError:
            return None
        except (BotoCoreError, ClientError) as error:
            raise DeployError(
                f"AWS gives no password for the registry: {_words(error)}",
                where=host,
                mend="The role needs ecr:GetAuthorizationToken.",
            ) from None
        user, _, password = base64.b64decode(data["authorizationToken"]).decode().partition(":")
        return Login(user, password, "AWS credentials")

    return login


def google(token: Callable[[], str] | None = None) -> Source:
    """The source of Google's credentials: an access token as the password of Artifact Registry.

    Args:
        token: gives an access token; by default one of Google's application default credentials.
    """

    def login(host: str) -> Login | None:
        if not _GOOGLE.fullmatch(host):
            return None
        from google.auth import exceptions

        try:
            value = (token or _google_token)()
        except exceptions.DefaultCredentialsError:
            return None
        except exceptions.GoogleAuthError as error:
            raise DeployError(
                f"Google gives no access token for the registry: {_words(error)}",
                where=host,
                mend="Log in again; the account needs the role Artifact Registry Writer.",
            ) from None
        return Login("oauth2accesstoken", value, "Google credentials")

    return login


def _google_token() -> str:
    import google.auth
    from google.auth.transport import urllib3 as transport

    from flyte_deploy.http import connections

    credentials: Any
    credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    credentials.refresh(transport.Request(connections("https://oauth2.googleapis.com")))
    return str(credentials.token)


def _words(error: Exception) -> str:
    """What an SDK says, in one line of bearable length."""
    return " ".join(str(error).split())[:300]


def decoded(auth: str) -> tuple[str, str] | None:
    """User and password of an ``auth`` of Docker's configuration, None if it is none."""
    try:
        user, colon, password = base64.b64decode(auth, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return (user, password.rstrip("\0")) if colon else None
