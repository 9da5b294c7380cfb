"""Frames and the headers of dead letters: bytes that other versions and other tools must be able to read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.frames import ENTRY, FRAME, frame_put, is_frame, parse_frame
from streams.headers import dead_letter_headers, origin_of, topic_id_bytes, topic_id_text
from streams.reasons import Reason
from streams.records import Frame, Origin

ID = bytes(range(16))
LOG = b"L" * 16


def test_frame_bytes() -> None:
    """The format is pinned: tag and topic; format byte, topic id, offset in big-endian, the changelog's id."""
    value = b"\x01" + ID + b"\x00\x00\x00\x00\x00\x00\x01\x02" + LOG
    assert (b"fin", value) == frame_put("in", Frame(ID, 258, LOG))


@given(st.text(min_size=1), st.binary(min_size=16, max_size=16), st.integers(0, 2**63 - 1))
def test_frame_round_trip(topic: str, topic_id: bytes, offset: int) -> None:
    """What was written is read again; a frame's key is never a state entry's."""
    put = frame_put(topic, Frame(topic_id, offset, LOG))
    assert is_frame(put[0])
    assert (topic, Frame(topic_id, offset, LOG)) == parse_frame(put)


def test_what_is_no_frame_is_refused() -> None:
    """Other keys, other formats and cut values raise; they are never read as some offset."""
    _, good = frame_put("in", Frame(ID, 1, LOG))
    assert not is_frame(ENTRY + b"x")
    assert not is_frame(b"")
    for bad in (
        (ENTRY + b"in", good),
        (FRAME + b"in", b"\x02" + good[1:]),
        (FRAME + b"in", good[:-1]),
        (FRAME + b"in", b""),
    ):
        with pytest.raises(ValueError):
            parse_frame(bad)
    with pytest.raises(ValueError, match="16"):
        frame_put("in", Frame(b"short", 1, LOG))
    with pytest.raises(ValueError, match="16"):
        frame_put("in", Frame(ID, 1, b"short"))


def test_topic_id_is_written_as_kafka_writes_it() -> None:
    """URL-safe base64 without padding, as `kafka-topics.sh --describe` prints it."""
    assert "px1iKLBqTpe5bWjxBswoVQ" == topic_id_text(bytes.fromhex("a71d6228b06a4e97b96d68f106cc2855"))
    assert ID == topic_id_bytes(topic_id_text(ID))
    with pytest.raises(ValueError):
        topic_id_bytes("AAAA")


def test_dead_letter_headers_name_their_request() -> None:
    """Names are Kafka's own where it has them, values are text; the origin is read back."""
    origin = Origin("in", ID, 3, 12345)
    headers = dead_letter_headers(origin, Reason.EMPTY, "words")
    assert [
        ("__dlq.errors.topic", b"in"),
        ("__dlq.errors.topic.id", b"AAECAwQFBgcICQoLDA0ODw"),
        ("__dlq.errors.partition", b"3"),
        ("__dlq.errors.offset", b"12345"),
        ("__dlq.errors.reason", b"EMPTY"),
        ("__dlq.errors.message", b"words"),
    ] == headers
    assert origin == origin_of(headers)


def test_forged_headers_of_the_request_do_not_count() -> None:
    """A request may bring headers of these names; ours are appended, and the last one counts."""
    origin = Origin("in", ID, 3, 12345)
    forged = dead_letter_headers(Origin("other", ID, 0, 0), Reason.EMPTY, "")
    assert origin == origin_of(forged + dead_letter_headers(origin, Reason.EMPTY, ""))


@pytest.mark.parametrize("missing", range(4))
def test_headers_that_name_no_request(missing: int) -> None:
    """A dead letter that does not say where it comes from has no origin, and raises nothing."""
    headers = dead_letter_headers(Origin("in", ID, 3, 12345), Reason.EMPTY, "")
    assert None is origin_of(headers[:missing] + headers[missing + 1 :])
    assert None is origin_of([*headers, (headers[missing][0], b"\xff\xfe")])
    assert None is origin_of(None)
