"""A project whose code tries everything that it should not be able to do, while it is loaded."""

import flyte
import probes

probes.report()

env = flyte.TaskEnvironment(name="attacks", image="registry.example/team/image:1")


@env.task
def innocent(x: int) -> int:
    return x
