"""Builds that cannot be: each says one thing, and nothing is uploaded or registered."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from flyte_deploy.errors import DeployError
from flyte_deploy.images.auth import Credentials
from flyte_deploy.images.buildx import Choices
from flyte_deploy.images.local import LocalBuilder, RegistryFinder
from flyte_deploy.images.registry import Registries
from tests.conftest import Write
from tests.images.builds import Builds
from tests.images.test_builders import daemon, flow, free_port, wanted
from tests.registries import servers
from tests.registries.servers import PASSWORD, USER

NOTHING = {"PUT", "DeployTask"}


def methods(builds: Builds) -> set[str]:
    return {call.method for call in builds.server.calls()}


def page(_: servers.Seen) -> servers.Reply:
    """What a web server answers that is no registry."""
    return 200, {"Content-Type": "text/html"}, b"<html><body>Welcome</body></html>"


def test_registries_that_are_none(write: Write, builds: Builds) -> None:
    root = write(flow("echo 1 > /one"))
    engine = dict(builds.engine.variables)
    with servers.server(page) as (web, _):
        for registry in (f"127.0.0.1:{free_port()}", web):
            command = ("flow.py", "env", "--registry", f"{registry}/team")
            failed = builds.cli.to_server("deploy", root, *command, **engine)
            assert failed.status == 1
            error = failed.json["error"]
            assert registry in " ".join([error["what"], *error["details"]])
            assert "Traceback" not in failed.err
    assert NOTHING.isdisjoint(methods(builds))


def test_a_push_that_is_denied(write: Write, builds: Builds, tmp_path: Path) -> None:
    """Whoever logs in may look, and nobody may push."""
    made = servers.Tokens(servers.Authority.make(tmp_path / "authority"), rights=lambda *_: {"pull"})
    with servers.server(made.answer) as (tokens, _):
        auth = made.auth(tokens)
        with servers.registry(builds.engine.registry_program, tmp_path / "registry", auth=auth) as address:
            root = write(flow("echo 1 > /one"))
            builds.engine.client_config(tmp_path / "docker")
            environment = {
                **builds.engine.variables,
                "DOCKER_CONFIG": str(tmp_path / "docker"),
                "THE_PASSWORD": PASSWORD,
            }
            login = ("--registry-auth", f"{address}={USER}:THE_PASSWORD")
            failed = builds.cli.to_server(
                "deploy", root, "flow.py", "env", "--registry", f"{address}/team", *login, **environment
            )
    assert failed.status == 1
    error = failed.json["error"]
    assert f"{address}/team/pooled" in error["what"]
    assert "authorization failed" in "\n".join([error["what"], *error["details"]])
    assert PASSWORD not in failed.out + failed.err
    assert "DeployTask" not in methods(builds)


def test_a_daemon_that_takes_calls_and_never_answers(write: Write, builds: Builds) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        failed = builds.run(write(flow("echo 1 > /one")), "flow.py", "env", "--buildkit", address)
    assert failed.status == 1
    error = failed.json["error"]
    assert error["what"] == "no BuildKit daemon answers"
    assert any(address in line for line in error["details"])
    assert NOTHING.isdisjoint(methods(builds))


def test_a_disk_that_is_full(write: Write, builds: Builds, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", str(small)], check=True)
    try:
        with daemon(builds.engine, small) as (address, _):
            root = write(flow("head -c 900000000 /dev/zero > /large"))
            failed = builds.run(root, "flow.py", "env", "--buildkit", address)
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)
    assert failed.status == 1
    error = failed.json["error"]
    assert "no space left on device" in "\n".join([error["what"], *error["details"]]).lower()
    assert "DeployTask" not in methods(builds)


def test_wheels_that_are_not_there(write: Write, builds: Builds) -> None:
    root = write(
        {
            "wheels/readme.txt": "none here",
            "flow.py": """
                import flyte
                from pathlib import Path
                from flyte._image import PythonWheels

                image = flyte.Image.from_debian_base(name="w").clone(
                    addl_layer=PythonWheels(wheel_dir=Path("wheels"), package_name="ours")
                )
                env = flyte.TaskEnvironment(name="env", image=image)

                @env.task
                async def one() -> None: ...
                """,
        }
    )
    failed = builds.run(root, "flow.py", "env")
    assert failed.status != 0
    error = failed.json["error"]
    assert "wheels" in error["what"]
    assert "flow.py" in (error["where"] or "")
    assert NOTHING.isdisjoint(methods(builds))


def test_a_docker_that_cannot_be_used(write: Write, builds: Builds, tmp_path: Path) -> None:
    (tmp_path / "docker").mkdir()
    failed = builds.run(write(flow("echo 1")), "flow.py", "env", DOCKER_CONFIG=str(tmp_path / "docker"))
    assert "docker has no buildx plugin" in failed.json["error"]["what"]
    # Root may use every socket, but for this capability.
    with socket.socket(socket.AF_UNIX) as closed:
        path = tmp_path / "docker.sock"
        closed.bind(str(path))
        path.chmod(0)
        environ = {**builds.engine.environ(), "DOCKER_HOST": f"unix://{path}", "HOME": "/"}
        registries = Registries(Credentials([]))
        builder = LocalBuilder(
            Choices(),
            1,
            registries,
            RegistryFinder(registries),
            environ,
            docker=("setpriv", "--bounding-set=-dac_override", "docker"),
        )
        with pytest.raises(DeployError, match="permission denied") as refused:
            builder.check([wanted("r.example/one")])
    assert "socket may not be used" in refused.value.what
    assert NOTHING.isdisjoint(methods(builds))
