"""Rows of bytes written column by column: what each column adds, and how it lands at every row's position.

Room: avro, pure. A part knows its width in every row before anything is written, so the rows lie end to end in one
buffer of exactly the right size.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from streams.avro import bits
from streams.records import Bools, Bytes8, Ints, Words

_SHORT = 512
"""Texts up to this many bytes are copied one length after the other, all rows together; longer ones row by row."""


class Run(NamedTuple):
    """The same bytes in every row."""

    data: bytes

    @property
    def width(self) -> int:
        """Bytes in every row."""
        return len(self.data)

    def write(self, out: Bytes8, at: Ints) -> None:
        """Write the bytes at every position."""
        if self.data:
            _windows(out, f"V{len(self.data)}")[at] = np.void(self.data)


class Cells(NamedTuple):
    """A value of fixed width in every row that is present; little-endian."""

    values: npt.NDArray[Any]
    present: Bools | None = None

    @property
    def width(self) -> int | Ints:
        """Bytes of each row."""
        size = self.values.itemsize
        return size if self.present is None else size * self.present.astype(np.int64)

    def write(self, out: Bytes8, at: Ints) -> None:
        """Write each value at its position."""
        if self.present is None:
            _windows(out, self.values.dtype)[at] = self.values
        elif self.present.any():
            _windows(out, self.values.dtype)[at[self.present]] = self.values[self.present]


class Varint(NamedTuple):
    """A varint a row, given as its zigzag code; of width 0 where there is none."""

    raw: Words
    width: Ints

    def write(self, out: Bytes8, at: Ints) -> None:
        """Write each varint at its position."""
        bits.write_varints(out, at, self.raw, self.width)


class Text(NamedTuple):
    """Some bytes a row, each somewhere in another buffer."""

    buffer: Bytes8
    start: Ints
    width: Ints

    def write(self, out: Bytes8, at: Ints) -> None:
        """Copy each row's bytes to its position."""
        sizes = np.bincount(np.minimum(self.width, _SHORT + 1), minlength=_SHORT + 2)
        for size in np.flatnonzero(sizes[1 : _SHORT + 1]) + 1:
            rows = slice(None) if sizes[size] == len(at) else np.flatnonzero(self.width == size)
            kind = f"V{size}"
            _windows(out, kind)[at[rows]] = _windows(self.buffer, kind)[self.start[rows]]
        if sizes[-1]:
            rows = np.flatnonzero(self.width > _SHORT)
            spans = (at[rows], self.start[rows], self.width[rows])
            for to, begin, size in zip(*(part.tolist() for part in spans), strict=True):
                out[to : to + size] = self.buffer[begin : begin + size]


Part: TypeAlias = Run | Cells | Varint | Text


def write(parts: Iterable[Part], rows: int) -> list[bytes]:
    """Return each row's bytes: what every part adds to it, in order."""
    data, begins, ends = _written(folded(parts), rows)
    return [data[a:b] for a, b in zip(begins, ends, strict=True)]


def write_twice(head: Cells, parts: Iterable[Part], rows: int) -> tuple[list[bytes], list[bytes]]:
    """Return each row's bytes as `write` does, and once more behind the row's head, which must be there in every row."""
    data, begins, ends = _written([head, *folded(parts)], rows)
    size = head.values.itemsize
    bare = [data[a + size : b] for a, b in zip(begins, ends, strict=True)]
    return bare, [data[a:b] for a, b in zip(begins, ends, strict=True)]


def _written(parts: Sequence[Part], rows: int) -> tuple[bytes, list[int], list[int]]:
    """Return all rows end to end, and where each begins and ends."""
    size = np.zeros(rows, np.int64)
    for part in parts:
        size += part.width
    ends = np.cumsum(size)
    out = np.empty(int(size.sum()), np.uint8)
    at = begins = ends - size
    if rows:
        for part in parts:
            part.write(out, at)
            at = at + part.width
    return out.tobytes(), begins.tolist(), ends.tolist()


def folded(parts: Iterable[Part]) -> Sequence[Part]:
    """Return the parts with neighbouring runs joined."""
    runs: list[Part] = []
    for part in parts:
        if isinstance(part, Run) and runs and isinstance(last := runs[-1], Run):
            runs[-1] = Run(last.data + part.data)
        else:
            runs.append(part)
    return runs


def _windows(buffer: Bytes8, kind: str | np.dtype[Any]) -> npt.NDArray[Any]:
    """Return a view: element i is the value whose bytes begin at i. Elements overlap."""
    dtype = np.dtype(kind)
    return np.ndarray((len(buffer) - dtype.itemsize + 1,), dtype, buffer, strides=(1,))
