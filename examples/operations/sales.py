"""Sales come in: caching, retries, timeouts, secrets and environment variables."""

import os
from datetime import timedelta

import flyte

from common_env import IMAGE

sales_env = flyte.TaskEnvironment(
    name="demand_sales",
    image=IMAGE,
    resources=flyte.Resources(cpu=("250m", 1), memory=("256Mi", "1Gi"), disk="2Gi"),
    env_vars={"LOG_LEVEL": "info", "TILL_URL": "https://till.example.com"},
    secrets=[
        flyte.Secret(key="till-token", as_env_var="TILL_TOKEN"),
        flyte.Secret(key="certificate", group="till", mount="/etc/flyte/secrets"),
    ],
    cache="auto",
    interruptible=True,
    description="Fetches and cleans what the tills sold; may run on machines that go away.",
)


@sales_env.task(
    cache="disable",
    retries=flyte.RetryStrategy(
        count=4, backoff=flyte.Backoff(base=timedelta(seconds=5), factor=2.0, cap=timedelta(minutes=1))
    ),
    timeout=flyte.Timeout(
        max_runtime=timedelta(minutes=5), max_queued_time=timedelta(minutes=30), deadline=timedelta(hours=2)
    ),
)
async def sign_in(shop: str) -> str:
    """Return the address of a shop's till. Asks anew each time, and patiently."""
    if not os.environ.get("TILL_TOKEN"):
        raise RuntimeError("the secret till-token is not there")
    return f"{os.environ.get('TILL_URL', 'https://till.example.com')}/{shop}"


@sales_env.task(timeout=timedelta(minutes=10), retries=2, interruptible=False)
async def pieces_sold(shop: str, days: int = 7) -> list[int]:
    """Return the pieces sold on each of the last days. Does not run on machines that go away."""
    return [20 + (len(shop) * day) % 13 for day in range(days)]


@sales_env.task(cache=flyte.Cache("auto", salt="2026", ignored_inputs=("note",), max_age=timedelta(days=30)))
async def without_holidays(pieces: list[int], note: str = "") -> list[int]:
    """Return the days on which anything was sold. The note does not matter to the cache."""
    return [count for count in pieces if count > 0]


@sales_env.task(cache=flyte.Cache("override", version_override="rounding-2", serialize=True))
async def weekly_mean(pieces: list[int]) -> float:
    """Return the mean of a day. One run works it out, others wait for it."""
    return round(sum(pieces) / len(pieces), 1)
