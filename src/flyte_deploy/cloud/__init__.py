"""Credentials of clouds: each SDK's own chain, and GitHub's OIDC in the place of stored keys.

Nothing here keeps a credential longer than the run, or writes one anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flyte_deploy.settings import Settings


@dataclass(frozen=True)
class CloudSettings:
    """How clouds are reached and logged in to. Empty means: as the cloud's SDK finds it.

    `s3_addressing` is ``auto``, ``path`` or ``virtual``. `aws_role` is an ARN, `gcp_workload_identity` the
    full name of a provider, ``projects/N/locations/global/workloadIdentityPools/POOL/providers/NAME``.
    `ca_cert` is a PEM file of authorities to trust beside the machine's own.
    """

    s3_endpoint: str = ""
    s3_region: str = ""
    s3_addressing: str = "auto"
    aws_role: str = ""
    gcp_workload_identity: str = ""
    gcp_service_account: str = ""
    ca_cert: Path | None = None

    @classmethod
    def of(cls, settings: Settings) -> CloudSettings:
        """Those of a run."""
        return cls(**{name: getattr(settings, name) for name in cls.__dataclass_fields__})


def who(environ: Mapping[str, str]) -> str:
    """Who is at work, for an audit log: ``owner/repository run 1234 attempt 1``; empty outside of a job."""
    repository, run = environ.get("GITHUB_REPOSITORY", ""), environ.get("GITHUB_RUN_ID", "")
    if not repository or not run:
        return ""
    return f"{repository} run {run} attempt {environ.get('GITHUB_RUN_ATTEMPT') or '1'}"
