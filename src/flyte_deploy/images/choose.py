"""Which image each environment's tasks run in, and which of them have to exist first."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flyte_deploy.errors import DeployError
from flyte_deploy.images.checkout import Checkout
from flyte_deploy.images.identity import tag
from flyte_deploy.images.recipe import Order, Recipe, Wanted
from flyte_deploy.images.render import CodeFiles, render
from flyte_deploy.images.source import ImageSource
from flyte_deploy.model import Environment

DEFAULT = "default"
"""The name of an image that is given without one, as in Flyte's SDK."""

_PUBLIC = "ghcr.io/flyteorg"
"""Where Flyte's own images are: nobody else can push there. Older SDKs have it for images without one."""

_DEVBOX = "localhost:30000"
"""The registry of Flyte's devbox: the SDK takes it where none is named and the endpoint is on localhost."""

_REGISTRY = re.compile(r"[A-Za-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)*")
_NAME = re.compile(r"[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*")


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
        sdk: the version of the project's SDK.
        endpoint: the control plane's, as written: the devbox has a registry of its own.
        builder: who builds.
        load: whether images stay in the engine here.
        suffix: what is put behind the name of each repository: previews have repositories of their own.
    """

    checkout: Path
    registry: str = ""
    platforms: tuple[str, ...] = ()
    code: CodeFiles | None = None
    pin: Callable[[Sequence[Recipe]], Sequence[Recipe]] | None = None
    sdk: str = ""
    endpoint: str = ""
    builder: str = "local"
    load: bool = False
    suffix: str = ""


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
    wanted: dict[str, Wanted] = {}
    recipes = _Recipes(given, workshop)
    for environment in environments:
        image = environment.image
        if image.kind == "named":
            address = _named(environment, image.name, given)
        elif image.kind == "default":
            address = given.get(DEFAULT, image.uri)
        elif image.kind == "build":
            address = _in_its_place(environment, given)
            if not address:
                one = _wanted(environment, recipes, workshop)
                before = wanted.get(one.reference)
                names = (*(before.environments if before else ()), environment.name)
                wanted[one.reference] = dataclasses.replace(one, environments=names)
                addresses[environment.name] = one.reference
                name, _, tagged = one.reference.rpartition("/")[2].rpartition(":")
                # The same content, whether it is a preview's or not.
                contents[environment.name] = f"{name.removesuffix(workshop.suffix)}:{tagged}"
                continue
        elif image.kind == "prebuilt" and not image.uri:
            raise _no_address(environment)
        else:
            address = image.uri
        addresses[environment.name] = address
        # An address written as text stands in the requests themselves.
        if image.kind != "text":
            contents[environment.name] = address
    return Chosen(addresses, contents, tuple(wanted.values()))


class _Recipes:
    """Recipes and tags; an image that several environments share is rendered and read once."""

    def __init__(self, given: Mapping[str, str], workshop: Workshop) -> None:
        self._given = given
        self._workshop = workshop
        self._known: dict[tuple[ImageSource, str], tuple[Recipe, str]] = {}

    def base(self, environment: Environment, source: ImageSource) -> str:
        """The address of a base that is given by its name; empty for one that the source has itself."""
        return _named(environment, source.reference, self._given) if source.reference else ""

    def of(self, environment: Environment, source: ImageSource) -> tuple[Recipe, str]:
        base = self.base(environment, source)
        key = (source, base)
        if key not in self._known:
            recipe = render(
                source,
                self._workshop.checkout,
                base=base,
                code=self._workshop.code,
                where=str(environment.location or ""),
                sdk=self._workshop.sdk,
                platforms=self._workshop.platforms,
            )
            if self._workshop.pin is not None:
                (recipe,) = self._workshop.pin([recipe])
            self._known[key] = recipe, tag(recipe)
        return self._known[key]


def _in_its_place(environment: Environment, given: Mapping[str, str]) -> str:
    """The address that is given for an image that would have to be built, empty where there is none."""
    image = environment.image
    if environment.name in given:
        return given[environment.name]
    # The name of an image that layers are put on gives their base, not the outcome.
    layered_on = image.source.reference if image.source else ""
    return "" if image.name == layered_on else given.get(image.name, "")


def _no_address(environment: Environment) -> DeployError:
    return DeployError(
        f"the image of environment '{environment.name}' has no address",
        where=str(environment.location or "") or None,
        mend="Image.from_base() needs one; an environment variable that it is taken from may not be set.",
        usage=True,
    )


def check_builder(name: str) -> None:
    """Refuse builders that there are not.

    Raises:
        DeployError: for any but Docker here and the backend's.
    """
    if name in ("local", "remote", "auto"):
        return
    why = {
        "local-podman": "images are built with BuildKit: the image builder local-podman is not supported",
    }
    raise DeployError(
        why.get(name, f"the image builder '{name}' is not supported: builders that are plugins are not"),
        where="--image-builder",
        mend="Build with --image-builder local, which needs a Docker engine with buildx, or give addresses of"
        " built images: --image NAME=URI.",
        usage=True,
    )


def _wanted(environment: Environment, recipes: _Recipes, workshop: Workshop) -> Wanted:
    image, where = environment.image, str(environment.location or "")
    if image.source is None:
        raise DeployError(
            f"the image of environment '{environment.name}' cannot be built: {image.problem}",
            where=where or None,
            mend=f"Mend it, or give the address of a built image: --image {environment.name}=URI.",
            usage=True,
        )
    source = image.source
    check_builder(workshop.builder)
    said = source.registry if source.registry.rstrip("/") != _PUBLIC else ""
    devbox = _DEVBOX if "localhost" in workshop.endpoint else ""
    registry = (said or workshop.registry or devbox).removeprefix("https://").strip("/")
    if not registry and workshop.builder == "local" and not workshop.load:
        raise no_registry(environment.name, where)
    name = source.name or environment.name
    for text, form, what in ((registry, _REGISTRY, "registry"), (name, _NAME, "name of an image")):
        if text and not form.fullmatch(text):
            raise DeployError(
                f"{text!r} is no {what}",
                where=where or None,
                mend="Docker allows lower case letters, digits, dots, dashes and underscores.",
                usage=True,
            )
    recipe, name_of_content = recipes.of(environment, source)
    base = recipes.base(environment, source)

    def order() -> Order:
        # The generated code of the backend's form is needed only there.
        from flyte_deploy.images.spec import image_spec

        checkout = Checkout(str(workshop.checkout), where or None)
        platforms = recipe.platforms if recipe.strict_platforms else ()
        return image_spec(source, checkout, base=source.base or base, platforms=platforms, code=workshop.code)

    repository = (f"{registry}/{name}" if registry else name) + workshop.suffix
    return Wanted(
        repository,
        name_of_content,
        recipe,
        (environment.name,),
        order=order,
        where=where,
        registry=registry,
    )


def no_registry(environment: str, where: str) -> DeployError:
    """An image has to be built, and there is nowhere to push it to."""
    return DeployError(
        f"the image of environment '{environment}' has to be built, and there is no registry to push it to",
        where=where or None,
        mend="Name one with --registry HOST/PATH, FLYTE_IMAGE_REGISTRY, or image.registry in config.yaml;"
        f" or give the address of a built image: --image {environment}=URI.",
        usage=True,
    )


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
