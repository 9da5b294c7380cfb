"""The scorer on the real broker and the real registry: what goes in, what comes out, and that it comes once."""

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from streams.dev import Stack
from streams.errors import OffsetsError, SlotTaken
from streams.models import packages, store
from streams.records import TP
from streams.slots import PROGRESS_BYTES
from streams.verify import verify
from tests.integration import raw_headers
from tests.integration.application import Application, until


@pytest.fixture
def application(request: pytest.FixtureRequest, stack: Stack, unique: str, tmp_path: Path) -> Iterator[Application]:
    """A fresh application, under the classic protocol unless a test says otherwise; its processes end with the test."""
    app = Application(stack, unique, tmp_path, client=getattr(request, "param", ""))
    yield app
    app.stop()


def right(app: Application) -> None:
    """`verify` finds everything checked and right, and agrees with what was sent."""
    report = verify(app.settings)
    assert report.exit_code == 0, "\n".join(report.lines())


def test_every_request_is_answered_once_with_the_model_s_own_score(application: Application) -> None:
    """Scores equal offline scoring bit for bit; every record reaches the partition of its request, under its key."""
    app = application
    app.ask((f"r{number}" for number in range(300)), carrier="B6", delay=12.5)
    app.start()
    app.drained()
    model = packages.load(store.open_store(app.settings.model.store), "late", "1")
    expected = float(model.score(np.array([[1.0, 12.5]]))[0])
    answers = app.terminals()
    assert [expected] * 300 == [answer["score"] for answer in answers]
    assert model.answer(np.array([expected])).label == [answers[0]["label"].encode()]
    assert 1 == len({answer["label"] for answer in answers})
    assert {f"r{number}" for number in range(300)} == {answer["request_id"] for answer in answers}
    assert all(answer["request_id"].encode() == answer["key"] for answer in answers)
    right(app)


def test_repeats_meet_their_first_answer_across_batches_restarts_and_restores(application: Application) -> None:
    """In one batch, in the next, after kill -9, and after the disk is lost: DUPLICATE with the first answer, or CONFLICT."""
    app = application
    app.ask(["a", "a"])
    worker = app.start()
    app.drained()
    app.ask(["a"])
    app.drained()
    worker.kill()
    worker.wait()
    app.ask(["a"])
    worker = app.start()
    app.drained()
    worker.kill()
    worker.wait()
    shutil.rmtree(app.settings.app.state_dir / "t-00" / "store")
    app.ask(["a"])
    app.ask(["a"], delay=6.0)
    app.start()
    app.drained()
    answers = app.terminals()
    (first,) = [answer for answer in answers if answer["kind"] == "SCORED"]
    repeats = [answer for answer in answers if answer["kind"] == "DUPLICATE"]
    assert len(repeats) == 4
    assert {first["bytes"]} == {repeat["answer"] for repeat in repeats}
    assert dict(app.kinds()) == {"SCORED": 1, "DUPLICATE": 4, "CONFLICT": 1}
    right(app)


def test_one_identity_from_every_partitioner_and_key_is_scored_at_most_once(application: Application) -> None:
    """CRC32, murmur2, a fixed partition and another key: one SCORED at most, and each refusal says which setting."""
    app = application
    ids = [f"r{number}" for number in range(40)]
    app.send(((name.encode(), app.value(name)) for name in ids), partitioner="consistent_random")
    app.ask(ids)
    for partition in (0, 1):
        app.send(((name.encode(), app.value(name)) for name in ids), partition=partition)
    app.send((b"other-" + name.encode(), app.value(name)) for name in ids)
    app.start()
    app.drained()
    answers = app.terminals()
    scored = [answer["request_id"] for answer in answers if answer["kind"] == "SCORED"]
    assert sorted(ids) == sorted(scored)
    sentences = {answer["sentence"] for answer in answers if answer["kind"] == "MISPARTITIONED"}
    assert all("murmur2_random" in sentence for sentence in sentences)
    assert app.kinds()["KEY_MISMATCH"] == 40
    assert app.kinds()["MISPARTITIONED"] >= 40
    right(app)


