"""100,000 damaged datums among good ones: the columnar decoder and the strict reader say the same of every row."""

import random
import time
from collections import Counter
from typing import Any, TypeAlias, cast

import pytest

from streams.avro import schema
from streams.avro.canonical import canonical
from streams.avro.decode import WHY, decode
from streams.contracts import Contract, Decoded, Field, Numbers, Vectors
from tests.avro import made, strict_reader
from tests.avro.strict_reader import Malformed, Reading, Real, RealVector, Value, varint

BATCH = 500
"""Rows of a batch; about half are damaged."""
FRAME = b"\x00\x80\xff\xff\xff"
"""Framing whose bytes would do harm if somebody read them as a datum's."""
WORLDS = {
    "flights": made.FLIGHTS,
    "every type": made.EVERY_TYPE,
    "null first": made.NULL_FIRST,
    "null second": made.NULL_SECOND,
    "nested": made.NESTED,
    "vectors": made.VECTORS,
}

Verdict: TypeAlias = tuple[int, int, str]
"""(field, position, why) of a datum that is malformed."""
Outcome: TypeAlias = tuple[list[Any], list[int], bool] | Verdict
"""(values, edges, minimal) of one that is not; floats as their repr, for NaN and -0.0."""


@pytest.mark.parametrize("each", [26_000, pytest.param(400_000, marks=[pytest.mark.long, pytest.mark.timeout(1200)])])
def test_the_rows_of_a_batch_read_as_each_datum_alone(each: int, seed: int) -> None:
    """Whatever is damaged: same verdict (field, byte, why), same values, same edges, same canonical bytes, row by row.

    Each batch mixes good datums with mutated ones, and the strict reader sees every datum alone: a row that moved, or
    looked at, its neighbour would differ from what is expected of one of the two, on some field.
    """
    rng = random.Random(seed)
    why: Counter[str] = Counter()
    began = time.monotonic()
    for world in WORLDS.values():
        why += compare(world, each, rng)
    print(f"{why.total()} mutations in {time.monotonic() - began:.1f} s: {dict(why.most_common())}")
    assert why.total() >= 100_000
    # The mutations reach every check, and many leave a datum that is valid: neither verdict is rare.
    assert set(WHY[1:]) <= why.keys(), f"never seen: {set(WHY) - why.keys()}"
    assert min(why.values()) >= 50
    assert why["valid"] > 4_000
    assert why["valid, not minimal"] > 500


def compare(world: dict[str, Any], mutations: int, rng: random.Random) -> Counter[str]:
    """Compare decoder and reader over mutations of datums of one schema; return how often each verdict was given."""
    contract, wire = schema.parse(world), made.wire_schema(world)
    good = [made.datum(wire, made.random_record(contract, rng)) for _ in range(400)]
    known = {datum: read(contract, datum) for datum in good}
    why: Counter[str] = Counter()
    while why.total() < mutations:
        mutated = {row for row in range(BATCH) if rng.random() < 0.55}
        datums = [rng.choice(good) for _ in range(BATCH)]
        for row in mutated:
            datums[row] = mutate(contract, datums[row], good, rng)
        decoded = decode(contract, [FRAME + datum for datum in datums])
        actual = outcomes(decoded)
        chunks = canonical(decoded, range(len(contract.fields)))
        for row, datum in enumerate(datums):
            expected = known.get(datum) or read(contract, datum)
            assert outcome(expected) == actual[row], f"row {row} of {len(datums)}, datum {datum.hex()}"
            assert rewritten(contract, expected) == chunks[row], f"row {row}, datum {datum.hex()}"
            if row in mutated:
                why[verdict(expected)] += 1
                if isinstance(expected, Reading):
                    witness(contract, wire, datum, expected)
    return why


@pytest.mark.parametrize("world", WORLDS)
def test_no_beginning_of_a_datum_is_a_datum(world: str, seed: int) -> None:
    """Cut anywhere, a datum is malformed, and the whole one beside it is read as ever."""
    rng = random.Random(seed)
    contract = schema.parse(WORLDS[world])
    whole = made.datum(made.wire_schema(WORLDS[world]), made.random_record(contract, rng))
    datums = [part for end in range(len(whole)) for part in (whole[:end], whole)]
    actual = outcomes(decode(contract, datums, skip=0))
    assert [outcome(read(contract, datum)) for datum in datums] == actual
    assert all(isinstance(found[0], int) for found in actual[::2])


