"""Two checks that know nothing of each other: the sides of the diamond."""

import flyte

from intake import intake_env
from invoices import IMAGE, Invoice

matching_env = flyte.TaskEnvironment(name="invoice_matching", image=IMAGE, depends_on=[intake_env])
fraud_env = flyte.TaskEnvironment(name="invoice_fraud", image=IMAGE, depends_on=[intake_env])


@matching_env.task
async def find_order(order: str) -> int:
    """Return what was agreed, in cents; 0 for an order that nobody knows."""
    return {"PO-7": 125000, "PO-8": 90000}.get(order, 0)


@matching_env.task
async def matches_order(invoice: Invoice, tolerance: float = 0.02) -> bool:
    """Compare an invoice with its order."""
    agreed = await find_order(invoice.order)
    return abs(invoice.amount - agreed) <= agreed * tolerance


@fraud_env.task
async def find_duplicates(invoices: list[Invoice]) -> list[str]:
    """Return the numbers of invoices that were sent before."""
    seen: set[tuple[str, int, str]] = set()
    duplicates = []
    for invoice in invoices:
        key = (invoice.supplier, invoice.amount, invoice.order)
        if key in seen:
            duplicates.append(invoice.number)
        seen.add(key)
    return duplicates


@fraud_env.task
async def risk_score(invoice: Invoice, known_suppliers: list[str] = ["Acme", "Bolt"]) -> float:
    """Return how suspicious an invoice is, from 0 to 1."""
    return min(1.0, invoice.amount / 10_000_000 + (0.0 if invoice.supplier in known_suppliers else 0.5))
