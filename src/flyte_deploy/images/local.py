"""The local builder: BuildKit by docker buildx."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from flyte_deploy.errors import DeployError
from flyte_deploy.images import buildx
from flyte_deploy.images.docker_config import auth_variable
from flyte_deploy.images.recipe import Built, Listen, Recipe, Registries, Wanted
from flyte_deploy.model import Progress
from flyte_deploy.settings import Settings

_GRACE = 5.0
"""Seconds that a build may take to end after it was told to."""

_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "XDG_CONFIG_HOME")
_KEPT_PREFIXES = ("DOCKER_", "BUILDX_", "BUILDKIT_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


class BuildStopped(Exception):  # noqa: N818 - not a failure
    """The build was ended because something else went wrong."""


@dataclass
class LocalBuilder:
    """Builds images side by side with docker buildx, and pushes them.

    Args:
        choices: what holds for all builds.
        concurrency: how many at a time.
        registries: asked once more before an image is built.
        environ: this process's environment; docker gets what it needs of it, and the secrets that are named.
    """

    choices: buildx.Choices
    concurrency: int
    registries: Registries
    environ: Mapping[str, str]
    _running: set[subprocess.Popen[str]] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: bool = False
    _platforms: tuple[str, ...] = ()

    def describe(self) -> str:
        """The builder, in words."""
        return f"buildx builder '{self.choices.builder}'" if self.choices.builder else "docker buildx"

    def check(self, images: Sequence[Wanted]) -> None:
        """Find the engine, buildx and the builder, and what it builds for."""
        self._check_secrets(images)
        if shutil.which("docker", path=self.environ.get("PATH")) is None:
            raise _no_engine("there is no docker command")
        inspected = self._ask("buildx", "inspect", *([self.choices.builder] if self.choices.builder else []))
        if inspected.returncode != 0:
            raise self._why(inspected.stderr)
        lines = [line.partition(":") for line in inspected.stdout.splitlines()]
        values = {name.strip(): value.strip() for name, _, value in lines}
        errors = values.get("Error", "")
        if errors:
            raise self._why(errors)
        self._platforms = tuple(
            name.strip().rstrip("*") for name in values.get("Platforms", "").split(",") if name.strip()
        )
        for image in images:
            self._platforms_of(image, lambda _: None)

    def build(self, images: Sequence[Wanted], listen: Listen) -> tuple[Built, ...]:
        """Build and push."""
        failures: list[DeployError] = []
        done: dict[str, Built] = {}

        def one(image: Wanted) -> None:
            try:
                done[image.reference] = self._build(image, listen)
            except DeployError as error:
                failures.append(error)
            except BuildStopped:
                pass

        with ThreadPoolExecutor(self.concurrency, thread_name_prefix="build") as executor:
            try:
                for future in [executor.submit(one, image) for image in images]:
                    future.result()
            except BaseException:
                self._stop()
                raise
        if failures:
            raise _together(failures, list(done.values()))
        return tuple(done[image.reference] for image in images)

    def _build(self, image: Wanted, listen: Listen) -> Built:
        if self._stopped:
            raise BuildStopped
        # Somebody else may have built the same meanwhile.
        there = self.registries.digests([image.reference])[image.reference]
        if there:
            listen(Progress("image", f"{image.reference} is there by now"))
            return Built(image, there)
        started = time.monotonic()
        listen(Progress("image", f"building {image.reference} for {', '.join(image.environments)}"))
        with tempfile.TemporaryDirectory(prefix="flyte-deploy-build-") as name:
            folder = Path(name)
            where = _lay_out(image.recipe, folder)
            choices = buildx.Choices(
                builder=self.choices.builder,
                platforms=self._platforms_of(image, listen),
                cache_from=self.choices.cache_from,
                cache_to=self.choices.cache_to,
                build_contexts=self.choices.build_contexts,
                secrets=self.choices.secrets,
            )
            lines = self._run(buildx.build(image, where, choices), image)
            for line in lines:
                listen(Progress("build", line, data={"image": image.reference}))
            try:
                digest = json.loads(where.metadata.read_bytes())["containerimage.digest"]
            except (OSError, ValueError, KeyError) as error:
                raise DeployError(f"the build of {image.reference} left no digest: {error}") from error
        seconds = time.monotonic() - started
        listen(Progress("image", f"built {image.reference} in {seconds:.1f} s"))
        return Built(image, digest, seconds)

    def _run(self, arguments: list[str], image: Wanted) -> list[str]:
        """Run one build to its end, and return its log."""
        lines: list[str] = []
        with self._lock:
            if self._stopped:
                raise BuildStopped
            process = subprocess.Popen(
                ["docker", *arguments],
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
        try:
            assert process.stdout is not None
            lines += [line.rstrip("\n") for line in process.stdout]
            status = process.wait()
        finally:
            with self._lock:
                self._running.discard(process)
        if self._stopped:
            raise BuildStopped
        if status != 0:
            what, details = buildx.failure(lines)
            raise DeployError(
                f"image {image.reference} of {', '.join(image.environments)} cannot be built: {what}",
                details=details,
            )
        return lines

    def _stop(self) -> None:
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

    def _platforms_of(self, image: Wanted, listen: Listen) -> tuple[str, ...]:
        wanted = image.recipe.platforms
        if not wanted or not self._platforms:
            return wanted
        able = tuple(name for name in wanted if name in self._platforms)
        if able == wanted:
            return wanted
        missing = [name for name in wanted if name not in able]
        if image.recipe.strict_platforms or not able:
            raise DeployError(
                f"image {image.reference} is for {', '.join(missing)}, which {self.describe()} cannot build",
                mend=f"It builds for {', '.join(self._platforms)}. Name another one with --buildx-builder,"
                " or other platforms with --platform.",
                usage=True,
            )
        listen(
            Progress(
                "warning", f"{image.reference} is built for {', '.join(able)} only, not {', '.join(missing)}"
            )
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

    def _ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                ["docker", *arguments],
                env=self._environment(None),
                capture_output=True,
                text=True,
                timeout=20,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise _no_engine(f"docker {' '.join(arguments)} does not answer within 20 s") from None

    def _environment(self, image: Wanted | None) -> dict[str, str]:
        kept = {
            name: value
            for name, value in self.environ.items()
            if name in _KEPT or name.upper().startswith(_KEPT_PREFIXES)
        }
        if image is None:
            return kept
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

    def _why(self, said: str) -> DeployError:
        text = " ".join(said.split())
        if "is not a docker command" in text or "unknown command" in text:
            return _no_engine("docker has no buildx plugin")
        if "permission denied" in text.lower():
            return _no_engine(f"the engine's socket may not be used: {text}")
        if "no builder" in text:
            return DeployError(
                f"there is no buildx builder '{self.choices.builder}'",
                where="--buildx-builder",
                mend="docker buildx ls lists those that there are.",
                usage=True,
            )
        return _no_engine(text or "docker buildx inspect failed")


def local_builder(settings: Settings, registries: Registries) -> LocalBuilder:
    """The local builder, as the settings have it.

    Raises:
        DeployError: for a build secret that is not there.
    """
    choices = buildx.Choices(
        builder=settings.buildx_builder,
        cache_from=settings.cache_from,
        cache_to=settings.cache_to,
        build_contexts=settings.build_contexts,
        secrets=buildx.secret_sources(settings.build_secrets, os.environ),
    )
    return LocalBuilder(choices, settings.image_concurrency, registries, dict(os.environ))


def _lay_out(recipe: Recipe, folder: Path) -> buildx.Where:
    """Put a build's files into a folder; those of a user's own Dockerfile stay where they are."""
    metadata = folder / "metadata.json"
    dockerfile, context = folder / "Dockerfile", folder / "context"
    dockerfile.write_text(recipe.dockerfile, encoding="utf-8")
    if recipe.folder is not None:
        # Beside the Dockerfile it comes before any that is in the context: .git and credentials stay out.
        dockerfile.with_name("Dockerfile.dockerignore").write_text(recipe.ignore, encoding="utf-8")
        return buildx.Where(dockerfile, recipe.folder, metadata)
    context.mkdir()
    for file in recipe.files:
        target = context / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.source is None:
            target.write_bytes(file.content or b"")
        else:
            shutil.copyfile(file.source, target)
        target.chmod(file.mode)
    return buildx.Where(dockerfile, context, metadata)


def _together(failures: list[DeployError], done: list[Built]) -> DeployError:
    built = f"{len(done)} others are built: the same command goes on from there." if done else None
    if len(failures) == 1:
        (one,) = failures
        return DeployError(one.what, where=one.where, details=one.details, mend=one.mend or built)
    details = [line for one in failures for line in (one.what, *(f"  {line}" for line in one.details))]
    return DeployError(f"{len(failures)} images cannot be built", details=tuple(details), mend=built)


def _no_engine(why: str) -> DeployError:
    return DeployError(
        f"images have to be built, and there is no engine to build them: {why}",
        mend="Start Docker with buildx, or name its socket in DOCKER_HOST. Environments with images that are"
        " built already need none: --image NAME=URI.",
    )
