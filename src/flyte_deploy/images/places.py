"""Where builds can go: builders that are there, or are made known for this run, and which one gets what."""

from __future__ import annotations

import hashlib
import math
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from flyte_deploy.errors import DeployError
from flyte_deploy.images.recipe import Wanted

PROBE = 2.0
"""Seconds that a builder may take to answer when it is looked for."""

_START = 180.0
"""Seconds that a builder of our own may take to start: BuildKit's image is pulled first."""

_SLACK = 1.25
"""How much more than its share a builder may get so that images meet their layers."""


@dataclass(frozen=True)
class Place:
    """A builder that answers.

    Args:
        name: what buildx calls it; empty for the one that it uses by itself.
        address: what identifies it from run to run.
        platforms: what it builds for; empty where it does not say.
        driver: how buildx drives it.
    """

    name: str
    address: str
    platforms: tuple[str, ...] = ()
    driver: str = ""


@dataclass(frozen=True)
class Asked:
    """What came of a docker command: its status, None where it took too long, and what it wrote."""

    status: int | None
    out: str
    err: str


Ask = Callable[[Sequence[str], float], Asked]
"""Runs docker with arguments for at most so many seconds."""


@dataclass
class Places:
    """The builders of a run.

    Args:
        ask: runs docker.
        builder: the name of a builder that is there; empty for the one that buildx uses.
        endpoint: a container that runs BuildKit, ``docker-container://NAME``; empty for none.
        pool: addresses of BuildKit daemons, ``tcp://HOST:PORT``.
        tls: a folder with ``ca.pem``, ``cert.pem`` and ``key.pem`` for these; None for none.
    """

    ask: Ask
    builder: str = ""
    endpoint: str = ""
    pool: tuple[str, ...] = ()
    tls: Path | None = None
    problems: list[str] = field(default_factory=list)
    """Why builders that were named do not take part."""

    @property
    def makes(self) -> bool:
        """Whether builders are made for the run."""
        return bool(self.endpoint or self.pool)

    def find(self) -> tuple[Place, ...]:
        """The builders that answer; those that were named by their address are made known to buildx first.

        Raises:
            DeployError: where none does.
        """
        addresses = [self.endpoint] if self.endpoint else list(self.pool)
        if not addresses:
            return (self._inspect(self.builder, self.builder or "default", 20.0),)
        with ThreadPoolExecutor(len(addresses)) as executor:
            found = list(executor.map(self._make, addresses))
        places = tuple(place for place in found if isinstance(place, Place))
        self.problems += [text for text in found if isinstance(text, str)]
        if not places:
            raise DeployError(
                "no BuildKit daemon answers",
                where="--builder-endpoint" if self.endpoint else "--buildkit",
                details=tuple(self.problems),
                mend="Start one of them, or leave the option out to build with the engine here.",
            )
        return places

    def own(self, name: str, network: str = "") -> Place:
        """A builder of our own in a container of the engine, or the one of that name that is there.

        Args:
            name: its name.
            network: ``host`` where it has to reach a registry on this machine's loopback.

        Raises:
            DeployError: where it does not start.
        """
        options = ["--driver-opt", f"network={network}"] if network else []
        made = self.ask(["buildx", "create", "--name", name, "--driver", "docker-container", *options], 20.0)
        if made.status != 0:
            raise no_engine(f"a builder cannot be made: {_line(made.err)}")
        started = self.ask(["buildx", "inspect", "--bootstrap", name], _START)
        if started.status != 0:
            why = _line(started.err) if started.status is not None else f"it takes more than {_START:g} s"
            raise no_engine(f"a builder does not start: {why}")
        return self._inspect(name, name, 20.0)

    def _make(self, address: str) -> Place | str:
        name = f"flyte-deploy-{secrets.token_hex(6)}"
        options = []
        if self.tls is not None and address.startswith("tcp://"):
            files = {"cacert": "ca.pem", "cert": "cert.pem", "key": "key.pem"}
            pairs = (f"{option}={self.tls / file}" for option, file in files.items())
            options = [part for pair in pairs for part in ("--driver-opt", pair)]
        made = self.ask(["buildx", "create", "--name", name, "--driver", "remote", *options, address], 20.0)
        if made.status != 0:
            return f"{address}: {_line(made.err)}"
        try:
            return self._inspect(name, address, PROBE)
        except DeployError as error:
            return f"{address}: {error.what}"

    def _inspect(self, name: str, address: str, seconds: float) -> Place:
        asked = self.ask(["buildx", "inspect", *([name] if name else [])], seconds)
        if asked.status is None:
            raise no_engine(f"it does not answer within {seconds:g} s")
        lines = [line.partition(":") for line in asked.out.splitlines()]
        values = {key.strip(): value.strip() for key, _, value in lines}
        if asked.status != 0 or values.get("Error") or values.get("Status") in ("inactive", "stopped"):
            raise self._why(asked.err or values.get("Error") or "it does not run", name)
        platforms = (part.strip().rstrip("*") for part in values.get("Platforms", "").split(","))
        return Place(name, address, tuple(filter(None, platforms)), values.get("Driver", ""))

    def _why(self, said: str, name: str) -> DeployError:
        text = " ".join(said.split())
        if "is not a docker command" in text or "unknown command" in text:
            return no_engine("docker has no buildx plugin")
        if "permission denied" in text.lower():
            return no_engine(f"the engine's socket may not be used: {text}")
        if "no builder" in text:
            return DeployError(
                f"there is no buildx builder '{name}'",
                where="--buildx-builder",
                mend="docker buildx ls lists those that there are.",
                usage=True,
            )
        return no_engine(text or "docker buildx inspect failed")


