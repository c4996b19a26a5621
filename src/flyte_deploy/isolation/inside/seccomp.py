"""A filter of system calls, set without any capability: what a denied call answers is an error, no signal.

Sources: the kernel's seccomp documentation (Documentation/userspace-api/seccomp_filter.rst), its tables of
system calls (arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h) and
include/uapi/linux/bpf_common.h. Standard library only.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct

# Number of each call on x86_64 and on aarch64; None where there is none.
_DENIED: dict[str, tuple[int | None, int | None]] = {
    # Into other processes.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    # Into the kernel.
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "open_by_handle_at": (304, 265),
    "quotactl": (179, 60),
    "syslog": (103, 116),
    # Other views of the machine.
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "open_tree_attr": (467, 467),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
}
# Programs do without these where they are told that there are none. io_uring opens sockets past this filter,
# and the flags of clone3 lie in memory, where it cannot look.
_ABSENT: dict[str, tuple[int | None, int | None]] = {
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "clone3": (435, 435),
}
_SOCKET, _SOCKETPAIR, _CLONE = (41, 198), (53, 199), (56, 220)
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_X32 = 0x40000000
_NEW_NAMESPACES = 0x7E020080
_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10
_SOCK_STREAM, _SOCK_SEQPACKET, _SOCKET_TYPE = 1, 5, 0xF

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NUMBER_AT, _MACHINE_AT, _ARGUMENT_AT, _SECOND_ARGUMENT_AT = 0, 4, 16, 24
_PR_SET_SECCOMP, _FILTER = 22, 2


def program(machine: str, *, network: bool) -> bytes:
    """The filter.

    Sockets: none at all without a network, those of IP with one; and always pairs that are connected for
    good. Those of datagrams are not: each can send to whoever listens.

    Args:
        machine: as `platform.machine` says it.
        network: whether the network may be used.

    Raises:
        OSError: for another machine than x86_64 and aarch64.
    """
    if machine not in _MACHINES:
        raise OSError(errno.ENOSYS, f"no system call filter is known for {machine}")
    column, arch = _MACHINES[machine]
    lines: list[tuple[int, int, int, int]] = []

    def step(code: int, value: int, yes: int = 0, no: int = 0) -> None:
        lines.append((code, yes, no, value))

    def refuse(number: int) -> None:
        step(_RETURN, _ERRNO | number)

    step(_LOAD, _MACHINE_AT)
    step(_EQUAL, arch, yes=1)
    refuse(errno.EPERM)  # programs for another machine, whose calls have other numbers
    step(_LOAD, _NUMBER_AT)
    if machine == "x86_64":
        step(_AT_LEAST, _X32, no=1)
        refuse(errno.EPERM)
    for calls, answer in ((_DENIED, errno.EPERM), (_ABSENT, errno.ENOSYS)):
        for numbers in calls.values():
            number = numbers[column]
            if number is not None:
                step(_EQUAL, number, no=1)
                refuse(answer)
    step(_EQUAL, _CLONE[column], no=4)
    step(_LOAD, _ARGUMENT_AT)
    step(_ANY_BIT, _NEW_NAMESPACES, no=1)
    refuse(errno.EPERM)
    step(_RETURN, _ALLOW)
    if network:
        step(_EQUAL, _SOCKET[column], no=5)
        step(_LOAD, _ARGUMENT_AT)
        step(_EQUAL, _AF_INET, yes=2)
        step(_EQUAL, _AF_INET6, yes=1)
        refuse(errno.EAFNOSUPPORT)
        step(_RETURN, _ALLOW)
    else:
        step(_EQUAL, _SOCKET[column], no=1)
        refuse(errno.ENETUNREACH)
    step(_EQUAL, _SOCKETPAIR[column], no=8)
    step(_LOAD, _ARGUMENT_AT)
    step(_EQUAL, _AF_UNIX, yes=1)
    refuse(errno.EAFNOSUPPORT)
    step(_LOAD, _SECOND_ARGUMENT_AT)
    step(_AND, _SOCKET_TYPE)
    step(_EQUAL, _SOCK_STREAM, yes=2)
    step(_EQUAL, _SOCK_SEQPACKET, yes=1)
    refuse(errno.EPROTOTYPE)
    step(_RETURN, _ALLOW)
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def install(*, network: bool) -> None:
    """Set the filter for this process and all that it starts; "no new privileges" has to be set before.

    Raises:
        OSError: where the kernel refuses it.
    """
    code = program(platform.machine(), network=network)
    buffer = ctypes.create_string_buffer(code, len(code))
    libc = ctypes.CDLL(None, use_errno=True)
    filter_ = _Program(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    if libc.prctl(_PR_SET_SECCOMP, _FILTER, ctypes.byref(filter_), 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, f"the system call filter cannot be set (errno {number})")
