"""Which image each environment's tasks run in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flyte_deploy.errors import DeployError
from flyte_deploy.model import Environment

DEFAULT = "default"
"""The name of an image that is given without one, as in Flyte's SDK."""


def choose_images(environments: Iterable[Environment], given: Mapping[str, str]) -> dict[str, str]:
    """The image address of each environment, by name; empty where its tasks say that they have none.

    Args:
        environments: those that are deployed.
        given: addresses by name, from ``--image`` and ``image.image_refs``. A name is that of
            `Image.from_ref_name`, or, for an image that would have to be built, the image's or the
            environment's own.

    Raises:
        DeployError: for a name that nobody gave, and for images that would have to be built.
    """
    chosen: dict[str, str] = {}
    to_build: list[Environment] = []
    for environment in environments:
        image = environment.image
        if image.kind == "named":
            chosen[environment.name] = _named(environment, given)
        elif image.kind == "default":
            chosen[environment.name] = given.get(DEFAULT, image.uri)
        elif image.kind == "build":
            uri = given.get(environment.name) or given.get(image.name, "")
            chosen[environment.name] = uri
            if not uri:
                to_build.append(environment)
        else:
            chosen[environment.name] = image.uri
    if to_build:
        raise _cannot_build(to_build)
    return chosen


def _named(environment: Environment, given: Mapping[str, str]) -> str:
    name = environment.image.name
    if name not in given:
        known = ", ".join(sorted(given)) or "none"
        raise DeployError(
            f"environment '{environment.name}' uses the image named '{name}', which nobody has given",
            where=str(environment.location) if environment.location else None,
            mend=f"Give it with --image {name}=URI or in config.yaml, image.image_refs (known: {known}).",
            usage=True,
        )
    return given[name]


def _cannot_build(environments: list[Environment]) -> DeployError:
    first = environments[0]
    return DeployError(
        "images that have to be built are not supported yet",
        where=str(first.location) if first.location else None,
        details=tuple(
            f"environment '{environment.name}' at {environment.location or 'an unknown place'}"
            for environment in environments
        ),
        mend=f"Give the address of a built image: --image {first.name}=URI.",
        usage=True,
    )
