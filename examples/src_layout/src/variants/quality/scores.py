"""Checks reads by their Phred scores."""

import flyte

from ..model import Read
from ..settings import IMAGE

quality_env = flyte.TaskEnvironment(name="variants_quality", image=IMAGE)


@quality_env.task
async def mean_quality(read: Read) -> float:
    """Return the mean Phred score of a read."""
    return sum(read.quality) / len(read.quality) if read.quality else 0.0


@quality_env.task
async def trim_read(read: Read, lowest: int = 20) -> Read:
    """Cut bad bases off the end."""
    end = len(read.bases)
    while end and read.quality[end - 1] < lowest:
        end -= 1
    return Read(read.name, read.bases[:end], read.quality[:end])


@quality_env.task
async def filter_reads(reads: list[Read], lowest: int = 20, length: int = 5) -> list[Read]:
    """Trim all reads and keep those that are long enough."""
    trimmed = [await trim_read(read, lowest) for read in reads]
    return [read for read in trimmed if len(read.bases) >= length and await mean_quality(read) >= lowest]
