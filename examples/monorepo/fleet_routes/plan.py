"""Plans the rounds of a day."""

from itertools import pairwise

import flyte

from fleet_geo import IMAGE
from fleet_geo.distances import distance, distances_env, nearest, travel_time
from fleet_geo.points import Point
from fleet_geo.zones import group_by_zone, zones_env
from fleet_routes.depots import count_vans, depots_env, list_depots, list_stops

plan_env = flyte.TaskEnvironment(
    name="fleet_routes_plan", image=IMAGE, depends_on=[distances_env, zones_env, depots_env]
)


@plan_env.task
async def order_stops(start: Point, stops: list[Point]) -> list[Point]:
    """Go to the nearest stop first, and on from there."""
    left, here, ordered = list(stops), start, []
    while left:
        here = await nearest(here, left)
        left.remove(here)
        ordered.append(here)
    return ordered


@plan_env.task
async def round_length(start: Point, stops: list[Point]) -> float:
    """Return the length of a round, back to its start, in kilometres."""
    places = [start, *stops, start]
    return sum([await distance(a, b) for a, b in pairwise(places)])


@plan_env.task
async def plan_rounds(city: str = "Bern", day: str = "monday") -> dict[str, float]:
    """Plan one round a zone and return how long each takes, in minutes."""
    depots, stops = await list_depots(city), await list_stops(day)
    rounds = {"vans": float(await count_vans(len(stops)))}
    for zone, places in (await group_by_zone(stops)).items():
        depot = await nearest(places[0], depots)
        ordered = await order_stops(depot, places)
        rounds[zone] = await travel_time(await round_length(depot, ordered))
    return rounds
