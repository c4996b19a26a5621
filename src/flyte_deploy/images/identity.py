"""Identity: the tag of an image, a digest of what goes into it.

Images cannot be known by their own digests: the same Dockerfile built twice gives two. What is built from the
same text and files is the same image to us. Where it is pushed to, whose authority is trusted while it is
built, when files were changed and who built it do not count.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from flyte_deploy.errors import DeployError
from flyte_deploy.images.context import never
from flyte_deploy.images.dockerignore import Ignore
from flyte_deploy.images.recipe import Recipe

TEMPLATE = 1
"""Counted up when the same recipe is to be built in another way: all images get other tags then."""


def tag(recipe: Recipe) -> str:
    """The tag of a recipe's image: 32 hex digits.

    Args:
        recipe: what it is built from.

    Raises:
        DeployError: for a file that cannot be read.
    """
    document = {
        "template": TEMPLATE,
        "dockerfile": recipe.dockerfile,
        "files": [list(entry) for entry in _files(recipe)],
        "platforms": sorted(recipe.platforms),
        "arguments": dict(sorted(recipe.build_args.items())),
        "secrets": sorted(secret.name for secret in recipe.secrets),
        "pinned": dict(sorted(recipe.pinned.items())),
    }
    text = json.dumps(document, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _files(recipe: Recipe) -> Iterator[tuple[str, int, str]]:
    if recipe.folder is not None:
        yield from _folder(recipe.folder, recipe.dockerfile_name)
    for file in recipe.files:
        if file.source is None:
            yield file.path, file.mode, hashlib.sha256(file.content or b"").hexdigest()
        else:
            yield file.path, file.mode, _sha256(file.source)


def _folder(folder: Path, dockerfile: str) -> Iterator[tuple[str, int, str]]:
    """What a build with this folder as its context may see, by its ignore files as BuildKit finds them."""
    ignore = Ignore()
    for name in (f"{dockerfile}.dockerignore", ".dockerignore"):
        path = folder / name
        if path.is_file():
            ignore = Ignore.parse(path.read_text(encoding="utf-8", errors="replace").splitlines())
            break
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not never(name))
        for name in sorted([*files, *(each for each in folders if Path(here, each).is_symlink())]):
            path = Path(here, name)
            relative = path.relative_to(folder).as_posix()
            if never(name) or ignore.matches(relative):
                continue
            if path.is_symlink():
                yield relative, 0o777, hashlib.sha256(os.fsencode(path.readlink())).hexdigest()
            elif path.is_file():
                yield relative, 0o755 if path.stat().st_mode & 0o111 else 0o644, _sha256(path)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise DeployError(f"{path} cannot be read: {error.strerror}", usage=True) from error
    return digest.hexdigest()
