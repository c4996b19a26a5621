"""What several services share."""

from __future__ import annotations

from typing import Any

from connectrpc.request import RequestContext
from google.protobuf.timestamp_pb2 import Timestamp

Context = RequestContext[Any, Any]
"""What the server knows of a call beside its request."""

SHORT = 255
"""How much of a short description is kept, in bytes."""

LONG = 2048
"""How much of a long description is kept, in bytes."""


def cut(text: str, size: int) -> str:
    """The beginning of a text, at most `size` bytes of UTF-8; no character is cut in two."""
    encoded = text.encode()
    return text if len(encoded) <= size else encoded[:size].decode(errors="ignore")


def timestamp(microseconds: int) -> Timestamp:
    """A moment, given in microseconds since 1970."""
    seconds, rest = divmod(microseconds, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1000)
