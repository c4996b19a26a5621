"""Images that the backend builds: by our deployer and by the unmodified SDK, on the same control plane."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from flyte_deploy.embedded import running
from flyte_deploy.embedded.worker import ImageWorker
from tests.conftest import Write
from tests.deploy.conftest import Cli
from tests.engine import Engine
from tests.images.builds import Builds

FLOW = """
import flyte
from helper import ADD

image = (
    flyte.Image.from_debian_base(name="first")
    .with_pip_packages("{package}")
    .with_source_folder("data", "/data")
    .with_env_vars({{"GREETING": "good day"}})
)
first = flyte.TaskEnvironment(name="first", image=image)
second = flyte.TaskEnvironment(
    name="second",
    image=flyte.Image.from_debian_base(name="second").with_commands(["echo 40 > /home/number"]),
    depends_on=[first],
)

@first.task
async def one(x: int) -> int:
    import os
    import idna
    assert os.environ["GREETING"] == "good day"
    return x + ADD + len(os.listdir("/data"))

@second.task
async def two(x: int) -> int:
    with open("/home/number") as stream:
        return x + int(stream.read())
"""
FILES = {
    "flow.py": FLOW.format(package="idna==3.10"),
    "helper.py": "ADD = 1\n",
    "data/a.txt": "a",
}
REMOTE = ("--image-builder", "remote")


@pytest.fixture
def remote(engine: Engine, tmp_path: Path) -> Iterator[Builds]:
    """A control plane that builds images, into a registry that clients are not told of."""
    home = tmp_path / "home"
    home.mkdir()
    registry = f"{engine.registry}/{uuid4().hex[:12]}"
    with running(worker=ImageWorker(registry, engine.environ())) as server:
        yield Builds(Cli(server, home), engine, server, registry)


def deploy(remote: Builds, root: Path, *arguments: str, **environment: str) -> Any:
    # No engine is needed by who deploys.
    environment = {"DOCKER_HOST": "unix:///nowhere", **environment}
    done = remote.cli.to_server("deploy", root, *arguments, *REMOTE, **environment)
    assert done.status == 0, done.err
    return done.json


def methods(remote: Builds, after: int = 0) -> list[str]:
    return [call.method for call in remote.server.calls()][after:]


def test_images_are_built_by_runs_and_found_again(write: Write, remote: Builds, tmp_path: Path) -> None:
    root = write(FILES)
    done = deploy(remote, root, "--all", "flow.py")
    assert all(image["seconds"] > 0 for image in done["images"])
    for name in ("first.one", "second.two"):
        spec = remote.request(name).spec.task_template
        assert spec.container.image.startswith(f"{remote.repository}/")
        assert "@sha256:" in spec.container.image
        assert spec.metadata.image_build_run.name.startswith("b")
    one = remote.task("first.one", tmp_path / "one", x=5)
    assert one.literals[0].value.scalar.primitive.integer == 7
    two = remote.task("second.two", tmp_path / "two", x=2)
    assert two.literals[0].value.scalar.primitive.integer == 42

    before = len(methods(remote))
    again = deploy(remote, root, "--all", "flow.py")
    assert (again["changes"], again["images"]) == (False, [])
    calls = methods(remote, before)
    assert calls.count("GetImage") == 2
    assert {"CreateRun", "PUT", "ListTasks", "CreateUploadLocation"} & set(calls) == {"ListTasks"}

    before = len(methods(remote))
    (root / "helper.py").write_text("ADD = 2\n")
    code = deploy(remote, root, "--all", "flow.py")
    assert [image["seconds"] for image in code["images"]] == [None, None]
    assert "CreateRun" not in methods(remote, before)
    assert remote.request("first.one").spec.task_template.metadata.image_build_run.name.startswith("b")

    (root / "flow.py").write_text(FLOW.format(package="idna==3.9"))
    changed = deploy(remote, root, "--all", "flow.py")
    assert [image["seconds"] is not None for image in changed["images"]] == [True, False]


def deploy_by_the_sdk(remote: Builds, root: Path, *more: str) -> None:
    """The unmodified command line, with ``image.builder: remote``."""
    (root / "config.yaml").write_text(
        f"admin:\n  endpoint: dns:///{remote.server.endpoint}\n  insecure: true\nimage:\n  builder: remote\n"
        "task:\n  project: flytesnacks\n  domain: development\n  org: '127'\n"
    )
    flyte = Path(sys.executable).with_name("flyte")
    command = [str(flyte), "--config", "config.yaml", "deploy", *more, "--all", "flow.py"]
    environment = {
        **os.environ,
        "HOME": str(remote.cli.home),
        "DO_NOT_TRACK": "1",
        "DOCKER_HOST": "unix:///nowhere",
    }
    ran = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


LAYERS = {
    "pip": '.with_pip_packages("six==1.17.0", "iniconfig>=2,<3", extra_args="--no-deps")',
    "requirements": '.with_requirements("requirements.txt").with_env_vars({"A": "b", "PATH": "/more:$PATH"})',
    "wheels": '.clone(addl_layer=flyte._image.PythonWheels(wheel_dir=Path("wheels"), package_name="app"))',
    "copied": '.with_source_folder(Path("src"), "/data").with_source_file(Path("notes.txt"), "/srv/n.txt")'
    '.with_workdir("/srv")',
    "commands": '.with_commands(["echo made > /made"]).with_apt_packages("tree")'
    '.with_dockerignore("ignored")',
    "uv": '.with_uv_project("uv/pyproject.toml")',
    "uvproject": '.with_uv_project("uv/pyproject.toml", project_install_mode="install_project")',
    "poetry": '.with_poetry_project("poetry/pyproject.toml")',
    "poetryproject": '.with_poetry_project("poetry/pyproject.toml", project_install_mode="install_project")',
}
HEAD = """
import json
import os
import subprocess
from pathlib import Path

