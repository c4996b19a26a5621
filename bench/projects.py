"""Projects of a given size, made for measuring."""

from __future__ import annotations

import random
from pathlib import Path

TASKS = 10
"""Tasks of an environment, in every project that is made here."""

_MODULE = '''\
"""Environment {number} of a project made for measuring."""

import flyte

{imports}
env = flyte.TaskEnvironment(
    name="env-{number}",
    image="registry.example/team/project:1",
    resources=flyte.Resources(cpu=1, memory="512Mi"),
    depends_on=[{depends_on}],
)

'''

_TASK = '''
@env.task
async def task_{task}(count: int, name: str = "n{task}", ratio: float = 0.5) -> list[str]:
    """Repeat a name.

    Args:
        count: how often.
        name: what is repeated.
    """
    return [f"{{name}}-{task}-{{ratio}}"] * count

'''


def environments(folder: Path, count: int, *, chain: bool = False) -> None:
    """Write `count` modules of one environment and ten tasks each.

    Args:
        folder: where; made if missing.
        count: of environments.
        chain: True for a chain of `depends_on`, each on the one before it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        previous = f"module_{number - 1:04d}"
        linked = chain and number > 0
        text = _MODULE.format(
            number=number,
            imports=f"import {previous}\n" if linked else "",
            depends_on=f"{previous}.env" if linked else "",
        )
        text += "".join(_TASK.format(task=task) for task in range(TASKS))
        (folder / f"module_{number:04d}.py").write_text(text)


def large_tree(folder: Path, *, files: int, size: int) -> None:
    """Write one environment beside `files` data files of `size` bytes in all, half of it incompressible."""
    environments(folder, 1)
    source = random.Random(0)
    each = size // files
    for number in range(files):
        place = folder / "data" / f"{number % 50:02d}"
        place.mkdir(parents=True, exist_ok=True)
        line = b"%d,some,plain,values,that,repeat\n" % number
        content = source.randbytes(each) if number % 2 else (line * (each // len(line) + 1))[:each]
        (place / f"{number:04d}.bin").write_bytes(content)
