"""What a stranger's code tries, each by itself, and what it got. Standard library only.

Each probe returns what it got hold of, or raises. ``ATTACK_PLACES`` says where things lie, as JSON; what it does
not say is as in the action's container.
"""

import contextlib
import ctypes
import glob
import json
import os
import socket
import sys

PLACES = {
    "commands": "/github/file_commands",
    "temp": "/github/runner_temp",
    "home": "/github/home",
    "workspace": "/github/workspace",
    "socket": "/var/run/docker.sock",
    "datagrams": "/var/run/datagrams.sock",
    "abstract": "flyte-deploy-attack",
    "loopback": 0,
    "programs": "/usr/local/bin",
    "secrets": ["/secrets/x/token", "/srv/token", "/etc/npmrc"],
    **json.loads(os.environ.get("ATTACK_PLACES", "{}")),
}
WORD = "planted-secret"
HERE = os.path.dirname(os.path.abspath(__file__))

libc = ctypes.CDLL(None, use_errno=True)


def called(result):
    """The result of a C function, or its error."""
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def planted(paths):
    """The planted word in one of some files; the first error where none could be read."""
    paths = list(paths)
    errors = []
    for path in paths:
        try:
            with open(path, "rb") as file:
                content = file.read(1 << 22)
        except OSError as error:
            # A process may end meanwhile.
            if not (path.startswith("/proc/") and isinstance(error, (FileNotFoundError, ProcessLookupError))):
                errors.append(error)
            continue
        if WORD.encode() in content:
            return f"{path}: {WORD}"
    if errors:
        raise errors[0]
    raise LookupError(f"nothing in {len(paths)} files")


def below(place, pattern):
    """The files of a pattern in a folder, or the error of looking."""
    os.listdir(PLACES[place])
    return glob.glob(f"{PLACES[place]}/{pattern}", recursive=True, include_hidden=True)


def others():
    """The processes that are not this user's; as root the one that is said."""
    mine = os.getuid()
    if "victim" in PLACES:
        yield str(PLACES["victim"])
        return
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with contextlib.suppress(OSError):
                if mine == 0 or os.stat(f"/proc/{name}").st_uid != mine:
                    yield name


def ancestors():
    """The process that started this one, and so on: the deployer is among them."""
    name = "self"
    while name != "0":
        with open(f"/proc/{name}/status") as status:
            name = next(line.split()[1] for line in status if line.startswith("PPid:"))
        yield name


# Reading ---------------------------------------------------------------------------------------------------


def environment_of_earlier_step():
    return planted(below("commands", "set_env_*"))


def output_of_earlier_step():
    return planted(below("commands", "set_output_*"))


def script_of_earlier_step():
    return planted(below("temp", "*.sh"))


def token_in_git_configuration():
    return planted([f"{PLACES['workspace']}/.git/config"])


def token_in_copied_git_configuration():
    return planted([f"{folder}/.git/config" for folder in parents()])


def token_in_credentials_file():
    return planted(below("temp", "git-credentials-*.config"))


def google_credentials():
    return planted(below("workspace", "gha-*"))


def copied_google_credentials():
    found = [path for folder in parents() for path in glob.glob(f"{folder}/gha-*")]
    if not found:
        raise LookupError("there is no gha-* beside the code or above it")
    return planted(found)


def registry_login():
    return planted([f"{PLACES['home']}/.docker/config.json"])


def home_of_the_job():
    return planted(below("home", "**/*"))


def mounted_secrets():
    """What an engine mounts beside the runner's folders: tmpfs, single files."""
    return planted(PLACES["secrets"])


def certificate_files():
    """Files that the workflow names by a variable, and that the code is to be able to read."""
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT")
    return planted(os.environ[name] for name in names if name in os.environ)


def own_environment():
    found = [name for name, value in os.environ.items() if WORD in value]
    if not found:
        raise LookupError(f"nothing in {len(os.environ)} variables")
    return f"{found}: {WORD}"


def environment_of_deployer():
    return planted(f"/proc/{name}/environ" for name in others())


