"""Become the project's code's program, with nothing that it is not to have.

Contract. Started by `flyte_deploy.isolation.confinement`, as root, in an isolated Python without ``site``,
with the arguments ``SPECIFICATION COMMAND…`` and the environment that the command is to have. The
specification is JSON: ``uid``, ``gid``, ``network``, ``closed`` (paths), ``limits`` (name to value), ``keep``
(file descriptors), ``readable`` (those of folders that stay readable, though closed) and ``folder`` (the
working directory). With ``{"end": uid}`` and no command it ends every process of that user instead, and
answers 0 when there is none left.

It leaves with status 125 and one line that begins with ``confine:`` where anything of this fails: the command
is never run with less. Standard library only.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import time
from contextlib import suppress
from typing import Any

from . import FAILED, landlock, seccomp

_PR_SET_NO_NEW_PRIVS, _PR_SET_PDEATHSIG, _PR_CAPBSET_DROP = 38, 1, 24
_LAST_CAPABILITY = 63


def main(arguments: list[str]) -> None:
    """Do what the specification says, and do not come back."""
    specification: dict[str, Any] = json.loads(arguments[0])
    if "end" in specification:
        sys.exit(end_all(specification["end"]))
    confine(specification)
    os.execvp(arguments[1], arguments[1:])  # noqa: S606


def confine(specification: dict[str, Any]) -> None:
    """Give up what the command is not to have.

    Raises:
        OSError: where the kernel refuses a part of it.
    """
    os.umask(0o022)
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        # Where memory runs out it goes first, not the deployer.
        file.write("1000")
    for name, value in specification["limits"].items():
        which = getattr(resource, name)
        hard = resource.getrlimit(which)[1]
        wanted = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (wanted, wanted))
    _close_all_but(specification["keep"])
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in range(_LAST_CAPABILITY + 1):
        # What is dropped here does not come back by running a program. A kernel knows fewer than these.
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(*[specification["gid"]] * 3)
        os.setresuid(*[specification["uid"]] * 3)
    if os.getresuid() != (specification["uid"],) * 3 or os.getresgid() != (specification["gid"],) * 3:
        raise OSError(f"this is user {os.getuid()}, not {specification['uid']}")
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), '"no new privileges" cannot be set')
    # Nothing of it outlives the deployer that reads its answer.
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    landlock.close(
        specification["closed"], network=specification["network"], readable=specification["readable"]
    )
    seccomp.install(network=specification["network"])
    # Root would enter it where a link in its place leads, and what is in a closed folder is open from inside.
    os.chdir(specification["folder"])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _close_all_but(keep: list[int]) -> None:
    start = 3
    for descriptor in [*sorted(keep), resource.getrlimit(resource.RLIMIT_NOFILE)[0]]:
        os.closerange(start, descriptor)
        start = descriptor + 1


def end_all(uid: int) -> int:
    """End every process of a user: those that it sees, at once, so that no fork gets away."""
    os.setgroups([])
    # What this may end is decided by the middle one, who may end this by the others.
    os.setresuid(uid + 1, uid, uid + 1)
    for _ in range(200):
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        if not _running(uid):
            return 0
        time.sleep(0.01)
    return 1


def _running(uid: int) -> bool:
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        with suppress(OSError):
            with open(f"/proc/{name}/status", encoding="utf-8", errors="replace") as file:
                wanted = ("State:", "Uid:", "Threads:")
                fields = dict(line.split(":", 1) for line in file if line.startswith(wanted))
            # A zombie runs no more, unless only its first thread has ended.
            gone = fields["State"].split()[0] in "ZX" and int(fields["Threads"]) <= 1
            if str(uid) in fields["Uid"].split() and not gone:
                return True
    return False


def run(arguments: list[str]) -> None:
    """Be the program."""
    try:
        main(arguments)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"confine: {error}\n")
        sys.stderr.flush()
        os._exit(FAILED)
