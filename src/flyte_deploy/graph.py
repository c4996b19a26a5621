"""Resolve: from the selected environments to all that they depend on, dependencies first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from flyte_deploy.errors import DeployError
from flyte_deploy.model import Environment


@dataclass(frozen=True)
class Resolved:
    """An environment in its place. `needed_by` names the environment that pulled it in, empty if selected.

    `depends_on` are names of the environments it depends on directly.
    """

    environment: Environment
    depends_on: tuple[str, ...]
    needed_by: str = ""

    @property
    def name(self) -> str:
        """The environment's name, unique among those resolved."""
        return self.environment.name


def resolve(environments: Sequence[Environment]) -> tuple[Resolved, ...]:
    """All selected environments and what they depend on, transitively, depth first, each once.

    The order is stable: that of the selection and of each `depends_on`, dependencies before dependents.

    Raises:
        DeployError: for a cycle, for two environments of one name, and for one file imported under two module
            names, naming environments, files and lines.
    """
    by_key = {environment.key: environment for environment in environments}
    order: list[Environment] = []
    needed_by: dict[int, str] = {}
    done: set[int] = set()
    for start in environments:
        if start.selected and start.key not in done:
            _visit(start, by_key, done, order, needed_by)
    _check_names(order)
    return tuple(
        Resolved(
            environment=environment,
            depends_on=tuple(by_key[key].name for key in dict.fromkeys(environment.depends_on)),
            needed_by="" if environment.selected else needed_by.get(environment.key, ""),
        )
        for environment in order
    )


def _visit(
    start: Environment,
    by_key: dict[int, Environment],
    done: set[int],
    order: list[Environment],
    needed_by: dict[int, str],
) -> None:
    # A stack of our own: chains of environments may be longer than Python's recursion allows.
    path: list[tuple[Environment, int]] = [(start, 0)]
    on_path = {start.key}
    while path:
        environment, position = path[-1]
        if position == len(environment.depends_on):
            path.pop()
            on_path.discard(environment.key)
            done.add(environment.key)
            order.append(environment)
            continue
        path[-1] = (environment, position + 1)
        following = by_key[environment.depends_on[position]]
        if following.key in on_path:
            members = [entry for entry, _ in path]
            first = next(i for i, entry in enumerate(members) if entry.key == following.key)
            raise _cycle([*members[first:], following])
        if following.key not in done:
            needed_by.setdefault(following.key, environment.name)
            path.append((following, 0))
            on_path.add(following.key)


def _cycle(members: list[Environment]) -> DeployError:
    return DeployError(
        f"environments depend on each other in a circle: {' → '.join(e.name for e in members)}",
        where=str(members[0].location) if members[0].location else None,
        details=tuple(f"{e.name} is declared at {e.location or 'an unknown place'}" for e in members[:-1]),
        mend="Remove one of these from depends_on.",
        usage=True,
    )


def _check_names(order: list[Environment]) -> None:
    first: dict[str, Environment] = {}
    tasks: dict[str, Environment] = {}
    for environment in order:
        other = first.setdefault(environment.name, environment)
        if other is not environment:
            raise _same_name(other, environment)
        for task in environment.tasks:
            if task.name in tasks:
                raise DeployError(
                    f"two tasks are called '{task.name}'",
                    where=str(task.location or environment.location or ""),
                    mend="Give one of them another name.",
                    usage=True,
                )
            tasks[task.name] = environment


def _same_name(one: Environment, other: Environment) -> DeployError:
    if one.location is not None and one.location == other.location and one.module != other.module:
        short = min(one.module, other.module, key=len)
        folder = PurePosixPath(one.location.file).parents[len(short.split(".")) - 1]
        return DeployError(
            f"this file is imported under two module names, '{one.module}' and '{other.module}', and so"
            f" environment '{one.name}' exists twice",
            where=str(one.location),
            mend=f"Name the folder that modules are imported from: --root-dir {folder}.",
            usage=True,
        )
    return DeployError(
        f"two environments are called '{one.name}'",
        where=str(other.location) if other.location else None,
        details=(f"the other one is declared at {one.location or 'an unknown place'}",),
        mend="Give one of them another name.",
        usage=True,
    )
