"""Invoices come in as lines of text."""

import flyte

from invoices import IMAGE, Invoice

intake_env = flyte.TaskEnvironment(name="invoice_intake", image=IMAGE, description="Reads the inbox.")


@intake_env.task
async def read_inbox(month: str = "2026-01") -> list[str]:
    """Return the month's invoices, one line each."""
    return [f"{month}-001;Acme;125000;PO-7", f"{month}-002;Bolt;89900;PO-8", f"{month}-003;Acme;125000;PO-7"]


@intake_env.task
async def parse_invoice(line: str, separator: str = ";") -> Invoice:
    """Read one line."""
    number, supplier, amount, order = line.split(separator)
    return Invoice(number=number, supplier=supplier, amount=int(amount), order=order)
