"""The backend's image builder: images are built by runs in the cluster, and no engine is needed here."""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from flyte_deploy.bundle.archive import Archive
from flyte_deploy.controlplane.builds import BackendImage, BuildRuns, NoBuilder, State, Stopped
from flyte_deploy.controlplane.channel import Endpoint
from flyte_deploy.errors import DeployError
from flyte_deploy.images.identity import read_contents
from flyte_deploy.images.recipe import Built, ContextFile, Found, Listen, Order, Wanted, finish, together
from flyte_deploy.model import BuildRun, Bundle, BundleFile, Progress
from flyte_deploy.stores.signed_url import SignedUrlStore

_ATTEMPTS = 20
"""How many names are tried for a run whose name is taken."""

_LAST_LINES = 30
_PATIENCE = 5.0
"""Seconds that the last lines of a log may take."""

_SIDE_BY_SIDE = 16
"""How many builds the cluster is given at a time: it has more room than the machine here."""


@dataclass(frozen=True)
class RemoteFinder:
    """Finds images that the backend has built, by name and tag."""

    runs: BuildRuns

    def find(self, images: Sequence[Wanted]) -> Mapping[str, Found | None]:
        """Ask for all images at once.

        The backend knows no registry: an image that lies elsewhere than it is wanted counts as absent.
        """
        names = [f"{one.repository.rpartition('/')[2]}:{one.tag}" for one in images]
        found = self.runs.images(names)
        return {one.reference: _if_there(one, image) for one, image in zip(images, found, strict=True)}


def _if_there(wanted: Wanted, image: BackendImage | None) -> Found | None:
    if image is None:
        return None
    lies = image.name.partition("@")[0]
    # Without a registry in the wanted name, any will do.
    if wanted.registry and lies != wanted.reference:
        return None
    return Found(image.name, image.run)


@dataclass
class RemoteBuilder:
    """Builds images by runs of the backend's task.

    Args:
        runs: the backend's builder.
        finder: asked whether what an earlier run has made is still there.
        store: where spec and context of a build are put.
        endpoint: the control plane's, for addresses of the console.
        concurrency: how many builds at a time.
        timeout: seconds that a build may take.
        keep: whether runs go on when this one is stopped or fails.
    """

    runs: BuildRuns
    finder: RemoteFinder
    store: SignedUrlStore
    endpoint: Endpoint
    concurrency: int
    timeout: float
    keep: bool = False
    _orders: dict[str, Order] = field(default_factory=dict)
    _started: dict[str, BuildRun] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: bool = False

    def describe(self) -> str:
        """The builder, in words."""
        return "the backend's image builder"

    def check(self, images: Sequence[Wanted]) -> None:
        """Find out whether the backend has a builder, and whether it can express the images."""
        self.runs.task()
        for image in images:
            self._order(image)

    def build(self, images: Sequence[Wanted], listen: Listen) -> tuple[Built, ...]:
        """Build."""
        failures: list[DeployError] = []
        done: dict[str, Built] = {}

        def one(image: Wanted) -> None:
            try:
                done[image.reference] = self._build(image, listen)
            except DeployError as error:
                failures.append(error)
            except Stopped:
                pass

        workers = max(self.concurrency, _SIDE_BY_SIDE)
        with ThreadPoolExecutor(workers, thread_name_prefix="build") as executor:
            try:
                finish([executor.submit(one, image) for image in images])
            except BaseException:
                self._stop(listen)
                raise
        if failures:
            raise together(failures, list(done.values()))
        return tuple(done[image.reference] for image in images)

    def _order(self, image: Wanted) -> Order:
        if image.reference not in self._orders:
            assert image.order is not None
            self._orders[image.reference] = image.order()
        return self._orders[image.reference]

    def _build(self, image: Wanted, listen: Listen) -> Built:
        started = time.monotonic()
        order = self._order(image)
        with _context(order.files) as context:
            name = _run_name(order, context, image)
            listen(Progress("image", f"building {image.reference} for {', '.join(image.environments)}"))
            inputs = {"spec": self._upload_spec(order), "context": "", "target_image": image.reference}
            if context is not None:
                inputs["context"] = self.store.find(context) or self.store.publish(context, lambda *_: None)
        limit = started + self.timeout
        for called, again in _names(name):
            run, ours = self.runs.start(called, inputs, secrets=order.secrets, overwrite=again)
            if ours:
                self._remember(run)
            elif not self.runs.has_inputs(run, inputs):
                continue  # the name is that of another build
            found = self._follow(image, run, limit, listen, ours=ours)
            if found is not None:
                seconds = time.monotonic() - started
                listen(Progress("image", f"built {image.reference} in {seconds:.1f} s"))
                return Built(image, found, seconds)
        raise DeployError(
            f"image {image.reference} cannot be built: {_ATTEMPTS} runs are called {name}, none of use",
            where=str(self.endpoint),
            mend="Build with --image-builder local.",
        )

    def _follow(
        self, image: Wanted, run: BuildRun, limit: float, listen: Listen, *, ours: bool
    ) -> Found | None:
        """Watch a run to its end; None where an earlier one is of no use any more."""
        page = self._page(run)
        word = "is built by" if ours else "was started before:"
        listen(Progress("image", f"{image.reference} {word} {page}"))
        last: deque[str] = deque(maxlen=_LAST_LINES)
        short = image.repository.rpartition("/")[2]

        def on_line(line: str) -> None:
            last.append(line.rstrip())
            listen(Progress("image", f"{short} | {line.rstrip()}"))

        reader = threading.Thread(target=self.runs.lines, args=(run, on_line), daemon=True)
        state = State("unknown")
        for state in self.runs.states(run, limit):
            if state.phase == "running" and reader.ident is None:
                reader.start()
            if not state.done:
                listen(Progress("image", f"{short} is {state.phase}"))
        self._forget(run)
        if reader.ident is None and state.done and not state.succeeded:
            # It failed before it was seen to run.
            reader.start()
        if reader.ident is not None:
            reader.join(_PATIENCE)
        if state.succeeded:
            found = Found(self.runs.image_of(run), run)
            if ours or self.finder.find([image])[image.reference] is not None:
                return found
            listen(Progress("image", f"{found.address}, which that run made, is gone: it is built again"))
            return None
        if not ours and state.done:
            return None
        if not state.done:
            if ours and not self.keep:
                self.runs.abort(run, "it took too long")
            what = f"its build takes more than {self.timeout:g} s (--image-timeout)"
        elif state.aborted:
            what = f"its build was aborted{f': {state.error}' if state.error else ''}"
        else:
            what = f"its build {state.phase}{f': {state.error}' if state.error else ''}"
        environments = ", ".join(image.environments)
        raise DeployError(
            f"image {image.reference} of {environments} cannot be built: {what}",
            details=(*last, page),
        )

    def _upload_spec(self, order: Order) -> str:
        digest = hashlib.sha256(order.spec).hexdigest()
        with tempfile.TemporaryDirectory(prefix="flyte-deploy-") as folder:
            path = Path(folder, "spec.pb")
            path.write_bytes(order.spec)
            md5 = hashlib.md5(order.spec, usedforsecurity=False).digest()
            return self.store.publish_object(
                digest, path.name, Archive(path, len(order.spec), md5), lambda *_: None
            )

    def _page(self, run: BuildRun) -> str:
        scheme = "http" if self.endpoint.insecure else "https"
        page = f"v2/domain/{run.domain}/project/{run.project}/runs/{run.name}"
        return f"{scheme}://{self.endpoint.address}/{page}"

    def _remember(self, run: BuildRun) -> None:
        with self._lock:
            self._started[run.name] = run
        if self._stopped:
            self._end([run])
            raise Stopped

    def _forget(self, run: BuildRun) -> None:
        with self._lock:
            self._started.pop(run.name, None)

    def _stop(self, listen: Listen) -> None:
        """End all runs that were started here, but for those that are to go on."""
        self._stopped = True
        self.runs.stop()
        with self._lock:
            left = list(self._started.values())
        if left and self.keep:
            listen(Progress("warning", f"builds go on: {', '.join(self._page(run) for run in left)}"))
            return
        self._end(left)

    def _end(self, runs: Sequence[BuildRun]) -> None:
        if self.keep:
            return
        with ThreadPoolExecutor(max(1, len(runs))) as executor:
            for run in runs:
                executor.submit(self.runs.abort, run, "the deploy that started it was stopped")


