"""Our reading of ignore files against git itself, on trees and patterns made at random from a fixed seed."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from flyte_deploy.bundle import select

NAMES = ["a", "b", "foo", "bar.txt", "x.py", ".h", "doc", "a b", "ä", "*", "[x]", "a-", "b ", "]"]
PATTERNS = """\
a|b/|/a|/foo/|*.txt|!bar.txt|foo/*|!foo/bar.txt|**/b|a/**|a/**/x.py|!/doc|!doc/|*|!*/|!*.py|doc/*.txt|/*
!/a|!a/|a\\ b|[ab]|!b|foo/**/bar.txt|?|**/foo/|a/b|!a/b|bar.txt/|*/x.py|#c|\\#x|ä|!|/|//|**|a/*/|b  |!foo/
.*|foo**bar|***|[!a]|[^a]*|[a-c]oo|[[:alpha:]]|x.[p-z]y|[|[]a]|\\*|a\\|b\\ |foo/\\*\\*|a/**b|**a|a/**/**/b
[a-]|[\\]]|a/[b/]|a[/]b|[[:x:]]|[[:alpha|!**""".replace("\n", "|").split("|")


def grow(folder: Path, chance: random.Random, level: int = 0) -> None:
    for name in chance.sample(NAMES, chance.randint(2, 6)):
        path = folder / name
        if level < 3 and chance.random() < 0.5:
            path.mkdir()
            grow(path, chance, level + 1)
        else:
            path.touch()
    if chance.random() < (0.3 if level else 0.9):
        lines = chance.choices(PATTERNS, k=chance.randint(1, 5))
        (folder / ".gitignore").write_text(
            "\n".join(lines) + chance.choice(["\n", "\r\n", ""]), encoding="utf-8"
        )


@pytest.mark.parametrize("seed", range(40))
def test_the_same_files_are_ignored_with_and_without_git(tmp_path: Path, seed: int) -> None:
    grow(tmp_path, random.Random(seed))
    (tmp_path / "always").touch()
    (tmp_path / ".gitignore").open("a", encoding="utf-8").write("\n!always\n")
    without = [file.path for file in select(tmp_path, "all").files]
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    assert without == [file.path for file in select(tmp_path, "all").files]
