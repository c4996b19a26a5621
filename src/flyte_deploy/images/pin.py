"""Base images of a Dockerfile, and the digests that their tags stand for now.

Source: https://docs.docker.com/reference/dockerfile/ (FROM, ARG, COPY --from, RUN --mount, heredocs).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from flyte_deploy.errors import DeployError
from flyte_deploy.images.recipe import Recipe, Registries
from flyte_deploy.images.reference import Reference

_DIRECTIVE = re.compile(r"#\s*(\w+)\s*=\s*(\S+)\s*")
_HEREDOC = re.compile(r"""<<(-?)(["']?)([A-Za-z_][A-Za-z0-9_]*)\2""")
_FROM = re.compile(r"FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?\s*", re.IGNORECASE)
_ARG = re.compile(r"""([A-Za-z_][A-Za-z0-9_]*)(?:=("[^"]*"|'[^']*'|\S*))?""")
_COPIED = re.compile(r"\s--from=(\S+)", re.IGNORECASE)
_MOUNTED = re.compile(r"\s--mount=(\S+)", re.IGNORECASE)
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::?([-+])([^}]*))?\}|(\w+))")


@dataclass(frozen=True)
class BaseImages:
    """What a Dockerfile builds on.

    Args:
        addresses: images of registries, as written, variables filled in.
        unknown: those that hold a variable that only the builder knows, as written.
    """

    addresses: tuple[str, ...]
    unknown: tuple[str, ...]


def base_images(
    dockerfile: str, build_args: Mapping[str, str] | None = None, replaced: Collection[str] = ()
) -> BaseImages:
    """The images that a Dockerfile names in FROM, COPY --from and RUN --mount=from.

    Args:
        dockerfile: its text. What is no Dockerfile is for BuildKit to say.
        build_args: by name; they come before the defaults of ARG.
        replaced: names that something else takes the place of, by ``--build-context``.
    """
    given = dict(build_args or {})
    known: dict[str, str] = {}
    names: dict[str, None] = {}
    unknown: dict[str, None] = {}
    stages: set[str] = {"scratch", *(name.lower() for name in replaced)}
    begun = False
    for line in _instructions(dockerfile):
        word = line.split(None, 1)[0].upper()
        if word == "ARG" and not begun:
            for name, default in _ARG.findall(line.split(None, 1)[1] if " " in line else ""):
                value = given.get(name, _fill(default.strip("\"'"), known) if default else None)
                if value is not None:
                    known[name] = value
        elif word == "FROM" and (match := _FROM.fullmatch(line)):
            begun = True
            image = _fill(match[1].strip("\"'"), known)
            if image is None:
                unknown[match[1]] = None
            elif image.lower() not in stages:
                names[image] = None
            if match[2]:
                stages.add(match[2].lower())
        elif word in {"COPY", "ADD", "RUN"}:
            for image in _others(line):
                if image.lower() not in stages and not image.isdigit() and "$" not in image:
                    names[image] = None
    return BaseImages(tuple(names), tuple(unknown))


def pin(
    recipes: Sequence[Recipe], registries: Registries, replaced: Collection[str] = ()
) -> tuple[Recipe, ...]:
    """The recipes, on the digests that the tags of their base images stand for now.

    All registries are asked at once. What a Dockerfile names by digest is pinned already.

    Args:
        recipes: whose base images.
        registries: answers for the digests.
        replaced: as for `base_images`.

    Raises:
        DeployError: for a base that cannot be pinned, since its name holds a variable that only the builder
            knows, or since its registry does not have it.
    """
    bases = [base_images(recipe.dockerfile, recipe.build_args, replaced) for recipe in recipes]
    found = {address: None for images in bases for address in images.addresses}
    for images in bases:
        if images.unknown:
            raise DeployError(
                f"the base image {images.unknown[0]} cannot be pinned: what it stands for is known "
                "only to the builder",
                where="--pin-base-images",
                mend="Give its ARG a default before the first FROM, or name the image by its digest.",
                usage=True,
            )
    wanted = {address: _normal(address) for address in found if not Reference.parse(address).digest}
    digests = registries.digests(tuple(dict.fromkeys(wanted.values())))
    pinned: dict[str, str] = {}
    for address, asked in wanted.items():
        digest = digests[asked]
        if digest is None:
            raise DeployError(
                f"the base image {address} cannot be pinned: its registry has none of that name",
                where="--pin-base-images",
                mend="Mend the name, or leave out --pin-base-images for bases that only the builder has.",
            )
        pinned[address] = digest
    return tuple(
        dataclasses.replace(
            recipe, pinned={address: pinned[address] for address in images.addresses if address in pinned}
        )
        for recipe, images in zip(recipes, bases, strict=True)
    )


def pinned_context(address: str, digest: str) -> str:
    """What ``--build-context`` is given so that a base image is that of a digest, whatever its tag says."""
    return f"{address}=docker-image://{_normal(address)}@{digest}"


def _normal(address: str) -> str:
    image = Reference.parse(address)
    return f"{image.name}:{image.tag}"


def _instructions(dockerfile: str) -> Iterator[str]:
    """The instructions, each in one line, without comments and the bodies of heredocs."""
    lines = iter(dockerfile.removeprefix("\ufeff").splitlines())
    escape, directives = "\\", True
    held = ""
    for line in lines:
        text = line.strip()
        if directives and (match := _DIRECTIVE.fullmatch(text)):
            escape = match[2] if match[1].lower() == "escape" else escape
            continue
        directives = False
        if not text or text.startswith("#"):
            continue
        if text.endswith(escape):
            held += text[:-1] + " "
            continue
        whole, held = (held + text).strip(), ""
        if not whole:
            continue
        yield whole
        if whole.split(None, 1)[0].upper() in {"RUN", "COPY", "ADD"}:
            for dash, _, end in _HEREDOC.findall(whole):
                for body in lines:
                    if (body.lstrip("\t") if dash else body) == end:
                        break
    if held.strip():
        yield held.strip()


def _others(line: str) -> Iterator[str]:
    if line[:3].upper() != "RUN":
        yield from (name.strip("\"'") for name in _COPIED.findall(line)[:1])
        return
    for options in _MOUNTED.findall(line):
        for option in options.split(","):
            key, _, value = option.partition("=")
            if key.lower() == "from" and value:
                yield value


def _fill(text: str, known: Mapping[str, str]) -> str | None:
    """The text with its variables filled in; None if one is not known."""
    missing = False

    def value(match: re.Match[str]) -> str:
        nonlocal missing
        name, operator, word = match[1] or match[4], match[2], match[3] or ""
        if operator == "-":
            return known.get(name) or word
        if operator == "+":
            return word if known.get(name) else ""
        missing = missing or name not in known
        return known.get(name, "")

    filled = _VARIABLE.sub(value, text)
    return None if missing or "$" in filled or not filled else filled
