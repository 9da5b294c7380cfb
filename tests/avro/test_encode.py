"""The compiled encoder writes, byte for byte, what fastavro writes of each record alone."""

import itertools
import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streams.avro import schema
from streams.avro.decode import decode, slices
from streams.avro.encode import Arrays, Constant, Doubles, Encoder, Longs, Slices, Spans, Values, encode_one
from streams.avro.scatter import Cells, Run, folded
from streams.contracts import Field
from tests.avro import made

PREFIX = b"\x00\x00\x00\x00\x02"
OUTCOME: dict[str, Any] = json.loads(Path("schemas/outcome.avsc").read_text())
ARRAYS = made.record(
    ["null", {"type": "array", "items": "double"}],
    {"type": "map", "values": "long"},
    ["null", "string", "long"],
    "int",
)


def test_records_are_byte_equal_to_fastavro(seed: int) -> None:
    """Random schemas, random values at their edges, each field given in a random way, nulls anywhere."""
    rng = random.Random(seed)
    written = 0
    while written < 6_000:
        world = made.random_schema(rng)
        contract, wire = schema.parse(world), made.wire_schema(world)
        rows = rng.choice([0, 1, 2, 7, 40])
        constants = {field.name for field in contract.fields if rng.random() < 0.4}
        first = made.random_record(contract, rng)
        records = [made.random_record(contract, rng) | {name: first[name] for name in constants} for _ in range(rows)]
        values = {
            field.name: Constant(first[field.name])
            if field.name in constants
            else column(field, [record[field.name] for record in records], rng)
            for field in contract.fields
        }
        expected = [PREFIX + encode_one(wire, record) for record in records]
        encoder, heads = Encoder(wire), np.frombuffer(rng.randbytes(3 * rows), "V3")
        assert expected == encoder.encode(PREFIX, rows, values), json.dumps(world)
        behind = [head.tobytes() + record for head, record in zip(heads, expected, strict=True)]
        assert (expected, behind) == encoder.encode_twice(heads, PREFIX, values), json.dumps(world)
        written += rows


def column(field: Field, values: list[Any], rng: random.Random) -> Values:
    """Return a column of these values; where they are null it holds what does not matter."""
    mask = np.array([value is None for value in values], np.bool_)
    null = mask if mask.any() or rng.random() < 0.5 else None
    if field.kind in ("float", "double"):
        return Doubles(np.array([math.nan if value is None else value for value in values], np.float64), null)
    if field.kind in ("boolean", "int", "long") or (field.kind == "enum" and rng.random() < 0.5):
        numbers = [field.symbols.index(value) if isinstance(value, str) else value for value in values]
        other = rng.choice([0, -(2**63), 2**63 - 1])
        return Longs(np.array([other if value is None else int(value) for value in numbers], np.int64), null)
    pieces = [value.encode() if isinstance(value, str) else value for value in values]
    if field.kind == "enum" or rng.random() < 0.5:
        return Slices(pieces)
    return scattered(pieces, null, rng)


def scattered(pieces: list[bytes | None], null: Any, rng: random.Random) -> Spans:
    """Return spans in a buffer in which the values lie in any order, with other bytes between them."""
    buffer, start = bytearray(rng.randbytes(3)), [2**60 if piece is None else 0 for piece in pieces]
    for at in rng.sample(range(len(pieces)), len(pieces)):
        if (piece := pieces[at]) is not None:
            start[at] = len(buffer)
            buffer += piece + rng.randbytes(rng.randrange(3))
    length = [-9 if piece is None else len(piece) for piece in pieces]
    return Spans(np.frombuffer(bytes(buffer), np.uint8), np.array(start, np.int64), np.array(length, np.int64), null)


@pytest.mark.parametrize("lengths", [[0, 0], [5, 5, 5], [0, 511, 512, 513, 514], [63, 64, 8192, 100_000], [1]])
def test_texts_of_every_length_are_copied_whole(lengths: list[int]) -> None:
    """Short ones are copied together, long ones alone: the border between them does not show."""
    texts = [bytes(97 + at % 26 for at in range(size)) for size in lengths]
    world = made.wire_schema(made.record("string", "bytes", ["null", "string"]))
    encoded = Encoder(world).encode(b"", len(texts), {name: Slices(texts) for name in ("f0", "f1", "f2")})
    expected = [encode_one(world, {"f0": text.decode(), "f1": text, "f2": text.decode()}) for text in texts]
    assert expected == encoded


