"""The columnar decoder: each malformation by name, the shapes of what it returns, its memory and its speed."""

import random
import resource
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streams.avro import schema
from streams.avro.decode import SHOWN, WHY, decode, show, slices, text
from streams.contracts import Decoded, Numbers, Spans
from tests.avro import made
from tests.avro.strict_reader import varint
from tests.avro.test_mutations import outcome, outcomes, read

STATM = Path("/proc/self/statm")
FRAME = b"\x00\x00\x00\x00\x07"
ENUM = made.TYPES[8]
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}
WIDE = {"type": "bytes", "logicalType": "decimal", "precision": 20}
FIXED_DECIMAL = {"type": "fixed", "name": "D", "size": 2, "logicalType": "decimal", "precision": 4}
ENDS, BEYOND, ENDLESS = WHY[1], WHY[3], WHY[2]
UTF8 = "the text is not valid UTF-8"
RANGE = "the date or time is out of range"
DIGITS = "the decimal has more digits than its precision"


def logical(kind: str, name: str) -> dict[str, str]:
    return {"type": kind, "logicalType": name}


MALFORMED: list[tuple[str, Any, bytes, int, str]] = [
    ("varint of 11 bytes", "long", b"\x80" * 10 + b"\x00", 0, ENDLESS),
    ("varint of 6 bytes for an int", "int", b"\x80" * 5 + b"\x00", 0, ENDLESS),
    ("int of 33 bits", "int", b"\xff\xff\xff\xff\x1f", 0, BEYOND),
    ("long of 65 bits", "long", b"\xff" * 9 + b"\x03", 0, BEYOND),
    ("union index 2", ["null", "int"], varint(2) + b"\x00", 0, WHY[4]),
    ("union index 3", ["null", "int"], varint(3) + b"\x00", 0, WHY[4]),
    ("union index -1", ["int", "null"], varint(-1) + b"\x00", 0, WHY[4]),
    ("union index -2", ["int", "null"], varint(-2) + b"\x00", 0, WHY[4]),
    ("union index 2**31 - 1", ["int", "null"], varint(2**31 - 1), 0, WHY[4]),
    ("union index 2**32", ["int", "null"], varint(2**32), 0, BEYOND),
    ("boolean 2", "boolean", b"\x02", 0, WHY[5]),
    ("boolean 255 in a union", ["null", "boolean"], b"\x02\xff", 1, WHY[5]),
    ("enum -1", ENUM, varint(-1), 0, WHY[6]),
    ("enum too large", ENUM, varint(3), 0, WHY[6]),
    ("enum of 33 bits", ENUM, varint(2**32), 0, BEYOND),
    ("length -1", "string", varint(-1), 0, WHY[7]),
    ("length -2**63", "bytes", varint(-(2**63)), 0, WHY[7]),
    ("length 2**60", "string", varint(2**60), 0, WHY[8]),
    ("length 2**63 - 1", ["null", "bytes"], b"\x02" + varint(2**63 - 1), 1, WHY[8]),
    ("length one too large", "bytes", varint(4), 0, WHY[8]),
    ("UTF-8: a lone continuation", "string", b"\x04a\x80", 2, UTF8),
    ("UTF-8: cut short", "string", b"\x06a\xe2\x82", 2, UTF8),
    ("UTF-8: cut short by a letter", "string", b"\x06\xe2\x82a", 1, UTF8),
    ("UTF-8: slash in two bytes", "string", b"\x04\xc0\xaf", 1, UTF8),
    ("UTF-8: NUL in two bytes", "string", b"\x04\xc0\x80", 1, UTF8),
    ("UTF-8: euro in four bytes", "string", b"\x08\xf0\x82\x82\xac", 1, UTF8),
    ("UTF-8: a surrogate", "string", b"\x06\xed\xa0\x80", 1, UTF8),
    ("UTF-8: U+110000", "string", b"\x08\xf4\x90\x80\x80", 1, UTF8),
    ("UTF-8: 0xFF", "string", b"\x02\xff", 1, UTF8),
    ("UTF-8: the 10th byte", "string", b"\x14" + b"a" * 9 + b"\xc3", 10, UTF8),
    ("UTF-8: the 70th byte", "string", varint(72) + b"a" * 69 + b"\xc3aa", 71, UTF8),
    ("decimal of no bytes", DECIMAL, b"\x00", 1, WHY[10]),
    ("decimal of no bytes in a union", ["null", DECIMAL], b"\x02\x00", 2, WHY[10]),
    ("decimal of 10,000", DECIMAL, b"\x04" + (10_000).to_bytes(2, "big"), 1, DIGITS),
    ("decimal of -10,000", DECIMAL, b"\x04" + (-10_000).to_bytes(2, "big", signed=True), 1, DIGITS),
    ("decimal of 2**63", DECIMAL, b"\x12" + (2**63).to_bytes(9, "big"), 1, DIGITS),
    ("decimal of 10**20", WIDE, b"\x12" + (10**20).to_bytes(9, "big"), 1, DIGITS),
    ("fixed decimal of -10,000", FIXED_DECIMAL, (-10_000).to_bytes(2, "big", signed=True), 0, DIGITS),
    ("date of year 10000", logical("int", "date"), varint(2_932_897), 0, RANGE),
    ("date of year 0", logical("int", "date"), varint(-719_163), 0, RANGE),
    ("time of 24:00", logical("int", "time-millis"), varint(86_400_000), 0, RANGE),
    ("time of -1 ms", logical("int", "time-millis"), varint(-1), 0, RANGE),
    ("time of 24:00 in µs", logical("long", "time-micros"), varint(86_400_000_000), 0, RANGE),
    ("timestamp of year 10000", logical("long", "timestamp-millis"), varint(253_402_300_800_000), 0, RANGE),
    ("timestamp of year 0", logical("long", "timestamp-millis"), varint(-62_135_596_800_001), 0, RANGE),
    ("timestamp in ns", logical("long", "timestamp-micros"), varint(1_700_000_000_000_000_000), 0, RANGE),
    ("local timestamp of year 10000", ["null", logical("long", "local-timestamp-millis")], b"\x02" + varint(253_402_300_800_000), 1, RANGE),
    ("local timestamp in ns", logical("long", "local-timestamp-micros"), varint(1_700_000_000_000_000_000), 0, RANGE),
    ("UUID without dashes", logical("string", "uuid"), varint(32) + b"0" * 32, 1, WHY[13]),
    ("UUID with a letter", logical("string", "uuid"), varint(36) + b"0000000g-0000-0000-0000-000000000000", 1, WHY[13]),
    ("UUID with a dash moved", logical("string", "uuid"), varint(36) + b"0000000-00000-0000-0000-000000000000", 1, WHY[13]),
    ("UUID of no bytes", logical("string", "uuid"), b"\x00", 1, WHY[13]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "field", "at", "why"), [row[1:] for row in MALFORMED], ids=[row[0] for row in MALFORMED]
)
def test_a_malformed_field_is_named_with_its_byte_and_its_neighbours_are_whole(
    kind: Any, field: bytes, at: int, why: str, seed: int
) -> None:
    """Field and byte are exact (bytes count from behind the framing); the rows around it keep every value."""
    contract = schema.parse(made.record("int", kind, "string"))
    wire = made.wire_schema(contract.schema)
    rng = random.Random(seed)
    before, behind = (made.datum(wire, made.random_record(contract, rng)) for _ in range(2))
    bad = varint(-3) + field + varint(2) + b"ok"
    decoded = decode(contract, [FRAME + datum for datum in (before, bad, behind)])
    first, found, last = outcomes(decoded)
    assert (1, 1 + at, why) == found
    assert [outcome(read(contract, before)), outcome(read(contract, behind))] == [first, last]


