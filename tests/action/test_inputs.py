"""From a step's environment to settings, or to an error in the words of a workflow."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from flyte_deploy.action.event import Event, read_event
from flyte_deploy.action.inputs import INPUTS, Asked, read
from flyte_deploy.action.reachable import ADDRESSES, check_loopback, loopback
from flyte_deploy.action.words import as_inputs, in_words_of_a_workflow
from flyte_deploy.errors import DeployError
from flyte_deploy.isolation.confinement import CERTIFICATES

Read = Callable[..., Asked]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    (folder / "flows").mkdir(parents=True)
    (folder / "flows" / "daily.py").write_text("")
    return folder


@pytest.fixture
def read_with(workspace: Path) -> Read:
    """Reads inputs, written with underscores for dashes, and variables in capitals."""

    def run(**given: str) -> Asked:
        environ = {"GITHUB_WORKSPACE": str(workspace), "HOME": str(workspace.parent / "home")}
        for name, value in given.items():
            environ[name if name.isupper() else f"INPUT_{name.upper().replace('_', '-')}"] = value
        return read(environ, Event("workflow_run", {}) if "mode" in given else None)

    return run


TARGET = {"project": "team", "domain": "development", "endpoint": "flyte.example.com"}


def refused(read_with: Read, **given: str) -> DeployError:
    with pytest.raises(DeployError) as caught:
        read_with(**{**TARGET, **given})
    error = in_words_of_a_workflow(caught.value)
    assert error.exit_status == 2
    assert "--" not in str(error)
    return error


def test_a_folder_is_taken_with_all_below(read_with: Read, workspace: Path) -> None:
    settings = read_with(**TARGET).settings
    assert settings.paths == (workspace,)
    assert settings.recursive
    assert settings.root_dir == workspace
    assert settings.origins["project"] == "flag --project"


def test_a_working_directory_is_where_paths_start(read_with: Read, workspace: Path) -> None:
    settings = read_with(**TARGET, working_directory="flows", path="daily.py", all="true").settings
    assert settings.paths == (workspace / "flows" / "daily.py",)
    assert settings.root_dir == workspace / "flows"
    assert not settings.recursive


def test_all_of_a_folder_s_own_files_is_not_recursive(read_with: Read) -> None:
    settings = read_with(**TARGET, path="flows", all="true").settings
    assert (settings.all, settings.recursive) == (True, False)


def test_dashes_lists_and_lines(read_with: Read) -> None:
    settings = read_with(
        **TARGET,
        path="flows/daily.py",
        env="one, two\nthree",
        copy_style="all",
        image="gpu=registry.example/gpu:1\nregistry.example/usual:2",
        no_sync_local_sys_paths="true",
    ).settings
    assert settings.envs == ("one", "two", "three")
    assert settings.copy_style == "all"
    assert settings.images == {"gpu": "registry.example/gpu:1", "default": "registry.example/usual:2"}
    assert not settings.sync_local_sys_paths


def test_an_input_wins_over_the_environment_and_that_over_a_default(read_with: Read) -> None:
    variables = {"FLYTE_DEPLOY_CONCURRENCY": "7", "FLYTE_TASK_PROJECT": "other"}
    settings = read_with(**TARGET, concurrency="32", **variables).settings
    assert (settings.project, settings.concurrency) == ("team", 7)
    assert read_with(**TARGET, concurrency="8", **variables).settings.concurrency == 8


@pytest.mark.parametrize(
    ("given", "what", "mend"),
    [
        ({"endpont": "x"}, "there is no input 'endpont'", "Did you mean 'endpoint'?"),
        ({"copy_styl": "all"}, "there is no input 'copy-styl'", "Did you mean 'copy-style'?"),
        ({"project": ""}, "there is no project to deploy to", "input `project`"),
        ({"endpoint": ""}, "there is no endpoint to deploy to", "input `endpoint`"),
        ({"all": "maybe"}, "input `all` cannot be 'maybe'", "true or false"),
        ({"dry_run": "si"}, "input `dry-run` cannot be 'si'", "true or false"),
        ({"concurrency": "many"}, "input `concurrency` cannot be 'many'", "whole number"),
        ({"path": "../other"}, "lies outside the workspace", "in the checkout"),
        ({"path": "/etc"}, "lies outside the workspace", "in the checkout"),
        ({"root_dir": ".."}, "lies outside the workspace", "in the checkout"),
        ({"working_directory": ".."}, "lies outside the workspace", "in the checkout"),
        ({"working_directory": "none"}, "is no directory", "actions/checkout"),
        ({"path": "flows/none.py", "all": "true"}, "does not exist", "that exists"),
        ({"path": "flows/daily.py"}, "no environment of", "input `all`"),
    ],
)
def test_bad_inputs(read_with: Read, given: dict[str, str], what: str, mend: str) -> None:
    error = refused(read_with, **given)
    assert what in error.what
    assert mend in str(error.mend)


def test_a_link_out_of_the_workspace(read_with: Read, workspace: Path) -> None:
    (workspace / "out").symlink_to("/etc")
    assert "lies outside the workspace" in refused(read_with, path="out").what


@pytest.mark.parametrize(
    ("path", "given"),
    [
        ("config.yaml", {}),
        (".flyte/config.yaml", {}),
        ("ci/flyte.yaml", {"config": "ci/flyte.yaml"}),
        ("ci/ca.pem", {"ca_cert": "ci/ca.pem"}),
        ("ci/tls", {"buildkit_tls": "ci/tls"}),
        ("ci/client.txt", {"client_secret_file": "ci/client.txt"}),
        ("ci/client.txt", {"FLYTE_ADMIN_CLIENTSECRETLOCATION": "ci/client.txt"}),
        ("plan.json", {"plan_file": "plan.json"}),
        ("plan.json", {"plan_file": "plan.json", "mode": "post-comment", "pr_number": "7"}),
        ("cache", {"cache_dir": "cache"}),
        *(("ci/ca.pem", {name: "{workspace}/ci/ca.pem"}) for name in CERTIFICATES),
        *(("ci/ca.pem", {name: "ci/ca.pem"}) for name in CERTIFICATES),
    ],
)
@pytest.mark.parametrize("inside", ["", ".git/config", "gha-creds-1.json"])
def test_a_file_of_the_checkout_that_is_a_link_to_a_secret(
    read_with: Read, workspace: Path, path: str, given: dict[str, str], inside: str
) -> None:
    secret = workspace / inside if inside else workspace.parent / "secret"
    secret.parent.mkdir(exist_ok=True)
    secret.write_text("a-secret-of-an-earlier-step")
    (workspace / path).parent.mkdir(exist_ok=True)
    (workspace / path).symlink_to(secret)
    error = refused(read_with, **{name: value.format(workspace=workspace) for name, value in given.items()})
    leads = "to where credentials lie" if inside else "out of the workspace"
    assert f"{path} is a link that leads {leads}" in error.what
    assert "a-secret" not in str(error)


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("task:\n  project: flytesnacks\n", "config.yaml:2 (task.project)"),
        ("task:\n  domain: staging\n", "config.yaml:2 (task.domain)"),
        ("task:\n  org: theirs\n", "config.yaml:2 (task.org)"),
        ("image:\n  builder: remote\n", "config.yaml:2 (image.builder)"),
    ],
)
def test_a_pull_request_s_file_does_not_say_where_it_is_deployed(
    workspace: Path, said: str, line: str
) -> None:
    (workspace / "config.yaml").write_text(said)
    inputs = {**TARGET, "domain": "" if "domain" in said else "staging"}
    inputs["project"] = "" if "project" in said else "team"
    environ = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_REF": "refs/heads/main",
        "GITHUB_WORKSPACE": str(workspace),
        "GITHUB_TOKEN": "a-secret-token",
        **{f"INPUT_{name.upper().replace('_', '-')}": value for name, value in inputs.items()},
    }
    head = {"sha": "a" * 40, "repo": {"full_name": "team/project"}}
    pull = Event("pull_request", {"number": 1, "action": "opened", "pull_request": {"head": head}})
    with pytest.raises(DeployError, match="is not followed") as caught:
        read(environ, pull)
    assert caught.value.where == line
    # What is pushed to the default branch has been reviewed.
    push = Event("push", {"repository": {"full_name": "team/project", "default_branch": "main"}})
    policy = read({**environ, "INPUT_INSECURE": "true"}, push).policy
    assert policy is not None
    assert policy.do == "push"


def test_a_link_of_a_workspace_that_is_one_itself(workspace: Path) -> None:
    (workspace.parent / "link").symlink_to(workspace)
    (workspace / "ca.pem").symlink_to("/etc/hostname")
    environ = {f"INPUT_{name.upper()}": value for name, value in TARGET.items()}
    environ |= {"GITHUB_WORKSPACE": str(workspace.parent / "link")}
    with pytest.raises(DeployError, match=r"ca\.pem is a link that leads out of the workspace"):
        read({**environ, "SSL_CERT_FILE": f"{workspace.parent}/link/ca.pem"})


def test_a_link_to_a_file_of_the_checkout_is_that_file(read_with: Read, workspace: Path) -> None:
    (workspace / "real.pem").write_text("")
    (workspace / "ca.pem").symlink_to("real.pem")
    assert read_with(**TARGET, ca_cert="ca.pem", PIP_CERT="ca.pem").settings.ca_cert == workspace / "ca.pem"


def test_no_workspace() -> None:
    with pytest.raises(DeployError, match="there is no workspace"):
        read({})


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("localhost:8080", ("localhost", 8080)),
        ("http://127.0.0.1:30080", ("127.0.0.1", 30080)),
        ("dns:///localhost:8090", ("localhost", 8090)),
        ("dns:///[::1]:8090", ("::1", 8090)),
        ("https://LOCALHOST", ("LOCALHOST", 443)),
        ("127.9.9.9:5000/team", ("127.9.9.9", 5000)),
        ("flyte.localhost:1", ("flyte.localhost", 1)),
        ("flyte:8090", None),
        ("dns:///flyte.example.com", None),
        ("s3://localhost/prefix", None),
        ("docker-container://localhost", None),
        ("tcp://localhost:1234", ("localhost", 1234)),
        ("http://user:word@localhost:3128", ("localhost", 3128)),
        ("embedded", None),
        ("", None),
    ],
)
def test_loopback(address: str, expected: tuple[str, int] | None) -> None:
    assert loopback(address) == expected


def test_a_loopback_address_is_explained_unless_somebody_answers(read_with: Read) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        asked = read_with(**{**TARGET, "endpoint": address})
        check_loopback(asked)
    with pytest.raises(DeployError, match="the action's own container") as caught:
        check_loopback(asked)
    assert caught.value.where == "input endpoint"
    assert "reached by its name" in str(caught.value.mend)


HANDED_ON = {
    "build-context": "BuildKit reads it",
    "cache-from": "BuildKit reads it",
    "cache-to": "BuildKit writes it",
    "image": "the cluster pulls it",
    "insecure-registry": "says how a registry is asked that another input names",
    "registry-auth": "says how a registry is asked that another input names",
}


def test_every_input_with_an_address_is_one_that_is_asked_or_handed_on() -> None:
    with_addresses = {
        name for name, option in INPUTS.items() if re.search(r"URL|URI|HOST|://|CACHE|=VALUE", option.metavar)
    }
    assert with_addresses == {*ADDRESSES, *HANDED_ON}


@pytest.mark.parametrize("name", ADDRESSES)
def test_a_loopback_address_in_any_of_them(read_with: Read, name: str) -> None:
    address = {"buildkit": "tcp://buildkit:1234\ntcp://localhost:1", "builder-endpoint": "tcp://localhost:1"}
    given = {**TARGET, name.replace("-", "_"): address.get(name, "http://localhost:1")}
    with pytest.raises(DeployError, match="localhost:1 is the action's own container") as caught:
        check_loopback(read_with(**given))
    assert caught.value.where == f"input {name}"


def test_a_loopback_address_of_a_variable(read_with: Read) -> None:
    given = {**TARGET, "FLYTE_ADMIN_HTTPPROXYURL": "http://localhost:1"}
    with pytest.raises(DeployError, match="is the action's own container") as caught:
        check_loopback(read_with(**given))
    assert caught.value.where == "environment FLYTE_ADMIN_HTTPPROXYURL"


def test_loopback_addresses_that_others_ask(read_with: Read) -> None:
    cache = "type=registry,ref=localhost:5000/cache"
    given = {"cache_from": cache, "cache_to": cache, "image": "localhost:30000/flows:1"}
    check_loopback(read_with(**TARGET, **given))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "cannot be read"),
        (b"{", "is no JSON"),
        (b"[]", "no object"),
        (b"\xff", "is no JSON"),
        (b"[" * 99999, "no JSON"),
    ],
)
def test_a_broken_event_file(tmp_path: Path, content: bytes | None, what: str) -> None:
    path = tmp_path / "event.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DeployError, match=what) as caught:
        read_event({"GITHUB_EVENT_NAME": "push", "GITHUB_EVENT_PATH": str(path)})
    assert caught.value.where == str(path)


def test_an_event(tmp_path: Path) -> None:
    path = tmp_path / "event.json"
    path.write_text(json.dumps({"number": 7}))
    event = read_event({"GITHUB_EVENT_NAME": "pull_request", "GITHUB_EVENT_PATH": str(path)})
    assert (event.name, event.payload) == ("pull_request", {"number": 7})
    with pytest.raises(DeployError, match="there is no event file"):
        read_event({})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Give --all to deploy.", "Give input `all` to deploy."),
        ("flag --root-dir", "input `root-dir`"),
        ("argument PATH", "input `path`"),
        ("the dryrun is --dryrun", "the dryrun is input `dry-run`"),
        ("a --nosuch b --all-of-it", "a --nosuch b --all-of-it"),
        ("PATHS and ENVY HOST/PATH", "PATHS and ENVY HOST/PATH"),
    ],
)
def test_words_of_a_workflow(text: str, expected: str) -> None:
    assert as_inputs(text) == expected
