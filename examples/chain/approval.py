"""Where both checks meet again."""

import asyncio

import flyte

from checks import find_duplicates, fraud_env, matches_order, matching_env, risk_score
from invoices import IMAGE, Decision, Invoice

approval_env = flyte.TaskEnvironment(
    name="invoice_approval", image=IMAGE, depends_on=[matching_env, fraud_env]
)


@approval_env.task
async def decide(invoice: Invoice, duplicates: list[str], highest_risk: float = 0.4) -> Decision:
    """Approve an invoice that passes all checks."""
    matches, risk = await asyncio.gather(matches_order(invoice), risk_score(invoice))
    if invoice.number in duplicates:
        reason = "sent before"
    elif not matches:
        reason = f"differs from {invoice.order or 'any order'}"
    elif risk > highest_risk:
        reason = f"risk is {risk:.2f}"
    else:
        reason = ""
    return Decision(invoice.number, invoice.amount, approved=not reason, reason=reason)


@approval_env.task
async def decide_all(invoices: list[Invoice]) -> list[Decision]:
    """Decide on all invoices side by side."""
    duplicates = await find_duplicates(invoices)
    return list(await asyncio.gather(*(decide(invoice, duplicates) for invoice in invoices)))
