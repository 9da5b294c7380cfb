"""Schemas and records made for tests: every type that is read, random flat schemas, and values at their edges.

Records are what lies on the wire: dates are days, decimals are bytes. fastavro writes them, by the schema without its
logical types, so what the decoder reads was not written by code of ours.
"""

import io
import json
import random
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import fastavro

from streams.contracts import Contract, Field
from tests.avro.strict_reader import DAY_MS, DAYS, INSTANT_MS, shortest

FLIGHTS: dict[str, Any] = json.loads(Path("schemas/flights/request.v1.avsc").read_text())
RESULT: dict[str, Any] = json.loads(Path("schemas/result.avsc").read_text())

TYPES: list[Any] = [
    *("boolean", "int", "long", "float", "double", "string", "bytes"),
    {"type": "fixed", "name": "Five", "size": 5},
    {"type": "enum", "name": "Cabin", "symbols": ["UNKNOWN", "ECONOMY", "FIRST"], "default": "UNKNOWN"},
    {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
    {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 10},
    {"type": "fixed", "name": "Fare", "size": 3, "logicalType": "decimal", "precision": 6, "scale": 6},
    {"type": "fixed", "name": "Wide", "size": 16, "logicalType": "decimal", "precision": 38},
    {"type": "int", "logicalType": "date"},
    {"type": "int", "logicalType": "time-millis"},
    {"type": "long", "logicalType": "time-micros"},
    {"type": "long", "logicalType": "timestamp-millis"},
    {"type": "long", "logicalType": "timestamp-micros"},
    {"type": "long", "logicalType": "local-timestamp-millis"},
    {"type": "long", "logicalType": "local-timestamp-micros"},
    {"type": "string", "logicalType": "uuid"},
    {"type": "fixed", "name": "Uuid", "size": 16, "logicalType": "uuid"},
    {"type": "long", "logicalType": "timestamp-parsecs"},
]
"""Every type that is read, the last with a logical type that nobody knows."""


def record(*types: Any, **properties: Any) -> dict[str, Any]:
    """Return a record schema with fields f0, f1, … of these types."""
    fields = [{"name": f"f{index}", "type": each} for index, each in enumerate(types)]
    return {"type": "record", "name": "Made", "namespace": "made.v1", "fields": fields, **properties}


EVERY_TYPE = record(*TYPES)
NULL_FIRST = record(*(["null", each] for each in TYPES))
NULL_SECOND = record(*([each, "null"] for each in TYPES))


def inner(name: str, *types: Any) -> dict[str, Any]:
    """Return a record to lie in another."""
    return {**record(*types), "name": name}


NESTED = record(
    "int",
    inner("Person", "string", ["null", "double"], inner("Place", ["long", "null"], TYPES[9], TYPES[8]), "boolean"),
    "string",
    "Person",
    ["null", "made.v1.Cabin"],
    inner("Other", inner("Only", "float")),
)
"""Records in records, one type used twice, named types that are defined in one and used in another."""


VECTORS = record(
    "string",
    {"type": "array", "items": "double", "length": 3},
    ["null", {"type": "array", "items": "float", "length": 20}],
    [{"type": "array", "items": "double", "length": 1}, "null"],
    "int",
    {"type": "array", "items": "float", "length": 24},
)


def random_schema(rng: random.Random) -> dict[str, Any]:
    """Return a record of up to 12 fields; a named type is defined once and then referred to."""
    defined: set[str] = set()
    types: list[Any] = []
    for _ in range(rng.randrange(13)):
        each = rng.choice(TYPES)
        if isinstance(each, dict) and "name" in each:
            name = each["name"]
            each = rng.choice([name, f"made.v1.{name}"]) if name in defined else each
            defined.add(name)
        types.append(rng.choice([each, ["null", each], [each, "null"]]))
    return record(*types)


def random_record(contract: Contract, rng: random.Random) -> dict[str, Any]:
    """Return one record of legal values, many of them at an edge."""
    return {field.name: random_value(field, rng) for field in contract.fields}


def random_value(field: Field, rng: random.Random) -> Any:
    """Return one legal value as it lies on the wire, or None where the field may be null."""
    if field.null_branch is not None and rng.random() < 0.3:
        return None
    match field.logical or field.kind:
        case "vector":
            number = field._replace(kind="float" if field.items == "float" else "double", null_branch=None)
            return [random_value(number, rng) for _ in range(field.size)]
        case "boolean":
            return rng.random() < 0.5
        case "enum":
            return rng.choice(field.symbols)
        case "float":
            return struct.unpack("<f", rng.choice([struct.pack("<f", rng.uniform(-9, 9)), rng.randbytes(4)]))[0]
        case "double":
            return rng.choice([0.0, -0.0, rng.uniform(-1e6, 1e6), struct.unpack("<d", rng.randbytes(8))[0]])
        case "string":
            return random_text(rng)
        case "bytes":
            return rng.randbytes(rng.choice([0, 1, 7, 8, 9, 40]))
        case "fixed":
            return rng.randbytes(field.size)
        case "decimal":
            most = 10**field.precision - 1
            number = rng.choice([0, -1, 127, 128, -128, -129, most, -most, rng.randint(-most, most)])
            return number.to_bytes(field.size, "big", signed=True) if field.kind == "fixed" else shortest(number)
        case "uuid":
            raw = rng.randbytes(16)
            return raw if field.kind == "fixed" else rng.choice(["{}", "{}".upper()]).format(_uuid(raw))
        case "int":
            return _near(rng, -(1 << 31), (1 << 31) - 1)
        case "long":
            return _near(rng, -(1 << 63), (1 << 63) - 1)
        case "date":
            return _near(rng, *DAYS)
        case "time-millis" | "time-micros":
            return _near(rng, 0, DAY_MS * (1000 if field.logical == "time-micros" else 1) - 1)
        case str(instant) if instant.endswith("-millis"):
            return _near(rng, *INSTANT_MS)
        case _:
            return _near(rng, INSTANT_MS[0] * 1000, INSTANT_MS[1] * 1000 + 999)


def random_text(rng: random.Random) -> str:
    """Return a text of up to 300 characters: often short, sometimes not ASCII."""
    alphabet = rng.choice(
        ["ABC019", "abc-xyz ", "aé", "Жшя", "日本", "a🛫\0", "\x7f\x80\u07ff\u0800\uffff\U00010000\U0010ffff"]
    )
    return "".join(rng.choices(alphabet, k=rng.choice([0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 33, 63, 64, 65, 66, 300])))


def wire_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return fastavro's parsed schema without logical types: values stay what they are on the wire."""

    def plain(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: plain(value) for key, value in node.items() if key != "logicalType"}
        return [plain(item) for item in node] if isinstance(node, list) else node

    return cast(dict[str, Any], fastavro.parse_schema(plain(schema)))


def datum(parsed: Mapping[str, Any], values: Mapping[str, Any]) -> bytes:
    """Return a record as fastavro writes it; `parsed` is from `wire_schema`, names are dotted."""
    out, nested = io.BytesIO(), dict[str, Any]()
    for name, value in values.items():
        *path, last = name.split(".")
        place = nested
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    fastavro.schemaless_writer(out, dict(parsed), nested)
    return out.getvalue()


def read_back(parsed: Mapping[str, Any], data: bytes) -> dict[str, Any]:
    """Return a record as fastavro reads it, its names dotted."""
    return dict(_flat(cast(dict[str, Any], fastavro.schemaless_reader(io.BytesIO(data), dict(parsed), None))))


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _near(rng: random.Random, least: int, largest: int) -> int:
    """Return a number in the range: an edge, a small one, one of any size, or any."""
    wanted = rng.choice([least, largest, rng.randint(-70, 70), rng.randint(-(1 << rng.randrange(1, 64)), 1 << rng.randrange(1, 64)), rng.randint(least, largest)])  # fmt: skip
    return max(least, min(largest, wanted))


def _uuid(raw: bytes) -> str:
    text = raw.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def random_flight(rng: random.Random, index: int) -> dict[str, Any]:
    """Return a request like those of the bench job: 64 to 90 bytes."""
    maybe = [rng.choice([None, round(rng.uniform(-5, 90), 1)]) for _ in range(5)]
    weather = ("dep_delay", "temp", "wind_speed", "precip", "visib")
    return {
        "request_id": f"ask-2013-03-01-{index:09d}",
        "tenant": "acme",
        "event_time": 1_362_000_000_000 + index * 1000,
        "carrier": rng.choice(["UA", "AA", "B6"]),
        "origin": rng.choice(["EWR", "JFK", "LGA"]),
        "dest": rng.choice(["LAX", "ORD", "BOS"]),
        "distance": float(rng.randrange(80, 5000)),
        "hour": rng.randrange(24),
        **dict(zip(weather, [None if value is None else abs(value) for value in maybe], strict=True)),
        "trace": None,
    }


def timed(what: Callable[[], Any]) -> float:
    """Return the seconds that a call takes: the best of five."""
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        what()
        seconds.append(time.perf_counter() - began)
    return min(seconds)
