"""Equal values give equal bytes, however the sender wrote them; other values give other bytes."""

import random
from typing import Any

import pytest

from streams.avro import schema
from streams.avro.canonical import canonical
from streams.avro.decode import decode
from streams.contracts import Contract, Field
from tests.avro import made, strict_reader
from tests.avro.strict_reader import Real, RealVector, Value, varint
from tests.avro.test_mutations import WORLDS

SHORTEST = schema.parse(made.record("long", ["null", "int"], made.TYPES[9], "string", "boolean", made.TYPES[8]))


def padded(number: int, longest: int, rng: random.Random) -> bytes:
    """Return a varint of the number, perhaps in more bytes than it needs."""
    short = varint(number)
    more = rng.randrange(longest - len(short) + 1)
    return short if not more else short[:-1] + bytes([short[-1] | 0x80]) + b"\x80" * (more - 1) + b"\x00"


def loosely(field: Field, value: Value, rng: random.Random) -> bytes:
    """Return one of the legal encodings of a value."""
    branch = b""
    if field.null_branch is not None:
        branch = padded(field.null_branch if value is None else 1 - field.null_branch, 5, rng)
        if value is None:
            return branch
    match value:
        case RealVector(numbers):
            cut = rng.randrange(len(numbers) + 1)
            parts = [part for part in (numbers[:cut], numbers[cut:]) if part]
            return branch + b"".join(_block(part, rng) for part in parts) + b"\0"
        case bytes() if field.kind in ("string", "bytes"):
            if field.logical == "decimal":
                value = (b"\xff" if value[0] >= 0x80 else b"\x00") * rng.randrange(12) + value
            return branch + padded(len(value), 10, rng) + value
        case int() if field.kind in ("int", "long", "enum"):
            return branch + padded(value, 10 if field.kind == "long" else 5, rng)
        case _:
            return branch + strict_reader.write(field._replace(null_branch=None), value)


def _block(numbers: tuple[Real, ...], rng: random.Random) -> bytes:
    bits = b"".join(number.bits for number in numbers)
    return rng.choice([varint(len(numbers)), varint(-len(numbers)) + padded(len(bits), 10, rng)]) + bits


def tightly(field: Field, value: Value, _: random.Random) -> bytes:
    """Return the shortest encoding of a value."""
    return strict_reader.write(field, value)


def values_of(contract: Contract, rng: random.Random) -> list[Value]:
    datum = made.datum(made.wire_schema(contract.schema), made.random_record(contract, rng))
    return strict_reader.read(contract, datum).values


@pytest.mark.parametrize("world", WORLDS)
def test_bytes_are_equal_exactly_when_values_are(world: str, seed: int) -> None:
    """Any legal encoding, any choice and order of fields: the bytes are those of the shortest encoding of each value."""
    rng, contract = random.Random(seed), schema.parse(WORLDS[world])
    for _ in range(40):
        records = [values_of(contract, rng) for _ in range(6)]
        rows = [record for record in records for _ in range(3)]
        writers = [rng.choice([loosely, tightly]) for _ in rows]
        datums = [
            b"".join(writer(field, value, rng) for field, value in zip(contract.fields, row, strict=True))
            for writer, row in zip(writers, rows, strict=True)
        ]
        decoded = decode(contract, datums, skip=0)
        assert not decoded.bad.any()
        picked = rng.sample(range(len(contract.fields)), rng.randrange(len(contract.fields) + 1))
        for fields in (picked, sorted(picked), range(len(contract.fields))):
            expected = [b"".join(strict_reader.write(contract.fields[i], row[i]) for i in fields) for row in rows]
            assert expected == canonical(decoded, fields)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((0, None, b"\x00", b"", 0, 0), (0, 0, b"\x00", b"", 0, 0)),
        ((0, None, b"\x00", b"", 0, 0), (0, None, b"\x00", b"\x00", 0, 0)),
        ((0, None, b"\x00", b"", 0, 0), (0, None, b"\xff", b"", 0, 0)),
        ((1, None, b"\x7f", b"ab", 0, 0), (1, None, b"\x00\x80", b"ab", 0, 0)),
        ((1, 1, b"\x01", b"ab", 0, 0), (1, -1, b"\x01", b"ab", 0, 0)),
        ((1, 1, b"\x01", b"ab", 0, 0), (1, 1, b"\x01", b"ab", 1, 0)),
        ((1, 1, b"\x01", b"ab", 0, 0), (1, 1, b"\x01", b"ab", 0, 1)),
    ],
)
def test_other_values_are_other_bytes(one: tuple[Value, ...], other: tuple[Value, ...], seed: int) -> None:
    """Null is not zero, nothing is not a NUL, -1 is not 255, and no field runs into the next."""
    rng = random.Random(seed)
    datums = [b"".join(map(loosely, SHORTEST.fields, row, [rng] * 6)) for row in (one, other) * 8]
    chunks = canonical(decode(SHORTEST, datums, skip=0), range(6))
    assert len({*chunks[::2]}) == len({*chunks[1::2]}) == 1
    assert chunks[0] != chunks[1]


def test_a_bad_row_and_no_fields_give_nothing() -> None:
    """There is a chunk for every row, so rows and chunks go side by side."""
    decoded = decode(SHORTEST, [b"\x02\x00\x02\x01\x00\x00\x00", b"\x02"], skip=0)
    assert [b"\x02\x00", b""] == canonical(decoded, [0, 1])
    assert [b"", b""] == canonical(decoded, [])


def test_speed_of_canonical_bytes(seed: int) -> None:
    """Printed, never judged: µs a row, for the inputs of the flights request."""
    contract, wire, rng = schema.parse(made.FLIGHTS), made.wire_schema(made.FLIGHTS), random.Random(seed)
    decoded = decode(contract, [made.datum(wire, made.random_flight(rng, at)) for at in range(10_000)], skip=0)
    inputs: Any = [at for at, field in enumerate(contract.fields) if field.is_input]
    print(f"canonical {made.timed(lambda: canonical(decoded, inputs)) * 100:.3f} µs a row")