def test_bad_records_reach_their_topics_and_the_worker_stays_alive(application: Application) -> None:
    """Dead letters carry the original bytes; what has an identity is answered in outcomes; the good ones are scored."""
    app = application
    good = app.value("good")
    unknown = b"\0\0\x0f\xff\xff" + good[5:]
    result_id = b"\0" + app.ids["result"].to_bytes(4, "big") + good[5:]
    bad: list[tuple[bytes | None, bytes | None]] = [
        (b"k1", None),
        (b"k2", b""),
        (b"k3", b"{}"),
        (b"k4", b"\x03" + good),
        (b"k5", unknown),
        (b"k6", result_id),
        (b"k7", good[:-1]),
    ]
    app.ask(["before"])
    app.send(bad)
    app.ask(["after"])
    app.ask(["unseen"], carrier="ZZ")
    worker = app.start()
    app.drained()
    assert worker.poll() is None
    answers = app.terminals()
    letters = {answer["key"]: (answer["kind"], answer["value"]) for answer in answers if answer["topic"] == "dlq"}
    names = ["TOMBSTONE", "EMPTY", "NOT_FRAMED", "GLUE_FRAMED", "UNKNOWN_SCHEMA", "WRONG_SUBJECT", "MALFORMED"]
    assert {key: (name, value) for (key, value), name in zip(bad, names, strict=True)} == letters
    assert {"before", "after"} == {answer["request_id"] for answer in answers if answer["kind"] == "SCORED"}
    (unseen,) = [answer for answer in answers if answer["kind"] == "UNSEEN_CATEGORY"]
    assert ("carrier", '"ZZ"') == (unseen["field"], unseen["found"])

    right(app)


def test_hostile_headers_harm_nobody(application: Application) -> None:
    """Names that are no text, a thousand headers that we carry along, values of null: answered or set aside like any other."""
    app = application
    app.ask(f"before-{number}" for number in range(300))  # so that whoever reads is warm: see `headers_of`
    value = app.value("raw")
    for key, sent in ((b"raw", value), (b"junk", b"{}")):
        where = (app.stack.bootstrap, app.lanes[0], app.partition(key), key, sent)
        raw_headers.produce(*where, name=b"bad\xff\xfename")
    many: list[tuple[str, bytes | None]] = [("traceparent", os.urandom(1_000)) for _ in range(1_000)]
    roomy = {"message.max.bytes": 2_000_000, "compression.type": "lz4"}
    producer = Producer({"bootstrap.servers": app.stack.bootstrap, "partitioner": "murmur2_random", **roomy})
    last: list[tuple[str, bytes | None]] = [("traceparent", b"last"), ("correlation-id", None)]
    for key, sent in ((b"many", app.value("many")), (b"more", b"{}")):
        producer.produce(app.lanes[0], sent, key, headers=[*many, *last])
    assert 0 == producer.flush(20)
    app.ask(["after-0", "after-1", "after-2"])
    app.supervise()
    app.drained()
    answers = {answer["key"]: answer for answer in app.terminals()}
    assert {"SCORED": 305, "NOT_FRAMED": 2} == dict(app.kinds())
    assert b"{}" == answers[b"junk"]["value"]
    messages = {message.key(): message for message in app.read([app.settings.results, app.settings.dlq(app.lanes[0])])}
    assert last == messages[b"many"].headers()
    assert messages[b"raw"].headers() is None
    assert b"not UTF-8" in dict(messages[b"junk"].headers())["__dlq.errors.headers"]
    assert [*many, *last] == messages[b"more"].headers()[:1_002]
    right(app)


