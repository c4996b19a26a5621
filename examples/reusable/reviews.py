"""Reviews of a shop, summed up: the place to start."""

import asyncio
from collections import Counter

import flyte

from pools import IMAGE, model_env, scratch_env, words_env
from sentiment import rated
from words import is_english, tokens, top_words

reviews_env = flyte.TaskEnvironment(
    name="reviews",
    image=IMAGE,
    depends_on=[words_env, model_env, scratch_env],
    description="Hands reviews to the pools; not reusable itself, so that it blocks none of their places.",
)


@scratch_env.task
async def remembered(reviews: list[str]) -> list[str]:
    """Return the reviews without repetitions, in their order."""
    return list(dict.fromkeys(reviews))


@scratch_env.task(cache="auto")
async def longest(reviews: list[str]) -> str:
    """Return the longest review."""
    return max(reviews, key=len)


@reviews_env.task
async def english_only(reviews: list[str]) -> list[str]:
    """Return the reviews that are English."""
    kept = await asyncio.gather(*(_is_english(review) for review in reviews))
    return [review for review, keep in zip(reviews, kept) if keep]


async def _is_english(review: str) -> bool:
    return await is_english(await tokens(review))


@reviews_env.task
async def summary(reviews: list[str]) -> dict[str, int]:
    """Return how many reviews there are of each verdict."""
    unique = await remembered(reviews)
    verdicts = await asyncio.gather(*(rated(review) for review in unique))
    return dict(Counter(verdicts))


@reviews_env.task
async def headline(reviews: list[str]) -> str:
    """Return the words that stand out, as one line."""
    english = await english_only(reviews)
    return ", ".join(await top_words(await tokens(" ".join(english))))
