"""The deployer, as the action runs it, on a scene that a test has set: ``python deployer.py SCENE OUTCOME``.

It holds a secret in its environment and in its memory. It plans a deploy of the scene's checkout, or carries
it out where there is an endpoint. The outcome is a JSON document: what it was told, and how it ended.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
from pathlib import Path
from typing import cast

from flyte_deploy import pipeline
from flyte_deploy.errors import DeployError
from flyte_deploy.isolation import confinement
from flyte_deploy.isolation.inside import landlock
from flyte_deploy.model import Progress
from flyte_deploy.project.workplace import Container
from flyte_deploy.settings import resolve

HELD = "".join(("planted", "-secret", "-in-memory")) * 3


def forget_landlock(folder: Path) -> None:
    """Confine as on a kernel that has no Landlock."""
    copy = folder / "inside"
    if not copy.exists():
        shutil.copytree(confinement._INSIDE, copy)
        text = (copy / "landlock.py").read_text()
        without = text.replace("return max(0, found)", "return 0")
        assert without != text
        (copy / "landlock.py").write_text(without)
    confinement._INSIDE = copy
    landlock.version = lambda: 0


def main() -> None:
    scene = json.loads(Path(sys.argv[1]).read_text())
    if not scene["landlock"]:
        forget_landlock(Path(sys.argv[1]).parent)
    workspace = Path(scene["workspace"])
    os.chdir(workspace)
    os.umask(0o077)
    # An open file that nobody should inherit.
    leak = os.open(scene["held_open"], os.O_RDONLY)
    os.set_inheritable(leak, True)
    heard: list[Progress] = []
    commands: list[list[str]] = []

    def see(event: str, arguments: tuple[object, ...]) -> None:
        if event == "subprocess.Popen":
            commands.append([str(argument) for argument in cast("list[object]", arguments[1])])
        elif event.startswith(("os.exec", "os.posix_spawn", "os.system")):
            commands.append([str(arguments)])

    sys.addaudithook(see)
    outcome: dict[str, object] = {}
    try:
        settings = resolve(scene["options"], {"HOME": "/nonexistent"}, workspace, command="plan")
        # Inputs of the action alone.
        settings = dataclasses.replace(
            settings, pass_env=tuple(scene["pass_env"]), discovery_network=scene["network"]
        )
        container = Container(
            workspace,
            {**os.environ, **scene["environment"]},
            base=Path(scene["base"]),
            path=scene["path"],
            mounts=tuple(Path(mount) for mount in scene["mounts"]),
            untrusted=scene["untrusted"],
        )
        if scene["endpoint"]:
            settings = dataclasses.replace(
                settings, endpoint=scene["endpoint"], insecure=scene["insecure"], dry_run=False
            )
            plan = pipeline.deploy(settings, heard.append, container=container).plan
        else:
            plan = pipeline.plan(settings, heard.append, container=container)
        outcome["tasks"] = [one.task.name for one in plan.tasks]
        outcome["files"] = [file.path for file in plan.bundle.files] if plan.bundle else []
        outcome["content"] = plan.content
        outcome["warnings"] = list(plan.warnings)
    except DeployError as error:
        outcome["error"] = str(error)
    outcome["commands"] = commands
    outcome["heard"] = [[one.kind, one.text] for one in heard]
    Path(sys.argv[2]).write_text(json.dumps(outcome))


if __name__ == "__main__":
    main()