def test_confluent_s_own_serializers_read_and_write_what_we_do(application: Application) -> None:
    """A request written by AvroSerializer is answered; the answer is read by AvroDeserializer."""
    app = application
    client = SchemaRegistryClient({"url": app.stack.registry_url})
    settings = {
        "auto.register.schemas": False,
        "use.latest.version": True,
        "subject.name.strategy": lambda context, _: f"{context.topic}-value",
    }
    write = AvroSerializer(client, conf=settings)
    row = {"request_id": "r1", "carrier": "DL", "delay": None}
    value = write(row, SerializationContext(app.lanes[0], MessageField.VALUE))
    assert app.value("r1", "DL", None) == value
    app.send([(b"r1", value)])
    app.start()
    app.drained()
    (message,) = app.read([app.settings.results])
    read = AvroDeserializer(client, conf={"subject.name.strategy": settings["subject.name.strategy"]})
    answer: Any = read(message.value(), SerializationContext(app.settings.results, MessageField.VALUE))
    assert ("r1", "late", app.schema_id) == (answer["request_id"], answer["model_name"], answer["schema_id"])


def test_a_request_that_was_never_committed_is_never_answered(application: Application) -> None:
    """A transactional producer takes its requests back: for the scorer they do not exist, and offsets go on behind them."""
    app = application
    producer = Producer(
        {"bootstrap.servers": app.stack.bootstrap, "transactional.id": app.name, "partitioner": "murmur2_random"}
    )
    producer.init_transactions(20)
    for name, end in (("taken-back", producer.abort_transaction), ("meant", producer.commit_transaction)):
        producer.begin_transaction()
        for number in range(20):
            producer.produce(app.lanes[0], app.value(f"{name}-{number}"), f"{name}-{number}")
        producer.flush()
        end()
    app.ask(["last-0", "last-1", "last-2", "last-3"])
    app.start()
    until(lambda: app.kinds()["SCORED"] == 24, 30, what="24 answers")
    assert not [answer for answer in app.terminals() if answer["request_id"].startswith("taken-back")]
    right(app)


def test_a_record_with_createtime_is_refused(application: Application) -> None:
    """Records appended before the topic's setting was put right stay CreateTime for ever: refused one by one, not trusted."""
    app = application
    app.admin.alter(app.lanes[0], {"message.timestamp.type": "CreateTime"})
    app.ask(["old"])
    app.admin.alter(app.lanes[0], {"message.timestamp.type": "LogAppendTime"})
    app.ask(["new"])
    app.start()
    app.drained()
    assert {a["request_id"]: a["kind"] for a in app.terminals()} == {"old": "NO_APPEND_TIME", "new": "SCORED"}


def test_the_scorer_refuses_topics_that_contradict_the_guarantee(application: Application) -> None:
    """`scorer run` names the topic and the setting, and starts no worker."""
    app = application
    app.admin.alter(app.lanes[0], {"cleanup.policy": "compact"})
    app.admin.alter(app.settings.changelog, {"retention.ms": "1000"})
    ended = app.supervise()
    assert ended.wait(30) == 4
    said = app.log("supervisor-s")
    assert "cleanup.policy" in said
    assert app.settings.changelog in said
    assert "topics plan" in said


def test_two_lanes_share_one_memory(stack: Stack, unique: str, tmp_path: Path) -> None:
    """The identity's scope is the application, not the lane: the first one processed is scored, the other is a repeat."""
    app = Application(stack, unique, tmp_path, lanes=("live", "bulk"))
    try:
        ids = [f"r{number}" for number in range(50)]
        for lane in (0, 1):
            app.send(((name.encode(), app.value(name)) for name in ids), lane=lane)
        app.start()
        app.drained()
        assert dict(app.kinds()) == {"SCORED": 50, "DUPLICATE": 50}
        right(app)
    finally:
        app.stop()


