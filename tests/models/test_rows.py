"""Plain values to columns: what a decoder would have made of them, or a mistake that is told."""

import json
from typing import Any

import numpy as np
import pytest

from streams.avro import schema
from streams.contracts import Contract, Numbers, Spans
from streams.models import rows


def contract(kind: Any) -> Contract:
    fields = [{"name": "f", "type": kind}, {"name": "g", "type": ["null", kind if isinstance(kind, str) else "int"]}]
    return schema.parse(json.dumps({"type": "record", "name": "Ask", "fields": fields}))


def decimal(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "logicalType": "decimal", "precision": 5, "scale": 2, **more}


ENUM = {"type": "enum", "name": "Cabin", "symbols": ["ECONOMY", "FIRST"]}
FIXED = {"type": "fixed", "name": "Two", "size": 2}


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("boolean", True, 1),
        ("int", -(2**31), -(2**31)),
        ("long", 2**63 - 1, 2**63 - 1),
        ("double", 1, 1.0),
        ("float", 0.1, float(np.float32(0.1))),
        (ENUM, "FIRST", 1),
    ],
)
def test_numbers(kind: Any, value: Any, expected: float) -> None:
    """Numbers are as they travel: a float has lost what 32 bits do not hold, an enum is its symbol's index."""
    column = rows.decoded(contract(kind), [{"f": value}]).columns["f"]
    assert isinstance(column, Numbers)
    assert [expected] == column.values.tolist()


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [("string", "née", "née".encode()), ("bytes", "\x00\xff", b"\x00\xff"), (FIXED, "ab", b"ab")]
    + [(decimal("bytes"), text, data) for text, data in (("0", b"\0"), ("1.27", b"\x7f"), ("1.28", b"\0\x80"))]
    + [(decimal("bytes"), text, data) for text, data in (("-1.28", b"\x80"), ("-1.29", b"\xff\x7f"))]
    + [(decimal("fixed", name="D", size=4), "-0.01", b"\xff\xff\xff\xff"), (decimal("bytes"), "1E+1", b"\x03\xe8")],
)
def test_bytes(kind: Any, value: str, expected: bytes) -> None:
    """Strings are UTF-8, bytes are code points 0 to 255, decimals are two's complement, as short as they can be."""
    decoded = rows.decoded(contract(kind), [{"f": value}])
    column = decoded.columns["f"]
    assert isinstance(column, Spans)
    assert expected == decoded.data[int(column.start[0]) : int(column.start[0] + column.length[0])]
    assert decoded.data == decoded.buffer.tobytes()


def test_null_and_left_out() -> None:
    """A nullable field may be null or left out; both are null, and its neighbours are not."""
    column = rows.decoded(contract("int"), [{"f": 1, "g": None}, {"f": 1}, {"f": 1, "g": 2}]).columns["g"]
    assert column.null is not None
    assert [True, True, False] == column.null.tolist()


@pytest.mark.parametrize(
    ("kind", "value", "problem"),
    [
        ("int", 2**31, "no int"), ("int", 1.0, "no int"), ("int", True, "no int"), ("int", "1", "no int"),
        ("long", 2**63, "no long"), ("boolean", 1, "no boolean"), ("double", "1", "no double"),
        ("double", True, "no double"), ("string", 1, "no string"), ("bytes", "é€", "no bytes"), (FIXED, "abc", "no fixed"),
        (ENUM, "SECOND", "no enum of ECONOMY, FIRST"), ("int", None, "must not be null"),
    ]
    + [(decimal("bytes"), text, "no decimal with at most 5 digits") for text in ("1.234", "1000", "x", "NaN", "1E+9")]
    + [(decimal("bytes"), 1.5, "no decimal")],
)  # fmt: skip
def test_a_mistake_is_told(kind: Any, value: Any, problem: str) -> None:
    """Nothing is coerced: the error names the row, the field and the value."""
    with pytest.raises(ValueError, match="row 0: field `f` is") as raised:
        rows.decoded(contract(kind), [{"f": value}])
    assert problem in str(raised.value)


def test_a_mistake_is_told_with_its_row() -> None:
    """Rows are counted from 0."""
    with pytest.raises(ValueError, match="row 2: field `f` is 1\\.5"):
        rows.decoded(contract("int"), [{"f": 1}, {"f": 2}, {"f": 1.5}])


def test_an_unknown_field_is_told() -> None:
    """A field that the contract lacks is a mistake, not something to leave out."""
    with pytest.raises(ValueError, match="row 0: contract Ask has no field h"):
        rows.decoded(contract("int"), [{"f": 1, "h": 2}])
