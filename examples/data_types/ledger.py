"""The day's parcels as tables: the place to start."""

import flyte
import flyte.io
import pandas as pd

from booking import booking_env, postage
from papers import label, number_on, papers_env
from parcel_types import Parcel, Service

ledger_env = flyte.TaskEnvironment(
    name="parcel_ledger",
    image="ghcr.io/flyteorg/flyte:py3.13-v2.12.1",
    depends_on=[booking_env, papers_env],
    description="Keeps the ledger.",
)


@ledger_env.task
async def ledger(parcels: list[Parcel], service: Service = Service.STANDARD) -> pd.DataFrame:
    """Return a row for each parcel: its number, weight in kilograms and postage in cents."""
    return pd.DataFrame(
        {
            "number": [await number_on(await label(parcel)) for parcel in parcels],
            "weight": [parcel.weight for parcel in parcels],
            "postage": [await postage(parcel, service) for parcel in parcels],
        }
    )


@ledger_env.task
async def heavy(table: pd.DataFrame, over: float = 10.0) -> pd.DataFrame:
    """Return the rows of the parcels heavier than `over` kilograms."""
    return table[table["weight"] > over]


@ledger_env.task
async def stored(table: pd.DataFrame) -> flyte.io.DataFrame:
    """Return the ledger as Flyte's own kind of table, which is not read before somebody opens it."""
    return flyte.io.DataFrame.from_df(table)


@ledger_env.task
async def takings(table: flyte.io.DataFrame) -> int:
    """Return the sum of the postage, in cents."""
    frame = await table.open(pd.DataFrame).all()
    return int(frame["postage"].sum())
