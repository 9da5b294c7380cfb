"""What is known of schema ids, when it is believed, and for how long; against a registry on a real socket."""

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from streams.avro.registry import NEGATIVE_S, PAUSE_S, Registry, framed
from streams.avro.schema import parse
from streams.contracts import Contract, Reading, Unreadable
from streams.errors import ConfigError
from streams.reasons import Reason
from tests.avro.fake_registry import FakeRegistry

TOPIC, SUBJECT = "app.requests", "app.requests-value"
ID_FIELD = {"name": "id", "type": "string", "role": "request_id"}


def schema(*fields: dict[str, object]) -> str:
    return json.dumps({"type": "record", "name": "R", "fields": [ID_FIELD, *fields]})


PLAIN = schema({"name": "x", "type": "double"})
WIDER = schema({"name": "x", "type": "double"}, {"name": "y", "type": "int"})
WIDEST = schema({"name": "x", "type": "double"}, {"name": "y", "type": "int"}, {"name": "z", "type": "int"})
OTHER = schema({"name": "x", "type": "float"})


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def server() -> Iterator[FakeRegistry]:
    with FakeRegistry() as fake:
        yield fake


@pytest.fixture
def clock() -> Clock:
    return Clock()


Make = Callable[..., Registry]


@pytest.fixture
def make(server: FakeRegistry, clock: Clock, tmp_path: Path) -> Make:
    def registry(*accepts: str, drop: bool = False, url: str | None = None, **lanes: str) -> Registry:
        return Registry(
            {"url": url} if url else server.keys,
            lanes or {TOPIC: SUBJECT},
            tuple(parse(text) for text in accepts),
            drop_extra_fields=drop,
            cache_dir=tmp_path,
            clock=clock,
        )

    return registry


def resolved(registry: Registry, schema_id: int, topic: str = TOPIC) -> Reading | Unreadable:
    assert registry.resolve([(topic, schema_id)]), registry.trouble
    return registry.snapshot()[topic, schema_id]


def reading(registry: Registry, schema_id: int) -> Reading:
    found = resolved(registry, schema_id)
    assert isinstance(found, Reading)
    return found


def accepted(text: str) -> Contract:
    return parse(text)


def test_known_id_is_asked_for_once(server: FakeRegistry, make: Make) -> None:
    """Ids are immutable: one answer serves for ever, whatever the registry does afterwards."""
    server.add(7, PLAIN, SUBJECT)
    registry = make(PLAIN)
    assert {} == dict(registry.snapshot())
    assert Reading(accepted(PLAIN), accepted(PLAIN)) == reading(registry, 7)
    asked = len(server.requests)
    server.broken = 500
    assert Reading(accepted(PLAIN), accepted(PLAIN)) == reading(registry, 7)
    assert asked == len(server.requests)


def test_known_id_survives_a_restart_without_registry(server: FakeRegistry, make: Make) -> None:
    """After a restart a known id is in the first snapshot, and nobody was asked."""
    server.add(7, PLAIN, SUBJECT)
    reading(make(PLAIN), 7)
    asked = len(server.requests)
    again = make(PLAIN)
    assert {(TOPIC, 7): Reading(accepted(PLAIN), accepted(PLAIN))} == dict(again.snapshot())
    assert asked == len(server.requests)


def test_another_registry_shares_no_ids(server: FakeRegistry, make: Make) -> None:
    """Id 7 of one registry says nothing about id 7 of another; the order of the URLs and their passwords do not count."""
    server.add(7, PLAIN, SUBJECT)
    reading(make(PLAIN, url=f"http://{server.address},http://u:p@127.0.0.1:9"), 7)
    assert {} == dict(make(PLAIN, url="http://127.0.0.1:9").snapshot())
    assert [(TOPIC, 7)] == list(make(PLAIN, url=f"http://x:y@127.0.0.1:9/, http://{server.address}").snapshot())