@pytest.mark.parametrize(
    "application", ["", '"group.protocol" = "consumer"\n'], indirect=True, ids=["classic", "consumer"]
)
def test_sigterm_hands_over_at_once(application: Application, capsys: pytest.CaptureFixture[str]) -> None:
    """A static member does not leave by close(): the next worker has the partitions long before the session time-out."""
    app = application
    app.ask(["a"])
    first = app.start("t-00")
    app.drained()
    first.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    app.start("t-01")
    assert first.wait(10) == 0
    app.ask(["b"])
    app.drained()
    took = time.monotonic() - begun
    with capsys.disabled():
        print(f"[hand-over after SIGTERM: {took:.1f} s, a fresh worker's start included]")
    assert dict(app.kinds()) == {"SCORED": 2}
    assert took < app.settings.limits.session_ms / 1000


def test_a_second_supervisor_with_the_same_config_is_refused(application: Application) -> None:
    """The slot is locked: the second one's worker stops with its own code, and the first goes on."""
    app = application
    app.supervise(instance="same")
    app.ask(["a"])
    app.drained()
    second = app.supervise(instance="same")
    assert SlotTaken.code == second.wait(30)
    assert "slot same-00" in app.log("supervisor-same")
    app.ask(["b"])
    app.drained()
    assert dict(app.kinds()) == {"SCORED": 2}


def answered_and_gone(app: Application) -> None:
    """Have twenty requests answered by a worker that ends then, and leaves its group empty."""
    app.ask(f"r{number}" for number in range(20))
    worker = app.start()
    app.drained()
    worker.terminate()
    worker.wait(10)
    until(lambda: app.admin.group_is_empty(app.settings.group), 15)


@pytest.mark.parametrize(("moved", "word"), [(-2, "OFFSETS_WENT_BACK"), (1, "OFFSETS_WENT_FORWARD")])
def test_offsets_moved_by_hand_stop_the_worker(application: Application, moved: int, word: str) -> None:
    """It says which way and the command that puts them back; nothing is read; put back, it goes on."""
    from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
    from confluent_kafka.admin import AdminClient

    app = application
    answered_and_gone(app)
    admin = AdminClient({"bootstrap.servers": app.stack.bootstrap})
    tp = TP(app.lanes[0], 0)
    committed = app.admin.committed(app.settings.group, [tp])[tp]
    assert committed is not None

    def put(offset: int) -> None:
        asked = ConsumerGroupTopicPartitions(app.settings.group, [TopicPartition(*tp, offset)])
        for future in admin.alter_consumer_group_offsets([asked]).values():
            future.result(10)

    app.ask(f"s{number}" for number in range(20))
    put(committed + moved)
    worker = app.start()
    assert OffsetsError.code == worker.wait(30)
    assert word in app.log()
    assert f"--to-offset {committed}" in app.log()
    assert len(app.terminals()) == 20
    until(lambda: app.admin.group_is_empty(app.settings.group), 15)
    put(committed)
    app.start()
    app.drained()
    assert dict(app.kinds()) == {"SCORED": 40}
    right(app)


def test_offsets_that_have_expired_stop_the_worker(application: Application) -> None:
    """The broker forgets a group that nobody has used for a week: nothing is read, above all not from the beginning."""
    from confluent_kafka.admin import AdminClient

    app = application
    answered_and_gone(app)
    admin = AdminClient({"bootstrap.servers": app.stack.bootstrap})
    admin.delete_consumer_groups([app.settings.group])[app.settings.group].result(20)
    app.ask(f"s{number}" for number in range(20))
    worker = app.start()
    assert OffsetsError.code == worker.wait(30)
    assert "NO_COMMITTED_OFFSET" in app.log()
    assert len(app.terminals()) == 20


def test_requests_deleted_before_they_were_read_are_a_gap(application: Application) -> None:
    """Retention passed the worker: one GAP record with the range, then on; `verify` calls the range unchecked, not lost."""
    app = application
    app.ask(["first"])
    worker = app.start()
    app.drained()
    worker.terminate()
    worker.wait(10)
    app.ask(f"r{number}" for number in range(40))
    ends = app.admin.offsets(app.tps(), "latest")
    committed = app.admin.committed(app.settings.group, app.tps())
    tp = max(app.tps(), key=lambda tp: ends[tp] - (committed[tp] or 0))
    begin = committed[tp] or 0
    app.admin.delete_records({tp: begin + 5})
    app.start()
    app.drained()
    (gap,) = [answer for answer in app.terminals() if answer["kind"] == "GAP"]
    assert (*tp, begin, begin + 5) == (*gap["at"], gap["until_offset"])
    report = verify(app.settings)
    assert report.exit_code != 1, "\n".join(report.lines())
    assert app.kinds()["SCORED"] == 36