def test_fields_of_other_types_can_be_constants() -> None:
    """Maps, wider unions and arrays are written by fastavro, once a batch; as columns they are refused by name."""
    values: dict[str, Values] = {
        "f0": Constant([0.25, 0.75]),
        "f1": Constant({"a": 1}),
        "f2": Constant("x"),
        "f3": Longs(np.array([4, 5])),
    }
    record = {"f0": [0.25, 0.75], "f1": {"a": 1}, "f2": "x"}
    wire = made.wire_schema(ARRAYS)
    encoded = Encoder(ARRAYS).encode(PREFIX, 2, values)
    assert [PREFIX + encode_one(wire, record | {"f3": number}) for number in (4, 5)] == encoded
    with pytest.raises(ValueError, match="field f0 cannot hold what it was given: Doubles for the type array"):
        Encoder(ARRAYS).encode(PREFIX, 2, values | {"f0": Doubles(np.array([0.1, 0.2]))})
    with pytest.raises(ValueError, match="field f2 cannot hold what it was given: Spans for the type union"):
        Encoder(ARRAYS).encode(PREFIX, 2, values | {"f2": Slices([b"x", b"y"])})


@pytest.mark.parametrize("item", ["float", "double"])
def test_arrays_of_one_length_are_byte_equal_to_fastavro(item: str, seed: int) -> None:
    """One block a row, of no, one, some and many items, of any layout in memory; in a union also null."""
    rng = np.random.default_rng(seed)
    array = {"type": "array", "items": item}
    world = made.record("string", array, ["null", array], [array, "null"])
    for rows, count in itertools.product((0, 1, 2, 40), (0, 1, 3, 63, 64, 1_000)):
        numbers = np.asfortranarray(rng.normal(size=(rows, count)).astype(np.float32).astype(np.float64))
        null = rng.random(rows) < 0.3
        texts = [b"x" * int(size) for size in rng.integers(0, 9, rows)]
        values: dict[str, Values] = {
            "f0": Slices(texts),
            "f1": Arrays(numbers),
            "f2": Arrays(numbers, null),
            "f3": Arrays(numbers[::-1]),
        }
        expected = [
            encode_one(
                world,
                {
                    "f0": texts[row].decode(),
                    "f1": numbers[row].tolist(),
                    "f2": None if null[row] else numbers[row].tolist(),
                    "f3": numbers[-1 - row].tolist(),
                },
            )
            for row in range(rows)
        ]
        assert expected == Encoder(world).encode(b"", rows, values), (rows, count)


def longs(*values: int) -> Longs:
    return Longs(np.array(values, np.int64))


@pytest.mark.parametrize(
    ("kind", "values", "complaint"),
    [
        ("int", longs(0, 2**31), "row 1 is 2147483648, beyond"),
        ("int", longs(-(2**31) - 1, 0), "row 0 is -2147483649, beyond"),
        ("boolean", longs(0, 2), "row 1 is 2, beyond 0 to 1"),
        (made.TYPES[8], longs(0, 3), "row 1 is 3, beyond 0 to 2"),
        (made.TYPES[8], Slices([b"FIRST", b"LAST"]), "LAST"),
        (made.TYPES[7], Slices([b"12345", b"1234"]), "row 1 has not the 5 bytes"),
        ("string", Slices([b"a", None]), "row 1 is null"),
        ("long", Longs(np.array([1, 2]), np.array([False, True])), "row 1 is null"),
        ("long", longs(1, 2, 3), "3 values for 2 rows"),
        ("string", Slices([b"a"]), "1 values for 2 rows"),
        ("string", longs(1, 2), "Longs for the type string"),
        ("long", Doubles(np.array([1.0, 2.0])), "Doubles for the type long"),
        ("double", longs(1, 2), "Longs for the type double"),
        ({"type": "array", "items": "double"}, Arrays(np.zeros((3, 2))), "3 values for 2 rows"),
        ({"type": "array", "items": "double"}, Arrays(np.zeros((2, 2)), np.array([False, True])), "row 1 is null"),
        ({"type": "array", "items": "string"}, Arrays(np.zeros((2, 2))), "Arrays for the type array of string"),
        ("string", Constant(None), "must be string"),
        ("string", Constant(7), "must be string"),
        ("bytes", Constant("text"), "bytes-like"),
    ],
)
def test_what_a_field_cannot_hold_is_refused_by_name(kind: Any, values: Values, complaint: str) -> None:
    """An encoder that wrote something else instead would publish it as an answer."""
    with pytest.raises(ValueError, match=f"made.v1.Made: field f0 cannot hold.*{complaint}"):
        Encoder(made.record(kind)).encode(PREFIX, 2, {"f0": values})


@pytest.mark.parametrize("names", [["f0"], ["f0", "f1", "f2"], []])
def test_every_field_is_given_and_no_other(names: list[str]) -> None:
    """A field that was forgotten is not silently its default."""
    with pytest.raises(ValueError, match="have no values, or do not exist: \\["):
        Encoder(made.record("int", ["null", "int"])).encode(PREFIX, 1, {name: Constant(1) for name in names})


