"""Tokens: one at a time for all calls in flight, renewed before it expires, and once where it is refused."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from flyte_deploy.errors import DeployError
from flyte_deploy.http import shown
from flyte_deploy.login import Command
from flyte_deploy.secrets import SECRETS

_LONGEST_MARGIN = 60.0
_COMMAND_TIMEOUT = 60.0


@dataclass(eq=False)
class Token:
    """A token. `lifetime` is in seconds from when it was issued, None where nobody says; it is a secret."""

    value: str = field(repr=False)
    lifetime: float | None = None
    issued: float = field(default_factory=time.monotonic)
    good: bool = False
    """Whether the control plane has accepted it."""

    def __post_init__(self) -> None:
        SECRETS.add(self.value, own=True)

    def due(self) -> bool:
        """Whether it is time for another: a fifth of its life, or a minute, before its end."""
        if self.lifetime is None:
            return False
        margin = min(_LONGEST_MARGIN, self.lifetime / 5)
        return time.monotonic() >= self.issued + self.lifetime - margin

    def expired(self) -> bool:
        """Whether it has ended, as far as that is known."""
        return self.lifetime is not None and time.monotonic() >= self.issued + self.lifetime


class Tokens:
    """The token in use, of one source. May be asked by several threads; one of them gets the next, for all.

    Args:
        issue: gets a token, or raises `DeployError`.
    """

    def __init__(self, issue: Callable[[], Token]) -> None:
        self._issue = issue
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._error: DeployError | None = None

    def current(self) -> Token:
        """A token that has not expired.

        Raises:
            DeployError: where there is none; said once, and again without asking once more.
        """
        with self._lock:
            if self._token is None or self._token.due():
                self._renew()
            assert self._token is not None
            return self._token

    def refused(self, token: Token) -> bool:
        """Told that a token was refused: whether there is another to try.

        One that was never accepted, and took the place of none that was, is as good as it gets.

        Raises:
            DeployError: where a new one is wanted and there is none.
        """
        with self._lock:
            if token is not self._token:
                return True
            if not token.good and not token.expired():
                return False
            self._token = None
            self._renew()
            return True

    def _renew(self) -> None:
        if self._error is not None:
            raise self._error
        try:
            self._token = self._issue()
        except DeployError as error:
            if self._token is None or self._token.expired():
                self._error = error
                raise


def run_command(command: Command, what: str) -> str:
    """What a command prints, as a token.

    Args:
        command: what is run, in the deployer's own environment.
        what: what it is for, for messages: neither its arguments nor its output are in them.

    Raises:
        DeployError: where it fails, takes longer than a minute, or prints something that is no token.
    """
    name = command.arguments[0]
    mend = "Run it in a terminal to see more."
    try:
        done = subprocess.run(
            command.arguments,
            # Where it was named, whatever the working directory is by now: a relative program is that one.
            cwd=command.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_COMMAND_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        problem = f"took longer than {_COMMAND_TIMEOUT:g} s"
    except OSError as error:
        problem = f"cannot be started ({error.strerror})"
    else:
        text = done.stdout.decode("utf-8", "replace").strip()
        if done.returncode:
            # What it prints may be half a token; what it complains of is for people.
            said = shown(done.stderr.decode("utf-8", "replace"), 300)
            problem = f"failed with status {done.returncode}" + (f": {said}" if said else "")
        elif not text:
            problem = "printed no token"
        elif not text.isascii() or any(not character.isprintable() or character == " " for character in text):
            problem = "printed something else than a token alone"
        else:
            return text
    raise DeployError(f"{what}, '{name}', {problem}", where=command.source, mend=mend) from None
