"""A project that tries everything while it is loaded, run by the deployer as the action runs it.

Root confines it with the same means as in the container. Each probe names the denial that it expects; as a
control the same probes are run as root, unconfined, and find what is planted.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator

import pytest

from tests.attacks.scene import PROJECT, WORD, Attempt, Scene, attempts, scene
from tests.harness.image import ROOT

CLOSED = r"PermissionError: \[Errno 13\] Permission denied"
FORBIDDEN = r"PermissionError: \[Errno 1\] Operation not permitted"
NO_NETWORK = r"OSError: \[Errno 101\] Network is unreachable"
NO_SUCH_PAIR = r"OSError: \[Errno 91\] Protocol wrong type for socket"

DENIALS = {
    "environment_of_earlier_step": CLOSED,
    "output_of_earlier_step": CLOSED,
    "script_of_earlier_step": CLOSED,
    "token_in_git_configuration": CLOSED,
    "token_in_copied_git_configuration": r"FileNotFoundError|Permission denied",
    "token_in_credentials_file": CLOSED,
    "google_credentials": CLOSED,
    "copied_google_credentials": r"LookupError: there is no gha-",
    "registry_login": CLOSED,
    "home_of_the_job": CLOSED,
    "mounted_secrets": CLOSED,
    "certificate_files": r"LookupError: nothing in \d files",
    "own_environment": r"LookupError: nothing in \d+ variables",
    "environment_of_deployer": CLOSED,
    "arguments_of_deployer": r"LookupError: nothing in \d+ files",
    "memory_of_deployer": CLOSED,
    "memory_by_system_call": FORBIDDEN,
    "descriptors_of_deployer": CLOSED,
    "folder_of_deployer": CLOSED,
    "trace": FORBIDDEN,
    "inherited_descriptors": r"LookupError: none but the protocol's",
    "docker_socket": NO_NETWORK,
    "docker_socket_is_seen": CLOSED,
    "abstract_socket": NO_NETWORK,
    "datagram_by_pair": NO_SUCH_PAIR,
    "loopback": NO_NETWORK,
    "datagram": NO_NETWORK,
    "metadata_address": NO_NETWORK,
    "raw_socket": NO_NETWORK,
    "io_uring": r"OSError: \[Errno 38\]",
    "other_calls": FORBIDDEN if platform.machine() == "x86_64" else r"OSError: \[Errno 38\]",
    "new_user_namespace": FORBIDDEN,
    "new_namespace_by_clone": FORBIDDEN,
    "become_root": FORBIDDEN,
    "setuid_program": r"PermissionError: no program gave more rights",
    "signal_deployer": FORBIDDEN,
    "lift_limits": r"ValueError: not allowed to raise maximum limit",
    "write_outputs": CLOSED,
    "write_environment": CLOSED,
    "write_path": CLOSED,
    "write_summary": CLOSED,
    "write_workspace": CLOSED,
    "write_hooks": CLOSED,
    "write_git_configuration": CLOSED,
    "write_programs": CLOSED,
}
"""What each probe is to be told."""

UNCONTROLLED = {"other_calls"}
"""Root fares no better: hardly a kernel knows that table of calls, which then says so itself."""

HELD = {
    *("environment_of_earlier_step", "output_of_earlier_step", "script_of_earlier_step"),
    *("token_in_git_configuration", "token_in_copied_git_configuration", "token_in_credentials_file"),
    *("google_credentials", "copied_google_credentials", "registry_login", "home_of_the_job"),
    *(
        "mounted_secrets",
        "certificate_files",
        "own_environment",
        "environment_of_deployer",
        "arguments_of_deployer",
    ),
    *("memory_of_deployer", "inherited_descriptors"),
}
"""The probes that find the planted secret itself."""


@pytest.fixture(scope="module", params=[True, False], ids=["Landlock", "no Landlock"])
def attacked(request: pytest.FixtureRequest) -> Iterator[tuple[Scene, dict[str, Attempt]]]:
    with scene() as made:
        made.check_out(PROJECT)
        outcome = made.run(landlock=request.param)
        assert outcome.get("tasks") == ["attacks.innocent"], outcome
        yield made, attempts([text for kind, text in outcome["heard"] if kind == "output"])


@pytest.fixture(scope="module")
def controlled(attacked: tuple[Scene, dict[str, Attempt]]) -> dict[str, Attempt]:
    return attempts(attacked[0].control().splitlines())


@pytest.mark.parametrize("name", sorted(DENIALS))
def test_is_denied(attacked: tuple[Scene, dict[str, Attempt]], name: str) -> None:
    attempt = attacked[1][name]
    assert attempt.got == ""
    assert re.search(DENIALS[name], attempt.denied), attempt.denied


def test_every_probe_has_a_denial(attacked: tuple[Scene, dict[str, Attempt]]) -> None:
    assert set(attacked[1]) == set(DENIALS)


@pytest.mark.parametrize("name", sorted(DENIALS))
def test_succeeds_unconfined(controlled: dict[str, Attempt], name: str) -> None:
    attempt = controlled[name]
    if name in UNCONTROLLED:
        assert not re.search(FORBIDDEN, attempt.denied)
        return
    assert attempt.denied == ""
    assert name not in HELD or WORD in attempt.got


def test_the_documentation_lists_every_attack_with_its_answer() -> None:
    text = (ROOT / "docs" / "attacks.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)`: .+? \| `(.+?)` \| .+ \|$", text, re.MULTILINE))
    assert list(rows) == list(DENIALS)
    for name, answer in rows.items():
        assert re.search(DENIALS[name], answer), name
