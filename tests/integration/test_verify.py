"""The oracle on a real Kafka, on topics written by hand: what lies there is read right, and judged right."""

import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from streams.dev import Stack
from streams.errors import SetupError, Unreachable
from streams.reasons import Reason
from streams.records import TP
from streams.verify import Report, verify
from tests.integration.application import until
from tests.integration.by_hand import ByHand, settings


@pytest.fixture
def app(tmp_path: Path, unique: str, bootstrap: str, registry_url: str) -> ByHand:
    hand = ByHand(settings(tmp_path, unique, bootstrap, registry_url))
    hand.set_up()
    return hand


def judged(app: ByHand) -> tuple[int, dict[str, int], dict[str, int]]:
    report = verify(app.settings)
    return report.exit_code, dict(report.violations), dict(report.unchecked)


CLEAN: tuple[int, dict[str, int], dict[str, int]] = (0, {}, {})


def answered(app: ByHand, count: int = 4) -> list[int]:
    """Send requests to partition 0, answer each with a result, and commit; return their offsets."""
    offsets = app.send(0, count)
    app.answer([app.result(0, offset) for offset in offsets], {0: offsets[-1] + 2})
    return offsets


def test_clean_run_is_clean(app: ByHand) -> None:
    """Results, outcomes, dead letters, aborted requests and markers: all is right, and counted by kind."""
    assert CLEAN == judged(app)
    first, second, third = app.send(0, 3)
    app.send(0, 5, abort=True)
    (other,) = app.send(1, 1)
    app.answer(
        [
            app.result(0, first),
            app.repeat(0, second, first),
            app.dead_letter(0, third),
            app.result(1, other),
        ],
        {0: app.end(app.topic, 0), 1: app.end(app.topic, 1)},
    )
    report = verify(app.settings)
    assert CLEAN == (report.exit_code, dict(report.violations), dict(report.unchecked))
    assert {"SCORED": 2, "DUPLICATE": 1, "MALFORMED": 1, "START": 2} == dict(report.kinds)
    assert [(3, 3), (1, 1)] == [(row.requests, row.answered) for row in report.rows]


def test_copied_result_is_doubled(app: ByHand) -> None:
    """A second copy of a result, wherever it lies."""
    offsets = answered(app)
    app.answer([app.result(0, offsets[1], at=1)])
    assert (1, {"DOUBLED": 1, "MISPLACED": 1}, {}) == judged(app)


def test_repeats_that_point_nowhere_or_carry_another_answer(app: ByHand) -> None:
    """A repeat names a request that is scored, of its own identity, and carries that answer; else it is UNFOUNDED."""
    first, other, *again = app.send(0, 6)
    app.answer(
        [
            app.result(0, first, request_id="a"),
            app.result(0, other, request_id="b"),
            app.repeat(0, again[0], first, request_id="a"),
            app.repeat(0, again[1], 10_000, request_id="a", carried=first),
            app.repeat(0, again[2], other, request_id="a"),
            app.repeat(0, again[3], first, request_id="a", carried=other),
        ],
        {0: app.end(app.topic, 0)},
    )
    report = verify(app.settings)
    assert {"UNFOUNDED": 3} == dict(report.violations)
    for offset, why in zip(again[1:], ("not scored", "another identity", "another answer"), strict=True):
        assert [text for text in report.examples if f"{app.topic}[0]@{offset} in" in text and why in text]


def test_offsets_moved_back_behind_their_answers(app: ByHand) -> None:
    """What was answered and is no longer committed would be answered again: seen before any worker starts."""
    offsets = answered(app)
    app.answer([], {0: offsets[2]})
    assert (1, {"OFFSETS_WENT_BACK": 2}, {}) == judged(app)


def test_request_without_answer_is_lost(app: ByHand) -> None:
    """The committed offset passes a request that has no terminal record."""
    offsets = app.send(0, 3)
    app.answer([app.result(0, offsets[0]), app.result(0, offsets[2])], {0: offsets[2] + 1})
    report = verify(app.settings)
    assert {"LOST": 1} == dict(report.violations)
    assert (f"LOST  {app.topic}[0]@{offsets[1]} has no terminal record",) == report.examples


