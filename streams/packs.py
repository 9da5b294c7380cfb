"""The changes of one partition in one transaction, packed into as few changelog records as fit.

The changelog is never compacted, so nothing needs a record of its own. A record costs the client and the broker as much
as two hundred bytes do; packed, a batch of a thousand answers costs three records instead of a thousand:

    pack    format byte · number of changes (uint32) · their key lengths (uint16 each) · their value lengths (uint32 each)
            · all keys · all values; integers in big-endian

A change is never split, and the changes of a transaction keep their order: the frames come last.
"""

import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from streams.records import Ints, Put

FORMAT = 1
"""First byte of a pack; a version reads its own and its predecessor's."""
PACK_BYTES = 64 << 10
"""How large a pack may become; a change that is larger has one of its own."""

_HEAD = struct.Struct(">BI")
_KEY, _VALUE = np.dtype(">u2"), np.dtype(">u4")
_EACH = _KEY.itemsize + _VALUE.itemsize


def pack(puts: Sequence[Put], limit: int = PACK_BYTES) -> list[bytes]:
    """Return the changes as packs of at most `limit` bytes, in order; one that is larger alone has its own pack."""
    keys, values = [key for key, _ in puts], [value for _, value in puts]
    key_sizes = np.fromiter(map(len, keys), np.int64, len(keys))
    value_sizes = np.fromiter(map(len, values), np.int64, len(values))
    packs, ends = [], np.cumsum(key_sizes + value_sizes + _EACH)
    begin, packed = 0, 0
    while begin < len(puts):
        end = max(begin + 1, int(np.searchsorted(ends, packed + limit - _HEAD.size, "right")))
        parts = (
            _HEAD.pack(FORMAT, end - begin),
            key_sizes[begin:end].astype(_KEY).tobytes(),
            value_sizes[begin:end].astype(_VALUE).tobytes(),
            *keys[begin:end],
            *values[begin:end],
        )
        packs.append(b"".join(parts))
        begin, packed = end, int(ends[end - 1])
    return packs


def unpack(value: bytes) -> list[Put]:
    """Return the changes of one pack.

    Raises: ValueError if it is not a pack, or one of a format that this version does not read.
    """
    if len(value) < _HEAD.size or value[0] != FORMAT:
        raise ValueError(
            f"a changelog record of {len(value)} bytes, format {value[:1].hex() or 'none'}: this version reads format {FORMAT}"
        )
    _, count = _HEAD.unpack_from(value)
    body = _HEAD.size + count * _EACH
    if len(value) < body:
        raise ValueError(f"a changelog record of {len(value)} bytes is too short for {count} changes")
    keys = _ends(np.frombuffer(value, _KEY, count, _HEAD.size), body)
    values = _ends(np.frombuffer(value, _VALUE, count, _HEAD.size + count * _KEY.itemsize), int(keys[-1]))
    if values[-1] != len(value):
        raise ValueError(f"a changelog record of {len(value)} bytes says that it has {values[-1]}")
    return list(zip(_cut(value, keys), _cut(value, values), strict=True))


def _ends(sizes: Ints, begin: int) -> Ints:
    """Return where the first part begins and where each ends."""
    return np.cumsum(np.concatenate(([begin], sizes.astype(np.int64))))


def _cut(value: bytes, ends: Ints) -> Iterator[bytes]:
    return (value[begin:end] for begin, end in pairwise(ends.tolist()))
