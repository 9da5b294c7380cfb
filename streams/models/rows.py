"""Plain field values to the columns that a decoder would have made of them, without Avro bytes. Pure.

Golden rows and training sets go through here, so they meet the same features as requests do.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np

from streams.contracts import Column, Contract, Decoded, Field, Numbers, Spans, Vectors
from streams.records import Bytes8

PADDING = 16
"""Zero bytes behind the last value, so that a word can be read at any position."""
_BITS = {"int": 31, "long": 63}


def decoded(contract: Contract, rows: Sequence[Mapping[str, Any]]) -> Decoded:
    """Return the columns of rows of field values, as JSON would carry them.

    Numbers are numbers (also dates and timestamps, in the unit of the schema), strings and enum symbols are text,
    decimals are text ("12.50"), other bytes are text of code points 0 to 255, records are objects, null is None; a
    nullable field may be left out. There are no datums: `start`, `end` and `edges` are 0 and mean nothing.

    Raises: ValueError that names the row (from 0), the field and the value.
    """
    known = {field.name for field in contract.fields}
    records = {name[:at] for name in known for at, letter in enumerate(name) if letter == "."}
    rows = [dict(_leaves(row, records)) for row in rows]
    for at, row in enumerate(rows):
        if not known.issuperset(row):
            extra = ", ".join(sorted(set(row) - known))
            raise ValueError(f"row {at}: contract {contract.name} has no field {extra}")
    data = bytearray()
    columns = {field.name: _column(field, [row.get(field.name) for row in rows], data) for field in contract.fields}
    data += bytes(PADDING)
    none, never = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.bool_)
    return Decoded(
        contract=contract,
        buffer=_readonly(bytes(data)),
        data=bytes(data),
        start=none,
        end=none,
        columns=columns,
        edges=np.zeros((len(contract.fields) + 1, len(rows)), np.int64),
        minimal=~never,
        bad=never,
        bad_field=none,
        bad_at=none,
        bad_why=none,
    )


def _leaves(row: Mapping[str, Any], records: Collection[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of a row by their dotted names."""
    for name, value in row.items():
        if f"{prefix}{name}" in records and isinstance(value, Mapping):
            yield from _leaves(value, records, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _readonly(data: bytes) -> Bytes8:
    return np.frombuffer(data, np.uint8)


def _column(field: Field, values: Sequence[Any], data: bytearray) -> Column:
    """Return one field's column; what is not a number is appended to `data`."""
    if field.null_branch is None and None in values:
        raise ValueError(f"row {values.index(None)}: field `{field.name}` is missing and must not be null")
    null = None if field.null_branch is None else np.array([value is None for value in values], np.bool_)
    if field.kind in ("string", "bytes", "fixed"):
        encoded = _each(field, values, _encode, b"")
        length = np.array([len(value) for value in encoded], np.int64)
        start = len(data) + np.cumsum(length) - length
        data += b"".join(encoded)
        return Spans(start, length, null)
    if field.kind == "vector":
        exact = np.array(_each(field, values, _numbers, [0.0] * field.size), np.float64).reshape(
            len(values), field.size
        )
        return Vectors(exact.astype(np.float32).astype(np.float64) if field.items == "float" else exact, null)
    numbers = _each(field, values, _number, 0)
    if field.kind in ("float", "double"):
        exact = np.array(numbers, np.float64)
        return Numbers(exact.astype(np.float32).astype(np.float64) if field.kind == "float" else exact, null)
    return Numbers(np.array(numbers, np.int64), null)


def _each(
    field: Field, values: Sequence[Any], turn: Callable[[Field, Any], Any], instead_of_null: bytes | int | list[float]
) -> list[Any]:
    turned = []
    for at, value in enumerate(values):
        try:
            turned.append(instead_of_null if value is None else turn(field, value))
        except (TypeError, ValueError, InvalidOperation, OverflowError):
            raise ValueError(f"row {at}: field `{field.name}` is {value!r}, which is no {_wanted(field)}") from None
    return turned


def _wanted(field: Field) -> str:
    if field.logical == "decimal":
        return f"decimal with at most {field.precision} digits, {field.scale} of them behind the point, as text"
    if field.kind == "vector":
        return f"list of {field.size} numbers"
    return f"{field.kind} of {', '.join(field.symbols)}" if field.kind == "enum" else field.kind


def _number(field: Field, value: Any) -> int | float:
    if field.kind == "enum":
        return field.symbols.index(value)
    if (field.kind == "boolean") != isinstance(value, bool):
        raise TypeError
    if field.kind in _BITS:
        if not isinstance(value, int) or not -(1 << _BITS[field.kind]) <= value < 1 << _BITS[field.kind]:
            raise ValueError
        return value
    if not isinstance(value, int | float):
        raise TypeError
    return value


def _numbers(field: Field, value: Any) -> list[float]:
    if not isinstance(value, list) or len(value) != field.size:
        raise ValueError
    return [_number(field, each) for each in value]


def _encode(field: Field, value: Any) -> bytes:
    if not isinstance(value, str):
        raise TypeError
    if field.kind == "string":
        return value.encode()
    if field.logical == "decimal":
        unscaled = _unscaled(field, Decimal(value))
        size = field.size if field.kind == "fixed" else (unscaled + (unscaled < 0)).bit_length() // 8 + 1
        return unscaled.to_bytes(size, "big", signed=True)
    encoded = value.encode("latin-1")
    if field.kind == "fixed" and len(encoded) != field.size:
        raise ValueError
    return encoded


def _unscaled(field: Field, value: Decimal) -> int:
    """Return the decimal's digits as an integer; they must fit the field exactly."""
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int) or not -field.scale <= exponent <= field.precision:
        raise ValueError
    unscaled: int = int("".join(map(str, digits))) * 10 ** (exponent + field.scale)
    if unscaled >= 10**field.precision:
        raise ValueError
    return -unscaled if sign else unscaled
