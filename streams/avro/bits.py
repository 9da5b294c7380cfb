"""Whole columns of bytes at once: words read at any position, and Avro's variable-length integers.

Room: avro, pure. A buffer must have PADDING bytes behind its last datum: a read that begins inside a datum then never
leaves the buffer, and what it picked up behind the datum is masked or refused by the caller.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from streams.records import Bools, Bytes8, Floats, Ints, Words

PADDING = 64
VARINT_MAX = 10
"""Bytes of the longest varint: 64 bits, seven a byte."""

_STOPS = np.uint64(0x8080808080808080)
_PAYLOAD = np.uint64(0x7F7F7F7F7F7F7F7F)
_ONES = np.uint64(0x0101010101010101)
_ZERO, _ONE, _SEVEN = np.uint64(0), np.uint64(1), np.uint64(7)
_LOWEST = np.array([(1 << 8 * size) - 1 for size in range(9)], np.uint64)
_WIDTHS = np.array([1 << 7 * size for size in range(1, VARINT_MAX)], np.uint64)


def words(buffer: Bytes8) -> Words:
    """Return a view: element i is bytes i to i + 7 as one little-endian integer. Index it, don't `take`: 7 × slower."""
    return np.ndarray((len(buffer) - 7,), "<u8", buffer, strides=(1,))


def big_endian(buffer: Bytes8) -> Ints:
    """Return a view: element i is bytes i to i + 7 as one big-endian signed integer."""
    return np.ndarray((len(buffer) - 7,), ">i8", buffer, strides=(1,))


def doubles(buffer: Bytes8) -> Floats:
    """Return a view: element i is the double whose bytes begin at i."""
    return np.ndarray((len(buffer) - 7,), "<f8", buffer, strides=(1,))


def floats(buffer: Bytes8) -> npt.NDArray[np.float32]:
    """Return a view: element i is the float whose bytes begin at i."""
    return np.ndarray((len(buffer) - 3,), "<f4", buffer, strides=(1,))


def head(word: Words, length: Ints) -> Words:
    """Return each word with only its first `length` bytes kept; eight at most."""
    return word & _LOWEST[np.minimum(length, 8)]


def ascii_only(word: Words) -> Bools:
    """Return whether all eight bytes of each word are below 0x80."""
    plain: Bools = (word & _STOPS) == _ZERO
    return plain


class Varints(NamedTuple):
    """Varints as they lie in the buffer, whatever they mean."""

    raw: Words
    """The payload, seven bits a byte, low bits first; of ten bytes, the low 64 bits."""
    width: Ints
    """Bytes up to and including the first without its high bit, or VARINT_MAX + 1 where the first ten all have it."""
    last: Bytes8
    """The byte in which it ends; of ten bytes and more, the tenth."""


def read_varints(buffer: Bytes8, view: Words, at: Ints) -> Varints:
    """Return the varint that begins at each position, eight bytes in one step; `view` is `words(buffer)`."""
    word = view[at]
    stops = ~word & _STOPS
    stop = stops & (_ZERO - stops)
    kept = stop | (stop - _ONE)  # all bytes up to the one that stops; all eight where none does
    width = (((kept & _ONES) * _ONES) >> np.uint64(56)).astype(np.int64)
    raw = word & kept & _PAYLOAD
    for shift, low in ((1, 0x007F007F007F007F), (2, 0x00003FFF00003FFF), (4, 0x000000000FFFFFFF)):
        mask = np.uint64(low)
        raw = (raw & mask) | ((raw & ~mask) >> np.uint64(shift))
    rows = np.flatnonzero(stops == _ZERO)
    if len(rows):
        ninth, tenth = buffer[at[rows] + 8], buffer[at[rows] + 9]
        raw[rows] |= (ninth.astype(np.uint64) & np.uint64(0x7F)) << np.uint64(56)
        goes_on = ninth >= 0x80
        raw[rows[goes_on]] |= (tenth[goes_on].astype(np.uint64) & _ONE) << np.uint64(63)
        width[rows] = np.where(goes_on, np.where(tenth >= 0x80, VARINT_MAX + 1, VARINT_MAX), 9)
    return Varints(raw, width, buffer[at + np.minimum(width, VARINT_MAX) - 1])


def unzigzag(raw: Words) -> Ints:
    """Return the signed integers that zigzag codes stand for."""
    return ((raw >> _ONE) ^ (_ZERO - (raw & _ONE))).view(np.int64)


def zigzag(values: Ints) -> Words:
    """Return the zigzag codes of signed integers: 0, -1, 1, -2 become 0, 1, 2, 3."""
    return ((values << 1) ^ (values >> 63)).view(np.uint64)


def varint_widths(raw: Words) -> Ints:
    """Return how many bytes the shortest varint of each code has, 1 to 10."""
    width, most = np.ones(len(raw), np.int64), raw.max(initial=0)
    for least in _WIDTHS:
        if most < least:
            break
        width += raw >= least
    return width


def write_varints(out: Bytes8, at: Ints, raw: Words, width: Ints) -> None:
    """Write the shortest varint of each code at its position of `out`.

    `width` is what `varint_widths` says, or 0 where nothing is to be written.
    """
    for index in range(int(width.max(initial=0))):
        if int(width.min()) <= index:
            longer = width > index
            at, raw, width = at[longer], raw[longer], width[longer]
        more = (width > index + 1).astype(np.uint64)
        out[at + index] = (raw & np.uint64(0x7F)) | (more << _SEVEN)
        raw = raw >> _SEVEN
