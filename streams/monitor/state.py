"""What the monitor keeps of one partition, as keys and values; and windows as the parts that are published. Room: pure.

Keys begin with a tag (`d` of identities and `f` of frames are the pipeline's):

    d + 16 bytes                     what is known of an identity (`labels.encode`)
    s + subject                      its names, as JSON
    w + window + key of the row      a row's numbers
    p + window                       whether it changed since it was published, in how many chunks that was, and how often
    k + id of a ticket               the ticket, as it was published last (of the partition HOME only)
    m + partition of requests        the latest plausible event time that was counted of it, in milliseconds
    t + hour + identity              when an identity may be freed, in hours since 1970
    r                                the rules by which all this is counted, as JSON
    a                                the clock: when the newest record that was read was appended, in whole minutes

A value is never empty: an empty one takes the key away. A window of the subject TALLY, and number 0, counts records by what became of them; it is published
like the others.
"""

import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from streams.durations import HOUR_MS, MINUTE_MS
from streams.monitor.tasks import Row, described
from streams.monitor.windows import Rules, Window, window_key

SUBJECT, ROW, PUBLISHED, FREE, CLOCK, WATERMARK, TICKET, RULES = b"s", b"w", b"p", b"t", b"a", b"m", b"k", b"r"
TALLY = bytes(8)
RETENTION = "retention_hours"
CHUNK_BYTES = 256 << 10
_PUBLISHED = struct.Struct(">BHI")
_HOUR = struct.Struct(">Q")
_TIME = struct.Struct(">q")
_PART = struct.Struct(">IH")
ROWS = 4_096
"""So many rows, and their bytes, are remembered: most are a score's first prediction, or its first label."""


CLEAN, CHANGED, SEEN_MORE = 0, 1, 2


class Published(NamedTuple):
    """How a window stands to its parts."""

    dirty: int = CLEAN
    """Whether it has changed since, and whether what models saw has (SEEN_MORE)."""
    chunks: int = 0
    revision: int = 0
    """How often it was published."""


@lru_cache(ROWS)
def encode_row(row: Row) -> bytes:
    """Return a row's numbers as bytes: of each its length, and the number, big-endian and signed."""
    parts = []
    for number in row:
        size = (number.bit_length() + 8) // 8 if number else 0
        parts += [bytes((size,)), number.to_bytes(size, "big", signed=True)]
    return b"".join(parts)


@lru_cache(ROWS)
def decode_row(data: bytes) -> Row:
    """Return what `encode_row` was given."""
    row, at = [], 0
    while at < len(data):
        end = at + 1 + data[at]
        row.append(int.from_bytes(data[at + 1 : end], "big", signed=True))
        at = end
    return tuple(row)


def encode_published(published: Published) -> bytes:
    """Return the value."""
    return _PUBLISHED.pack(*published)


def decode_published(data: bytes | None) -> Published:
    """Return what a value says; there is none of a window that was never published, or was freed."""
    return Published() if not data else Published(*_PUBLISHED.unpack(data))


