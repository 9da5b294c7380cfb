"""Bytes to columns: one strict decoder that reads all rows of one writer schema in step.

Room: avro, pure. Each field is read for every row at once, and every check is made at the byte where it applies; a row
that fails stops alone (`cursor.py` says how).

Strict is the Avro specification (1.12, "Binary Encoding") plus full consumption of the datum: an index or a length
that a lenient reader would bend into range is an error. An int is at most five bytes and within 32 bits, a long at
most ten and within 64, whether or not their varints are as short as they can be.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np

from streams.avro import bits, checks, cursor
from streams.avro.cursor import WHY as WHY
from streams.avro.cursor import Cursor
from streams.contracts import Column, Contract, Decoded, Field, Numbers, Spans, Vectors
from streams.records import Ints

SHOWN = 80
"""Characters of a value that a sentence shows at most."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def decode(contract: Contract, values: Sequence[bytes], skip: int = 5) -> Decoded:
    """Return the values in columns; the first `skip` bytes of each are framing and are not looked at.

    `bad_at` counts from the first byte behind the framing and names the first byte of what is wrong: of the varint,
    of the value that is cut off or out of range, of the sequence that is not UTF-8, of what is left over. `bad_field`
    is len(contract.fields) for bytes left over, and for a value shorter than its framing.
    A null's number or length is zero; a bad row is zero in every column. NaN and infinities are legal here, and so are
    varints longer than they need be (`minimal`). Takes at most 16 × bytes + 64 × rows × (fields + 4) bytes of memory; room
    for vectors is made for all rows, and touched only where they have numbers.
    Raises nothing for what the values hold.
    """
    rows = Cursor(values, skip, len(contract.fields))
    columns: dict[str, Column] = {}
    for index, field in enumerate(contract.fields):
        rows.begin(index, field.null_branch)
        columns[field.name] = _column(rows, field)
    return rows.finish(contract, columns)


def _column(rows: Cursor, field: Field) -> Column:
    """Read one field of every row."""
    match field.kind:
        case "int" | "long" | "enum":
            return Numbers(_whole_numbers(rows, field), rows.null)
        case "boolean":
            at = rows.take(1)
            truth = rows.buffer[at].astype(np.int64)
            rows.fail(truth > 1, cursor.BOOLEAN, at)
            return Numbers(truth, rows.null)
        case "double":
            return Numbers(bits.doubles(rows.buffer)[rows.take(8)], rows.null)
        case "float":
            with np.errstate(invalid="ignore"):  # widening a signalling NaN is no error here
                return Numbers(bits.floats(rows.buffer)[rows.take(4)].astype(np.float64), rows.null)
        case "vector":
            return rows.vectors(field.size, "<f4" if field.items == "float" else "<f8")
        case "fixed":
            length = np.full(len(rows), field.size, np.int64)
            if rows.null is not None:
                length[rows.null] = 0
            spans = Spans(rows.take(field.size), length, rows.null)
        case "string" | "bytes":
            spans = rows.spans()
    if field.kind == "string":
        _check_text(rows, spans, field)
    if field.logical == "decimal":
        _check_decimal(rows, spans, field)
    return spans


def _whole_numbers(rows: Cursor, field: Field) -> Ints:
    at = rows.at
    numbers = rows.varint(cursor.LONG if field.kind == "long" else cursor.INT)
    if field.kind == "enum":
        rows.fail(checks.beyond(numbers, 0, len(field.symbols) - 1), cursor.ENUM, at)
    elif field.logical is not None:
        rows.fail(checks.beyond(numbers, *checks.RANGES[field.logical]), cursor.RANGE, at)
    return numbers


def _check_text(rows: Cursor, spans: Spans, field: Field) -> None:
    wrong = checks.not_utf8(rows.data, rows.words, spans.start, spans.length)
    if wrong:
        is_wrong, at = np.zeros(len(rows), np.bool_), spans.start.copy()
        for row, position in wrong:
            is_wrong[row], at[row] = True, position
        rows.fail(is_wrong, cursor.UTF8, at)
    if field.logical == "uuid":
        rows.fail(checks.not_uuid(rows.buffer, spans.start, spans.length), cursor.UUID, spans.start)


