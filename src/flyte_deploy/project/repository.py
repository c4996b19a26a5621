"""A git folder of our own, made from a checkout's: with its history, and nothing of its configuration.

A checkout's ``.git`` may hold programs to run, and tokens. What git needs to compare a tree with a commit is
little: the commits' names, the index, and the objects, which are looked up where they are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flyte_deploy.isolation.confinement import Confinement
from flyte_deploy.isolation.staging import read_file
from flyte_deploy.project.git import Commit, KeptApart, commit_of, describe, kept_apart

_FILE_LIMIT = 512 << 20
_CONFIG_LIMIT = 1 << 20
_REFS_LIMIT = 100_000
_SECTION = re.compile(r'^\s*\[\s*(?P<name>[\w.-]+)(?:\s+"(?P<sub>(?:[^"\\]|\\.)*)")?\s*\]')
_ENTRY = re.compile(r"^\s*(?P<key>[\w-]+)\s*=\s*(?P<value>.*?)\s*$")


@dataclass(frozen=True)
class History:
    """What is known of a checkout's git before its code runs.

    Args:
        commit: its state, None where it has none or git could not be asked.
        described: the newest tag before the commit with the number of commits since, as
            ``git describe --long`` writes it; empty where there is none.
        kept: what answers for the copy from now on.
    """

    commit: Commit | None
    described: str
    kept: KeptApart


def take_over(checkout: Path, copy: Path, folder: Path, confinement: Confinement) -> History:
    """Make the git folder of a copied checkout, and ask git for its state.

    Git runs confined, in the copy, with a configuration of ours.

    Args:
        checkout: the checkout's top folder; of it git reads the objects alone, wherever it may go.
        copy: its copy, without git.
        folder: where the git folder goes; it does not exist.
        confinement: of the user who owns the copy.
    """
    made = _copy(checkout / ".git", folder)
    nothing = KeptApart(None, None, confinement)
    if not made:
        return History(None, "", nothing)
    commit, described = None, ""
    with _opened(checkout / ".git" / "objects") as objects:
        if objects is not None:
            # From then on only the tree is asked about, never the history.
            with kept_apart(copy, KeptApart(None, folder, confinement, objects)):
                commit = commit_of(copy)
                described = describe(copy) if commit is not None else ""
    return History(commit, described, KeptApart(commit, folder, confinement))


@contextmanager
def _opened(folder: Path) -> Iterator[int | None]:
    """A descriptor of a folder, None where it is none."""
    try:
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _copy(git: Path, folder: Path) -> bool:
    """Copy what is needed of a git folder; False where it is none."""
    # A worktree's or submodule's ``.git`` is a file that leads somewhere else.
    if not git.is_dir() or git.is_symlink():
        return False
    for name in ("", "objects", "refs"):
        (folder / name).mkdir(mode=0o755)
        (folder / name).chmod(0o755)
    for name in ("HEAD", "index", "packed-refs", "shallow", *_shared_indexes(git)):
        _copy_file(git / name, folder / name)
    for name in _refs(git):
        (folder / name).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _copy_file(git / name, folder / name)
    for path, _, _ in os.walk(folder / "refs"):
        Path(path).chmod(0o755)
    _write(folder / "config", _configuration(git / "config"))
    return (folder / "HEAD").exists()


def _configuration(original: Path) -> str:
    """A configuration with the format of the objects and the addresses of the remotes, and nothing else."""
    lines = ["[core]", "\trepositoryformatversion = 1", "\tbare = false"]
    # The copy has other inodes and owners than the index says.
    lines += ["\ttrustctime = false", "\tcheckStat = minimal"]
    content = read_file(original, _CONFIG_LIMIT)
    section, sub = "", ""
    for line in (content or b"").decode(errors="replace").splitlines():
        if found := _SECTION.match(line):
            section, sub = found["name"].lower(), found["sub"] or ""
        elif entry := _ENTRY.match(line):
            key, value = entry["key"].lower(), entry["value"]
            if (section, key) == ("extensions", "objectformat") and value in ("sha1", "sha256"):
                lines += ["[extensions]", f"\tobjectformat = {value}"]
            if section == "remote" and key in ("url", "pushurl") and re.fullmatch(r"[\w.@/-]+", sub):
                address = value.strip('"').replace("\\", "\\\\").replace('"', '\\"')
                # What logs in is not needed for a link.
                address = re.sub(r"^(\w+://)[^@/]*@", r"\1", address)
                lines += [f'[remote "{sub}"]', f'\t{key} = "{address}"']
    return "\n".join(lines) + "\n"


def _shared_indexes(git: Path) -> list[str]:
    return [path.name for path in git.glob("sharedindex.*")]


def _refs(git: Path) -> Iterator[str]:
    count = 0
    # No link is followed, and it may be one itself.
    top = git / "refs"
    for path, _, files in os.walk(top) if not top.is_symlink() else ():
        for name in files:
            count += 1
            if count > _REFS_LIMIT:
                return
            yield os.path.relpath(f"{path}/{name}", git)


def _copy_file(source: Path, target: Path) -> None:
    content = read_file(source, _FILE_LIMIT)
    if content is not None:
        target.write_bytes(content)
        target.chmod(0o644)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o644)
