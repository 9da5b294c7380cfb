"""Topics as code on a real cluster: what apply makes, that it is stable, and where an application begins."""

import json
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.avro.read import Reader
from streams.config import Settings
from streams.errors import OffsetsError, SetupError, Unreachable
from streams.frames import parse_frame
from streams.kafka.admin import Admin
from streams.kafka.scan import Slice, scan
from streams.packs import unpack
from streams.records import TP, Frame
from streams.registering import product_ids, register
from streams.topics import MESSAGE_BYTES, apply, contradictions, current_plan, names, warnings
from tests.integration.by_hand import ByHand, settings

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas" / "outcome.avsc").read_text())


@pytest.fixture
def app(tmp_path: Path, unique: str, bootstrap: str, registry_url: str) -> Settings:
    app = settings(tmp_path, unique, bootstrap, registry_url, lanes=("live", "bulk"), retention_hours=2)
    register(app)
    return app


@pytest.fixture
def admin(app: Settings) -> Admin:
    return Admin(app.kafka)


def whole(app: Settings, topic: str) -> Iterator[Slice]:
    admin = Admin(app.kafka)
    tps = [TP(topic, partition) for partition in range(app.partitions)]
    return scan(app.kafka, {tp: (0, end) for tp, end in admin.offsets(tps, "latest").items()})


def frames(app: Settings) -> dict[TP, Frame]:
    """Every frame of the changelog, by source partition."""
    found = {}
    for part in whole(app, app.changelog):
        for put in chain.from_iterable(unpack(value or b"") for value in part.values):
            topic, frame = parse_frame(put)
            found[TP(topic, part.tp.partition)] = frame
    return found


def starts(app: Settings) -> list[dict[str, Any]]:
    """Every outcome, with the partition that it lies in."""
    reader = Reader(SCHEMA)
    prefix = b"\x00" + product_ids(app)["outcome"].to_bytes(4, "big")
    found = []
    for part in whole(app, app.outcomes):
        for value in part.values:
            assert prefix == (value or b"")[:5]
            found.append({**reader.read(value or b"", 5), "at": part.tp.partition})
    return found


def sources(app: Settings) -> list[TP]:
    return [TP(lane.topic, partition) for lane in app.requests for partition in range(app.partitions)]


def produce(app: Settings, tp: TP, count: int) -> None:
    client: dict[str, Any] = dict(app.kafka)
    producer = Producer(client)
    for _ in range(count):
        producer.produce(tp.topic, b"v", b"k", tp.partition)
    producer.flush()


def test_apply_makes_what_plan_says_and_is_stable(app: Settings, admin: Admin) -> None:
    """Everything is created, begins in all three places at once, and a second apply has nothing to do."""
    assert {} == admin.topics(names(app))
    assert {"create"} == {change.kind for change in current_plan(app).changes}
    lines = apply(app)
    found = admin.topics(names(app))
    assert set(names(app)) == found.keys()
    assert [] == contradictions(app, found)
    assert 1 == len(warnings(app, found)), "one broker, one replica"
    assert str(MESSAGE_BYTES + 65_536) == found[app.dlq(app.requests[0].topic)].configs["max.message.bytes"]
    begun = dict.fromkeys(sources(app), 0)
    assert begun == admin.committed(app.group, sources(app))
    assert {tp: Frame(found[tp.topic].topic_id, 0, found[app.changelog].topic_id) for tp in begun} == frames(app)
    records = starts(app)
    assert sorted(begun) == sorted(TP(record["request_topic"], record["request_partition"]) for record in records)
    for record in records:
        assert ("START", 0) == (record["kind"], record["request_offset"])
        assert record["at"] == record["request_partition"]
        assert record["request_topic_id"] == found[record["request_topic"]].topic_id
    assert 4 == sum(line.startswith("begin") for line in lines)
    again = current_plan(app)
    assert () == again.changes
    assert again.lines()[0] == apply(app)[0] == "The topics are as they should be."
    assert 4 == len(starts(app)), "no second START"


@pytest.mark.parametrize("from_end", [False, True])
def test_beginning_at_the_log_start_or_the_end(app: Settings, admin: Admin, from_end: bool) -> None:
    """Topics that hold requests already: answering begins at what is left of them, or behind them."""
    tp = sources(app)[1]
    admin.create(tp.topic, app.partitions, 1, {})
    produce(app, tp, 5)
    admin.delete_records({tp: 2})
    apply(app, from_end=from_end)
    expected = dict.fromkeys(sources(app), 0) | {tp: 5 if from_end else 2}
    assert expected == admin.committed(app.group, sources(app))
    assert expected == {at: frame.next_offset for at, frame in frames(app).items()}
    assert expected == {TP(r["request_topic"], r["request_partition"]): r["request_offset"] for r in starts(app)}


