"""Mail."""


def fetch() -> list[str]:
    """Return the texts of new mails."""
    return ["Where is my parcel?", "I want my money back!!", "Wo ist mein Paket?"]


def send(text: str) -> str:
    """Send a mail and return its reference."""
    return f"mail: {text}"
