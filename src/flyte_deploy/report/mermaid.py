"""The graph of environments as a Mermaid diagram, with those that change marked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from flyte_deploy.report.escape import one_line

MOST_EDGES = 300
"""With more, the neighbourhood of what changes is shown; Mermaid itself refuses more than 500."""
MOST_NODES = 60
"""With more nodes, environments that are alike are drawn as one, and unchanged ones far from a change are
left out."""
_LONGEST = 40
_MOST_COLUMNS = 7
_MOST_TEXT = 45_000
"""Characters; Mermaid refuses 50,000."""

# It reads these once more after its references, as formulas and escapes: others stand for them.
_LOOK_ALIKE = str.maketrans({"$": "\uff04", "\\": "\u29f5"})

_STYLES = {
    "new": "fill:#dafbe1,stroke:#1a7f37,color:#1f2328",
    "changed": "fill:#fff8c5,stroke:#9a6700,color:#1f2328",
    "breaking": "fill:#ffebe9,stroke:#cf222e,color:#1f2328,stroke-width:3px",
    "unchanged": "fill:#f6f8fa,stroke:#d1d9e0,color:#59636e",
}
_WORDS = {"new": "new", "changed": "changed", "breaking": "breaking", "unchanged": ""}


@dataclass(frozen=True)
class Drawing:
    """A diagram, and what it leaves out, in words; both empty where nothing depends on anything."""

    text: str
    note: str = ""


def draw(states: Mapping[str, str], edges: Iterable[tuple[str, str]]) -> Drawing:
    """Draw environments and what they depend on.

    Args:
        states: for each environment, in order, ``new``, ``changed``, ``breaking`` or ``unchanged``.
        edges: pairs of an environment and one that it depends on.
    """
    known = [(one, other) for one, other in dict.fromkeys(edges) if one in states and other in states]
    if not known:
        return Drawing("")
    shown, left = dict(states), ""
    if len(known) > MOST_EDGES or len(shown) > MOST_NODES:
        near = _neighbourhood(shown, known)
        if near and len(near) < len(shown):
            left = f"{len(shown) - len(near)} unchanged environments away from the changes are left out"
            shown = {name: state for name, state in shown.items() if name in near}
            known = [(one, other) for one, other in known if one in near and other in near]
    groups = {name: [name] for name in shown}
    if len(shown) > MOST_NODES:
        groups = _alike(shown, known)
        known = _between(groups, known)
    notes = [left] if left else []
    drawn, dropped = known[:MOST_EDGES], len(known) - MOST_EDGES
    if dropped > 0:
        notes.append(f"{dropped} dependencies are left out")
    text = _text(groups, shown, drawn)
    while len(text) > _MOST_TEXT and drawn:
        drawn = drawn[: len(drawn) // 2]
        used = {name for edge in drawn for name in edge}
        groups = {name: names for name, names in groups.items() if name in used}
        text = _text(groups, shown, drawn)
        notes = [f"only {len(groups)} of {len(states)} environments are drawn"]
    return Drawing(text, "; ".join(notes))


def _neighbourhood(states: Mapping[str, str], edges: Sequence[tuple[str, str]]) -> set[str]:
    """What changes, and what is next to it."""
    changed = {name for name, state in states.items() if state != "unchanged"}
    near = set(changed)
    for one, other in edges:
        if one in changed or other in changed:
            near |= {one, other}
    return near


def _alike(states: Mapping[str, str], edges: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """Environments in groups: those in one have the same state and the same neighbours."""
    above: dict[str, set[str]] = {name: set() for name in states}
    below: dict[str, set[str]] = {name: set() for name in states}
    for one, other in edges:
        above[other].add(one)
        below[one].add(other)
    groups: dict[tuple[str, frozenset[str], frozenset[str]], list[str]] = {}
    for name, state in states.items():
        groups.setdefault((state, frozenset(above[name]), frozenset(below[name])), []).append(name)
    return {names[0]: names for names in groups.values()}


def _between(groups: Mapping[str, Sequence[str]], edges: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    group_of = {name: first for first, names in groups.items() for name in names}
    return list(dict.fromkeys((group_of[one], group_of[other]) for one, other in edges))


def _text(
    groups: Mapping[str, Sequence[str]], states: Mapping[str, str], edges: Sequence[tuple[str, str]]
) -> str:
    number = {name: index for index, name in enumerate(groups)}
    lines = [f"flowchart {_direction(list(groups), edges)}"]
    lines += [f'  e{number[name]}["{_label(names, states[name])}"]' for name, names in groups.items()]
    # From what is depended on to what depends on it: it reads in the order of registration.
    lines += [f"  e{number[other]} --> e{number[one]}" for one, other in edges]
    for state, style in _STYLES.items():
        members = [f"e{number[name]}" for name in groups if states[name] == state]
        if members:
            lines += [f"  classDef {state} {style}", f"  class {','.join(members)} {state}"]
    return "\n".join(lines)


def _direction(names: Sequence[str], edges: Sequence[tuple[str, str]]) -> str:
    """Downwards where a row would be too long for a page, unless it is broader still."""
    below: dict[str, list[str]] = {}
    for one, other in edges:
        below.setdefault(one, []).append(other)
    layers: dict[str, int] = {}
    # Dependencies come first in the order of names, and there are no cycles.
    for name in names:
        layers[name] = 1 + max((layers.get(other, 0) for other in below.get(name, ())), default=0)
    depth = max(layers.values(), default=0)
    width = max((list(layers.values()).count(layer) for layer in set(layers.values())), default=0)
    return "TD" if depth > _MOST_COLUMNS and width < depth else "LR"


def _label(names: Sequence[str], state: str) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    word = _WORDS.get(state, "")
    return _escaped(names[0]) + more + (f"<br/>{word}" if word else "")


def _escaped(name: str) -> str:
    # Mermaid has numeric references of its own; what is no letter could be its syntax, or Markdown's.
    name = one_line(name, _LONGEST).translate(_LOOK_ALIKE)
    return re.sub(r"[^A-Za-z0-9 …]", lambda found: f"#{ord(found[0])};", name)
