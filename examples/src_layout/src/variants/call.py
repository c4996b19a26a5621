"""Calls variants, and says which genes they are in."""

from collections import Counter

import flyte

from .model import Alignment, Variant
from .settings import IMAGE

call_env = flyte.TaskEnvironment(name="variants_call", image=IMAGE)
annotate_env = call_env.clone_with("variants_annotate", depends_on=[call_env])


@call_env.task
async def pile_up(alignments: list[Alignment], position: int) -> dict[str, int]:
    """Count the bases seen at a position."""
    seen: Counter[str] = Counter()
    for alignment in alignments:
        offset = position - alignment.position
        if 0 <= offset < len(alignment.read.bases):
            seen[alignment.read.bases[offset]] += 1
    return dict(seen)


@call_env.task
async def call_variants(alignments: list[Alignment], reference: str, depth: int = 2) -> list[Variant]:
    """Return the positions where most reads differ from the reference."""
    variants = []
    for position, base in enumerate(reference):
        seen = await pile_up(alignments, position)
        if seen:
            best = max(seen, key=lambda candidate: seen[candidate])
            if best != base and seen[best] >= depth:
                variants.append(Variant(position, base, best, seen[best]))
    return variants


@annotate_env.task(cache="auto")
async def gene_at(position: int) -> str:
    """Name the gene at a position."""
    return "GENE1" if position < 10 else "GENE2"


@annotate_env.task
async def annotate(variants: list[Variant]) -> list[Variant]:
    """Say which gene each variant is in."""
    return [
        Variant(v.position, v.reference, v.alternative, v.depth, await gene_at(v.position)) for v in variants
    ]
