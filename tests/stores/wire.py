"""A wire between a client and a server: a TCP proxy that is slow, breaks or stalls as it is told."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

_BLOCK = 64 << 10
_BUFFERED = 0.05


@dataclass
class Wire:
    """What passes from clients to the server is counted, over all connections together.

    `rate` is in bytes a second. At each of the counts of `cuts` the connection that reaches it is reset, at
    each of `stalls` it goes silent, without end. Both are used up, unless `forever`: then every connection
    meets it once the count is reached. Connections that `refuse` passes over are reset.
    """

    server: int
    rate: float = 0
    cuts: list[int] = field(default_factory=list)
    stalls: list[int] = field(default_factory=list)
    forever: bool = False
    refuse: bytes = b""
    passed: int = 0
    connections: int = 0
    port: int = 0
    first: float = 0
    """When the first byte passed, and `last` the last, in seconds of a monotonic clock."""
    last: float = 0
    closing: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    free: float = 0

    def forget(self) -> None:
        """Count from zero."""
        with self.lock:
            self.passed = self.connections = 0
            self.first = self.last = self.free = 0

    def serve(self, listener: socket.socket) -> None:
        while not self.closing.is_set():
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            server = socket.create_connection(("127.0.0.1", self.server))
            for one, other, counted in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pass, args=(one, other, counted), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(_BLOCK):
                if counted and self._fault(one, other, data):
                    return
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        one.close()

    def _fault(self, client: socket.socket, server: socket.socket, data: bytes) -> bool:
        size = len(data)
        with self.lock:
            now = time.monotonic()
            self.first = self.first or now
            self.passed += size
            cut = bool(self.refuse and self.refuse in data) or self._reached(self.cuts)
            stall = not cut and self._reached(self.stalls)
            if self.rate:
                # Woken late on a busy machine it makes up for some of it, as a buffer would.
                self.free = max(self.free, now - _BUFFERED) + size / self.rate
                pause = self.free - now
                self.last = self.free
            else:
                pause = 0
                self.last = now
        if stall:
            self.closing.wait()
            return True
        if cut:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            for end in (client, server):
                # The thread that waits on it would keep it open.
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RD)
                end.close()
            return True
        if pause > 0:
            time.sleep(pause)
        return False

    def _reached(self, counts: list[int]) -> bool:
        for count in counts:
            if self.passed >= count:
                if not self.forever:
                    counts.remove(count)
                return True
        return False


@contextlib.contextmanager
def wire(server: int, *, rate: float = 0) -> Iterator[Wire]:
    """A wire to a server on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        if rate:
            # As little as a slow wire holds itself: what is sent counts when it has passed.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 << 10)
        wire = Wire(server, rate, port=listener.getsockname()[1])
        thread = threading.Thread(target=wire.serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield wire
        finally:
            wire.closing.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
