"""The end of the chain: payment, and the month's closing."""

import asyncio

import flyte

from approval import approval_env, decide_all
from intake import intake_env, parse_invoice, read_inbox
from invoices import IMAGE, Decision

payment_env = flyte.TaskEnvironment(name="invoice_payment", image=IMAGE, depends_on=[approval_env])
closing_env = flyte.TaskEnvironment(
    name="invoice_closing", image=IMAGE, depends_on=[payment_env, approval_env, intake_env]
)


@payment_env.task(retries=3)
async def pay(decision: Decision, account: str = "operating") -> str:
    """Pay an approved invoice and return the transfer's reference."""
    if not decision.approved:
        raise ValueError(f"{decision.number} is not approved: {decision.reason}")
    return f"{account}/{decision.number}"


@closing_env.task
async def total_paid(decisions: list[Decision]) -> int:
    """Add up what was approved, in cents."""
    return sum(decision.amount for decision in decisions if decision.approved)


@closing_env.task
async def close_month(month: str = "2026-01") -> dict[str, str]:
    """Take a month's invoices from the inbox to the books."""
    lines = await read_inbox(month)
    invoices = await asyncio.gather(*(parse_invoice(line) for line in lines))
    decisions = await decide_all(list(invoices))
    with flyte.group("transfers"):
        transfers = await asyncio.gather(*(pay(decision) for decision in decisions if decision.approved))
    refused = [f"{decision.number} ({decision.reason})" for decision in decisions if not decision.approved]
    return {
        "transfers": ", ".join(transfers),
        "refused": ", ".join(refused),
        "total": str(await total_paid(decisions)),
    }
