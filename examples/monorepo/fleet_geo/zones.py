"""Which zone a place is in."""

import flyte

from fleet_geo import IMAGE
from fleet_geo.points import Point

zones_env = flyte.TaskEnvironment(name="fleet_geo_zones", image=IMAGE)


@zones_env.task
async def zone_of(point: Point, size: float = 0.05) -> str:
    """Name the square of the map that a point lies in."""
    return f"{int(point.latitude // size)}/{int(point.longitude // size)}"


@zones_env.task
async def group_by_zone(points: list[Point], size: float = 0.05) -> dict[str, list[Point]]:
    """Sort points by zone."""
    zones: dict[str, list[Point]] = {}
    for point in points:
        zones.setdefault(await zone_of(point, size), []).append(point)
    return zones
