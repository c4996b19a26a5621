"""Prices from CSV files, which a glob includes."""

import csv
from pathlib import Path

import flyte

prices_env = flyte.TaskEnvironment(
    name="newsletter_prices",
    image="ghcr.io/flyteorg/flyte:py3.13-v2.12.1",
    include=("figures/*.csv",),
    description="Looks up prices and sales.",
)

FIGURES = Path(__file__).parent / "figures"


def rows(table: str) -> list[dict[str, str]]:
    """Return the rows of a table of the folder ``figures``."""
    with (FIGURES / f"{table}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@prices_env.task
async def price_list() -> dict[str, int]:
    """Return prices in cents by article."""
    return {row["article"]: int(row["cents"]) for row in rows("prices")}


@prices_env.task
async def price(article: str) -> float:
    """Return the price of an article, in euros.

    Raises:
        KeyError: the article is not sold here.
    """
    return (await price_list())[article] / 100


@prices_env.task
async def turnover(day: str) -> float:
    """Return the turnover of a day such as ``2026-10-01``, in euros."""
    prices = await price_list()
    cents = sum(prices[row["article"]] * int(row["count"]) for row in rows("sales") if row["day"] == day)
    return cents / 100
