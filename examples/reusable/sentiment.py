"""A model that takes long to load, and is loaded once for each container."""

from functools import lru_cache

from pools import model_env


@lru_cache(maxsize=1)
def model() -> dict[str, float]:
    """Return the weight of each word that has one. Stays in memory from one task to the next."""
    good = dict.fromkeys(("good", "great", "fast", "lovely"), 1.0)
    bad = dict.fromkeys(("bad", "slow", "broken", "late"), -1.0)
    return {**good, **bad}


@model_env.task
async def score(words: list[str]) -> float:
    """Return how a text sounds, from -1 (angry) to 1 (happy)."""
    weights = [model()[word] for word in words if word in model()]
    return sum(weights) / len(weights) if weights else 0.0


@model_env.task(retries=2)
async def verdict(value: float, band: float = 0.25) -> str:
    """Return ``good``, ``bad`` or ``mixed``."""
    return "mixed" if abs(value) < band else "good" if value > 0 else "bad"


@model_env.task
async def rated(text: str) -> str:
    """Return the verdict on a text."""
    from words import tokens

    return await verdict(await score(await tokens(text)))
