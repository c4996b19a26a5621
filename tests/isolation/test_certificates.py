"""What is shown to the code of a file that should hold certificates."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flyte_deploy.isolation.certificates import certificates_in, holds_nothing_else

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB+/0=\nAAAA\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("text", "shown", "alone"),
    [
        (CERTIFICATE * 2, CERTIFICATE * 2, True),
        (f"# Of the company\n\n{CERTIFICATE}", CERTIFICATE, True),
        (f"a-secret\n{CERTIFICATE}{KEY}", CERTIFICATE, False),
        (KEY, "", False),
        ("a-secret", "", False),
        ("# a-secret", "", False),
        (f"-----BEGIN CERTIFICATE-----\ntoken: a-secret\n{KEY}-----END CERTIFICATE-----\n", "", False),
        ("", "", False),
    ],
)
def test_certificates_alone_are_shown(tmp_path: Path, text: str, shown: str, *, alone: bool) -> None:
    (tmp_path / "file.pem").write_text(text)
    (tmp_path / "link.pem").symlink_to("file.pem")
    for name in ("file.pem", "link.pem"):
        assert certificates_in(tmp_path / name).decode() == shown
        assert holds_nothing_else(tmp_path / name) == alone


def test_what_is_no_file_shows_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "environment").symlink_to("/proc/self/environ")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "environment", "zero", "none", "."):
        assert certificates_in(tmp_path / name) == b""


def test_not_even_certificates_of_a_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A variable of the workflow may hold a chain beside its key."""
    (tmp_path / "environment").symlink_to("/proc/self/comm")
    monkeypatch.setattr("flyte_deploy.isolation.certificates.read_file", lambda *_: CERTIFICATE.encode())
    assert certificates_in(tmp_path / "environment") == b""
