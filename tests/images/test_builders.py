"""Builds past this machine's engine: BuildKit daemons, caches between them, authorities, what goes wrong."""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import CertificateBuilder, Name, NameAttribute, random_serial_number
from cryptography.x509.oid import NameOID

from flyte_deploy.images.buildx import forgiving, pushed, secrets, with_authorities
from flyte_deploy.images.places import Place, caches, spread
from flyte_deploy.images.recipe import Recipe, SecretMount, Wanted
from tests.conftest import Write
from tests.engine import Engine
from tests.images.builds import Builds

FLOW = """
import flyte
image = flyte.Image.from_debian_base(name="{name}").with_commands({commands})
env = flyte.TaskEnvironment(name="env", image=image)

@env.task
async def one() -> None: ...
"""


def flow(*commands: str, name: str = "pooled") -> dict[str, str]:
    return {"flow.py": FLOW.format(name=name, commands=list(commands))}


def wanted(repository: str, *environments: str) -> Wanted:
    return Wanted(repository, "t", Recipe("FROM x\n", platforms=("linux/amd64",)), environments or ("env",))


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def builders_of(engine: Engine) -> list[str]:
    return engine.docker("buildx", "ls", "--format", "{{.Name}}").split()


def of_a_run(names: Iterable[str]) -> list[str]:
    """Those of them that were made for one run; other tests have builders at the same time."""
    return [name for name in names if re.search(r"flyte-deploy-[0-9a-f]{12}", name)]