@pytest.mark.parametrize("damage", ["", "{", '{"format":1}', "cut", "flipped", "renamed", "newer"])
def test_damaged_file_is_asked_for_again(server: FakeRegistry, make: Make, tmp_path: Path, damage: str) -> None:
    """A cache file that is not exactly what was written is ignored, and replaced by the registry's answer."""
    server.add(7, PLAIN, SUBJECT)
    reading(make(PLAIN), 7)
    (path,) = tmp_path.glob("*/*.json")
    good = path.read_text()
    if damage == "renamed":
        path.rename(path.with_stem("8"))
    else:
        changed = {"cut": good[:-5], "flipped": good.replace("double", "doubly"), "newer": good.replace(": 1,", ": 2,")}
        path.write_text(changed.get(damage, damage))
    again = make(PLAIN)
    assert {} == dict(again.snapshot())
    reading(again, 7)
    assert good == path.read_text()


def test_cache_that_cannot_be_written_costs_only_the_memory_of_a_restart(
    server: FakeRegistry, make: Make, tmp_path: Path
) -> None:
    """A full disk, or a file where the folder should be, is said, and does not stop the work."""
    server.add(7, PLAIN, SUBJECT)
    reading(make(PLAIN), 7)
    (folder,) = tmp_path.iterdir()
    shutil.rmtree(folder)
    folder.write_text("a file where the folder should be")
    with structlog.testing.capture_logs() as logs:
        reading(make(PLAIN), 7)
    assert ["schema_cache_not_written"] == [entry["event"] for entry in logs]


@pytest.mark.parametrize("status", [500, 503, 429, 401, 403, 404, 200])
def test_no_answer_is_no_knowledge(server: FakeRegistry, make: Make, clock: Clock, status: int) -> None:
    """Whatever is not the registry's own definite answer holds the rows: 5xx, 401, a proxy's 404, HTML with 200."""
    server.add(7, PLAIN, SUBJECT)
    server.broken = status
    registry = make(PLAIN)
    for _ in range(5):
        assert not registry.resolve([(TOPIC, 7)])
        clock.now += 10
    assert {} == dict(registry.snapshot())
    assert registry.trouble is not None
    server.broken = None
    reading(registry, 7)
    assert registry.trouble is None


def test_a_registry_that_is_gone_is_not_asked_in_every_turn(make: Make, server: FakeRegistry, clock: Clock) -> None:
    """After a request without an answer nobody is asked for a second; the loop can call as often as it likes."""
    server.broken = 503
    registry = make()
    for _ in range(50):
        assert not registry.resolve([(TOPIC, 7)])
    assert 1 == len(server.requests)
    clock.now += PAUSE_S
    assert not registry.resolve([(TOPIC, 7)])
    assert 2 == len(server.requests)


def test_a_slow_registry_does_not_keep_the_loop(server: FakeRegistry, make: Make) -> None:
    """`resolve` waits a quarter of a second; a later answer is taken by a later call."""
    server.add(7, PLAIN, SUBJECT)
    server.stall()
    registry = make(PLAIN)
    began = time.monotonic()
    assert not registry.resolve([(TOPIC, 7)])
    assert time.monotonic() - began < 1.0
    server.stalled.set()
    deadline = time.monotonic() + 10
    while not registry.resolve([(TOPIC, 7)]):
        assert time.monotonic() < deadline
    assert 2 == len(server.requests)


def test_many_unknown_ids_are_asked_for_together(server: FakeRegistry, make: Make, clock: Clock) -> None:
    """A hundred made-up ids are refused when one would be, and a good one among them is known at once."""
    server.add(50, PLAIN, SUBJECT)
    registry, wanted = make(PLAIN), [(TOPIC, number) for number in range(1, 101)]
    known: frozenset[tuple[str, int]] = frozenset()
    for _ in range(3):
        deadline = time.monotonic() + 20
        before = len(server.requests)
        while len(server.requests) < before + 99 or registry._asking is not None:
            known = registry.resolve(wanted)
            assert time.monotonic() < deadline
        assert (TOPIC, 50) in known
        clock.now += 2.5
    assert frozenset(wanted) == registry.resolve(wanted)


def test_a_registry_that_hangs_is_waited_for_by_the_one_who_asked(server: FakeRegistry, make: Make) -> None:
    """However many ids wait, the loop loses a quarter of a second, not one for each of them."""
    server.stall()
    registry = make(PLAIN)
    began = time.monotonic()
    for number in range(20):
        assert not registry.resolve([(TOPIC, number)])
    assert time.monotonic() - began < 1.5
    server.stalled.set()


