"""Changing the text in a message, wherever it is."""

from __future__ import annotations

import re
from collections.abc import Callable, MutableMapping
from typing import Any

from google.protobuf.message import Message

Change = Callable[[str], str]

# An object's address in a name that some class makes of its repr; user constants are shorter or in the code.
_ADDRESS = re.compile(rb"0x[0-9a-f]{9,16}")


def without_memory_addresses(data: bytes) -> bytes:
    """Text, or a serialized message, less the addresses of objects: they differ from process to process."""
    return _ADDRESS.sub(b"0x", data)


def change_text(message: Message, change: Change) -> None:
    """Put `change` of each text field, at any depth, in its place. Keys of maps stay."""
    for field, value in message.ListFields():
        if isinstance(value, str):
            changed = change(value)
            if changed is not value:
                setattr(message, field.name, changed)
        elif isinstance(value, Message):
            change_text(value, change)
        elif isinstance(value, MutableMapping):
            _change_items(value, list(value), change)
        elif not isinstance(value, (int, float, bool, bytes)):
            _change_items(value, range(len(value)), change)


def _change_items(items: Any, keys: Any, change: Change) -> None:
    for key in keys:
        item = items[key]
        if isinstance(item, Message):
            change_text(item, change)
        elif isinstance(item, str):
            changed = change(item)
            if changed is not item:
                items[key] = changed
