"""Which files go into a bundle: modules, the whole tree, includes; links, credentials and odd files."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from flyte_deploy.bundle import Include, ModuleFile, identify, select
from flyte_deploy.errors import DeployError
from flyte_deploy.model import Location

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"


def write(root: Path, *names: str, text: str = "x = 1\n") -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(
        [
            "git",
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.org",
            "-c",
            "protocol.file.allow=always",
            *arguments,
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )


def paths(root: Path, style: str = "all", **arguments: object) -> list[str]:
    return [file.path for file in select(root, style, **arguments).files]  # type: ignore[arg-type]


def include(root: Path, *patterns: str, declared_in: str = "envs.py") -> Include:
    return Include("etl", patterns, root / declared_in, Location(declared_in, 7))


@contextlib.contextmanager
def unprivileged() -> Iterator[Path]:
    """A folder that an ordinary user owns, and the tests as that user: root may read everything."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        if os.geteuid() != 0:
            yield folder
            return
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
        try:
            yield folder
        finally:
            os.seteuid(0)


# loaded modules


def test_modules_below_the_root_are_taken_with_their_reason(tmp_path: Path) -> None:
    write(tmp_path, "a.py", "pkg/__init__.py", "pkg/late.py", "unused.py")
    selection = select(
        tmp_path,
        "loaded_modules",
        modules=[
            ModuleFile(tmp_path / "pkg/late.py", "lazy import"),
            ModuleFile(tmp_path / "pkg/__init__.py", "lazy import"),
            ModuleFile(tmp_path / "pkg/__init__.py"),
            ModuleFile(tmp_path / "a.py"),
        ],
    )
    assert [(file.path, file.reason) for file in selection.files] == [
        ("a.py", "imported"),
        ("pkg/__init__.py", "imported"),
        ("pkg/late.py", "lazy import"),
    ]
    assert selection.warnings == ()


def test_installed_modules_and_those_elsewhere_are_passed_over(tmp_path: Path) -> None:
    root = tmp_path / "project"
    write(tmp_path, "elsewhere.py")
    write(
        root,
        "a.py",
        "venv/lib/python3.11/json.py",
        "deep/lib/site-packages/numpy.py",
        "deep/dist-packages/apt.py",
    )
    modules = [
        ModuleFile(path) for path in [*root.rglob("*.py"), tmp_path / "elsewhere.py", Path("relative.py")]
    ]
    chosen = paths(root, "loaded_modules", modules=modules, interpreter_paths=[root / "venv"])
    assert chosen == ["a.py"]


def test_a_prefix_that_holds_the_root_does_not_make_the_project_installed(tmp_path: Path) -> None:
    write(tmp_path, "src/app/a.py")
    chosen = paths(
        tmp_path / "src/app",
        "loaded_modules",
        modules=[ModuleFile(tmp_path / "src/app/a.py")],
        interpreter_paths=[tmp_path],
    )
    assert chosen == ["a.py"]