@pytest.mark.parametrize(
    "application", ["", '"group.protocol" = "consumer"\n'], indirect=True, ids=["classic", "consumer"]
)
def test_retention_that_overtakes_a_running_worker_is_a_gap(application: Application) -> None:
    """The position is deleted under a worker that lives: it recovers as if it were assigned anew, and says GAP."""
    app = application
    app.ask(["first"])
    worker = app.start()
    app.drained()
    worker.send_signal(signal.SIGSTOP)
    app.ask(
        f"q{number}" for number in range(40)
    )  # the broker answers the waiting fetch with these, so they may be read
    fetched = app.admin.offsets(app.tps(), "latest")
    app.ask(f"r{number}" for number in range(40))
    tp = max(app.tps(), key=lambda tp: fetched[tp])
    end = fetched[tp] + 5
    app.admin.delete_records({tp: end})
    worker.send_signal(signal.SIGCONT)
    app.drained()
    assert worker.poll() is None
    (gap,) = [answer for answer in app.terminals() if answer["kind"] == "GAP"]
    assert (tp, end) == (TP(*gap["at"][:2]), gap["until_offset"])
    begin = gap["at"][2]
    assert begin <= fetched[tp]
    assert 81 - (end - begin) == app.kinds()["SCORED"]


@pytest.mark.parametrize("damage", ["intact", "lost", "stale", "foreign", "broken", "rotten"])
def test_local_state_is_only_a_cache(application: Application, damage: str) -> None:
    """Whatever became of the disk, repeats meet their first answer, and the state is the changelog's fold."""
    app = application
    directory = app.settings.app.state_dir / "t-00" / "store"
    worker = app.start()
    app.ask(f"r{number}" for number in range(30))
    app.drained()
    worker.kill()
    worker.wait()
    saved = app.home / "saved"
    shutil.copytree(directory, saved)
    worker = app.start()
    app.ask(f"s{number}" for number in range(30))
    app.drained()
    worker.kill()
    worker.wait()
    if damage in ("lost", "stale"):
        shutil.rmtree(directory)
    if damage == "stale":
        shutil.copytree(saved, directory)
    if damage == "foreign":
        (directory / "p00000").rename(app.home / "p")
        (directory / "p00001").rename(directory / "p00000")
        (app.home / "p").rename(directory / "p00001")
    if damage == "broken":
        (directory / "p00000" / "CURRENT").write_bytes(b"")
    if damage == "rotten":
        for table in directory.rglob("*.sst"):
            data = table.read_bytes()
            table.write_bytes(bytes(byte ^ 0xFF for byte in data[:40]) + data[40:])
    app.ask(f"{letter}{number}" for letter in "rs" for number in range(30))
    app.supervise(instance="t")
    app.drained()
    assert ("set aside" in app.log("supervisor-t")) == (damage in ("broken", "rotten"))
    expected = {"SCORED": 60, "DUPLICATE": 60}
    assert expected == dict(app.kinds())
    right(app)


def test_progress_names_the_batch_of_a_worker_that_died(application: Application) -> None:
    """The supervisor can say over what a worker died: the slot's trace is empty at rest."""
    app = application
    app.ask(["a"])
    app.start()
    app.drained()
    trace = app.settings.app.state_dir / "t-00" / "progress"
    until(lambda: trace.read_bytes().strip() == b"", 5)
    assert os.path.getsize(trace) == 2 * PROGRESS_BYTES, "both places are there: on a full disk they are overwritten"
    assert json.loads(json.dumps(dict(app.kinds()))) == {"SCORED": 1}
