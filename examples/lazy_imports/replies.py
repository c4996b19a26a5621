"""Texts of answers."""

GREETINGS = {"en": "Hello! ", "de": "Guten Tag! "}
BODIES = {"refund": "Your refund is on its way.", "delivery": "Your parcel arrives tomorrow."}


def greeting(language: str) -> str:
    """Return a greeting in a language, in English if there is none."""
    return GREETINGS.get(language, GREETINGS["en"])


def body(topic: str) -> str:
    """Return what to say on a topic."""
    return BODIES.get(topic, "Somebody will look into it.")
