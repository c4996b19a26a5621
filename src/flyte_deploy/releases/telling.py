"""What is found on the way and readers should know."""

from __future__ import annotations

from dataclasses import dataclass, field

from flyte_deploy.clock import Clock
from flyte_deploy.model import Progress


@dataclass
class Telling:
    """What is found on the way for readers."""

    clock: Clock
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        self.notes.append(text)
        self.clock.listen(Progress("note", text))

    def warn(self, text: str) -> None:
        self.warnings.append(text)
        self.clock.listen(Progress("warning", text))
