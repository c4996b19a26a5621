"""What a program is confined to, seen from inside."""

from __future__ import annotations

import platform
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from flyte_deploy.isolation.confinement import Confinement
from flyte_deploy.isolation.users import free_user

ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin"}


@pytest.fixture
def confinement() -> Iterator[Confinement]:
    uid = free_user([])
    made = Confinement(uid, uid, ENVIRONMENT)
    yield made
    made.end_all()


def start(confinement: Confinement, code: str) -> subprocess.Popen[str]:
    command = confinement.command(["python3", "-c", textwrap.dedent(code)], Path("/"))
    return subprocess.Popen(
        command, env=ENVIRONMENT, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def printed(confinement: Confinement, code: str) -> str:
    with start(confinement, code) as process:
        return process.communicate(timeout=60)[0]


BECOME = """
import os, time
os.setgroups([])
os.setresuid(*{uids})
assert os.getresuid() == {uids}
print("begun", flush=True)
"""
# As where there is no Landlock, which keeps its signals to itself.
ENDING = """
while True:
    try:
        os.kill(-1, 9)
    except OSError:
        pass
"""


def test_who_comes_to_end_it_is_not_ended_by_it(confinement: Confinement) -> None:
    def comes(uids: tuple[int, int, int], code: str) -> subprocess.Popen[str]:
        command = ["python3", "-c", BECOME.format(uids=uids) + code]
        return subprocess.Popen(command, cwd="/", stdout=subprocess.PIPE, text=True)

    uid = confinement.uid
    with comes((uid, uid, uid), ENDING) as attacker:
        assert attacker.stdout is not None
        assert attacker.stdout.readline() == "begun\n"
        # Who comes as the user itself is ended; as `end_all` comes it is not.
        for uids, status in (((uid, uid, uid), -9), ((uid + 1, uid, uid + 1), 0)):
            with comes(uids, "time.sleep(2)") as coming:
                assert coming.wait(30) == status
        assert attacker.poll() is None
        confinement.end_all()
        assert attacker.wait(30) == -9


THREADED = """
import ctypes, threading
libc = ctypes.CDLL(None)

def spin():
    while True:
        pass

for _ in range(4):
    threading.Thread(target=spin, daemon=True).start()
print("begun", flush=True)
# The first thread ends, and the process shows as a zombie as long as others run.
libc.syscall({exit}, 0)
"""


def test_threads_that_outlive_the_first_are_ended_too(confinement: Confinement) -> None:
    number = {"x86_64": 60, "aarch64": 93}[platform.machine()]
    for _ in range(5):
        with start(confinement, THREADED.format(exit=number)) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            confinement.end_all()
            tasks = [task.name for task in Path(f"/proc/{process.pid}/task").iterdir()]
            assert tasks in ([], [str(process.pid)])


def test_it_goes_first_where_memory_runs_out(confinement: Confinement) -> None:
    assert printed(confinement, "print(open('/proc/self/oom_score_adj').read())").strip() == "1000"


def test_event_loops_and_pools_work(confinement: Confinement) -> None:
    """They talk to themselves over pairs of sockets, and to their workers."""
    code = """
    import asyncio, multiprocessing, socket, sys
    from concurrent.futures import ProcessPoolExecutor

    async def child():
        made = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "print(input())", stdin=-1, stdout=-1)
        return (await made.communicate(b"over a pair"))[0].decode().strip()

    print(asyncio.run(child()))
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        print(pool.submit(len, "abc").result())
    here, there = multiprocessing.Pipe()
    here.send("sent")
    print(there.recv())
    for kind in (socket.SOCK_STREAM | socket.SOCK_NONBLOCK, socket.SOCK_SEQPACKET):
        for one in socket.socketpair(socket.AF_UNIX, kind):
            one.close()
    """
    assert printed(confinement, code).split("\n") == ["over a pair", "3", "sent", ""]


@pytest.mark.parametrize("network", [False, True])
def test_other_pairs_of_sockets_are_refused(confinement: Confinement, *, network: bool) -> None:
    code = """
    import socket
    for family, kind in (
        (socket.AF_UNIX, socket.SOCK_DGRAM),
        (socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC),
        (socket.AF_UNIX, socket.SOCK_RAW),
        (30, socket.SOCK_STREAM),
    ):
        try:
            socket.socketpair(family, kind)
        except OSError as error:
            print(error.errno)
    """
    other = Confinement(confinement.uid, confinement.gid, ENVIRONMENT, network=network)
    assert printed(other, code).split() == ["91", "91", "91", "97"]
