"""Settings: which source wins, where each value came from, and every bad input that is seen before work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
import typing
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from flyte_deploy.errors import DeployError
from flyte_deploy.settings import OPTIONS, Settings, gather, org_of, resolve, resolve_serve, rows, show


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a Python file, a package and a folder that is not below it, and an empty home."""
    folder = tmp_path / "project"
    (folder / "pkg").mkdir(parents=True)
    (folder / "flows.py").write_text("")
    (folder / "pkg" / "more.py").write_text("")
    (folder / "notes.txt").write_text("")
    (tmp_path / "home").mkdir()
    return folder


def environment(project: Path, **variables: str) -> dict[str, str]:
    return {"HOME": str(project.parent / "home"), **variables}


def settle(folder: Path, /, *arguments: str, command: str = "plan", **flags: Any) -> Settings:
    variables = {name: str(flags.pop(name)) for name in list(flags) if name.isupper()}
    given = {"arguments": arguments, **flags}
    return resolve(given, environment(folder, **variables), folder, command=command)


def test_defaults(project: Path) -> None:
    found = settle(project, "flows.py", "env")
    assert found.paths == (project / "flows.py",)
    assert found.envs == ("env",)
    assert found.root_dir == project
    assert (found.copy_style, found.concurrency, found.load_timeout) == ("loaded_modules", 32, 300)
    assert (found.sync_local_sys_paths, found.version, found.image_builder) == (True, "", "local")
    assert found.data == project.parent / "home" / ".local" / "state" / "flyte-deploy" / "embedded"
    assert found.config_path is None
    assert found.origins["paths"] == "argument PATH"
    assert found.origins["copy_style"] == "default"


def test_every_setting_has_an_origin_and_a_row_of_the_table(project: Path) -> None:
    found = settle(project, "flows.py", "env")
    names = {each.name for each in fields(Settings)}
    names -= {"origins", "confinement", "base_store", "working_dir"}
    assert names <= set(found.origins)
    declared = {option.field for option in OPTIONS}
    assert names <= declared
    assert declared - names == {
        "host",
        "port",
        "build_registry",
        "show_settings",
        "working_directory",
        "deadline",
    }


def test_the_defaults_of_the_table_are_those_of_the_class(project: Path) -> None:
    found = settle(project, "flows.py", "env")
    bare = Settings()
    same = {each.name for each in fields(Settings)} - {
        "paths",
        "envs",
        "root_dir",
        "working_dir",
        "data",
        "dry_run",
        "origins",
    }
    assert {name: getattr(found, name) for name in same} == {name: getattr(bare, name) for name in same}


def test_values_have_the_types_of_their_fields(project: Path) -> None:
    variables = {
        "text": "x",
        "flag": "true",
        "whole number": "3",
        "seconds": "1.5",
        "path": ".",
        "paths": "flows.py",
        "names": "env",
        "images": "a=b",
        "words": "one two",
        "command": "print token",
    }
    environ = environment(project)
    for option in OPTIONS:
        if option.name not in {"config", "show-settings", "host", "port", "env", "project", "api-key"}:
            environ[option.variable] = option.choices[-1] if option.choices else variables[option.kind]
    for command in ("deploy", "plan"):
        found = gather({}, environ, project, command=command)
        for name, kind in typing.get_type_hints(Settings).items():
            plain = typing.get_origin(kind) or kind
            plain = {typing.Literal: str, types.UnionType: kind}.get(plain, plain)
            if name != "config_path":
                assert isinstance(getattr(found, name), plain), name


def test_flag_beats_environment_beats_sdk_beats_file_beats_default(project: Path) -> None:
    (project / "config.yaml").write_text("task:\n  org: o\n  project: file\n")
    seen = []
    sources: dict[str, Any] = {}
    for name in ("", "FLYTE_TASK_PROJECT", "FLYTE_DEPLOY_PROJECT", "project"):
        if name:
            sources[name] = name.lower()
        found = settle(project, "flows.py", "env", **sources)
        seen.append((found.project, found.origins["project"]))
    assert seen == [
        ("file", "config.yaml:3 (task.project)"),
        ("flyte_task_project", "environment FLYTE_TASK_PROJECT"),
        ("flyte_deploy_project", "environment FLYTE_DEPLOY_PROJECT"),
        ("project", "flag --project"),
    ]


