"""Columns of integers in one field of bytes. Room: pure.

packed   number of rows (uint32) · of each column: bytes a number (1, 2, 4 or 8), numbers; little-endian and signed
"""

import numpy as np

from streams.records import Ints

SIZES = (1, 2, 4, 8)


def pack(*columns: Ints) -> bytes:
    """Return some columns of one length, each in as few bytes a number as it needs."""
    parts = [len(columns[0]).to_bytes(4, "little")]
    for column in columns:
        kind = np.min_scalar_type(-int(np.abs(column).max(initial=0)) - 1)
        parts += [bytes((kind.itemsize,)), column.astype(kind.newbyteorder("<")).tobytes()]
    return b"".join(parts)


def unpack(data: bytes, columns: int) -> tuple[Ints, ...]:
    """Return so many columns that `pack` was given. Raises: ValueError if the bytes are not that."""
    n, at, found = int.from_bytes(data[:4], "little"), 4, []
    for _ in range(columns):
        size = data[at] if at < len(data) else 0
        if size not in SIZES or at + 1 + n * size > len(data):
            raise ValueError(f"{len(data)} bytes are not {columns} columns of {n} numbers")
        found.append(np.frombuffer(data, f"<i{size}", n, at + 1).astype(np.int64))
        at += 1 + n * size
    if at != len(data):
        raise ValueError(f"{len(data) - at} bytes are left over")
    return tuple(found)
