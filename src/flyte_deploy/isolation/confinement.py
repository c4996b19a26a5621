"""What the project's code is confined to, and how a program is started with it."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from flyte_deploy.errors import DeployError
from flyte_deploy.isolation.inside import FAILED

_INSIDE = Path(__file__).with_name("inside")
_BOOT = """\
import importlib.util, sys
folder = sys.argv[1]
spec = importlib.util.spec_from_file_location(
    "inside", folder + "/__init__.py", submodule_search_locations=[folder])
sys.modules["inside"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["inside"])
from inside import enter
enter.run(sys.argv[2:])
"""

PATH = "/usr/local/bin:/usr/bin:/bin"
"""Where confined programs are looked for."""

PASSED = (
    "CI",
    "GITHUB_ACTIONS",
    "GITHUB_BASE_REF",
    "GITHUB_EVENT_NAME",
    "GITHUB_HEAD_REF",
    "GITHUB_JOB",
    "GITHUB_REF",
    "GITHUB_REF_NAME",
    "GITHUB_REF_TYPE",
    "GITHUB_REPOSITORY",
    "GITHUB_REPOSITORY_OWNER",
    "GITHUB_RUN_ATTEMPT",
    "GITHUB_RUN_ID",
    "GITHUB_RUN_NUMBER",
    "GITHUB_SERVER_URL",
    "GITHUB_SHA",
    "GITHUB_WORKFLOW",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "RUNNER_ARCH",
    "RUNNER_OS",
    "TZ",
)
"""The variables that the code sees without being given them: none is a secret, none says where files lie."""

NETWORK_VARIABLES = (
    "ALL_PROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
"""Passed where there is a network, unless there is a password in them."""

CERTIFICATES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT")
"""Name files of certificate authorities, which are copied to where the code can read them."""

_OBEYED = frozenset({"GCONV_PATH", "GLIBC_TUNABLES", "LOCPATH", "NLSPATH", "MALLOC_TRACE", "PATH"})

LIMITS = {
    # A user's processes and threads: builds start one of them or more for each core.
    "RLIMIT_NPROC": max(1024, 64 * (os.cpu_count() or 1)),
    "RLIMIT_FSIZE": 16 << 30,
    "RLIMIT_CORE": 0,
}
"""Limits by the kernel's name, in its units."""