def free_key(at_ms: int, identity: bytes) -> bytes:
    """Return the key that says that an identity may be freed from a time on; rounded up to hours."""
    return FREE + _HOUR.pack(max(0, -(-at_ms // HOUR_MS))) + identity


def parse_free(key: bytes) -> tuple[int, bytes]:
    """Return from when on which identity may be freed, in milliseconds."""
    (hour,) = _HOUR.unpack_from(key, 1)
    return hour * HOUR_MS, key[1 + _HOUR.size :]


def watermark_key(partition: int) -> bytes:
    """Return the key of a partition's watermark; its value is `encode_watermark`'s."""
    return WATERMARK + partition.to_bytes(4, "big")


def parse_watermark_key(key: bytes) -> int:
    """Return the partition."""
    return int.from_bytes(key[1:], "big")


def encode_watermark(event_ms: int) -> bytes:
    """Return the value."""
    return _TIME.pack(event_ms)


def decode_watermark(data: bytes | None) -> int | None:
    """Return the latest event time; None where nothing was counted."""
    return int(_TIME.unpack(data)[0]) if data else None


def encode_clock(now_ms: int) -> bytes:
    """Return the clock's value, in whole minutes."""
    return _TIME.pack(now_ms // MINUTE_MS)


def decode_clock(data: bytes | None) -> int:
    """Return the clock in milliseconds; it begins in 1970."""
    return 0 if data is None else int(_TIME.unpack(data)[0]) * MINUTE_MS


@lru_cache(1)
def encode_rules(rules: Rules) -> bytes:
    """Return what an identity's contribution depends on, and how long what it adds up to is kept."""
    kept = None if rules.retention_ms is None else rules.retention_ms / HOUR_MS
    hours = {"grain_hours": rules.grain_ms / HOUR_MS, "horizon_hours": rules.horizon_ms / HOUR_MS, RETENTION: kept}
    return json.dumps({**hours, "model": described(rules.task)}).encode()


def other_rules(data: bytes | None, rules: Rules) -> str | None:
    """Return how the rules of a state differ from these so that counts would be mixed; None: they do not, or it does not say.

    Under another grain, horizon or model, more would be taken away than was ever added. A retention may become shorter: a
    longer one would open windows again whose rows are gone, and publish what is added to them as if it were all.
    """
    if data is None or data == encode_rules(rules):
        return None
    was, now = json.loads(data), json.loads(encode_rules(rules))
    kept = was.get(RETENTION)
    if kept is None or (now[RETENTION] is not None and now[RETENTION] <= kept):
        was[RETENTION] = now[RETENTION]
    wrong = [name for name in now if was.get(name) != now[name]]
    return ", ".join(f"{name} was {_said(was.get(name))} and is {_said(now[name])}" for name in wrong) or None


def _said(value: Any) -> str:
    return (
        f"{value[0]} ({', '.join(value[1:])})"
        if isinstance(value, list)
        else str("for ever" if value is None else value)
    )


class Subject(NamedTuple):
    """Whose predictions are counted together."""

    model: str
    version: str
    arm: str | None


def encode_subject(subject: Subject) -> bytes:
    """Return the value."""
    return json.dumps(subject, separators=(",", ":")).encode()


def decode_subject(data: bytes) -> Subject:
    """Return the names."""
    return Subject(*json.loads(data))


def tally(counts: Mapping[str, int]) -> dict[bytes, Row]:
    """Return the rows that count what became of records, by name."""
    begin = window_key(Window(TALLY, 0))
    return {begin + name.encode(): (count,) for name, count in counts.items()}


def is_tally(key: bytes) -> bool:
    """Return whether a window, or what begins with one, counts records by what became of them."""
    return key.startswith(TALLY)


def chunks(rows: Iterable[tuple[bytes, bytes]], limit: int = CHUNK_BYTES) -> list[bytes]:
    """Return the rows of a window, by their keys within it, as chunks that are published; rows of zeros are left out.

    Of each row: the key's length, the key, the length of its numbers, its numbers. Keys must be in order.
    """
    done: list[bytes] = []
    parts: list[bytes] = []
    size = 0
    for key, numbers in rows:
        if not numbers.strip(b"\0"):
            continue
        one = b"".join((bytes((len(key),)), key, len(numbers).to_bytes(2, "big"), numbers))
        if size + len(one) > limit and parts:
            done.append(b"".join(parts))
            parts, size = [], 0
        parts.append(one)
        size += len(one)
    return [*done, b"".join(parts)]


def unchunked(chunk: bytes) -> Iterator[tuple[bytes, Row]]:
    """Yield the rows of a chunk by their keys within the window."""
    at = 0
    while at < len(chunk):
        end = at + 1 + chunk[at]
        size = int.from_bytes(chunk[end : end + 2], "big")
        yield chunk[at + 1 : end], decode_row(chunk[end + 2 : end + 2 + size])
        at = end + 2 + size


def part_key(window: bytes, partition: int, chunk: int) -> bytes:
    """Return the key of a part: the window's 16 bytes, the partition, the number of the chunk."""
    return window + _PART.pack(partition, chunk)
