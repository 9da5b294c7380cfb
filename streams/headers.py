"""The headers of a dead letter: which record it was, and why it was set aside.

The names `__dlq.errors.topic`, `.partition`, `.offset` and `.message` are those of Kafka's own dead-letter queues
(KIP-1191); `.topic.id` and `.reason` are ours. All values are text: numbers in decimal, the topic id as Kafka's tools
print it (URL-safe base64 without padding). The dead letter's key and value are the original's, untouched.

A label that was copied to the topic that is keyed by request, or set aside instead, carries `answeronce.origin`: the id of the
topic that it came from, partition, offset, and when it was appended there (milliseconds), joined by colons.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import NamedTuple

from streams.reasons import Reason
from streams.records import Headers, Origin

TOPIC = "__dlq.errors.topic"
TOPIC_ID = "__dlq.errors.topic.id"
PARTITION = "__dlq.errors.partition"
OFFSET = "__dlq.errors.offset"
REASON = "__dlq.errors.reason"
MESSAGE = "__dlq.errors.message"
HEADERS = "__dlq.errors.headers"
LABEL_ORIGIN = "answeronce.origin"
UNREADABLE: Headers = [(HEADERS, b"The record's own headers are not carried: a header's name is not UTF-8.")]
"""Stands for headers that the client cannot hand over; a dead letter carries it, other terminal records do not."""


def topic_id_text(topic_id: bytes) -> str:
    """Return a topic's 16-byte id as Kafka's tools print it: 22 characters."""
    return urlsafe_b64encode(topic_id).rstrip(b"=").decode()


def topic_id_bytes(text: str) -> bytes:
    """Return the 16 bytes of a topic id's text. Raises: ValueError."""
    topic_id = urlsafe_b64decode(text + "==")
    if len(topic_id) != 16:
        raise ValueError(f"a topic id has 16 bytes, {text!r} has {len(topic_id)}")
    return topic_id


def dead_letter_headers(origin: Origin, reason: Reason, sentence: str) -> Headers:
    """Return the headers that name a dead letter's origin and the reason it was set aside for."""
    return [
        (TOPIC, origin.topic.encode()),
        (TOPIC_ID, topic_id_text(origin.topic_id).encode()),
        (PARTITION, b"%d" % origin.partition),
        (OFFSET, b"%d" % origin.offset),
        (REASON, reason.name.encode()),
        (MESSAGE, sentence.encode()),
    ]


def origin_of(headers: Headers | None) -> Origin | None:
    """Return the origin that a dead letter's headers name, or None if they do not name one.

    The *last* header of a name counts: a request may bring headers of these names along, and ours are appended.
    """
    found = {name: value for name, value in headers or () if value is not None}
    try:
        return Origin(
            found[TOPIC].decode(),
            topic_id_bytes(found[TOPIC_ID].decode("ascii")),
            int(found[PARTITION]),
            int(found[OFFSET]),
        )
    except (KeyError, ValueError):
        return None


class LabelOrigin(NamedTuple):
    """Where a label came from, and when."""

    topic_id: bytes
    partition: int
    offset: int
    append_ms: int


def label_headers(origin: Origin, append_ms: int) -> Headers:
    """Return the header that says where a copied label came from, and when it was appended there."""
    said = f"{topic_id_text(origin.topic_id)}:{origin.partition}:{origin.offset}:{append_ms}"
    return [(LABEL_ORIGIN, said.encode())]


def label_origin(headers: Headers | None) -> LabelOrigin | None:
    """Return where the label that a copy is of came from, or None if it does not say; the last header counts."""
    said = next((value for name, value in reversed(headers or ()) if name == LABEL_ORIGIN and value is not None), b"")
    try:
        topic_id, partition, offset, append_ms = said.decode("ascii").split(":")
        return LabelOrigin(topic_id_bytes(topic_id), int(partition), int(offset), int(append_ms))
    except ValueError:
        return None
