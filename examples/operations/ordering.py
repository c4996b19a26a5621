"""Orders, on schedules: the place to start."""

from datetime import datetime, timezone

import flyte

from checks import checks_env, greatest, greeting
from common_env import IMAGE
from sales import pieces_sold, sales_env, weekly_mean, without_holidays
from training import best_rate, fit, large_training_env, training_env

ordering_env = flyte.TaskEnvironment(
    name="demand_ordering",
    image=IMAGE,
    depends_on=[sales_env, training_env, large_training_env, checks_env],
    env_vars={"LOG_LEVEL": "warning"},
    description="Forecasts and orders.",
)

NIGHTLY = flyte.Trigger(
    name="nightly",
    automation=flyte.Cron("30 2 * * *", timezone="Europe/Berlin"),
    description="Every night, before the wholesaler opens.",
    inputs={"now": flyte.TriggerTime, "shop": "harbour", "days": 14},
    env_vars={"LOG_LEVEL": "info"},
    labels={"started-by": "schedule"},
)

QUARTERLY = flyte.Trigger(
    name="quarter-hourly",
    automation=flyte.FixedRate(15, start_time=datetime(2026, 1, 1, tzinfo=timezone.utc)),
    description="Every fifteen minutes, once somebody activates it.",
    inputs={"shop": "station"},
    auto_activate=False,
    overwrite_cache=True,
    interruptible=True,
)


@ordering_env.task
async def forecast(shop: str, days: int = 7) -> float:
    """Return the demand of the next day, in pieces."""
    pieces = await without_holidays(await pieces_sold(shop, days))
    return await fit(pieces, await best_rate(pieces))


@ordering_env.task(triggers=(NIGHTLY, flyte.Trigger.weekly(name="weekly", inputs={"shop": "airport"})))
async def order(shop: str, now: datetime = datetime(2026, 1, 1, tzinfo=timezone.utc), days: int = 7) -> str:
    """Order what a shop will sell.

    Args:
        shop: the shop's name.
        now: when the order is written.
        days: how many days of sales the forecast looks at.

    Returns:
        The order, one line.
    """
    return f"{now:%Y-%m-%d} {shop}: {await forecast(shop, days):.0f} pieces"


@ordering_env.task(
    triggers=QUARTERLY,
    docs=flyte.Documentation(description="Compare a shop's best day with its mean day."),
    timeout=120,
)
async def peak(shop: str) -> float:
    """Return how much better the best day was than the mean one, as a factor."""
    pieces = await pieces_sold(shop)
    best = await greatest(counts=",".join(str(count) for count in pieces))
    return best / await weekly_mean(pieces)


@ordering_env.task
async def letter(shop: str) -> str:
    """Return the letter to the wholesaler."""
    first_line = await greeting(shop=shop, pieces=round(await forecast(shop)))
    return f"{first_line.strip()}\n{await order(shop)}"