def read(contract: Contract, datum: bytes) -> Reading | Verdict:
    """Return what the strict reader says of one datum."""
    try:
        return strict_reader.read(contract, datum)
    except Malformed as malformed:
        return malformed.field, malformed.position, malformed.why


def outcome(expected: Reading | Verdict) -> Outcome:
    """Return what the strict reader says in the form in which `outcomes` says it."""
    if not isinstance(expected, Reading):
        return expected
    values = [shown(value) for value in expected.values]
    return values, expected.edges, expected.minimal


def shown(value: Value) -> Any:
    match value:
        case Real():
            return repr(value.value)
        case RealVector(numbers):
            return [repr(number.value) for number in numbers]
        case _:
            return value


def rewritten(contract: Contract, expected: Reading | Verdict) -> bytes:
    """Return the canonical bytes of what the strict reader read; nothing for a datum that is malformed."""
    if not isinstance(expected, Reading):
        return b""
    pairs = zip(contract.fields, expected.values, strict=True)
    return b"".join(strict_reader.write(field, value) for field, value in pairs)


def verdict(expected: Reading | Verdict) -> str:
    if isinstance(expected, Reading):
        return "valid" if expected.minimal else "valid, not minimal"
    return expected[2]


def outcomes(decoded: Decoded) -> list[Outcome]:
    """Return what the columnar decoder says of each row."""
    data, columns = decoded.data, []
    for field in decoded.contract.fields:
        column = decoded.columns[field.name]
        values: list[Any]
        if isinstance(column, Numbers):
            values = column.values.tolist()
            if field.kind in ("float", "double"):
                values = list(map(repr, values))
        elif isinstance(column, Vectors):
            values = [list(map(repr, numbers)) for numbers in column.values.tolist()]
        else:
            ends = (column.start + column.length).tolist()
            values = [data[a:b] for a, b in zip(column.start.tolist(), ends, strict=True)]
        if column.null is not None:
            values = [None if null else value for null, value in zip(column.null.tolist(), values, strict=True)]
        columns.append(values)
    edges = (decoded.edges - decoded.start).T.tolist()
    minimal = decoded.minimal.tolist()
    rows: list[Outcome] = [
        ([column[row] for column in columns], edges[row], minimal[row]) for row in range(len(decoded.start))
    ]
    for row in decoded.bad.nonzero()[0].tolist():
        assert all(value in (0, None, b"", "0.0") or set(value) == {"0.0"} for value in cast(list[Any], rows[row][0]))
        rows[row] = (int(decoded.bad_field[row]), int(decoded.bad_at[row]), WHY[decoded.bad_why[row]])
    return rows


def witness(contract: Contract, wire: dict[str, Any], datum: bytes, expected: Reading) -> None:
    """What the strict reader accepts fastavro reads alike; fastavro accepts more."""
    seen = made.read_back(wire, datum)
    for field, value in zip(contract.fields, expected.values, strict=True):
        theirs: Any = seen[field.name]
        match value:
            case Real() | RealVector():
                assert shown(value) == (list(map(repr, theirs)) if isinstance(theirs, list) else repr(theirs))
            case bytes():
                assert value == (theirs.encode() if field.kind == "string" else theirs)
            case int() if field.kind == "enum":
                assert field.symbols[value] == theirs
            case _:
                assert value == theirs


