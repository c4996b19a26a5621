"""Landlock: folders that a process cannot reach whatever their modes say, where the kernel has it.

Source: include/uapi/linux/landlock.h and Documentation/userspace-api/landlock.rst. Standard library only.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION_FLAG = 1
_PATH_BENEATH = 1
# Rights that exist from a version of the interface on: files, then TCP (4), signals and abstract sockets (6).
_FILES = ((1, (1 << 13) - 1), (2, 1 << 13), (3, 1 << 14), (5, 1 << 15))
# Execute, write, read, truncate, ioctl: all that can be asked of what is no folder.
_OF_FILES = 0b111 | 1 << 14 | 1 << 15
_READING = 0b11 << 2
_TCP = 0b11
_SCOPES = 0b11


def version() -> int:
    """The version of the kernel's Landlock, 0 where it has none."""
    found: int = _syscall(_CREATE, None, ctypes.c_size_t(0), _VERSION_FLAG)
    return max(0, found)


def close(paths: Iterable[str], *, network: bool, readable: Iterable[int] = ()) -> None:
    """Make folders and files unreachable for this process and all that it starts, and TCP without `network`.

    Folders of which there are descriptors, `readable`, can be read nevertheless, by whoever holds those.
    Newer kernels close two more things along: signals to processes outside, and abstract sockets of others.
    Nothing happens where the kernel has no Landlock. "No new privileges" has to be set before.

    Raises:
        OSError: where it has, and refuses.
    """
    known = version()
    if known == 0:
        return
    files = sum(rights for since, rights in _FILES if known >= since)
    tcp = _TCP if known >= 4 and not network else 0
    scopes = _SCOPES if known >= 6 else 0
    attributes = struct.pack("=QQQ", files, tcp, scopes)[: 8 if known < 4 else 16 if known < 6 else 24]
    rules = _syscall(_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0)
    if rules < 0:
        raise _error("made")
    try:
        for path in _open_beside([os.path.realpath(path) for path in paths]):
            _allow(rules, path, files)
        for descriptor in readable:
            _add(rules, _READING, descriptor)
        if _syscall(_RESTRICT, rules, 0):
            raise _error("set")
    finally:
        os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    with suppress(FileNotFoundError, PermissionError):
        place = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            folder = os.path.isdir(f"/proc/self/fd/{place}")
            _add(rules, rights if folder else rights & _OF_FILES, place)
        finally:
            os.close(place)


def _add(rules: int, rights: int, place: int) -> None:
    if _syscall(_ADD, rules, _PATH_BENEATH, struct.pack("=Qi", rights, place), 0):
        raise _error("filled")


def _open_beside(closed: list[str], folder: str = "/") -> Iterator[str]:
    """All that lies beside the closed folders: together with them it is everything."""
    try:
        found = list(os.scandir(folder))
    except PermissionError:
        # Nobody gets through here.
        return
    for entry in found:
        path = entry.path
        if path in closed or entry.is_symlink():
            continue
        if any(other.startswith(f"{path}/") for other in closed):
            yield from _open_beside(closed, path)
        else:
            yield path


def _syscall(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result: int = libc.syscall(number, *arguments)
    return result


def _error(done: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"Landlock's rules cannot be {done} (errno {number})")