def test_generated_modules_that_git_ignores_ship(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    write(tmp_path, "gen_pb2.py")
    write(tmp_path, ".gitignore", text="gen_pb2.py\n")
    assert paths(tmp_path, "loaded_modules", modules=[ModuleFile(tmp_path / "gen_pb2.py")]) == ["gen_pb2.py"]


def test_a_linked_package_keeps_the_name_it_was_imported_under(tmp_path: Path) -> None:
    root = tmp_path / "real"
    write(root, "src/pkg/m.py")
    (root / "pkg").symlink_to("src/pkg")
    (tmp_path / "alias").symlink_to("real")
    (tmp_path / "inner").symlink_to("real/src")
    for given in (root, tmp_path / "alias"):
        for path in (root / "pkg/m.py", tmp_path / "alias/pkg/m.py", root / "src/../pkg/m.py"):
            files = select(given, "loaded_modules", modules=[ModuleFile(path)]).files
            assert [file.path for file in files] == ["pkg/m.py"]
            assert files[0].source == root.resolve() / "src/pkg/m.py"
    assert paths(root, "loaded_modules", modules=[ModuleFile(tmp_path / "inner/pkg/m.py")]) == [
        "src/pkg/m.py"
    ]


def test_a_module_link_that_leaves_the_root_names_the_root_that_mends_it(tmp_path: Path) -> None:
    write(tmp_path, "shared/util.py", "project/a.py")
    (tmp_path / "project/util").symlink_to("../shared")
    with pytest.raises(DeployError) as caught:
        select(
            tmp_path / "project", "loaded_modules", modules=[ModuleFile(tmp_path / "project/util/util.py")]
        )
    assert caught.value.where == "util"
    assert str(tmp_path.resolve() / "shared") in caught.value.what
    assert f"--root-dir {tmp_path.resolve()}," in str(caught.value.mend)


def test_a_module_whose_file_is_gone_is_said(tmp_path: Path) -> None:
    write(tmp_path, "a.py")
    selection = select(
        tmp_path, "loaded_modules", modules=[ModuleFile(tmp_path / "a.py"), ModuleFile(tmp_path / "gone.py")]
    )
    assert [file.path for file in selection.files] == ["a.py"]
    assert any("gone.py" in warning for warning in selection.warnings)


def test_nothing_to_bundle_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="no file to bundle"):
        select(tmp_path, "loaded_modules")
    with pytest.raises(DeployError, match="no file to bundle"):
        select(tmp_path, "all")
    assert select(tmp_path, "none").files == ()


def test_a_root_that_is_no_folder_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(DeployError) as caught:
        select(tmp_path / "missing", "all")
    assert caught.value.usage


# the whole tree


