"""The local builder: BuildKit by docker buildx."""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from flyte_deploy.errors import DeployError
from flyte_deploy.images import buildx
from flyte_deploy.images.docker_config import auth_variable
from flyte_deploy.images.places import Asked, Place, Places, caches, is_lost, no_engine, spread
from flyte_deploy.images.recipe import (
    Built,
    Finder,
    Found,
    Listen,
    Recipe,
    Registries,
    Wanted,
    finish,
    together,
)
from flyte_deploy.images.reference import Reference, is_loopback
from flyte_deploy.model import Progress
from flyte_deploy.settings import Settings
from flyte_deploy.tls import roots_file

_GRACE = 5.0
"""Seconds that a build may take to end after it was told to."""

_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "XDG_CONFIG_HOME")
_KEPT_PREFIXES = ("DOCKER_", "BUILDX_", "BUILDKIT_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


class _Lost(Exception):  # noqa: N818 - another builder may do it
    """The builder went away while it built; `error` says what was seen of it."""

    def __init__(self, error: DeployError) -> None:
        super().__init__(str(error))
        self.error = error


class BuildStopped(Exception):  # noqa: N818 - not a failure
    """The build was ended because something else went wrong."""


@dataclass(frozen=True)
class RegistryFinder:
    """Finds images where they are pushed to, by their digests."""

    registries: Registries

    def find(self, images: Sequence[Wanted]) -> Mapping[str, Found | None]:
        """Ask all registries at once."""
        digests = self.registries.digests([one.reference for one in images])
        return {name: Found(f"{name}@{digest}") if digest else None for name, digest in digests.items()}


@dataclass(frozen=True)
class EngineFinder:
    """Finds images in the store of the engine here, by their names: no registry knows a digest of them."""

    def find(self, images: Sequence[Wanted]) -> Mapping[str, Found | None]:
        """Ask the engine, once."""
        names = [one.reference for one in images]
        if shutil.which("docker") is None:
            raise no_engine("there is no docker command")
        command = ["docker", "image", "inspect", "--format", '{{join .RepoTags "\\n"}}', *names]
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
        there = set(asked.stdout.split())
        if asked.returncode != 0 and "no such image" not in asked.stderr.lower():
            raise no_engine(" ".join(asked.stderr.split()))
        return {name: Found(name) if name in there else None for name in names}


@dataclass
class LocalBuilder:
    """Builds images side by side with docker buildx, and pushes them.

    Args:
        choices: what holds for all builds.
        concurrency: how many at a time.
        registries: has the logins of docker.
        finder: asked once more before an image is built.
        environ: this process's environment; docker gets what it needs of it, and the secrets that are named.
        docker: the command that docker is called by.
        builder, endpoint, pool, tls: where builds may go, see `Places`.
        authorities: certificate authorities that builds trust, PEM; empty for those of the base images.
        untrusted: whether the images are those of somebody who may harm later builds: these get a builder
            that is gone afterwards, with its caches of packages, and write no cache that was not named.
        timeout: seconds that a build may take.
    """

    choices: buildx.Choices
    concurrency: int
    registries: Registries
    finder: Finder
    environ: Mapping[str, str]
    docker: tuple[str, ...] = ("docker",)
    builder: str = ""
    endpoint: str = ""
    pool: tuple[str, ...] = ()
    tls: Path | None = None
    authorities: str = ""
    timeout: float = 3600.0
    untrusted: bool = False
    live: Callable[[str], None] | None = None
    """Told each line of a build's log as it comes, where there is one image to build."""
    _running: set[subprocess.Popen[str]] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: bool = False
    _places: tuple[Place, ...] = ()
    _problems: tuple[str, ...] = ()
    _resources: ExitStack = field(default_factory=ExitStack)
    _config: str = ""

    def describe(self) -> str:
        """The builder, in words."""
        if self.untrusted:
            return "a builder of this run alone"
        if self.pool:
            return f"{len(self._places) or len(self.pool)} BuildKit daemons"
        if self.endpoint:
            return self.endpoint
        return f"buildx builder '{self.builder}'" if self.builder else "docker buildx"

    def check(self, images: Sequence[Wanted]) -> None:
        """Find the engine, buildx and the builders, and what they build for."""
        self._check_secrets(images)
        if shutil.which(self.docker[0], path=self.environ.get("PATH")) is None:
            raise no_engine("there is no docker command")
        places = Places(self._ask)
        if not self.untrusted:
            places = Places(self._ask, self.builder, self.endpoint, self.pool, self.tls)
        if places.makes:
            self._keep_to_ourselves()
        try:
            self._places = places.find()
            own = self._own(places, images)
            if own is not None:
                self._places = (own,)
            for image in images:
                self._platforms_of(image, self._places[0])
        except BaseException:
            self._resources.close()
            raise
        self._problems = tuple(places.problems)

    def _keep_to_ourselves(self) -> None:
        """What is made known to buildx for this run is gone with a folder, however the run ends."""
        name = self._resources.enter_context(tempfile.TemporaryDirectory(prefix="flyte-deploy-buildx-"))
        self._config = name

    def _own(self, places: Places, images: Sequence[Wanted]) -> Place | None:
        """A builder of our own, where the one that is there does not do; None where it does.

        On GitHub's runners Docker's own builder cannot write caches of layers. The one that is made in its
        place stays where the runner does, and is found by its name; other jobs may use it, so it is never
        removed.
        """
        hosts = {Reference.parse(image.reference).host for image in images}
        # Only to push there: or else the code's word for a registry would open the machine's loopback.
        network = "host" if not self.choices.load and any(is_loopback(host) for host in hosts) else ""
        if self.untrusted:
            self._keep_to_ourselves()
            name = f"flyte-deploy-{secrets.token_hex(6)}"
            self._resources.callback(self._ask, ["buildx", "rm", "--force", name], 30.0)
            return places.own(name, network)
        named = self.builder or self.endpoint or self.pool
        if named or self.environ.get("GITHUB_ACTIONS") != "true" or self.choices.load:
            return None
        if not (self.choices.cache_to or caches(self.environ, "x")[1]):
            return None
        if not self._exports_none(self._places[0]):
            return None
        self._keep_to_ourselves()
        try:
            return places.own("flyte-deploy" + (f"-{network}" if network else ""), network)
        except DeployError:
            # Without its caches it builds all the same, and a warning says so.
            self._config = ""
            return None

    def build(self, images: Sequence[Wanted], listen: Listen) -> tuple[Built, ...]:
        """Build and push."""
        failures: list[DeployError] = []
        done: dict[str, Built] = {}
        for problem in self._problems:
            listen(Progress("warning", f"a BuildKit daemon does not take part: {problem}"))
        self._say_what_is_left_out(images, listen)
        turns = spread(images, self._places)

        def one(image: Wanted) -> None:
            try:
                done[image.reference] = self._build(image, turns[image.reference], listen)
            except DeployError as error:
                failures.append(error)
            except BuildStopped:
                pass

        with self._resources, ThreadPoolExecutor(self.concurrency, thread_name_prefix="build") as executor:
            try:
                finish([executor.submit(one, image) for image in images])
            except BaseException:
                self.stop()
                raise
        if failures:
            raise together(failures, list(done.values()))
        return tuple(done[image.reference] for image in images)

    def _build(self, image: Wanted, turns: Sequence[Place], listen: Listen) -> Built:
        if self._stopped:
            raise BuildStopped
        # Somebody else may have built the same meanwhile.
        there = self.finder.find([image])[image.reference]
        if there:
            listen(Progress("image", f"{image.reference} is there by now"))
            return Built(image, there)
        started = time.monotonic()
        at = f" at {turns[0].address}" if len(self._places) > 1 else ""
        listen(Progress("image", f"building {image.reference} for {', '.join(image.environments)}{at}"))
        with tempfile.TemporaryDirectory(prefix="flyte-deploy-build-") as name:
            where = _lay_out(image.recipe, Path(name), self.authorities)
            try:
                lines = self._run(buildx.build(image, where, self._choices(image, turns[0])), image)
            except _Lost as lost:
                if len(turns) < 2:
                    raise lost.error from None
                warning = f"{turns[0].address} went away: {image.reference} is built at {turns[1].address}"
                listen(Progress("warning", warning))
                try:
                    lines = self._run(buildx.build(image, where, self._choices(image, turns[1])), image)
                except _Lost as again:
                    raise again.error from None
            for line in lines:
                if "cache" in line and (" WARN" in line or "warning:" in line.lower() or "error" in line):
                    listen(Progress("warning", f"{image.reference}: {line}"))
                listen(Progress("build", line, data={"image": image.reference}))
            try:
                digest = json.loads(where.metadata.read_bytes())["containerimage.digest"]
            except (OSError, ValueError, KeyError) as error:
                raise DeployError(f"the build of {image.reference} left no digest: {error}") from error
        seconds = time.monotonic() - started
        listen(Progress("image", f"built {image.reference} in {seconds:.1f} s"))
        address = image.reference if self.choices.load else f"{image.reference}@{digest}"
        return Built(image, Found(address), seconds)

    def _choices(self, image: Wanted, place: Place) -> buildx.Choices:
        scope = "-".join(image.environments)[:60]
        read, write = caches(self.environ, scope)
        # A cache that is named is the user's word; that of the place is the one that later builds read.
        write = () if self.untrusted else write
        return dataclasses.replace(
            self.choices,
            builder=place.name,
            platforms=self._platforms_of(image, place),
            cache_from=self.choices.cache_from or read,
            cache_to=() if self._exports_none(place) else self.choices.cache_to or write,
        )

    def _exports_none(self, place: Place) -> bool:
        """Whether a builder cannot write caches: Docker's own, where it keeps images in its old way."""
        if place.driver != "docker":
            return False
        asked = self._ask(["info", "--format", "{{json .DriverStatus}}"], 20.0)
        return "io.containerd.snapshotter" not in asked.out

    def _say_what_is_left_out(self, images: Sequence[Wanted], listen: Listen) -> None:
        """One warning for all images, not one for each."""
        place = self._places[0]
        left: dict[str, None] = {}
        for image in images:
            able = self._platforms_of(image, place)
            left.update(dict.fromkeys(name for name in image.recipe.platforms if name not in able))
        if left:
            names = ", ".join(left)
            listen(Progress("warning", f"nothing is built for {names}: {self.describe()} cannot"))
        if self.untrusted:
            named = {
                "--buildx-builder": self.builder,
                "--builder-endpoint": self.endpoint,
                "--buildkit": self.pool,
            }
            for option in (option for option, value in named.items() if value):
                listen(Progress("warning", f"{option} is left out: the images are those of untrusted code"))
            return
        if (self.choices.cache_to or caches(self.environ, "x")[1]) and self._exports_none(place):
            text = "this builder cannot write a cache of layers: name another with --buildx-builder"
            listen(Progress("warning", text))

    def _run(self, arguments: list[str], image: Wanted) -> list[str]:
        """Run one build to its end, and return its log."""
        lines: list[str] = []
        with self._lock:
            if self._stopped:
                raise BuildStopped
            process = subprocess.Popen(
                [*self.docker, *arguments],
                env=self._environment(image),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                # A group of its own: Ctrl-C reaches it by us, and all that it starts ends with it.
                start_new_session=True,
            )
            self._running.add(process)
        late = threading.Event()

        def end() -> None:
            late.set()
            os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(self.timeout, end)
        timer.daemon = True
        timer.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line.rstrip("\n"))
                if self.live is not None:
                    self.live(lines[-1])
            status = process.wait()
        finally:
            timer.cancel()
            with self._lock:
                self._running.discard(process)
        if self._stopped:
            raise BuildStopped
        if status == 0:
            return lines
        what, details = buildx.failure(lines)
        if late.is_set():
            what = f"its build takes more than {self.timeout:g} s (--image-timeout)"
        error = DeployError(
            f"image {image.reference} of {', '.join(image.environments)} cannot be built: {what}",
            details=details,
        )
        if is_lost(lines):
            raise _Lost(error)
        raise error

    def stop(self) -> None:
        """End all builds that run."""
        self._stopped = True
        with self._lock:
            running = list(self._running)
        for number, patience in ((signal.SIGTERM, _GRACE), (signal.SIGKILL, _GRACE)):
            for process in running:
                if process.poll() is None:
                    os.killpg(process.pid, number)
            limit = time.monotonic() + patience
            while any(process.poll() is None for process in running) and time.monotonic() < limit:
                time.sleep(0.05)

    def _platforms_of(self, image: Wanted, place: Place) -> tuple[str, ...]:
        wanted = image.recipe.platforms
        if not wanted or not place.platforms:
            return wanted
        able = tuple(name for name in wanted if name in place.platforms)
        if able == wanted:
            return wanted
        if image.recipe.strict_platforms or not able:
            missing = ", ".join(name for name in wanted if name not in able)
            raise DeployError(
                f"image {image.reference} is for {missing}, which {self.describe()} cannot build",
                mend=f"It builds for {', '.join(place.platforms)}. Name another one with --buildx-builder,"
                " or other platforms with --platform.",
                usage=True,
            )
        return able

    def _check_secrets(self, images: Sequence[Wanted]) -> None:
        given = self.choices.secrets or {}
        for image in images:
            for secret in image.recipe.secrets:
                if secret.required and secret.name not in given:
                    raise DeployError(
                        f"the image of {', '.join(image.environments)} asks for the secret '{secret.name}',"
                        " which nobody has given to builds",
                        mend=f"Give it with --build-secret {secret.name}, if the image may have it.",
                        usage=True,
                    )

    def _ask(self, arguments: Sequence[str], seconds: float) -> Asked:
        try:
            ran = subprocess.run(
                [*self.docker, *arguments],
                env=self._environment(None),
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Asked(None, "", "")
        return Asked(ran.returncode, ran.stdout, ran.stderr)

    def _environment(self, image: Wanted | None) -> dict[str, str]:
        kept = {
            name: value
            for name, value in self.environ.items()
            if name in _KEPT or name.upper().startswith(_KEPT_PREFIXES)
        }
        # buildx asks git about the context and the folders above it: as root, and by a configuration that the
        # code may have written, which names programs.
        kept |= {"BUILDX_GIT_INFO": "false", "BUILDX_GIT_LABELS": "false", "GIT_DIR": os.devnull}
        if self._config:
            kept["BUILDX_CONFIG"] = self._config
        if image is None:
            return kept
        if caches(self.environ, "x")[0]:
            # buildx finds the token of GitHub's cache by itself.
            kept["ACTIONS_RUNTIME_TOKEN"] = self.environ["ACTIONS_RUNTIME_TOKEN"]
        auths = self.registries.docker_auth(buildx.registries(image, self.choices)).get("auths")
        if auths:
            # In this process's environment alone: on no command line, in no file.
            given = auth_variable(kept).get("auths") or {}
            kept["DOCKER_AUTH_CONFIG"] = json.dumps({"auths": {**given, **auths}})
        for secret in image.recipe.secrets:
            kind, _, name = (self.choices.secrets or {}).get(secret.name, "").partition("=")
            if kind == "env":
                kept[name] = self.environ[name]
        return kept


def local_builder(settings: Settings, registries: Registries, finder: Finder) -> LocalBuilder:
    """The local builder, as the settings have it.

    Raises:
        DeployError: for a build secret that is not there.
    """
    # It is slow to import, and needed only here, where something is to be built.
    from python_on_whales import ClientNotFoundError, DockerClient

    checkout = settings.confinement.checkout if settings.confinement else None
    choices = buildx.Choices(
        cache_from=settings.cache_from,
        cache_to=settings.cache_to,
        build_contexts=buildx.context_sources(settings.build_contexts, settings.working_dir, checkout),
        secrets=buildx.secret_sources(settings.build_secrets, os.environ, settings.working_dir, checkout),
        provenance=settings.provenance,
        sbom=settings.sbom,
        compression=settings.image_compression,
        load=settings.load_images,
        more=tuple(shlex.split(os.environ.get("FLYTE_DOCKER_BUILD_EXTRA_ARGS", ""))),
    )
    try:
        command = DockerClient(client_call=["docker"]).client_config.docker_cmd
    except ClientNotFoundError:
        raise no_engine("there is no docker command") from None
    return LocalBuilder(
        choices,
        settings.image_concurrency,
        registries,
        finder,
        dict(os.environ),
        docker=tuple(str(part) for part in command),
        builder=settings.buildx_builder,
        endpoint=settings.builder_endpoint,
        pool=settings.buildkit,
        tls=settings.buildkit_tls,
        authorities=_authorities(settings.ca_cert),
        timeout=settings.image_timeout,
        untrusted=settings.untrusted,
    )


def _authorities(ca_cert: Path | None) -> str:
    """The machine's certificate authorities and those that were named beside them, for builds."""
    if ca_cert is None:
        return ""
    file = roots_file(ca_cert)
    return Path(file).read_text(encoding="utf-8", errors="replace") if file else ""


def _lay_out(recipe: Recipe, folder: Path, authorities: str) -> buildx.Where:
    """Put a build's files into a folder; those of a user's own Dockerfile stay where they are."""
    metadata = folder / "metadata.json"
    dockerfile, context = folder / "Dockerfile", folder / "context"
    dockerfile.write_text(recipe.dockerfile, encoding="utf-8")
    if recipe.folder is not None:
        # Beside the Dockerfile it comes before any that is in the context: .git and credentials stay out.
        dockerfile.with_name("Dockerfile.dockerignore").write_text(recipe.ignore, encoding="utf-8")
        return buildx.Where(dockerfile, recipe.folder, metadata)
    trusted = None
    if authorities:
        trusted = folder / "ca.pem", folder / "apt-ca.conf"
        trusted[0].write_text(authorities, encoding="utf-8")
        trusted[1].write_text('Acquire::https::CaInfo "/run/flyte-deploy/ca.pem";\n', encoding="utf-8")
        dockerfile.write_text(buildx.with_authorities(recipe.dockerfile), encoding="utf-8")
    context.mkdir()
    for file in recipe.files:
        target = context / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.source is None:
            target.write_bytes(file.content or b"")
        else:
            shutil.copyfile(file.source, target)
        target.chmod(file.mode)
    return buildx.Where(dockerfile, context, metadata, trusted)