def test_a_value_that_is_out_of_range_only_where_it_is_null_is_fine() -> None:
    """What lies under a null is nobody's."""
    null = np.array([True, False])
    world = made.record(["null", "int"], ["null", "boolean"], [made.TYPES[8], "null"])
    values: dict[str, Values] = {name: Longs(np.array([2**40, 1]), null) for name in ("f0", "f1", "f2")}
    wire = made.wire_schema(world)
    expected = [encode_one(wire, dict.fromkeys(values)), encode_one(wire, {"f0": 1, "f1": True, "f2": "ECONOMY"})]
    assert expected == Encoder(world).encode(b"", 2, values)


def test_an_outcome_is_written_as_fastavro_writes_it() -> None:
    """The product's widest record, with every field given as the pipeline gives it."""
    text = {"kind": "DUPLICATE", "sentence": "…", "request_id": "r1", "tenant": None, "field": "x", "found": None, "first_topic": "t", "request_topic": "t"}  # fmt: skip
    number = {"answer_omitted": False, "first_partition": 2, "first_offset": 2**40, "schema_id": None, "request_partition": 3, "request_offset": 9, "append_time": 1_760_000_000_000, "event_time": None, "size": 5}  # fmt: skip
    raw = {"answer": b"\x00\xff", "request_topic_id": bytes(16), "sha256": None}
    record = text | number | raw | {"run_id": "live", "until_offset": None}
    values: dict[str, Values] = {"run_id": Constant("live"), "until_offset": Constant(None)}
    values |= {name: Slices([None if value is None else value.encode()]) for name, value in text.items()}
    values |= {name: Slices([value]) for name, value in raw.items()}
    values |= {name: Longs(np.array([value or 0]), np.array([value is None])) for name, value in number.items()}
    expected = encode_one(made.wire_schema(OUTCOME), record)
    assert [PREFIX + expected] == Encoder(OUTCOME).encode(PREFIX, 1, values)


def test_neighbouring_constants_are_one_run() -> None:
    """Fourteen of a result's twenty fields are constants: they cost what their runs cost, not what they are many."""
    cells = Cells(np.arange(2))
    assert [Run(b"ab"), cells, cells, Run(b"cde")] == folded(
        [Run(b"a"), Run(b"b"), cells, cells, Run(b"cd"), Run(b"e")]
    )


def test_speed_of_encoding(seed: int) -> None:
    """Printed, never judged: µs a result, 10,000 to a batch; and byte-equal to fastavro in every one."""
    rng, rows = random.Random(seed), 10_000
    contract, wire = schema.parse(made.FLIGHTS), made.wire_schema(made.FLIGHTS)
    decoded = decode(contract, [made.datum(wire, made.random_flight(rng, at)) for at in range(rows)], skip=0)
    ids, tenant = decoded.columns["request_id"], decoded.columns["tenant"]
    nothing = dict.fromkeys(("scores", "label", "value", "route_revision", "arm"))
    constants = nothing | {"run_id": "live", "model_name": "flights", "model_version": "3", "model_digest": rng.randbytes(32), "contract_fingerprint": contract.fingerprint, "schema_id": 7, "request_topic": "flights.requests.live", "request_topic_id": rng.randbytes(16), "request_partition": 3}  # fmt: skip
    columns: dict[str, Any] = {"score": np.random.default_rng(seed).random(rows), "request_offset": np.arange(rows) + 5_000_000, "append_time": np.arange(rows) + 1_760_000_000_000, "event_time": decoded.columns["event_time"].values}  # type: ignore[union-attr]  # fmt: skip
    values: dict[str, Values] = {name: Constant(value) for name, value in constants.items()}
    values |= {name: Doubles(each) if name == "score" else Longs(each) for name, each in columns.items()}
    values |= {"request_id": Spans(decoded.buffer, ids.start, ids.length), "tenant": Spans(decoded.buffer, tenant.start, tenant.length)}  # type: ignore[union-attr]  # fmt: skip
    encoder, plain = Encoder(made.RESULT), made.wire_schema(made.RESULT)
    encoded = encoder.encode(PREFIX, rows, values)
    names = [(value or b"").decode() for value in slices(decoded, "request_id")]
    for row in range(0, rows, 97):
        of_row = {name: each[row].item() for name, each in columns.items()}
        assert (
            PREFIX + encode_one(plain, constants | of_row | {"request_id": names[row], "tenant": "acme"})
            == encoded[row]
        )
    best = made.timed(lambda: encoder.encode(PREFIX, rows, values))
    print(f"encode {best * 100:.3f} µs a result of {len(encoded[0]) - 5} bytes")
