"""What an image's description must not hold: it may be a stranger's, and its texts stand in lines of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from flyte_deploy.errors import DeployError
from flyte_deploy.images import source
from flyte_deploy.images.source import ImageSource, Layer, Secret

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check(image: ImageSource, base: str, where: str) -> None:
    """Refuse what would leave its line: the description may be a stranger's."""
    texts: Mapping[str, Sequence[str]] = {
        "the base image": (base,),
        "the Python version": (image.python,),
        "an argument": [text for layer in image.layers for text in _texts(layer)],
    }
    for what, values in texts.items():
        for value in values:
            if any(character in value for character in "\n\r\0"):
                raise DeployError(
                    f"{what} of image '{image.name}' has a line break: {value!r}",
                    where=where or None,
                    mend="Write it in one line.",
                    usage=True,
                )
    if not base or re.search(r"\s", base):
        raise DeployError(
            f"the base of image '{image.name}' is no address: {base!r}", where=where or None, usage=True
        )
    if not re.fullmatch(r"\d+(\.\d+)*", image.python):
        raise DeployError(
            f"'{image.python}' of image '{image.name}' is no Python version", where=where or None, usage=True
        )
    for layer in image.layers:
        names = [name for name, _ in layer.variables] if isinstance(layer, source.Env) else []
        secrets: Sequence[Secret] = getattr(layer, "secrets", ())
        names += [secret.env for secret in secrets if secret.env] + [secret.name for secret in secrets]
        for name in names:
            if not _VARIABLE.fullmatch(name.replace("-", "_").replace(".", "_")):
                raise DeployError(
                    f"{name!r} of image '{image.name}' is no name of a variable or a secret",
                    where=where or None,
                    usage=True,
                )
        for secret in secrets:
            if secret.mount and not re.fullmatch(r"/[\w./-]+", secret.mount):
                raise DeployError(
                    f"the secret '{secret.name}' cannot be mounted at {secret.mount!r}",
                    where=where or None,
                    usage=True,
                )


def _texts(layer: Layer) -> list[str]:
    """The texts of a layer that stand in a line of the Dockerfile that is ours."""
    found: list[str] = []
    for name in ("packages", "package", "extra_args", "environment", "path", "target"):
        value = getattr(layer, name, ())
        found += [value] if isinstance(value, str) else list(value)
    if isinstance(layer, source.Env):
        found += [value for _, value in layer.variables]
    options = getattr(layer, "options", None)
    if options is not None:
        found += [options.index_url, *options.extra_index_urls, options.extra_args]
    return found
