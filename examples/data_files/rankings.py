"""Rankings from a query that stands in a file of its own, included by its name."""

import sqlite3
from pathlib import Path

import flyte

from prices import prices_env, rows

rankings_env = flyte.TaskEnvironment(
    name="newsletter_rankings",
    image="ghcr.io/flyteorg/flyte:py3.13-v2.12.1",
    depends_on=[prices_env],
    include=("sql/best_sellers.sql", "figures/sales.csv"),
    description="Ranks articles.",
)

QUERY = Path(__file__).parent / "sql" / "best_sellers.sql"


@rankings_env.task
async def best_sellers(limit: int = 3) -> list[str]:
    """Return the names of the articles sold most, most first."""
    with sqlite3.connect(":memory:") as database:
        database.execute("create table sales (day text, article text, count integer)")
        database.executemany("insert into sales values (:day, :article, :count)", rows("sales"))
        found = database.execute(QUERY.read_text(encoding="utf-8"), {"limit": limit})
        return [article for article, _ in found]


@rankings_env.task
async def best_day() -> str:
    """Return the day on which most pieces were sold."""
    sold: dict[str, int] = {}
    for row in rows("sales"):
        sold[row["day"]] = sold.get(row["day"], 0) + int(row["count"])
    return max(sold, key=lambda day: sold[day])


@rankings_env.task
async def share(article: str) -> float:
    """Return an article's share of all pieces sold, between 0 and 1."""
    counts = [(row["article"], int(row["count"])) for row in rows("sales")]
    return sum(count for name, count in counts if name == article) / sum(count for _, count in counts)
