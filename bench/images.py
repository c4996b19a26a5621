"""Image builds: eight images against building them one after another, and two against the peer."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import tempfile
import textwrap
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tests import engine as real

from bench.measure import Run, control_plane, run
from flyte_deploy.images.buildx import Choices, Where, build
from flyte_deploy.images.choose import Workshop, choose_images
from flyte_deploy.images.local import _lay_out
from flyte_deploy.project.load import collect_from_files
from flyte_deploy.settings import resolve

PACKAGES: tuple[str, ...] = (
    "attrs idna",
    "six certifi",
    "click idna",
    "packaging attrs",
    "idna certifi",
    "six click",
)
PACKAGES += ("certifi attrs", "packaging six")
"""What the eight images install, each its two."""


def project(folder: Path, packages: tuple[str, ...], salt: str) -> None:
    """One environment a set of packages, each with an image of its own that no cache knows."""
    folder.mkdir(parents=True)
    source = "import flyte\n"
    for number, names in enumerate(packages):
        quoted = ", ".join(f'"{name}"' for name in names.split())
        source += textwrap.dedent(
            f"""
            env{number} = flyte.TaskEnvironment(
                name="env{number}",
                image=flyte.Image.from_debian_base(name="bench{number}", platform=("linux/amd64",))
                .with_env_vars({{"SALT": "{salt}"}})
                .with_pip_packages({quoted}),
            )

            @env{number}.task
            async def task{number}(x: int = 1) -> int:
                return x
            """
        )
    (folder / "flow.py").write_text(source)


def steps(result: Run) -> dict[str, float]:
    """The steps of a deploy that wrote JSON, in seconds."""
    start = result.output.index("\n{") + 1
    document: Any = json.JSONDecoder().raw_decode(result.output, start)[0]
    return {step["name"]: step["seconds"] for step in document["steps"]}


def one_after_another(folder: Path, registry: str, environment: Mapping[str, str]) -> float:
    """Build and push the images of a project with docker buildx build, one by one; the seconds it took."""
    settings = resolve(
        {"arguments": [str(folder / "flow.py")], "all": True, "root_dir": str(folder), "registry": registry},
        os.environ,
        folder,
        command="plan",
    )
    with tempfile.TemporaryDirectory() as captures:
        collected = collect_from_files(settings, Path(captures), lambda _: None)
    wanted = choose_images(collected.environments, {}, Workshop(folder.resolve(), registry)).wanted
    started = time.perf_counter()
    for image in wanted:
        with tempfile.TemporaryDirectory() as scratch:
            where: Where = _lay_out(image.recipe, Path(scratch), "")
            command = ["docker", *build(image, where, Choices(platforms=("linux/amd64",)))]
            subprocess.run(command, env=dict(environment), check=True, capture_output=True)
    return time.perf_counter() - started


def figures(folder: Path, ours: str, target: tuple[str, ...], peer: str) -> dict[str, float]:
    """All figures, in seconds, by name."""
    engine = real.start()
    environment = {**engine.environ(), "DO_NOT_TRACK": "1"}
    found: dict[str, float] = {}

    def deploy(endpoint: str, where: Path, registry: str, *more: str) -> Run:
        command = [ours, "deploy", "--all", "flow.py", "--endpoint", endpoint, "--insecure", *target]
        command += ["--registry", registry, "--image-concurrency", "8", "--output-format", "json", *more]
        result = run(command, folder=where, environment=environment)
        if result.status:
            raise SystemExit(result.output)
        return result

    def fresh() -> str:
        return f"{engine.registry}/bench-{secrets.token_hex(4)}"

    # Wheels are in uv's cache for both sides.
    project(folder / "warm", PACKAGES, secrets.token_hex(4))
    one_after_another(folder / "warm", fresh(), environment)
    project(folder / "theirs", PACKAGES, secrets.token_hex(4))
    found["one by one"] = one_after_another(folder / "theirs", fresh(), environment)
    project(folder / "ours", PACKAGES, secrets.token_hex(4))
    with control_plane([ours], folder / "plane") as endpoint:
        registry = fresh()
        found["eight"] = steps(deploy(endpoint, folder / "ours", registry))["images"]
        again = deploy(endpoint, folder / "ours", registry, "--version", "other")
        found["eight looked up"] = steps(again)["compare"]
        found["eight unchanged"] = sum(
            seconds
            for name, seconds in steps(deploy(endpoint, folder / "ours", registry)).items()
            if name in ("compare", "images")
        )
        two = folder / "two"
        project(two, PACKAGES[:2], secrets.token_hex(4))
        registry = fresh()
        found["two"] = deploy(endpoint, two, registry).seconds or 0
        found["two again"] = deploy(endpoint, two, registry).seconds or 0
    with control_plane([ours], folder / "peer-plane") as endpoint:
        two = folder / "peer-two"
        project(two, PACKAGES[:2], secrets.token_hex(4))
        home = folder / "home"
        home.mkdir()
        more = {
            "HOME": str(home),
            "FLYTE_IMAGE_REGISTRY": fresh(),
            "FLYTE_DOCKER_BUILDKIT_BUILDER_NAME": "default",
        }
        command = [peer, "--endpoint", f"dns:///{endpoint}", "--insecure", "deploy", *target]
        command += ["--all", "flow.py"]
        for name in ("peer two", "peer two again"):
            result = run(command, folder=two, environment={**environment, **more})
            if result.status:
                raise SystemExit(result.output[-3000:])
            found[name] = result.seconds or 0
    return found


def remote(folder: Path, ours: str, target: tuple[str, ...], peer: str) -> dict[str, float]:
    """Figures of builds by the backend's builder: seconds, and bytes of memory, by name."""
    engine = real.start()
    environment = engine.environ()
    found: dict[str, float] = {}

    def checked(result: Run) -> Run:
        if result.status:
            raise SystemExit(result.output[-3000:])
        return result

    def plane(name: str) -> AbstractContextManager[str]:
        registry = f"{engine.registry}/bench-{secrets.token_hex(4)}"
        data = folder / name
        return control_plane([ours], data, "--build-registry", registry, environment=environment)

    quiet = {"DO_NOT_TRACK": "1", "DOCKER_HOST": "unix:///nowhere"}
    options = ("--all", "flow.py", "--insecure", *target, "--image-builder", "remote")
    project(folder / "warm", PACKAGES, secrets.token_hex(4))
    project(folder / "ours", PACKAGES, secrets.token_hex(4))
    with plane("ours-plane") as endpoint:
        command = [ours, "deploy", *options, "--endpoint", endpoint]
        # Wheels and base images are where builds find them, for both sides.
        checked(run(command, folder=folder / "warm", environment=quiet))
        found["eight"] = checked(run(command, folder=folder / "ours", environment=quiet)).seconds or 0
        again = [run(command, folder=folder / "ours", environment=quiet).seconds or 0 for _ in range(3)]
        found["again"] = min(again)
    project(folder / "theirs", PACKAGES, secrets.token_hex(4))
    (folder / "home").mkdir()
    with plane("peer-plane") as endpoint:
        config = f"admin:\n  endpoint: dns:///{endpoint}\n  insecure: true\nimage:\n  builder: remote\n"
        (folder / "theirs" / "config.yaml").write_text(config + "task:\n  org: '127'\n")
        command = [peer, "--config", "config.yaml", "deploy", *target, "--all", "flow.py"]
        home = {**quiet, "HOME": str(folder / "home")}
        found["peer eight"] = checked(run(command, folder=folder / "theirs", environment=home)).seconds or 0
        found["peer again"] = checked(run(command, folder=folder / "theirs", environment=home)).seconds or 0
    large = folder / "large"
    (large / "data").mkdir(parents=True)
    for number in range(20):
        (large / "data" / str(number)).write_bytes(os.urandom(10_000_000))
    image = 'flyte.Image.from_debian_base(name="large").with_source_folder("data", "/data")'
    (large / "flow.py").write_text(
        f"import flyte\nenv = flyte.TaskEnvironment(name='env', image={image})\n\n\n"
        "@env.task\nasync def one() -> None: ...\n"
    )
    with plane("large-plane") as endpoint:
        command = [ours, "deploy", *options, "--endpoint", endpoint]
        found["memory"] = checked(run(command, folder=large, environment=quiet, memory=True)).memory
    return found