@pytest.mark.parametrize("reason", [Reason.UNKNOWN_SCHEMA, Reason.WRONG_SUBJECT])
def test_a_negative_answer_counts_after_three_tries_in_five_seconds(
    server: FakeRegistry, make: Make, clock: Clock, reason: Reason
) -> None:
    """Two tries, or three at once, refuse nothing: a replica of the registry may not have heard of it yet."""
    if reason is Reason.WRONG_SUBJECT:
        server.add(7, PLAIN, "other-value")
    registry = make(PLAIN)
    answers = []
    for _ in range(51):
        answers.append(bool(registry.resolve([(TOPIC, 7)])))
        clock.now += 0.1
    assert [False] * 50 + [True] == answers
    last = "versions" if reason is Reason.WRONG_SUBJECT else "7"
    assert 3 == sum(path.partition("?")[0].endswith(last) for path in server.requests)
    expected = {
        Reason.UNKNOWN_SCHEMA: Unreadable(Reason.UNKNOWN_SCHEMA, None, "7"),
        Reason.WRONG_SUBJECT: Unreadable(Reason.WRONG_SUBJECT, SUBJECT, "7"),
    }[reason]
    assert expected == registry.snapshot()[TOPIC, 7]


def deny(registry: Registry, clock: Clock) -> None:
    for _ in range(3):
        registry.resolve([(TOPIC, 7)])
        clock.now += 2.5
    assert (TOPIC, 7) in registry.snapshot()


def test_a_registration_after_a_negative_answer_is_found(server: FakeRegistry, make: Make, clock: Clock) -> None:
    """A negative answer is believed for a minute, in memory only."""
    registry = make(PLAIN)
    deny(registry, clock)
    server.add(7, PLAIN, SUBJECT)
    assert isinstance(resolved(registry, 7), Unreadable)
    assert {} == dict(make(PLAIN).snapshot())
    clock.now += NEGATIVE_S
    assert {} == dict(registry.snapshot())
    assert isinstance(resolved(registry, 7), Reading)


def test_a_negative_answer_is_renewed_by_one_try(server: FakeRegistry, make: Make, clock: Clock) -> None:
    """A producer that goes on with a bad id does not stop its partition for five seconds in every minute."""
    registry = make(PLAIN)
    deny(registry, clock)
    clock.now += NEGATIVE_S
    assert isinstance(resolved(registry, 7), Unreadable)
    clock.now += 3 * NEGATIVE_S
    assert not registry.resolve([(TOPIC, 7)])


def test_subject_is_the_lanes_own(server: FakeRegistry, make: Make, clock: Clock) -> None:
    """An id is judged for each lane: the same id is right in one and wrong in the other."""
    server.add(7, PLAIN, "a-value")
    registry = make(PLAIN, a="a-value", b="b-value")
    assert isinstance(resolved(registry, 7, "a"), Reading)
    for _ in range(3):
        registry.resolve([("b", 7)])
        clock.now += 2.5
    assert Unreadable(Reason.WRONG_SUBJECT, "b-value", "7") == registry.snapshot()["b", 7]
    server.subjects[7].add("b-value")
    clock.now += NEGATIVE_S
    assert isinstance(resolved(registry, 7, "b"), Reading)
    assert {("a", 7), ("b", 7)} == set(make(PLAIN, a="a-value", b="b-value").snapshot())


@pytest.mark.parametrize(
    ("text", "more", "word"),
    [
        ('{"type":"record","name":"R","fields":[{"name":"f","type":["null","R"]}]}', {}, "itself"),
        (schema({"name": "x", "type": {"type": "array", "items": "int"}}), {}, "array"),
        ("nonsense", {}, "JSON"),
        ('{"type":"object"}', {"schemaType": "JSON"}, "JSON schema"),
        ('syntax = "proto3";', {"schemaType": "PROTOBUF"}, "PROTOBUF"),
        (PLAIN, {"references": [{"name": "a", "subject": "s", "version": 1}]}, "refers"),
    ],
)
def test_hostile_schema_is_refused_with_its_reason(
    server: FakeRegistry, make: Make, text: str, more: dict[str, object], word: str
) -> None:
    """A schema that cannot be read safely is unreadable at once, says why, and is remembered like any other."""
    server.add(7, text, SUBJECT, **more)
    found = resolved(make(PLAIN), 7)
    assert isinstance(found, Unreadable)
    assert Reason.SCHEMA_REFUSED == found.reason
    assert word in (found.value or "")
    assert {(TOPIC, 7): found} == dict(make(PLAIN).snapshot())


