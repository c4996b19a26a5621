"""What docs/backends.md tells people to copy."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from flyte_deploy.settings import resolve

from .identity import Identity
from .test_aws import credentials
from .test_aws import job as job  # noqa: PLC0414 - a fixture

PAGE = (Path(__file__).parent.parent.parent / "docs/backends.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def trusts() -> list[dict[str, Any]]:
    return [json.loads(text) for text in blocks("json") if "AssumeRoleWithWebIdentity" in text]


def test_the_workflows_fit_their_schema_and_their_flags_are_ours(tmp_path: Path) -> None:
    workflows = [text for text in blocks("yaml") if "--bundle-store" in text]
    assert len(workflows) == 2
    (tmp_path / "src").mkdir()
    (tmp_path / "config.yaml").write_text("admin:\n  endpoint: e\ntask:\n  project: p\n  domain: d\n")
    for number, text in enumerate(workflows):
        path = tmp_path / f"{number}.yml"
        path.write_text(text)
        schema = ["-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(path)]
        subprocess.run([sys.executable, *schema], check=True, capture_output=True)
        job = yaml.safe_load(text)["jobs"]["deploy"]
        assert job["permissions"] == {"contents": "read", "id-token": "write"}
        words = shlex.split(job["steps"][-1]["run"])
        assert words[:4] == ["flyte-deploy", "deploy", "--recursive", "src"]
        names = [word.removeprefix("--").replace("-", "_") for word in words[4::2]]
        flags: dict[str, object] = dict(zip(names, words[5::2], strict=True))
        settings = resolve({**flags, "recursive": True, "arguments": ("src",)}, {}, tmp_path)
        assert settings.bundle_store.endswith("://my-bundles/production")


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
