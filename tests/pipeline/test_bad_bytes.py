"""Each way in which a datum can be malformed, between good neighbours whose answers are compared in full."""

import json
import struct
from typing import Any

import numpy as np
import pytest

from streams.avro.acceptance import judge
from streams.avro.id_cache import Remembered
from streams.avro.schema import SchemaRefused, parse
from streams.contracts import Reading, Snapshot, Unreadable
from streams.reasons import Reason
from tests.pipeline import world
from tests.pipeline.world import LANE, AmountModel, Sent, app, run

NUMBER = 40
FIELDS: list[dict[str, Any]] = [
    {"name": "request_id", "type": "string", "role": "request_id"},
    {"name": "amount", "type": "double"},
    {"name": "purpose", "type": ["null", "string"]},
    {"name": "count", "type": "int"},
    {"name": "total", "type": "long"},
    {"name": "flag", "type": "boolean"},
    {"name": "colour", "type": {"type": "enum", "name": "Colour", "symbols": ["RED", "BLUE"]}},
    {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}},
    {"name": "at", "type": {"type": "int", "logicalType": "time-millis"}},
    {"name": "when", "type": {"type": "long", "logicalType": "timestamp-millis"}},
]
SCHEMA = {"type": "record", "name": "Wide", "fields": FIELDS}
WIDE = parse(SCHEMA)
PIECES = {
    "request_id": b"\x06bad",
    "amount": struct.pack("<d", 10.0),
    "purpose": b"\x00",
    "count": b"\x02",
    "total": b"\x02",
    "flag": b"\x01",
    "colour": b"\x02",
    "price": b"\x02\x64",
    "at": b"\x02",
    "when": b"\x02",
}
FRAME = b"\0" + NUMBER.to_bytes(4, "big")
ROWS = [
    ("a varint too long", "count", b"\x80" * 10 + b"\x01"),
    ("an int beyond 32 bits", "count", b"\x80\x80\x80\x80\x20"),
    ("a long beyond 64 bits", "total", b"\xff" * 9 + b"\x02"),
    ("union index 2", "purpose", b"\x04"),
    ("union index 3", "purpose", b"\x06"),
    ("union index -1", "purpose", b"\x01"),
    ("boolean 2", "flag", b"\x02"),
    ("enum -1", "colour", b"\x01"),
    ("enum too large", "colour", b"\x04"),
    ("an empty decimal", "price", b"\x00"),
    ("a decimal beyond its precision", "price", b"\x06\x7f\xff\xff"),
    ("a time out of range", "at", b"\x80\xf0\xb2\xa7\x08"),
    ("a timestamp out of range", "when", b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
    ("a length of -1", "request_id", b"\x01"),
    ("a length of 2^60", "request_id", b"\x80\x80\x80\x80\x80\x80\x80\x80\x20"),
    ("text that is not UTF-8", "request_id", b"\x06b\xffd"),
]


class WideModel(AmountModel):
    """The small model, for the wide contract."""

    accepts = (WIDE,)


def value(name: str) -> bytes:
    """Return a good request."""
    return FRAME + b"".join((PIECES | {"request_id": bytes([2 * len(name)]) + name.encode()}).values())


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "AmountModel", WideModel)


SNAPSHOT: Snapshot = {(LANE, NUMBER): Reading(WIDE, WIDE)}
HERE = app(partitions_of=lambda keys, _: np.zeros(len(keys), np.int64))


def among_neighbours(bad: bytes, snapshot: Snapshot = SNAPSHOT) -> dict[str, Any]:
    """Return the terminal record of a bad value; its neighbours' must be what they are without it."""
    before, after = (Sent(value(name), name.encode(), partition=0) for name in ("before", "after"))
    terminals = run([(0, before), (1, Sent(bad, b"bad", partition=0)), (2, after)], snapshot=snapshot, application=HERE)
    found = terminals.pop((0, 1))
    assert run([(0, before), (2, after)], snapshot=snapshot, application=HERE) == terminals
    assert ["SCORED"] * 2 == [record["kind"] for record in terminals.values()]
    return found


