"""A git folder of our own, made from a checkout's: with its history, and nothing of its configuration.

A checkout's ``.git`` may hold programs to run, and tokens. What git needs to compare a tree with a commit is
little: the commits' names, the index, and the objects, which are looked up where they are.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flyte_deploy.isolation.confinement import Confinement
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
        checkout: the checkout's top folder, which the confined user can still read.
        copy: its copy, without git.
        folder: where the git folder goes; it does not exist.
        confinement: of the user who owns the copy.
    """
    made = _copy(checkout / ".git", folder)
    nothing = KeptApart(None, None, confinement)
    if not made:
        return History(None, "", nothing)
    kept = KeptApart(None, folder, confinement)
    with kept_apart(copy, kept):
        commit = commit_of(copy)
        described = describe(copy) if commit is not None else ""
    # From now on only the tree is asked about, never the history.
    (folder / "objects" / "info" / "alternates").unlink()
    return History(commit, described, KeptApart(commit, folder, confinement))


def _copy(git: Path, folder: Path) -> bool:
    """Copy what is needed of a git folder; False where it is none."""
    # A worktree's or submodule's ``.git`` is a file that leads somewhere else.
    if not git.is_dir() or git.is_symlink():
        return False
    for name in ("", "objects", "objects/info", "refs"):
        (folder / name).mkdir(mode=0o755)
        (folder / name).chmod(0o755)
    for name in ("HEAD", "index", "packed-refs", "shallow", *_shared_indexes(git)):
        _copy_file(git / name, folder / name)
    for name in _refs(git):
        (folder / name).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _copy_file(git / name, folder / name)
    for path, _, _ in os.walk(folder / "refs"):
        Path(path).chmod(0o755)
    _write(folder / "objects/info/alternates", f"{git / 'objects'}\n")
    _write(folder / "config", _configuration(git / "config"))
    return (folder / "HEAD").exists()


def _configuration(original: Path) -> str:
    """A configuration with the format of the objects and the addresses of the remotes, and nothing else."""
    lines = ["[core]", "\trepositoryformatversion = 1", "\tbare = false"]
    # The copy has other inodes and owners than the index says.
    lines += ["\ttrustctime = false", "\tcheckStat = minimal"]
    content = _read(original, _CONFIG_LIMIT)
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
    if (git / "refs").is_symlink():
        return
    for path, _, files in os.walk(git / "refs"):
        for name in files:
            count += 1
            if count > _REFS_LIMIT:
                return
            yield os.path.relpath(f"{path}/{name}", git)


def _copy_file(source: Path, target: Path) -> None:
    content = _read(source, _FILE_LIMIT)
    if content is not None:
        target.write_bytes(content)
        target.chmod(0o644)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o644)


def _read(path: Path, limit: int) -> bytes | None:
    """A regular file's content, no link followed; None where it is none, or larger than `limit` bytes."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                content = stream.read(limit + 1)
                return content if len(content) <= limit else None
    return None