def arguments_of_deployer():
    # Of a bare machine's others any test may be one.
    return planted(f"/proc/{name}/cmdline" for name in (others() if "victim" in PLACES else ancestors()))


def memory_of_deployer():
    errors = []
    for name in others():
        try:
            with open(f"/proc/{name}/maps") as maps, open(f"/proc/{name}/mem", "rb", 0) as memory:
                for line in maps:
                    if "[heap]" not in line and "rw-p 00000000 00:00 0" not in line:
                        continue
                    start, end = (int(part, 16) for part in line.split()[0].split("-"))
                    with contextlib.suppress(OSError, ValueError):
                        memory.seek(start)
                        if WORD.encode() in memory.read(min(end - start, 1 << 26)):
                            return f"memory of {name}: {WORD}"
        except OSError as error:
            errors.append(error)
    raise errors[0] if errors else LookupError("no process")


def memory_by_system_call():
    for name in others():

        class Place(ctypes.Structure):
            _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))

        buffer = ctypes.create_string_buffer(16)
        local = Place(ctypes.cast(buffer, ctypes.c_void_p), 16)
        start = 0x1000
        if os.getuid() == 0:
            with open(f"/proc/{name}/maps") as maps:
                first = maps.readline()
            if not first:
                continue
            start = int(first.split("-")[0], 16)
        remote = Place(start, 16)
        called(libc.process_vm_readv(int(name), ctypes.byref(local), 1, ctypes.byref(remote), 1, 0))
        return f"read memory of {name}"
    raise LookupError("no process")


def descriptors_of_deployer():
    errors = []
    for name in others():
        try:
            return f"{name}: {os.listdir(f'/proc/{name}/fd')}"
        except OSError as error:
            errors.append(error)
    raise errors[0]


def folder_of_deployer():
    errors = []
    for name in others():
        try:
            if os.path.exists(f"/proc/{name}/cmdline") and open(f"/proc/{name}/cmdline").read():
                return os.listdir(f"/proc/{name}/root/")
        except OSError as error:
            errors.append(error)
    raise errors[0]


def trace():
    for name in others():
        with contextlib.suppress(OSError), open(f"/proc/{name}/cmdline") as line:
            if not line.read():
                continue
        called(libc.ptrace(0x4206, int(name), 0, 0))  # PTRACE_SEIZE
        libc.ptrace(17, int(name), 0, 0)
        return f"traced {name}"
    raise LookupError("no process")


def is_pair(descriptor):
    """Whether this is one end of a pair of sockets, as every event loop has one."""
    try:
        with socket.socket(fileno=os.dup(descriptor)) as one:
            return one.family == socket.AF_UNIX and not one.getsockname() and not one.getpeername()
    except OSError:
        return False


def inherited_descriptors():
    """What is open here beside the streams and the two pipes of the protocol, which end the command line."""
    with open("/proc/self/cmdline") as line:
        protocol = line.read().split("\0")[:-1][-2:]
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{name}")
            mine = target.startswith(("/proc/", "anon_inode:")) or HERE in target
            if int(name) <= 2 or mine or name in protocol or is_pair(int(name)):
                continue
            plain = os.path.isfile(target)
            found.append(planted([f"/proc/self/fd/{name}"]) if plain else target)
    if not found:
        raise LookupError("none but the protocol's")
    return found


# Reaching others -------------------------------------------------------------------------------------------


def docker_socket():
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(PLACES["socket"])
        return "connected"


def docker_socket_is_seen():
    return f"mode {os.stat(PLACES['socket']).st_mode:o}"


def abstract_socket():
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"\0{PLACES['abstract']}")
        return "connected"


def datagram_by_pair():
    """One of a pair of sockets sends to another one that is open to everybody."""
    reached, errors = [], []
    for address in (PLACES["datagrams"], f"\0{PLACES['abstract']}-datagrams"):
        for one in socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM):
            with one:
                try:
                    one.sendto(b"x", address)
                    reached.append(address)
                except OSError as error:
                    errors.append(error)
    if not reached:
        raise errors[0]
    return reached