def test_only_the_accepted_contract_is_accepted(server: FakeRegistry, make: Make) -> None:
    """Equal fingerprints accept; anything else is readable, and accepted by nobody."""
    server.add(1, PLAIN, SUBJECT)
    server.add(2, OTHER, SUBJECT)
    server.add(3, WIDER, SUBJECT)
    registry = make(OTHER, PLAIN)
    assert accepted(PLAIN) == reading(registry, 1).accepted
    assert accepted(OTHER) == reading(registry, 2).accepted
    assert None is reading(registry, 3).accepted


def test_extra_fields_are_dropped_where_that_is_declared(server: FakeRegistry, make: Make) -> None:
    """`extra_fields = "drop"`: identical field for field plus new ones; the accepted contract that keeps the most wins."""
    server.add(1, WIDEST, SUBJECT)
    server.add(2, OTHER, SUBJECT)
    server.add(3, WIDER, SUBJECT)
    registry = make(PLAIN, WIDER, drop=True)
    assert (accepted(WIDER), ("z",)) == reading(registry, 1)[1:]
    assert (None, ()) == reading(registry, 2)[1:]
    assert (accepted(WIDER), ()) == reading(registry, 3)[1:]


def test_recheck_forgets_what_the_registry_contradicts(server: FakeRegistry, make: Make, tmp_path: Path) -> None:
    """A registry that was wiped gives old ids to other schemas; docs may differ, a registry that is down proves nothing."""
    for schema_id in (1, 2, 3):
        server.add(schema_id, PLAIN, SUBJECT)
        reading(make(PLAIN), schema_id)
    documented = json.dumps({**json.loads(PLAIN), "doc": "new words"})
    server.add(1, documented, SUBJECT)
    server.add(2, OTHER, SUBJECT)
    del server.schemas[3]
    registry = make(PLAIN)
    server.broken = 503
    assert () == registry.recheck()
    server.broken = None
    assert (2, 3) == registry.recheck()
    assert [(TOPIC, 1)] == list(registry.snapshot())
    assert [(TOPIC, 1)] == list(make(PLAIN).snapshot())


def test_secrets_are_sent_and_never_shown(
    server: FakeRegistry, make: Make, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Credentials reach the registry, and no error, log line or cache file."""
    caplog.set_level(logging.DEBUG)
    server.broken = 401
    registry = make(PLAIN, url=f"http://someone:canary%21@{server.address}")
    assert not registry.resolve([(TOPIC, 7)])
    assert "Basic c29tZW9uZTpjYW5hcnkh" == server.authorization[0]
    with pytest.raises(ConfigError) as refused:
        make(url="canary")
    with pytest.raises(ConfigError) as twice:
        Registry(
            {"url": "http://a:canary@h", "basic.auth.user.info": "b:canary"},
            {},
            (),
            drop_extra_fields=False,
            cache_dir=tmp_path,
        )
    shown = [str(registry.trouble), str(refused.value), str(twice.value), caplog.text]
    shown += [str(path) + path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert [text for text in shown if "canary" in text or "Y2FuYXJ" in text] == []
    assert "credentials" in str(registry.trouble)


def test_client_keys_pass_through_and_unknown_ones_are_refused(make: Make, tmp_path: Path) -> None:
    """The client's own keys reach the client; what it does not know is a configuration error that names the key."""
    with pytest.raises(ConfigError, match="nonsense"):
        Registry({"url": "http://h", "nonsense": 1}, {}, (), drop_extra_fields=False, cache_dir=tmp_path)
    with pytest.raises(ConfigError, match="ssl"):
        Registry(
            {"url": "http://h", "ssl.ca.location": "/no/such"}, {}, (), drop_extra_fields=False, cache_dir=tmp_path
        )


def test_second_url_is_asked_when_the_first_is_gone(server: FakeRegistry, make: Make) -> None:
    """Several URLs are replicas of one registry."""
    server.add(7, PLAIN, SUBJECT)
    reading(make(PLAIN, url=f"http://127.0.0.1:9,http://{server.address}"), 7)


def test_framing() -> None:
    """0x00, four bytes of id, the datum."""
    assert b"\x00\x00\x00\x01\x02datum" == framed(258, b"datum")
