"""A position per row: moving over many datums in step, and setting a row aside at the byte where it fails.

Room: avro, pure. A row that fails, and a row that is null while its value would be read, stand on the zeros behind
the last datum: there every read gives zero, nothing fails, and no other row reads. So a column is read for all rows
at once, without a mask in every step, and a row never uses a byte outside its own datum.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from streams.avro import bits
from streams.contracts import Column, Contract, Decoded, Numbers, Spans
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

INT, LONG = 5, 10
"""Bytes of the longest varint of an int and of a long."""
_TOP = {INT: 0x0F, LONG: 0x01}
"""What the last byte of such a varint may hold: 32 bits are four sevens and four, 64 are nine sevens and one."""


class Cursor:
    """All rows of one batch, each at its own position.

    `begin` a field, read it with `take`, `varint` or `spans`, `fail` the rows whose value is wrong; then the next;
    `finish` at last. `at` is where each row reads next, `null` which rows have no value in this field.
    """

    def __init__(self, datums: Sequence[bytes], skip: int, fields: int) -> None:
        count = len(datums)
        self.data = b"".join([*datums, bytes(bits.PADDING)])
        self.buffer = np.frombuffer(self.data, np.uint8)
        self.words = bits.words(self.buffer)
        lengths = np.fromiter(map(len, datums), np.int64, count)
        ends = np.cumsum(lengths)
        self.start = ends - lengths + np.minimum(lengths, skip)
        self.end = ends
        self.edges = np.empty((fields + 1, count), np.int64)
        self.minimal = np.ones(count, np.bool_)
        self.bad = np.zeros(count, np.bool_)
        self.bad_field, self.bad_at, self.bad_why = (np.zeros(count, np.int64) for _ in range(3))
        self.null: Bools | None = None
        self.at = self.start.copy()
        self._zeros = len(self.data) - bits.PADDING
        self._gone = np.empty(0, np.int64)
        self._field = fields
        self._behind_union = self.at
        self.fail(lengths < skip, TRUNCATED, self.at)

    def __len__(self) -> int:
        return len(self.start)

    def begin(self, field: int, null_branch: int | None) -> None:
        """Go to the next field; if it is a union with null, read which rows are null and set those aside."""
        self._leave()
        self._field = field
        self.edges[field] = self.at
        if null_branch is None:
            return
        before = self.at
        branch = self.varint(INT)
        self.fail((branch < 0) | (branch > 1), UNION, before)
        self.null = branch == null_branch
        self._behind_union = self.at
        self.at = np.where(self.null, self._zeros, self.at)

    def take(self, size: int | Ints) -> Ints:
        """Move over `size` bytes; return where they began. Rows with fewer bytes left are TRUNCATED."""
        before = self.at
        after = before + size
        self.fail(after > self.end, TRUNCATED, before)
        self._move(after)
        return before

    def varint(self, longest: int) -> Ints:
        """Read an int (INT) or a long (LONG)."""
        at = self.at
        first = self.buffer[at]
        raw = first.astype(np.uint64)
        rows = np.flatnonzero(first >= 0x80)
        if not len(rows):
            self.take(1)
            return bits.unzigzag(raw)
        more = bits.read_varints(self.buffer, self.words, at[rows])
        raw[rows] = more.raw
        width = np.ones(len(self), np.int64)
        width[rows] = np.minimum(more.width, longest)
        self.take(width)
        wrong = np.zeros(len(self), np.bool_)
        wrong[rows] = more.width > longest
        self.fail(wrong, ENDLESS, at)
        wrong[rows] = (more.width == longest) & (more.last > _TOP[longest])
        self.fail(wrong, BEYOND, at)
        self.minimal[rows[more.last == 0]] = False
        return bits.unzigzag(raw)

    def spans(self) -> Spans:
        """Read a length and move over as many bytes."""
        before = self.at
        length = self.varint(LONG)
        start = self.at
        self.fail(length < 0, NEGATIVE, before)
        self.fail(length > self.end - start, TOO_LONG, before)
        length[self._gone] = 0
        self._move(start + length)
        return Spans(start, length, self.null)

    def fail(self, wrong: Bools, why: int, at: Ints) -> None:
        """Set rows aside for good, unless they are null or failed before; `at` is where the wrong thing begins."""
        if not wrong.any():
            return
        wrong = wrong & ~self.bad  # a row that stands on the zeros is behind its own end: that is no new failure
        rows = np.flatnonzero(wrong if self.null is None else wrong & ~self.null)
        self.bad[rows] = True
        self.bad_field[rows] = self._field
        self.bad_why[rows] = why
        self.bad_at[rows] = at[rows] - self.start[rows]
        self._gone = np.concatenate((self._gone, rows))

    def finish(self, contract: Contract, columns: Mapping[str, Column]) -> Decoded:
        """Check that every datum was read to its end; return the columns, with bad rows emptied."""
        self._leave()
        fields = len(contract.fields)
        self._field = fields
        self.fail(self.at != self.end, LEFT_OVER, self.at)
        self.edges[fields] = self.at
        gone = self._gone
        if len(gone):
            self.edges[:, gone] = self.start[gone]
            self.minimal[gone] = False
            for column in columns.values():
                for part in (column.values,) if isinstance(column, Numbers) else (column.start, column.length):
                    part[gone] = 0
                if column.null is not None:
                    column.null[gone] = False
        return Decoded(
            contract, self.buffer, self.data, self.start, self.end, columns, self.edges,
            self.minimal, self.bad, self.bad_field, self.bad_at, self.bad_why,
        )  # fmt: skip

    def _leave(self) -> None:
        """End the current field: rows that were null go on behind their union index."""
        if self.null is not None:
            self._move(np.where(self.null, self._behind_union, self.at))
            self.null = None

    def _move(self, to: Ints) -> None:
        """Go on at `to`, a fresh array; rows that failed go to the zeros."""
        to[self._gone] = self._zeros
        self.at = to
