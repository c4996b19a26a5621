"""Book a parcel: plain values, enumerations, dataclasses and pydantic models."""

from datetime import datetime, timedelta, timezone
from typing import Optional, Union

import flyte

from parcel_types import Address, Booking, Parcel, Route, Service, Unit

booking_env = flyte.TaskEnvironment(
    name="parcel_booking",
    image="ghcr.io/flyteorg/flyte:py3.13-v2.12.1",
    description="Books parcels.",
)


@booking_env.task
async def in_kilograms(weight: float, unit: Unit = "kg") -> float:
    """Return a mass in kilograms."""
    return weight if unit == "kg" else round(weight * 0.45359237, 3)


@booking_env.task
async def postage(parcel: Parcel, service: Service = Service.STANDARD) -> int:
    """Return what a parcel costs, in cents."""
    base = 500 + round(parcel.weight * 100) + (300 if parcel.fragile else 0)
    return base * 2 if service is Service.EXPRESS else base


@booking_env.task
async def choose_service(urgent: bool = False) -> Service:
    """Return the service for a parcel."""
    return Service.EXPRESS if urgent else Service.STANDARD


@booking_env.task
async def travel_time(country: str, rest: timedelta = timedelta(hours=8)) -> timedelta:
    """Return how long a parcel travels, one night's rest at the depot included."""
    return rest + (timedelta(days=1) if country == "DE" else timedelta(days=3))


@booking_env.task
async def book(
    name: str,
    town: str,
    picked_up: datetime = datetime(2026, 1, 1, 9, 30, tzinfo=timezone.utc),
    note: Optional[str] = None,
) -> Booking:
    """Return a booking, picked up by default on the first day of business of 2026."""
    address = Address(name=name, town=town)
    return Booking(address=address, picked_up=picked_up, notes=[note] if note else [])


@booking_env.task
async def arrival(booking: Booking) -> datetime:
    """Return when a booked parcel arrives."""
    return booking.picked_up + booking.takes


@booking_env.task
async def reference(number: Union[int, str] = 1) -> str:
    """Return a parcel's number the way it is printed."""
    return f"P-{number:06d}" if isinstance(number, int) else number.upper()


@booking_env.task
async def route(parcel: Parcel, depots: list[str] = ["Hamburg", "Kassel"]) -> Route:  # noqa: B006
    """Return a parcel with its depots. Flyte copies the default for each run."""
    return Route(parcel=parcel, depots=depots)


@booking_env.task
async def volume_and_girth(parcel: Parcel) -> tuple[int, int]:
    """Return the volume in cubic centimetres and the girth in centimetres."""
    length, width, height = sorted(parcel.size, reverse=True)
    return length * width * height, length + 2 * (width + height)


@booking_env.task
async def surcharges(fees: dict[str, int] = {"fuel": 120}, island: bool = False) -> dict[str, int]:  # noqa: B006
    """Return the surcharges in cents, by name."""
    return {**fees, "island": 900} if island else fees
