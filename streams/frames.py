"""What one change in the changelog means, as bytes: a frame (how far a source partition was consumed) or a state entry.

Changes travel in packs (`packs.py`). Keys begin with a tag, so the two can share a log; values begin with a format
byte, and version n reads n-1:

    frame   key = b"f" + topic as UTF-8      value = 1 · topic id (16 bytes) · next offset (int64, big-endian)
                                                     · the changelog's own topic id (16 bytes)
    entry   key = b"d" + …                   value = what `dedupe` says

A frame's partition is the changelog partition that it lies in: partition i of every lane shares one changelog partition.
"""

import struct

from streams.records import Frame, Put

FRAME = b"f"
"""First byte of a frame's key."""
ENTRY = b"d"
"""First byte of the key of a dedupe entry."""
FORMAT = 1
"""The format byte that this version writes into frames."""

_VALUE = struct.Struct(">B16sq16s")


def frame_put(topic: str, frame: Frame) -> Put:
    """Return the change that says how far a partition of `topic` was consumed.

    Raises: ValueError if an id is not 16 bytes long (`struct` would pad or cut it without a word).
    """
    for name, topic_id in ((topic, frame.topic_id), ("the changelog", frame.log_id)):
        if len(topic_id) != 16:
            raise ValueError(f"the id of {name} has {len(topic_id)} bytes, not 16")
    return FRAME + topic.encode(), _VALUE.pack(FORMAT, frame.topic_id, frame.next_offset, frame.log_id)


def is_frame(key: bytes) -> bool:
    """Return whether a changelog key is a frame's."""
    return key[:1] == FRAME


def parse_frame(put: Put) -> tuple[str, Frame]:
    """Return the topic and the frame of a change whose key `is_frame`.

    Raises: ValueError if it is not a frame, or one of a format that this version does not read.
    """
    key, value = put
    if not is_frame(key):
        raise ValueError(f"not a frame: the key begins with {key[:1]!r}")
    if len(value) != _VALUE.size or value[0] != FORMAT:
        raise ValueError(
            f"a frame of {len(value)} bytes, format {value[:1].hex() or 'none'}: this version reads format {FORMAT} "
            f"of {_VALUE.size} bytes. Was the changelog written by a newer version?"
        )
    _, topic_id, next_offset, log_id = _VALUE.unpack(value)
    return key[1:].decode(), Frame(topic_id, next_offset, log_id)
