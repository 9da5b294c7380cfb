"""Topics as code, without a cluster: what is wanted, the way there, and what the scorer must refuse."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from streams.config import App, Dedupe, Labels, Model, Requests, Settings
from streams.durations import HOUR_MS
from streams.kafka.admin import Found
from streams.topics import (
    MESSAGE_BYTES,
    Lane,
    contradictions,
    names,
    plan,
    wanted,
    wanted_by_monitor,
    warnings,
)

SETTINGS = Settings(
    app=App(id="app", state_dir=Path("state")),
    kafka={"bootstrap.servers": "nowhere:1"},
    schema_registry={"url": "http://nowhere"},
    requests=(
        Requests(topic="live", contract=Path("c"), partitions=3, retention_hours=24),
        Requests(topic="bulk", contract=Path("c"), partitions=3, retention_hours=48),
    ),
    model=Model(store="file:///m", name="m", version="1"),
    dedupe=Dedupe(window_hours=12),
)
LANES = {"live": Lane(24 * HOUR_MS, MESSAGE_BYTES), "bulk": Lane(48 * HOUR_MS, 2_000_000)}
DEFAULTS = {
    "cleanup.policy": "delete",
    "message.timestamp.type": "CreateTime",
    "unclean.leader.election.enable": "false",
    "retention.ms": str(7 * 24 * HOUR_MS),
    "retention.bytes": "-1",
    "min.insync.replicas": "1",
    "max.message.bytes": str(MESSAGE_BYTES),
    "segment.ms": str(7 * 24 * HOUR_MS),
}


def applied(replication: int = 1) -> dict[str, Found]:
    """The cluster as `apply` leaves it."""
    created = {change.topic: change for change in plan(wanted(SETTINGS, replication, LANES), {}).changes}
    found = {}
    for name in names(SETTINGS):
        configs = {**DEFAULTS, **created[name].configs}
        if name == "bulk":
            configs["max.message.bytes"] = "2000000"
        found[name] = Found(bytes(16), 3, replication, configs)
    return found


def altered(topic: str, **configs: str) -> dict[str, Found]:
    """The same with some settings (underscores for dots) of one topic changed by hand."""
    found = applied(3)
    changed = {key.replace("_", "."): value for key, value in configs.items()}
    return found | {topic: found[topic]._replace(configs={**found[topic].configs, **changed})}


def test_names() -> None:
    """Every topic of the application, whatever the lanes are."""
    expected = ["live", "bulk", "live.dlq", "bulk.dlq", "app.results", "app.outcomes", "app.dedupe.changelog"]
    assert expected == names(SETTINGS)


def test_wanted() -> None:
    """Partitions are equal everywhere; what remembers outlives what must be remembered."""
    topics = {topic.name: topic for topic in wanted(SETTINGS, 3, LANES)}
    assert set(names(SETTINGS)) == topics.keys()
    assert {(3, 3)} == {(topic.partitions, topic.replication) for topic in topics.values()}
    configs = {name: {rule.key: rule.value for rule in topic.rules} for name, topic in topics.items()}
    assert {"LogAppendTime"} == {config["message.timestamp.type"] for config in configs.values()}
    assert {"delete"} == {config["cleanup.policy"] for config in configs.values()}
    assert {"2"} == {config["min.insync.replicas"] for config in configs.values()}
    assert [str(24 * HOUR_MS), str(48 * HOUR_MS)] == [configs[name]["retention.ms"] for name in ("live", "bulk")]
    for name in ("live.dlq", "bulk.dlq", "app.results", "app.outcomes"):
        assert str(48 * HOUR_MS) == configs[name]["retention.ms"], "as long as the longest input"
    assert str(MESSAGE_BYTES + 65_536) == configs["live.dlq"]["max.message.bytes"]
    assert str(2_000_000 + 65_536) == configs["bulk.dlq"]["max.message.bytes"]
    segment_ms = int(configs["app.dedupe.changelog"]["segment.ms"])
    assert (12 + 48) * HOUR_MS + segment_ms == int(configs["app.dedupe.changelog"]["retention.ms"])
    assert 0 < segment_ms <= 24 * HOUR_MS


def test_applied_is_stable() -> None:
    """What apply made, plan finds nothing to do about, and nothing contradicts."""
    for replication in (1, 3):
        found = applied(replication)
        again = plan(wanted(SETTINGS, replication, LANES), found)
        assert () == again.changes
        assert [] == again.contradictions
        assert [] == contradictions(SETTINGS, found)
    assert [] == warnings(SETTINGS, applied(3))
    (alone,) = warnings(SETTINGS, applied(1))
    assert alone.startswith(
        "7 of 7 topics have fewer than 3 replicas: a broker that is lost for good takes answers along"
    )


def test_nothing_there() -> None:
    """Without topics, everything is created, and the scorer does not run."""
    assert {"create"} == {change.kind for change in plan(wanted(SETTINGS, 1, LANES), {}).changes}
    assert [f"{name} does not exist" for name in names(SETTINGS)] == sorted(
        contradictions(SETTINGS, {}), key=lambda text: names(SETTINGS).index(text.split()[0])
    )


@pytest.mark.parametrize(
    ("topic", "configs", "words"),
    [
        ("live", {"message_timestamp_type": "CreateTime"}, "must be LogAppendTime: the dedupe window"),
        ("bulk", {"cleanup_policy": "compact"}, "must be delete: compaction"),
        ("bulk", {"cleanup_policy": "compact,delete"}, "must be delete: compaction"),
        ("app.results", {"cleanup_policy": "compact"}, "must be delete: compaction"),
        ("live.dlq", {"cleanup_policy": "compact"}, "must be delete: compaction"),
        ("live", {"unclean_leader_election_enable": "true"}, "must be false"),
        ("app.dedupe.changelog", {"message_timestamp_type": "CreateTime"}, "must be LogAppendTime"),
        ("app.dedupe.changelog", {"cleanup_policy": "compact"}, "must be delete"),
        ("app.dedupe.changelog", {"retention_bytes": "1000000"}, "must be -1: an answer would be forgotten"),
        ("app.dedupe.changelog", {"retention_ms": str(60 * HOUR_MS - 1)}, "must be at least 216000000: an answer"),
        ("live", {"retention_ms": str(100 * HOUR_MS)}, "app.dedupe.changelog: retention.ms"),
        ("live", {"retention_ms": "-1"}, "must be at least -1"),
    ],
)
def test_contradiction(topic: str, configs: dict[str, str], words: str) -> None:
    """A setting that breaks the guarantee is named with its topic, its value, what it must be, and what breaks."""
    (text,) = contradictions(SETTINGS, altered(topic, **configs))
    assert words in text
    assert plan(wanted(SETTINGS, 3, LANES), altered(topic, **configs)).changes, "and apply would repair it"


@pytest.mark.parametrize(
    ("topic", "configs", "words"),
    [
        ("live.dlq", {"max_message_bytes": str(MESSAGE_BYTES)}, "max.message.bytes"),
        ("app.results", {"retention_ms": "1000"}, "retention.ms"),
        ("app.outcomes", {"retention_bytes": "1000"}, "retention.bytes"),
        ("app.dedupe.changelog", {"retention_ms": str(60 * HOUR_MS)}, "retention.ms"),
        ("live", {"min_insync_replicas": "1"}, "min.insync.replicas"),
        ("live", {"retention_ms": str(20 * HOUR_MS)}, "retention.ms"),
        ("app.results", {"message_timestamp_type": "CreateTime"}, "message.timestamp.type"),
    ],
)
def test_warning(topic: str, configs: dict[str, str], words: str) -> None:
    """What is not as it should be without breaking the guarantee is a warning, and no reason not to run."""
    found = altered(topic, **configs)
    assert [] == contradictions(SETTINGS, found)
    (text,) = warnings(SETTINGS, found)
    assert text.startswith(f"{topic}: {words} is ")
    (change,) = plan(wanted(SETTINGS, 3, LANES), found).changes
    assert ("alter", topic, {words}) == (change.kind, change.topic, set(change.configs))


@pytest.mark.parametrize("topic", ["live", "app.results", "app.dedupe.changelog"])
def test_partition_counts_are_frozen(topic: str) -> None:
    """A partition count that differs cannot be altered: plan says so, and the scorer refuses."""
    found = applied(3)
    found[topic] = found[topic]._replace(partitions=4)
    (from_plan,) = plan(wanted(SETTINGS, 3, LANES), found).contradictions
    (from_run,) = contradictions(SETTINGS, found)
    assert from_plan == from_run
    assert "it has 4 partitions, the configuration says 3" in from_plan
    assert "partitions = 4" in from_plan


@pytest.mark.parametrize("partitions", [1, 3])
def test_a_topic_that_a_producer_made_by_coming_first(partitions: int) -> None:
    """A broker that makes topics by itself gives them its own defaults: it is said what that does, and the way out."""
    found = {"live": Found(bytes(16), partitions, 1, DEFAULTS)}
    planned = plan(wanted(SETTINGS, 1, LANES), found)
    contradictions = [f"live: {text}" for text in (
        "it has 1 partition, the configuration says 3. A broker with auto.create.topics.enable makes a topic, with its "
        "own defaults, for the first client that names it, and one came before `apply`. There is no changelog, so "
        "nothing was answered yet: stop that client, delete the topic (kafka-topics.sh --delete --topic live), apply, and "
        "let it send again; or set partitions = 1",
    )]  # fmt: skip
    assert (contradictions if partitions == 1 else []) == planned.contradictions
    (note,) = [note for note in planned.notes if "NO_APPEND_TIME" in note]
    assert note.startswith("what live holds already")
    assert "--from-end" in note


def test_time_stamps_of_other_topics_refuse_no_request() -> None:
    """The note is about requests, and about what came before anything was answered."""
    results = {"app.results": Found(bytes(16), 3, 1, DEFAULTS)}
    later = altered("live", message_timestamp_type="CreateTime")
    for found in (results, later):
        planned = plan(wanted(SETTINGS, 3, LANES), found)
        assert any("message.timestamp.type" in change.configs for change in planned.changes if change.kind == "alter")
        assert not [note for note in planned.notes if "NO_APPEND_TIME" in note]


def test_more_is_not_altered() -> None:
    """Longer retention, larger messages and more replicas in sync than asked for are left alone."""
    found: Mapping[str, Found] = altered("app.results", retention_ms="-1", min_insync_replicas="3")
    found = {
        **found,
        "live.dlq": altered("live.dlq", max_message_bytes="9000000", retention_ms=str(10**12))["live.dlq"],
    }
    assert () == plan(wanted(SETTINGS, 3, LANES), found).changes
    assert [] == warnings(SETTINGS, found)


def test_replicas_in_sync_follow_the_topic_that_is_there() -> None:
    """Two in sync are not asked of a topic that has one replica: nothing could be written to it any more."""
    found = applied(3)
    found["live"] = found["live"]._replace(replication=1, configs={**found["live"].configs, "min.insync.replicas": "1"})
    assert () == plan(wanted(SETTINGS, 3, LANES), found).changes


def with_labels(*, rekey: bool) -> Settings:
    """Return the application with labels."""
    labels = Labels(topic="theirs", contract=Path("c"), rekey=rekey, retention_hours=24)
    return SETTINGS.model_copy(update={"labels": labels})


def theirs(partitions: int, **configs: str) -> dict[str, Found]:
    """Return the topic of labels, as somebody else has made it."""
    return {"theirs": Found(b"T" * 16, partitions, 1, DEFAULTS | configs)}


def test_what_is_copied_fits_what_is_copied_from() -> None:
    """As many partitions where a topic is cut like it, room for its largest record, and memory for as long as it is kept."""
    found = theirs(7, **{"max.message.bytes": "5000000", "retention.ms": str(100 * HOUR_MS)})
    topics = {topic.name: topic for topic in wanted_by_monitor(with_labels(rekey=True), 1, found)}
    assert {name: topic.partitions for name, topic in topics.items()} == {
        "theirs": 7,
        "theirs.dlq": 7,
        "app.rekey.changelog": 7,
        "app.labels.keyed": 3,
        "app.features": 3,
        "app.tickets": 1,
        "app.labels.keyed.dlq": 3,
        "app.performance.parts": 3,
        "app.monitor.changelog": 3,
    }
    rules = {name: {rule.key: rule.value for rule in topic.rules} for name, topic in topics.items()}
    for name in ("theirs.dlq", "app.labels.keyed", "app.labels.keyed.dlq"):
        assert int(rules[name]["max.message.bytes"]) > 5_000_000
    assert int(rules["app.rekey.changelog"]["retention.ms"]) > 100 * HOUR_MS
    assert "app.labels.keyed" not in {topic.name for topic in wanted_by_monitor(with_labels(rekey=False), 1, found)}
    configs = {name: {rule.key: rule.value for rule in topic.rules} for name, topic in topics.items()}
    for name in ("app.performance.parts", "app.tickets"):
        assert "compact" == configs[name]["cleanup.policy"], "nothing of them is erased"
    assert ("delete", "LogAppendTime") == tuple(
        configs["app.features"][key] for key in ("cleanup.policy", "message.timestamp.type")
    ), "event times are judged by when they were appended"


def test_a_label_topic_that_is_cut_otherwise_or_grows() -> None:
    """In an application that runs, too: what to do is said, and it is not another application."""
    have = theirs(7)
    (said,) = plan(wanted_by_monitor(with_labels(rekey=False), 1, have), have).contradictions
    assert "it has 7 partitions, the configuration says 3" in said
    assert "rekey = true" in said
    grown = {**theirs(9), "theirs.dlq": have["theirs"], "app.rekey.changelog": have["theirs"]}
    first, second = plan(wanted_by_monitor(with_labels(rekey=True), 1, grown), grown).contradictions
    for text in (first, second):
        assert "It is cut like theirs: kafka-topics.sh --alter" in text
        assert "--partitions 9" in text
