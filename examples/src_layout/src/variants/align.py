"""Finds where reads belong."""

import asyncio

import flyte

from .model import Alignment, Read
from .settings import IMAGE, REFERENCE

align_env = flyte.TaskEnvironment(
    name="variants_align", image=IMAGE, resources=flyte.Resources(cpu=2, memory="1Gi")
)


@align_env.task
async def load_reference(name: str = "toy") -> str:
    """Return a reference genome."""
    return REFERENCE if name == "toy" else ""


@align_env.task
async def align_read(read: Read, reference: str) -> Alignment:
    """Return the place with the fewest mismatches."""
    last = max(0, len(reference) - len(read.bases))
    mismatches = {
        position: sum(a != b for a, b in zip(read.bases, reference[position:]))
        for position in range(last + 1)
    }
    best = min(mismatches, key=lambda position: mismatches[position])
    return Alignment(read, best, mismatches[best])


@align_env.task
async def align_reads(reads: list[Read], reference: str, most: int = 1) -> list[Alignment]:
    """Align reads side by side; leave out those with too many mismatches."""
    alignments = await asyncio.gather(*(align_read(read, reference) for read in reads))
    return [alignment for alignment in alignments if alignment.mismatches <= most]