def test_aborted_answers_are_no_answers(app: ByHand) -> None:
    """Only what a read_committed reader sees counts: an aborted result answers nothing, an aborted request needs nothing."""
    offsets = app.send(0, 2)
    producer = Producer({**app.client, "transactional.id": f"{app.settings.app.id}.aborts"})
    producer.init_transactions()
    producer.begin_transaction()
    topic, partition, value, _ = app.result(0, offsets[0])
    producer.produce(topic, value, None, partition)
    producer.flush()
    producer.abort_transaction()
    app.answer([app.result(0, offsets[1])], {0: offsets[1] + 1})
    assert (1, {"LOST": 1}, {}) == judged(app)


def test_a_transaction_that_hangs_is_seen_at_rest(app: ByHand) -> None:
    """It keeps readers from all that comes after it, on whichever topic."""
    answered(app)
    assert 0 == verify(app.settings, at_rest=True).exit_code
    settings: dict[str, Any] = dict(app.settings.kafka)
    producer = Producer({**settings, "transactional.id": f"{app.settings.app.id}.open"})
    producer.init_transactions()
    producer.begin_transaction()
    producer.produce(app.settings.changelog, b"x", partition=0)
    producer.flush(10)
    assert 0 == verify(app.settings).exit_code
    assert {"HANGING": 1} == verify(app.settings, at_rest=True).violations
    producer.abort_transaction()
    assert 0 == verify(app.settings, at_rest=True).exit_code


def test_result_without_a_request_is_unrequested(app: ByHand) -> None:
    """A terminal record for a marker, for an aborted request, and for an offset that the log does not have."""
    offsets = answered(app)
    (aborted,) = app.send(0, 1, abort=True)
    app.answer([app.result(0, offset) for offset in (offsets[-1] + 1, aborted, 10_000)], {0: app.end(app.topic, 0)})
    assert (1, {"UNREQUESTED": 3}, {}) == judged(app)


def test_identity_scored_twice_in_two_partitions(app: ByHand) -> None:
    """One identity in two partitions: a violation inside the window, none outside it, none between two tenants."""
    (first,), (second,) = app.send(0, 1), app.send(1, 1)
    hour = 3_600_000
    app.answer(
        [app.result(0, first, request_id="r"), app.result(1, second, request_id="r", append_ms=hour)],
        {0: first + 1, 1: second + 1},
    )
    assert (1, {"TWICE_SCORED": 1}, {}) == judged(app)
    (third,), (fourth,) = app.send(0, 1), app.send(1, 1)
    app.answer(
        [
            app.result(0, third, request_id="s", append_ms=hour + 1),
            app.result(1, fourth, request_id="s", append_ms=0),
        ],
        {0: third + 1, 1: fourth + 1},
    )
    assert (1, {"TWICE_SCORED": 1}, {}) == judged(app)
    (fifth,), (sixth,) = app.send(0, 1), app.send(1, 1)
    app.answer(
        [
            app.result(0, fifth, request_id="u", tenant="a"),
            app.result(1, sixth, request_id="u", tenant="b"),
        ],
        {0: fifth + 1, 1: sixth + 1},
    )
    assert (1, {"TWICE_SCORED": 1}, {}) == judged(app)


def test_half_expired_requests_are_unchecked(app: ByHand) -> None:
    """Requests that retention removed after they were answered: their answers can no longer be checked."""
    offsets = answered(app)
    app.delete_below(app.topic, 0, offsets[2])
    assert (3, {}, {"answers whose request retention has removed": 2}) == judged(app)


def test_half_expired_results_are_unchecked(app: ByHand) -> None:
    """Answers that retention removed are unchecked, and a hole behind them is still a loss."""
    offsets = app.send(0, 5)
    app.answer([app.result(0, offset) for offset in offsets if offset != offsets[3]], {0: offsets[4] + 1})
    app.delete_below(app.settings.results, 0, 2)
    expected = {"requests whose answer retention may have removed": 2}
    assert (1, {"LOST": 1}, expected) == judged(app)
    app.answer([app.outcome(Reason.OUT_OF_CONTRACT, 0, offsets[3])])
    assert (3, {}, expected) == judged(app)


def test_gap_covers_what_was_deleted_before_it_was_read(app: ByHand) -> None:
    """A GAP is the terminal record of its range; the same range without one is unchecked."""
    offsets = app.send(0, 4)
    app.delete_below(app.topic, 0, offsets[2])
    app.answer([app.result(0, offset) for offset in offsets[2:]], {0: offsets[3] + 1})
    silent = {"offsets that retention has removed, with neither answer nor GAP (markers among them)": 2}
    assert (3, {}, silent) == judged(app)
    app.answer([app.outcome(Reason.GAP, 0, offsets[0], until_offset=offsets[2])])
    assert CLEAN == judged(app)
    app.answer([app.outcome(Reason.GAP, 0, offsets[2], until_offset=offsets[3])])
    assert (1, {"FALSE_GAP": 1, "DOUBLED": 1}, {}) == judged(app)


