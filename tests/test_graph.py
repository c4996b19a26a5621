"""Resolve: order, and the errors that name what is wrong."""

from __future__ import annotations

import pytest

from flyte_deploy.errors import DeployError
from flyte_deploy.graph import resolve
from flyte_deploy.model import Environment, Location, Task


def environments(graph: dict[str, list[str]], selected: set[str]) -> list[Environment]:
    keys = {name: key for key, name in enumerate(graph)}
    return [
        Environment(
            key=keys[name],
            name=name,
            selected=name in selected,
            location=Location(f"{name}.py", 3),
            depends_on=tuple(keys[other] for other in others),
        )
        for name, others in graph.items()
    ]


def test_dependencies_come_first_each_once() -> None:
    graph = {"top": ["left", "right"], "left": ["base"], "right": ["base"], "base": [], "other": []}
    order = resolve(environments(graph, {"top"}))
    assert [one.name for one in order] == ["base", "left", "right", "top"]
    assert {one.name: one.needed_by for one in order} == {
        "base": "left",
        "left": "top",
        "right": "top",
        "top": "",
    }
    assert order[-1].depends_on == ("left", "right")


def test_a_selected_environment_is_not_said_to_be_pulled_in() -> None:
    order = resolve(environments({"a": ["b"], "b": []}, {"a", "b"}))
    assert [(one.name, one.needed_by) for one in order] == [("b", ""), ("a", "")]


def test_a_chain_longer_than_pythons_recursion() -> None:
    graph = {f"e{n}": [f"e{n + 1}"] if n < 4999 else [] for n in range(5000)}
    order = resolve(environments(graph, {"e0"}))
    assert [one.name for one in order] == [f"e{n}" for n in reversed(range(5000))]


def test_a_cycle_is_named_with_its_places() -> None:
    graph = {"start": ["a"], "a": ["b"], "b": ["c"], "c": ["a"]}
    with pytest.raises(DeployError) as raised:
        resolve(environments(graph, {"start"}))
    assert "a → b → c → a" in raised.value.what
    assert raised.value.details == tuple(f"{name} is declared at {name}.py:3" for name in "abc")


def test_two_environments_of_one_name() -> None:
    one = Environment(key=0, name="same", selected=True, location=Location("one.py", 1))
    other = Environment(key=1, name="same", selected=True, location=Location("two.py", 2))
    with pytest.raises(DeployError) as raised:
        resolve([one, other])
    assert raised.value.where == "two.py:2"
    assert raised.value.details == ("the other one is declared at one.py:1",)


def test_one_file_under_two_module_names_says_which_root_mends_it() -> None:
    place = Location("src/pack/envs.py", 4)
    one = Environment(key=0, name="twice", selected=True, location=place, module="src.pack.envs")
    other = Environment(key=1, name="twice", selected=True, location=place, module="pack.envs")
    with pytest.raises(DeployError) as raised:
        resolve([one, other])
    assert "--root-dir src." in (raised.value.mend or "")
    assert "'src.pack.envs' and 'pack.envs'" in raised.value.what


def test_a_clash_outside_of_what_is_deployed_does_not_matter() -> None:
    one = Environment(key=0, name="same", selected=True)
    other = Environment(key=1, name="same")
    assert [item.environment.key for item in resolve([one, other])] == [0]


def test_two_tasks_of_one_name() -> None:
    task = Task(name="e.t", short_name="t", environment="e", location=Location("flow.py", 9))
    with pytest.raises(DeployError, match=r"two tasks are called 'e\.t'"):
        resolve(
            [
                Environment(key=0, name="e", selected=True, tasks=(task,)),
                Environment(key=1, name="f", selected=True, tasks=(task,)),
            ]
        )