def _check_decimal(rows: Cursor, spans: Spans, field: Field) -> None:
    start, length, most = spans.start, spans.length, 10**field.precision - 1
    rows.fail(length == 0, cursor.NO_DIGITS, start)
    rows.fail(checks.outside(rows.data, rows.buffer, start, length, -most, most), cursor.PRECISION, start)
    if field.kind == "bytes":
        rows.minimal[checks.padded(rows.buffer, start, length)] = False


def slices(decoded: Decoded, name: str) -> list[bytes | None]:
    """Return the bytes of every row of a string, bytes or fixed column; None for null, b"" for a bad row."""
    column = _spans(decoded, name)
    found: list[bytes | None] = [*known(decoded, name)]
    if column.null is not None:
        for row in np.flatnonzero(column.null).tolist():
            found[row] = None
    return found


def known(decoded: Decoded, name: str) -> list[bytes]:
    """Return the bytes of every row as `slices` does, but b"" for null, too."""
    column, data = _spans(decoded, name), decoded.data
    ends = (column.start + column.length).tolist()
    return [data[a:b] for a, b in zip(column.start.tolist(), ends, strict=True)]


def text(decoded: Decoded, name: str, row: int) -> str | None:
    """Return one string of a string column; None for null."""
    column = _spans(decoded, name)
    return None if _is_null(column, row) else _bytes(decoded, column, row).decode()


def show(decoded: Decoded, name: str, row: int) -> str:
    """Return one value as a sentence can show it: at most SHOWN printable characters, whatever the sender wrote."""
    field = decoded.contract.field(name)
    column = decoded.columns[name]
    if field is None or _is_null(column, row):
        return "null"
    shown = _shown(decoded, field, column, row)
    return shown if len(shown) <= SHOWN else shown[: SHOWN - 1] + "…"


def _shown(decoded: Decoded, field: Field, column: Column, row: int) -> str:
    if isinstance(column, Spans):
        # No more is turned into text than can be shown: at most four bytes are a character.
        value = decoded.data[(a := int(column.start[row])) : a + min(int(column.length[row]), 4 * SHOWN + 4)]
        if field.logical == "decimal":
            return str(Decimal(int.from_bytes(_bytes(decoded, column, row), "big", signed=True)).scaleb(-field.scale))
        return json.dumps(value.decode("utf-8", "replace")) if field.kind == "string" else f"0x{value.hex()}"
    if isinstance(column, Vectors):
        return str(column.values[row, : SHOWN // 2].tolist())
    number: int | float = column.values[row].item()
    match field.logical or field.kind:
        case "boolean":
            return "true" if number else "false"
        case "enum":
            return field.symbols[int(number)]
        case "date":
            return (_EPOCH + timedelta(days=number)).date().isoformat()
        case "time-millis" | "time-micros":
            micros = number * (1000 if field.logical == "time-millis" else 1)
            return (_EPOCH + timedelta(microseconds=micros)).time().isoformat()
        case str(unit) if unit.endswith(("-millis", "-micros")):
            micros = number * (1000 if unit.endswith("-millis") else 1)
            local = (_EPOCH + timedelta(microseconds=micros)).replace(tzinfo=None).isoformat()
            return local if unit.startswith("local-") else local + "Z"
    return str(number)


def _spans(decoded: Decoded, name: str) -> Spans:
    column = decoded.columns[name]
    if not isinstance(column, Spans):
        raise TypeError(f"field {name} is a column of numbers, not of bytes")
    return column


def _bytes(decoded: Decoded, column: Spans, row: int) -> bytes:
    start = int(column.start[row])
    return decoded.data[start : start + int(column.length[row])]


def _is_null(column: Column, row: int) -> bool:
    return column.null is not None and bool(column.null[row])