def test_a_new_lane_begins_and_the_old_one_goes_on(app: Settings, admin: Admin) -> None:
    """Only partitions without a beginning get one."""
    first, second = app.requests
    apply(app.model_copy(update={"requests": (first,)}))
    produce(app, TP(first.topic, 0), 3)
    apply(app, from_end=True)
    assert dict.fromkeys(sources(app), 0) == admin.committed(app.group, sources(app))
    assert 4 == len(starts(app))
    assert second.topic in {tp.topic for tp in frames(app)}


def test_settings_changed_by_hand_are_altered(app: Settings, admin: Admin) -> None:
    """Contradictions of settings are named, and apply repairs them; other settings are left alone."""
    apply(app)
    lane = app.requests[0].topic
    admin.alter(lane, {"message.timestamp.type": "CreateTime", "compression.type": "gzip"})
    admin.alter(app.changelog, {"retention.ms": "1000", "cleanup.policy": "compact"})
    complaints = contradictions(app, admin.topics(names(app)))
    assert [lane, app.changelog, app.changelog] == sorted(
        (text.partition(":")[0] for text in complaints), key=lambda name: name == app.changelog
    )
    apply(app)
    found = admin.topics(names(app))
    assert [] == contradictions(app, found)
    assert "gzip" == found[lane].configs["compression.type"]


def test_partition_count_that_differs_changes_nothing(app: Settings, admin: Admin) -> None:
    """A contradiction stops apply before its first step."""
    admin.create(app.results, 5, 1, {})
    with pytest.raises(SetupError, match="it has 5 partitions, the configuration says 2") as stopped:
        apply(app)
    assert "Nothing was changed" in str(stopped.value)
    assert {app.results} == admin.topics(names(app)).keys()


def test_offsets_that_were_lost_are_not_set_anew(app: Settings, admin: Admin) -> None:
    """A frame without a committed offset means that offsets were lost: beginning anew would answer twice. Stop."""
    apply(app)
    client: dict[str, Any] = dict(app.kafka)
    deleting = AdminClient(client)
    deleting.delete_consumer_groups([app.group])[app.group].result(20)
    with pytest.raises(OffsetsError, match="no committed offset"):
        apply(app)
    assert {None} == set(admin.committed(app.group, sources(app)).values())


def test_running_workers_stop_the_beginning(app: Settings, admin: Admin) -> None:
    """Into a live group offsets would be written without anybody's leave: never-joined metadata is accepted there."""
    first, _ = app.requests
    apply(app.model_copy(update={"requests": (first,)}))
    client: dict[str, Any] = {**app.kafka, "group.id": app.group}
    consumer = Consumer(client)
    consumer.subscribe([first.topic])
    try:
        deadline = time.monotonic() + 30
        while not consumer.assignment():
            assert time.monotonic() < deadline
            consumer.poll(0.1)
        with pytest.raises(SetupError, match="Stop the workers"):
            apply(app)
    finally:
        consumer.close()
    assert {None} == {admin.committed(app.group, [tp])[tp] for tp in sources(app)[2:]}
    apply(app)
    assert {0} == set(admin.committed(app.group, sources(app)).values())


def test_contracts_must_be_registered_first(tmp_path: Path, unique: str, bootstrap: str, registry_url: str) -> None:
    """START records are framed with the outcome contract's id; without it nothing begins, and the command is named."""
    app = settings(tmp_path, unique, bootstrap, registry_url)
    with pytest.raises(SetupError, match="schemas register"):
        apply(app)
    assert {None} == set(Admin(app.kafka).committed(app.group, sources(app)).values())


def test_no_broker(app: Settings) -> None:
    """A broker that is not there is said within the time-out, with its address and why."""
    nowhere = Admin({"bootstrap.servers": "127.0.0.1:9"}, timeout_s=1.0)
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9.*Connection refused"):
        nowhere.cluster()


def test_committed_waits_for_a_pending_transaction(app: Settings, admin: Admin) -> None:
    """An offset in an open transaction is not answered with the one before it: after a takeover that would double."""
    hand = ByHand(app)
    hand.set_up()
    tp = sources(app)[0]
    client: dict[str, Any] = dict(app.kafka)
    producer = Producer({**client, "transactional.id": f"{app.app.id}.open"})
    producer.init_transactions()
    producer.begin_transaction()
    consumer = Consumer({**client, "group.id": app.group})
    producer.send_offsets_to_transaction([TopicPartition(*tp, 7)], consumer.consumer_group_metadata())
    consumer.close()
    with pytest.raises(SetupError, match="hanging"):
        Admin(app.kafka, timeout_s=1.0, pending_s=1.0).committed(app.group, [tp])
    producer.commit_transaction()
    assert {tp: 7} == admin.committed(app.group, [tp])
