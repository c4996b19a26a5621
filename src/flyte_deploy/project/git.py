"""What git says of the project: commit, branch, tag, and where its files can be looked at."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

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
    for candidate in (folder, *folder.parents):
        if (candidate / ".git").exists():
            return candidate
    return None


def read_commit(folder: Path) -> Commit | None:
    """The state of the checkout that a folder lies in; None where there is none, or no git to ask."""
    top = top_folder(folder.resolve())
    if top is None:
        return None
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


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            env=git_environment(folder),
            capture_output=True,
            check=False,
            timeout=60,
            encoding="utf-8",
            errors="surrogateescape",
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.rstrip("\n") if result.returncode == 0 else None