@pytest.mark.parametrize(("cause", "field", "piece"), ROWS, ids=[row[0] for row in ROWS])
def test_a_malformed_datum_stops_alone_at_its_field(cause: str, field: str, piece: bytes) -> None:
    """MALFORMED, a dead letter with the original bytes, and the sentence names the field and the byte."""
    pieces = PIECES | {field: piece}
    bad = FRAME + b"".join(pieces.values())
    position = sum(len(PIECES[name]) for name in list(PIECES)[: list(PIECES).index(field)])
    found = among_neighbours(bad)
    assert ("MALFORMED", "dlq", bad) == (found["kind"], found["topic"], found["value"])
    message = found["names"]["__dlq.errors.message"].decode()
    assert f"field {field}" in message
    assert int(message.split("byte ")[1].split(":")[0]) >= position


def test_the_good_datum_is_good() -> None:
    """The table above would prove nothing if its unchanged bytes were refused."""
    assert "SCORED" == among_neighbours(FRAME + b"".join(PIECES.values()))["kind"]


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan")])
def test_numbers_that_are_none_are_out_of_contract(number: float) -> None:
    """NaN and both infinities, unless the contract allows them."""
    bad = FRAME + b"".join((PIECES | {"amount": struct.pack("<d", number)}).values())
    found = among_neighbours(bad)
    assert ("OUT_OF_CONTRACT", "outcome", "amount") == (found["kind"], found["topic"], found["field"])


def test_another_scale_is_another_contract() -> None:
    """Scale 2 → 4 would be a factor of a hundred: NOT_ACCEPTED, answered in outcomes, since the identity is readable."""
    fields = [{**f, "type": {**f["type"], "scale": 4}} if f["name"] == "price" else f for f in FIELDS]
    entry = Remembered(json.dumps({**SCHEMA, "fields": fields}), "AVRO", False, frozenset())
    decided = judge(entry, accepts=(WIDE,), drop_extra_fields=True, nodes_max=1_000)
    snapshot: Snapshot = {**SNAPSHOT, (LANE, 41): decided}
    found = among_neighbours(b"\0" + (41).to_bytes(4, "big") + b"".join(PIECES.values()), snapshot)
    assert ("NOT_ACCEPTED", "outcome") == (found["kind"], found["topic"])


HOSTILE: list[tuple[str, dict[str, Any]]] = [
    ("recursive", {"name": "x", "type": "Wide"}),
    ("fixed of 2^40", {"name": "x", "type": {"type": "fixed", "name": "F", "size": 2**40}}),
    ("array of null", {"name": "x", "type": {"type": "array", "items": "null"}}),
    ("map", {"name": "x", "type": {"type": "map", "values": "int"}}),
    ("precision 50", {"name": "x", "type": {"type": "bytes", "logicalType": "decimal", "precision": 50}}),
]


@pytest.mark.parametrize(("cause", "field"), HOSTILE, ids=[row[0] for row in HOSTILE])
def test_a_hostile_schema_is_refused_and_its_records_are_dead_letters(cause: str, field: dict[str, Any]) -> None:
    """What the registry's room makes of such a schema (`Unreadable`), the pipeline sets aside, neighbours untouched."""
    with pytest.raises(SchemaRefused) as refused:
        parse({**SCHEMA, "fields": [*FIELDS, field]})
    snapshot: Snapshot = {**SNAPSHOT, (LANE, 42): Unreadable(Reason.SCHEMA_REFUSED, None, str(refused.value))}
    found = among_neighbours(b"\0" + (42).to_bytes(4, "big") + b"".join(PIECES.values()), snapshot)
    assert ("SCHEMA_REFUSED", "dlq") == (found["kind"], found["topic"])
    assert str(refused.value) in found["names"]["__dlq.errors.message"].decode()


def test_ten_thousand_fields_are_refused() -> None:
    """The limit on nodes is met before anything is compiled."""
    with pytest.raises(SchemaRefused):
        parse({**SCHEMA, "fields": [*FIELDS, *({"name": f"f{n}", "type": "int"} for n in range(10_000))]})
