"""Each cause has its reason, its topic and its sentence; the neighbours of a bad record are not touched."""

import json
import struct
from hashlib import sha256
from typing import Any

import numpy as np
import pytest

from streams.avro.acceptance import judge
from streams.avro.id_cache import Remembered
from streams.avro.schema import parse
from streams.contracts import Contract, Decoded, Reading, Snapshot, Unreadable
from streams.kafka.partitioner import partition_of
from streams.pipeline import read
from streams.pipeline.outcomes import DETAIL_MAX
from streams.ports import Refusals
from streams.reasons import REASONS, Reason
from streams.records import TP, Detail, Floats, Ints
from tests.pipeline import world
from tests.pipeline.world import (
    AGELESS,
    CONTRACT,
    LANE,
    SCHEMA,
    SNAPSHOT,
    Sent,
    app,
    batch,
    loan,
    numbered,
    run,
    sent,
)


def changed(**fields: Any) -> dict[str, Any]:
    """The contract with some fields changed; a field given as None is left out."""
    kept = [
        {**field, **(fields.get(field["name"]) or {})}
        for field in SCHEMA["fields"]
        if fields.get(field["name"], {}) is not None
    ]
    return {**SCHEMA, "fields": kept}


RENAMED = changed(amount={"name": "sum"})
WIDENED = changed(amount={"type": "float"})
MICROS = changed(event_time={"type": {"type": "long", "logicalType": "timestamp-micros"}})
NAMELESS = changed(request_id={"role": None}, tenant={"role": None})
NAMELESS["fields"] = [{k: v for k, v in field.items() if v is not None} for field in NAMELESS["fields"]]
EXTRA = {**SCHEMA, "fields": [*SCHEMA["fields"], {"name": "colour", "type": "string"}]}


def decided(schema: dict[str, Any], *, drop: bool = False) -> Reading | Unreadable:
    """What the registry's room makes of a schema for a model that accepts CONTRACT."""
    entry = Remembered(json.dumps(schema), "AVRO", False, frozenset())
    return judge(entry, accepts=(CONTRACT,), drop_extra_fields=drop, nodes_max=1_000)


OTHERS = {20: RENAMED, 21: WIDENED, 22: MICROS, 23: NAMELESS, 24: EXTRA}
WIDE: Snapshot = {
    **SNAPSHOT,
    **{(LANE, number): decided(schema) for number, schema in OTHERS.items()},
    (LANE, 30): Unreadable(Reason.UNKNOWN_SCHEMA, None, "30"),
    (LANE, 31): Unreadable(Reason.WRONG_SUBJECT, "loans-value", "31"),
    (LANE, 32): Unreadable(Reason.SCHEMA_REFUSED, None, "it is recursive"),
}


def under(number: int, request_id: str = "bad", **values: Any) -> Sent:
    """A request written with another registered schema."""
    value = loan(request_id, schema=OTHERS[number], **values)
    return Sent(b"\0" + number.to_bytes(4, "big") + value[5:], request_id.encode())


