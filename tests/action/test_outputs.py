"""Step outputs and the job's summary."""

from __future__ import annotations

from pathlib import Path

import pytest

from flyte_deploy.action import outputs, summary
from flyte_deploy.errors import DeployError
from flyte_deploy.model import Deployment, Plan, Target
from flyte_deploy.report.markdown import SUMMARY_LIMIT
from flyte_deploy.secrets import SECRETS
from tests.harness.log import file_command

HOSTILE = "1\nversion=forged\nversion<<EOF\nforged\nEOF\nflyte_deploy_\n"


def plan(**changed: object) -> Plan:
    values: dict[str, object] = {
        "target": Target("team", "production"),
        "endpoint": "dns:///flyte.example.com",
        "version": "v1",
        "content": "c",
        "environments": (),
        "bundle": None,
        "bundle_address": "",
        "bundle_store": "",
        **changed,
    }
    return Plan(**values)  # type: ignore[arg-type]


def test_no_value_can_forge_another_output(tmp_path: Path) -> None:
    path = tmp_path / "output"
    path.write_text("earlier=kept\n")
    outputs.write({"version": "v1", "tasks": HOSTILE, "plan": ""}, {"GITHUB_OUTPUT": str(path)})
    read = file_command(path.read_text())
    assert read == {"earlier": "kept", "version": "v1", "tasks": HOSTILE, "plan": ""}


def test_the_delimiter_is_another_each_time(tmp_path: Path) -> None:
    path = tmp_path / "output"
    for _ in range(2):
        outputs.write({"a": "1", "b": "2"}, {"GITHUB_OUTPUT": str(path)})
    delimiters = [line.partition("<<")[2] for line in path.read_text().splitlines() if "<<" in line]
    assert len(set(delimiters)) == 4


def test_without_a_file_nothing_is_written_and_with_a_bad_one_it_is_an_error(tmp_path: Path) -> None:
    outputs.write({"a": "1"}, {})
    with pytest.raises(DeployError, match="cannot be written"):
        outputs.write({"a": "1"}, {"GITHUB_OUTPUT": str(tmp_path / "no" / "file")})


def test_the_plan_is_a_file_for_later_steps(tmp_path: Path) -> None:
    large = b"x" * (outputs.MOST_INLINE + 1)
    for document in (b"{}", large):
        name = outputs.keep_file("plan", document, {"RUNNER_TEMP": str(tmp_path)})
        assert (tmp_path / name).read_bytes() == document
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o644
        values = outputs.outputs_of(plan(), document, name)
        assert (values["plan-file"], values["content"]) == (name, "c")
        assert values["plan"] == (name if document == large else "{}")
    assert outputs.keep_file("plan", b"{}", {}) == ""


def test_the_file_of_a_plan_holds_no_secret(tmp_path: Path) -> None:
    SECRETS.add("hunter2-hunter2", own=True)
    name = outputs.keep_file("plan", b'{"a": "hunter2-hunter2"}', {"RUNNER_TEMP": str(tmp_path)})
    assert (tmp_path / name).read_text() == '{"a": "***"}'


def test_a_plan_without_tasks_has_all_outputs() -> None:
    values = outputs.outputs_of(plan(), b"{}", "")
    assert set(values) == set(outputs.OUTPUTS)
    assert values["plan"] == "{}"
    assert values["bundle-cached"] == "false"


def test_the_record_and_where_it_lies() -> None:
    deployment = Deployment(
        plan=plan(), record=b'{"version": "v1"}', record_uri="s3://bucket/records/v1.json"
    )
    values = outputs.outputs_of(deployment, b"{}", "", deployment.record.decode())
    assert (values["record"], values["record-uri"]) == (
        '{"version": "v1"}',
        "s3://bucket/records/v1.json",
    )


@pytest.mark.parametrize(
    ("endpoint", "insecure", "host"),
    [
        ("dns:///flyte.example.com", False, "https://flyte.example.com"),
        ("flyte.example.com:8443", False, "https://flyte.example.com:8443"),
        ("https://flyte.example.com/", True, "https://flyte.example.com"),
        ("http://flyte.example.com", False, "http://flyte.example.com"),
        ("flyte.internal:8080", True, "http://flyte.internal:8080"),
        ("dns:///flyte.internal:80", True, "http://flyte.internal:80"),
        ("localhost:8090", True, "http://localhost:8080"),
    ],
)
def test_the_console_is_where_the_endpoint_is(endpoint: str, insecure: bool, host: str) -> None:
    address = outputs.console_url(plan(endpoint=endpoint), insecure)
    assert address == f"{host}/v2/domain/production/project/team/tasks"
    assert outputs.outputs_of(plan(), b"{}", "", console=address)["console-url"] == address


def test_outputs_that_hold_something_masked_are_named() -> None:
    values = {"images": "1234567890.dkr.example/x", "version": "v1"}
    assert outputs.dropped(values, ["1234567890"]) == ["images"]


def test_a_summary_stops_before_it_would_vanish(tmp_path: Path) -> None:
    path = tmp_path / "summary"
    summary.write("é" * (1 << 20), {"GITHUB_STEP_SUMMARY": str(path)})
    assert path.stat().st_size <= SUMMARY_LIMIT + 1