@pytest.mark.parametrize(
    ("kind", "whole", "at"),
    [
        ("boolean", b"\x01", 0),
        ("int", b"\x80\x01", 0),
        ("long", b"\xff" * 9 + b"\x01", 0),
        ("float", bytes(4), 0),
        ("double", bytes(8), 0),
        ({"type": "fixed", "name": "F", "size": 5}, bytes(5), 0),
        (ENUM, b"\x02", 0),
        (["null", "double"], b"\x02" + bytes(8), 1),
        (["double", "null"], b"\x82\x00", 0),
        ("string", b"\x80\x01" + b"a" * 64, 0),
    ],
)
def test_a_datum_that_ends_too_early_is_malformed_where_the_value_begins(kind: Any, whole: bytes, at: int) -> None:
    """Also when the bytes that follow, which are another row's, would complete it."""
    contract = schema.parse(made.record("int", kind))
    cut = [b"\x02" + whole[:end] for end in range(len(whole))]
    decoded = decode(contract, [part for datum in cut for part in (FRAME + datum, FRAME + b"\x02" + whole)])
    alone = outcome(read(contract, b"\x02" + whole))
    for end, (found, neighbour) in enumerate(zip(outcomes(decoded)[::2], outcomes(decoded)[1::2], strict=True)):
        expected = WHY[8] if kind == "string" and end >= 2 else ENDS
        assert (1, 1 + min(at, end), expected) == found, f"{end} bytes"
        assert alone == neighbour