def test_everything_the_sdk_reads_from_the_file(project: Path) -> None:
    (project / "config.yaml").write_text(
        "admin:\n"
        "  endpoint: dns:///flyte.example.com\n"
        "  insecure: true\n"
        "image:\n"
        "  builder: remote\n"
        "  registry: ghcr.io/acme\n"
        "  image_refs:\n"
        "    gpu: ghcr.io/acme/gpu:1\n"
        "task:\n"
        "  domain: staging\n"
    )
    found = settle(project, "flows.py", "env")
    assert (found.endpoint, found.insecure) == ("dns:///flyte.example.com", True)
    assert (found.image_builder, found.image_registry) == ("remote", "ghcr.io/acme")
    assert found.images == {"gpu": "ghcr.io/acme/gpu:1"}
    assert found.domain == "staging"
    assert found.config_path == project / "config.yaml"
    assert found.origins["images.gpu"] == "config.yaml:8 (image.image_refs.gpu)"


@pytest.mark.parametrize(
    ("text", "meant"),
    [("false", False), ("0", False), ("No", False), ("TRUE", True), ("1", True), ("on", True)],
)
def test_a_switch_in_the_environment_is_read_as_a_boolean(project: Path, text: str, meant: bool) -> None:
    (project / "config.yaml").write_text(f"admin: {{insecure: {str(not meant).lower()}}}\n")
    assert settle(project, "flows.py", "env", FLYTE_ADMIN_INSECURE=text).insecure is meant


def test_an_empty_variable_is_not_set_and_an_empty_flag_is(project: Path) -> None:
    (project / "config.yaml").write_text("admin:\n  endpoint: flyte.example.com\n")
    assert settle(project, "flows.py", "env", FLYTE_DEPLOY_ENDPOINT="").endpoint == "flyte.example.com"
    assert settle(project, "flows.py", "env", endpoint="").endpoint == ""
    assert settle(project, "flows.py", "env", config="").config_path is None


def test_images_add_up_name_by_name(project: Path) -> None:
    (project / "config.yaml").write_text("image: {image_refs: {a: file, b: file, default: file}}\n")
    found = settle(
        project,
        "flows.py",
        "env",
        FLYTE_DEPLOY_IMAGE="b=environment\nc=environment",
        image=("c=flag", "flag:1"),
    )
    assert found.images == {"a": "file", "b": "environment", "c": "flag", "default": "flag:1"}
    assert found.origins["images.b"] == "environment FLYTE_DEPLOY_IMAGE"
    assert found.origins["images.c"] == "flag --image"
    assert settle(project, "flows.py", "env", config="", image={"a": "b"}).images == {"a": "b"}


def test_no_sync_local_sys_paths_turns_it_off(project: Path) -> None:
    assert settle(project, "flows.py", "env", no_sync_local_sys_paths=True).sync_local_sys_paths is False


def test_arguments_without_a_mode_are_a_path_and_environments(project: Path) -> None:
    found = settle(project, "flows.py", "one", "two")
    assert (found.paths, found.envs) == ((project / "flows.py",), ("one", "two"))


@pytest.mark.parametrize("mode", [{"all": True}, {"recursive": True}, {"FLYTE_DEPLOY_ALL": "yes"}])
def test_arguments_with_a_mode_are_paths(project: Path, mode: dict[str, Any]) -> None:
    found = settle(project, "flows.py", "pkg", "flows.py", **mode)
    assert (found.paths, found.envs) == ((project / "flows.py", project / "pkg"), ())


def test_path_and_environments_from_the_environment(project: Path) -> None:
    found = settle(project, FLYTE_DEPLOY_PATH="flows.py", FLYTE_DEPLOY_ENV="one, two")
    assert (found.paths, found.envs) == ((project / "flows.py",), ("one", "two"))
    assert found.origins["envs"] == "environment FLYTE_DEPLOY_ENV"
    assert settle(project, "flows.py", "three", FLYTE_DEPLOY_ENV="one").envs == ("three",)


def test_environments_in_hand_need_no_path(project: Path) -> None:
    assert resolve({}, environment(project), project, command="plan", selects=False).paths == ()


def test_a_root_that_is_reached_through_a_link(project: Path) -> None:
    link = project.parent / "link"
    link.symlink_to(project)
    found = resolve({"arguments": ("flows.py", "env")}, environment(project), link, command="plan")
    assert found.root_dir == project
    assert found.paths == (project / "flows.py",)


def test_a_linked_file_is_named_by_where_it_is_seen(project: Path) -> None:
    elsewhere = project.parent / "elsewhere.py"
    elsewhere.write_text("")
    (project / "linked.py").symlink_to(elsewhere)
    assert settle(project, "linked.py", "env").paths == (project / "linked.py",)