GOOD = loan("bad")
NAN = struct.pack("<d", float("nan"))
TEN = struct.pack("<d", 10.0)
ROWS: list[tuple[str, Sent, str, str]] = [
    ("a tombstone", Sent(None, b"bad"), "TOMBSTONE", "dlq"),
    ("an empty value", Sent(b"", b"bad"), "EMPTY", "dlq"),
    ("no magic byte", Sent(b'{"json": 1}', b"bad"), "NOT_FRAMED", "dlq"),
    ("a frame that ends inside the id", Sent(b"\0\0\0", b"bad"), "NOT_FRAMED", "dlq"),
    ("Glue's framing", Sent(b"\x03" + GOOD, b"bad"), "GLUE_FRAMED", "dlq"),
    ("an id that does not exist", Sent(b"\0\0\0\0\x1e" + GOOD[5:], b"bad"), "UNKNOWN_SCHEMA", "dlq"),
    ("an id that no registry can have", Sent(b"\0\x80\0\0\x1e" + GOOD[5:], b"bad"), "UNKNOWN_SCHEMA", "dlq"),
    ("an id of another subject", Sent(b"\0\0\0\0\x1f" + GOOD[5:], b"bad"), "WRONG_SUBJECT", "dlq"),
    ("a hostile schema", Sent(b"\0\0\0\0\x20" + GOOD[5:], b"bad"), "SCHEMA_REFUSED", "dlq"),
    ("truncated", Sent(GOOD[:-1], b"bad"), "MALFORMED", "dlq"),
    ("only a frame", Sent(GOOD[:5], b"bad"), "MALFORMED", "dlq"),
    ("trailing bytes", Sent(GOOD + b"\0", b"bad"), "MALFORMED", "dlq"),
    ("a length of 2^60", Sent(GOOD[:5] + b"\x80\x80\x80\x80\x80\x80\x80\x80\x20" + GOOD[6:], b"bad"), "MALFORMED", "dlq"),
    ("a length of -1", Sent(GOOD[:5] + b"\x01" + GOOD[6:], b"bad"), "MALFORMED", "dlq"),
    ("bad UTF-8", Sent(GOOD.replace(b"bad", b"b\xffd"), b"b\xffd"), "MALFORMED", "dlq"),
    ("union index 2", Sent(GOOD[:-1] + b"\x04", b"bad"), "MALFORMED", "dlq"),
    ("a field renamed", under(20, sum=1.0), "NOT_ACCEPTED", "outcome"),
    ("a type changed", under(21), "NOT_ACCEPTED", "outcome"),
    ("millis made micros", under(22), "NOT_ACCEPTED", "outcome"),
    ("an extra field", under(24, colour="red"), "NOT_ACCEPTED", "outcome"),
    ("a contract without identity", under(23), "NOT_ACCEPTED", "dlq"),
    ("NaN", Sent(GOOD.replace(TEN, NAN), b"bad"), "OUT_OF_CONTRACT", "outcome"),
    ("out of range", sent("bad", -0.5), "OUT_OF_CONTRACT", "outcome"),
    ("an unseen category", sent("bad", purpose="gambling"), "UNSEEN_CATEGORY", "outcome"),
    ("a score that is not a number", sent("bad", 1e6), "SCORE_NOT_FINITE", "outcome"),
    ("no key", Sent(GOOD, None, partition=0), "KEY_MISMATCH", "outcome"),
    ("an empty key and id", sent("", key=b"", partition=0), "KEY_MISMATCH", "outcome"),
    ("another key", sent("bad", key=b"worse"), "KEY_MISMATCH", "outcome"),
    ("an over-long key", sent("x" * 65), "KEY_MISMATCH", "outcome"),
    ("an over-long tenant", sent("bad", tenant="t" * 65), "KEY_MISMATCH", "outcome"),
    ("the wrong partition", sent("bad", partition=1 - sent("bad").partition), "MISPARTITIONED", "outcome"),
    ("a record with CreateTime", sent("bad", append_ms=AGELESS), "NO_APPEND_TIME", "outcome"),
]  # fmt: skip


@pytest.mark.parametrize(("cause", "bad", "reason", "where"), ROWS, ids=[row[0] for row in ROWS])
def test_a_bad_record_stops_alone(cause: str, bad: Sent, reason: str, where: str) -> None:
    """It gets its reason in its topic; the neighbours' terminal records are, byte for byte, what they are without it."""
    before, after = sent("before", 3.0, partition=bad.partition), sent("after", 4.0, partition=bad.partition)
    wide = app(
        partitions_of=lambda keys, _: np.array(
            [bad.partition if key in (b"before", b"after") else partition_of(key, 2) for key in keys]
        )
    )
    terminals = run([(0, before), (1, bad), (2, after)], snapshot=WIDE, application=wide)
    alone = run([(0, before), (2, after)], snapshot=WIDE, application=wide)
    found = terminals.pop((bad.partition, 1))
    assert (reason, where) == (found["kind"], found["topic"])
    assert alone == terminals
    assert {"SCORED"} == {record["kind"] for record in terminals.values()}
    if where == "dlq":
        assert (bad.key, bad.value) == (found["key"], found["value"])
        assert b"{" not in (found["names"]["__dlq.errors.message"] or b"{")
    else:
        assert "{" not in found["sentence"]


