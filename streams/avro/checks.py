"""What bytes and numbers must be to be a text, a UUID, a decimal, a date: checked for whole columns.

Room: avro, pure. Each function takes columns (`start` and `length` into the buffer) and answers for every row.
"""

from typing import Final

import numpy as np

from streams.avro import bits
from streams.durations import DAY_MS
from streams.records import Bools, Bytes8, Ints, Words

_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
"""0001-01-01 and 9999-12-31, in days from 1970-01-01."""
_FIRST_MS, _LAST_MS = _FIRST_DAY * DAY_MS, (_LAST_DAY + 1) * DAY_MS - 1

RANGES: Final[dict[str, tuple[int, int]]] = {
    "date": (_FIRST_DAY, _LAST_DAY),
    "time-millis": (0, DAY_MS - 1),
    "time-micros": (0, DAY_MS * 1000 - 1),
    "timestamp-millis": (_FIRST_MS, _LAST_MS),
    "timestamp-micros": (_FIRST_MS * 1000, _LAST_MS * 1000 + 999),
    "local-timestamp-millis": (_FIRST_MS, _LAST_MS),
    "local-timestamp-micros": (_FIRST_MS * 1000, _LAST_MS * 1000 + 999),
}
"""Least and largest number of each logical type: a day's length, and the years 1 to 9999."""

_SHORT = 64
"""Texts up to this many bytes are looked at eight bytes a step, all rows together; longer ones one by one, by C code."""
_HEX = np.zeros(256, np.bool_)
_HEX[list(b"0123456789abcdefABCDEF")] = True
_DASHES = np.array([8, 13, 18, 23])
_DIGITS = np.array([at for at in range(36) if at not in (8, 13, 18, 23)])


def not_utf8(data: bytes, words: Words, start: Ints, length: Ints) -> list[tuple[int, int]]:
    """Return (row, position of the first wrong byte) of every text that is not valid UTF-8.

    Exact: overlong forms, surrogates, code points above U+10FFFF and sequences cut short are wrong.
    """
    rows = np.flatnonzero(~_surely_ascii(words, start, length))
    begin = start[rows].tolist()
    pieces = [data[a:b] for a, b in zip(begin, (start[rows] + length[rows]).tolist(), strict=True)]
    try:
        # A byte below 0x80 ends every sequence, so the joined texts are valid exactly when each of them is.
        b"\n".join(pieces).decode()
        return []
    except UnicodeDecodeError:
        wrong = ((row, at, _first_wrong(piece)) for row, at, piece in zip(rows.tolist(), begin, pieces, strict=True))
        return [(row, at + offset) for row, at, offset in wrong if offset is not None]


def _surely_ascii(words: Words, start: Ints, length: Ints) -> Bools:
    """Return which texts are known to be ASCII; long ones are not looked at."""
    plain: Bools = bits.ascii_only(bits.head(words[start], length))
    rows = np.flatnonzero(plain & (length > 8))
    for offset in range(8, _SHORT, 8):
        if not len(rows):
            return plain
        size = length[rows]
        here = bits.ascii_only(words[start[rows] + np.minimum(offset, size - 8)])
        plain[rows] = here
        rows = rows[here & (size > offset + 8)]
    plain[rows] = False
    return plain


def _first_wrong(piece: bytes) -> int | None:
    try:
        piece.decode()
    except UnicodeDecodeError as error:
        return error.start
    return None


def not_uuid(buffer: Bytes8, start: Ints, length: Ints) -> Bools:
    """Return which texts are not 8-4-4-4-12 hexadecimal digits, in either case."""
    wrong: Bools = length != 36
    rows = np.flatnonzero(~wrong)
    at = start[rows, None]
    wrong[rows] = ~(_HEX[buffer[at + _DIGITS]].all(axis=1) & (buffer[at + _DASHES] == ord("-")).all(axis=1))
    return wrong


def unscaled(buffer: Bytes8, start: Ints, length: Ints) -> Ints:
    """Return big-endian two's complement integers of one to eight bytes; of others, nothing worth reading."""
    return bits.big_endian(buffer)[start].astype(np.int64) >> np.clip(8 * (8 - length), 0, 63)


def outside(data: bytes, buffer: Bytes8, start: Ints, length: Ints, least: int, largest: int) -> Bools:
    """Return which big-endian two's complement integers, of any length, are below `least` or above `largest`."""
    wrong = beyond(unscaled(buffer, start, length), least, largest)
    rows = np.flatnonzero(length > 8)
    spans = zip(start[rows].tolist(), (start[rows] + length[rows]).tolist(), strict=True)
    wrong[rows] = [not least <= int.from_bytes(data[a:b], "big", signed=True) <= largest for a, b in spans]
    return wrong


def beyond(numbers: Ints, least: int, largest: int) -> Bools:
    """Return which numbers are below `least` or above `largest`; bounds beyond 64 bits are fine."""
    low, high = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    if least > high or largest < low:
        return np.ones(len(numbers), np.bool_)
    return (numbers < max(least, low)) | (numbers > min(largest, high))


def padded(buffer: Bytes8, start: Ints, length: Ints) -> Bools:
    """Return which two's complement integers begin with a byte that only repeats the sign."""
    first, second = buffer[start], buffer[start + 1]
    repeats: Bools = ((first == 0x00) & (second < 0x80)) | ((first == 0xFF) & (second >= 0x80))
    return repeats & (length > 1)