def test_embedded_control_plane_has_a_project_and_a_domain(project: Path) -> None:
    found = settle(project, "flows.py", "env", endpoint="embedded", command="deploy")
    assert (found.project, found.domain, found.org) == ("flytesnacks", "development", "")
    assert settle(project, "flows.py", "env", endpoint="embedded", project="mine").project == "mine"


def test_plan_and_dry_run_need_no_endpoint(project: Path) -> None:
    assert settle(project, "flows.py", "env", command="plan").dry_run is True
    assert settle(project, "flows.py", "env", command="deploy", dry_run=True).dry_run is True


def test_data_follows_xdg(project: Path) -> None:
    state = project.parent / "state"
    assert (
        settle(project, "flows.py", "env", XDG_STATE_HOME=state).data == state / "flyte-deploy" / "embedded"
    )
    below_home = project.parent / "home" / ".local" / "state" / "flyte-deploy" / "embedded"
    assert settle(project, "flows.py", "env", XDG_STATE_HOME="relative").data == below_home
    assert settle(project, "flows.py", "env", data="here").data == project / "here"


def test_org_is_the_flags_then_the_files_then_the_hosts(project: Path) -> None:
    endpoint = "https://acme.flyte.example"
    found = settle(project, "flows.py", "env", endpoint=endpoint)
    assert (found.org, found.origins["org"]) == ("acme", "host of flag --endpoint")
    (project / "config.yaml").write_text("task: {org: file}\n")
    assert settle(project, "flows.py", "env", endpoint=endpoint).org == "file"
    assert settle(project, "flows.py", "env", endpoint=endpoint, org="flag").org == "flag"


VERSIONS = ["v1.2_3-x", "0", "{content}", "{branch}-{short_sha}", "r-{tag}", "{sha}", "x" * 63]


@pytest.mark.parametrize("version", VERSIONS)
def test_good_versions(project: Path, version: str) -> None:
    assert settle(project, "flows.py", "env", version=version).version == version