def test_all_leaves_out_what_git_ignores_and_keeps_what_it_tracks(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    write(
        tmp_path,
        "a.py",
        "b.txt",
        "kept.dat",
        "data/x.dat",
        "node_modules/m/index.js",
        "sub/n.tmp",
        "sub/k.tmp",
    )
    write(tmp_path, ".gitignore", text="*.dat\nnode_modules/\n")
    write(tmp_path, "sub/.gitignore", text="*.tmp\n!k.tmp\n")
    git(tmp_path, "add", "-f", "kept.dat", "a.py")
    write(tmp_path, "deleted.py")
    git(tmp_path, "add", "deleted.py")
    (tmp_path / "deleted.py").unlink()
    assert paths(tmp_path) == [".gitignore", "a.py", "b.txt", "kept.dat", "sub/.gitignore", "sub/k.tmp"]


def test_all_below_the_top_of_a_checkout(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    write(tmp_path, "apps/one/a.py", "apps/one/b.skip", "apps/one/c.big", "apps/two/a.py")
    write(tmp_path, ".gitignore", text="*.skip\n")
    write(tmp_path, ".flyteignore", text="apps/one/*.big\n")
    assert paths(tmp_path / "apps/one") == ["a.py"]


def test_git_is_asked_nothing_that_runs_what_the_checkout_configures(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    write(tmp_path, "a.py")
    program = tmp_path / ".git" / "run"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    program.chmod(0o755)
    git(tmp_path, "config", "core.fsmonitor", str(program))
    git(tmp_path, "config", "core.hooksPath", str(tmp_path / ".git"))
    before = (tmp_path / ".git" / "config").stat().st_mtime_ns
    assert paths(tmp_path) == ["a.py"]
    assert not (tmp_path / "ran").exists()
    assert (tmp_path / ".git" / "config").stat().st_mtime_ns == before
    assert not (tmp_path / ".git" / "index").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_checkout_of_another_user_is_asked_all_the_same(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    write(tmp_path, "kept.dat", "dropped.dat")
    write(tmp_path, ".gitignore", text="*.dat\n")
    git(tmp_path, "add", "-f", "kept.dat")
    for path in [tmp_path, *tmp_path.rglob("*")]:
        os.chown(path, 12345, 12345)
    selection = select(tmp_path, "all")
    assert [file.path for file in selection.files] == [".gitignore", "kept.dat"]
    assert selection.warnings == ()


def test_submodules_and_nested_checkouts_are_judged_by_their_own_git(tmp_path: Path) -> None:
    for name in ("library", "project", "project/nested"):
        (tmp_path / name).mkdir()
        git(tmp_path / name, "init", "-q")
        write(tmp_path / name, "m.py", "x.tmp")
        write(tmp_path / name, ".gitignore", text="*.tmp\n")
    git(tmp_path / "library", "add", ".")
    git(tmp_path / "library", "commit", "-qm", "one")
    git(tmp_path / "project", "submodule", "--quiet", "add", str(tmp_path / "library"), "vendored")
    write(tmp_path / "project/vendored", "new.py", "y.tmp")
    assert [path for path in paths(tmp_path / "project") if path.endswith((".py", ".tmp"))] == [
        "m.py",
        "nested/m.py",
        "vendored/m.py",
        "vendored/new.py",
    ]


def test_without_usable_git_the_ignore_files_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "a.py", "b.dat", "sub/c.dat", "sub/d.dat", "out/e.py")
    write(tmp_path, ".gitignore", text="*.dat\nout/\n")
    write(tmp_path, "sub/.gitignore", text="!d.dat\n")
    expected = [".gitignore", "a.py", "sub/.gitignore", "sub/d.dat"]
    assert paths(tmp_path) == expected
    assert select(tmp_path, "all").warnings == ()

    git(tmp_path, "init", "-q")
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    selection = select(tmp_path, "all")
    assert [file.path for file in selection.files] == expected
    assert any("git cannot be used" in warning for warning in selection.warnings)


def test_flyteignore_drops_tracked_files_at_any_level(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    write(tmp_path, "a.py", "big.bin", "keep.bin", "docs/x.md", "m/docs/y.md", "m/z.csv", "m/w.csv")
    write(tmp_path, ".flyteignore", text="# large\n*.bin\n!keep.bin\n/docs/\n")
    write(tmp_path, "m/.flyteignore", text="z.csv\n")
    git(tmp_path, "add", ".")
    assert paths(tmp_path) == [".flyteignore", "a.py", "keep.bin", "m/.flyteignore", "m/docs/y.md", "m/w.csv"]


def test_the_standard_list_is_the_sdks(tmp_path: Path) -> None:
    names = ["a.py", "m/dist/b.py", "m/build/c.py", "m/env/d.py", "m/.cache/e.py"]
    out = [
        "dist/b.py",
        "build/c.py",
        "env/d.py",
        "venv/x.py",
        ".cache/e.py",
        "m/.venv/f.py",
        "m/__pycache__/g.pyc",
        "n.pyc",
        "m/.idea/h",
        "m/n/.mypy_cache/i",
        "m/o.log",
        "p.whl",
        "m/q.egg-info/r",
    ]
    write(tmp_path, *names, *out)
    sdk = pytest.importorskip("flyte._code_bundle._ignore").StandardIgnore(tmp_path)

    def sdk_drops(name: str) -> bool:
        parts = name.split("/")
        return any(sdk.is_ignored(tmp_path.resolve() / "/".join(parts[:n])) for n in range(1, len(parts) + 1))

    assert paths(tmp_path) == sorted(name for name in names + out if not sdk_drops(name))
    assert not any(map(sdk_drops, names))


def test_git_folders_never_ship(tmp_path: Path) -> None:
    write(tmp_path, "a.py", ".git/config", "sub/.git/config", "other/.git")
    assert paths(tmp_path) == ["a.py"]


def test_a_link_into_a_git_folder_is_refused(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "notes.txt").symlink_to(".git/config")
    with pytest.raises(DeployError, match="credentials") as caught:
        select(tmp_path, "all")
    assert caught.value.where == "notes.txt"
    with pytest.raises(DeployError, match="credentials"):
        select(tmp_path, "none", includes=[include(tmp_path, ".git/config")])


def test_links_inside_are_followed_and_shipped_as_files(tmp_path: Path) -> None:
    write(tmp_path, "src/pkg/a.py", "data/x.csv")
    (tmp_path / "pkg").symlink_to("src/pkg")
    (tmp_path / "x.csv").symlink_to("data/x.csv")
    (tmp_path / "src/pkg/again").symlink_to("..")
    (tmp_path / "dead").symlink_to("nowhere")
    (tmp_path / "self").symlink_to("self")
    selection = select(tmp_path, "all")
    assert [file.path for file in selection.files] == ["data/x.csv", "pkg/a.py", "src/pkg/a.py", "x.csv"]
    assert all(file.source == file.source.resolve() for file in selection.files)
    assert any("dead" in warning and "self" in warning for warning in selection.warnings)
    assert any("src/pkg/again" in warning for warning in selection.warnings)


def test_ignored_files_do_not_come_back_through_a_link(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    write(tmp_path, "conf/a.yaml", "conf/secret.yaml", "cache/big.bin")
    write(tmp_path, ".gitignore", text="secret.yaml\n/cache/\n")
    (tmp_path / "settings").symlink_to("conf")
    (tmp_path / "data").symlink_to("cache")
    assert paths(tmp_path) == [".gitignore", "conf/a.yaml", "data/big.bin", "settings/a.yaml"]


def test_links_that_lead_to_each_other_end(tmp_path: Path) -> None:
    for name in "abc":
        write(tmp_path, f"{name}/{name}.py")
        for other in "abc":
            (tmp_path / name / f"to_{other}").symlink_to(f"../{other}")
    assert "a/to_b/to_c/c.py" in paths(tmp_path)


def test_a_link_that_leaves_the_root(tmp_path: Path) -> None:
    root = tmp_path / "project"
    write(tmp_path, "shared/data.csv", "project/a.py")
    (root / "data.csv").symlink_to(tmp_path / "shared/data.csv")
    with pytest.raises(DeployError) as caught:
        select(root, "all")
    assert caught.value.where == "data.csv"
    assert str(tmp_path.resolve() / "shared/data.csv") in caught.value.what
    assert f"--root-dir {tmp_path.resolve()}," in str(caught.value.mend)
    assert ".flyteignore" in str(caught.value.mend)
    write(root, ".flyteignore", text="/data.csv\n")
    assert paths(root) == [".flyteignore", "a.py"]
    (root / "etc").symlink_to("/etc")
    with pytest.raises(DeployError) as caught:
        select(root, "all")
    assert "--root-dir" not in str(caught.value.mend)


def test_special_files_are_left_out_with_a_warning(tmp_path: Path) -> None:
    write(tmp_path, "a.py")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        # A socket's address is short; the test's folder may not be.
        here = os.open(tmp_path, os.O_RDONLY)
        try:
            listener.bind(f"/proc/self/fd/{here}/sock")
        finally:
            os.close(here)
        selection = select(tmp_path, "all")
    assert [file.path for file in selection.files] == ["a.py"]
    assert any(
        "pipe (a named pipe)" in warning and "sock (a socket)" in warning for warning in selection.warnings
    )


def test_an_ignored_module_is_pointed_out(tmp_path: Path) -> None:
    write(tmp_path, "a.py", "gen.py")
    write(tmp_path, ".gitignore", text="gen.py\n")
    modules = [ModuleFile(tmp_path / "a.py"), ModuleFile(tmp_path / "gen.py")]
    selection = select(tmp_path, "all", modules=modules)
    assert [file.path for file in selection.files] == [".gitignore", "a.py"]
    assert any("gen.py" in warning and "include" in warning for warning in selection.warnings)


def test_odd_names(tmp_path: Path) -> None:
    names = ["a b.py", "ä/ü.py", "new\nline.txt", "-dash", "back\\slash", os.fsdecode(b"latin\xe9.txt")]
    git(tmp_path, "init", "-q")
    write(tmp_path, *names)
    assert sorted(paths(tmp_path)) == sorted(names)


def test_an_ignored_link_that_leaves_the_root_is_no_error_though_imported(tmp_path: Path) -> None:
    write(tmp_path, "shared/util.py", "project/a.py")
    write(tmp_path / "project", ".flyteignore", text="util\n")
    (tmp_path / "project/util").symlink_to("../shared")
    modules = [ModuleFile(tmp_path / "project/util/util.py")]
    selection = select(tmp_path / "project", "all", modules=modules)
    assert [file.path for file in selection.files] == [".flyteignore", "a.py"]
    assert any("util/util.py" in warning for warning in selection.warnings)


# permissions


def test_files_and_folders_without_permission_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with unprivileged() as root:
        monkeypatch.setenv("HOME", str(root))
        write(root, "a.py", "secret.py", "closed/b.py")
        (root / "secret.py").chmod(0)
        with pytest.raises(DeployError, match=r"no permission to read secret\.py") as caught:
            identify(select(root, "loaded_modules", modules=[ModuleFile(root / "secret.py")]))
        assert caught.value.mend
        (root / "closed").chmod(0)
        try:
            with pytest.raises(DeployError, match="no permission to read closed"):
                select(root, "all")
            git(root, "init", "-q")
            with pytest.raises(DeployError, match="no permission to read closed"):
                select(root, "all")
            write(root, ".gitignore", text="closed/\nsecret.py\n")
            assert "a.py" in paths(root)
        finally:
            (root / "closed").chmod(0o700)


# credentials


def test_credentials_are_left_out_and_named(tmp_path: Path) -> None:
    write(tmp_path, "a.py", "gha-creds-0a1b.json", ".env", "conf/.env.production", ".env.example", ".env.py")
    write(tmp_path, "deploy/id_ed25519", "tls.key", "bundle.pem", text="# mine\n" + KEY)
    write(tmp_path, "key.py", text=KEY)
    write(tmp_path, "ca.pem", text="-----BEGIN CERTIFICATE-----\n")
    (tmp_path / "linked.txt").symlink_to("gha-creds-0a1b.json")
    selection = select(tmp_path, "all")
    assert [file.path for file in selection.files] == [".env.example", ".env.py", "a.py", "ca.pem", "key.py"]
    (warning,) = selection.warnings
    left_out = (
        ".env (",
        "conf/.env.production",
        "gha-creds-0a1b.json",
        "id_ed25519",
        "tls.key",
        "bundle.pem",
        "linked",
    )
    assert all(name in warning for name in left_out)


def test_credentials_come_by_their_exact_name_only(tmp_path: Path) -> None:
    write(tmp_path, "conf/.env", "conf/a.txt")
    assert paths(tmp_path, "none", includes=[include(tmp_path, "conf")]) == ["conf/a.txt"]
    with pytest.raises(DeployError, match="matches no file"):
        select(tmp_path, "none", includes=[include(tmp_path, "conf/.e*")])
    assert paths(tmp_path, "none", includes=[include(tmp_path, "conf/.env")]) == ["conf/.env"]
    assert "conf/.env" in paths(tmp_path, "all", includes=[include(tmp_path, "conf/.env")])


def test_an_ignored_credential_is_not_worth_a_warning(tmp_path: Path) -> None:
    write(tmp_path, "a.py", ".env")
    write(tmp_path, ".gitignore", text=".env\n")
    assert select(tmp_path, "all").warnings == ()


# includes


def test_includes_are_relative_to_the_declaring_file(tmp_path: Path) -> None:
    write(
        tmp_path, "flyte/pkg/envs.py", "flyte/pkg/data.csv", "flyte/shared/x.sql", "flyte/shared/.hidden.sql"
    )
    chosen = select(
        tmp_path,
        "none",
        includes=[include(tmp_path, "data.csv", "../shared/*.sql", declared_in="flyte/pkg/envs.py")],
    )
    assert [(file.path, file.reason) for file in chosen.files] == [
        ("flyte/pkg/data.csv", "include"),
        ("flyte/shared/x.sql", "include"),
    ]


def test_include_filters_folders_and_globs_but_not_files(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    write(
        tmp_path,
        "d/a.txt",
        "d/b.tmp",
        "d/__pycache__/c.pyc",
        "d/e/f.txt",
        "d/big.bin",
        "build/g.txt",
        "h.tmp",
    )
    write(tmp_path, ".gitignore", text="*.tmp\n")
    write(tmp_path, ".flyteignore", text="*.bin\n")

    def chosen(*patterns: str) -> list[str]:
        return paths(tmp_path, "none", includes=[include(tmp_path, *patterns)])

    assert chosen("d") == ["d/a.txt", "d/e/f.txt"]
    assert chosen("d/") == ["d/a.txt", "d/e/f.txt"]
    assert chosen("build") == ["build/g.txt"]
    assert chosen("d/*") == ["d/a.txt"]
    assert chosen("d/[ab].*") == ["d/a.txt"]
    assert chosen("d/**/*.txt") == ["d/a.txt", "d/e/f.txt"]
    assert chosen("*/a.txt") == ["d/a.txt"]
    assert chosen("d/b.tmp", "h.tmp", "d/big.bin") == ["d/b.tmp", "d/big.bin", "h.tmp"]
    assert chosen(str(tmp_path / "d/a.txt")) == ["d/a.txt"]


def test_a_name_with_brackets_is_a_file_first(tmp_path: Path) -> None:
    write(tmp_path, "data[1].csv", "data1.csv")
    assert paths(tmp_path, "none", includes=[include(tmp_path, "data[1].csv")]) == ["data[1].csv"]


@pytest.mark.parametrize("pattern", ["missing.csv", "*.nothing", "d/*.tmp", "bad\0name", "\ud800"])
def test_an_include_without_a_match_names_environment_and_line(tmp_path: Path, pattern: str) -> None:
    write(tmp_path, "d/b.tmp")
    write(tmp_path, ".gitignore", text="*.tmp\n")
    with pytest.raises(DeployError) as caught:
        select(tmp_path, "none", includes=[include(tmp_path, pattern)])
    assert caught.value.where == "envs.py:7"
    assert "'etl'" in caught.value.what
    assert repr(pattern) in caught.value.what
    assert caught.value.mend


def test_an_included_folder_without_files_is_a_warning(tmp_path: Path) -> None:
    write(tmp_path, "out/a.txt")
    write(tmp_path, ".gitignore", text="out/\n")
    selection = select(tmp_path, "none", includes=[include(tmp_path, "out")])
    assert selection.files == ()
    assert any("'out'" in warning for warning in selection.warnings)


@pytest.mark.parametrize(
    "pattern", ["../outside.csv", "../*.csv", "d/../../outside.csv", "link.csv", "linked/*.csv"]
)
def test_an_include_outside_the_root_is_refused(tmp_path: Path, pattern: str) -> None:
    root = tmp_path / "project"
    write(root, "d/a.txt")
    write(tmp_path, "outside.csv")
    (root / "link.csv").symlink_to("../outside.csv")
    (root / "linked").symlink_to("..")
    with pytest.raises(DeployError) as caught:
        select(root, "none", includes=[include(root, pattern)])
    assert f"--root-dir {tmp_path.resolve()}" in str(caught.value.mend)


def test_an_include_that_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DeployError, match="a named pipe"):
        select(tmp_path, "none", includes=[include(tmp_path, "pipe")])


def test_an_include_beside_a_linked_module_ships_under_both_names(tmp_path: Path) -> None:
    write(tmp_path, "src/pkg/envs.py", "src/pkg/data.csv")
    (tmp_path / "pkg").symlink_to("src/pkg")
    chosen = paths(tmp_path, "none", includes=[include(tmp_path, "data.csv", declared_in="pkg/envs.py")])
    assert chosen == ["pkg/data.csv", "src/pkg/data.csv"]


def test_an_include_of_an_unknown_file(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="not known"):
        select(tmp_path, "none", includes=[Include("etl", ("a.txt",), Path())])
