"""The tag that an image is known by: a digest of all that decides what it holds.

It is the SHA-256, in hex and cut to 40 digits, of the parts below, each after its length in bytes (8 bytes,
big-endian):

- ``flyte-deploy image 1``; another number moves every tag;
- the Dockerfile;
- the number of files; for each, in the order of its path's bytes: its path, its mode, the SHA-256 of its
  content;
- likewise the platforms; the build arguments, name and value; the secrets, name and id.

Not in it: where the image is pushed to, what it is called, times and owners of files, values of secrets.
Flyte's own tags have 32 digits, so that neither is taken for the other.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence, Sized
from concurrent.futures import ThreadPoolExecutor

from flyte_deploy.bundle.reading import open_regular
from flyte_deploy.images.recipe import ContextFile, Recipe

LENGTH = 40
_FORMAT = b"flyte-deploy image 1"
_BUFFER = 256 << 10


def tag(recipe: Recipe, contents: dict[ContextFile, bytes] | None = None) -> str:
    """The tag of what a recipe builds.

    Args:
        recipe: the recipe.
        contents: the SHA-256 of the content of its files, see `read_contents`; they are read where it is not
            given.

    Raises:
        DeployError: for files that cannot be read.
    """
    known = read_contents(recipe.files) if contents is None else contents
    digest = hashlib.sha256()

    def add(*parts: bytes) -> None:
        for part in parts:
            digest.update(len(part).to_bytes(8, "big") + part)

    add(_FORMAT, recipe.dockerfile.encode(), _number(recipe.files))
    for file in sorted(recipe.files, key=lambda file: os.fsencode(file.path)):
        add(os.fsencode(file.path), file.mode.to_bytes(4, "big"), known[file])
    add(_number(recipe.platforms), *(platform.encode() for platform in sorted(recipe.platforms)))
    add(_number(recipe.build_args))
    for name, value in sorted(recipe.build_args.items()):
        add(name.encode(), value.encode())
    # An image without pinned bases has the tag that it had before there were any.
    for address, pin in sorted(recipe.pinned.items()):
        add(b"base", address.encode(), pin.encode())
    add(_number(recipe.secrets))
    for secret in sorted(recipe.secrets, key=lambda secret: secret.id):
        add(secret.name.encode(), secret.id.encode())
    return digest.hexdigest()[:LENGTH]


def read_contents(files: Sequence[ContextFile]) -> dict[ContextFile, bytes]:
    """The SHA-256 of each file's content, read side by side.

    Raises:
        DeployError: for files that cannot be read, or are none any more.
    """
    distinct = list(dict.fromkeys(files))
    workers = max(1, min(os.cpu_count() or 1, len(distinct)))
    with ThreadPoolExecutor(workers, thread_name_prefix="hash") as pool:
        return dict(zip(distinct, pool.map(_content, distinct, chunksize=64), strict=True))


def _content(file: ContextFile) -> bytes:
    if file.source is None:
        return hashlib.sha256(file.content or b"").digest()
    digest = hashlib.sha256()
    descriptor = open_regular(file.source, str(file.source))
    try:
        while block := os.read(descriptor, _BUFFER):
            digest.update(block)
    finally:
        os.close(descriptor)
    return digest.digest()


def _number(things: Sized) -> bytes:
    return len(things).to_bytes(8, "big")
