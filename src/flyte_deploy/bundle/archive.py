"""The archive of a bundle: a `.tar.gz` that the task container unpacks with ``tar -xvf``.

It holds files only, sorted by path, with modes 0644 or 0755, one fixed time and no owner. The same bundle
gives the same tar on every machine; the compressed bytes may differ between versions of the compressor.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from isal import igzip_threaded

from flyte_deploy.bundle.reading import open_regular, unreadable
from flyte_deploy.errors import DeployError
from flyte_deploy.model import Bundle, BundleFile

# Not 0, which unpacking tools and zip-based ones warn of: 1980-01-01, 00:00 UTC.
_TIME = 315_532_800
_BLOCK = 512
_RECORD = 20 * _BLOCK
_BUFFER = 1 << 20
_HELD = 16  # more than gzip's header of 10 bytes, less than header and trailer
# Measured on 500 MB, half of it incompressible, on two cores: level 1 takes 1.3 s, level 2 1.4 s for an
# archive that is 3 % smaller, level 3 1.6 s for the same as level 2.
_LEVEL = 2
# One thread reads, which is as fast as four compress.
_THREADS = 4
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Archive:
    """A packed bundle. `size` is in bytes, `md5` the 16 bytes of the MD5 of the compressed file.

    `path` is None for one that was written into a stream.
    """

    path: Path | None
    size: int
    md5: bytes


def pack(bundle: Bundle, destination: Path | BinaryIO) -> Archive:
    """Write a bundle's archive.

    Reading, compressing (on up to four threads) and hashing what comes out go on side by side;
    memory does not grow with the bundle.

    Args:
        bundle: as it was identified.
        destination: the file to make, replacing one that is there, or a stream to write into. The file
            appears when it is complete; after an error there is none, and nothing else is left.

    Raises:
        DeployError: for a file whose content is no longer the identified one, that may not be read or has
            vanished, and for a full disk.
    """
    if not isinstance(destination, Path):
        return _pack_into(bundle, destination, None)
    partial = destination.with_name(destination.name + ".partial")
    try:
        with partial.open("wb") as stream:
            archive = _pack_into(bundle, stream, destination)
        partial.replace(destination)
    except OSError as error:
        raise _cannot_write(error, destination) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
    return archive


def unpacked_size(bundle: Bundle) -> int:
    """The size of a bundle's tar before compression, in bytes."""
    size = sum(len(_header(file)) + file.size + _padding(file.size, _BLOCK) for file in bundle.files)
    return size + 2 * _BLOCK + _padding(size + 2 * _BLOCK, _RECORD)


class _Measured:
    """A stream that hashes and counts what is written into it.

    The first few bytes wait for more: they come from the compressor's constructor, which leaves a broken
    object behind where a stream fails.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._held = b""
        self.md5 = hashlib.md5(usedforsecurity=False)
        self.size = 0

    def write(self, data: bytes) -> int:
        self.size += len(data)
        self.md5.update(data)
        if self.size < _HELD:
            self._held += data
        else:
            self._stream.write(self._held + data if self._held else data)
            self._held = b""
        return len(data)

    def flush(self) -> None:
        self._stream.flush()


def _pack_into(bundle: Bundle, stream: BinaryIO, path: Path | None) -> Archive:
    measured = _Measured(stream)
    with _compressing(measured, path) as compressed:
        written = 0
        for data in _tar(bundle):
            written += len(data)
            compressed.write(data)
        end = 2 * _BLOCK
        compressed.write(bytes(end + _padding(written + end, _RECORD)))
    return Archive(path, measured.size, measured.md5.digest())


@contextlib.contextmanager
def _compressing(measured: _Measured, path: Path | None) -> Iterator[Any]:
    try:
        compressed = igzip_threaded.open(  # type: ignore[no-untyped-call]
            measured,
            "wb",
            compresslevel=_LEVEL,
            threads=min(os.cpu_count() or 1, _THREADS),
            block_size=_BUFFER,
        )
        try:
            yield compressed
        finally:
            # Also after an error: its threads wait for more otherwise.
            compressed.close()
    except OSError as error:
        raise _cannot_write(error, path) from error


def _tar(bundle: Bundle) -> Iterator[bytes | memoryview]:
    buffer = memoryview(bytearray(_BUFFER))
    for file in bundle.files:
        yield _header(file)
        yield from _content(file, buffer)
        yield bytes(_padding(file.size, _BLOCK))


def _header(file: BundleFile) -> bytes:
    member = tarfile.TarInfo(file.path)
    member.size = file.size
    member.mode = file.mode
    member.mtime = _TIME
    # With these two a name's bytes are those that it has on disk, whatever the locale.
    return member.tobuf(tarfile.GNU_FORMAT, sys.getfilesystemencoding(), "surrogateescape")


def _content(file: BundleFile, buffer: memoryview) -> Iterator[memoryview]:
    content = hashlib.sha256()
    size = 0
    try:
        descriptor = open_regular(file.source, file.path)
        try:
            while size <= file.size and (count := os.readv(descriptor, [buffer])):
                size += count
                if size <= file.size:
                    content.update(buffer[:count])
                    yield buffer[:count]
        finally:
            os.close(descriptor)
    except OSError as error:
        raise unreadable(file.path, error) from error
    if size != file.size or content.hexdigest() != file.sha256:
        raise DeployError(
            f"{file.path} changed while it was being packed",
            where=file.path,
            mend="Run the command again when nothing writes into the project.",
        )


def _padding(size: int, block: int) -> int:
    return -size % block


def _cannot_write(error: OSError, path: Path | None) -> DeployError:
    where = str(path) if path is not None else None
    if error.errno in _FULL:
        return DeployError(
            "the disk is full: there is no room for the bundle's archive",
            where=where,
            mend="Make room, or set TMPDIR to a folder on a larger disk.",
        )
    return DeployError(f"the bundle's archive cannot be written: {error.strerror or error}", where=where)
