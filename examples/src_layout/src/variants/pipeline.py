"""The whole way, from reads to annotated variants."""

import flyte

from .align import align_env, align_reads, load_reference
from .call import annotate, annotate_env, call_env, call_variants
from .model import Read
from .quality import filter_reads, quality_env
from .settings import IMAGE

pipeline_env = flyte.TaskEnvironment(
    name="variants_pipeline",
    image=IMAGE,
    depends_on=[quality_env, align_env, call_env, annotate_env],
)


@pipeline_env.task
async def example_reads(copies: int = 3) -> list[Read]:
    """Return reads that hold one variant."""
    bases = "TGCATCGTG"
    return [Read(f"read-{number}", bases, [30] * len(bases)) for number in range(copies)]


@pipeline_env.task
async def find_variants(sample: str = "toy") -> dict[str, str]:
    """Find the variants of a sample."""
    reference = await load_reference(sample)
    reads = await filter_reads(await example_reads())
    alignments = await align_reads(reads, reference)
    variants = await annotate(await call_variants(alignments, reference))
    return {f"{v.reference}{v.position}{v.alternative}": v.gene for v in variants}
