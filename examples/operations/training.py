"""A model of demand: accelerators, shared memory, disks, pods and log links."""

from dataclasses import dataclass

import flyte

from common_env import BATCH_POD, IMAGE


@dataclass
class Curves(flyte.Link):
    """A link to a run's learning curves, shown beside its logs."""

    name: str = "Learning curves"
    icon_uri: str = "https://curves.example.com/icon.svg"

    def get_link(
        self,
        run_name: str,
        project: str,
        domain: str,
        context: dict[str, str],
        parent_action_name: str,
        action_name: str,
        pod_name: str,
        **kwargs: str,
    ) -> str:
        """Return the address of the curves that an action drew."""
        return f"https://curves.example.com/{project}/{domain}/{run_name}/{action_name}"


training_env = flyte.TaskEnvironment(
    name="demand_training",
    image=IMAGE,
    resources=flyte.Resources(cpu=4, memory="16Gi", gpu="T4:1", disk="50Gi", shm="2Gi"),
    pod_template=BATCH_POD,
    service_account="demand-trainer",
    description="Fits the model on an accelerator, on nodes kept for batch work.",
)

large_training_env = training_env.clone_with(
    "demand_training_large",
    resources=flyte.Resources(
        cpu=8, memory="64Gi", gpu=flyte.GPU("A100", 1, partition="1g.5gb"), disk="200Gi", shm="auto"
    ),
    description="The same with a slice of a larger accelerator.",
)


@training_env.task(retries=1, timeout=3600, report=True, links=Curves())
async def fit(pieces: list[int], rate: float = 0.5) -> float:
    """Return the smoothed demand of the next day, in pieces."""
    level = float(pieces[0])
    for count in pieces[1:]:
        level += rate * (count - level)
    return round(level, 2)


@large_training_env.task(short_name="search the best rate")
async def best_rate(pieces: list[int], rates: list[float] = [0.2, 0.5, 0.8]) -> float:  # noqa: B006
    """Return the rate with the smallest error against the last day."""
    errors = {rate: abs(await fit(pieces[:-1], rate) - pieces[-1]) for rate in rates}
    return min(errors, key=lambda rate: errors[rate])


@training_env.task(pod_template="small-pod", max_inline_io_bytes=1024 * 1024)
async def error(pieces: list[int], rate: float) -> float:
    """Return the error against the last day, in pieces. Its pod is one that the cluster knows by name."""
    return abs(await fit(pieces[:-1], rate) - pieces[-1])
