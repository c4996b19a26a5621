"""Hourly weather readings of a few stations: read, summarised and reported."""

import asyncio
import statistics

import flyte

IMAGE = "ghcr.io/flyteorg/flyte:py3.13-v2.12.1"
STATIONS = ["harbour", "airport", "summit"]

readings_env = flyte.TaskEnvironment(
    name="weather_readings",
    image=IMAGE,
    resources=flyte.Resources(cpu=1, memory="250Mi"),
    description="Reads what stations sent.",
)

summary_env = flyte.TaskEnvironment(
    name="weather_summary",
    image=IMAGE,
    resources=flyte.Resources(cpu=1, memory="500Mi"),
    depends_on=[readings_env],
    description="Turns readings into figures.",
)

report_env = flyte.TaskEnvironment(
    name="weather_report",
    image=IMAGE,
    depends_on=[readings_env, summary_env],
    description="Says what the weather was like.",
)


@readings_env.task
async def fetch_readings(station: str, hours: int = 24) -> list[float]:
    """Return one temperature an hour, in degrees Celsius."""
    offset = len(station)
    return [round(offset + 8 * abs((hour % 24) - 12) / -12 + 8, 1) for hour in range(hours)]


@readings_env.task
async def drop_outliers(readings: list[float], low: float = -40.0, high: float = 60.0) -> list[float]:
    """Leave out what a broken sensor sent."""
    return [reading for reading in readings if low <= reading <= high]


@readings_env.task
async def fill_gaps(readings: list[float], expected: int = 24) -> list[float]:
    """Repeat the last reading until there are as many as expected."""
    if not readings:
        raise ValueError("a station without a single reading cannot be filled up")
    return readings + [readings[-1]] * max(0, expected - len(readings))


@summary_env.task
async def mean_temperature(readings: list[float]) -> float:
    """Return the mean, in degrees Celsius."""
    return round(statistics.fmean(readings), 2)


@summary_env.task
async def temperature_range(readings: list[float]) -> tuple[float, float]:
    """Return the lowest and the highest temperature."""
    return min(readings), max(readings)


@summary_env.task
async def count_frost_hours(readings: list[float], limit: float = 0.0) -> int:
    """Count the hours below the limit."""
    return sum(reading < limit for reading in readings)


@summary_env.task
async def summarise_station(station: str, hours: int = 24) -> dict[str, float]:
    """Read one station and work out its figures."""
    readings = await fill_gaps(await drop_outliers(await fetch_readings(station, hours)), hours)
    mean, (low, high), frost = await asyncio.gather(
        mean_temperature(readings), temperature_range(readings), count_frost_hours(readings)
    )
    return {"mean": mean, "low": low, "high": high, "frost_hours": float(frost)}


@report_env.task
async def render_line(station: str, figures: dict[str, float]) -> str:
    """Render one station as one line of text."""
    return f"{station}: {figures['low']} to {figures['high']} °C, {figures['mean']} on average"


@report_env.task
async def warmest_station(figures: dict[str, dict[str, float]]) -> str:
    """Name the station with the highest mean."""
    return max(figures, key=lambda station: figures[station]["mean"])


@report_env.task
async def frost_warning(figures: dict[str, dict[str, float]], hours: int = 3) -> bool:
    """Say whether any station had more hours of frost than allowed."""
    return any(station["frost_hours"] > hours for station in figures.values())


@report_env.task
async def daily_report(stations: list[str] = STATIONS, hours: int = 24) -> str:
    """Summarise all stations side by side and report on them."""
    with flyte.group("stations"):
        summaries = await asyncio.gather(*(summarise_station(station, hours) for station in stations))
    figures = dict(zip(stations, summaries))
    lines = await asyncio.gather(*(render_line(station, figures[station]) for station in stations))
    warmest, frost = await asyncio.gather(warmest_station(figures), frost_warning(figures))
    return "\n".join([*lines, f"warmest: {warmest}", f"frost: {'yes' if frost else 'no'}"])


if __name__ == "__main__":
    flyte.init_from_config()
    print(flyte.run(daily_report).url)
