"""Base images of Dockerfiles, and builds that stay on a digest while its tag moves on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from flyte_deploy.errors import DeployError
from flyte_deploy.images.identity import tag
from flyte_deploy.images.pin import base_images, pin, pinned_context
from flyte_deploy.images.recipe import Recipe
from flyte_deploy.images.registry import Registries
from tests.engine import Engine
from tests.registries.servers import push

DOCKERFILE = r"""# syntax=docker/dockerfile:1
# escape=\
ARG VERSION=3.11 UNUSED
ARG BASE=python:${VERSION}-slim
FROM ghcr.io/astral-sh/uv:0.13.4 AS uv
from --platform=$BUILDPLATFORM ${BASE} as build
# FROM comment:1
ARG LATER=x
RUN --mount=type=bind,from=docker.io/tools:1,target=/t \
    # FROM inside:1
    --mount=type=cache,target=/c true
COPY --from=uv /uv /usr/bin/uv
COPY --from=0 /uv /usr/bin/uv
COPY --chown=a:b --from=alpine /etc/os-release /
RUN <<EOF cat && <<-'TWO' cat
FROM heredoc:1
EOF
	FROM heredoc:2
	TWO
FROM build
FROM scratch
FROM Build AS last
"""


def test_base_images_are_found_as_buildkit_finds_them() -> None:
    found = base_images(DOCKERFILE)
    assert found.addresses == (
        "ghcr.io/astral-sh/uv:0.13.4",
        "python:3.11-slim",
        "docker.io/tools:1",
        "alpine",
    )
    assert found.unknown == ()
    assert "python:3.13-slim" in base_images(DOCKERFILE, {"VERSION": "3.13"}).addresses
    assert "alpine" not in base_images(DOCKERFILE, replaced=["alpine"]).addresses


def test_a_base_that_only_the_builder_knows_is_named() -> None:
    text = "ARG NAME\nFROM $NAME:1\nFROM x:${TARGETARCH}\nFROM ${OTHER:-there:2}\n"
    found = base_images(text)
    assert found.unknown == ("$NAME:1", "x:${TARGETARCH}")
    assert found.addresses == ("there:2",)
    assert base_images(text, {"NAME": "a"}).addresses == ("a:1", "there:2")


def test_a_base_that_only_the_builder_knows_cannot_be_pinned(nobody: Registries) -> None:
    with pytest.raises(DeployError, match=r"the base image \$BASE cannot be pinned") as told:
        pin([Recipe(dockerfile="ARG BASE\nFROM $BASE\n")], nobody)
    assert told.value.usage


def test_a_base_that_no_registry_has_cannot_be_pinned(nobody: Registries, engine: Engine) -> None:
    with pytest.raises(DeployError, match="its registry has none of that name"):
        pin([Recipe(dockerfile=f"FROM {engine.registry}/nobody/has:this\n")], nobody)


def test_a_pinned_build_stays_where_it_was_when_the_tag_moves(
    nobody: Registries, engine: Engine, tmp_path: Path
) -> None:
    repository = f"pin/{uuid4().hex}"
    base, name = f"{engine.registry}/{repository}:base", f"{engine.registry}/{repository}:built"

    def build(folder: Path, dockerfile: str, tag: str, *more: str) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "Dockerfile").write_text(dockerfile)
        engine.docker(
            *("buildx", "build", "--builder", "default", "--provenance=false", "--push", "--pull"),
            *("--tag", tag, *more, str(folder)),
        )

    build(tmp_path / "one", "FROM scratch\nCOPY Dockerfile /\nENV BASE=one\n", base)
    recipe = Recipe(dockerfile=f"FROM {base}\nENV MINE=1\n")
    pinned = pin([recipe], nobody)[0].pinned
    assert pinned == {base: nobody.digests([base])[base]}
    build(tmp_path / "two", "FROM scratch\nCOPY Dockerfile /\nENV BASE=two\n", base)
    assert tag(pin([recipe], nobody)[0]) != tag(replace(recipe, pinned=pinned)) != tag(recipe)
    for arguments, expected in (
        ((), "two"),
        (("--build-context", pinned_context(base, pinned[base])), "one"),
    ):
        build(tmp_path / "mine", recipe.dockerfile, name, *arguments)
        engine.docker("pull", "--quiet", name)
        shown = engine.docker("image", "inspect", "--format", "{{json .Config.Env}}", name)
        engine.docker("image", "rm", name)
        assert f"BASE={expected}" in shown


def test_a_base_named_by_digest_is_pinned_already(nobody: Registries, engine: Engine) -> None:
    digest = push(engine.registry, "pin/by-digest", "1")
    text = f"FROM {engine.registry}/pin/by-digest:1@{digest}\nFROM {engine.registry}/pin/by-digest:1\n"
    other = Recipe(dockerfile="FROM scratch\n")
    (found, same) = pin([Recipe(dockerfile=text), other], nobody)
    assert found.pinned == {f"{engine.registry}/pin/by-digest:1": digest}
    assert same == other
