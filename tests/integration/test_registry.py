"""Contracts in a real registry: what it keeps, what it answers, and that confluent-kafka reads and writes our bytes."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, topic_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from streams import schemas_dir
from streams.avro.encode import encode_one
from streams.avro.registry import Registry, framed
from streams.avro.registry_client import RegistryClient
from streams.avro.schema import parse
from streams.config import Settings
from streams.contracts import Reading, Unreadable
from streams.dev import Stack
from streams.errors import ConfigError, SetupError, Unreachable
from streams.reasons import Reason
from streams.registering import check, product_ids, register
from tests.integration.by_hand import CONTRACT, settings

FLIGHTS = (schemas_dir() / "flights" / "request.v1.avsc").read_text()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def put(registry_url: str, subject: str, text: str, kind: str = "AVRO") -> int:
    """Register as another team would."""
    return SchemaRegistryClient({"url": registry_url}).register_schema(subject, Schema(text, kind))


def knowing(registry_url: str, folder: Path, topic: str, *accepts: str, clock: Clock | None = None) -> Registry:
    return Registry(
        {"url": registry_url},
        {topic: f"{topic}-value"},
        tuple(parse(text) for text in accepts),
        drop_extra_fields=True,
        cache_dir=folder,
        clock=clock or time.monotonic,
    )


def settled(registry: Registry, clock: Clock, topic: str, schema_id: int) -> Reading | Unreadable:
    """Ask as the loop does, moving the clock by hand, until it is known."""
    deadline = time.monotonic() + 30
    while not registry.resolve([(topic, schema_id)]):
        clock.now += 1
        assert time.monotonic() < deadline, registry.trouble
    return registry.snapshot()[topic, schema_id]


def test_a_contract_comes_back_as_it_was(registry_url: str, unique: str, tmp_path: Path) -> None:
    """The registry keeps our properties: the fingerprint of what it returns is the file's, so the file's model accepts it."""
    schema_id = put(registry_url, f"{unique}-value", FLIGHTS)
    found = settled(knowing(registry_url, tmp_path, unique, FLIGHTS), Clock(), unique, schema_id)
    assert isinstance(found, Reading)
    assert parse(FLIGHTS).fingerprint == found.writer.fingerprint
    assert found.accepted is not None
    assert ("request_id", "tenant") == (found.writer.fields[0].role, found.writer.fields[1].role)


def test_an_extra_field_is_dropped(registry_url: str, unique: str, tmp_path: Path) -> None:
    """A newer writer that only adds fields is accepted with them dropped."""
    newer = json.loads(FLIGHTS)
    newer["fields"].append({"name": "new", "type": ["null", "string"], "default": None, "doc": "d"})
    schema_id = put(registry_url, f"{unique}-value", json.dumps(newer))
    found = settled(knowing(registry_url, tmp_path, unique, FLIGHTS), Clock(), unique, schema_id)
    assert isinstance(found, Reading)
    assert ("new",) == found.extra
    assert found.accepted is not None


def test_ids_that_are_not_this_subjects(registry_url: str, unique: str, tmp_path: Path) -> None:
    """An id of another subject, and an id that does not exist, after three tries in five seconds."""
    clock = Clock()
    registry = knowing(registry_url, tmp_path, unique, FLIGHTS, clock=clock)
    foreign = put(registry_url, f"{unique}-other", json.dumps({**json.loads(FLIGHTS), "name": "Foreign"}))
    expected = Unreadable(Reason.WRONG_SUBJECT, f"{unique}-value", str(foreign))
    assert expected == settled(registry, clock, unique, foreign)
    assert 5.0 <= clock.now
    nowhere = 2_000_000_000
    assert Unreadable(Reason.UNKNOWN_SCHEMA, None, str(nowhere)) == settled(registry, clock, unique, nowhere)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("AVRO", '{"type":"record","name":"R","fields":[{"name":"next","type":["null","R"]}]}'),
        ("AVRO", '{"type":"record","name":"R","fields":[{"name":"a","type":{"type":"array","items":"int"}}]}'),
        ("PROTOBUF", 'syntax = "proto3"; message A { string a = 1; }'),
    ],
)
def test_hostile_schemas(registry_url: str, unique: str, tmp_path: Path, kind: str, text: str) -> None:
    """Whoever may register can register anything; it is refused, with a sentence."""
    schema_id = put(registry_url, f"{unique}-value", text, kind)
    found = settled(knowing(registry_url, tmp_path, unique), Clock(), unique, schema_id)
    assert isinstance(found, Unreadable)
    assert Reason.SCHEMA_REFUSED == found.reason
    assert found.value


def test_bytes_are_those_of_confluents_serializers(registry_url: str, unique: str) -> None:
    """Their serializer's bytes are ours, and their deserializer reads ours; the subject strategy is set, not assumed."""
    client = SchemaRegistryClient({"url": registry_url})
    schema_id = client.register_schema(f"{unique}-value", Schema(json.dumps(CONTRACT), "AVRO"))
    record = {"id": "r-1", "x": 0.5}
    context = SerializationContext(unique, MessageField.VALUE)
    theirs = AvroSerializer(
        client,
        json.dumps(CONTRACT),
        conf={"auto.register.schemas": False, "subject.name.strategy": topic_subject_name_strategy},
    )(record, context)
    ours = framed(schema_id, encode_one(CONTRACT, record))
    assert ours == theirs
    conf = {"subject.name.strategy": topic_subject_name_strategy}
    assert record == AvroDeserializer(client, json.dumps(CONTRACT), conf=conf)(ours, context)


