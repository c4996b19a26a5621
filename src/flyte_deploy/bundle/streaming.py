"""A bundle's archive in parts, each of which is there before the rest is packed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, Full, Queue
from typing import BinaryIO, cast

from flyte_deploy.bundle.archive import pack
from flyte_deploy.model import Bundle

_AHEAD = 2
_LOOK = 0.1


class _Stopped(Exception):  # noqa: N818 - no error: nobody wants the rest
    pass


@contextmanager
def packed(bundle: Bundle, size: int) -> Iterator[Iterator[bytes]]:
    """Pack a bundle on a thread of its own, and give its archive part by part.

    No more than three parts wait for whoever takes them. Where the context is left before the last part was
    taken, packing ends.

    Args:
        bundle: as it was identified.
        size: of a part, in bytes; the last one may be shorter.

    Raises:
        DeployError: while iterating, what `pack` raises. There has been no complete archive then.
    """
    sink = _Sink(size)
    thread = threading.Thread(target=_pack, args=(bundle, sink), name="pack", daemon=True)
    thread.start()
    try:
        yield iter(sink)
    finally:
        sink.stopped.set()
        thread.join()


def _pack(bundle: Bundle, sink: _Sink) -> None:
    try:
        pack(bundle, cast("BinaryIO", sink))
        sink.end(None)
    except _Stopped:
        pass
    except BaseException as error:  # raised to whoever takes the parts
        sink.end(error)


class _Sink:
    """A stream to write into on one side, parts to iterate over on the other."""

    def __init__(self, size: int) -> None:
        self.stopped = threading.Event()
        self._size = size
        self._part = bytearray()
        self._queue: Queue[bytes | BaseException | None] = Queue(_AHEAD)

    def write(self, data: bytes) -> int:
        self._part += data
        while len(self._part) >= self._size:
            self._put(bytes(memoryview(self._part)[: self._size]))
            del self._part[: self._size]
        return len(data)

    def flush(self) -> None:
        pass

    def end(self, error: BaseException | None) -> None:
        try:
            if error is None and self._part:
                self._put(bytes(self._part))
            self._put(error)
        except _Stopped:
            pass

    def __iter__(self) -> Iterator[bytes]:
        while not self.stopped.is_set():
            try:
                # A wait without end could not be interrupted on every platform.
                item = self._queue.get(timeout=_LOOK)
            except Empty:
                continue
            if isinstance(item, bytes):
                yield item
            elif item is None:
                return
            else:
                raise item

    def _put(self, item: bytes | BaseException | None) -> None:
        while not self.stopped.is_set():
            try:
                self._queue.put(item, timeout=_LOOK)
            except Full:
                continue
            return
        raise _Stopped