BAD: dict[str, tuple[tuple[str, ...], dict[str, Any], str]] = {
    "no path": ((), {}, "there is no PATH"),
    "missing": (("nothere.py", "env"), {}, "nothere.py does not exist"),
    "name too long": (("x" * 300 + ".py", "env"), {}, "does not exist"),
    "directory": (("pkg",), {}, "pkg is a directory"),
    "no Python": (("notes.txt", "env"), {}, "notes.txt is no Python file"),
    "no environment": (("flows.py",), {}, "no environment of flows.py is named"),
    "all with one": ((), {"all": True, "path": "flows.py", "env": "env"}, "env"),
    "all with an argument": (
        ("flows.py", "env"),
        {"all": True},
        "leave it out to deploy the environment env",
    ),
    "second file": (("flows.py", "pkg/more.py"), {}, "several need --all or --recursive"),
    "root elsewhere": (("flows.py", "env"), {"root_dir": "pkg"}, "is not below the root"),
    "root missing": (("flows.py", "env"), {"root_dir": "nothere"}, "is no directory"),
    "root a file": (("flows.py", "env"), {"root_dir": "flows.py"}, "is no directory"),
    "version placeholder": (("flows.py", "env"), {"version": "{commit}"}, "{content}, {sha}, {short_sha}, "),
    "version slash": (("flows.py", "env"), {"version": "a/b"}, "a/b"),
    "version long": (("flows.py", "env"), {"version": "x" * 64}, "63"),
    "version long filled": (("flows.py", "env"), {"version": "{sha}-" + "x" * 30}, "63"),
    "project long": (("flows.py", "env"), {"project": "p" * 64}, "64 characters, Flyte allows 63"),
    "domain long": (("flows.py", "env"), {"domain": "p" * 64}, "--domain"),
    "org long": (("flows.py", "env"), {"org": "p" * 64}, "--org"),
    "copy style": (("flows.py", "env"), {"copy_style": "some"}, "loaded_modules, all, none"),
    "format": (("flows.py", "env"), {"output_format": "yaml"}, "text, json"),
    "switch": (("flows.py", "env"), {"FLYTE_DEPLOY_INSECURE": "perhaps"}, "true or false"),
    "concurrency": (("flows.py", "env"), {"concurrency": "0"}, "at least 1"),
    "concurrency text": (("flows.py", "env"), {"concurrency": "many"}, "whole number"),
    "timeout": (("flows.py", "env"), {"load_timeout": "0"}, "above 0"),
    "timeout nan": (("flows.py", "env"), {"load_timeout": "nan"}, "above 0"),
    "timeout inf": (("flows.py", "env"), {"load_timeout": "inf"}, "above 0"),
    "image": (("flows.py", "env"), {"image": ("=uri",)}, "NAME=URI"),
    "image empty": (("flows.py", "env"), {"image": ("name=",)}, "NAME=URI"),
    "endpoint scheme": (("flows.py", "env"), {"endpoint": "ftp://host"}, "dns:///host:port"),
    "endpoint empty": (("flows.py", "env"), {"endpoint": "https://"}, "dns:///host:port"),
    "config missing": (("flows.py", "env"), {"config": "none.yaml"}, "none.yaml does not exist"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(project: Path, case: str) -> None:
    arguments, flags, said = BAD[case]
    before = sorted(project.rglob("*"))
    with pytest.raises(DeployError) as caught:
        settle(project, *arguments, **flags)
    assert caught.value.exit_status == 2
    assert said in str(caught.value)
    assert caught.value.mend
    assert sorted(project.rglob("*")) == before


def test_an_error_names_the_source_of_the_value(project: Path) -> None:
    with pytest.raises(DeployError) as caught:
        settle(project, "flows.py", "env", FLYTE_TASK_PROJECT="p" * 64)
    assert caught.value.where == "environment FLYTE_TASK_PROJECT"
    with pytest.raises(DeployError) as caught:
        settle(project, "flows.py", "env", FLYTE_DEPLOY_VERSION="a b")
    assert caught.value.where == "environment FLYTE_DEPLOY_VERSION"
    (project / "config.yaml").write_text("admin:\n\n  insecure: perhaps\n")
    with pytest.raises(DeployError) as caught:
        settle(project, "flows.py", "env")
    assert caught.value.where == "config.yaml:3 (admin.insecure)"


def test_the_mending_root_is_the_projects(project: Path) -> None:
    (project / "pyproject.toml").write_text("")
    outside = project.parent / "home"
    given = {"arguments": (str(project / "pkg" / "more.py"), "env")}
    with pytest.raises(DeployError, match="is not below the root") as caught:
        resolve(given, environment(project), outside, command="plan")
    assert f"--root-dir {project}," in (caught.value.mend or "")
    resolve({**given, "root_dir": str(project)}, environment(project), outside, command="plan")


def test_deploy_needs_an_endpoint_a_project_and_a_domain(project: Path) -> None:
    flags: dict[str, Any] = {}
    for name, said in (
        ("endpoint", "--endpoint embedded"),
        (
            "project",
            "--project, the environment variable FLYTE_DEPLOY_PROJECT or FLYTE_TASK_PROJECT, or task.",
        ),
        ("domain", "--domain, the environment variable FLYTE_DEPLOY_DOMAIN or FLYTE_TASK_DOMAIN, or task."),
    ):
        with pytest.raises(DeployError) as caught:
            settle(project, "flows.py", "env", command="deploy", **flags)
        assert said in str(caught.value)
        assert caught.value.exit_status == 2
        flags[name] = "localhost:1" if name == "endpoint" else "x"
    assert settle(project, "flows.py", "env", command="deploy", **flags).dry_run is False


def test_an_option_that_does_not_exist_is_the_callers_mistake(project: Path) -> None:
    with pytest.raises(TypeError, match="copystyle"):
        settle(project, "flows.py", "env", copystyle="all")


def test_serve(project: Path) -> None:
    environ = environment(project, FLYTE_DEPLOY_PORT="0")
    assert resolve_serve({}, environ, project).port == 0
    found = resolve_serve({"port": "81", "host": "0.0.0.0", "data": "d"}, environ, project)
    assert (found.host, found.port, found.data) == ("0.0.0.0", 81, project / "d")
    for port in ("65536", "-1", "http"):
        with pytest.raises(DeployError):
            resolve_serve({"port": port}, environ, project)


def test_show_names_every_source_and_no_password(project: Path) -> None:
    (project / "config.yaml").write_text("task:\n  project: mine\n")
    found = gather(
        {"endpoint": "https://me:hunter2@flyte.example", "image": ("a=b",)},
        environment(project, FLYTE_TASK_DOMAIN="staging"),
        project,
        command="plan",
    )
    lines = {line.split()[0]: line.split() for line in show(found).splitlines()}
    assert lines["project"] == ["project", "mine", "config.yaml:2", "(task.project)"]
    assert lines["domain"] == ["domain", "staging", "environment", "FLYTE_TASK_DOMAIN"]
    assert lines["endpoint"] == ["endpoint", "https://***@flyte.example", "flag", "--endpoint"]
    assert lines["images.a"] == ["images.a", "b", "flag", "--image"]
    assert lines["config_path"][-4:] == ["in", "the", "working", "directory"]
    assert "hunter2" not in show(found)
    starts = {
        line.rindex(row[2]) for row, line in zip(rows(found), show(found).splitlines()[1:], strict=True)
    }
    assert len(starts) == 1


# What the unmodified SDK does, asked in one process of its own.
ASK_SDK = """
import json, os, sys
cases = json.load(sys.stdin)
from flyte._utils import org_from_endpoint, sanitize_endpoint
from flyte.config._reader import resolve_config_path
from flyte.cli._deploy import DeployArguments
from flyte.cli.main import main
found = []
for cwd, variables in cases["places"]:
    for name in ("UCTL_CONFIG", "FLYTECTL_CONFIG"):
        os.environ.pop(name, None)
    os.environ.update(variables)
    os.chdir(cwd)
    path = resolve_config_path()
    found.append(path and os.path.abspath(path))
orgs = {text: org_from_endpoint(sanitize_endpoint(text)) or "" for text in cases["endpoints"]}
options = [[*each.opts, *each.secondary_opts] for each in [*DeployArguments.options(), *main.params]]
json.dump({"places": found, "orgs": orgs, "options": options}, sys.stdout)
"""


def ask_sdk(folder: Path, places: list[tuple[Path, dict[str, str]]], endpoints: list[str]) -> dict[str, Any]:
    cases = {"places": [(str(cwd), variables) for cwd, variables in places], "endpoints": endpoints}
    answer = subprocess.run(
        [sys.executable, "-c", ASK_SDK],
        input=json.dumps(cases),
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "DO_NOT_TRACK": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return typing.cast("dict[str, Any]", json.loads(answer.stdout))


def test_the_same_as_flytes_sdk(tmp_path: Path) -> None:
    """Where config.yaml is found, which org an endpoint means, and how options are spelt."""
    home = tmp_path / "home"
    checkout = tmp_path / "checkout"
    deep = checkout / "a" / "b"
    for folder in (home, deep):
        folder.mkdir(parents=True)
    subprocess.run(["git", "init", "-q", str(checkout)], check=True)
    named = {"UCTL_CONFIG": str(tmp_path / "uctl.yaml"), "FLYTECTL_CONFIG": str(tmp_path / "flytectl.yaml")}
    # From the last place to the first: each one added wins over those before it.
    steps: list[tuple[Path | None, dict[str, str]]] = [
        (None, {}),
        (home / ".flyte" / "config.yaml", {}),
        (home / ".union" / "config.yaml", {}),
        (None, {"FLYTECTL_CONFIG": named["FLYTECTL_CONFIG"]}),
        (None, named),
        (checkout / ".flyte" / "config.yaml", named),
        (deep / ".flyte" / "config.yaml", named),
        (deep / "config.yaml", named),
    ]
    endpoints = [
        "dns:///acme.hosted.example:443",
        "https://acme.hosted.example/",
        "http://a.b.c",
        "localhost:8090",
        "dns:///127.0.0.1:8090",
        "flyte.example",
        "acme.flyte.example:81",
    ]
    ours, theirs = [], []
    from flyte_deploy.config_file import find

    for path, variables in steps:
        if path is not None:
            path.parent.mkdir(exist_ok=True)
            path.write_text("")
        found = find({"HOME": str(home), **variables}, deep)
        ours.append(found and str(found[0]))
        answer = ask_sdk(home, [(deep, variables)], endpoints)
        theirs += answer["places"]
    assert ours == theirs
    assert len(set(ours)) == len(steps)
    assert {text: org_of(text) for text in endpoints} == answer["orgs"]

    spelt = {}
    for option in OPTIONS:
        spelt[option.flag] = {option.flag, *option.other, *([f"-{option.short}"] if option.short else [])}
    shared = set()
    for spellings in answer["options"]:
        for flag in set(spellings) & set(spelt):
            shared.add(flag)
            assert set(spellings) - {"--version"} <= spelt[flag], flag
    assert {"--copy-style", "--project", "--config", "--image", "--output-format", "--dry-run"} <= shared


def test_nothing_heavy_is_imported_for_help() -> None:
    script = (
        "import sys, flyte_deploy.cli\n"
        "heavy = {'yaml', 'msgspec', 'grpc', 'isal', 'hypercorn', 'urllib3', 'google', 'asyncio', 'flyte'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"
