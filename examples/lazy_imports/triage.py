"""What a ticket is about, and how urgent it is."""

import flyte

from tickets import IMAGE, Ticket

triage_env = flyte.TaskEnvironment(
    name="desk_triage", image=IMAGE, resources=flyte.Resources(cpu=2, memory="2Gi")
)


@triage_env.task
async def topic(ticket: Ticket) -> str:
    """Name what a ticket is about."""
    from engines import words

    return words.topic(ticket.text)


@triage_env.task
async def urgency(ticket: Ticket, threshold: float = 0.5) -> bool:
    """Say whether a ticket cannot wait."""
    from engines.mood import anger

    return anger(ticket.text) > threshold


@triage_env.task
async def language(ticket: Ticket, default: str = "en") -> str:
    """Guess the language of a ticket."""
    from engines import words

    return words.language(ticket.text) or default


@triage_env.task
async def sort_by_urgency(tickets: list[Ticket]) -> list[Ticket]:
    """Put urgent tickets first."""
    urgent = [await urgency(ticket) for ticket in tickets]
    return [ticket for _, ticket in sorted(zip(urgent, tickets), key=lambda pair: not pair[0])]
