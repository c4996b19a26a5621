"""How far places are apart."""

from math import asin, cos, radians, sin, sqrt

import flyte

from fleet_geo import IMAGE
from fleet_geo.points import Point

distances_env = flyte.TaskEnvironment(name="fleet_geo_distances", image=IMAGE, cache="auto")


@distances_env.task
async def distance(start: Point, end: Point, radius: float = 6371.0) -> float:
    """Return the great-circle distance, in kilometres."""
    lat_a, lat_b = radians(start.latitude), radians(end.latitude)
    half = (
        sin((lat_b - lat_a) / 2) ** 2
        + cos(lat_a) * cos(lat_b) * sin(radians(end.longitude - start.longitude) / 2) ** 2
    )
    return 2 * radius * asin(sqrt(half))


@distances_env.task
async def nearest(start: Point, others: list[Point]) -> Point:
    """Return the point that is nearest."""
    distances = [await distance(start, other) for other in others]
    return others[distances.index(min(distances))]


@distances_env.task
async def travel_time(kilometres: float, speed: float = 40.0) -> float:
    """Return how long a van takes, in minutes; `speed` is in kilometres an hour."""
    return kilometres / speed * 60
