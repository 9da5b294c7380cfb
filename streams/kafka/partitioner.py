"""Which partition a key belongs to: murmur2, as Java's default partitioner and `murmur2_random` have it."""

from collections.abc import Sequence

import confluent_kafka
import numpy as np
import numpy.typing as npt

from streams.records import Ints

SHORT = 64
"""Keys up to this many bytes are hashed in step; longer ones each by the client's own code."""
_SEED, _M = np.uint32(0x9747B28C), np.uint32(0x5BD1E995)
_TAIL = np.array([0, 0xFF, 0xFFFF, 0xFFFFFF], np.uint32)
"""What is kept of a word of which a key has only so many bytes."""


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of a key among `partitions`.

    librdkafka's own default is CRC32: the two agree on about one key in four of four partitions.
    """
    return confluent_kafka.murmur2(key, partitions)


def partitions_of(keys: Sequence[bytes], partitions: int) -> Ints:
    """Return the partition of each key, as `partition_of` does, for many at a fifth of the price."""
    length = np.fromiter(map(len, keys), np.int64, len(keys))
    buffer = np.frombuffer(b"".join([*keys, bytes(4)]), np.uint8)
    owner = (_murmur2(buffer, np.cumsum(length) - length, length) & np.uint32(0x7FFFFFFF)) % np.uint32(partitions)
    owners = owner.astype(np.int64)
    for row in np.flatnonzero(length > SHORT).tolist():
        owners[row] = partition_of(keys[row], partitions)
    return owners


def _murmur2(buffer: npt.NDArray[np.uint8], start: Ints, length: Ints) -> npt.NDArray[np.uint32]:
    """Return the hash of each span of at most SHORT bytes; of longer ones, that of their first bytes."""
    word = np.ndarray((len(buffer) - 3,), "<u4", buffer, strides=(1,))
    length = np.minimum(length, SHORT)
    whole, hashed = length >> 2, _SEED ^ length.astype(np.uint32)
    for at in range(int(whole.max(initial=0))):
        rows = slice(None) if (here := whole > at).all() else np.flatnonzero(here)
        k = word[start[rows] + 4 * at] * _M
        k = (k ^ (k >> np.uint32(24))) * _M
        hashed[rows] = (hashed[rows] * _M) ^ k
    rest = length & 3
    rows = np.flatnonzero(rest)
    if len(rows):
        tail = word[start[rows] + 4 * whole[rows]] & _TAIL[rest[rows]]
        hashed[rows] = (hashed[rows] ^ tail) * _M
    hashed = (hashed ^ (hashed >> np.uint32(13))) * _M
    return hashed ^ (hashed >> np.uint32(15))
