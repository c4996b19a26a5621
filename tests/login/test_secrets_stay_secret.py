"""Every secret that is planted, looked for in everything that a failing and a passing run leave."""

from __future__ import annotations

import base64
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from tests.action.conftest import PYTHON
from tests.action.conftest import project_image as project_image  # noqa: PLC0414 - a fixture
from tests.cloud.identity import REQUEST_TOKEN, Identity
from tests.engine import Engine
from tests.harness.log import commands_of
from tests.harness.runner import Runner
from tests.login.conftest import FLOW, FLYTE_DEPLOY, Company, Open
from tests.login.fronts import Proxy, proxying
from tests.login.provider import CLIENT, SECRET, Provider

BUILD_TOKEN = "a-token-that-user-code-was-given"
PROXY_TOKEN = "a-token-of-the-proxy-command"
PROXY_PASSWORD = "pass word/of the proxy"
CHATTY = f"""
import os, sys
print("I was given", os.environ["BUILD_TOKEN"])
print("and say it here too", os.environ["BUILD_TOKEN"], file=sys.stderr)
{FLOW}
env.description = "made with " + os.environ["BUILD_TOKEN"]
"""
FAILING = 'import os\nraise RuntimeError("cannot with " + os.environ["BUILD_TOKEN"])\n'


def planted(company: Company, identity: Identity) -> set[str]:
    """All that nobody may see, in the forms that it could have."""
    plain = {SECRET, BUILD_TOKEN, PROXY_TOKEN, PROXY_PASSWORD, REQUEST_TOKEN, company.api_key}
    plain |= {*company.provider.issued, *identity.issued}
    logins = {f"{CLIENT}:{form}" for form in (SECRET, quote_plus(SECRET))} | {f"ali:{PROXY_PASSWORD}"}
    coded = {base64.b64encode(text.encode()).decode() for text in logins}
    return {form for text in plain for form in (text, quote(text, safe=""), quote_plus(text))} | coded


def look(text: str, secrets: set[str]) -> None:
    for secret in secrets:
        assert secret not in text
        # As it stands in JSON.
        assert json.dumps(secret)[1:-1] not in text


def proxy_command(company: Company) -> str:
    script = company.folder / "token.sh"
    script.write_text(f"#!/bin/sh\necho {PROXY_TOKEN}\n")
    script.chmod(0o755)
    return str(script)


@pytest.mark.parametrize("end", ["passes", "code fails", "login fails"])
@pytest.mark.parametrize("shape", ["text", "json"])
def test_the_command_line(open_company: Open, identity: Identity, end: str, shape: str) -> None:
    company = open_company(Provider(), proxy=lambda token: token == PROXY_TOKEN)
    (company.project / "flow.py").write_text(FAILING if end == "code fails" else CHATTY)
    if end == "login fails":
        company.provider.clients = {}
    company.environ = {**identity.environ(), "BUILD_TOKEN": BUILD_TOKEN}
    with proxying(Proxy(login=f"ali:{PROXY_PASSWORD}")) as proxy:
        done = company.run(
            *(FLYTE_DEPLOY, "deploy", "flow.py", "env", "-v", "--output-format", shape),
            *("--project", "flytesnacks", "--domain", "development", "--endpoint", company.endpoint),
            *("--ca-cert", str(company.authority.ca), "--client-id", CLIENT, "--client-secret-env", "OF_IT"),
            *("--proxy-command", proxy_command(company)),
            *("--http-proxy", f"http://ali:{quote(PROXY_PASSWORD, safe='')}@127.0.0.1:{proxy.port}"),
            OF_IT=SECRET,
        )
    assert (done.status == 0) is (end == "passes"), done.err
    if end == "passes":
        assert company.registered() == ["tiny.double"]
    if end != "code fails":
        assert "I was given ***" in done.err
    look(done.all, planted(company, identity))
    company_files(company, planted(company, identity))


def company_files(company: Company, secrets: set[str]) -> None:
    """Nothing of them lies in a file that outlives the run, but for what was planted there."""
    for folder in (company.project, company.folder / "home"):
        for path in (each for each in folder.rglob("*") if each.is_file()):
            look(path.read_bytes().decode("latin-1"), secrets)


@pytest.mark.parametrize("end", ["passes", "code fails", "login fails"])
def test_the_action(
    open_company: Open, identity: Identity, engine: Engine, project_image: str, runner_folder: Path, end: str
) -> None:
    company = open_company()
    (company.project / "flow.py").write_text(FAILING if end == "code fails" else CHATTY)
    shutil.copy(company.authority.ca, company.project / "ca.pem")
    if end == "login fails":
        company.provider.clients = {}
    # A runner that shares its network with the step: that is where the servers of the test listen.
    runner = Runner(
        engine,
        project_image,
        runner_folder,
        network="host",
        environment={**identity.environ(), "BUILD_TOKEN": BUILD_TOKEN},
    )
    runner.check_out(company.project)
    step = runner.run(
        {
            "path": "flow.py",
            "env": "env",
            "project": "flytesnacks",
            "domain": "development",
            "endpoint": company.endpoint,
            "ca-cert": "ca.pem",
            "api-key": company.api_key,
            "python": PYTHON,
            "pass-env": "BUILD_TOKEN",
        }
    )
    assert (step.status == 0) is (end == "passes"), step.log
    secrets = planted(company, identity)
    masked: list[str] = []
    for line in step.log.splitlines():
        found = [command.message for command in commands_of(line) if command.name == "add-mask"]
        masked += found
        if not found:
            look(line, secrets)
    look("\n".join([step.summary, *step.outputs.values(), *step.environment.values()]), secrets)
    files = (path for path in runner.paths["runner_temp"].rglob("*") if path.is_file())
    look("\n".join(path.read_bytes().decode("latin-1") for path in files), secrets)
    # Before its first use: by then the code has not been loaded, nor anybody been asked.
    first = step.log.index("::group::Loading the code")
    for secret in (BUILD_TOKEN, company.api_key, SECRET):
        assert secret in masked
        assert step.log.index(f"::add-mask::{secret.replace('%', '%25')}") < first
    if end == "passes":
        assert set(company.provider.issued) <= set(masked)
        assert company.registered() == ["tiny.double"]


@pytest.fixture
def runner_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="flyte-deploy-runner-"))
    yield folder
    shutil.rmtree(folder)
