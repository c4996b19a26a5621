"""AWS: who we are there, by botocore's own chain or as a role that trusts GitHub."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import boto3
import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.credentials import CredentialProvider, DeferredRefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError

from flyte_deploy.cloud import CloudSettings
from flyte_deploy.cloud.github_oidc import claims, github_id_token, telling
from flyte_deploy.errors import DeployError
from flyte_deploy.secrets import SECRETS
from flyte_deploy.tls import Network, roots_file

_AUDIENCE = "sts.amazonaws.com"
_LONGEST_NAME = 64
_DEFAULT_REGION = "us-east-1"
ROLE_METHOD = "assume-role-with-github-oidc"
"""What botocore calls the source of credentials that `--aws-role` brings."""

# In the order in which botocore asks them; its names on the left.
_SOURCES = {
    ROLE_METHOD: "--aws-role, with GitHub's identity token",
    "env": "the variables AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN",
    "assume-role": "role_arn of the profile in the shared files",
    "assume-role-with-web-identity": "AWS_WEB_IDENTITY_TOKEN_FILE with AWS_ROLE_ARN",
    "sso": "sso_session of the profile",
    "shared-credentials-file": "the shared credentials file (AWS_SHARED_CREDENTIALS_FILE or "
    "~/.aws/credentials)",
    "login": "login_session of the profile",
    "custom-process": "credential_process of the profile",
    "config-file": "the shared config file (AWS_CONFIG_FILE or ~/.aws/config)",
    "ec2-credentials-file": "the file that AWS_CREDENTIAL_FILE names",
    "boto-config": "boto's own configuration file",
    "container-role": "the container's role (AWS_CONTAINER_CREDENTIALS_*)",
    "iam-role": "the machine's role (EC2 instance metadata)",
}


@dataclass(frozen=True)
class S3:
    """A client of S3, and where credentials are looked for, in order, in words."""

    client: Any
    sources: tuple[str, ...]

    @property
    def source(self) -> str:
        """Where the credentials in use came from, in words; empty if there are none."""
        credentials = self.client._get_credentials()
        return _SOURCES.get(credentials.method, str(credentials.method)) if credentials else ""


@lru_cache(maxsize=4)
def s3(cloud: CloudSettings, connect: float = 10, read: float = 60, attempts: int = 6) -> S3:
    """A client of S3, made once: it takes some tenths of a second, and may be used by all threads.

    Args:
        cloud: endpoint, region, addressing and role.
        connect: seconds that making a connection, or sending some bytes over it, may take.
        read: seconds that an answer may take.
        attempts: how often a request is tried in all.

    Raises:
        DeployError: where the configuration cannot be used.
    """
    # By AWS's own rules the region's variable is AWS_REGION; botocore still asks for the older name alone.
    region = cloud.s3_region or os.environ.get("AWS_REGION") or None
    style = cloud.s3_addressing
    if style == "auto":
        # Names as part of the host need a name server that knows them: AWS has one, other servers rarely.
        style = "path" if cloud.s3_endpoint else "auto"
    try:
        session = botocore.session.Session()
        resolver = session.get_component("credential_provider")
        if cloud.aws_role:
            role = _GitHubRole(session, cloud.aws_role, region, cloud.ca_cert)
            # The one that was asked for is the only one: with others a deploy would not be who it should be.
            resolver.providers[:] = [role]
        client = boto3.Session(botocore_session=session).client(
            "s3",
            region_name=region or session.get_config_variable("region") or _DEFAULT_REGION,
            endpoint_url=cloud.s3_endpoint or None,
            verify=_verify(session, cloud.ca_cert),
            config=Config(
                s3={"addressing_style": style},
                retries={"mode": "standard", "total_max_attempts": attempts},
                connect_timeout=connect,
                read_timeout=read,
                max_pool_connections=16,
                # Each request that matters has a SHA-256 of ours.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                user_agent_extra="flyte-deploy",
            ),
        )
    except (BotoCoreError, ValueError) as error:
        raise DeployError(
            f"the configuration of AWS cannot be used: {error}",
            mend="Look at AWS_PROFILE, the shared files, --s3-endpoint and --s3-region.",
        ) from error
    methods = (provider.METHOD for provider in resolver.providers)
    return S3(client, tuple(_SOURCES.get(method, method) for method in methods))


def session_name(environ: Mapping[str, str]) -> str:
    """The name of the session in AWS's audit log: ``owner.repository@run-attempt``, 64 characters at most."""
    repository = re.sub(
        r"[^\w+=,.@-]", ".", environ.get("GITHUB_REPOSITORY") or "flyte-deploy", flags=re.ASCII
    )
    run = environ.get("GITHUB_RUN_ID", "")
    if not run:
        return repository[:_LONGEST_NAME]
    end = f"@{run}-{environ.get('GITHUB_RUN_ATTEMPT') or '1'}"
    return repository[: _LONGEST_NAME - len(end)] + end