def test_what_is_left_over_is_malformed_behind_the_last_field() -> None:
    """A trailing byte is no part of any field; a value shorter than its framing has no datum at all."""
    contract = schema.parse(made.record("int", "string"))
    decoded = decode(contract, [FRAME + b"\x02\x02a", FRAME + b"\x02\x02ab", FRAME[:3], b"", FRAME])
    expected = [(2, 3, WHY[14]), (2, 0, ENDS), (2, 0, ENDS), (0, 0, ENDS)]
    assert expected == outcomes(decoded)[1:]
    assert [False, True, True, True, True] == decoded.bad.tolist()


@pytest.mark.parametrize("size", range(1, 11))
def test_a_varint_may_be_longer_than_it_need_be(size: int) -> None:
    """Non-minimal varints are legal wherever a varint is: same values, and `minimal` says so."""
    contract = schema.parse(made.record("long", ["null", "string"], made.TYPES[8], "int"))
    wide = min(size, 5)
    datum = (
        stretched(-3, size) + stretched(1, wide) + stretched(2, size) + b"ok" + stretched(2, wide) + stretched(-5, wide)
    )
    short = varint(-3) + varint(1) + varint(2) + b"ok" + varint(2) + varint(-5)
    decoded = decode(contract, [short, datum, short], skip=0)
    assert [[-3] * 3, [2] * 3, [-5] * 3] == [numbers(decoded, name).values.tolist() for name in ("f0", "f2", "f3")]
    assert [b"ok"] * 3 == slices(decoded, "f1")
    assert [True, size == 1, True] == decoded.minimal.tolist()
    assert not decoded.bad.any()


def stretched(number: int, size: int) -> bytes:
    short = varint(number)
    if len(short) == size:
        return short
    return short[:-1] + bytes([short[-1] | 0x80]) + b"\x80" * (size - len(short) - 1) + b"\x00"


def numbers(decoded: Decoded, name: str) -> Numbers:
    column = decoded.columns[name]
    assert isinstance(column, Numbers)
    return column


@pytest.mark.parametrize("world", [made.FLIGHTS, made.EVERY_TYPE, made.NULL_FIRST, made.NULL_SECOND, made.record()])
@pytest.mark.parametrize("rows", [0, 1, 3])
def test_what_fastavro_writes_is_read_back(world: dict[str, Any], rows: int, seed: int) -> None:
    """Legal records of every type come back whole: no rows and no fields at all included."""
    contract, wire, rng = schema.parse(world), made.wire_schema(world), random.Random(seed)
    for _ in range(30):
        records = [made.random_record(contract, rng) for _ in range(rows)]
        decoded = decode(contract, [FRAME + made.datum(wire, record) for record in records])
        assert rows == len(decoded.start)
        assert not decoded.bad.any()
        assert decoded.minimal.all()
        assert (len(contract.fields) + 1, rows) == decoded.edges.shape
        for field in contract.fields:
            column = decoded.columns[field.name]
            expected = [record[field.name] for record in records]
            assert (field.null_branch is None) == (column.null is None)
            found: list[Any]
            if isinstance(column, Spans):
                found = slices(decoded, field.name)
                expected = [value.encode() if isinstance(value, str) else value for value in expected]
            else:
                null = column.null if column.null is not None else np.zeros(rows, np.bool_)
                found = [None if n else v for n, v in zip(null.tolist(), column.values.tolist(), strict=True)]
                if field.kind == "enum":
                    found = [None if value is None else field.symbols[value] for value in found]
            assert list(map(repr, map(plain, expected))) == list(map(repr, map(plain, found))), field.name


