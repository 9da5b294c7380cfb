"""Questions to a cluster in motion: topics that are new, coordinators that move, transactions that are open."""

import subprocess
import sys
import time
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import ConfigResource, ResourceType  # type: ignore[attr-defined]  # re-exported

from streams.dev import Stack
from streams.errors import SetupError, Unreachable
from streams.kafka.admin import Admin
from streams.kafka.changelog import KafkaChangelog
from streams.kafka.outsider import outsider
from streams.packs import pack
from streams.records import TP

ASKING = """
import sys, time
from streams.errors import SetupError
from streams.kafka.admin import Admin
from streams.records import TP
bootstrap, topic = sys.argv[1:]
admins = [Admin({"bootstrap.servers": bootstrap}, pending_s=5.0) for _ in range(40)]
asked = 0
print("asking", flush=True)
begun = time.monotonic()
while time.monotonic() < begun + 9 or asked <= 100 and time.monotonic() < begun + 50:
    for number, admin in enumerate(admins):
        try:
            admin.committed(f"{topic}.{number}", [TP(topic, 0)])
            asked += 1
        except SetupError:
            pass
print(asked)
"""


def test_asking_for_offsets_while_coordinators_move_ends_no_process(stack: Stack, unique: str) -> None:
    """The admin client's own call is a segmentation fault then (librdkafka #5040), in half of such minutes."""
    Admin({"bootstrap.servers": stack.bootstrap}).create(unique, 1, 1, {})
    command = [sys.executable, "-c", ASKING, stack.bootstrap, unique]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as asking:
        assert asking.stdout is not None
        assert "asking\n" == asking.stdout.readline()
        stack.stop_broker()
        stack.start_broker()
        said, _ = asking.communicate(timeout=60)
        assert (0, True) == (asking.returncode, int(said) > 100)


def test_a_new_topic_that_one_broker_does_not_know_yet_is_waited_for(
    stack: Stack, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three brokers one knew the topic, and another, which was asked for its settings, did not."""
    admin = Admin({"bootstrap.servers": stack.bootstrap})
    ask, late = admin._admin.describe_configs, [ConfigResource(ResourceType.TOPIC, f"{unique}.never")] * 2

    def describe(resources: list[ConfigResource], **settings: Any) -> Any:
        if not late:
            return ask(resources, **settings)
        (unknown,) = ask([late.pop()], **settings).values()
        return dict.fromkeys(resources, unknown)

    monkeypatch.setattr(admin._admin, "describe_configs", describe)
    admin.create(unique, 1, 1, {})
    assert not late
    assert {unique} == set(admin.topics([unique]))


def test_an_offset_that_is_none_is_asked_for_again(stack: Stack, unique: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While leaders move the client says -1001, without an error: taken for an offset, it is one that went back."""
    admin = Admin({"bootstrap.servers": stack.bootstrap})
    admin.create(unique, 2, 1, {})
    ask, answers = admin._admin.list_offsets, [-1001]

    def listed(asked: dict[TopicPartition, Any], **settings: Any) -> Any:
        futures = {**ask(asked, **settings)}  # the client goes on with its own
        if answers:
            none: Future[Any] = Future()
            none.set_result(SimpleNamespace(offset=answers.pop()))
            futures[next(iter(futures))] = none
        return futures

    monkeypatch.setattr(admin._admin, "list_offsets", listed)
    tps = [TP(unique, 0), TP(unique, 1)]
    assert dict.fromkeys(tps, 0) == admin.offsets(tps, "latest")
    assert not answers
    monkeypatch.setattr("streams.kafka.admin._VISIBLE_S", 0.3)
    answers.extend([-1001] * 1_000)
    with pytest.raises(Unreachable, match="none was given"):
        admin.offsets(tps, "latest")


def test_a_log_start_that_moves_during_a_restore_is_tried_again(stack: Stack, unique: str) -> None:
    """Retention between the look at the bounds and the reading: the next start begins at the new bounds."""
    client: dict[str, str | int | float | bool] = {"bootstrap.servers": stack.bootstrap}
    Admin(client).create(unique, 1, 1, {})
    producer = Producer(client)
    (value,) = pack([(b"key", b"value")])
    for _ in range(10):
        producer.produce(unique, value, None, 0)
    assert 0 == producer.flush(20)
    changelog = KafkaChangelog(client, unique)
    start, end = changelog.bounds([0])[0]
    Admin(client).delete_records({TP(unique, 0): 5})
    with pytest.raises(Unreachable):
        list(changelog.read(0, start, end))
    assert 5 == sum(len(puts) for puts, _ in changelog.read(0, *changelog.bounds([0])[0]))


def test_what_is_no_pack_stops_the_restore(stack: Stack, unique: str) -> None:
    """A newer version's record, or somebody else's: its coordinates are said, and nothing is guessed."""
    client: dict[str, str | int | float | bool] = {"bootstrap.servers": stack.bootstrap}
    Admin(client).create(unique, 1, 1, {})
    producer = Producer(client)
    producer.produce(unique, b"\x09 written by a later version", None, 0)
    assert 0 == producer.flush(20)
    changelog = KafkaChangelog(client, unique)
    with pytest.raises(SetupError, match=rf"{unique}\[0\] offset 0.*format 09.*newer version"):
        list(changelog.read(0, *changelog.bounds([0])[0]))


def test_offsets_of_an_open_transaction_are_waited_for(stack: Stack, unique: str) -> None:
    """They may be committed a moment later: until then there is no answer, and after a while that is said."""
    client: dict[str, str | int | float | bool] = {"bootstrap.servers": stack.bootstrap}
    admin, tp = Admin(client, pending_s=1.0), TP(unique, 0)
    admin.create(unique, 1, 1, {})
    assert {tp: None} == admin.committed(unique, [tp])
    producer = Producer({**client, "transactional.id": unique})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.send_offsets_to_transaction(
        [TopicPartition(*tp, 5)], outsider(client, unique).consumer_group_metadata(), 20
    )
    begun = time.monotonic()
    with pytest.raises(Unreachable, match=f"group {unique} for {unique}"):
        admin.committed(unique, [tp])
    assert time.monotonic() - begun > 0.9
    producer.commit_transaction(20)
    assert {tp: 5} == admin.committed(unique, [tp])
