"""Tickets, and where they come from."""

from dataclasses import dataclass
from importlib import import_module

import flyte

IMAGE = "ghcr.io/flyteorg/flyte:py3.13-v2.12.1"

tickets_env = flyte.TaskEnvironment(name="desk_tickets", image=IMAGE)


@dataclass
class Ticket:
    """What somebody wrote."""

    number: int
    text: str


@tickets_env.task
async def read_mail(limit: int = 3) -> list[Ticket]:
    """Return tickets that came by mail."""
    mail = import_module("channels.mail")
    return [Ticket(number, text) for number, text in enumerate(mail.fetch()[:limit], start=1)]


@tickets_env.task
async def read_chat(limit: int = 3) -> list[Ticket]:
    """Return tickets that came by chat."""
    import importlib

    chat = importlib.import_module("channels.chat")
    return [Ticket(number, text) for number, text in enumerate(chat.fetch()[:limit], start=101)]


@tickets_env.task
async def read_all(limit: int = 3) -> list[Ticket]:
    """Return all new tickets."""
    return [*await read_mail(limit), *await read_chat(limit)]
