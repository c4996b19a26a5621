"""Environments with images of their own, from the command line to a task that runs in its image."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from flyte_deploy.specs.container import primary
from tests.conftest import Write
from tests.deploy.conftest import FLYTE_DEPLOY, TARGET
from tests.images.builds import Builds, docker_processes

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
third = flyte.TaskEnvironment(name="third", image=image)

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

@third.task
async def three(x: int) -> int:
    return x
"""
FILES = {
    "flow.py": FLOW.format(package="idna==3.10"),
    "helper.py": "ADD = 1\n",
    "data/a.txt": "a",
    "data/__pycache__/x.pyc": "compiled",
    "data/gha-creds-0123.json": "{}",
}


def test_tasks_run_in_images_that_were_built(write: Write, builds: Builds, tmp_path: Path) -> None:
    root = write(FILES)
    planned = builds.cli.run(
        root, "plan", "--all", "flow.py", "--registry", builds.repository, **dict(builds.engine.variables)
    )
    assert "build 2 images" in planned.out
    done = builds.deploy(root, "--all", "flow.py")
    assert [(image["environments"], image["build"]) for image in done["images"]] == [
        (["first", "third"], False),
        (["second"], False),
    ]
    assert all(image["seconds"] > 0 for image in done["images"])
    images = {
        name: builds.request(name).spec.task_template.container.image
        for name in ("first.one", "second.two", "third.three")
    }
    assert images["first.one"] == images["third.three"]
    for image, address in zip(done["images"], (images["first.one"], images["second.two"]), strict=True):
        assert address == f"{image['reference']}@{image['digest']}"
        assert address.startswith(builds.repository)
    # The registry serves what is registered, and a task runs in it.
    assert builds.inside(images["first.one"], "ls", "-A", "/data").split() == ["a.txt"]
    first = builds.task("first.one", tmp_path / "one", x=5)
    assert first.literals[0].value.scalar.primitive.integer == 7
    second = builds.task("second.two", tmp_path / "two", x=2)
    assert second.literals[0].value.scalar.primitive.integer == 42


def test_only_what_changed_is_built(write: Write, builds: Builds) -> None:
    root = write(FILES)
    before = builds.deploy(root, "--all", "flow.py")
    again = builds.deploy(root, "--all", "flow.py", PATH=os.environ["PATH"], DOCKER_HOST="unix:///nowhere")
    assert (again["changes"], again["images"]) == (False, [])
    # A line of code: no image, and no engine either.
    (root / "helper.py").write_text("ADD = 2\n")
    code = builds.deploy(root, "--all", "flow.py", DOCKER_HOST="unix:///nowhere")
    assert len(code["registered"]) == 3
    assert [image["seconds"] for image in code["images"]] == [None, None]
    assert [i["digest"] for i in code["images"]] == [i["digest"] for i in before["images"]]
    # What is no content of an image.
    (root / "data/__pycache__/y.pyc").write_text("more")
    os.utime(root / "data/a.txt", (1, 1))
    assert builds.deploy(root, "--all", "flow.py")["changes"] is False
    # One requirement: that image.
    (root / "flow.py").write_text(FLOW.format(package="idna==3.9"))
    changed = builds.deploy(root, "--all", "flow.py")
    assert [image["seconds"] is not None for image in changed["images"]] == [True, False]
    assert changed["images"][0]["digest"] != before["images"][0]["digest"]


REUSED = """
import flyte

image = flyte.Image.from_debian_base(name="reused").with_commands(["echo 41 > /home/number"])
first = flyte.TaskEnvironment(name="first", image=image)
pods = flyte.TaskEnvironment(name="pods", image=image, pod_template=flyte.PodTemplate(labels={"a": "b"}))
actor = flyte.TaskEnvironment(name="actor", image=image, reusable=flyte.ReusePolicy(replicas=2))

@first.task
async def one(x: int) -> int:
    return x

@pods.task
async def two(x: int) -> int:
    return x

@actor.task
async def three(x: int) -> int:
    return x
"""


