"""The whole command against a control plane and a bucket."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cloud.identity import REQUEST_TOKEN, ROLE, Identity, serving
from tests.conftest import Write
from tests.deploy.conftest import Cli
from tests.deploy.conftest import cli as cli  # noqa: PLC0414 - fixtures
from tests.deploy.conftest import server as server  # noqa: PLC0414

from .servers import ACCESS, REGION, SECRET, GsServer, S3Server

FLOW = """
    import flyte
    env = flyte.TaskEnvironment(name="env", image="registry.example/team/project:1")
    @env.task
    async def hello(name: str = "{name}") -> str:
        return name
"""


def keys(s3: S3Server) -> list[str]:
    found = s3.client().list_objects_v2(Bucket="bundles").get("Contents", [])
    # Records lie beside the bundles.
    return [each["Key"] for each in found if each["Key"].endswith(".tar.gz")]


def bundle_argument(cli: Cli) -> str:
    (request,) = cli.requests().values()
    arguments = list(request.spec.task_template.container.args)
    return arguments[arguments.index("--tgz") + 1]


@pytest.fixture
def project(write: Write) -> Path:
    return write({"flow.py": FLOW.format(name="world")})


def where(s3: S3Server) -> tuple[str, ...]:
    return ("--bundle-store", "s3://bundles/team", "--s3-endpoint", s3.endpoint, "--s3-region", REGION)


def test_to_s3_and_again(cli: Cli, s3: S3Server, project: Path) -> None:
    assert cli.plan(project, "flow.py", "env", *where(s3))["bundle"]["upload"]
    assert keys(s3) == []
    first = cli.deploy(project, "flow.py", "env", *where(s3))
    (key,) = keys(s3)
    assert bundle_argument(cli) == f"s3://bundles/{key}" == first["bundle_uri"]
    written = s3.client().head_object(Bucket="bundles", Key=key)["LastModified"]
    again = cli.deploy(project, "flow.py", "env", *where(s3), "--version", "another")
    assert not again["bundle"]["upload"]
    assert s3.client().head_object(Bucket="bundles", Key=key)["LastModified"] == written
    # Broken: said in the plan, replaced by the deploy.
    s3.client().put_object(Bucket="bundles", Key=key, Body=b"broken")
    result = cli.to_server("plan", project, "flow.py", "env", *where(s3), "--version", "third")
    assert "broken" in result.err
    assert "broken" in str(result.json["warnings"])
    assert cli.deploy(project, "flow.py", "env", *where(s3), "--version", "third")["bundle"]["upload"]
    assert s3.client().head_object(Bucket="bundles", Key=key)["ContentLength"] > 100


def test_to_google(cli: Cli, gs: GsServer, project: Path) -> None:
    store = ("--bundle-store", "gs://bundles/team")
    first = cli.deploy(project, "flow.py", "env", *store)
    (blob,) = [one for one in gs.client().list_blobs("bundles") if one.name.endswith(".tar.gz")]
    assert bundle_argument(cli) == f"gs://bundles/{blob.name}" == first["bundle_uri"]
    again = cli.deploy(project, "flow.py", "env", *store, "--version", "another")
    assert not again["bundle"]["upload"]
    (same,) = [one for one in gs.client().list_blobs("bundles") if one.name.endswith(".tar.gz")]
    assert same.generation == blob.generation


def test_with_a_role_that_trusts_github(
    cli: Cli, s3: S3Server, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with serving() as identity:
        identity.keys = (ACCESS, SECRET)
        environ = {**identity.environ(), "AWS_ENDPOINT_URL_STS": f"{identity.address}/sts"}
        arguments = ("flow.py", "env", *where(s3), "--aws-role", ROLE)
        cli.deploy(project, *arguments, **environ)
        assert len(keys(s3)) == 1
        assert [path for _, path, _ in identity.requests] == ["/github/token", "/sts"]
        identity.claims["sub"] = "repo:octo-org@65/octo-repo@74:pull_request"
        (project / "flow.py").write_text((project / "flow.py").read_text().replace("world", "there"))
        check_nothing_is_told(cli, s3, project, identity, arguments, environ)


def check_nothing_is_told(
    cli: Cli,
    s3: S3Server,
    project: Path,
    identity: Identity,
    arguments: tuple[str, ...],
    environ: dict[str, str],
) -> None:
    """A failing run, as talkative as it can be, says why and holds no secret."""
    before = len(cli.writes())
    result = cli.to_server("deploy", project, *arguments, "--verbose", **environ)
    assert result.status == 1
    assert "does not trust this job" in result.err
    assert "sub: repo:octo-org@65/octo-repo@74:pull_request" in result.err
    for secret in (*identity.issued, REQUEST_TOKEN, SECRET):
        assert secret not in result.err + result.out
    assert len(cli.writes()) == before
    assert len(keys(s3)) == 1


@pytest.mark.parametrize(
    ("arguments", "said", "status"),
    [
        (("--bundle-store", "s3://"), "names no bucket", 2),
        (("--bundle-store", "s3://bundles", "--s3-endpoint", "minio:9000"), "is no server of S3", 2),
        (("--bundle-store", "s3://bundles", "--aws-role", "deployer"), "is no role", 2),
        (("--gcp-service-account", "a@b.example"), "no workload identity provider", 2),
        (("--gcp-workload-identity", "github"), "is no workload identity provider", 2),
        (("--bundle-store", "s3://nowhere"), "no such bucket", 1),
    ],
)
def test_bad_input_is_found_before_anything_is_written(
    cli: Cli, s3: S3Server, project: Path, arguments: tuple[str, ...], said: str, status: int
) -> None:
    server = () if "--s3-endpoint" in arguments else ("--s3-endpoint", s3.endpoint, "--s3-region", REGION)
    result = cli.to_server("deploy", project, "flow.py", "env", *server, *arguments)
    assert said in result.err
    assert result.status == status
    assert "Traceback" not in result.err
    assert cli.writes() == []
