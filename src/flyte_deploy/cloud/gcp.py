"""Google Cloud: who we are there, by google-auth's own chain or as what trusts GitHub."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import google.auth
import google.auth.credentials
import requests
from google.auth import identity_pool
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.auth.transport.requests import AuthorizedSession, Request
from google.cloud import storage

from flyte_deploy.cloud import CloudSettings, who
from flyte_deploy.cloud.github_oidc import github_id_token, telling
from flyte_deploy.errors import DeployError
from flyte_deploy.http import shown
from flyte_deploy.tls import Network, roots_file

_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_STS = "https://sts.googleapis.com/v1/token"
_IAM = "https://iamcredentials.googleapis.com"
SOURCES = (
    "the file that GOOGLE_APPLICATION_CREDENTIALS names",
    "gcloud's own file (gcloud auth application-default login)",
    "App Engine",
    "the machine's service account (its metadata server)",
)
"""Where google-auth looks for credentials, in order."""


@dataclass(frozen=True)
class Gcs:
    """A client of Google Cloud Storage, where its credentials came from, and what GitHub vouched for."""

    client: Any
    source: str
    vouched: list[str]

    @property
    def claims(self) -> tuple[str, ...]:
        """Of GitHub's last identity token, a line each."""
        return telling(self.vouched[-1]) if self.vouched else ()


@lru_cache(maxsize=4)
def gcs(cloud: CloudSettings, token_url: str = _STS, iam_url: str = _IAM) -> Gcs:
    """A client of Google Cloud Storage, made once; it may be used by all threads.

    STORAGE_EMULATOR_HOST names another server, which is asked without credentials if none are named.

    Args:
        cloud: workload identity and service account.
        token_url: where tokens are exchanged.
        iam_url: where a service account's tokens are made.

    Raises:
        DeployError: where there are no credentials, or they cannot be used.
    """
    # The library asks for the bucket's project and place besides, on a thread of its own, for traces.
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    vouched: list[str] = []
    credentials, source = _credentials(cloud, vouched, token_url, iam_url)
    roots = roots_file(cloud.ca_cert)
    session = AuthorizedSession(credentials, auth_request=Request(_session(roots)))
    if roots:
        session.verify = roots
    reason = who(os.environ)
    client = storage.Client(
        project=None,
        credentials=credentials,
        _http=session,
        # Audit logs keep it beside the account's name.
        extra_headers={"x-goog-request-reason": reason} if reason else {},
    )
    return Gcs(client, source, vouched)


def refused(error: GoogleAuthError, gcs: Gcs, where: str) -> DeployError:
    """The error for credentials that Google does not take, or cannot be asked about."""
    words = " ".join(str(each) for each in error.args) or str(error)
    said = shown(re.sub(r"ya29\.[\w.-]+|eyJ[\w.-]+", "…", words), 300)
    what = (
        f"Google does not take the credentials ({type(error).__name__}: {said}); they came from {gcs.source}"
    )
    mend = "Log in again, or in GitHub use --gcp-workload-identity."
    if gcs.claims:
        mend = (
            "The provider's attribute condition, and roles/iam.workloadIdentityUser on the service account,"
            " have to allow these claims (docs/backends.md has commands to copy)."
        )
    if re.search(r"reasonable timeframe|stale|iat and exp", said):
        mend = "The clock of this machine may be wrong: set it."
    elif "reauth" in said.lower() or "expired" in said.lower():
        mend = "They have expired: log in again, or in GitHub use --gcp-workload-identity, which renews them."
    return DeployError(what, where=where, details=gcs.claims, mend=mend)


def _credentials(cloud: CloudSettings, vouched: list[str], token_url: str, iam_url: str) -> tuple[Any, str]:
    if cloud.gcp_workload_identity:
        return _federated(cloud, vouched, token_url, iam_url), "--gcp-workload-identity"
    named = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS", "")
    if os.environ.get("STORAGE_EMULATOR_HOST") and not named:
        return google.auth.credentials.AnonymousCredentials(), "nowhere: STORAGE_EMULATOR_HOST is set"
    try:
        credentials, _ = google.auth.default(
            scopes=(_SCOPE,), request=_no_project(Request(_session(roots_file(cloud.ca_cert))))
        )
    except DefaultCredentialsError as error:
        what = "there are no credentials for Google Cloud Storage"
        if named:
            what = f"the credentials for Google Cloud Storage cannot be used: {shown(str(error.args[0]))}"
        raise DeployError(
            what,
            where=f"GOOGLE_APPLICATION_CREDENTIALS={named}" if named else None,
            details=("looked for in this order:", *(f"  {source}" for source in SOURCES)),
            mend="In GitHub use --gcp-workload-identity, or run google-github-actions/auth before.",
        ) from error
    return credentials, SOURCES[0] if named else f"google-auth's chain ({type(credentials).__module__})"


def _no_project(request: Request) -> Any:
    """The same, but for one question: google-auth asks another service for the project, without need."""

    def ask(url: str, *arguments: Any, **more: Any) -> Any:
        if "cloudresourcemanager." in url:
            return SimpleNamespace(status=403, headers={}, data=b"{}")
        return request(url, *arguments, **more)

    return ask


def _federated(cloud: CloudSettings, vouched: list[str], token_url: str, iam_url: str) -> Any:
    provider = cloud.gcp_workload_identity
    account = cloud.gcp_service_account
    impersonation = f"{iam_url}/v1/projects/-/serviceAccounts/{account}:generateAccessToken"
    return identity_pool.Credentials(
        audience=f"//iam.googleapis.com/{provider}",
        subject_token_type="urn:ietf:params:oauth:token-type:jwt",  # noqa: S106 - a kind
        token_url=token_url,
        service_account_impersonation_url=impersonation if account else None,
        subject_token_supplier=_GitHub(
            f"https://iam.googleapis.com/{provider}", dict(os.environ), vouched, cloud.ca_cert
        ),
        scopes=[_SCOPE],
    )


class _GitHub(identity_pool.SubjectTokenSupplier):
    """Gives GitHub's identity token, a fresh one each time, and remembers the last for messages."""

    def __init__(
        self, audience: str, environ: Mapping[str, str], vouched: list[str], ca_cert: Path | None
    ) -> None:
        self._audience = audience
        self._environ = environ
        self._vouched = vouched
        self._network = Network(ca_cert)

    def get_subject_token(self, context: object, request: object) -> str:  # noqa: ARG002 - google-auth's
        token = github_id_token(self._audience, self._environ, self._network)
        self._vouched[:] = [token]
        return token


def _session(roots: str | None) -> requests.Session:
    session = requests.Session()
    if roots:
        session.verify = roots
    session.mount("https://", requests.adapters.HTTPAdapter(max_retries=3))
    return session