import flyte


def facts() -> str:
    \"\"\"What the image is to whoever runs in it.\"\"\"
    found = subprocess.run(["uv", "pip", "freeze"], capture_output=True, text=True, check=True).stdout
    places = ("/data", "/srv/n.txt", "/made", "/usr/bin/tree")
    listed = {place: sorted(map(str, Path(place).rglob("*"))) or Path(place).exists() for place in places}
    variables = {name: value for name, value in os.environ.items() if name in ("A", "PATH", "VIRTUALENV")}
    return json.dumps([os.getuid(), sorted(found.split()), listed, variables], sort_keys=True)

"""
ENVIRONMENT = """
{name} = flyte.TaskEnvironment(
    name="{name}", image=flyte.Image.from_debian_base(name="{name}", python_version=(3, 11)){layers}
)

@{name}.task
async def task_{name}() -> str:
    return facts()
"""


@pytest.fixture(scope="session")
def layered(project: Path) -> Path:
    """A project whose environments have an image of each kind of layer."""
    environments = [ENVIRONMENT.format(name=name, layers=layers) for name, layers in LAYERS.items()]
    (project / "flow.py").write_text(HEAD.replace("\\", "") + "\n".join(environments))
    return project


def test_every_layer_is_built_by_both_and_runs_the_same_task(
    layered: Path, remote: Builds, tmp_path: Path
) -> None:
    found: list[dict[str, str]] = []
    for number, how in enumerate((deploy, deploy_by_the_sdk)):
        how(remote, layered, *(() if number else ("--all", "flow.py")))
        outputs = {}
        for name in LAYERS:
            value = remote.task(f"{name}.task_{name}", tmp_path / f"{name}{number}").literals[0].value
            outputs[name] = value.scalar.primitive.string_value
        found.append(outputs)
    assert methods(remote).count("CreateRun") == 2 * len(LAYERS)
    for name in LAYERS:
        assert json.loads(found[0][name]) == json.loads(found[1][name]), name
    assert len(set(found[0].values())) == len(LAYERS)


CODED = """
import flyte
from package.helper import ADD

image = flyte.Image.from_debian_base(name="coded").with_code_bundle(copy_style="all")
env = flyte.TaskEnvironment(name="env", image=image)

@env.task
async def one(x: int) -> int:
    return x + ADD
"""


def test_code_that_lies_in_an_image_of_the_backend(write: Write, remote: Builds, tmp_path: Path) -> None:
    root = write({"flow.py": CODED, "package/__init__.py": "", "package/helper.py": "ADD = 30\n"})
    deploy(remote, root, "flow.py", "env", "--copy-style", "none", "--version", "v1")
    assert remote.task("env.one", tmp_path / "ours", x=2).literals[0].value.scalar.primitive.integer == 32
    deploy_by_the_sdk(remote, root, "--copy-style", "none", "--version", "v2")
    assert remote.task("env.one", tmp_path / "theirs", x=2).literals[0].value.scalar.primitive.integer == 32


def test_the_unmodified_sdk_builds_by_the_same_control_plane(
    write: Write, remote: Builds, tmp_path: Path
) -> None:
    deploy_by_the_sdk(remote, write(FILES))
    assert methods(remote).count("CreateRun") == 2
    one = remote.task("first.one", tmp_path / "one", x=5)
    assert one.literals[0].value.scalar.primitive.integer == 7
    two = remote.task("second.two", tmp_path / "two", x=2)
    assert two.literals[0].value.scalar.primitive.integer == 42
