"""Who is asked for images, and who builds them: chosen by the settings."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass

from flyte_deploy.images.choose import check_builder
from flyte_deploy.images.recipe import Builder, Listen, Recipe, Registries, Wanted
from flyte_deploy.model import Plan, PlannedImage
from flyte_deploy.settings import Settings


@dataclass(frozen=True)
class Build:
    """A builder that is ready, and the images that it is to make, of those that the plan lists."""

    builder: Builder
    wanted: tuple[Wanted, ...]
    images: tuple[PlannedImage, ...]

    def run(self, listen: Listen) -> tuple[PlannedImage, ...]:
        """Build what is missing; returns all images of the plan, with their digests.

        Raises:
            DeployError: for the images that failed.
        """
        built = {one.wanted.reference: one for one in self.builder.build(self.wanted, listen)}
        return tuple(
            dataclasses.replace(
                image, digest=built[image.reference].digest, seconds=built[image.reference].seconds
            )
            if image.reference in built
            else image
            for image in self.images
        )


def prepare(
    settings: Settings, wanted: Sequence[Wanted], plan: Plan, registries: Registries | None = None
) -> Build:
    """A builder for what is missing, checked. Without `registries` it opens them itself.

    Raises:
        DeployError: where there is no builder that can do it.
    """
    missing = {image.reference for image in plan.to_build}
    images = tuple(one for one in wanted if one.reference in missing)
    builder = open_builder(settings, registries or open_registries(settings))
    builder.check(images)
    return Build(builder, images, plan.images)


def open_registries(settings: Settings) -> Registries:
    """Registries, with the logins that the settings and the environment name.

    Raises:
        DeployError: for a login, or a file of authorities, that is named and not there.
    """
    from flyte_deploy.images.logins import credentials_of, registries_of

    return registries_of(settings, credentials_of(settings, os.environ))


def pinned(settings: Settings, recipes: Sequence[Recipe]) -> Sequence[Recipe]:
    """The recipes, on the digests of their base images.

    Raises:
        DeployError: for a base image that cannot be pinned, and registries that cannot be asked.
    """
    from flyte_deploy.images.pin import pin

    replaced = [entry.partition("=")[0] for entry in settings.build_contexts]
    return pin(recipes, open_registries(settings), replaced)


def open_builder(settings: Settings, registries: Registries) -> Builder:
    """The builder that the settings name.

    Raises:
        DeployError: for one that there is not.
    """
    check_builder(settings.image_builder)
    from flyte_deploy.images.local import local_builder

    return local_builder(settings, registries)
