"""Short tasks on words: not worth a container each."""

from collections import Counter

from pools import words_env


@words_env.task
async def tokens(text: str) -> list[str]:
    """Return the words of a text, in lower case, without punctuation."""
    return [word for word in (part.strip(".,;:!?").lower() for part in text.split()) if word]


@words_env.task
async def is_english(words: list[str], least: float = 0.2) -> bool:
    """Say whether enough of the words are common English ones."""
    common = {"the", "a", "and", "is", "it", "was", "not", "very", "of", "to"}
    return bool(words) and sum(word in common for word in words) / len(words) >= least


@words_env.task
async def top_words(words: list[str], limit: int = 3) -> list[str]:
    """Return the words used most, the longer ones of them first."""
    counts = Counter(words)
    return sorted(counts, key=lambda word: (-counts[word], -len(word), word))[:limit]
