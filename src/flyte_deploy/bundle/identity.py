"""The digest that a bundle is known by.

It is the SHA-256 of, in this order, integers big-endian:

- the bytes ``flyte-deploy bundle 1`` and a zero byte;
- the number of files, 8 bytes;
- for each file, in the order of its path's bytes: the length of the path in bytes, 8 bytes; the path relative
  to the root, with slashes, as the file system has it; the mode, 0o644 or 0o755, 4 bytes; the size in bytes,
  8 bytes; the SHA-256 of the content, 32 bytes.

Nothing else goes in: no time, owner or umask, nothing of the machine. The mode is 0o755 where the owner may
execute the file. A change of this framing moves every content version and needs another number.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from flyte_deploy.bundle.files import SelectedFile, Selection
from flyte_deploy.bundle.reading import open_regular, unreadable
from flyte_deploy.errors import DeployError
from flyte_deploy.model import Bundle, BundleFile

_FRAMING = b"flyte-deploy bundle 1\0"
_BUFFER = 256 << 10
_LARGE = 100_000_000


def identify(selection: Selection) -> Bundle:
    """Read all files once and give the bundle that they are.

    Files are hashed side by side, on as many threads as there are cores, a fixed buffer each.

    Raises:
        DeployError: for a file that may not be read, that vanished, or that is no longer a file.
    """
    files = selection.files
    results: list[BundleFile | DeployError | None] = [None] * len(files)
    waiting = iter(range(len(files)))

    def work() -> None:
        buffer = memoryview(bytearray(_BUFFER))
        for index in waiting:
            try:
                results[index] = _identify_file(files[index], buffer)
            except OSError as error:
                results[index] = unreadable(files[index].path, error)
            except DeployError as error:
                results[index] = error

    workers = max(1, min(os.cpu_count() or 1, len(files)))
    with ThreadPoolExecutor(workers, thread_name_prefix="hash") as pool:
        for future in [pool.submit(work) for _ in range(workers)]:
            future.result()
    identified = tuple(_good(results))
    return Bundle(identified, digest(identified), (*selection.warnings, *_size_warning(identified)))


def digest(files: tuple[BundleFile, ...]) -> str:
    """The digest of these files in hex, whatever their order."""
    total = hashlib.sha256(_FRAMING + len(files).to_bytes(8, "big"))
    for file in sorted(files, key=lambda file: os.fsencode(file.path)):
        path = os.fsencode(file.path)
        total.update(len(path).to_bytes(8, "big") + path)
        total.update(file.mode.to_bytes(4, "big") + file.size.to_bytes(8, "big"))
        total.update(bytes.fromhex(file.sha256))
    return total.hexdigest()


def _identify_file(file: SelectedFile, buffer: memoryview) -> BundleFile:
    descriptor = open_regular(file.source, file.path)
    try:
        mode = 0o755 if os.fstat(descriptor).st_mode & stat.S_IXUSR else 0o644
        content = hashlib.sha256()
        size = 0
        while count := os.readv(descriptor, [buffer]):
            content.update(buffer[:count])
            size += count
    finally:
        os.close(descriptor)
    return BundleFile(file.path, file.source, size, mode, content.hexdigest(), file.reason)


def _good(results: list[BundleFile | DeployError | None]) -> Iterator[BundleFile]:
    for result in results:
        if isinstance(result, DeployError):
            raise result
        assert result is not None
        yield result


def _size_warning(files: tuple[BundleFile, ...]) -> Iterator[str]:
    total = sum(file.size for file in files)
    if total > _LARGE:
        largest = sorted(files, key=lambda file: (-file.size, file.path))[:5]
        names = ", ".join(f"{file.path} ({file.size / 1e6:.1f} MB)" for file in largest)
        yield f"the bundle holds {total / 1e6:.0f} MB; its largest files are {names}"
