"""Registries and base images through the command line, against an embedded control plane."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from flyte_deploy.embedded import running
from flyte_deploy.images.auth import Credentials
from flyte_deploy.images.registry import Registries
from tests.conftest import Write
from tests.deploy.conftest import Cli
from tests.engine import Engine
from tests.registries.conftest import Open
from tests.registries.servers import PASSWORD, USER, Authority, htpasswd

FLOW = """
    import flyte

    image = flyte.Image.from_dockerfile("image/Dockerfile", registry="{registry}", name="mine")
    env = flyte.TaskEnvironment(name="one", image=image)

    @env.task
    async def hello() -> str:
        return "hello"
"""


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with running(data=tmp_path / "server") as server:
        (tmp_path / "home").mkdir()
        yield Cli(server, tmp_path / "home")


def project(write: Write, registry: str, base: str = "scratch") -> Path:
    return write(
        {"flow.py": FLOW.format(registry=registry), "image/Dockerfile": f"FROM {base}\nCOPY Dockerfile /\n"}
    )


def test_a_registry_with_an_authority_of_its_own_and_a_password(
    cli: Cli, write: Write, open_registry: Open, authority: Authority, tmp_path: Path
) -> None:
    address = open_registry(auth=htpasswd(tmp_path), tls=authority)
    root = project(write, f"{address}/team")
    refused = cli.to_server("plan", root, "flow.py", "env")
    assert refused.status == 1
    assert "--ca-cert" in refused.err
    refused = cli.to_server("plan", root, "flow.py", "env", "--ca-cert", str(authority.ca))
    assert refused.status == 1
    assert f"--registry-auth {address}=USER:VARIABLE" in refused.err
    login = ("--registry-auth", f"{address}={USER}:THE_PASSWORD")
    plan = cli.plan(root, "flow.py", "env", "--ca-cert", str(authority.ca), *login, THE_PASSWORD=PASSWORD)
    (image,) = plan["images"]
    assert image["reference"].startswith(f"{address}/team/mine:")
    assert not image.get("digest")
    without = cli.to_server("plan", root, "flow.py", "env", *login)
    assert without.status == 2
    assert "THE_PASSWORD is not set" in without.err


def test_a_base_tag_that_moves_means_a_new_image_where_bases_are_pinned(
    cli: Cli, write: Write, engine: Engine, tmp_path: Path
) -> None:
    repository = f"{engine.registry}/{uuid4().hex}"
    base = f"{repository}/base:1"

    def move(content: str) -> str:
        folder = tmp_path / "base"
        folder.mkdir(exist_ok=True)
        (folder / "Dockerfile").write_text("FROM scratch\nCOPY file /\n")
        (folder / "file").write_text(content)
        engine.docker("buildx", "build", "--provenance=false", "--push", "--tag", base, str(folder))
        return str(Registries(Credentials([])).digests([base])[base])

    def deploy(*more: str) -> tuple[str, str]:
        found = cli.deploy(root, "flow.py", "env", *more, **engine.variables)
        return found["version"], found["images"][0]["reference"] if found["images"] else ""

    def layers(reference: str) -> list[str]:
        engine.docker("pull", "--quiet", reference)
        shown = engine.docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", reference)
        engine.docker("image", "rm", reference)
        return list(json.loads(shown))

    first = move("first")
    root = project(write, repository, base)
    unpinned = deploy()
    pinned = deploy("--pin-base-images")
    assert pinned[0] != unpinned[0]
    assert deploy("--pin-base-images")[0] == pinned[0]
    second = move("second")
    assert first != second
    moved = deploy("--pin-base-images")
    assert moved[0] not in {pinned[0], unpinned[0]}
    # Each is built on the base that its pin names, though the tag stands for one of them alone.
    assert layers(pinned[1])[0] == layers(f"{repository}/base@{first}")[0]
    assert layers(moved[1])[0] == layers(f"{repository}/base@{second}")[0]
    assert layers(pinned[1])[0] != layers(moved[1])[0]


def test_a_password_that_is_in_the_environment_is_enough_to_build_and_push(
    cli: Cli, write: Write, open_registry: Open, engine: Engine, ali: Credentials, tmp_path: Path
) -> None:
    address = open_registry(auth=htpasswd(tmp_path / "auth"))
    root = project(write, f"{address}/team")
    engine.client_config(tmp_path / "docker")
    environment = {**engine.variables, "DOCKER_CONFIG": str(tmp_path / "docker"), "THE_PASSWORD": PASSWORD}
    login = ("--registry-auth", f"{address}={USER}:THE_PASSWORD")
    result = cli.to_server("deploy", root, "flow.py", "env", *login, **environment)
    assert result.status == 0, result.err
    (image,) = result.json["images"]
    assert Registries(ali).digests([image["reference"]]) == {image["reference"]: image["digest"]}
    assert PASSWORD not in result.out + result.err
    encoded = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    for path in (tmp_path / "docker").rglob("*"):
        text = path.read_text(errors="replace") if path.is_file() else ""
        assert PASSWORD not in text
        assert encoded not in text
