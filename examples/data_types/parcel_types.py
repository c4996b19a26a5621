"""What a parcel is: the types that tasks take and return."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Literal

from pydantic import BaseModel, Field


class Service(Enum):
    """How fast a parcel travels."""

    STANDARD = "standard"
    EXPRESS = "express"


Unit = Literal["kg", "lb"]
"""Units of mass."""


@dataclass
class Parcel:
    """A parcel; `weight` in kilograms, `size` in centimetres."""

    number: str
    weight: float
    size: list[int] = field(default_factory=lambda: [30, 20, 10])
    fragile: bool = False


@dataclass
class Route:
    """A parcel and the depots that it passes."""

    parcel: Parcel
    depots: list[str]


class Address(BaseModel):
    """Where a parcel goes."""

    name: str
    town: str
    country: str = "DE"


class Booking(BaseModel):
    """An order to carry a parcel."""

    address: Address
    picked_up: datetime
    takes: timedelta = timedelta(days=2)
    notes: list[str] = Field(default_factory=list)
