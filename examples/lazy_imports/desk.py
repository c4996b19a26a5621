"""Answers tickets: the file to deploy."""

import flyte

from tickets import IMAGE, Ticket, read_all, tickets_env
from triage import language, sort_by_urgency, topic, triage_env

desk_env = flyte.TaskEnvironment(name="desk_answers", image=IMAGE, depends_on=[tickets_env, triage_env])


@desk_env.task
async def draft(ticket: Ticket) -> str:
    """Write a first answer."""
    import replies

    return replies.greeting(await language(ticket)) + replies.body(await topic(ticket))


@desk_env.task
async def send(ticket: Ticket, answer: str) -> str:
    """Send an answer the way that the ticket came."""
    if ticket.number > 100:
        from channels import chat

        return chat.send(answer)
    from channels import mail

    return mail.send(answer)


@desk_env.task
async def statistics_of(tickets: list[Ticket]) -> dict[str, int]:
    """Count the tickets of each topic."""
    counts: dict[str, int] = {}
    for ticket in tickets:
        about = await topic(ticket)
        counts[about] = counts.get(about, 0) + 1
    return counts


@desk_env.task
async def answer_all(limit: int = 3) -> list[str]:
    """Answer all new tickets, the urgent ones first."""
    tickets = await sort_by_urgency(await read_all(limit))
    return [await send(ticket, await draft(ticket)) for ticket in tickets]
