"""Flyte's config.yaml: values with their lines, and what is said of a file that is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flyte_deploy.config_file import find, load
from flyte_deploy.errors import DeployError


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "config.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_values_are_the_text_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "task:\n  project: 0123\n  domain: 'no'\n  org:\n")
    config = load(path, tmp_path)
    project, domain = config.text("task.project"), config.text("task.domain")
    assert project is not None
    assert domain is not None
    assert (project.value, project.where) == ("0123", "config.yaml:2 (task.project)")
    assert domain.value == "no"
    assert config.text("task.org") is None
    assert config.text("task.nothing") is None
    assert config.text("nothing.at.all") is None


def test_anchors_and_merge_keys(tmp_path: Path) -> None:
    path = written(tmp_path, "base: &base\n  project: merged\ntask:\n  <<: *base\n  domain: own\n")
    found = load(path, tmp_path).text("task.project")
    assert found is not None
    assert (found.value, found.where) == ("merged", "config.yaml:2 (task.project)")


def test_lists(tmp_path: Path) -> None:
    config = load(written(tmp_path, "admin:\n  command: [get, token]\n  scopes: all\n"), tmp_path)
    assert [item.value for item in config.items("admin.command")] == ["get", "token"]
    assert [item.value for item in config.items("admin.scopes")] == ["all"]
    assert config.items("admin.proxyCommand") == []


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "other: {things: [1, 2]}\n", "task:\n"])
def test_a_file_without_our_keys(tmp_path: Path, text: str) -> None:
    config = load(written(tmp_path, text), tmp_path)
    assert config.text("task.project") is None
    assert config.texts("image.image_refs") == {}


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("task: [\n", "config.yaml:2"),
        ("a: b\n  c: d\n", "config.yaml:2"),
        ("{{ cookiecutter.project }}: {{ x }}\n}\n", "config.yaml:2"),
        ("a: *nowhere\n", "config.yaml:1"),
        ("a: 1\n---\nb: 2\n", "config.yaml:2"),
        (b"a: \xff\xfe\n", "config.yaml"),
        ("a: \x00\n", "config.yaml"),
        ("[" * 5000, "config.yaml"),
    ],
)
def test_no_yaml(tmp_path: Path, text: str | bytes, where: str) -> None:
    with pytest.raises(DeployError, match="not valid YAML") as caught:
        load(written(tmp_path, text), tmp_path)
    assert caught.value.where == where
    assert caught.value.exit_status == 2
    assert "--config" in (caught.value.mend or "")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[task]\n", "config.yaml:1"),
        ("just text\n", "config.yaml:1"),
        ("\ntask: train\n", "config.yaml:2 (task)"),
        ("task:\n  project:\n    name: x\n", "config.yaml:3 (task.project)"),
        ("task:\n  project: [x]\n", "config.yaml:2 (task.project)"),
        ("task:\n  <<: 3\n", "config.yaml:2 (task)"),
    ],
)
def test_wrong_shape(tmp_path: Path, text: str, where: str) -> None:
    config = load(written(tmp_path, text), tmp_path)
    with pytest.raises(DeployError) as caught:
        config.text("task.project")
    assert caught.value.where == where
    assert caught.value.exit_status == 2


@pytest.mark.parametrize(
    "text", ["image: {image_refs: [a]}", "image: {image_refs: a}", "image: {image_refs: {a: [b]}}"]
)
def test_wrong_image_refs(tmp_path: Path, text: str) -> None:
    config = load(written(tmp_path, text), tmp_path)
    with pytest.raises(DeployError, match="expected"):
        config.texts("image.image_refs")


def test_a_named_file_that_cannot_be_read(tmp_path: Path) -> None:
    for name, said in (("nothere.yaml", "does not exist"), (".", "cannot be read")):
        with pytest.raises(DeployError, match=said) as caught:
            load(Path(name), tmp_path, named_by="flag --config")
        assert caught.value.where == "flag --config"


def test_a_folder_of_that_name_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").mkdir()
    (tmp_path / ".flyte").mkdir()
    (tmp_path / ".flyte" / "config.yaml").write_text("")
    assert find({"HOME": os.devnull}, tmp_path) == (
        tmp_path / ".flyte" / "config.yaml",
        "found in the working directory",
    )
