"""Understands tempers."""


def anger(text: str) -> float:
    """Return how angry a text is, from 0 to 1."""
    return min(1.0, text.count("!") / 2)