@pytest.fixture
def app(tmp_path: Path, unique: str, bootstrap: str, registry_url: str) -> Settings:
    return settings(tmp_path, unique, bootstrap, registry_url)


def rewrite(app: Settings, **field: Any) -> None:
    """Change the lane's contract: replace, or add, a field."""
    path = app.requests[0].contract
    tree = json.loads(path.read_text())
    tree["fields"] = [old for old in tree["fields"] if old["name"] != field["name"]] + [field]
    path.write_text(json.dumps(tree))


def grades(app: Settings) -> list[str]:
    return [finding.grade for finding in check(app)]


def test_register_is_idempotent_and_sets_the_rules(app: Settings, registry_url: str) -> None:
    """Each contract under its subject with its compatibility rule; a second time nothing changes; ids can be looked up."""
    with pytest.raises(SetupError, match="schemas register"):
        product_ids(app)
    assert ["ok"] * 3 == grades(app)
    registered = register(app)
    results, outcomes, lane = (f"{topic}-value" for topic in (app.results, app.outcomes, app.requests[0].topic))
    assert [(results, 1), (outcomes, 1), (lane, 1)] == [(entry.subject, entry.version) for entry in registered]
    assert registered == register(app)
    assert ["ok"] * 3 == grades(app)
    client = RegistryClient({"url": registry_url})
    assert ["FULL_TRANSITIVE", "FULL_TRANSITIVE", "BACKWARD_TRANSITIVE"] == [
        client.compatibility(subject) for subject in (results, outcomes, lane)
    ]
    assert {"result": registered[0].schema_id, "outcome": registered[1].schema_id} == product_ids(app)


def test_a_stricter_rule_of_the_lane_is_kept(app: Settings, registry_url: str) -> None:
    """A team that set FULL_TRANSITIVE for its subject keeps it."""
    client = RegistryClient({"url": registry_url})
    client.set_compatibility(f"{app.requests[0].topic}-value", "FULL_TRANSITIVE")
    register(app)
    assert "FULL_TRANSITIVE" == client.compatibility(f"{app.requests[0].topic}-value")


