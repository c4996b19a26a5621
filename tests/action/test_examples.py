"""Every example as a workflow deploys it: installed from its own files, images built through the socket."""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flyte_deploy.embedded import read_tasks
from tests.action.conftest import Job
from tests.cache import cache_folder
from tests.documentation import blocks
from tests.engine import Engine
from tests.harness.image import ROOT, SDK
from tests.harness.private_git import private_git
from tests.harness.runner import RUNNER_UID, Runner, Step
from tests.harness.services import Services
from tests.harness.tree import tree_digest

EXAMPLES = sorted(path.name for path in (ROOT / "examples").iterdir() if path.is_dir())
KEPT = "/github/kept"
REUSED = "is there"


def run(runner: Runner, with_: dict[str, str]) -> Step:
    """A step with environments that outlive the tests: installing takes longer than all else."""
    kept = cache_folder() / "installed"
    kept.mkdir(exist_ok=True)
    return runner.run({**with_, "cache-dir": KEPT}, options=("-v", f"{kept}:{KEPT}"))


@contextmanager
def builder(engine: Engine, services: Services) -> Iterator[str]:
    """What docker/setup-buildx-action leaves: a container with BuildKit, here in the job's network."""
    name = f"builder-{uuid.uuid4().hex[:12]}"
    config = services.data.parent / f"{name}.toml"
    config.write_text(f'[registry."{services.registry}"]\n  http = true\n')
    engine.docker(
        *("buildx", "create", "--name", name, "--driver", "docker-container", "--bootstrap"),
        *("--driver-opt", f"network={services.network}", "--buildkitd-config", str(config)),
    )
    try:
        yield f"docker-container://buildx_buildkit_{name}0"
    finally:
        engine.docker("buildx", "rm", "--force", name)
        config.unlink()


def registered(services: Services, step: Step) -> list[str]:
    return sorted(task.name for task in read_tasks(services.data) if task.version == step.outputs["version"])


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name != "images"])
def test_every_example(name: str, fresh_job: Job, services_of_job: Services) -> None:
    runner = fresh_job(ROOT / "examples" / name)
    before = tree_digest(runner.workspace)
    with_ = services_of_job.inputs
    if name == "src_layout":
        with_ |= {"path": "src", "root-dir": "src"}

    step = run(runner, with_)

    assert step.status == 0, step.log
    assert step.annotations("error") == []
    assert sorted(json.loads(step.outputs["tasks"])) == registered(services_of_job, step)
    assert {"Copying the checkout", "Installing the project", "Loading the code"} <= set(step.groups)
    assert tree_digest(runner.workspace) == before


def test_images_are_built_through_the_socket(
    engine: Engine, fresh_job: Job, services_of_job: Services
) -> None:
    runner = fresh_job(ROOT / "examples" / "images")
    registry = services_of_job.registry
    mirrored = {"ghcr.io/flyteorg/flyte": f"py3.13-v{SDK}", "ghcr.io/astral-sh/uv": "0.13.4"}
    contexts = [
        f"{name}:{tag}=docker-image://{registry}/{name.removeprefix('ghcr.io/')}:{tag}"
        for name, tag in mirrored.items()
    ]
    with builder(engine, services_of_job) as endpoint:
        with_ = {
            **services_of_job.inputs,
            "registry": f"{registry}/{uuid.uuid4().hex[:12]}",
            "insecure-registry": registry,
            "builder-endpoint": endpoint,
            "build-context": "\n".join(contexts),
        }

        first = run(runner, with_)
        again = run(runner, with_)

    assert first.status == 0, first.log
    digests = json.loads(first.outputs["image-digests"])
    assert (first.outputs["images-built"], len(digests)) == ("2", 2)
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in digests.values())
    assert sorted(json.loads(first.outputs["tasks"])) == registered(services_of_job, first)
    assert again.status == 0, again.log
    assert (again.outputs["images-built"], again.outputs["registered"]) == ("0", "0")
    assert again.outputs["version"] == first.outputs["version"]