def test_the_table_covers_every_reason_that_a_record_can_have() -> None:
    """Reasons of the application itself, and of repeats, have their own tests."""
    elsewhere = {
        "NONE",
        "DUPLICATE",
        "CONFLICT",
        "UNPRODUCIBLE",
        "MISSING_VALUE",
        "NOT_REPRESENTABLE",
        "POISON_PILL",
        "GAP",
        "START",
    }
    assert {reason.name for reason in Reason} - elsewhere == {row[2] for row in ROWS}
    assert set(REASONS) == set(Reason) - {Reason.NONE}


def test_a_non_minimal_varint_is_the_same_request() -> None:
    """Same values, same fingerprint: it is scored, and a repeat in the other encoding is a duplicate, not a conflict."""
    stretched = Sent(GOOD[:5] + b"\x86\x00" + GOOD[6:], b"bad")
    log = numbered([stretched, sent("bad")])
    assert ["SCORED", "DUPLICATE"] == world.reasons(run(log), log)
    log = numbered([sent("bad"), stretched])
    assert ["SCORED", "DUPLICATE"] == world.reasons(run(log), log)


def test_an_extra_field_is_dropped_where_that_is_declared() -> None:
    """The request is judged as the accepted contract has it: a repeat without the extra field is a duplicate."""
    snapshot: Snapshot = {**WIDE, (LANE, 24): decided(EXTRA, drop=True)}
    log = numbered([under(24, colour="red"), under(24, colour="blue"), sent("bad")])
    terminals = run(log, snapshot=snapshot)
    assert ["SCORED", "DUPLICATE", "DUPLICATE"] == world.reasons(terminals, log)


def test_roles_and_meta_fields_are_no_inputs() -> None:
    """An honest retry with a fresh event time and trace is no conflict; another amount is one."""
    log = numbered([sent("a"), sent("a", event_time=99, trace="again"), sent("a", 10.5)])
    assert ["SCORED", "DUPLICATE", "CONFLICT"] == world.reasons(run(log), log)


def test_a_duplicate_carries_the_first_answer_byte_for_byte() -> None:
    """Across batches and inside one, with the coordinates of the request that was answered."""
    log = numbered([sent("a"), sent("a"), sent("a")])
    for cuts in ([], [1], [1, 2]):
        first, second, third = (run(log, cuts)[one.partition, offset] for offset, one in log)
        for repeat in (second, third):
            assert first["value_bytes"] == repeat["answer"]
            assert (LANE, 0) == (repeat["first_topic"], repeat["first_offset"])
            assert not repeat["answer_omitted"]


def test_an_answer_too_large_to_remember_is_said_to_be_omitted() -> None:
    """The repeat is a duplicate all the same, and names where the first answer came from; in a batch as across."""
    log = numbered([sent("a"), sent("a")])
    for cuts in ([], [1]):
        repeat = run(log, cuts, application=app(answer_bytes=10))[log[1][1].partition, 1]
        assert ("DUPLICATE", None, True, 0) == (
            repeat["kind"], repeat["answer"], repeat["answer_omitted"], repeat["first_offset"]
        )  # fmt: skip


def test_a_request_that_no_dead_letter_can_carry_is_unproducible() -> None:
    """It ends in outcomes without its payload: coordinates, size and hash."""
    value = b"{" + b"x" * 1_047_999
    log = numbered([sent("a"), Sent(value, b"bad"), sent("b")])
    found = run(log)[log[1][1].partition, log[1][0]]
    assert ("UNPRODUCIBLE", len(value), sha256(value).digest()) == (found["kind"], found["size"], found["sha256"])
    assert len(found["value_bytes"]) < 500