def spread(images: Sequence[Wanted], places: Sequence[Place]) -> dict[str, list[Place]]:
    """Which builders an image goes to, by its reference: the first, and where to turn if that is lost.

    An image goes to the same builder in every run, where its layers are warm, whatever its tag is now and
    whoever else takes part (rendezvous hashing by repository, environments and platforms); no builder gets
    much more than its share.
    """
    most = math.ceil(len(images) / len(places) * _SLACK)
    load: dict[str, int] = {}
    found: dict[str, list[Place]] = {}
    for image in sorted(images, key=lambda one: one.reference):
        key = "\0".join(
            (image.repository, *sorted(image.environments), *sorted(image.recipe.platforms))
        ).encode()
        able = [place for place in places if _able(image, place)] or list(places)
        order = sorted(able, key=lambda place: _score(key, place.address), reverse=True)
        first = next((place for place in order if load.get(place.address, 0) < most), order[0])
        load[first.address] = load.get(first.address, 0) + 1
        found[image.reference] = [first, *(place for place in order if place is not first)]
    return found


def _able(image: Wanted, place: Place) -> bool:
    return not place.platforms or all(name in place.platforms for name in image.recipe.platforms)


def _score(key: bytes, address: str) -> bytes:
    return hashlib.sha256(address.encode() + b"\0" + key).digest()


_LOST = (
    "connection refused",
    "connection reset",
    "code = Unavailable",
    "transport is closing",
    "error reading from server",
    "failed to list workers",
    "[internal] waiting for connection",
    "no such host",
    "graceful_stop",
    "server closed the stream",
    "broken pipe",
)


def is_lost(lines: Sequence[str]) -> bool:
    """Whether a build ended because its builder went away, by the end of its log."""
    return any(sign in line for line in lines[-20:] for sign in _LOST)


def no_engine(why: str) -> DeployError:
    """There is nobody to build images."""
    return DeployError(
        f"images have to be built, and there is no engine to build them: {why}",
        mend="Start Docker with buildx, or name its socket in DOCKER_HOST. Environments with images that are"
        " built already need none: --image NAME=URI.",
    )


def _line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "buildx create failed"


def caches(environ: Mapping[str, str], scope: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The caches of layers to read and to write where none are named: GitHub's on GitHub, else none.

    The new service is named by its address: a container action is not told which one it is to use, and the
    old one is gone. Events that may not write caches read them only (``ACTIONS_CACHE_MODE``).

    Args:
        environ: the environment variables.
        scope: what keeps the caches of images apart.
    """
    url, token = environ.get("ACTIONS_RESULTS_URL", ""), environ.get("ACTIONS_RUNTIME_TOKEN", "")
    # Other runners of the same workflows have tokens of another kind, on which BuildKit ends the build.
    if environ.get("GITHUB_ACTIONS") != "true" or not url or token.count(".") != 2:
        return (), ()
    # A row of CSV, and the names of environments are a stranger's: a comma would begin another attribute.
    scope = re.sub(r"[^A-Za-z0-9._-]", "-", scope)
    cache = f"type=gha,version=2,url_v2={url},scope=flyte-deploy-{scope}"
    if environ.get("ACTIONS_CACHE_MODE", "").lower() in ("read", "readonly", "read-only", "none"):
        return (cache,), ()
    return (cache,), (f"{cache},mode=max,ignore-error=true",)
