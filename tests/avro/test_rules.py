"""Value rules over columns, against a reading of one value at a time."""

import json
import math
import random
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from streams.avro import schema
from streams.avro.decode import decode
from streams.avro.rules import check, stated
from streams.contracts import Contract, Field
from streams.records import Detail
from tests.avro import made, strict_reader
from tests.avro.strict_reader import Real, RealVector, Value

CENTS = {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}
WIDE = {"type": "fixed", "name": "W", "size": 12, "logicalType": "decimal", "precision": 28, "scale": 3}
CABIN = made.TYPES[8]


def ruled(kind: Any, **rules: Any) -> Contract:
    return schema.parse(json.dumps(made.record() | {"fields": [{"name": "x", "type": kind, **rules}]}))


def found(contract: Contract, *values: Any) -> dict[int, Detail]:
    """Return what `check` says of records with these values, between two bad ones."""
    wire = made.wire_schema(contract.schema)
    datums = [b"\x80", *(made.datum(wire, {"x": value}) for value in values), b"\xff"]
    refused = check(contract, decode(contract, datums, skip=0))
    assert {stated(contract.fields[0])} >= {detail.rule for detail in refused.values()}
    return {row - 1: detail._replace(rule=None) for row, detail in refused.items()}


def cents(number: int) -> bytes:
    return strict_reader.shortest(number)


