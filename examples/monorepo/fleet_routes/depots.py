"""Where rounds start, and what is to be delivered."""

import flyte

from fleet_geo import IMAGE
from fleet_geo.points import Point

depots_env = flyte.TaskEnvironment(name="fleet_routes_depots", image=IMAGE)


@depots_env.task
async def list_depots(city: str = "Bern") -> list[Point]:
    """Return the depots of a city."""
    return [Point(f"{city} north", 46.97, 7.44), Point(f"{city} south", 46.92, 7.45)]


@depots_env.task
async def list_stops(day: str = "monday") -> list[Point]:
    """Return the places to deliver to."""
    return [Point(f"{day}-{number}", 46.90 + number / 100, 7.40 + number / 80) for number in range(1, 6)]


@depots_env.task
async def count_vans(stops: int, stops_per_van: int = 3) -> int:
    """Return how many vans are needed."""
    return -(-stops // stops_per_van)
