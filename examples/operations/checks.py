"""Container tasks: programs in images without Flyte."""

import flyte
from flyte.extras import ContainerTask

greatest = ContainerTask(
    name="greatest",
    image="docker.io/library/alpine:3.22",
    command=[
        "/bin/sh",
        "-c",
        "echo '{{.inputs.counts}}' | tr ',' '\\n' | sort -n | tail -1 > /var/outputs/greatest",
    ],
    inputs={"counts": str},
    outputs={"greatest": int},
    cache="auto",
    retries=1,
    resources=flyte.Resources(cpu=1, memory="64Mi"),
)
"""Returns the greatest of numbers that are separated by commas."""

greeting = ContainerTask(
    name="greeting",
    image="docker.io/library/alpine:3.22",
    command=["/bin/sh", "-c"],
    arguments=[
        'echo "Orders for $0, $1 pieces" > /var/outputs/text',
        "{{.inputs.shop}}",
        "{{.inputs.pieces}}",
    ],
    inputs={"shop": str, "pieces": int},
    outputs={"text": str},
)
"""Returns the first line of an order."""

checks_env = flyte.TaskEnvironment.from_task("demand_checks", greatest, greeting)