def test_a_release_takes_images_over_and_a_preview_says_that_nothing_changes(
    write: Write, builds: Builds
) -> None:
    root = write({"flow.py": REUSED})
    where = (
        *("--endpoint", builds.server.endpoint, "--insecure", "-p", "flytesnacks"),
        *("--output-format", "json", "--registry", builds.repository),
    )

    def run(command: str, domain: str, *more: str, **environment: str) -> Any:
        variables = {**dict(builds.engine.variables), **environment}
        done = builds.cli.run(root, command, "--all", "flow.py", "-d", domain, *where, *more, **variables)
        assert done.status == 0, done.err
        return done.json

    def images() -> dict[str, str]:
        names = ("first.one", "pods.two", "actor.three")
        return {name: primary(builds.request(name).spec.task_template).image for name in names}

    pushed = run("deploy", "staging")
    (image,) = pushed["images"]
    address = f"{image['reference']}@{image['digest']}"
    assert set(images().values()) == {address}
    # In a preview the images have other addresses: that is no change.
    preview = ("--preview", "--version", "pr-7-{content}", "--compare-to", "staging")
    planned = run("plan", "development", *preview)
    assert planned["images"][0]["reference"] == image["reference"].replace("/reused:", "/reused-preview:")
    assert {task["state"] for task in planned["difference"]["tasks"]} == {"unchanged"}
    # Without an engine, without a registry that would answer, and with nothing to upload.
    before = len(builds.server.calls())
    release = ("--version", "v1", "--reuse-from", "staging")
    released = run("deploy", "production", *release, DOCKER_HOST="unix:///nowhere", PATH="/nowhere")
    assert set(images().values()) == {address}
    assert [(one["reference"], one["digest"]) for one in released["images"]] == [
        (image["reference"], image["digest"])
    ]
    assert released["bundle_uri"] == pushed["bundle_uri"]
    assert not released["uploaded"]
    assert any("nothing is built or uploaded" in note for note in released["notes"])
    assert "PUT" not in [call.method for call in builds.server.calls()[before:]]
    again = run("deploy", "production", *release)
    assert again["registered"] == []
    (root / "flow.py").write_text(REUSED.replace("return x\n", "return x + 1\n"))
    planned = run("plan", "development", *preview)
    assert {task["state"] for task in planned["difference"]["tasks"]} == {"bundle"}


def test_what_cannot_be_built_is_said_and_leaves_nothing_registered(write: Write, builds: Builds) -> None:
    root = write({**FILES, "flow.py": FLOW.format(package="no-such-package-of-ours==1")})
    failed = builds.run(root, "--all", "flow.py", "--image-concurrency", "1")
    assert failed.status == 1
    error = failed.json["error"]
    assert "of first, third cannot be built" in error["what"]
    assert any("no-such-package-of-ours" in line for line in error["details"])
    assert "Traceback" not in failed.err
    assert "DeployTask" not in [call.method for call in builds.server.calls()]
    # What was built stays: the same command goes on.
    (root / "flow.py").write_text(FILES["flow.py"])
    done = builds.deploy(root, "--all", "flow.py")
    assert done["images"][1]["seconds"] is None


def test_an_engine_that_is_not_there_is_found_before_anything_is_done(write: Write, builds: Builds) -> None:
    root = write(FILES)
    refused = builds.run(root, "--all", "flow.py", DOCKER_HOST="unix:///nowhere/docker.sock")
    assert refused.status == 1
    assert "there is no engine to build them" in refused.json["error"]["what"]
    assert "--image NAME=URI" in refused.json["error"]["mend"]
    refused = builds.run(root, "--all", "flow.py", PATH="/nowhere")
    assert "there is no docker command" in refused.json["error"]["what"]
    refused = builds.run(root, "--all", "flow.py", "--buildx-builder", "nobody")
    assert "no buildx builder 'nobody'" in refused.json["error"]["what"]
    refused = builds.run(root, "--all", "flow.py", "--platform", "linux/s390x")
    assert "is for linux/s390x" in refused.json["error"]["what"]
    assert {"PUT", "DeployTask"}.isdisjoint(call.method for call in builds.server.calls())


def test_secrets_are_those_that_were_named_and_stay_where_they_are(write: Write, builds: Builds) -> None:
    secret = "s3cr3t-of-this-test"
    root = write(
        {
            "flow.py": """
            import flyte
            image = flyte.Image.from_debian_base(name="secret").with_commands(
                ['test "$TOKEN" = s3cr3t-of-this-test && echo "${#TOKEN}" > /home/length'],
                secret_mounts=[flyte.Secret(key="TOKEN", as_env_var="TOKEN")],
            )
            env = flyte.TaskEnvironment(name="env", image=image)

            @env.task
            async def one() -> None: ...
            """
        }
    )
    # What lies in the environment is not for any image that asks.
    refused = builds.run(root, "flow.py", "env", TOKEN=secret)
    assert refused.status == 2
    assert "asks for the secret 'TOKEN'" in refused.json["error"]["what"]
    refused = builds.run(root, "flow.py", "env", "--build-secret", "TOKEN")
    assert "there is no environment variable TOKEN" in refused.json["error"]["what"]
    done = builds.run(root, "flow.py", "env", "--build-secret", "TOKEN=MINE", "--verbose", MINE=secret)
    assert done.status == 0, done.err
    address = f"{done.json['images'][0]['reference']}@{done.json['images'][0]['digest']}"
    assert builds.inside(address, "cat", "/home/length").strip() == str(len(secret))
    builds.engine.docker("pull", "--quiet", address)
    kept = builds.engine.docker("image", "inspect", address)
    # The command says it, as it does in this test's code; the environment does not.
    assert f"TOKEN={secret}" not in kept
    assert secret not in done.out + done.err