@dataclass(frozen=True)
class Confinement:
    """What a program of the project's code is confined to.

    Args:
        uid: its user, who owns nothing but what it is given.
        gid: its group.
        environment: its whole environment.
        closed: folders and files that it cannot reach: their modes keep it out, or Landlock does.
        network: whether it has one.
        withheld: names of variables that the deployer has and the program has not.
        collector: where the collector lies for it; None for where it lies for the deployer.
        checkout: the copy that it works on, which is its own until its code is loaded.
        scratch: where folders are made that it is given for a while; nobody but root can write there.
    """

    uid: int
    gid: int
    environment: Mapping[str, str] = field(repr=False)
    closed: tuple[Path, ...] = ()
    network: bool = False
    withheld: tuple[str, ...] = ()
    collector: Path | None = None
    checkout: Path | None = None
    scratch: Path | None = None

    def command(
        self,
        command: Iterable[str],
        folder: Path,
        keep: Iterable[int] = (),
        readable: Iterable[int] = (),
    ) -> list[str]:
        """The command line that starts a program so confined.

        Args:
            command: the program's own; it needs nothing in it that is secret.
            folder: its working directory, entered with the rights that the program has. Whoever starts the
                command line must not be in a folder of the code's.
            keep: the file descriptors that it inherits beside the first three.
            readable: more of them, of folders that it can read though they lie in closed ones.
        """
        readable = list(readable)
        specification = {
            "uid": self.uid,
            "gid": self.gid,
            "network": self.network,
            "closed": [str(folder) for folder in self.closed],
            "limits": LIMITS,
            "keep": [*keep, *readable],
            "readable": readable,
            "folder": str(folder),
        }
        return [*_enter(specification), *command]

    def give(self, folder: Path) -> None:
        """Make a folder and all below it the code's own.

        Nothing of the code may be running.

        Raises:
            DeployError: where somebody but root could put something else into its place, or it is a link.
        """
        above = folder.parent.lstat()
        if above.st_uid != os.getuid() or above.st_mode & 0o022:
            raise DeployError(
                f"{folder} cannot be given to the project's code: others can write to the folder above it"
            )

        def change(name: str, inside: int) -> None:
            os.chown(name, self.uid, self.gid, dir_fd=inside, follow_symlinks=False)

        _for_all(folder, change)

    @staticmethod
    def take_back(folder: Path) -> None:
        """Make a folder and all below it the deployer's: what it has read there stays what it is.

        Code that runs later, as the same user, could replace a file by a link to one of the deployer's.
        Nothing of the code may be running.

        Raises:
            DeployError: where the folder itself is a link, or what is in it cannot be gone through.
        """

        def change(name: str, inside: int) -> None:
            os.chown(name, os.getuid(), os.getgid(), dir_fd=inside, follow_symlinks=False)
            mode = os.stat(name, dir_fd=inside, follow_symlinks=False).st_mode
            if not stat.S_ISLNK(mode) and mode & 0o7022:
                os.chmod(name, mode & 0o755, dir_fd=inside)

        _for_all(folder, change)

    def end_all(self) -> None:
        """End everything that runs as the code's user.

        Raises:
            DeployError: where something goes on.
        """
        ended = subprocess.run(
            _enter({"end": self.uid}), env={}, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        if ended.returncode != 0:
            raise DeployError(
                "what the project's code started cannot be ended",
                details=tuple(ended.stderr.decode(errors="replace").splitlines()[-3:]),
            )


def _for_all(folder: Path, change: Callable[[str, int], None]) -> None:
    """Change a folder and all below it, each by its name in a folder's descriptor; no link is followed."""

    def refuse(error: OSError) -> None:
        raise error

    try:
        # Of the folder itself too, a link would lead to what is not the code's.
        top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            for _, names, files, inside in os.fwalk(".", dir_fd=top, onerror=refuse):
                for name in (*names, *files):
                    change(name, inside)
            change(".", top)
        finally:
            os.close(top)
    except (OSError, RecursionError) as error:
        raise DeployError(f"{folder} is no folder that the project's code may have: {error}") from None


@contextmanager
def scratch_folder(confinement: Confinement | None) -> Iterator[Path]:
    """A folder of this run alone, gone when it ends, whatever the project's code has left there.

    Where the code is confined nobody but root can put something else into its place.
    """
    above = confinement.scratch if confinement is not None else None
    folder = Path(tempfile.mkdtemp(prefix="flyte-deploy-", dir=above)).resolve()
    try:
        yield folder
    finally:
        # Folders can be nested deeper than is gone through.
        with suppress(RecursionError):
            shutil.rmtree(folder, ignore_errors=True)


def failed(status: int, last_lines: Iterable[str]) -> DeployError | None:
    """The error for a program that was not started since it could not be confined; None for any other end."""
    if status != FAILED:
        return None
    for line in last_lines:
        if line.startswith("confine: "):
            return DeployError(
                f"the project's code cannot be confined: {line.removeprefix('confine: ')}",
                mend="The action's container has to run as root with Docker's usual capabilities and system"
                " calls.",
            )
    return None


def environment_of_code(
    environ: Mapping[str, str],
    passed: Iterable[str],
    *,
    path: str,
    home: Path,
    temporary: Path,
    network: bool,
) -> dict[str, str]:
    """The environment of confined programs: an allow list, and what was asked for.

    Args:
        environ: the deployer's.
        passed: further names that are asked for.
        path: its PATH.
        home: the code's HOME.
        temporary: its TMPDIR.
        network: whether it has one.

    Raises:
        DeployError: for names that the loader of programs obeys: the confinement begins as root.
    """
    passed = tuple(passed)
    for name in passed:
        if name.startswith("LD_") or name in _OBEYED:
            raise DeployError(
                f"{name} cannot be passed to the project's code: programs obey it before they are confined",
                where="--pass-env",
                usage=True,
            )
    kept = {name: environ[name] for name in (*PASSED, *passed) if name in environ}
    if network:
        proxies = {name: environ[name] for name in NETWORK_VARIABLES if name in environ}
        kept.update({name: value for name, value in proxies.items() if "@" not in value})
    return {
        "LANG": "C.UTF-8",
        **kept,
        "PATH": path,
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "USER": "flyte-deploy",
        "LOGNAME": "flyte-deploy",
    }


def _enter(specification: Mapping[str, object]) -> list[str]:
    # Isolated, and without `site`: nothing that lies about is imported while this is still root.
    return [sys.executable, "-I", "-S", "-c", _BOOT, str(_INSIDE), json.dumps(specification)]
