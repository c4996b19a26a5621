"""Which images are built, where they go, and what counts in the content version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flyte import Image

from flyte_deploy import model
from flyte_deploy.errors import DeployError
from flyte_deploy.images.choose import Chosen, Workshop, choose_images
from flyte_deploy.model import Environment, Location
from tests.images.conftest import described


def debian(**more: Any) -> Image:
    return Image.from_debian_base(**{"name": "x", "python_version": (3, 11), **more})


def choose(
    checkout: Path, images: dict[str, Any], given: dict[str, str] | None = None, **workshop: Any
) -> Chosen:
    environments = [
        Environment(
            key=key, name=name, location=Location("flow.py", key + 1), image=described(image, checkout)
        )
        for key, (name, image) in enumerate(images.items())
    ]
    return choose_images(
        environments, given or {}, Workshop(checkout, **{"registry": "r.example", **workshop})
    )


def test_environments_with_the_same_image_share_it(checkout: Path) -> None:
    images = {"a": debian().with_pip_packages("six"), "b": debian().with_pip_packages("six")}
    chosen = choose(checkout, {**images, "c": debian().with_pip_packages("idna"), "d": "r.example/d:1"})
    first, second = chosen.wanted
    assert (first.environments, second.environments) == (("a", "b"), ("c",))
    assert chosen.addresses["a"] == chosen.addresses["b"] == first.reference == f"r.example/x:{first.tag}"
    assert chosen.contents["a"] == f"x:{first.tag}"
    assert chosen.addresses["d"] == "r.example/d:1"
    elsewhere = choose(checkout, images, registry="other.example/team")
    assert elsewhere.contents == {name: chosen.contents[name] for name in images}


def test_where_images_are_pushed_to(checkout: Path) -> None:
    def repository(image: Any, **workshop: Any) -> str:
        (wanted,) = choose(checkout, {"a": image}, **workshop).wanted
        return wanted.repository

    assert repository(debian(registry="code.example/team/").with_pip_packages("a")) == "code.example/team/x"
    assert repository(debian().with_pip_packages("a")) == "r.example/x"
    # What older SDKs say of images that name none, and nobody can push to.
    assert repository(debian(registry="ghcr.io/flyteorg").with_pip_packages("a")) == "r.example/x"
    plain = debian().with_pip_packages("a")
    assert repository(plain, registry="", endpoint="localhost:30080") == "localhost:30000/x"
    with pytest.raises(DeployError, match="no registry") as caught:
        repository(plain, registry="", endpoint="flyte.example")
    assert caught.value.where == "flow.py:1"
    for registry, name in (("Not A Registry", "x"), ("r.example", "Upper")):
        with pytest.raises(DeployError, match="is no "):
            repository(debian(name=name).with_pip_packages("a"), registry=registry)


def test_a_base_that_is_given_by_name_keeps_its_layers(checkout: Path) -> None:
    layered = Image.from_ref_name("ours").clone(extendable=True, name="ours").with_pip_packages("six")
    chosen = choose(checkout, {"a": layered}, {"ours": "r.example/base:1"})
    (wanted,) = chosen.wanted
    assert "FROM r.example/base:1\n" in wanted.recipe.dockerfile
    assert "six" in wanted.recipe.dockerfile
    with pytest.raises(DeployError, match="which nobody has given"):
        choose(checkout, {"a": layered})
    # The environment's own name puts another image in its place.
    assert choose(checkout, {"a": layered}, {"a": "r.example/a:1"}).wanted == ()


def test_images_that_cannot_be_chosen(checkout: Path) -> None:
    with pytest.raises(DeployError, match="has no address"):
        choose(checkout, {"a": Image.from_base("")})
    broken = Environment(key=0, name="a", image=model.Image("build", problem="it is odd"))
    with pytest.raises(DeployError, match="cannot be built: it is odd"):
        choose_images([broken], {}, Workshop(checkout, registry="r.example"))


def test_platforms_that_are_asked_for(checkout: Path) -> None:
    image = debian(registry="r.example").with_pip_packages("a")
    (said,) = choose(checkout, {"a": image}).wanted
    (asked,) = choose(checkout, {"a": image}, platforms=("linux/amd64",)).wanted
    assert (asked.recipe.platforms, asked.recipe.strict_platforms) == (("linux/amd64",), True)
    assert asked.tag != said.tag


@pytest.mark.parametrize(
    ("builder", "said"),
    [("local-podman", "local-podman is not"), ("mine", "'mine' is not")],
)
def test_builders_that_there_are_not(checkout: Path, builder: str, said: str) -> None:
    # Said before anything of a registry, which the backend's builder would not need.
    with pytest.raises(DeployError, match=said) as caught:
        choose(checkout, {"a": debian().with_pip_packages("six")}, registry="", builder=builder)
    assert caught.value.exit_status == 2
    assert choose(checkout, {"a": Image.from_base("r.example/a:1")}, builder=builder).wanted == ()
