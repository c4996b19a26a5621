"""The steps of a run, as they begin and end."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flyte_deploy.errors import bounded
from flyte_deploy.model import Progress, Step
from flyte_deploy.secrets import SECRETS

Listen = Callable[[Progress], None]


def redacting(listen: Listen) -> Listen:
    """A listener that is told everything but what is known to be secret, and nothing of any length.

    What code or a build prints is bounded where it is read.
    """

    def tell(progress: Progress) -> None:
        text = SECRETS.redact(progress.text)
        if progress.kind not in ("output", "build"):
            text = bounded(text)
        listen(progress if text == progress.text else dataclasses.replace(progress, text=text))

    return tell


class Clock:
    """Times the steps of one run and says when each begins and ends."""

    def __init__(self, listen: Listen) -> None:
        self.listen = listen
        self._steps: list[Step] = []
        self._began = time.perf_counter()

    @contextmanager
    def step(self, name: str, text: str) -> Iterator[None]:
        """A step of the pipeline: `name` is the one of the list in the design, `text` what a person reads."""
        self.listen(Progress("step", text, data={"name": name}))
        started = time.perf_counter()
        try:
            yield
        finally:
            took = time.perf_counter() - started
            self._steps.append(Step(name, took, started - self._began))
            self.listen(Progress("done", text, seconds=took, data={"name": name}))

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps that have ended."""
        return tuple(self._steps)
