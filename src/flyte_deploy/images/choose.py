"""Which image each environment's tasks run in, and which of them have to exist first."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flyte_deploy.errors import DeployError
from flyte_deploy.images.identity import tag
from flyte_deploy.images.recipe import Recipe, Wanted
from flyte_deploy.images.render import CodeFiles, render
from flyte_deploy.model import Environment

DEFAULT = "default"
"""The name of an image that is given without one, as in Flyte's SDK."""

_PUBLIC = "ghcr.io/flyteorg"
"""Where Flyte's own images are: nobody else can push there."""


@dataclass(frozen=True)
class Chosen:
    """The images of a deployment.

    Args:
        addresses: the address of each environment's image, by its name; of one that is built its repository
            and tag.
        contents: what identifies the content of each environment's image, by its name: where an image is
            pushed to does not count.
        wanted: the images that have to exist, each once.
    """

    addresses: Mapping[str, str]
    contents: Mapping[str, str]
    wanted: tuple[Wanted, ...] = ()


@dataclass(frozen=True)
class Workshop:
    """What it takes to know an image that is built.

    Args:
        checkout: the folder that its files have to lie in.
        registry: where images go whose code names no registry.
        platforms: those that were asked for, in place of what the code says.
        code: the project's code, None where it travels with the tasks.
        pin: gives recipes that stay on the digests of their base images, None where tags decide.
    """

    checkout: Path
    registry: str = ""
    platforms: tuple[str, ...] = ()
    code: CodeFiles | None = None
    pin: Callable[[Sequence[Recipe]], Sequence[Recipe]] | None = None


def choose_images(
    environments: Iterable[Environment], given: Mapping[str, str], workshop: Workshop
) -> Chosen:
    """Choose the image of each environment.

    Args:
        environments: those that are deployed.
        given: addresses by name, from ``--image`` and ``image.image_refs``. A name is that of
            `Image.from_ref_name`, or, for an image that would have to be built, the image's or the
            environment's own.
        workshop: what it takes to know images that are built.

    Raises:
        DeployError: for a name that nobody gave, for images that cannot be described or rendered, and where
            there is no registry to push them to.
    """
    addresses: dict[str, str] = {}
    contents: dict[str, str] = {}
    built: list[tuple[str, str, Recipe]] = []
    for environment in environments:
        image = environment.image
        if image.kind == "named":
            address = _named(environment, image.name, given)
        elif image.kind == "default":
            address = given.get(DEFAULT, image.uri)
        elif image.kind == "build":
            address = given.get(environment.name) or given.get(image.name, "")
            if not address:
                built.append((environment.name, *_recipe(environment, given, workshop)))
                continue
        else:
            address = image.uri
        addresses[environment.name] = address
        # An address written as text stands in the requests themselves.
        if image.kind != "text":
            contents[environment.name] = address
    wanted: dict[str, Wanted] = {}
    recipes: Sequence[Recipe] = [recipe for _, _, recipe in built]
    if workshop.pin is not None and recipes:
        recipes = workshop.pin(recipes)
    for (name, repository, _), recipe in zip(built, recipes, strict=True):
        one = Wanted(repository, tag(recipe), recipe, (name,))
        before = wanted.get(one.reference)
        names = (*(before.environments if before else ()), name)
        wanted[one.reference] = dataclasses.replace(one, environments=names)
        addresses[name] = one.reference
        contents[name] = one.reference.rpartition("/")[2]
    return Chosen(addresses, contents, tuple(wanted.values()))


def _recipe(environment: Environment, given: Mapping[str, str], workshop: Workshop) -> tuple[str, Recipe]:
    """The repository of an image that is built, and what it is built from."""
    image, where = environment.image, str(environment.location or "")
    if image.source is None:
        raise DeployError(
            f"the image of environment '{environment.name}' cannot be built: {image.problem}",
            where=where or None,
            mend=f"Mend it, or give the address of a built image: --image {environment.name}=URI.",
            usage=True,
        )
    source = image.source
    base = _named(environment, source.reference, given) if source.reference else ""
    recipe = render(source, workshop.checkout, base=base, code=workshop.code, where=where)
    if workshop.platforms:
        recipe = dataclasses.replace(recipe, platforms=workshop.platforms, strict_platforms=True)
    registry = source.registry if source.registry not in ("", _PUBLIC) else workshop.registry
    if not registry:
        raise DeployError(
            f"the image of environment '{environment.name}' has to be built, and there is no registry to"
            " push it to",
            where=where or None,
            mend="Name one with --registry HOST/PATH, FLYTE_IMAGE_REGISTRY, or image.registry in config.yaml;"
            f" or give the address of a built image: --image {environment.name}=URI.",
            usage=True,
        )
    name = source.name or "flyte"
    return f"{registry.strip('/')}/{name}", recipe


def _named(environment: Environment, name: str, given: Mapping[str, str]) -> str:
    if name not in given:
        known = ", ".join(sorted(given)) or "none"
        raise DeployError(
            f"environment '{environment.name}' uses the image named '{name}', which nobody has given",
            where=str(environment.location) if environment.location else None,
            mend=f"Give it with --image {name}=URI or in config.yaml, image.image_refs (known: {known}).",
            usage=True,
        )
    return given[name]