def loopback():
    with socket.socket() as client:
        client.settimeout(5)
        client.connect(("127.0.0.1", PLACES["loopback"]))
        return "connected"


def datagram():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        return client.sendto(b"x", ("127.0.0.1", PLACES["loopback"]))


def metadata_address():
    with socket.socket() as client:
        client.settimeout(2)
        client.connect(("169.254.169.254", 80))
        return "connected"


def raw_socket():
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, 1):
        return "opened"


def io_uring():
    parameters = ctypes.create_string_buffer(120)
    return called(libc.syscall(425, 4, parameters))


def other_calls():
    """A 32-bit number of socket(), which another table would understand."""
    return called(libc.syscall(0x40000000 + 41, socket.AF_INET, socket.SOCK_STREAM, 0))


def new_user_namespace():
    return called(libc.unshare(0x10000000))


def new_namespace_by_clone():
    child = called(libc.syscall(56 if os.uname().machine == "x86_64" else 220, 0x10000000 | 17, 0, 0, 0, 0))
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return "made"


def become_root():
    os.setuid(0)
    return os.getuid()


def setuid_program():
    import subprocess

    for program in ("/usr/bin/su", "/usr/bin/mount", "/bin/su"):
        if os.path.exists(program) and os.stat(program).st_mode & 0o4000:
            done = subprocess.run(
                [program, "-c", "id -u"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20
            )
            if done.stdout.strip() == "0":
                return "root"
    raise PermissionError("no program gave more rights")


def signal_deployer():
    errors = []
    for name in others():
        try:
            os.kill(int(name), 0)
            return f"signalled {name}"
        except OSError as error:
            errors.append(error)
    raise errors[0]


def lift_limits():
    import resource

    # More than is given, and no more than everybody has.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 40, 1 << 40))
    return resource.getrlimit(resource.RLIMIT_FSIZE)


# Writing ---------------------------------------------------------------------------------------------------


def append(path):
    with open(path, "a") as file:
        file.write("forged=yes\n")
    return f"wrote {path}"


def write_outputs():
    return append(one("commands", "set_output_*"))


def write_environment():
    return append(one("commands", "set_env_*"))


def write_path():
    return append(one("commands", "add_path_*"))


def write_summary():
    return append(one("commands", "step_summary_*"))


def one(place, pattern):
    found = below(place, pattern)
    if not found:
        raise LookupError("no file")
    return found[-1]


def write_workspace():
    return append(f"{PLACES['workspace']}/forged.txt")


def write_hooks():
    return append(f"{PLACES['workspace']}/.git/hooks/post-checkout")


def write_git_configuration():
    return append(f"{PLACES['workspace']}/.git/config")


def write_programs():
    """A program or module that the deployer would run."""
    return append(f"{PLACES['programs']}/forged")


def parents():
    folder = HERE
    while True:
        yield folder
        if folder == "/":
            return
        folder = os.path.dirname(folder)


PROBES = {
    name: probe
    for name, probe in list(globals().items())
    if callable(probe)
    and getattr(probe, "__module__", "") == __name__
    and name not in ("called", "planted", "below", "others", "ancestors", "is_pair", "append", "one", "parents")
}


def attempt(probe):
    """What a probe got: ``{"got": text}`` or ``{"denied": text}``."""
    try:
        return {"got": str(probe())[:300]}
    except BaseException as error:
        return {"denied": f"{type(error).__name__}: {error}"[:300]}


def apart(probe):
    """What a probe got in a process of its own: what root can do changes who one is, and where."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with open(writing, "w") as stream:
            json.dump(attempt(probe), stream)
        os._exit(0)
    os.close(writing)
    with open(reading) as stream:
        answer = json.load(stream)
    os.waitpid(child, 0)
    return answer


def report(stream=sys.stdout, how=attempt):
    """Try everything, one line for each."""
    for name, probe in PROBES.items():
        stream.write(f"attack {json.dumps({'name': name, **how(probe)})}\n")
        stream.flush()


if __name__ == "__main__":
    report(how=apart)