def can_build(runs: BuildRuns, images: Sequence[Wanted]) -> bool:
    """Whether the backend has a builder, and that can express all of the images.

    Raises:
        DeployError: where the backend cannot be asked.
    """
    try:
        runs.task()
    except NoBuilder:
        return False
    for image in images:
        try:
            if image.order is None:
                return False
            image.order()
        except DeployError:
            return False
    return True


def _names(name: str) -> Iterator[tuple[str, bool]]:
    """The names that a run may have, and whether what is cached under it is of no use."""
    yield name, False
    for number in range(2, _ATTEMPTS + 1):
        yield f"{name}-{number}", True


def _run_name(order: Order, context: Bundle | None, image: Wanted) -> str:
    """A name that says what is built: the same content finds the same run."""
    digest = hashlib.sha256()
    for part in (
        order.spec,
        (context.digest if context else "").encode(),
        image.reference.encode(),
        repr(order.secrets).encode(),
    ):
        digest.update(len(part).to_bytes(8, "big") + part)
    # At most 30 characters, and a letter first; room for the number of an attempt.
    return f"b{digest.hexdigest()[:24]}"


@contextmanager
def _context(files: Sequence[ContextFile]) -> Iterator[Bundle | None]:
    """The files of a context as what can be packed and stored, by the digest of paths, modes and contents."""
    if not files:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="flyte-deploy-") as folder:
        placed = []
        for number, file in enumerate(files):
            if file.source is None:
                path = Path(folder, str(number))
                path.write_bytes(file.content or b"")
                file = dataclasses.replace(file, source=path, content=None)  # noqa: PLW2901
            placed.append(file)
        contents = read_contents(placed)
        digest = hashlib.sha256(b"flyte-deploy image context 1")
        packed = []
        for file in placed:
            assert file.source is not None
            content = contents[file]
            path_bytes = file.path.encode("utf-8", "surrogateescape")
            digest.update(len(path_bytes).to_bytes(8, "big") + path_bytes + file.mode.to_bytes(4, "big"))
            digest.update(content)
            size = file.source.stat().st_size
            packed.append(BundleFile(file.path, file.source, size, file.mode, content.hex(), "image"))
        yield Bundle(tuple(packed), digest.hexdigest())
