"""What rendering gathers on its way: the files of the context, and the secrets that are mounted."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable

from flyte_deploy.images.checkout import Checkout
from flyte_deploy.images.dockerignore import DockerIgnore
from flyte_deploy.images.recipe import ContextFile, SecretMount
from flyte_deploy.images.source import Secret

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SIMPLE_ID = re.compile(r"[A-Za-z0-9_.-]+")
_SIMPLE_URL = re.compile(r"[\w:/.@%+=,~${}-]*", re.ASCII)
_PLAIN_PATH = re.compile(r"[\w./@+=,:~${}-]+", re.ASCII)


class Context:
    """A build context in the making.

    Each thing that is put in gets a folder of its own, numbered in the order of the layers: so one layer's
    files never reach another's copy, and what the user calls them never has to be written in a Dockerfile.

    Args:
        checkout: where all of it has to lie.
        ignore: what the image's ignore file leaves out of folders.
    """

    def __init__(self, checkout: Checkout, ignore: DockerIgnore) -> None:
        self.checkout = checkout
        self.ignore = ignore
        self._files: dict[str, ContextFile] = {}
        self._folders = 0
        self._secrets: dict[str, SecretMount] = {}

    @property
    def files(self) -> tuple[ContextFile, ...]:
        """All files so far, by path."""
        return tuple(self._files[path] for path in sorted(self._files))

    @property
    def secrets(self) -> tuple[SecretMount, ...]:
        """All secrets so far, by id."""
        return tuple(self._secrets[id_] for id_ in sorted(self._secrets))

    def new_folder(self) -> str:
        """The path of a folder that nothing is in yet."""
        self._folders += 1
        return str(self._folders)

    def add(self, folder: str, files: Iterable[tuple[str, str]]) -> str:
        """Put files into a folder, pairs of a path below it and a real path; returns the folder."""
        for path, source in files:
            full = f"{folder}/{path}"
            self._files[full] = self.checkout.context_file(full, source)
        return folder

    def add_text(self, folder: str, name: str, text: str) -> None:
        """Put a file into a folder that was made for the build."""
        full = f"{folder}/{name}"
        self._files[full] = ContextFile(full, content=text.encode())

    def add_tree(self, path: str, what: str, ignore: DockerIgnore | None = None) -> str:
        """Put all files of a folder of the checkout into one of the context, which is returned.

        Raises:
            DeployError: as `Checkout.tree`, and where nothing is in it.
        """
        source = self.checkout.folder(path, what)
        files = list(self.checkout.tree(source, self.ignore if ignore is None else ignore, what))
        if not files:
            raise self.checkout.error(
                f"the {what} {self.checkout.shown(path)} has no file that would go into the image", None
            )
        return self.add(self.new_folder(), files)

    def secret_mounts(self, secrets: Iterable[Secret]) -> list[str]:
        """The mounts of a ``RUN`` for secrets; they are required."""
        mounts = []
        for secret in secrets:
            plain = self.checkout.plain(secret.name, "secret")
            # A mount is a row of CSV: a name that cannot stand there is known by its digest.
            id_ = plain if _SIMPLE_ID.fullmatch(plain) else hashlib.sha256(plain.encode()).hexdigest()[:16]
            self._secrets[id_] = SecretMount(plain, id_)
            if secret.mount:
                target = f"target={self.mountable(secret.mount, 'file of a secret')}"
            else:
                if not _VARIABLE.fullmatch(secret.env):
                    raise self.checkout.error(
                        f"secret {plain!r} is mounted as {secret.env!r}, which is no name of an"
                        " environment variable",
                        None,
                    )
                target = f"env={secret.env}"
            mounts.append(f"--mount=type=secret,id={id_},{target},required=true")
        return mounts

    def mountable(self, path: str, what: str) -> str:
        """A path that can stand in a mount.

        Raises:
            DeployError: where it holds what ends a value there.
        """
        if not _PLAIN_PATH.fullmatch(path) or "," in path:
            raise self.checkout.error(f"the {what} {path!r} has characters that a mount cannot have", None)
        return path

    def line(self, text: str, what: str) -> str:
        """A text that stands in a line of the Dockerfile as it is.

        Raises:
            DeployError: where it has a line break.
        """
        return self.checkout.plain(text, what)

    def url(self, text: str, what: str) -> str:
        """An address as a word of a shell command; environment variables in it are expanded there."""
        plain = self.line(text, what)
        if _SIMPLE_URL.fullmatch(plain):
            return plain
        return '"' + re.sub(r'(["\\`])', r"\\\1", plain) + '"'

    def copy(self, source: str, destination: str, *, owner: str) -> str:
        """A ``COPY`` of a folder of the context, or of the one file in such a folder."""
        target = self.line(destination, "destination") or "."
        flag = f"--chown={owner} " if owner else ""
        folder, slash, name = source.partition("/")
        if slash and not _PLAIN_PATH.fullmatch(name):
            # Sources are patterns, and BuildKit finds none with quoted characters in it.
            source = f"{folder}/*"
        if _PLAIN_PATH.fullmatch(target):
            return f"COPY {flag}{source} {target}"
        return f"COPY {flag}{json.dumps([source, target], ensure_ascii=False)}"


def run(mounts: Iterable[str], command: str) -> str:
    """A ``RUN``, its mounts a line each."""
    return "RUN " + " \\\n    ".join([*mounts, command])
