"""Who is asked for images, and who builds them: chosen by the settings."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flyte_deploy.controlplane import ControlPlane, Uploads
from flyte_deploy.controlplane.builds import BuildRuns
from flyte_deploy.images.choose import no_registry
from flyte_deploy.images.recipe import Builder, Finder, Found, Listen, Recipe, Registries, Wanted
from flyte_deploy.model import PlannedImage, Progress, Target
from flyte_deploy.secrets import SECRETS
from flyte_deploy.settings import Settings
from flyte_deploy.tls import Network


@dataclass(frozen=True)
class Workers:
    """Who is asked for images, and who builds them.

    Args:
        finder: knows which images are there.
        open: gives the builder; it is opened only where something has to be built.
        by_asking: whether the address of an image is known only by asking for it, not by its name and tag.
    """

    finder: Finder
    open: Callable[[], Builder]
    by_asking: bool = False

    def look(self, wanted: Sequence[Wanted]) -> tuple[PlannedImage, ...]:
        """Which images are there.

        Raises:
            DeployError: where nobody can be asked.
        """
        found = self.finder.find(wanted)
        return tuple(
            _known(PlannedImage(one.reference, one.environments, asked=True), found[one.reference])
            for one in wanted
        )


def workers(settings: Settings, wanted: Sequence[Wanted], plane: ControlPlane, target: Target) -> Workers:
    """Who works for these settings.

    Raises:
        DeployError: for logins that are named and not there, and for images that nobody can build.
    """
    from flyte_deploy.images.local import EngineFinder, RegistryFinder, local_builder

    if settings.image_builder in ("remote", "auto"):
        from flyte_deploy.images.remote import can_build

        runs = BuildRuns(plane, target, os.environ.get("FLYTE_IMAGEBUILDER_TASK_DOMAIN", "production"))
        if settings.image_builder == "remote" or can_build(runs, wanted):
            return _remote(settings, runs)
    without = next((one for one in wanted if not one.registry), None)
    if without is not None and not settings.load_images:
        raise no_registry(without.environments[0], without.where)
    registries = open_registries(settings)
    finder = EngineFinder() if settings.load_images else RegistryFinder(registries)
    return Workers(finder, lambda: local_builder(settings, registries, finder))


def _remote(settings: Settings, runs: BuildRuns) -> Workers:
    from flyte_deploy.images.remote import RemoteBuilder, RemoteFinder
    from flyte_deploy.stores.signed_url import SignedUrlStore

    finder = RemoteFinder(runs)

    def make() -> Builder:
        return RemoteBuilder(
            runs,
            finder,
            SignedUrlStore(Uploads(runs.plane, runs.target), Network(settings.ca_cert)),
            runs.plane.endpoint,
            settings.image_concurrency,
            settings.image_timeout,
            keep=settings.keep_builds,
        )

    return Workers(finder, make, by_asking=True)


@dataclass(frozen=True)
class Build:
    """A builder that is ready, all images, and what the plan knows of them."""

    builder: Builder
    finder: Finder
    wanted: tuple[Wanted, ...]
    images: tuple[PlannedImage, ...]

    def run(self, listen: Listen) -> tuple[PlannedImage, ...]:
        """Build what is missing; returns all images of the plan, with their addresses.

        What was there is looked for once more when that is done: builds take long enough for an image to
        expire.

        Raises:
            DeployError: for the images that failed.
        """
        there = {image.reference for image in self.images if image.known}
        missing = [one for one in self.wanted if one.reference not in there]
        built = list(self.builder.build(missing, listen))
        kept = [one for one in self.wanted if one.reference in there]
        again = self.finder.find(kept) if kept else {}
        gone = [one for one in kept if again[one.reference] is None]
        if gone:
            names = ", ".join(one.reference for one in gone)
            listen(Progress("warning", f"not there any more, and built again: {names}"))
            built += self.builder.build(gone, listen)
        made = {one.wanted.reference: one for one in built}
        return tuple(
            dataclasses.replace(
                _known(image, made[image.reference].found), seconds=made[image.reference].seconds
            )
            if image.reference in made
            else image
            for image in self.images
        )


def prepare(who: Workers, wanted: Sequence[Wanted], images: Sequence[PlannedImage]) -> Build:
    """A builder for what is missing, checked.

    Raises:
        DeployError: where there is no builder that can do it.
    """
    missing = {image.reference for image in images if not image.known}
    builder = who.open()
    builder.check([one for one in wanted if one.reference in missing])
    return Build(builder, who.finder, tuple(wanted), tuple(images))


def _known(image: PlannedImage, found: Found | None) -> PlannedImage:
    if found is None:
        return image
    return dataclasses.replace(image, known=found.address, run=found.run)


def open_registries(settings: Settings) -> Registries:
    """Registries, with the logins that the settings and the environment name.

    Raises:
        DeployError: for a login, or a file of authorities, that is named and not there.
    """
    from flyte_deploy.images.logins import credentials_of, registries_of

    return registries_of(settings, credentials_of(settings, os.environ, on_secret=SECRETS.add))


def pinned(settings: Settings, recipes: Sequence[Recipe]) -> Sequence[Recipe]:
    """The recipes, on the digests of their base images.

    Raises:
        DeployError: for a base image that cannot be pinned, and registries that cannot be asked.
    """
    from flyte_deploy.images.pin import pin

    replaced = [entry.partition("=")[0] for entry in settings.build_contexts]
    return pin(recipes, open_registries(settings), replaced)