def test_an_interrupted_build_leaves_nothing_running(write: Write, builds: Builds) -> None:
    marker = f"sleep {600 + os.getpid() % 100}"
    root = write(
        {
            "flow.py": f"""
            import flyte
            image = flyte.Image.from_debian_base(name="slow").with_commands(["{marker}"])
            env = flyte.TaskEnvironment(name="env", image=image)

            @env.task
            async def one() -> None: ...
            """
        }
    )
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        command = [FLYTE_DEPLOY, "deploy", "flow.py", "env", "--registry", builds.repository, *TARGET]
        command += ["--endpoint", builds.server.endpoint, "--insecure"]
        process = subprocess.Popen(
            command,
            cwd=root,
            env=builds.cli.environment(**dict(builds.engine.variables)),
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        ours = [line for line in docker_processes() if builds.repository in line]
        limit = time.monotonic() + 60
        while not ours and time.monotonic() < limit:
            time.sleep(0.1)
            ours = [line for line in docker_processes() if builds.repository in line]
        assert ours
        process.send_signal(number)
        assert process.wait(30) == status
        assert not [line for line in docker_processes() if builds.repository in line]
    assert "DeployTask" not in [call.method for call in builds.server.calls()]


def test_code_that_lies_in_the_image(write: Write, builds: Builds, tmp_path: Path) -> None:
    code = """
        import flyte
        from package.helper import ADD

        image = flyte.Image.from_debian_base(name="coded").with_code_bundle(copy_style="{style}")
        env = flyte.TaskEnvironment(name="env", image=image)

        @env.task
        async def one(x: int) -> int:
            return x + ADD
        """
    files = {"package/__init__.py": "", "package/helper.py": "ADD = 30\n", "package/unused.py": ""}
    for number, style in enumerate(("loaded_modules", "all")):
        root = write({"flow.py": code.format(style=style), **files})
        options = ("flow.py", "env", "--copy-style", "none", "--version", f"v{number}")
        done = builds.deploy(root, *options)
        assert done["bundle"] is None
        address = f"{done['images'][0]['reference']}@{done['images'][0]['digest']}"
        listed = builds.inside(address, "sh", "-c", "ls package; pwd").split()
        assert ("unused.py" in listed) == (style == "all")
        out = builds.task("env.one", tmp_path / f"run{number}", x=2)
        assert out.literals[0].value.scalar.primitive.integer == 32
        # A line of it: another image.
        (root / "package/helper.py").write_text("ADD = 31\n")
        changed = builds.deploy(root, *options[:-1], f"w{number}")
        assert changed["images"][0]["reference"] != done["images"][0]["reference"]


def test_images_that_stay_in_the_engine(write: Write, builds: Builds) -> None:
    name = f"loaded{os.getpid()}"
    code = FLOW.format(package="idna==3.10").replace('"first"', f'"{name}"')
    root = write({**FILES, "flow.py": code})

    def deploy(*more: str) -> Any:
        options = ("flow.py", "third", "--load", "--platform", "linux/amd64", *more)
        done = builds.cli.to_server("deploy", root, *options, **dict(builds.engine.variables))
        assert done.status == 0, done.err
        return done.json

    done = deploy()
    (image,) = done["images"]
    assert image["reference"].startswith(f"{name}:")
    address = builds.request("third.three").spec.task_template.container.image
    assert address == image["reference"]
    try:
        assert builds.inside(address, "ls", "-A", "/data").split() == ["a.txt"]
        # It is there: another version is registered, and nothing built.
        assert deploy("--version", "again")["images"][0]["seconds"] is None
    finally:
        builds.engine.docker("image", "rm", address)


def test_a_build_that_takes_too_long(write: Write, builds: Builds) -> None:
    code = FLOW.format(package="idna==3.10").replace("echo 40 > /home/number", "sleep 60")
    failed = builds.run(write({**FILES, "flow.py": code}), "flow.py", "second", "--image-timeout", "4")
    assert failed.status == 1
    assert "takes more than 4 s (--image-timeout)" in failed.err
    assert not [line for line in docker_processes() if builds.repository in line]