@pytest.mark.parametrize(
    ("kind", "rules", "good", "bad"),
    [
        ("double", {}, [0.0, -0.0, 1e308], [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")]),
        ("float", {}, [1.5], [(math.nan, "nan"), (math.inf, "inf")]),
        ("double", {"finite": False}, [math.nan, math.inf, -math.inf], []),
        ("double", {"finite": False, "maximum": 1}, [math.nan, -math.inf, 1.0], [(math.inf, "inf"), (1.5, "1.5")]),
        ("double", {"minimum": 0, "maximum": 0.1}, [0.0, -0.0, 0.1], [(-5e-324, "-5e-324"), (0.11, "0.11")]),
        ("float", {"minimum": -0.1, "maximum": 0.1}, [-0.1, 0.1], [(0.125, "0.125"), (-0.125, "-0.125")]),
        (["null", "double"], {"minimum": 1}, [None, 1.0], [(0.5, "0.5"), (math.nan, "nan")]),
        ("int", {"minimum": 0, "maximum": 23}, [0, 23], [(-1, "-1"), (24, "24")]),
        ("int", {"minimum": 0.5, "maximum": 1.5}, [1], [(0, "0"), (2, "2")]),
        ("long", {"minimum": -(2**63), "maximum": 2**53 + 1}, [2**53 + 1, -(2**63)], [(2**53 + 2, str(2**53 + 2))]),
        ("long", {"minimum": 1e300}, [], [(2**63 - 1, str(2**63 - 1))]),
        ("long", {"maximum": 1e300}, [2**63 - 1], []),
        (["long", "null"], {"minimum": 7}, [7, None], [(6, "6")]),
        ({"type": "int", "logicalType": "date"}, {"minimum": 0}, [0], [(-1, "1969-12-31")]),
        (CENTS, {"minimum": 0.1, "maximum": 12.34}, [cents(10), cents(1234)], [(cents(9), "0.09"), (cents(1235), "12.35")]),
        (CENTS, {"minimum": 1.1}, [cents(110)], [(cents(109), "1.09")]),
        (CENTS, {"maximum": 0.29}, [cents(29)], [(cents(30), "0.30")]),
        (["null", CENTS], {"minimum": 0.001}, [None, cents(1)], [(cents(0), "0.00"), (cents(-1), "-0.01")]),
        (WIDE, {"maximum": 10**20}, [(10**23).to_bytes(12, "big")], [((10**23 + 1).to_bytes(12, "big"), "100000000000000000000.001")]),
        (WIDE, {"minimum": -1}, [(-1000).to_bytes(12, "big", signed=True)], [((-1001).to_bytes(12, "big", signed=True), "-1.001")]),
        ("string", {"categories": ["EWR", "JFK", "A"]}, ["EWR", "JFK", "A"], [("LGA", '"LGA"'), ("", '""'), ("EW", '"EW"'), ("EWRX", '"EWRX"'), ("A\0", '"A\\u0000"')]),
        ("string", {"categories": ["EIGHTLET"]}, ["EIGHTLET"], [("EIGHTLETS", '"EIGHTLETS"'), ("EIGHTLEX", '"EIGHTLEX"')]),
        ("string", {"categories": ["NINELETTE", "é", ""]}, ["NINELETTE", "é", ""], [("NINELETTA", '"NINELETTA"'), ("e", '"e"')]),
        ("string", {"categories": ["A\0", "A"]}, ["A\0", "A"], [("B", '"B"')]),
        (["null", "string"], {"categories": ["x"]}, [None, "x"], [("y", '"y"')]),
        (CABIN, {"categories": ["FIRST", "ECONOMY"]}, ["FIRST", "ECONOMY"], [("UNKNOWN", "UNKNOWN")]),
        (["null", CABIN], {"categories": ["FIRST"]}, [None, "FIRST"], [("UNKNOWN", "UNKNOWN")]),
    ],
)  # fmt: skip
def test_a_value_that_breaks_a_rule_is_refused_with_field_and_value(
    kind: Any, rules: dict[str, Any], good: list[Any], bad: list[tuple[Any, str]]
) -> None:
    """Bounds are inclusive and exact; null breaks no rule; a row that is not even Avro is not judged."""
    values = good + [value for value, _ in bad] + good
    expected = {len(good) + at: Detail("x", shown) for at, (_, shown) in enumerate(bad)}
    assert expected == found(ruled(kind, **rules), *values)


def test_the_first_field_that_breaks_a_rule_is_named_once() -> None:
    """Fields are taken in the accepted contract's order, rows are independent."""
    fields = [{"name": name, "type": "int", "maximum": 0} for name in ("a", "b")]
    contract = schema.parse(made.record() | {"fields": fields})
    decoded = decode(contract, [b"\x00\x00", b"\x02\x02", b"\x00\x04"], skip=0)
    assert {1: Detail("a", "1", rule="at most 0"), 2: Detail("b", "2", rule="at most 0")} == check(contract, decoded)


def test_the_accepted_contract_judges_and_extra_fields_are_not_looked_at() -> None:
    """Rules are those of `accepted`, by field name, wherever the writer put the field; its own rules do not count."""
    accepted = ruled("int", maximum=1)
    extra = {"name": "y", "type": "double"}
    writer = schema.parse(made.record() | {"fields": [extra, {"name": "x", "type": "int"}]})
    nan = b"\x00\x00\x00\x00\x00\x00\xf8\x7f"
    assert {1: Detail("x", "2", rule="at most 1")} == check(
        accepted, decode(writer, [nan + b"\x02", nan + b"\x04"], skip=0)
    )


@pytest.mark.parametrize(
    ("kind", "rules", "said"),
    [
        ("int", {"minimum": 0, "maximum": 23}, "0 to 23"),
        ("long", {"maximum": 9007199254740993}, "at most 9007199254740993"),
        ("double", {"minimum": 0.1}, "at least 0.1, finite numbers"),
        ("double", {"finite": False, "minimum": 0}, "at least 0"),
        ("string", {"categories": ["EWR", "JFK", "LGA"]}, "EWR, JFK, LGA"),
        ("string", {"categories": [str(n) for n in range(12)]}, "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"),
    ],
)
def test_a_rule_is_told_to_who_broke_it(kind: Any, rules: dict[str, Any], said: str) -> None:
    """In the words of the contract, exact, and short."""
    assert said == stated(ruled(kind, **rules).fields[0])


def test_rules_agree_with_one_value_at_a_time(seed: int) -> None:
    """Random bounds and values of every numeric type, near each other: the same rows are refused."""
    rng = random.Random(seed)
    kinds = ["int", "long", "float", "double", CENTS, WIDE, made.TYPES[9], made.TYPES[10], made.TYPES[16]]
    refused = kept = 0
    for _ in range(300):
        kind = rng.choice(kinds)
        plain = ruled(kind).fields[0]
        bounds = sorted(limit(plain, rng) for _ in range(2))
        contract = ruled(rng.choice([kind, ["null", kind]]), minimum=bounds[0], maximum=bounds[1])
        values = [made.random_value(contract.fields[0], rng) for _ in range(30)]
        wire = made.wire_schema(contract.schema)
        read = [strict_reader.read(contract, made.datum(wire, {"x": value})).values[0] for value in values]
        expected = {row for row, value in enumerate(read) if breaks(contract.fields[0], value)}
        assert expected == found(contract, *values).keys(), (kind, bounds, values)
        refused, kept = refused + len(expected), kept + len(values) - len(expected)
    assert min(refused, kept) > 1_000


def limit(field: Field, rng: random.Random) -> float:
    """Return a bound that is a value of the field, or near one."""
    wire = made.wire_schema(made.record() | {"fields": [ruled_type(field)]})
    value = strict_reader.read(contract_of(field), made.datum(wire, {"x": made.random_value(field, rng)})).values[0]
    number = as_number(field, value)
    if number is None:
        return rng.uniform(-10, 10)
    try:
        near: float = rng.choice([math.floor(number), math.ceil(number), float(number)])
    except OverflowError:
        return 0
    return near


def contract_of(field: Field) -> Contract:
    return schema.parse(made.record() | {"fields": [ruled_type(field)]})


def ruled_type(field: Field) -> dict[str, Any]:
    plain: dict[str, Any] = {"type": field.kind}
    if field.logical:
        plain |= {"logicalType": field.logical}
    if field.logical == "decimal":
        plain |= {"precision": field.precision, "scale": field.scale}
    if field.kind == "fixed":
        plain |= {"name": "W", "size": field.size}
    return {"name": "x", "type": plain}


def as_number(field: Field, value: Value) -> Fraction | None:
    """Return the exact value, or None for NaN and infinities."""
    match value:
        case Real():
            return Fraction(value.value) if math.isfinite(value.value) else None
        case bytes():
            return Fraction(int.from_bytes(value, "big", signed=True), 10**field.scale)
        case int():
            return Fraction(value)
        case RealVector():
            raise AssertionError("vectors are judged number by number")
        case None:
            raise AssertionError("null is not a number")


def breaks(field: Field, value: Value) -> bool:
    if value is None:
        return False
    number = as_number(field, value)
    if number is None:
        return True
    least, largest = (bound(field, each) for each in (field.rules.minimum, field.rules.maximum))
    return not least <= number <= largest


def bound(field: Field, written: float | None) -> Fraction:
    """Return a bound as the reader of the contract means it: as it is written; for floats, as they hold it."""
    assert written is not None
    if field.kind in ("float", "double"):
        packed = made.datum(made.wire_schema(made.record(field.kind)), {"f0": float(written)})
        return Fraction(strict_reader.read(schema.parse(made.record(field.kind)), packed).values[0].value)  # type: ignore[union-attr]
    return Fraction(Decimal(repr(written)))


def test_speed_of_rules(seed: int) -> None:
    """Printed, never judged: ns a value, when no rule is broken."""
    contract, wire, rng = schema.parse(made.FLIGHTS), made.wire_schema(made.FLIGHTS), random.Random(seed)
    decoded = decode(contract, [made.datum(wire, made.random_flight(rng, at)) for at in range(10_000)], skip=0)
    assert check(contract, decoded) == {}
    print(
        f"rules {made.timed(lambda: check(contract, decoded)) * 100:.3f} µs a record of {len(contract.fields)} fields"
    )
