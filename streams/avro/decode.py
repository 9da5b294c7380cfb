"""Bytes to columns: one strict decoder that reads all rows of one writer schema in step.

Room: avro, pure. A position per row; each field is read for every row at once, and every check is made at the byte
where it applies. A row that fails is set aside: its position goes to the zeros behind the last datum, where nothing
can fail and nobody else reads. A row reads from its own position only, so it cannot move another row's boundary.

Strict is the Avro specification (1.12, "Binary Encoding") plus full consumption of the datum: an index or a length
that a lenient reader would bend into range is an error. An int is at most five bytes and within 32 bits, a long at
most ten and within 64, whether or not their varints are as short as they can be.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from streams.avro import bits, values
from streams.contracts import Column, Contract, Decoded, Field, Numbers, Spans
from streams.records import Bools, Ints

WHY: Final = (
    "",
    "the datum ends inside the value",
    "the varint does not end where it must",
    "the number is beyond its bits",
    "the union index is neither 0 nor 1",
    "the boolean is neither 0 nor 1",
    "the enum index is out of range",
    "the length is negative",
    "the length reaches beyond the datum",
    "the text is not valid UTF-8",
    "the decimal has no bytes",
    "the decimal has more digits than its precision",
    "the date or time is out of range",
    "the text is not a UUID",
    "bytes are left over",
)
"""What can be wrong with a datum, as words that end a sentence; `Decoded.bad_why` indexes into it."""
(
    GOOD, TRUNCATED, ENDLESS, BEYOND, UNION, BOOLEAN, ENUM, NEGATIVE, TOO_LONG, UTF8, NO_DIGITS, PRECISION, RANGE,
    UUID, LEFT_OVER,
) = range(len(WHY))  # fmt: skip

FAR = 1 << 62
"""Where a row ends that reads zeros: never."""


def decode(contract: Contract, values: Sequence[bytes], skip: int = 5) -> Decoded:
    """Return the values in columns; the first `skip` bytes of each are framing and are not looked at.

    `bad_at` counts from the first byte behind the framing and names the first byte of what is wrong: of the varint,
    of a value that is cut off or out of range, of the sequence that is not UTF-8, of what is left over. `bad_field` is
    len(contract.fields) for bytes left over and for a value shorter than its framing.
    A row that is null holds zeros, a row that is bad holds zeros in every column. NaN and infinities are legal here.
    Takes O(bytes + rows × fields) memory. Never raises for what the values hold.
    """
    rows = _Rows(contract, values, skip)
    columns: dict[str, Column] = {}
    for index, field in enumerate(contract.fields):
        rows.begin(index, field.null_branch)
        columns[field.name] = _column(rows, field)
    return rows.end_all(contract, columns)


def _column(rows: "_Rows", field: Field) -> Column:
    """Read one field of every row."""
    match field.kind:
        case "int" | "long" | "enum":
            return Numbers(_whole(rows, field), rows.null)
        case "boolean":
            byte = rows.buffer[rows.at].astype(np.int64)
            rows.take(1)
            rows.fail(byte > 1, BOOLEAN)
            return Numbers(rows.zero_absent(byte), rows.null)
        case "double":
            number = rows.doubles[rows.at]
            rows.take(8)
            return Numbers(rows.zero_absent(number), rows.null)
        case "float":
            number = rows.floats[rows.at].astype(np.float64)
            rows.take(4)
            return Numbers(rows.zero_absent(number), rows.null)
        case "fixed":
            length = rows.zero_absent(np.full(len(rows), field.size, np.int64))
            spans = Spans(rows.at, length, rows.null)
            rows.take(field.size)
        case "string" | "bytes":
            spans = rows.spans()
    _check_spans(rows, field, spans)
    return spans