@pytest.mark.parametrize("value", [b"", b"\x00\x00\x00\x00", b"\x00\x7f\xff\xff\xff\x00", b"junk junk"])
def test_unreadable_records_are_named(app: ByHand, value: bytes) -> None:
    """What is no terminal record has no place in an answer topic."""
    app.answer([(app.settings.results, 0, value, None), (app.dlq, 1, value, [("other", b"header")])])
    report = verify(app.settings)
    assert {"UNREADABLE": 2} == dict(report.violations)
    assert [f"{app.settings.results}[0]@0", f"{app.dlq}[1]@0"] == sorted(
        (example.split()[1].rstrip(":") for example in report.examples), key=lambda at: at.endswith("[1]@0")
    )


def test_truncated_result_is_unreadable(app: ByHand) -> None:
    """A value with a byte less, or one left over, is not the result that it claims to be: its request is lost."""
    offsets = app.send(0, 2)
    topic, partition, value, _ = app.result(0, offsets[0])
    app.answer([(topic, partition, value[:-1], None), (topic, partition, value + b"\x00", None)], {0: offsets[0] + 1})
    assert {"UNREADABLE": 2, "LOST": 1} == judged(app)[1]


def test_requests_of_an_earlier_topic_are_unchecked(app: ByHand) -> None:
    """A topic that is deleted and created again is another topic: offsets of the first say nothing of the second."""
    offsets = app.send(0, 1)
    app.topic_ids[app.topic] = bytes(16)
    app.answer([app.result(0, offsets[0])])
    assert (3, {}, {f"answers to an earlier topic of the name {app.topic}": 1}) == judged(app)


def test_a_running_worker_is_no_violation(app: ByHand) -> None:
    """Whatever is sent, answered and committed while the oracle reads, it sees a state that is right."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            first, second = app.send(0, 2)
            app.answer([app.result(0, first), app.repeat(0, second, first)], {0: second + 1})

    worker = threading.Thread(target=work)
    worker.start()
    try:
        until(lambda: app.admin.offsets([TP(app.topic, 0)], "latest")[TP(app.topic, 0)] > 20)
        assert [CLEAN] * 12 == [judged(app) for _ in range(12)]
    finally:
        stop.set()
        worker.join()


def test_missing_topics_and_registry(
    app: ByHand, tmp_path: Path, unique: str, bootstrap: str, registry_url: str
) -> None:
    """What is missing is said, with the command that creates it; a registry that is down is no violation."""
    with pytest.raises(SetupError, match="topics apply"):
        verify(settings(tmp_path, f"{unique}-x", bootstrap, registry_url))
    with pytest.raises(Unreachable):
        verify(app.settings.model_copy(update={"schema_registry": {"url": "http://127.0.0.1:9"}}))


@pytest.mark.timeout(120)
def test_half_a_million_results_in_bounded_time(
    tmp_path: Path, unique: str, stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    """500,000 requests and results are read and judged; the figure is printed, and the bound only keeps it from growing as a square."""
    app = ByHand(settings(tmp_path, unique, stack.bootstrap, stack.registry_url))
    app.set_up()
    count = 250_000
    producer = Producer(
        {**app.client, "linger.ms": 20, "queue.buffering.max.messages": 3 * count, "compression.type": "lz4"}
    )
    for partition in range(2):
        for value in app.results(partition, count):
            producer.produce(app.topic, b"r" * 60, b"key", partition)
            producer.produce(app.settings.results, value, b"key", partition)
        producer.flush()
    app.answer([], {0: count, 1: count})
    said: Counter[str] = Counter()
    began, worked = time.monotonic(), time.process_time()
    report: Report = verify(app.settings, say=lambda line: said.update([line]))
    took, worked = time.monotonic() - began, time.process_time() - worked
    with capsys.disabled():
        print(f"\n[verify: {2 * count:,} results and as many requests in {took:.1f} s, {worked:.1f} s of CPU]")
    assert (0, 2 * count) == (report.exit_code, report.kinds["SCORED"])
    assert worked < 60, "some 10 on a machine that does nothing else, where CPU time is what a person waits for"
    assert took < 4 or said
