"""From `flyte.Image` to a Dockerfile: every kind of layer with its options."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import flyte
import pytest
from flyte import Image

from flyte_deploy.errors import DeployError
from flyte_deploy.images.recipe import SecretMount
from tests.images.conftest import Rendered, described, files, runs, source_of

RELEASED = "ghcr.io/flyteorg/flyte:py3.11-v2.12.1"
PIP = (
    "RUN --mount=type=cache,mode=0777,target=/root/.cache/uv,id=flyte-uv"
    "{mounts} uv pip install --python $UV_PYTHON {arguments}"
)
LOCK = 'version = 1\n\n[[package]]\nname = "app"\nversion = "1"\nsource = {{ editable = "{}" }}\n'
PYPROJECT = '[project]\nname = "app"\nversion = "1"\nrequires-python = ">=3.10"\n'
SCRIPT = """\
# /// script
# requires-python = ">=3.11"
# dependencies = ["httpx", "numpy>=2"{more}]
# ///
"""


def debian(**more: Any) -> Image:
    return Image.from_debian_base(name="x", registry="registry.example", python_version=(3, 11), **more)


def test_images_with_nothing_to_build(checkout: Path) -> None:
    assert described(Image.from_base("python:3.11"), checkout).uri == "python:3.11"
    assert described(Image.from_base("python:3.11"), checkout).kind == "prebuilt"
    assert described(Image.from_debian_base(python_version=(3, 11)), checkout).uri == RELEASED
    assert described(Image.from_ref_name("ours"), checkout).kind == "named"
    assert described("auto", checkout).kind == "default"
    assert described(None, checkout).kind == "none"
    layered = Image.from_ref_name("ours").clone(name="mine", extendable=True).with_pip_packages("six")
    assert (source_of(layered, checkout).reference, source_of(layered, checkout).name) == ("ours", "mine")


def test_the_frame_is_that_of_the_sdk(rendered: Rendered) -> None:
    lines = runs(rendered(debian().with_workdir("/srv")))
    assert lines[0].startswith("# ")
    assert f"FROM {RELEASED}" in lines
    assert "# syntax" not in lines[0]
    assert lines[-4:] == [
        "WORKDIR /srv",
        "ARG FLYTE_DEPLOY_IMAGE",
        "ENV _F_IMG_ID=$FLYTE_DEPLOY_IMAGE",
        'SHELL ["/bin/bash", "-c"]',
    ]
    own = runs(rendered(debian(install_flyte=False)))
    assert "FROM python:3.11-slim-bookworm" in own
    assert any(line.startswith("LABEL org.opencontainers.image.source=") for line in own)
    assert own[-5:-3] == ["USER flyte", "WORKDIR /home/flyte"]
    old = runs(rendered(Image.from_base("python:3.11").clone(name="x"), sdk="2.1.0"))
    assert "WORKDIR /root" in old


def test_platforms(rendered: Rendered) -> None:
    default = rendered(debian().with_apt_packages("git"))
    assert (default.platforms, default.strict_platforms) == (("linux/amd64", "linux/arm64"), False)
    said = rendered(debian(platform=("linux/arm64",)).with_apt_packages("git"))
    assert (said.platforms, said.strict_platforms) == (("linux/arm64",), True)
    insisted = rendered(debian().with_apt_packages("git"), platforms=["linux/amd64"])
    assert (insisted.platforms, insisted.strict_platforms) == (("linux/amd64",), True)
    with pytest.raises(DeployError, match="no platform"):
        rendered(debian().with_apt_packages("git"), platforms=["linux/amd64 --output=/"])


def test_pip_with_all_its_options(rendered: Rendered) -> None:
    secrets = [
        "plain-key",
        flyte.Secret("token", group="team"),
        flyte.Secret("file", mount=Path("/etc/flyte/secrets")),
    ]
    recipe = rendered(
        debian().with_pip_packages(
            "six",
            "numpy>=2,<3; python_version > '3'",
            index_url="https://u:$PLAIN_KEY@index.example/simple?a=1&b=2",
            extra_index_urls=["https://one.example", "https://two.example"],
            pre=True,
            extra_args="--no-deps --compile",
            secret_mounts=secrets,
        )
    )
    mounts = (
        " --mount=type=secret,id=plain-key,env=PLAIN_KEY,required=true"
        " --mount=type=secret,id=team_token,env=TEAM_TOKEN,required=true"
        " --mount=type=secret,id=file,target=/etc/flyte/secrets,required=true"
    )
    arguments = (
        '--index-url "https://u:$PLAIN_KEY@index.example/simple?a=1&b=2"'
        " --extra-index-url https://one.example --extra-index-url https://two.example"
        " --pre --no-deps --compile six 'numpy>=2,<3; python_version > '\"'\"'3'\"'\"''"
    )
    assert PIP.format(mounts=mounts, arguments=arguments) in runs(recipe)
    assert recipe.secrets == tuple(SecretMount(name, name) for name in ("file", "plain-key", "team_token"))


def test_requirements_bring_the_files_that_they_name(rendered: Rendered, checkout: Path) -> None:
    files(checkout, {"alone.txt": "six\n"})
    recipe = rendered(debian().with_requirements("alone.txt", pre=True))
    assert [(file.path, file.source) for file in recipe.files] == [
        ("1/requirements.txt", checkout / "alone.txt")
    ]
    mount = " --mount=type=bind,source=1/requirements.txt,target=requirements.txt"
    assert PIP.format(mounts=mount, arguments="--pre --requirement requirements.txt") in runs(recipe)
    files(
        checkout,
        {
            "reqs/dev.txt": "-r ../base.txt  # ours\n--constraint=pins.txt\n-r https://x.example/r.txt\nnumpy\n",
            "reqs/pins.txt": "numpy==2.0\n",
            "base.txt": "-rreqs/more.txt\n",
            "reqs/more.txt": "six",
        },
    )
    recipe = rendered(debian().with_requirements(checkout / "reqs" / "dev.txt"))
    assert [file.path for file in recipe.files] == [
        "1/base.txt",
        "1/reqs/dev.txt",
        "1/reqs/more.txt",
        "1/reqs/pins.txt",
    ]
    assert any(line.endswith("--requirement /tmp/requirements/reqs/dev.txt") for line in runs(recipe))
    files(checkout, {"broken.txt": "six\n-r gone.txt\n"})
    with pytest.raises(DeployError, match=r"line 2 of broken.txt refers to gone.txt"):
        rendered(debian().with_requirements("broken.txt"))


def test_wheels(rendered: Rendered, checkout: Path) -> None:
    files(checkout, {"dist/x-1-py3-none-any.whl": "", "dist/notes.txt": "", "empty/README": ""})
    layer = flyte._image.PythonWheels(wheel_dir=Path("dist"), package_name="x")
    recipe = rendered(debian().clone(addl_layer=layer))
    assert [file.path for file in recipe.files] == ["1/x-1-py3-none-any.whl"]
    mount = " --mount=type=bind,source=1,target=/dist"
    lines = runs(recipe)
    first = lines.index(PIP.format(mounts=mount, arguments="--find-links /dist x"))
    assert lines[first + 1] == PIP.format(
        mounts=mount, arguments="--find-links /dist --no-deps --no-index --reinstall x"
    )
    empty = flyte._image.PythonWheels(wheel_dir=Path("empty"), package_name="x")
    with pytest.raises(DeployError, match="holds no wheel"):
        rendered(debian().clone(addl_layer=empty))


def test_uv_dependencies_do_not_see_the_code(rendered: Rendered, checkout: Path) -> None:
    files(checkout, {"app/pyproject.toml": PYPROJECT, "app/uv.lock": LOCK.format("."), "app/main.py": "1"})
    recipe = rendered(debian().with_uv_project("app/pyproject.toml", extra_args="--extra gpu"))
    assert [file.path for file in recipe.files] == ["1/pyproject.toml", "1/uv.lock"]
    (line,) = [line for line in runs(recipe) if "uv sync" in line]
    assert "--mount=type=bind,source=1/uv.lock,target=uv.lock,rw" in line
    assert "--mount=type=bind,source=1/pyproject.toml,target=pyproject.toml" in line
    assert line.endswith(
        "VIRTUAL_ENV=${VIRTUAL_ENV-/opt/venv} uv sync --active --inexact --extra gpu --no-install-project"
    )


def test_uv_editables_are_mounted_where_the_bundle_has_them(rendered: Rendered, checkout: Path) -> None:
    sources = '\n[tool.uv.sources]\nlib = { path = "../lib", editable = true }\n'
    app = PYPROJECT.replace('">=3.10"', '">=3.10"\ndependencies = ["lib"]') + sources
    lib = PYPROJECT.replace('"app"', '"lib"')
    files(checkout, {"app/pyproject.toml": app, "lib/pyproject.toml": lib, "lib/lib/__init__.py": ""})
    files(checkout, {"lib/dist/old.whl": "", "lib/lib/__pycache__/x.pyc": ""})
    unlocked = rendered(debian().with_uv_project("app/pyproject.toml"))
    assert not (checkout / "app" / "uv.lock").exists()
    subprocess.run(["uv", "lock", "--offline"], cwd=checkout / "app", check=True, capture_output=True)
    recipe = rendered(debian().with_uv_project("app/pyproject.toml"))
    for one in (unlocked, recipe):
        (line,) = [line for line in runs(one) if "uv sync" in line]
        assert "--mount=type=bind,source=2,target=../lib,rw" in line
        assert {file.path for file in one.files if file.path.startswith("2/")} == {
            "2/pyproject.toml",
            "2/lib/__init__.py",
        }


def test_a_uv_project_has_its_dependencies_in_a_layer_of_their_own(
    rendered: Rendered, checkout: Path
) -> None:
    files(checkout, {"pyproject.toml": PYPROJECT, "uv.lock": LOCK.format("."), "app/__init__.py": "1"})
    image = debian().with_uv_project(
        "pyproject.toml", project_install_mode="install_project", extra_args="--locked"
    )
    recipe = rendered(image)
    first, second = [line for line in runs(recipe) if "uv sync" in line]
    assert "source=1,target=/root/.flyte/project,rw" in first
    assert first.endswith("--frozen --no-install-project --project /root/.flyte/project")
    assert {file.path for file in recipe.files if file.path.startswith("1/")} == {
        "1/pyproject.toml",
        "1/uv.lock",
    }
    assert second.endswith("uv sync --active --inexact --no-editable --locked --project /root/.flyte/project")
    assert "2/app/__init__.py" in {file.path for file in recipe.files}
    (checkout / "uv.lock").write_text(LOCK.format("../lib"))
    assert len([line for line in runs(rendered(image)) if "uv sync" in line]) == 1


def test_a_uv_script_is_its_header(rendered: Rendered, checkout: Path) -> None:
    files(checkout, {"job.py": SCRIPT.format(more=', "file://app"') + "print(1)\n"})
    files(checkout, {"app/pyproject.toml": PYPROJECT, "app/app.py": ""})
    recipe = rendered(
        Image.from_uv_script("job.py", name="x", registry="r.example", pre=True, python_version=(3, 11))
    )
    lines = runs(recipe)
    assert PIP.format(mounts="", arguments="--pre httpx 'numpy>=2'") in lines
    assert lines[-6].endswith("--no-editable --pre --project /root/.flyte/project")
    assert lines[-7].endswith("apt-get install -y --no-install-recommends git")
    assert {file.path for file in recipe.files} == {"1/app.py", "1/pyproject.toml"}


def test_poetry(rendered: Rendered, checkout: Path) -> None:
    files(checkout, {"p/pyproject.toml": PYPROJECT, "p/poetry.lock": "", "p/app.py": ""})
    image = debian().with_poetry_project("p/pyproject.toml", extra_args="--only main", secret_mounts="pw")
    recipe = rendered(image)
    lines = runs(recipe)
    start = next(index for index, line in enumerate(lines) if line.endswith("uv pip install poetry"))
    assert lines[start + 1] == ("ENV POETRY_CACHE_DIR=/tmp/poetry_cache POETRY_VIRTUALENVS_IN_PROJECT=true")
    assert "--mount=type=secret,id=pw,env=PW,required=true" in lines[start + 2]
    assert lines[start + 2].endswith(
        "VIRTUAL_ENV=${VIRTUAL_ENV-/opt/venv} poetry install --only main --no-root"
    )
    assert recipe.secrets == (SecretMount("pw", "pw"),)
    project = rendered(
        debian().with_poetry_project("p/pyproject.toml", project_install_mode="install_project")
    )
    first, second = [line for line in runs(project) if "poetry install" in line]
    assert first.endswith("poetry install --no-root -C /root/.flyte/project")
    assert second.endswith("poetry install -C /root/.flyte/project")
    assert "2/app.py" in {file.path for file in project.files}


def test_pixi(rendered: Rendered, checkout: Path) -> None:
    files(checkout, {"p/pixi.toml": "[workspace]\n", "p/pixi.lock": "", "p/app.py": ""})
    lines = runs(rendered(debian().with_pixi_project("p", environment="gpu", extra_args="-v")))
    assert "FROM ghcr.io/prefix-dev/pixi:0.72.2 AS pixi" in lines
    start = lines.index("COPY --from=pixi /usr/local/bin/pixi /usr/local/bin/pixi")
    assert lines[start + 1 : start + 3] == [
        "COPY 1/pixi.toml /opt/pixi-project/pixi.toml",
        "COPY 1/pixi.lock /opt/pixi-project/pixi.lock",
    ]
    assert lines[start + 3].endswith(
        "pixi install --manifest-path /opt/pixi-project/pixi.toml --environment gpu --locked -v"
    )
    assert lines[start + 4].split() == [
        "ENV",
        "VIRTUAL_ENV=/opt/pixi-project/.pixi/envs/gpu",
        "UV_PYTHON=/opt/pixi-project/.pixi/envs/gpu/bin/python",
        "PIXI_PROJECT_MANIFEST=/opt/pixi-project/pixi.toml",
        "PATH=/opt/pixi-project/.pixi/envs/gpu/bin:$PATH",
    ]
    frozen = rendered(
        debian().with_pixi_project("p", extra_args="--frozen", project_install_mode="install_project")
    )
    assert "COPY 1 /opt/pixi-project" in runs(frozen)
    assert not any("--locked" in line for line in runs(frozen))
    assert {file.path for file in frozen.files} == {"1/app.py", "1/pixi.lock", "1/pixi.toml"}


def test_a_pixi_script_is_its_header(rendered: Rendered, checkout: Path) -> None:
    files(checkout, {"job.py": SCRIPT.format(more="")})
    image = Image.from_pixi_script("job.py", name="x", registry="r.example")
    recipe = rendered(image)
    (manifest,) = recipe.files
    assert manifest.path == "1/pixi.toml"
    assert b"httpx" in (manifest.content or b"")
    assert "COPY 1/pixi.toml /opt/pixi-project/pixi.toml" in runs(recipe)


def test_apt_commands_env_and_lines(rendered: Rendered) -> None:
    image = (
        debian()
        .with_apt_packages("git", "curl=8.*", secret_mounts="apt")
        .with_commands(["echo 'a' && \\\n  echo b", "true"], secret_mounts=flyte.Secret("k"))
        .with_env_vars(
            {
                "PATH": "/x:$PATH",
                "SPACES": "hello world",
                "QUOTED": '"kept as it is"',
                "MIXED": 'say "hi" \\ to',
                "EMPTY": "",
            }
        )
        .clone(addl_layer=flyte._image._DockerLines(("LABEL a=b",)))
    )
    lines = rendered(image).dockerfile
    assert "--mount=type=secret,id=apt,env=APT,required=true \\\n    apt-get update" in lines
    assert "--no-install-recommends git curl=8.*\n" in lines
    assert "RUN --mount=type=secret,id=k,env=K,required=true echo 'a' && \\\n  echo b\n" in lines
    assert "ENV PATH=/x:$PATH\n" in lines
    assert 'ENV SPACES="hello world"\n' in lines
    assert 'ENV QUOTED="kept as it is"\n' in lines
    assert 'ENV MIXED="say \\"hi\\" \\ to"\n' in lines
    assert 'ENV EMPTY=""\n' in lines
    assert "\nLABEL a=b\n" in lines


def test_sources(rendered: Rendered, checkout: Path) -> None:
    files(
        checkout,
        {
            "src/a.py": "",
            "src/run.sh": "",
            "src/data/big.bin": "",
            "src/data/keep.bin": "",
            "src/__pycache__/a.pyc": "",
            "src/.git/config": "token",
            "src/sub/.git": "gitdir: elsewhere",
            "src/gha-creds-12.json": "secret",
            "odd name*.txt": "",
            ".dockerignore": "# comment\n/data\n!data/keep.bin\n",
        },
    )
    (checkout / "src" / "run.sh").chmod(0o700)
    (checkout / "src" / "link.py").symlink_to("a.py")
    (checkout / "src" / "dangling").symlink_to("nowhere")
    (checkout / "src" / "folder-link").symlink_to("data")
    recipe = rendered(
        debian()
        .with_source_folder(Path("src"), "/app dir")
        .with_source_file(Path("odd name*.txt"), "x.txt")
        .with_source_file(Path("src/data/big.bin"))
    )
    assert {file.path: (file.mode, file.source) for file in recipe.files} == {
        "1/a.py": (0o644, checkout / "src/a.py"),
        "1/link.py": (0o644, checkout / "src/a.py"),
        "1/run.sh": (0o755, checkout / "src/run.sh"),
        "1/data/keep.bin": (0o644, checkout / "src/data/keep.bin"),
        "2/odd name*.txt": (0o644, checkout / "odd name*.txt"),
        "3/big.bin": (0o644, checkout / "src/data/big.bin"),
    }
    lines = runs(recipe)
    assert 'COPY --chown=flyte:flyte ["1", "/app dir"]' in lines
    assert "COPY --chown=flyte:flyte 2/* x.txt" in lines
    assert "COPY --chown=flyte:flyte 3/big.bin ." in lines
    # A base that is not known to have the user gets none named: it would end the build.
    other = Image.from_base("python:3.11").clone(name="x", extendable=True).with_source_folder(Path("src"))
    assert "COPY 1 ./src" in runs(rendered(other))
    named = other.with_dockerignore(Path("ours"))
    files(checkout, {"ours": "**/*.py\n"})
    assert "1/a.py" not in {file.path for file in rendered(named).files}


def test_code_goes_in_last_and_only_where_it_is_not_bundled(rendered: Rendered, checkout: Path) -> None:
    files(checkout, {"flow.py": "", "lib/util.py": "", "notes.md": ""})
    image = debian().with_code_bundle(dst="/code").with_pip_packages("six")
    assert rendered(image).files == ()
    baked = rendered(image, loaded=["flow.py", "lib/util.py"])
    assert [file.path for file in baked.files] == ["1/flow.py", "1/lib/util.py"]
    lines = runs(baked)
    assert lines.index("COPY --chown=flyte:flyte 1 /code") > lines.index(
        PIP.format(mounts="", arguments="six")
    )
    everything = rendered(debian().with_code_bundle(copy_style="all"), loaded=["notes.md"])
    assert "1/notes.md" in {file.path for file in everything.files}


def test_a_dockerfile_of_ones_own_stays_as_it_is(rendered: Rendered, checkout: Path) -> None:
    text = (
        "# syntax=docker/dockerfile:1\nFROM python:3.11\n"
        "RUN --mount=type=secret,id=a \\\n  --mount=type=secret,id=b,required=true true\nCOPY . .\n"
    )
    files(
        checkout,
        {
            "docker/Dockerfile.gpu": text,
            "docker/.dockerignore": "*.md\n",
            "docker/notes.md": "",
            "docker/a.py": "",
            "docker/gha-creds-1.json": "",
            "docker/gha-kubeconfig-1": "",
            "docker/.git/config": "",
        },
    )
    recipe = rendered(Image.from_dockerfile(Path("docker/Dockerfile.gpu"), "r.example", "x"))
    assert recipe.dockerfile == text
    assert recipe.folder == checkout / "docker"
    assert [file.path for file in recipe.files] == [".dockerignore", "Dockerfile.gpu", "a.py"]
    never = ["**/.git", "**/__pycache__", "**/gha-creds-*.json", "**/gha-kubeconfig-*"]
    assert recipe.ignore.splitlines() == ["*.md", *never]
    assert recipe.secrets == (SecretMount("a", "a", required=False), SecretMount("b", "b"))
    files(checkout, {"docker/Dockerfile.gpu.dockerignore": "*.py\n"})
    more = rendered(Image.from_dockerfile(Path("docker/Dockerfile.gpu"), "r.example", "x"))
    assert more.ignore.startswith("*.py\n")


def test_hadolint_can_read_it(rendered: Rendered, checkout: Path, tmp_path: Path) -> None:
    files(checkout, {"src/odd name.py": "", "p/pixi.toml": "[workspace]\n", "r.txt": "six"})
    recipe = rendered(
        debian(install_flyte=False)
        .with_pip_packages("six", index_url='https://x.example/"$A"')
        .with_requirements("r.txt")
        .with_pixi_project("p")
        .with_source_folder(Path("src"), "a b")
        .with_env_vars({"A": "b c"})
    )
    (tmp_path / "Dockerfile").write_text(recipe.dockerfile)
    hadolint = Path(sys.executable).with_name("hadolint")
    result = subprocess.run(
        [hadolint, "--failure-threshold", "error", tmp_path / "Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
    )
    # It would have names for users, and versions for packages, which are the user's to say.
    assert result.returncode == 0, result.stdout