class _GitHubRole(CredentialProvider):  # type: ignore[misc]
    """A role, taken on with GitHub's identity token when the first request is signed, and again in time."""

    METHOD = ROLE_METHOD
    CANONICAL_NAME = ROLE_METHOD

    def __init__(
        self, session: botocore.session.Session, role: str, region: str | None, ca_cert: Path | None
    ) -> None:
        super().__init__(session)
        self._role = role
        self._region = region
        self._ca_cert = ca_cert

    def load(self) -> DeferredRefreshableCredentials:
        environ = dict(os.environ)
        return DeferredRefreshableCredentials(
            lambda: _assume(self.session, self._role, self._region, environ, self._ca_cert), self.METHOD
        )


def _verify(session: botocore.session.Session, ca_cert: Path | None) -> str | None:
    # What AWS's own settings name comes first, as in its other tools, but for what was said to this one.
    return (None if ca_cert else session.get_config_variable("ca_bundle")) or roots_file(ca_cert)


def _assume(
    session: botocore.session.Session,
    role: str,
    region: str | None,
    environ: Mapping[str, str],
    ca_cert: Path | None,
) -> dict[str, str]:
    token = github_id_token(_AUDIENCE, environ, Network(ca_cert))
    client = session.create_client(
        "sts",
        region_name=region or session.get_config_variable("region") or _DEFAULT_REGION,
        verify=_verify(session, ca_cert),
        config=Config(
            signature_version=UNSIGNED,
            retries={"mode": "standard", "total_max_attempts": 4},
            connect_timeout=10,
            read_timeout=20,
        ),
    )
    try:
        answer = client.assume_role_with_web_identity(
            RoleArn=role, RoleSessionName=session_name(environ), WebIdentityToken=token
        )
    except ClientError as error:
        raise _refused(role, token, error) from None
    except BotoCoreError as error:
        raise DeployError(
            f"AWS's token service is out of reach: {type(error).__name__}", where=client.meta.endpoint_url
        ) from None
    given = answer["Credentials"]
    SECRETS.add(given["SecretAccessKey"], given["SessionToken"])
    return {
        "access_key": given["AccessKeyId"],
        "secret_key": given["SecretAccessKey"],
        "token": given["SessionToken"],
        "expiry_time": given["Expiration"].isoformat(),
    }


def _refused(role: str, token: str, error: ClientError) -> DeployError:
    said = error.response.get("Error", {})
    code, message = said.get("Code", ""), str(said.get("Message", "")).replace(token, "…")
    if code in ("ExpiredTokenException", "ExpiredToken"):
        return DeployError(
            f"AWS takes GitHub's identity token, just issued, for expired: {message}",
            where=f"--aws-role {role}",
            mend="A clock is wrong: on a GitHub server or an STS endpoint of your own, look at theirs.",
        )
    mend = (
        "Its trust policy has to allow these claims: token.actions.githubusercontent.com:aud and :sub of them"
        " (docs/backends.md has policies to copy)."
    )
    subject = str(claims(token).get("sub", ""))
    if re.match(r"repo:[^/:]+@\d+/", subject):
        older = re.sub(r"@\d+(?=[/:])", "", subject)
        mend += f" A policy written for the older form, {older}, does not match the one above."
    return DeployError(
        f"the role does not trust this job ({code}: {message})",
        where=f"--aws-role {role}",
        details=telling(token),
        mend=mend,
    )
