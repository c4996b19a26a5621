"""In a GitHub job with secrets, a configuration file that comes with the code is not followed by itself."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from flyte_deploy.embedded import running
from tests.login.conftest import Company
from tests.login.provider import CLIENT, SECRET
from tests.login.test_logins import printing
from tests.login.test_refusals import refused

GITHUB = {"GITHUB_ACTIONS": "true"}


def test_a_file_of_the_checkout_sends_no_secret_anywhere(company: Company) -> None:
    company.config(f"clientId: {CLIENT}\nclientSecretEnvVar: FLYTE_SECRET")
    company.environ = {**GITHUB, "FLYTE_SECRET": SECRET}
    done = company.deploy(endpoint=False)
    error = refused(company, done, "config.yaml:2 (admin.endpoint) is not followed", status=2)
    assert error["where"] == "config.yaml:2 (admin.endpoint)"
    assert error["details"] == [
        "not followed either: config.yaml:3 (admin.caCertFilePath)",
        "not followed either: config.yaml:5 (admin.clientSecretEnvVar)",
    ]
    for flag in ("--endpoint", "--ca-cert", "--client-secret-env", "--config config.yaml"):
        assert flag in error["mend"]
    assert company.server.calls() == []
    assert company.provider.requests == []


@pytest.mark.parametrize("way", ["--config", "FLYTE_DEPLOY_CONFIG", "UCTL_CONFIG"])
def test_a_file_that_is_named_is_trusted(company: Company, way: str) -> None:
    company.config(f"clientId: {CLIENT}\nclientSecretEnvVar: FLYTE_SECRET")
    company.environ = {**GITHUB, "FLYTE_SECRET": SECRET}
    if way == "UCTL_CONFIG":
        (company.project / "config.yaml").rename(company.project / "flyte.yaml")
        company.environ[way] = "flyte.yaml"
    elif way == "FLYTE_DEPLOY_CONFIG":
        company.environ[way] = "config.yaml"
    arguments = ("--config", "config.yaml") if way == "--config" else ()
    done = company.deploy(*arguments, endpoint=False)
    assert done.status == 0, done.err


def test_what_somebody_else_says_too_is_followed(company: Company) -> None:
    company.config(f"clientId: {CLIENT}")
    company.environ = {**GITHUB, "FLYTE_SECRET": SECRET, "FLYTE_ADMIN_CLIENTSECRETENVVAR": "FLYTE_SECRET"}
    done = company.deploy()
    assert done.status == 0, done.err


def test_on_a_developer_s_machine_it_is_trusted(company: Company) -> None:
    company.config(f"clientId: {CLIENT}\nclientSecretEnvVar: FLYTE_SECRET")
    done = company.deploy(endpoint=False, FLYTE_SECRET=SECRET)
    assert done.status == 0, done.err


def test_a_job_without_secrets_follows_it(company: Company, tmp_path: Path) -> None:
    with running(tmp_path / "plain") as plain:
        (company.project / "config.yaml").write_text(
            f"admin:\n  endpoint: {plain.endpoint}\n  insecure: true\n"
        )
        company.environ = {**GITHUB, "ACTIONS_RUNTIME_TOKEN": "of-every-container-action"}
        done = company.deploy(endpoint=False)
        assert done.status == 0, done.err


@pytest.mark.parametrize("key", ["command", "proxyCommand"])
def test_no_command_of_the_checkout_is_run(company: Company, key: str) -> None:
    ran = company.folder / "ran"
    command = printing(company.folder, "a-token")
    (company.folder / "print.py").write_text(f"open({str(ran)!r}, 'w')\nprint('a-token')\n")
    company.config(f"authType: ExternalCommand\n{key}: {json.dumps(command)}\n")
    company.environ = {**GITHUB, "ACTIONS_RUNTIME_TOKEN": "of-every-container-action"}
    ours = ("--auth-command", json.dumps(command)) if key == "proxyCommand" else ()
    done = company.deploy("--auth-type", "ExternalCommand", *ours)
    refused(company, done, f"(admin.{key}) is not followed", status=2)
    assert not ran.exists()


@pytest.mark.parametrize(
    "line", ["insecure: true", "insecureSkipVerify: true", "httpProxyURL: http://evil:1"]
)
def test_no_switch_of_tls_and_no_proxy_of_the_checkout_is_followed(company: Company, line: str) -> None:
    (company.project / "config.yaml").write_text(f"admin:\n  {line}\n")
    company.environ = {**GITHUB, "GITHUB_TOKEN": "of-the-job"}
    done = company.deploy("--api-key", company.api_key)
    refused(company, done, f"config.yaml:2 (admin.{line.partition(':')[0]}) is not followed", status=2)
    assert company.server.calls() == []


def test_switches_that_switch_nothing_are_nobody_s_business(company: Company) -> None:
    (company.project / "config.yaml").write_text("admin:\n  insecure: false\n  insecureSkipVerify: false\n")
    company.environ = {**GITHUB, "FLYTE_API_KEY": company.api_key}
    assert company.deploy().status == 0


@pytest.mark.parametrize("place", ["top", "link"])
def test_the_checkout_is_what_git_and_github_say(company: Company, place: str) -> None:
    """From a folder further down the file in the top is found; a link leads out of it and is in it."""
    subprocess.run(["git", "init", "-q", company.folder], check=True)
    (company.folder / ".flyte").mkdir()
    text = f"admin:\n  endpoint: {company.endpoint}\n"
    if place == "top":
        (company.folder / ".flyte" / "config.yaml").write_text(text)
    else:
        outside = company.folder.parent / f"{company.folder.name}-outside.yaml"
        outside.write_text(text)
        (company.project / "config.yaml").symlink_to(outside)
    company.environ = {**GITHUB, "GITHUB_TOKEN": "of-the-job", "GITHUB_WORKSPACE": str(company.folder)}
    done = company.deploy("--ca-cert", str(company.authority.ca), endpoint=False)
    refused(company, done, "(admin.endpoint) is not followed", status=2)


def test_a_file_of_the_home_folder_is_the_runner_s(company: Company) -> None:
    (company.folder / "home" / ".flyte").mkdir()
    (company.folder / "home" / ".flyte" / "config.yaml").write_text(
        f"admin:\n  endpoint: {company.endpoint}\n  caCertFilePath: {company.authority.ca}\n"
    )
    company.environ = {**GITHUB, "FLYTE_SECRET": SECRET}
    done = company.deploy("--client-id", CLIENT, "--client-secret-env", "FLYTE_SECRET", endpoint=False)
    assert done.status == 0, done.err