def plain(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value


def test_a_null_is_zero_and_a_bad_row_is_zero_in_every_column() -> None:
    """Nobody can take what lies beside a null, or behind a failure, for a value."""
    two = {"type": "fixed", "name": "F", "size": 2}
    contract = schema.parse(made.record(["null", "double"], ["string", "null"], ["null", two], "int"))
    whole = b"\x02" + struct.pack("<d", 7.5) + b"\x00\x02x\x02ab\x05"
    nulls = b"\x00\x02\x00\x05"
    decoded = decode(contract, [nulls, whole, whole[:-1], nulls[:-1]], skip=0)
    assert [False, False, True, True] == decoded.bad.tolist()
    assert [False, False] == decoded.minimal[2:].tolist()
    assert [0.0, 7.5, 0.0, 0.0] == numbers(decoded, "f0").values.tolist()
    assert [None, b"x", b"", b""] == slices(decoded, "f1")
    assert [None, b"ab", b"", b""] == slices(decoded, "f2")
    assert [-3, -3, 0, 0] == numbers(decoded, "f3").values.tolist()
    for name, size in (("f1", 1), ("f2", 2)):
        column = decoded.columns[name]
        assert isinstance(column, Spans)
        assert [0, size, 0, 0] == column.length.tolist()


def test_two_halves_of_a_letter_are_two_bad_texts() -> None:
    """The row behind does not complete what this one began."""
    contract = schema.parse(made.record("string"))
    decoded = decode(contract, [b"\x06a\xe2\x82", b"\x04\xacb"], skip=0)
    assert [(0, 2, UTF8), (0, 1, UTF8)] == outcomes(decoded)


def test_values_are_shown_in_one_printable_line() -> None:
    """Whatever a sender wrote, a sentence stays short, on one line, and in the words of the logical type."""
    types = [*made.TYPES[:10], *made.TYPES[13:22], ["null", "int"]]
    values = [True, -3, 1 << 40, 0.5, float("nan"), 'a"\n\x1b' + "é" * 100, b"\x01\xff", b"12345", "FIRST", b"\xfb\x2e", 0, 1, 1, 1, 1, 1, 1, "0" * 8 + "-0000-0000-0000-" + "0" * 12, b"\x07" * 16, None]  # fmt: skip
    contract = schema.parse(made.record(*types))
    record = {f"f{index}": value for index, value in enumerate(values)}
    decoded = decode(contract, [made.datum(made.wire_schema(contract.schema), record)], skip=0)
    shown = [show(decoded, field.name, 0) for field in contract.fields]
    assert ["true", "-3", "1099511627776", "0.5", "nan"] == shown[:5]
    assert shown[5].startswith('"a\\"\\n\\u001b\\u00e9')
    assert (SHOWN, "…") == (len(shown[5]), shown[5][-1])
    assert ["0x01ff", "0x3132333435", "FIRST", "-12.34", "1970-01-01", "00:00:00.001000", "00:00:00.000001"] == shown[
        6:13
    ]
    assert ["1970-01-01T00:00:00.001000Z", "1970-01-01T00:00:00.000001Z"] == shown[13:15]
    assert ["1970-01-01T00:00:00.001000", "1970-01-01T00:00:00.000001"] == shown[15:17]
    assert "null" == shown[-1]
    assert record["f5"] == text(decoded, "f5", 0)
    with pytest.raises(TypeError):
        slices(decoded, "f1")


@pytest.mark.parametrize("letters", ["a" * 500, "a" * 496 + "🛫"])
@pytest.mark.parametrize("fields", [1, 20])
@pytest.mark.parametrize("damage", [b"", b"\xff" * 12])
def test_memory_is_bounded_by_bytes_and_rows(letters: str, fields: int, damage: bytes) -> None:
    """No declared length, no text and no number of failures makes the decoder need more than its stated limit.

    The limit: 8 × bytes + 64 bytes × rows × (fields + 4). Eight, because text that is not ASCII is checked by decoding it,
    and Python may need four bytes a letter for that.
    """
    contract = schema.parse(made.record(*["string"] * fields))
    text = letters.encode()
    rows = [FRAME + (varint(len(text)) + text) * fields + damage] * 500 + [FRAME + varint(2**60)] * 500
    size = sum(map(len, rows))
    tracemalloc.start()
    try:
        decode(contract, rows)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    print(f"{size} bytes, {len(rows)} rows of {fields} fields: peak {peak / size:.1f} × bytes")
    assert peak < 8 * size + 64 * len(rows) * (fields + 4)


def test_speed_of_decoding(seed: int) -> None:
    """Printed, never judged: µs a record of the flights request, batches of 10,000."""
    contract, wire, rng = schema.parse(made.FLIGHTS), made.wire_schema(made.FLIGHTS), random.Random(seed)
    values = [FRAME + made.datum(wire, made.random_flight(rng, index)) for index in range(10_000)]
    best = made.timed(lambda: decode(contract, values))
    decoded = decode(contract, values)
    cut = made.timed(lambda: slices(decoded, "request_id"))
    print(f"decode {best * 100:.3f} µs a record of {len(values[0]) - 5} bytes; slices {cut * 100:.3f} µs a row")
    assert not decoded.bad.any()


@pytest.mark.skipif(not STATM.exists(), reason="resident memory is read from /proc")
def test_room_for_vectors_is_touched_only_where_there_are_numbers() -> None:
    """10,000 damaged rows of a contract with 4,096 numbers: what is in memory afterwards is not 330 MB."""
    contract = schema.parse(made.record("int", {"type": "array", "items": "float", "length": 4096}))
    before = resident_mb()
    decoded = decode(contract, [b"\x02\x02"] * 10_000, skip=0)
    assert decoded.bad.all()
    assert resident_mb() - before < 50


def resident_mb() -> float:
    """Return what of this process is in memory now."""
    return int(STATM.read_text().split()[1]) * resource.getpagesize() / 1_000_000
