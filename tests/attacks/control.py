"""The control of the attacks: ``python control.py [--own-network] WORD COMMAND…``, as root and unconfined.

It holds the word in its arguments and its memory, and in its environment if it is given it there; it
listens on what the probes reach for; and it runs the command with probes, which are told of it, with a file
left open. Its loopback device has the metadata address of clouds: on a bare machine in a network namespace of
its own.

Standard library only: it runs in the action's image, too.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

METADATA = "169.254.169.254"
_CLONE_NEWNET = 0x40000000
_SIOCSIFFLAGS, _SIOCSIFADDR, _UP = 0x8914, 0x8916, 1


def enter_own_network() -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "no network namespace of its own")


def take_address() -> None:
    """Give the metadata address to the loopback device, see netdevice(7)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        address = struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(METADATA))
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("=16sh22x", b"lo", _UP))
        fcntl.ioctl(any_socket, _SIOCSIFADDR, struct.pack("=16s16s8x", b"lo:1", address))


def listen(family: int, kind: int, address: object) -> socket.socket:
    server = socket.socket(family, kind)
    server.bind(address)  # type: ignore[arg-type]
    if kind == socket.SOCK_STREAM:
        server.listen(64)
        threading.Thread(target=accept, args=(server,), daemon=True).start()
    return server


def accept(server: socket.socket) -> None:
    while True:
        server.accept()[0].close()


def main(arguments: list[str]) -> int:
    own_network = arguments[0] == "--own-network"
    word, *command = arguments[own_network:]
    if own_network:
        enter_own_network()
    take_address()
    held = word * 3
    places = json.loads(os.environ.get("ATTACK_PLACES", "{}"))
    name = places.setdefault("abstract", "flyte-deploy-attack")
    loopback = listen(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0))
    places |= {"victim": os.getpid(), "loopback": loopback.getsockname()[1]}
    servers = [
        loopback,
        listen(socket.AF_INET, socket.SOCK_STREAM, (METADATA, 80)),
        listen(socket.AF_UNIX, socket.SOCK_STREAM, f"\0{name}"),
        listen(socket.AF_UNIX, socket.SOCK_DGRAM, f"\0{name}-datagrams"),
    ]
    environment = {**os.environ, "ATTACK_PLACES": json.dumps(places), "OWN": word}
    with Path(places.get("home", "/github/home"), "notes").open() as left_open:
        status = subprocess.call(command, env=environment, pass_fds=(left_open.fileno(),))
    # Until here they are needed.
    del held, servers
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
