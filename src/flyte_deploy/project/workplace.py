"""The container's workplace for the project's code: a copy of the checkout, a user, an interpreter.

Nothing of the project runs before this is made, and everything of it runs in here.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flyte_deploy.clock import Clock
from flyte_deploy.collector.run import INSIDE
from flyte_deploy.errors import DeployError
from flyte_deploy.isolation import BASE, mounts
from flyte_deploy.isolation.certificates import certificates_in
from flyte_deploy.isolation.confinement import (
    CERTIFICATES,
    PATH,
    Confinement,
    environment_of_code,
)
from flyte_deploy.isolation.staging import Owner, copy_tree, is_left_out
from flyte_deploy.isolation.users import free_user
from flyte_deploy.model import Progress
from flyte_deploy.project import scm
from flyte_deploy.project.git import kept_apart
from flyte_deploy.project.install import Wanted, install, none_found
from flyte_deploy.project.interpreter import find_interpreter
from flyte_deploy.project.repository import take_over
from flyte_deploy.settings import Settings


@dataclass(frozen=True)
class Container:
    """What a workplace has to know of the container that it is made in.

    Args:
        workspace: the folder with the checkout, real.
        environ: the variables that the code may be given; see `isolation.confinement`.
        base: where the workplace is made; nothing but environments is there.
        path: where the code's programs are looked for.
        mounts: what is mounted into the container, and is closed to the code.
        untrusted: whether the code is somebody's who may harm later runs: environments that it was installed
            in are kept apart from those of others.
    """

    workspace: Path
    environ: Mapping[str, str]
    base: Path = BASE
    path: str = PATH
    mounts: tuple[Path, ...] = dataclasses.field(default_factory=lambda: tuple(mounts.mounted()))
    untrusted: bool = False


@contextmanager
def workplace(settings: Settings, container: Container, clock: Clock) -> Iterator[Settings]:
    """Make the workplace, install the project there, and give settings that mean the copy.

    The working directory of the settings is in the copy. The deployer's own stays where it is: programs that
    it is told to run are not looked for among files of the code. Afterwards nothing of the code runs; what it
    wrote stays, and goes with the container.

    Raises:
        DeployError: where the code cannot be confined, and for all that goes wrong in installing it.
    """
    if os.getuid() != 0:
        raise DeployError(
            "the action's container does not run as root, and cannot run the project's code as somebody else",
            mend="Leave out the option that changes the container's user.",
        )
    top = _top(settings.root_dir, container.workspace)
    with clock.step("stage", "Copying the checkout"):
        uid = free_user([*container.mounts, container.workspace])
        folders = _make_folders(container.base)
        closed = mounts.close(container.mounts, _needed(settings, container))
        if left := closed.open():
            raise _open(left)
        plain = Confinement(uid, uid, {"PATH": container.path}, closed.by_landlock())
        for folder in (folders.home, folders.temporary):
            plain.give(folder)
        copied = copy_tree(top, folders.checkout, owner=Owner(uid, uid), leave_out=_left_out(settings.python))
        clock.listen(Progress("note", f"{copied.files} files, {copied.size / 1e6:.1f} MB"))
        history = take_over(top, folders.checkout, folders.git, plain)
        copy_tree(INSIDE, folders.collector)
        certificates = _certificates(container.environ, folders.certificates)
    moved = _moved(settings, top, folders.checkout)
    environ = {**container.environ, **certificates}
    passed = (*settings.pass_env, *certificates)
    withheld = tuple(sorted(set(container.environ) - set(passed)))

    def confined(*, network: bool) -> Confinement:
        environment = environment_of_code(
            environ,
            passed,
            path=container.path,
            home=folders.home,
            temporary=folders.temporary,
            network=network,
        )
        return Confinement(
            uid,
            uid,
            environment,
            closed.by_landlock(),
            network,
            withheld,
            collector=folders.collector,
            checkout=folders.checkout,
            scratch=folders.scratch,
        )

    kept = dataclasses.replace(history.kept, confinement=confined(network=False))
    with kept_apart(folders.checkout, kept):
        try:
            installing = confined(network=True)
            version = scm.version_of(history.described, history.commit.sha if history.commit else "")
            with clock.step("install", "Installing the project"):
                python = _interpreter(
                    moved, folders, installing, version, _caches(settings, container), clock
                )
            loading = _with_interpreter(confined(network=settings.discovery_network == "allow"), python)
            yield dataclasses.replace(moved, python=python, confinement=loading)
        except DeployError as error:
            raise _about_the_checkout(error, str(folders.checkout)) from error.__cause__
        finally:
            plain.end_all()


@dataclass(frozen=True)
class _Folders:
    checkout: Path
    git: Path
    home: Path
    temporary: Path
    environments: Path
    certificates: Path
    collector: Path
    scratch: Path


def _make_folders(base: Path) -> _Folders:
    folders = _Folders(
        base / "checkout",
        base / "git",
        base / "home",
        base / "tmp",
        base / "environments",
        base / "certificates",
        base / "collector",
        base / "scratch",
    )
    made = (folders.home, folders.temporary, folders.environments, folders.certificates, folders.scratch)
    for folder in (base, *made):
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        # The deployer's umask is not the code's.
        folder.chmod(0o755)
    return folders


def _top(root: Path, workspace: Path) -> Path:
    """The folder that is copied: the outermost checkout that holds the root, or the whole workspace."""
    for folder in reversed((root, *root.parents)):
        if folder.is_relative_to(workspace) and os.path.lexists(folder / ".git"):
            return folder
    return workspace


def _left_out(python: str) -> Callable[[str, str], bool]:
    def left_out(name: str, path: str) -> bool:
        if is_left_out(name):
            return True
        # Somebody else's virtual environment; its interpreter is seldom in this container.
        environment = os.path.lexists(f"{path}/pyvenv.cfg")
        return environment and not os.path.abspath(python or "/").startswith(f"{path}/")  # noqa: PTH100

    return left_out


def _certificates(environ: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Copies of the certificates in the files that variables name, where the code can read them."""
    found: dict[str, str] = {}
    for name in CERTIFICATES:
        if certificates := certificates_in(Path(environ.get(name) or "/")):
            copy = folder / f"{name.lower()}.pem"
            copy.write_bytes(certificates)
            copy.chmod(0o644)
            found[name] = str(copy)
    return found


