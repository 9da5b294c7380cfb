"""Columns of a request as the encoder takes them, and small columns made of lists. Room: pure."""

from collections.abc import Sequence

import numpy as np

from streams import contracts
from streams.avro.encode import Arrays, Constant, Doubles, Longs, Spans, Values
from streams.contracts import Contract, Decoded, Field, Numbers
from streams.records import Floats, Ints


def constants(names: Sequence[str]) -> dict[str, Values]:
    """Return null for each of some fields."""
    return {name: Constant(None) for name in names}


def longs(values: Sequence[int | bool | None]) -> Longs:
    """Return a column of integers, null where the list has None."""
    null = np.array([value is None for value in values], dtype=bool) if None in values else None
    return Longs(np.array([value or 0 for value in values], dtype=np.int64), null)


def doubles(numbers: Floats | None) -> Values:
    """Return a column of numbers, shape (rows,), or of arrays, shape (rows, items); null if there are none."""
    if numbers is None:
        return Constant(None)
    return Doubles(numbers) if numbers.ndim == 1 else Arrays(numbers)


def text(decoded: Decoded, field: Field | None, index: Ints) -> Values:
    """Return a string column of the request as a column to be encoded, without copying it."""
    if field is None:
        return Constant(None)
    column = decoded.columns[field.name]
    assert isinstance(column, contracts.Spans), f"{field.name} is a string"
    null = None if column.null is None else column.null[index]
    return Spans(decoded.buffer, column.start[index], column.length[index], null)


def event_ms(decoded: Decoded, writer: Contract, index: Ints) -> Longs | Constant:
    """Return the event time in milliseconds; microseconds are rounded down."""
    field = writer.role("event_time")
    if field is None:
        return Constant(None)
    column = decoded.columns[field.name]
    assert isinstance(column, Numbers), f"{field.name} is a long"
    values = column.values[index].astype(np.int64)
    micros = field.logical is not None and field.logical.endswith("micros")
    return Longs(values // 1000 if micros else values, None if column.null is None else column.null[index])
