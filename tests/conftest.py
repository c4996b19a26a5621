"""What all tests share: small projects written on the spot, the real engine."""

from __future__ import annotations

import signal
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from flyte_deploy.secrets import SECRETS, Secrets
from tests import engine as real

Write = Callable[[dict[str, str]], Path]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Where the tests run in the background of a script: what they start would ignore it too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def engine() -> real.Engine:
    """A Docker Engine with buildx, a registry and two BuildKit daemons, brought up where needed."""
    return real.start()


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes files into a fresh folder and returns it: `write({"flow.py": "…"})`."""

    def into(files: dict[str, str]) -> Path:
        root = tmp_path / "project"
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
        return root

    return into


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> Secrets:
    """A registry of the test's own in the place of the process's: no test hides words of another one."""
    own = Secrets()
    for name in vars(own):
        monkeypatch.setattr(SECRETS, name, getattr(own, name))
    return SECRETS