def _needed(settings: Settings, container: Container) -> Iterable[Path]:
    """What has to be reached: by the code, and the machine's own programs."""
    uv = shutil.which("uv", path=container.path)
    # Of the folder for temporary files it is given single ones.
    temporary = "/tmp/flyte-deploy"  # noqa: S108
    for path in (str(container.base), sys.base_prefix, "/usr", "/etc", temporary, uv or "/usr"):
        yield Path(path)
        yield Path(os.path.realpath(path))
    for name in (settings.python, "python3"):
        python = shutil.which(name, path=container.path) if name else None
        for path in (os.path.abspath(python), os.path.realpath(python)) if python else ():  # noqa: PTH100
            # With all that lies beside it; what is in the workspace is copied.
            prefix = Path(path).parent.parent
            if prefix != Path("/") and not prefix.is_relative_to(container.workspace):
                yield prefix


def _open(left: tuple[Path, ...]) -> DeployError:
    return DeployError(
        "what is mounted into the container cannot be closed to the project's code:"
        f" {', '.join(map(str, left))}",
        mend="Mount it in a folder of its own, such as /run/secrets/NAME or /mnt/NAME, give it a mode"
        " that keeps others out, or use a runner whose kernel has Landlock (Linux 5.13 and newer).",
    )


def _moved(settings: Settings, top: Path, copy: Path) -> Settings:
    """The settings, with the copy in place of the checkout."""

    def move(path: Path) -> Path:
        return copy / path.relative_to(top) if path.is_relative_to(top) else path

    paths = tuple(move(Path(os.path.realpath(path.parent)) / path.name) for path in settings.paths)
    python = settings.python
    if "/" in python:
        python = str(move(Path(os.path.abspath(settings.working_dir / python))))  # noqa: PTH100
    working = move(settings.working_dir)
    return dataclasses.replace(
        settings,
        root_dir=move(settings.root_dir),
        working_dir=working if working.is_dir() and working != settings.working_dir else copy,
        paths=paths,
        python=python,
    )


def _interpreter(
    settings: Settings,
    folders: _Folders,
    confinement: Confinement,
    version: str,
    caches: tuple[Path, ...],
    clock: Clock,
) -> str:
    first = settings.paths[0]
    start = first if first.is_dir() else first.parent
    if settings.install == "none" or settings.python:
        return find_interpreter(settings.python, start, confinement.environment)
    wanted = Wanted(
        install=settings.install,
        arguments=settings.install_args,
        python=settings.python_version,
        start=start,
        scripts=settings.paths if first.is_file() else (),
        top=folders.checkout,
        environments=folders.environments,
        environment=confinement.environment,
        caches=caches,
        version=version,
        confinement=confinement,
    )
    installed = install(wanted, lambda text: clock.listen(Progress("note", text)))
    if installed is None:
        raise none_found(folders.checkout)
    return str(installed.python)


def _caches(settings: Settings, container: Container) -> tuple[Path, ...]:
    """Where environments outlive the container, the last for new ones; empty where nothing does."""
    cache = settings.cache_dir
    if cache is None:
        temporary = Path(container.environ.get("RUNNER_TEMP") or "/nowhere")
        if not temporary.is_dir():
            return ()
        cache = temporary / "flyte-deploy-environments"
    elif Path(os.path.realpath(cache)).is_relative_to(container.workspace):
        raise DeployError(
            f"{cache} lies in the workspace, where nothing is written",
            where="--cache-dir",
            mend="Name a folder below ${{ runner.temp }}.",
            usage=True,
        )
    return (cache, cache / "untrusted") if container.untrusted else (cache,)


def _with_interpreter(confinement: Confinement, python: str) -> Confinement:
    """With what an activated virtual environment sets."""
    folder = Path(python).parent
    more = {"PATH": f"{folder}:{confinement.environment['PATH']}"}
    if (folder.parent / "pyvenv.cfg").is_file():
        more["VIRTUAL_ENV"] = str(folder.parent)
    return dataclasses.replace(confinement, environment={**confinement.environment, **more})


def _about_the_checkout(error: DeployError, copy: str) -> DeployError:
    """The same error, with paths relative to the checkout: nobody knows the copy."""

    def told(text: str) -> str:
        return text.replace(f"{copy}/", "").replace(copy, "the checkout")

    return DeployError(
        told(error.what),
        where=told(error.where) if error.where else None,
        mend=told(error.mend) if error.mend else None,
        usage=error.usage,
        details=tuple(told(line) for line in error.details),
    )
