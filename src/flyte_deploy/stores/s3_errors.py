"""What S3 and its SDK answer, in words that end the search."""

from __future__ import annotations

import datetime as dt
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
)

from flyte_deploy.cloud.aws import S3
from flyte_deploy.errors import DeployError
from flyte_deploy.http import shown

_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"}
_WRONG = {
    "InvalidAccessKeyId": "the access key is not known there",
    "SignatureDoesNotMatch": "the secret access key does not belong to the access key",
    "InvalidToken": "the session token is wrong",
    "InvalidClientTokenId": "the access key is not known there",
}
_FULL = {"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage"}
_REGION = {"AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException"}


def code_of(error: ClientError) -> str:
    """The code of an error: ``NoSuchKey``; of an answer without a body its status: ``404``."""
    return str(error.response.get("Error", {}).get("Code", ""))


def status_of(error: ClientError) -> int:
    """The status of the answer."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def explained(error: Exception, s3: S3, where: str, doing: str) -> DeployError:
    """The error for what went wrong with S3.

    Args:
        error: of botocore.
        s3: whose error it is.
        where: the address of bucket or object.
        doing: ``read`` or ``write``.
    """
    if isinstance(error, ClientError):
        return _answered(error, s3, where, doing)
    if isinstance(error, (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError)):
        what = "there are no credentials for S3"
        if not isinstance(error, NoCredentialsError):
            what = f"the credentials for S3 cannot be used: {error}"
        return DeployError(
            what,
            where=where,
            details=("looked for in this order:", *(f"  {source}" for source in s3.sources)),
            mend="In GitHub name a role that trusts the repository with --aws-role, or run"
            " aws-actions/configure-aws-credentials before.",
        )
    return _not_answered(error, s3, where)


def _not_answered(error: Exception, s3: S3, where: str) -> DeployError:
    endpoint = s3.client.meta.endpoint_url
    mend = "Look at --s3-endpoint, HTTPS_PROXY and NO_PROXY."
    if isinstance(error, SSLError):
        what = f"no trusted connection to {endpoint}: {shown(str(error.kwargs.get('error', error)))}"
        mend = "Where TLS goes through an authority of your own, name its certificates in SSL_CERT_FILE."
    elif isinstance(error, ProxyConnectionError):
        what = f"the proxy on the way to {endpoint} refuses"
        mend = "Look at HTTPS_PROXY and NO_PROXY."
    elif isinstance(error, (EndpointConnectionError, ConnectTimeoutError)):
        what = f"{endpoint} is out of reach"
    elif isinstance(error, ReadTimeoutError):
        what = f"{endpoint} does not answer in time"
        mend = "Run the command again; nothing is registered yet."
    elif isinstance(error, RuntimeError) and "still expired" in str(error):
        what = "credentials that were just issued have expired already by this machine's clock"
        mend = "Set the clock of this machine."
    elif isinstance(error, BotoCoreError) and "Unable to parse response" in str(error):
        what = f"{endpoint} does not answer as S3 does: {shown(str(error))}"
    else:
        what = f"the connection to {endpoint} failed ({type(error).__name__}): {shown(str(error))}"
        mend = "Run the command again; nothing is registered yet."
    return DeployError(what, where=where, mend=mend)


def _answered(error: ClientError, s3: S3, where: str, doing: str) -> DeployError:
    code, status = code_of(error), status_of(error)
    message = shown(str(error.response.get("Error", {}).get("Message", "")))
    said = f"S3 answered {code or status}" + (f": {message}" if message and message != code else "")
    source = s3.source
    if code == "NoSuchBucket":
        return DeployError(
            "there is no such bucket", where=where, mend="Make it, or name another with --bundle-store."
        )
    if code in _EXPIRED:
        return DeployError(
            f"the credentials for S3 have expired; they came from {source}",
            where=where,
            mend="Log in again. In GitHub --aws-role renews them by itself.",
        )
    if code in _WRONG:
        return DeployError(
            f"the credentials for S3 are wrong, {_WRONG[code]}; they came from {source}",
            where=where,
            mend="Give the right ones, or in GitHub a role with --aws-role, which needs none.",
        )
    if code in ("RequestTimeTooSkewed", "RequestInTheFuture"):
        return DeployError(
            f"the clock of this machine is wrong: {_skew(error)}",
            where=where,
            mend="Set it, for signatures hold the time.",
        )
    if code in _REGION or status == 301:
        region = _region(error)
        return DeployError(
            f"the bucket is in another region{f', {region}' if region else ''}"
            f" than {s3.client.meta.region_name}",
            where=where,
            mend=f"Give --s3-region {region or 'REGION'}, or its own --s3-endpoint.",
        )
    if code in _FULL or status == 507:
        return DeployError(
            f"the bucket is full ({said})",
            where=where,
            mend="Make room, raise its quota, or name another with --bundle-store.",
        )
    if status in (401, 403):
        needed = "s3:GetObject and s3:ListBucket" if doing == "read" else "s3:PutObject"
        return DeployError(
            f"no permission to {doing} it ({said}); the credentials came from {source or 'nowhere'}",
            where=where,
            mend=f"They need {needed} there, and kms:GenerateDataKey and kms:Decrypt where the bucket has a"
            " key of its own (docs/backends.md has policies to copy).",
        )
    again = "Run the command again; nothing is registered yet." if status >= 500 else None
    return DeployError(said, where=where, mend=again)


def _region(error: ClientError) -> str:
    headers: dict[str, Any] = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return str(headers.get("x-amz-bucket-region") or error.response.get("Error", {}).get("Region") or "")


def _skew(error: ClientError) -> str:
    date = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        seconds = (dt.datetime.now(dt.timezone.utc) - parsedate_to_datetime(date)).total_seconds()
    except (TypeError, ValueError):
        return "it differs from S3's"
    return f"it is {abs(seconds):.0f} seconds {'ahead of' if seconds > 0 else 'behind'} S3's"
