"""What git says of the project: commit, branch, tag, and where its files can be looked at.

This is the one place that runs git.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from flyte_deploy.isolation.confinement import Confinement

# The checkout may hold a repository made to run things: no hooks, no monitor, no bare repository in a folder.
_SAFE = {
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "safe.bareRepository": "explicit",
}
_REMOTE = re.compile(
    r"^(?:https?://(?:[^@/]+@)?|ssh://(?:[^@/]+@)?|git://|(?:[^@/]+@))([^/:]+)(?::\d+)?[/:](.+)$"
)


@dataclass(frozen=True)
class Commit:
    """A checkout's state.

    Args:
        sha: the commit checked out.
        branch: its branch, empty on a detached head.
        tag: a tag on that commit, empty if there is none.
        folder: the checkout's top folder.
        remote: the web address of the repository it is pushed to, empty if there is none.
        clean: False where files differ from the commit.
    """

    sha: str
    branch: str
    tag: str
    folder: Path
    remote: str
    clean: bool

    def link(self, file: Path, line: int) -> str:
        """Where a line of a file can be looked at, as Flyte's SDK writes it; empty if not known."""
        host = self.remote.removeprefix("https://").partition("/")[0]
        blob = {"github.com": "blob", "gitlab.com": "-/blob"}.get(host)
        if blob is None:
            return ""
        try:
            path = PurePosixPath(file.resolve().relative_to(self.folder.resolve()))
        except ValueError:
            return ""
        anchor = f"#L{line}" if self.clean else ""
        return f"{self.remote}/{blob}/{self.sha}/{path}{anchor}"


@dataclass(frozen=True)
class KeptApart:
    """A copy of a checkout whose git folder is kept elsewhere: nothing in the copy is taken for git's.

    Args:
        commit: its state when it was copied, None where there was none.
        repository: the git folder; None where git cannot be asked.
        confinement: what git is confined to: it never runs as root in what others have written.
        objects: a descriptor of the folder with the checkout's objects, while git can read them.
    """

    commit: Commit | None
    repository: Path | None
    confinement: Confinement
    objects: int | None = None


_KEPT: dict[Path, KeptApart] = {}


@contextmanager
def kept_apart(top: Path, git: KeptApart) -> Iterator[None]:
    """Answer for a copy of a checkout out of what is kept of its git, as long as this is open."""
    _KEPT[top] = git
    try:
        yield
    finally:
        del _KEPT[top]


def _kept(folder: Path) -> tuple[Path, KeptApart] | None:
    for top, git in _KEPT.items():
        if folder.is_relative_to(top):
            return top, git
    return None


def is_kept_apart(folder: Path) -> bool:
    """Whether a folder lies in a copy of a checkout whose git folder is kept elsewhere."""
    return _kept(folder) is not None


def run_git(
    folder: Path, top: Path, *arguments: str, timeout: float = 60
) -> subprocess.CompletedProcess[bytes] | None:
    """Run git in a checkout; None where there is no git, or it took longer than `timeout` seconds.

    Nothing is written, fetched, or run that the checkout asks for.

    Args:
        folder: the folder to run it in.
        top: the checkout's top folder, see `top_folder`.
        arguments: git's.
        timeout: seconds.
    """
    kept = _kept(top)
    # A checkout could name a program as the place that missing objects are fetched from.
    environment = {**git_environment(top), "GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1"}
    command = ["git", *arguments]
    objects: tuple[int, ...] = ()
    if kept is not None:
        if kept[1].repository is None:
            return None
        environment = {name: environment[name] for name in environment if name.startswith(("GIT_", "LC_"))}
        environment |= {"GIT_DIR": str(kept[1].repository), "GIT_WORK_TREE": str(top)}
        environment |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
        environment["PATH"] = kept[1].confinement.environment["PATH"]
        if kept[1].objects is not None:
            objects = (kept[1].objects,)
            # The way there is closed.
            environment["GIT_OBJECT_DIRECTORY"] = f"/proc/self/fd/{objects[0]}"
        command = kept[1].confinement.command(command, folder, readable=objects)
        folder = Path("/")
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=timeout,
            pass_fds=objects,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def git_environment(folder: Path, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment in which git neither runs what a checkout asks for nor writes into it."""
    kept = {name: value for name, value in environ.items() if not name.startswith("GIT_")}
    settings = {**_SAFE, "safe.directory": str(folder)}
    for index, (name, value) in enumerate(settings.items()):
        kept[f"GIT_CONFIG_KEY_{index}"] = name
        kept[f"GIT_CONFIG_VALUE_{index}"] = value
    return {
        **kept,
        "GIT_CONFIG_COUNT": str(len(settings)),
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }


def top_folder(folder: Path) -> Path | None:
    """The top of the checkout that a folder lies in, found without running anything."""
    kept = _kept(folder)
    if kept is not None:
        return kept[0]
    for candidate in (folder, *folder.parents):
        if (candidate / ".git").exists():
            return candidate
    return None


def read_commit(folder: Path) -> Commit | None:
    """The state of the checkout that a folder lies in; None where there is none, or no git to ask."""
    top = top_folder(folder.resolve())
    if top is None:
        return None
    kept = _kept(top)
    if kept is not None:
        return kept[1].commit
    return commit_of(top)


def commit_of(top: Path) -> Commit | None:
    """The state of the checkout with this top folder; None where git cannot be asked."""
    status = _git(top, "status", "--porcelain=v2", "--branch", "--untracked-files=normal")
    if status is None:
        return None
    heads = dict(
        line.removeprefix("# ").split(" ", 1) for line in status.splitlines() if line.startswith("# branch.")
    )
    sha = heads.get("branch.oid", "")
    if not re.fullmatch(r"[0-9a-f]{40,64}", sha):
        return None
    branch = heads.get("branch.head", "")
    return Commit(
        sha=sha,
        branch="" if branch == "(detached)" else branch,
        tag=((_git(top, "tag", "--points-at", "HEAD", "--sort=-v:refname") or "").splitlines() or [""])[0],
        folder=top,
        remote=_remote(top),
        clean=all(line.startswith("#") for line in status.splitlines()),
    )


def describe(top: Path) -> str:
    """The newest tag with a number, the commits since, the commit, as ``git describe --long``; or nothing."""
    return _git(top, "describe", "--tags", "--long", "--match", "*[0-9]*") or ""


def _remote(top: Path) -> str:
    url = _git(top, "remote", "get-url", "--push", "origin")
    if url is None:
        names = sorted((_git(top, "remote") or "").split())
        url = _git(top, "remote", "get-url", "--push", names[0]) if names else None
    return web_address((url or "").strip())


def web_address(url: str) -> str:
    """A remote's address as one opens it in a browser, without what logs in; empty for a local one."""
    match = _REMOTE.match(url)
    if match is None:
        return ""
    return f"https://{match[1]}/{match[2].removesuffix('/').removesuffix('.git')}"


def _git(top: Path, *arguments: str) -> str | None:
    result = run_git(top, top, *arguments)
    if result is None or result.returncode != 0:
        return None
    return result.stdout.decode("utf-8", "surrogateescape").rstrip("\n")