def test_an_environment_is_used_again_also_by_another_user_s_copy(
    fresh_job: Job, services_of_job: Services
) -> None:
    runner = fresh_job(ROOT / "examples" / "single_file")
    first = runner.run(services_of_job.inputs)
    again = runner.run(services_of_job.inputs)
    assert first.status == 0, first.log
    assert REUSED not in first.log
    assert again.status == 0, again.log
    assert REUSED in again.log
    assert again.outputs["version"] == first.outputs["version"]
    # As actions/cache saves and restores it: as the runner's user, in another job.
    kept = runner.paths["runner_temp"] / "flyte-deploy-environments"
    owners = {path.lstat().st_uid for path in (kept, *kept.rglob("*"))}
    assert owners == {RUNNER_UID}
    other = fresh_job(ROOT / "examples" / "single_file")
    shutil.copytree(kept, other.paths["runner_temp"] / kept.name, symlinks=True)
    other.own()
    restored = other.run(services_of_job.inputs)
    assert restored.status == 0, restored.log
    assert REUSED in restored.log
    assert restored.outputs["version"] == first.outputs["version"]


LIBRARY = {
    "pyproject.toml": '[project]\nname = "flows-lib"\nversion = "1.0"\n'
    '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
    "backend.py": """
import zipfile

INFO = "flows_lib-1.0.dist-info"
FILES = {
    "flows_lib/__init__.py": "ANSWER = 42",
    f"{INFO}/METADATA": "Metadata-Version: 2.1\\nName: flows-lib\\nVersion: 1.0\\n",
    f"{INFO}/WHEEL": "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    f"{INFO}/RECORD": "",
}

def build_wheel(folder, config=None, metadata=None):
    with zipfile.ZipFile(f"{folder}/flows_lib-1.0-py3-none-any.whl", "w") as archive:
        for name, text in FILES.items():
            archive.writestr(name, text)
    return "flows_lib-1.0-py3-none-any.whl"
""",
}
FLOW = """
import flyte, flows_lib
env = flyte.TaskEnvironment(name="private_dependency")

@env.task
async def answer() -> int:
    return flows_lib.ANSWER
"""


def test_a_private_git_dependency_as_the_documentation_has_it(
    engine: Engine, fresh_job: Job, services_of_job: Services, tmp_path: Path
) -> None:
    (step,) = [step for block in blocks() for step in block.ours() if "pass-env" in step["with"]]
    where = engine.docker("network", "inspect", services_of_job.network)
    host = json.loads(where)[0]["IPAM"]["Config"][0]["Gateway"]
    token = "ghs_only-for-this-repository"
    runner = fresh_job()
    (runner.workspace / "flow.py").write_text(FLOW)
    (runner.workspace / "requirements.txt").write_text(
        f"flyte=={SDK}\nflows-lib @ git+https://github.com/octo/flows-lib\n"
    )
    with private_git(tmp_path, "octo/flows-lib", LIBRARY, token, host) as server:
        given = {
            name: re.sub(r"\$\{\{.*?\}\}", token, value).replace(
                f"https://x-access-token:{token}@github.com",
                f"http://x-access-token:{token}@{server.address}",
            )
            for name, value in step["env"].items()
            if name.startswith("GIT_")
        }
        assert server.address in given["GIT_CONFIG_KEY_0"]
        done = runner.run({**services_of_job.inputs, "pass-env": step["with"]["pass-env"]}, env=given)

    assert done.status == 0, done.log
    assert json.loads(done.outputs["tasks"]) == ["private_dependency.answer"]
    assert 200 in server.statuses
    # Neither the environment that is kept nor the bundle has the token.
    kept = runner.paths["runner_temp"] / "flyte-deploy-environments"
    files = [path for path in kept.rglob("*") if path.is_file() and "flows_lib" in str(path)]
    assert files
    assert [path for path in files if token.encode() in path.read_bytes()] == []


