"""A user's own Dockerfile: built as it is, with its own directory as context."""

# Paths are text here, as in the description.
# ruff: noqa: PTH115, PTH118, PTH119, PTH120

from __future__ import annotations

import os
import re
from pathlib import Path

from flyte_deploy.images.checkout import NEVER, Checkout
from flyte_deploy.images.dockerignore import DockerIgnore, joined, parse
from flyte_deploy.images.recipe import ContextFile, Recipe, SecretMount

_SECRET = re.compile(r"--mount=(\S*type=secret\S*)")


def render_own(dockerfile: str, checkout: Checkout) -> Recipe:
    """The recipe of a Dockerfile.

    The files of its directory are listed for the image's identity; BuildKit reads the directory itself, with
    the ignore file that the recipe has: the user's own, and what never goes in.

    Args:
        dockerfile: its absolute path.
        checkout: where it has to lie, and its directory.

    Raises:
        DeployError: where they do not, or cannot be read.
    """
    text = checkout.text(dockerfile, "Dockerfile")
    folder = checkout.folder(os.path.dirname(dockerfile), "directory of the Dockerfile")
    ignore = _ignore(dockerfile, folder, checkout)
    return Recipe(
        dockerfile=text,
        files=_files(folder, ignore, checkout),
        folder=Path(folder),
        ignore=joined(ignore.patterns),
        secrets=secrets_of(text),
    )


def secrets_of(text: str) -> tuple[SecretMount, ...]:
    """The secrets that a Dockerfile mounts. Their names are their ids."""
    found: dict[str, SecretMount] = {}
    for options in _SECRET.findall(text.replace("\\\n", " ")):
        values: dict[str, str] = {}
        for part in options.split(","):
            key, _, values[key] = part.partition("=")
        name = values.get("id") or os.path.basename(values.get("target", values.get("dst", "")))
        if name:
            required = values.get("required", "false") not in ("false", "0")
            found[name] = SecretMount(name, name, required or (name in found and found[name].required))
    return tuple(found[name] for name in sorted(found))


def _ignore(dockerfile: str, folder: str, checkout: Checkout) -> DockerIgnore:
    for path in (f"{dockerfile}.dockerignore", os.path.join(folder, ".dockerignore")):
        if os.path.lexists(path):
            return DockerIgnore((*parse(checkout.text(path, "ignore file")), *NEVER))
    return DockerIgnore(NEVER)


def _files(folder: str, ignore: DockerIgnore, checkout: Checkout) -> tuple[ContextFile, ...]:
    """What BuildKit would find in the directory; links are links there, and stand for where they lead."""
    found = []
    pending = [("", ignore.top)]
    while pending:
        below, state = pending.pop()
        try:
            with os.scandir(os.path.join(folder, below)) as scan:
                entries = list(scan)
        except OSError as error:
            raise checkout.unreadable(os.path.join(folder, below), error) from None
        for entry in entries:
            path = f"{below}/{entry.name}" if below else entry.name
            out, inner = ignore.judge(path, state)
            if entry.is_dir(follow_symlinks=False):
                if not out or ignore.has_exceptions:
                    pending.append((path, inner))
            elif out:
                continue
            elif entry.is_symlink():
                found.append(ContextFile(path, 0o777, content=os.fsencode(os.readlink(entry.path))))
            elif entry.is_file(follow_symlinks=False):
                found.append(checkout.context_file(path, entry.path))
    return tuple(sorted(found, key=lambda file: file.path))
