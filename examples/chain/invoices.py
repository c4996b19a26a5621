"""What the files of this project share: invoices, and the image."""

from dataclasses import dataclass

IMAGE = "ghcr.io/flyteorg/flyte:py3.13-v2.12.1"


@dataclass
class Invoice:
    """An invoice as it came in. `amount` is in cents."""

    number: str
    supplier: str
    amount: int
    order: str = ""


@dataclass
class Decision:
    """Whether an invoice is to be paid, and why not."""

    number: str
    amount: int
    approved: bool
    reason: str = ""