def test_a_version_that_the_build_takes_from_git(
    fresh_job: Job, services_of_job: Services, tmp_path: Path
) -> None:
    shutil.copytree(ROOT / "examples" / "src_layout", tmp_path / "flows")
    project = tmp_path / "flows" / "pyproject.toml"
    text = project.read_text().replace('version = "1.0.0"', 'dynamic = ["version"]')
    text = text.replace('["hatchling"]', '["hatchling", "hatch-vcs"]')
    project.write_text(text + '\n[tool.hatch.version]\nsource = "vcs"\n')
    module = tmp_path / "flows" / "src" / "variants" / "__init__.py"
    module.write_text(
        module.read_text()
        + "\nfrom importlib.metadata import version\nprint('THIS IS', version('variants'))\n"
    )
    runner = fresh_job(tmp_path / "flows")
    runner.git("tag", "v1.4.2")
    runner.own()

    step = run(runner, {**services_of_job.inputs, "path": "src", "root-dir": "src"})

    assert step.status == 0, step.log
    assert "THIS IS 1.4.2\n" in step.log


def test_a_script_with_what_it_needs_in_its_header(fresh_job: Job, services_of_job: Services) -> None:
    runner = fresh_job()
    weather = (ROOT / "examples" / "single_file" / "weather.py").read_text()
    header = '# /// script\n# requires-python = ">=3.10"\n# dependencies = ["flyte>=2"]\n# ///\n'
    (runner.workspace / "weather.py").write_text(header + weather)

    step = run(runner, {**services_of_job.inputs, "path": "weather.py", "all": "true"})

    assert step.status == 0, step.log
    assert sorted(json.loads(step.outputs["tasks"])) == registered(services_of_job, step)


BAD = {
    "no_way": ({"flow.py": "import flyte\n"}, "does not say what it needs installed", "requirements.txt"),
    "no_flyte": (
        {"flow.py": "import flyte\n", "requirements.txt": "idna\n"},
        "'flyte' is not among what the project installs",
        "Add flyte to requirements.txt",
    ),
    "dependency": (
        {"flow.py": "import flyte\n", "requirements.txt": "flyte\nno-such-package-of-anybody==1.2.3\n"},
        "what the project needs cannot be installed",
        "no-such-package-of-anybody",
    ),
    "lock": (
        {
            "flow.py": "import flyte\n",
            "pyproject.toml": '[project]\nname = "flows"\nversion = "1"\nrequires-python = ">=3.10"\n'
            'dependencies = ["idna"]\n',
            "uv.lock": 'version = 1\nrevision = 3\nrequires-python = ">=3.10"\n',
        },
        "the lock file does not match pyproject.toml",
        "Run uv lock",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_installed(name: str, fresh_job: Job, services_of_job: Services) -> None:
    files, what, mend = BAD[name]
    runner = fresh_job()
    for path, text in files.items():
        (runner.workspace / path).write_text(text)

    step = runner.run(services_of_job.inputs)

    assert step.status != 0
    (error,) = step.annotations("error")
    assert what in error.message
    assert mend in error.message
    assert len(error.message.splitlines()) < 25
    assert "/var/lib/flyte-deploy" not in error.message


def test_a_python_that_cannot_be_had(fresh_job: Job, services_of_job: Services) -> None:
    runner = fresh_job(ROOT / "examples" / "single_file")
    step = runner.run({**services_of_job.inputs, "python-version": "3.99"})
    assert step.status == 2, step.log
    (error,) = step.annotations("error")
    assert "Python 3.99 cannot be had" in error.message
    assert "input `python-version`" in error.message


def test_a_home_that_is_read_only(fresh_job: Job, services_of_job: Services) -> None:
    runner = fresh_job(ROOT / "examples" / "single_file")
    home = runner.paths["home"]
    mounts = runner.mounts()
    mounts[mounts.index(f"{home}:/github/home")] += ":ro"
    runner.environment["FLYTE_DEPLOY_CACHE_DIR"] = KEPT
    kept = cache_folder() / "installed"
    kept.mkdir(exist_ok=True)
    step = runner.run(services_of_job.inputs, options=("-v", f"{kept}:{KEPT}"), mounts=mounts)
    assert step.status == 0, step.log
    assert list(home.iterdir()) == []