def test_compatible_version_is_registered(app: Settings) -> None:
    """A new field with a default is the next version."""
    first = register(app)[2]
    rewrite(app, name="new", type=["null", "string"], default=None, doc="d")
    assert ["ok"] * 3 == grades(app)
    second = register(app)[2]
    assert (first.version + 1, True) == (second.version, second.schema_id != first.schema_id)


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ({"name": "x", "type": "string", "doc": "d"}, "says the registry (rule BACKWARD_TRANSITIVE)"),
        ({"name": "new", "type": "string", "doc": "d"}, "says the registry"),
        (
            {"name": "t", "type": {"type": "long", "logicalType": "timestamp-micros"}, "doc": "d", "default": 0},
            "Field t changes its logicalType from timestamp-millis to timestamp-micros",
        ),
        ({"name": "t", "type": "long", "doc": "d", "default": 0}, "Field t changes its logicalType"),
        ({"name": "x", "type": "double", "doc": "d", "minimum": "zero"}, "x"),
        ({"name": "new", "type": {"type": "array", "items": "int"}, "default": [], "doc": "d"}, "array"),
        ({"name": "new", "type": "int", "default": 0}, "new has no doc"),
    ],
)
def test_wrong_version_is_refused_and_nothing_registered(app: Settings, field: dict[str, Any], words: str) -> None:
    """Our rules, the registry's answer, and changes of meaning that the registry calls compatible: all are errors."""
    rewrite(app, name="t", type={"type": "long", "logicalType": "timestamp-millis"}, default=0, doc="d")
    before = register(app)
    rewrite(app, **field)
    errors = [finding for finding in check(app) if finding.is_error]
    assert words in " ".join(map(str, errors))
    with pytest.raises(ConfigError, match="Nothing was registered"):
        register(app)
    client = RegistryClient(app.schema_registry)
    assert 1 == len(client.versions(before[2].subject))


def test_rule_that_is_not_set_yet_is_said(app: Settings, registry_url: str) -> None:
    """Under a subject without a rule anything can be registered: check does not call that compatible. Register sets it."""
    more = [*CONTRACT["fields"], {"name": "old", "type": "int", "doc": "d"}]
    put(registry_url, f"{app.requests[0].topic}-value", json.dumps({**CONTRACT, "fields": more}))
    assert ["ok", "ok", "unchecked"] == grades(app)
    assert 2 == register(app)[2].version
    assert ["ok"] * 3 == grades(app)


def test_missing_contract_file(app: Settings) -> None:
    """A file that is not there is an error of the check, with its path."""
    app.requests[0].contract.unlink()
    assert "request.avsc" in str(check(app)[-1])
    assert "error" == grades(app)[-1]


@pytest.mark.timeout(120)
def test_registry_down(stack: Stack, app: Settings, unique: str, tmp_path: Path) -> None:
    """Known ids work, also after a restart; unknown ones are held, and found when it is back; check says what it could not."""
    url, topic = stack.registry_url, app.requests[0].topic
    ids = {entry.subject: entry.schema_id for entry in register(app)}
    products = product_ids(app)
    known = ids[f"{topic}-value"]
    clock = Clock()
    text = app.requests[0].contract.read_text()
    settled(knowing(url, tmp_path, topic, text), clock, topic, known)
    later = put(url, f"{topic}-value", json.dumps({**CONTRACT, "doc": "new", "fields": [*CONTRACT["fields"], {
        "name": "new", "type": ["null", "string"], "default": None, "doc": "d"}]}))  # fmt: skip
    stack.kill_registry()
    try:
        restarted = knowing(url, tmp_path, topic, text, clock=clock)
        assert [(topic, known)] == list(restarted.snapshot())
        assert isinstance(settled(restarted, clock, topic, known), Reading)
        for _ in range(10):
            assert not restarted.resolve([(topic, later)])
            clock.now += 10
        assert "does not answer" in str(restarted.trouble)
        assert products == product_ids(app)
        assert ["unchecked"] * 3 == grades(app)
        with pytest.raises(Unreachable):
            product_ids(app.model_copy(update={"app": app.app.model_copy(update={"state_dir": tmp_path / "new"})}))
        with pytest.raises(Unreachable, match="again"):
            register(app)
    finally:
        stack.start_registry()
    assert isinstance(settled(restarted, clock, topic, later), Reading)