@contextmanager
def daemon(engine: Engine, folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A BuildKit daemon of this test's own, which it may stop."""
    address = f"tcp://127.0.0.1:{free_port()}"
    cache = Path(os.environ.get("FLYTE_DEPLOY_CACHE") or Path.home() / ".cache" / "flyte-deploy")
    # Where the daemons of the pool find base images.
    config = cache / "engine" / "buildkitd.toml"
    assert config.exists()
    command = [str(engine.buildkitd), "--addr", address, "--root", str(folder / "state")]
    command += ["--config", str(config), "--oci-worker-net", "host"]
    log = (folder / "log").open("wb")
    process = subprocess.Popen(command, env=engine.environ(), stdout=log, stderr=log)
    try:
        host, port = address.removeprefix("tcp://").split(":")
        for _ in range(100):
            with socket.socket() as one:
                if one.connect_ex((host, int(port))) == 0:
                    break
            time.sleep(0.1)
        yield address, process
    finally:
        process.kill()
        process.wait()
        log.close()
        # What its builds had mounted when it was killed.
        mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for path in reversed([path for path in mounted if path.startswith(f"{folder}/")]):
            subprocess.run(["umount", "-l", path], check=False)


def test_images_keep_their_builder_and_no_builder_gets_all() -> None:
    places = [Place("", address) for address in ("a", "b", "c")]
    images = [wanted(f"r.example/team/image{number}") for number in range(30)]
    first = {name: turns[0].address for name, turns in spread(images, places).items()}
    loads = [list(first.values()).count(address) for address in "abc"]
    assert max(loads) <= 13
    # With another tag, in another order, an image stays where its layers are.
    changed = [dataclasses.replace(image, tag="other") for image in reversed(images)]
    again = {name.rpartition(":")[0]: turns[0].address for name, turns in spread(changed, places).items()}
    moved = [name for name in first if again[name.rpartition(":")[0]] != first[name]]
    assert len(moved) <= 6
    # A builder that is gone moves its own images, and few others.
    fewer = {name: turns[0].address for name, turns in spread(images, places[:2]).items()}
    assert sum(first[name] != fewer[name] for name in first if first[name] != "c") <= 8


def test_caches_where_the_run_takes_place() -> None:
    assert caches({}, "x") == ((), ())
    github = {
        "GITHUB_ACTIONS": "true",
        "ACTIONS_RESULTS_URL": "https://results.example/",
        "ACTIONS_RUNTIME_TOKEN": "head.secret.tail",
    }
    cache = "type=gha,version=2,url_v2=https://results.example/,scope=flyte-deploy-env"
    assert caches(github, "env") == ((cache,), (f"{cache},mode=max,ignore-error=true",))
    assert caches({**github, "ACTIONS_CACHE_MODE": "read"}, "env") == ((cache,), ())
    assert "secret" not in str(caches(github, "env"))
    # The name of an environment is a name, whatever stands in it.
    forged = caches(github, 'x,url_v2=http://e/,"type=local",dest=/,src=/')
    for row in (*forged[0], *forged[1]):
        fields = dict(field.partition("=")[::2] for field in next(csv.reader([row])))
        assert (fields.pop("type"), fields.pop("url_v2")) == ("gha", "https://results.example/")
        assert fields.keys() <= {"version", "scope", "mode", "ignore-error"}
    # Another runner's token, which buildx could not read.
    assert caches({**github, "ACTIONS_RUNTIME_TOKEN": "secret"}, "env") == ((), ())
    assert forgiving("type=registry,ref=r.example/c,mode=max").endswith(",mode=max,ignore-error=true")
    assert forgiving("r.example/c") == "type=registry,ref=r.example/c,ignore-error=true"
    assert forgiving("type=inline") == "type=inline"
    assert pushed("") == ["--push"]
    assert pushed("zstd") == ["--output", "type=image,push=true,compression=zstd,force-compression=true"]


def test_a_file_of_a_secret_is_one_file() -> None:
    mount = SecretMount("token", "s1")
    file = "src=/checkout/x,src=/github/home/.docker/config.json"
    option, row = secrets([mount], {"token": file})
    assert (option, next(csv.reader([row]))) == ("--secret", ["id=s1", file])


def test_a_pool_builds_and_leaves_no_builder_behind(write: Write, builds: Builds) -> None:
    root = write(
        {
            "flow.py": "import flyte\n"
            + "".join(
                f"""
image{number} = flyte.Image.from_debian_base(name="image{number}").with_commands(["echo {number} > /n"])
env{number} = flyte.TaskEnvironment(name="env{number}", image=image{number})

@env{number}.task
async def task{number}() -> None: ...
"""
                for number in range(4)
            )
        }
    )
    one, two = builds.engine.buildkit
    gone = f"tcp://127.0.0.1:{free_port()}"
    pool = ("--buildkit", one, "--buildkit", gone, "--buildkit", two)
    done = builds.run(root, "--all", "flow.py", *pool)
    assert done.status == 0, done.err
    assert f"a BuildKit daemon does not take part: {gone}" in done.err
    used = [address for address in (one, two) if f"at {address}" in done.err]
    assert used == [one, two]
    for number, image in enumerate(done.json["images"]):
        assert builds.inside(f"{image['reference']}@{image['digest']}", "cat", "/n").strip() == str(number)
    assert of_a_run(builders_of(builds.engine)) == []
    (root / "flow.py").write_text(flow("echo other > /n")["flow.py"])
    refused = builds.run(root, "--all", "flow.py", "--buildkit", gone)
    assert refused.status == 1
    assert refused.json["error"]["what"] == "no BuildKit daemon answers"


def test_a_builder_that_is_lost_costs_one_rebuild_elsewhere(
    write: Write, builds: Builds, tmp_path: Path
) -> None:
    with daemon(builds.engine, tmp_path) as (doomed, process):
        other = builds.engine.buildkit[0]
        places = [Place("", doomed), Place("", other)]
        # A name whose turn is at the one that will be lost.
        name = next(
            name
            for name in (f"lost{number}" for number in range(100))
            if spread([wanted(f"{builds.repository}/{name}")], places)[f"{builds.repository}/{name}:t"][0]
            is places[0]
        )
        # Slow where it begins, done at once where it is built again: the engine's own registry has the base.
        code = flow("sleep 6", "echo built > /built", name=name)
        root = write(code)
        command = [
            *("deploy", "flow.py", "env", "--registry", builds.repository, "--buildkit", doomed),
            *("--buildkit", other, "--platform", "linux/amd64"),
        ]
        timer = Timer(9, process.kill)
        timer.start()
        done = builds.cli.to_server(command[0], root, *command[1:], **dict(builds.engine.variables))
        timer.cancel()
    assert done.status == 0, done.err
    assert process.returncode is not None
    assert f"building {builds.repository}/{name}" in done.err
    assert f"at {doomed}" in done.err
    assert f"{doomed} went away: {builds.repository}/{name}" in done.err


def test_layers_reach_another_machine_by_a_cache(write: Write, builds: Builds) -> None:
    one, two = builds.engine.buildkit
    cache = f"type=registry,ref={builds.repository}/cache"
    root = write(flow("date +%s%N > /slow", "echo 1 > /quick"))
    first = builds.deploy(
        root, "flow.py", "env", "--buildkit", one, "--cache-to", f"{cache},mode=max", "--cache-from", cache
    )
    (root / "flow.py").write_text(flow("date +%s%N > /slow", "echo 2 > /quick")["flow.py"])
    second = builds.deploy(root, "flow.py", "env", "--buildkit", two, "--cache-from", cache)
    addresses = [f"{d['images'][0]['reference']}@{d['images'][0]['digest']}" for d in (first, second)]
    slow = [builds.inside(address, "cat", "/slow") for address in addresses]
    quick = [builds.inside(address, "cat", "/quick").strip() for address in addresses]
    assert slow[0] == slow[1]
    assert quick == ["1", "2"]


def test_a_cache_that_fails_is_no_failure(write: Write, builds: Builds) -> None:
    nowhere = f"type=registry,ref=127.0.0.1:{free_port()}/cache"
    root = write(flow("echo 1 > /one"))
    done = builds.run(root, "flow.py", "env", "--cache-to", nowhere, "--cache-from", nowhere)
    assert done.status == 0, done.err
    assert done.json["images"][0]["digest"].startswith("sha256:")


def test_authorities_are_trusted_while_images_are_built_and_no_longer(
    write: Write, builds: Builds, tmp_path: Path
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = Name([NameAttribute(NameOID.COMMON_NAME, "an authority of this test")])
    now = dt.datetime.now(dt.timezone.utc)
    certificate = (
        CertificateBuilder(name, name, key.public_key(), random_serial_number(), now, now.replace(year=2099))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    file = tmp_path / "ca.pem"
    file.write_bytes(certificate)
    line = certificate.decode().splitlines()[1]
    root = write(flow(f'grep -q "{line}" "$SSL_CERT_FILE" && test -s "$PIP_CERT" && env > /seen'))
    done = builds.deploy(root, "flow.py", "env", "--ca-cert", str(file))
    address = f"{done['images'][0]['reference']}@{done['images'][0]['digest']}"
    assert "SSL_CERT_FILE=/run/flyte-deploy/ca.pem" in builds.inside(address, "cat", "/seen")
    assert "flyte-deploy" not in builds.inside(address, "env").replace(address, "")
    left = "cat /run/flyte-deploy/ca.pem /etc/apt/apt.conf.d/99flyte-deploy-ca 2>/dev/null; true"
    assert builds.inside(address, "sh", "-c", left) == ""
    # Its text is not that of another image.
    assert "flyte-deploy-ca" in with_authorities("FROM x\nRUN y\n")
    assert builds.deploy(root, "flow.py", "env")["changes"] is False


@pytest.mark.parametrize(
    ("dockerfile", "said"),
    [
        ("FROM python:3.11-slim-bookworm\nRUNN echo\n", "unknown instruction"),
        ("FROM 127.0.0.1:1/no/such:image\n", "127.0.0.1:1/no/such:image"),
        ("FROM python:3.11-slim-bookworm\nRUN echo told; exit 7\n", "exit code: 7"),
    ],
)
def test_what_goes_wrong_in_a_dockerfile_is_said(
    write: Write, builds: Builds, dockerfile: str, said: str
) -> None:
    root = write({"docker/Dockerfile": "", **flow("x")})
    (root / "docker/Dockerfile").write_text(dockerfile)
    (root / "flow.py").write_text(
        "import flyte\n"
        'image = flyte.Image.from_dockerfile("docker/Dockerfile", name="own",'
        f' registry="{builds.repository}")\n'
        'env = flyte.TaskEnvironment(name="env", image=image)\n\n@env.task\nasync def one() -> None: ...\n'
    )
    failed = builds.run(root, "flow.py", "env")
    assert failed.status == 1
    error = failed.json["error"]
    assert said in "\n".join([error["what"], *error["details"]])
    if "told" in dockerfile:
        assert any(line.endswith("told") for line in error["details"])
        assert any("RUN echo told" in line for line in error["details"])
    assert "DeployTask" not in [call.method for call in builds.server.calls()]


def test_a_builder_of_another_step_is_reached_by_its_container(write: Write, builds: Builds) -> None:
    name = f"step{os.getpid()}"
    builds.engine.docker(
        *("buildx", "create", "--name", name, "--driver", "docker-container"),
        *("--driver-opt", "network=host", "--bootstrap"),
    )
    try:
        root = write(flow("echo there > /there"))
        endpoint = f"docker-container://buildx_buildkit_{name}0"
        done = builds.run(root, "flow.py", "env", "--builder-endpoint", endpoint)
        assert done.status == 0, done.err
        assert f"Building 1 images with {endpoint}" in done.err
        # It belongs to that step, and is there as before.
        assert name in builders_of(builds.engine)
    finally:
        builds.engine.docker("buildx", "rm", name)


def containers(engine: Engine) -> set[str]:
    return set(engine.docker("ps", "--all", "--format", "{{.Names}}").split())


def test_images_of_untrusted_code_leave_nothing_behind(write: Write, builds: Builds) -> None:
    # A cache of packages that a trusted build has filled is empty here.
    look = "ls -A /root/.cache/uv | wc -l > /seen"
    mount = "--mount=type=cache,mode=0777,target=/root/.cache/uv,id=flyte-uv"
    root = write(flow("true"))
    code = (root / "flow.py").read_text().replace("['true']", f"[{f'{mount} touch /root/.cache/uv/mark'!r}]")
    (root / "flow.py").write_text(code)
    builds.deploy(root, "flow.py", "env")
    (root / "flow.py").write_text(code.replace("touch /root/.cache/uv/mark", look))
    named = ("--buildkit", builds.engine.buildkit[0], "--builder-endpoint", "docker-container://another-s")
    more = ("--untrusted", *named)
    done = builds.run(root, "flow.py", "env", *more)
    assert done.status == 0, done.err
    (image,) = done.json["images"]
    assert builds.inside(f"{image['reference']}@{image['digest']}", "cat", "/seen").strip() == "0"
    for option in ("--buildkit", "--builder-endpoint"):
        assert f"{option} is left out: the images are those of untrusted code" in done.err
    assert of_a_run(containers(builds.engine)) == []


def test_on_github_a_builder_that_cannot_write_caches_is_replaced(
    write: Write, builds: Builds, tmp_path: Path
) -> None:
    """The engine of GitHub's runners keeps images in the old way, which ours is made to say of itself."""
    real = shutil.which("docker", path=builds.engine.environ()["PATH"])
    tools = tmp_path / "tools"
    tools.mkdir()
    docker = tools / "docker"
    docker.write_text(
        f'#!/bin/sh\n[ "$1" = info ] && echo \'[["Backing Filesystem","extfs"]]\' && exit\nexec {real} "$@"\n'
    )
    docker.chmod(0o755)
    cache = tmp_path / "cache"
    variables = {"PATH": f"{tools}{os.pathsep}{builds.engine.environ()['PATH']}", "GITHUB_ACTIONS": "true"}
    options = ("flow.py", "env", "--cache-to", f"type=local,dest={cache}")
    name = "buildx_buildkit_flyte-deploy-host0"
    try:
        for number in range(2):
            done = builds.run(write(flow(f"echo {number}")), *options, **variables)
            assert done.status == 0, done.err
            assert "cannot write a cache" not in done.err
            assert (cache / "index.json").exists()
            # It stays, and the next run finds it.
            assert name in containers(builds.engine)
    finally:
        builds.engine.docker("rm", "--force", name)
        builds.engine.docker("volume", "rm", "--force", f"{name}_state")
