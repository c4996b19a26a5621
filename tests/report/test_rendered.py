"""Pages in a browser: diagrams that Mermaid draws, of every size and with every name."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from flyte_deploy.model import Plan
from flyte_deploy.report.markdown import comment
from flyte_deploy.report.mermaid import MOST_EDGES, draw
from flyte_deploy.report.sections import sections_of
from flyte_deploy.report.story import Story
from tests.report import plans
from tests.report.render import drawn, picture
from tests.report.scenes import scenes


def graph(made: Plan) -> str:
    (section,) = (one for one in sections_of(Story("plan", made)) if one.title.startswith("Environments"))
    return section.text()


@pytest.mark.parametrize(
    ("made", "nodes"),
    [
        (plans.small(), 5),
        (plans.large(), 54),
        (plans.large(changed=200), 200),
        (plans.hostile(), len(plans.HOSTILE)),
    ],
    ids=["small", "large", "all changed", "hostile"],
)
def test_mermaid_draws_it(made: Plan, nodes: int, tmp_path: Path) -> None:
    page = drawn(graph(made), tmp_path)
    assert 'data-done="yes"' in page
    assert "data-failed=" not in page
    assert "Syntax error" not in page
    assert "Unsupported markdown" not in page
    assert page.count("<svg") == 1
    assert len(re.findall(r'<g class="node default[^"]*"', page)) == nodes


def test_names_stand_in_the_diagram_as_they_are_written(tmp_path: Path) -> None:
    names = [name for name in plans.HOSTILE if len(name) < 30 and name.isprintable()]
    edges = [(names[index], names[index - 1]) for index in range(1, len(names))]
    drawing = draw(dict.fromkeys(names, "new"), edges)
    page = drawn(f"```mermaid\n{drawing.text}\n```", tmp_path)
    labels = re.findall(r'class="nodeLabel[^>]*>(.*?)</span>', page)
    texts = {re.sub(r"<[^>]*>", "", label.replace("<br>", "\n")) for label in labels}
    assert {html.unescape(text).partition("\n")[0] for text in texts} == {
        " ".join(name.split()).replace("$", "\uff04").replace("\\", "\u29f5") for name in names
    }
    assert not re.search(r"<script>alert|<img|<b>", page)


def test_too_many_edges_show_what_is_next_to_the_changes() -> None:
    states: dict[str, str] = dict.fromkeys((f"e{index}" for index in range(200)), "unchanged")
    states["e100"] = "changed"
    edges = [(f"e{index}", f"e{index - step}") for index in range(200) for step in (1, 2, 3) if index >= step]
    drawing = draw(states, edges)
    assert len(edges) > MOST_EDGES
    assert drawing.text.count("-->") == 15
    assert drawing.note == "193 unchanged environments away from the changes are left out"
    everything = draw(dict.fromkeys(states, "new"), edges)
    assert everything.text.count("-->") == MOST_EDGES
    assert "dependencies are left out" in everything.note


def test_environments_that_are_alike_are_one() -> None:
    states = {"base": "new", **dict.fromkeys((f"leaf{index}" for index in range(150)), "new")}
    drawing = draw(states, [(name, "base") for name in states if name != "base"])
    assert drawing.text.count("-->") == 1
    assert "leaf0 and 149 more" in drawing.text


def test_environments_that_depend_on_nothing_are_no_graph() -> None:
    assert draw(dict.fromkeys(("a", "b"), "new"), []).text == ""


@pytest.mark.parametrize("scene", scenes())
def test_what_a_pull_request_sees(scene: str, tmp_path: Path) -> None:
    """Nothing is wider than the page, and what matters is to be seen without scrolling."""
    text = comment(scenes()[scene])
    page = drawn(text, tmp_path)
    assert 'data-done="yes"' in page
    assert "data-failed=" not in page
    assert 'data-wide=""' in page
    (head,) = re.findall(r'data-head="(\d+)"', page)
    assert int(head) < 450
    target = tmp_path / "comment.png"
    picture(text, tmp_path, target)
    assert target.read_bytes().startswith(b"\x89PNG")
    assert target.stat().st_size > 20_000