def test_allowed_headers_are_copied_and_others_are_not() -> None:
    """The last correlation header of a name reaches the terminal record; a huge one does not, and a flood of them neither."""
    headers = [("traceparent", b"00-0")] * 1_000
    headers += [("traceparent", b"00-1"), ("secret", b"x"), ("correlation-id", b"c" * 2_000)]
    log = numbered([sent("a", headers=headers), sent("a", headers=headers)])
    terminals = run(log)
    for offset, one in log:
        assert [("traceparent", b"00-1")] == terminals[one.partition, offset]["headers"]


def test_what_cannot_be_produced_carries_no_headers() -> None:
    """They may be what was too large."""
    log = numbered([Sent(b"{" + b"x" * 1_047_999, b"bad", headers=[("traceparent", b"00-1")])])
    (found,) = run(log).values()
    assert ("UNPRODUCIBLE", None) == (found["kind"], found["headers"])


def test_what_a_stranger_wrote_is_quoted_briefly() -> None:
    """A category of a megabyte is named by its beginning, in the sentence as in `found`."""
    log = numbered([sent("a", purpose="gambling")])
    (found,) = run(log, model=Talkative()).values()
    assert "UNSEEN_CATEGORY" == found["kind"]
    assert len(found["found"]) == DETAIL_MAX + 1
    assert len(found["sentence"]) < 2 * DETAIL_MAX


class Talkative(world.AmountModel):
    """Quotes all that it was given, and more."""

    def features(self, decoded: Decoded, accepted: Contract, rows: Ints) -> tuple[Floats, Refusals]:
        matrix, refusals = super().features(decoded, accepted, rows)
        return matrix, Refusals({i: (why, Detail("purpose", "g" * 1_000_000)) for i, (why, _) in refusals.rows.items()})


def test_an_event_time_without_a_logical_type_has_the_range_of_one() -> None:
    """`result` declares it a timestamp: one beyond the year 9999 would break every reader that makes a date of it."""
    plain = changed(event_time={"type": "long"})
    snapshot: Snapshot = {(LANE, world.ID): Reading(parse(plain), parse(plain))}
    log = numbered([sent("a", schema=plain, event_time=2**62), sent("b", schema=plain, event_time=5)])
    terminals = run(log, snapshot=snapshot)
    assert ["MALFORMED", "SCORED"] == world.reasons(terminals, log)
    assert b"event_time" in (terminals[log[0][1].partition, log[0][0]]["names"]["__dlq.errors.message"] or b"")


def test_an_unknown_schema_holds_its_partition_from_that_row_on() -> None:
    """The prefix is read, the tail waits, the other partition goes on; nothing of the tail is in the batch."""
    here = sent("a").partition
    waiting = Sent(b"\0\0\0\0\x63" + GOOD[5:], b"a", partition=here)
    there = sent("t", partition=1 - here)
    log = [(0, sent("a")), (5, waiting), (6, sent("a")), (0, there), (1, there)]
    rows = read(batch(log), SNAPSHOT, app())
    assert {TP(LANE, here): (5, 99)} == {tp: (hold.offset, hold.schema_id) for tp, hold in rows.held.items()}
    kept = sorted(zip(rows.batch.tp.tolist(), rows.batch.offset.tolist(), strict=True))
    assert [(0, 0), (1, 0), (1, 1)] == kept


def test_answers_keep_the_order_of_their_requests_across_schemas() -> None:
    """Two schema ids in one batch are decoded apart, and answered in the order in which they were asked."""
    snapshot: Snapshot = {**SNAPSHOT, (LANE, 8): Reading(CONTRACT, CONTRACT)}

    def written_with(number: int, request_id: str) -> Sent:
        return Sent(b"\0" + number.to_bytes(4, "big") + loan(request_id)[5:], request_id.encode(), partition=0)

    steps: list[Any] = []
    log = numbered(written_with(7 + number % 2, f"r{number}") for number in range(8))
    run(
        log,
        snapshot=snapshot,
        application=app(partitions_of=lambda keys, _: np.zeros(len(keys), np.int64)),
        each=steps.append,
    )
    (block,) = steps[0].emits
    assert [f"r{number}".encode() for number in range(8)] == block.keys