SPITEFUL = [
    *(varint(number) for number in (-1, 2, 3, 1 << 31, -(1 << 31) - 1, 1 << 60, -(1 << 63), (1 << 63) - 1, 86_400_000)),
    *(varint(number) for number in (2_932_897, -719_163, 253_402_300_800_000, -62_135_596_800_001)),
    *(b"\x80" * size + b"\x00" for size in (1, 4, 5, 8, 9, 10)),
    *(b"\xff" * size for size in (1, 5, 9, 10, 11)),
    *(b"\xff" * 9 + last for last in (b"\x01", b"\x02", b"\x7f")),
    *(b"\xff" * 4 + last for last in (b"\x0f", b"\x10")),
    *(b"\x04\xc0\x80", b"\x06\xed\xa0\x80", b"\x08\xf4\x90\x80\x80", b"\x02\xc3", b"\x06\xe2\x82\xac"),
    *(
        b"\x00",
        b"\x02",
        b"\x02\x00",
        b"\x12" + b"\x00" * 8 + b"\x05",
        b"\x12" + b"\xff" * 9,
        b"\x0a\x7f\xff\xff\xff\xff",
    ),
]
"""Bytes that are wrong, or right in an unusual way, where a field begins."""


def mutate(contract: Contract, datum: bytes, good: list[bytes], rng: random.Random) -> bytes:
    """Return the datum damaged once, or rarely twice."""
    for _ in range(rng.choice([1, 1, 1, 2])):
        at = rng.randrange(len(datum) + 1)
        to = min(len(datum), at + rng.choice([1, 1, 2, 8]))
        match rng.randrange(9):
            case 0 if datum:  # a bit, or a byte
                at = rng.randrange(len(datum))
                flipped = datum[at] ^ rng.choice([1 << rng.randrange(8), rng.randrange(1, 256)])
                datum = datum[:at] + bytes([flipped]) + datum[at + 1 :]
            case 1:
                datum = datum[:at]
            case 2:
                datum = datum[:at] + rng.randbytes(rng.choice([1, 1, 2, 9])) + datum[at:]
            case 3:
                datum = datum[:at] + datum[to:]
            case 4:  # the same number, if a varint ends here, in more bytes
                stretched = bytes([datum[at - 1] | 0x80]) + b"\x80" * rng.randrange(9) + b"\x00" if at else b""
                datum = datum[: max(at - 1, 0)] + stretched + datum[at:]
            case 5:  # another datum from some byte on
                other = rng.choice(good)
                datum = datum[:at] + other[rng.randrange(len(other) + 1) :]
            case 6:
                datum = rng.randbytes(rng.choice([0, 1, 10, len(datum)]))
            case _:
                datum = at_a_field(contract, datum, rng)
    return datum


def at_a_field(contract: Contract, datum: bytes, rng: random.Random) -> bytes:
    """Replace, or push back, what begins where a field or its value begins."""
    expected = read(contract, datum)
    if not isinstance(expected, Reading):
        return datum + rng.choice(SPITEFUL)
    index = rng.randrange(len(contract.fields))
    begin, end = expected.edges[index : index + 2]
    if contract.fields[index].kind == "vector" and rng.random() < 0.7:
        value = expected.values[index]
        if isinstance(value, RealVector):
            return datum[:begin] + blocks(contract.fields[index], value.numbers, rng) + datum[end:]
    if contract.fields[index].null_branch is not None and rng.random() < 0.7:
        branch = varint(1 - (contract.fields[index].null_branch or 0))
        return datum[:begin] + branch + rng.choice(SPITEFUL) + datum[rng.choice([begin, end]) :]
    return datum[:begin] + rng.choice(SPITEFUL) + datum[rng.choice([begin, end]) :]


def blocks(field: Field, numbers: tuple[Real, ...], rng: random.Random) -> bytes:
    """Return a vector in blocks of any size, some with their size in bytes, now and then a wrong one."""
    written = b"" if field.null_branch is None else varint(1 - field.null_branch)
    numbers = rng.choice([numbers, numbers, numbers, numbers[:-1], numbers + numbers])
    at, most = 0, rng.choice([1, 1, 2, len(numbers) or 1])
    while at < len(numbers):
        block = numbers[at : at + rng.randint(1, most)]
        bits = b"".join(number.bits for number in block)
        size = rng.choice([len(bits)] * 9 + [len(bits) + 1, -1, 1 << 62])
        head = varint(len(block)) if rng.random() < 0.6 else varint(-len(block)) + varint(size)
        written, at = written + head + bits, at + len(block)
    return written + varint(rng.choice([0] * 9 + [1, -1, 1 << 62, -(1 << 63)]))
