"""The one registry of what is known to be secret, which everything that leaves this process passes through.

Whoever learns of a secret adds it: a token when it is issued, a password when it is read. What is written
anywhere, to a terminal, a log, a document, an exception, is redacted by the same registry.
"""

from __future__ import annotations

import base64
import json
import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

HIDDEN = "***"
"""What stands in a secret's place."""

SHORTEST = 6
"""Characters. A shorter secret is not hidden: its letters would be in every other word."""

_NAMED = re.compile(
    r"(TOKEN|SECRET|PASSWORD|PASSWD|API[_-]?KEY|PRIVATE_KEY|ACCESS_KEY|CREDENTIALS|AUTH_CONFIG)$",
    re.IGNORECASE,
)
_USER_IN_ADDRESS = re.compile(r"://([^\s/@:]*):([^\s/@]+)@")


class Secrets:
    """Secrets, known one after the other. May be used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._values: dict[str, None] = {}
        self._own: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self._told: list[Callable[[str], object]] = []

    def add(self, *values: str, own: bool = False) -> None:
        """Make values known, each whole, by its lines, and as it looks in a URL, in JSON and in Python.

        Args:
            values: empty ones and very short ones are passed over.
            own: whether they are what the deployer logs in with, which nothing that it starts may see.
        """
        with self._lock:
            for value in values:
                if own and value:
                    self._own.add(value)
                for form in _forms(value):
                    if form not in self._values:
                        self._values[form] = None
                        self._pattern = None
                        for tell in self._told:
                            tell(form)

    def add_login(self, user: str, password: str, *, own: bool = False) -> None:
        """Make a password known, and the header of HTTP's basic authentication that it makes."""
        self.add(password, own=own)
        for secret in (password, quote_plus(password)):
            self.add(base64.b64encode(f"{user}:{secret}".encode()).decode())

    def add_named(self, environ: Mapping[str, str]) -> None:
        """Make known the values of environment variables that are named like secrets, and passwords of
        addresses in the others."""
        self.add(*named_like_secrets(environ))
        self.add(*(found[2] for value in environ.values() for found in _USER_IN_ADDRESS.finditer(value)))

    def values(self) -> tuple[str, ...]:
        """All forms of what is known, the longest first."""
        with self._lock:
            return tuple(sorted(self._values, key=lambda text: (-len(text), text)))

    def is_own(self, value: str) -> bool:
        """Whether the deployer itself logs in with this."""
        return value in self._own

    def on_added(self, tell: Callable[[str], object]) -> Callable[[], None]:
        """Have `tell` called with every value that is known, now and from now on, before it is used.

        Returns a function that ends it.
        """
        with self._lock:
            for value in self.values():
                tell(value)
            self._told.append(tell)
        return lambda: self._told.remove(tell)

    def redact(self, text: str) -> str:
        """The text with ``***`` in place of everything that is known to be secret."""
        pattern = self._compiled()
        return text if pattern is None else pattern.sub(HIDDEN, text)

    def shortened(self, text: str, longest: int) -> str:
        """The redacted text, with its middle left out where it is longer than `longest` characters.

        Whatever shortens foreign text does it here: what is cut first is no longer known for a secret.
        """
        text = self.redact(text)
        if len(text) <= longest:
            return text
        half = max(0, longest - 1) // 2
        return f"{text[:half]}…{text[len(text) - half :]}"

    def redacted(self, document: Any) -> Any:
        """The same for all texts of a document of dictionaries and lists."""
        pattern = self._compiled()
        return document if pattern is None else _walk(document, pattern)

    def _compiled(self) -> re.Pattern[str] | None:
        with self._lock:
            if self._pattern is None and self._values:
                # The longest first: one may be a part of another.
                self._pattern = re.compile("|".join(map(re.escape, self.values())))
            return self._pattern


SECRETS = Secrets()
"""That of this process."""


def named_like_secrets(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The values of environment variables that are named like secrets. A file's path is no secret."""
    return tuple(
        value
        for name, value in environ.items()
        if value and is_named_like_a_secret(name) and not _is_path(value)
    )


def is_named_like_a_secret(variable: str) -> bool:
    """Whether an environment variable has the name of one that holds a secret."""
    return _NAMED.search(variable) is not None


def _forms(value: str) -> Iterable[str]:
    for part in (value.strip(), *(line.strip() for line in value.splitlines())):
        if len(part) >= SHORTEST:
            forms = (part, quote(part, safe=""), quote(part), quote_plus(part), *_escapes(part))
            yield from dict.fromkeys(forms)


def _escapes(text: str) -> Iterable[str]:
    """As it stands in JSON and in Python's text of a value."""
    return json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1]


def _walk(node: Any, pattern: re.Pattern[str]) -> Any:
    if isinstance(node, str):
        return pattern.sub(HIDDEN, node)
    if isinstance(node, dict):
        return {_walk(key, pattern): _walk(value, pattern) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_walk(item, pattern) for item in node]
    return node


def _is_path(value: str) -> bool:
    return value.startswith("/") and os.path.exists(value)  # noqa: PTH110 - never raises
