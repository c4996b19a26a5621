"""Which variables the project's code looks for in vain, of those that it is not given."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable


def watch(withheld: Iterable[str], root: str) -> dict[str, str]:
    """Note from now on where files below `root` ask the environment for one of these names.

    Gives a dictionary that fills: ``path:line`` of the first time, by name.
    """
    names = frozenset(withheld)
    missed: dict[str, str] = {}
    inside = os.path.join(root, "")

    class Watched(os._Environ):  # type: ignore[type-arg]
        def __getitem__(self, key: str) -> str:
            try:
                value: str = super().__getitem__(key)
            except KeyError:
                if key in names and key not in missed:
                    place = _asked_from(inside)
                    if place:
                        missed[key] = place
                raise
            return value

    if names:
        os.environ.__class__ = Watched
    return missed


def _asked_from(inside: str) -> str:
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename in _BETWEEN:
        frame = frame.f_back
    name = os.path.abspath(frame.f_code.co_filename)
    return f"{name}:{frame.f_lineno}" if name.startswith(inside) and "site-packages" not in name else ""


# `os.getenv` and the methods of mappings stand between.
_BETWEEN = frozenset(
    {
        os.__file__,
        "<frozen os>",
        "<frozen _collections_abc>",
        getattr(sys.modules["_collections_abc"], "__file__", ""),
    }
)
