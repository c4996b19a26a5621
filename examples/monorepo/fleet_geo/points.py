"""Points on a map."""

from dataclasses import dataclass


@dataclass
class Point:
    """A place, in degrees."""

    name: str
    latitude: float
    longitude: float
