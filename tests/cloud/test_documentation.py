"""What docs/backends.md tells people to copy."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from flyte_deploy.action.inputs import read
from tests.documentation import blocks as documented
from tests.documentation import environment_of

from .identity import Identity
from .test_aws import credentials
from .test_aws import job as job  # noqa: PLC0414 - a fixture

PAGE = (Path(__file__).parent.parent.parent / "docs/backends.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def trusts() -> list[dict[str, Any]]:
    return [json.loads(text) for text in blocks("json") if "AssumeRoleWithWebIdentity" in text]


def test_the_workflows_log_in_to_their_stores(tmp_path: Path) -> None:
    workflows = [one for one in documented() if one.is_workflow and "bundle-store" in one.text]
    assert len(workflows) == 2
    for workflow in workflows:
        job = workflow.parsed["jobs"]["deploy"]
        assert job["permissions"] == {"contents": "read", "id-token": "write"}
        (step,) = workflow.ours()
        settings = read(environment_of(step, tmp_path)).settings
        assert settings.bundle_store.endswith("://my-bundles/production")
        assert settings.aws_role or settings.gcp_service_account


@pytest.mark.parametrize(
    ("what", "which"), [("environment:production", 0), ("pull_request", 1), ("ref:refs/heads/main", None)]
)
@pytest.mark.parametrize("subject", ["repo:octo-org/octo-repo", "repo:octo-org@65/octo-repo@74"])
def test_the_trust_policies_tell_pull_requests_from_production(
    job: Identity, subject: str, what: str, which: int | None
) -> None:
    job.claims["sub"] = f"{subject}:{what}"
    for number, policy in enumerate(trusts()):
        (statement,) = policy["Statement"]
        wanted = statement["Condition"]["StringEquals"]
        assert wanted["token.actions.githubusercontent.com:aud"] == "sts.amazonaws.com"
        job.trusted = "|".join(map(re.escape, wanted["token.actions.githubusercontent.com:sub"]))
        if number == which:
            assert credentials().token in job.issued
        else:
            with pytest.raises(Exception, match="does not trust this job"):
                credentials()
        from flyte_deploy.cloud.aws import s3

        s3.cache_clear()
