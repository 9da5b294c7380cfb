"""The same values, always the same bytes: what the fingerprint of a request's inputs is taken from.

Room: avro, pure. A datum is canonical as it lies in the buffer unless it has a varint, or a decimal, that is longer
than it need be; only such rows are written again.
"""

from collections.abc import Sequence

import numpy as np

from streams.contracts import Decoded, Field, Spans


def canonical(decoded: Decoded, fields: Sequence[int]) -> list[bytes]:
    """Return, for each row, the Avro encoding of the given fields of the writer, in the given order, in shortest form.

    Two rows give equal bytes exactly when these fields hold equal values. Floating-point values are compared by their
    bits: 0.0 and -0.0 differ, and so do NaNs. A bad row gives b"".
    """
    columns = [_slices(decoded, first, behind) for first, behind in _runs(fields)]
    if len(columns) == 1:
        chunks = columns[0]
    elif columns:
        chunks = [b"".join(pieces) for pieces in zip(*columns, strict=True)]
    else:
        chunks = [b""] * len(decoded.start)
    for row in np.flatnonzero(~decoded.minimal & ~decoded.bad).tolist():
        chunks[row] = b"".join(_shortest(decoded, index, row) for index in fields)
    return chunks


def _runs(fields: Sequence[int]) -> list[tuple[int, int]]:
    """Return neighbouring fields as ranges: those lie side by side in every datum, and make one slice."""
    runs: list[tuple[int, int]] = []
    for index in fields:
        if runs and runs[-1][1] == index:
            runs[-1] = (runs[-1][0], index + 1)
        else:
            runs.append((index, index + 1))
    return runs


def _slices(decoded: Decoded, first: int, behind: int) -> list[bytes]:
    data = decoded.data
    return [data[a:b] for a, b in zip(decoded.edges[first].tolist(), decoded.edges[behind].tolist(), strict=True)]


def _shortest(decoded: Decoded, index: int, row: int) -> bytes:
    """Return one value of one row in its shortest encoding."""
    field = decoded.contract.fields[index]
    column = decoded.columns[field.name]
    if field.null_branch is None:
        return _value(decoded, field, index, row)
    is_null = column.null is not None and bool(column.null[row])
    branch = _varint(field.null_branch if is_null else 1 - field.null_branch)
    return branch if is_null else branch + _value(decoded, field, index, row)


def _value(decoded: Decoded, field: Field, index: int, row: int) -> bytes:
    column = decoded.columns[field.name]
    if isinstance(column, Spans):
        start = int(column.start[row])
        value = decoded.data[start : start + int(column.length[row])]
        if field.kind == "fixed":
            return value
        if field.logical == "decimal":
            number = int.from_bytes(value, "big", signed=True)
            value = number.to_bytes((number + (number < 0)).bit_length() // 8 + 1, "big", signed=True)
        return _varint(len(value)) + value
    if field.kind == "vector":
        return _vector(decoded, field, index, row)
    if field.kind in ("int", "long", "enum"):
        return _varint(int(column.values[row]))
    # Of fixed width: the bits as they came, so that no conversion can make two values one.
    end = int(decoded.edges[index + 1][row])
    return decoded.data[end - {"boolean": 1, "float": 4, "double": 8}[field.kind] : end]


def _vector(decoded: Decoded, field: Field, index: int, row: int) -> bytes:
    """Return a vector's numbers, bit by bit as they came, in one block."""
    data, at = decoded.data, int(decoded.edges[index][row])
    width, items = 4 if field.items == "float" else 8, b""
    if field.null_branch is not None:
        _, at = _read_varint(data, at)
    while True:
        count, at = _read_varint(data, at)
        if count < 0:
            _, at = _read_varint(data, at)
        if not count:
            return _varint(field.size) + items + b"\0"
        end = at + abs(count) * width
        items, at = items + data[at:end], end


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number that was found good at a position, and where it ends."""
    code = shift = 0
    while True:
        byte = data[at]
        code |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return (code >> 1) ^ -(code & 1), at


def _varint(number: int) -> bytes:
    code = (number << 1) ^ (number >> 63)
    written = bytearray()
    while code > 0x7F:
        written.append(code & 0x7F | 0x80)
        code >>= 7
    written.append(code)
    return bytes(written)
