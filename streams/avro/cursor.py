"""A position per row: moving over many datums in step, and setting a row aside at the byte where it fails.

Room: avro, pure. A row that fails, and a row that is null while its value would be read, stand on the zeros behind
the last datum: there every read gives zero, nothing fails, and no other row reads. So a column is read for all rows
at once, without a mask in every step, and a row never uses a byte outside its own datum.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from streams.avro import bits
from streams.contracts import Column, Contract, Decoded, Numbers, Spans, Vectors
from streams.records import Bools, Floats, Ints

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
    "the array has not as many numbers as its length says",
    "the array's block has not the size that it says",
    "the array is in too many blocks",
)
"""What can be wrong with a datum, as words that end a sentence; `Decoded.bad_why` indexes into it."""
(
    GOOD, TRUNCATED, ENDLESS, BEYOND, UNION, BOOLEAN, ENUM, NEGATIVE, TOO_LONG, UTF8, NO_DIGITS, PRECISION, RANGE,
    UUID, LEFT_OVER, LENGTH, BLOCK, BLOCKS,
) = range(len(WHY))  # fmt: skip

INT, LONG = 5, 10
"""Bytes of the longest varint of an int and of a long."""
_TOP = {INT: 0x0F, LONG: 0x01}
"""What the last byte of such a varint may hold: 32 bits are four sevens and four, 64 are nine sevens and one."""


BLOCKS_MAX = 16
"""Blocks of an array with numbers in them. Writers make one, or one for each 64 KiB."""


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
        self._written: list[tuple[Floats, Bools]] = []
        """Each vector's numbers, and which rows have any: the others' are pages of memory that nobody has touched."""
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

    def vectors(self, size: int, item: str) -> Vectors:
        """Read arrays of `size` numbers of NumPy's type `item`: blocks, each with a count before it, until one of none.

        Rows whose array has ended rest on the zeros until all have.
        """
        values, filled = np.zeros((len(self), size), np.float64), np.zeros(len(self), np.int64)
        begin, width = self.at, np.dtype(item).itemsize
        null, behind = self.null, self.at.copy()
        ended = np.zeros(len(self), np.bool_) if null is None else null.copy()
        for block in range(BLOCKS_MAX + 1):
            self.null, at = ended, self.at
            count = self._count(at, width)
            here = ~ended & ~self.bad
            self.fail((count < 0) | (filled + count > size), LENGTH, at)
            self.fail(self.at + count * width > self.end, TRUNCATED, self.at)
            stop = here & (count == 0)
            behind[stop] = self.at[stop]
            ended = ended | stop
            rows = np.flatnonzero(~ended & ~self.bad)
            if not len(rows):
                break
            if block == BLOCKS_MAX:
                self.fail(~ended, BLOCKS, at)
                break
            if block > 0:
                self.minimal[rows] = False
            self._copy(values, rows, filled, count, item)
            filled[rows] += count[rows]
            self._move(np.where(ended, self._zeros, self.at + count * width))
        self.null = null
        self._move(behind if null is None else np.where(null, self._zeros, behind))
        self.fail(filled != size, LENGTH, begin)
        self._written.append((values, filled > 0))
        return Vectors(values, null)

    def _count(self, at: Ints, width: int) -> Ints:
        """Read how many numbers each row's next block has; one that gives its size in bytes, too, must give the right one.

        Returns: what is negative cannot be right: -1 stands for whatever no array has.
        """
        count = self.varint(LONG)
        sized = count < 0
        if self.null is not None:
            sized &= ~self.null
        if sized.any():
            resting, behind = self.null, self.at
            self.null = ~sized if resting is None else resting | ~sized
            self._move(np.where(sized, self.at, self._zeros))
            size = self.varint(LONG)
            count = np.where(sized, np.where(count < -(1 << 40), -1, -count), count)
            self.fail(sized & ((count < 0) | (size != count * width)), BLOCK, at)
            self.minimal[sized] = False
            self.null = resting
            self._move(np.where(sized, self.at, behind))
        return np.where(count > 1 << 40, -1, count)

    def _copy(self, values: Floats, rows: Ints, filled: Ints, count: Ints, item: str) -> None:
        """Take the numbers of a block, for all rows with as many numbers at once."""
        for many in np.unique(count[rows]).tolist():
            mine = rows[count[rows] == many]
            kind = np.dtype(f"V{many * np.dtype(item).itemsize}")
            windows = np.ndarray((len(self.buffer) - kind.itemsize + 1,), kind, self.buffer, strides=(1,))
            with np.errstate(invalid="ignore"):  # widening a signalling NaN is no error here
                numbers = windows[self.at[mine]].view(item).reshape(len(mine), many).astype(np.float64)
            values[mine[:, None], filled[mine][:, None] + np.arange(many)] = numbers

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
                for part in _parts(column):
                    part[gone] = 0
                if column.null is not None:
                    column.null[gone] = False
            for values, written in self._written:
                values[gone[written[gone]]] = 0
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


def _parts(column: Column) -> tuple[Ints | Floats, ...]:
    """Return what a column has a number a row in."""
    match column:
        case Spans(start, length):
            return start, length
        case Numbers(values):
            return (values,)
        case Vectors():
            return ()
