"""The doctor on a real stack: what it finds, and that nobody notices it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported without saying so
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from streams.dev import Stack
from streams.doctor import Finding, examine, exit_code
from streams.errors import ConfigError, OffsetsError, SetupError, StateError, Unreachable
from streams.records import TP
from streams.verify import verify
from tests.integration.application import QUICK, Application, until
from tests.integration.monitored import Monitored

WHOLE = {"configuration", "disk", "model", "registry", "broker", "topics", "reading", "writing", "clock", "offsets", "workers"}  # fmt: skip


@pytest.fixture
def app(stack: Stack, unique: str, tmp_path: Path) -> Iterator[Application]:
    """An application that is set up; its processes end with the test."""
    app = Application(stack, unique, tmp_path, more=QUICK)
    yield app
    app.stop()


def examined(app: Application, flags: Sequence[str] = ()) -> list[Finding]:
    """Return what the doctor finds."""
    return list(examine(app.config, flags))


def of(findings: Sequence[Finding], check: str) -> list[tuple[str, str]]:
    """Return (grade, text) of a check's findings."""
    return [(found.grade, found.text) for found in findings if found.check == check]


def failures(findings: Sequence[Finding]) -> dict[str, int]:
    """Return the checks that failed, with their codes."""
    return {found.check: found.code for found in findings if found.grade == "FAIL"}


def skipped(findings: Sequence[Finding]) -> set[str]:
    """Return the checks that were skipped."""
    return {found.check for found in findings if found.grade == "skipped"}


def test_what_is_set_up_is_well_and_stays_as_it_is(app: Application) -> None:
    """Every check is passed, and no reader sees anything that was not there before."""
    app.ask(["a", "b", "c"])
    names = [app.settings.results, app.settings.outcomes, app.settings.dlq(app.lanes[0]), app.settings.changelog]
    before = [(message.topic(), message.partition(), message.offset()) for message in app.read(names)]
    files = sorted(app.home.rglob("*"))
    findings = examined(app)
    assert {} == failures(findings)
    assert set() == skipped(findings)
    assert {found.check for found in findings} == WHOLE
    assert 0 == exit_code(findings)
    assert [("ok", f"group {app.settings.group} has one in each of 2 partitions; 3 wait")] == of(findings, "offsets")
    assert [("ok", "none runs")] == of(findings, "workers")
    assert files == sorted(app.home.rglob("*"))

    after = [(message.topic(), message.partition(), message.offset()) for message in app.read(names)]
    assert before == after
    tried = [message.value() for message in app.read(names, "read_uncommitted") if message.headers()]
    assert [None] * len(names) == tried, "each topic was really written to"
    assert 3 == app.lag()
    assert app.admin.group_is_empty(app.settings.group)


def test_running_workers_do_not_notice(app: Application) -> None:
    """Under load: nobody is fenced, nothing is rebalanced, and every request is answered once."""
    app.supervise(2)
    until(lambda: [1, 1] == [*map(len, app.admin.assigned(app.settings.group).values())], what="a partition for each")
    app.ask(f"first-{number}" for number in range(50))
    app.drained()  # some were in each partition: both have been recovered
    assert {0, 1} == {app.partition(f"first-{number}".encode()) for number in range(50)}
    assigned, log = app.admin.assigned(app.settings.group), app.log("supervisor-s")
    for number in range(4):
        app.ask(f"{number}-{each}" for each in range(2_000))
        findings = examined(app)
        assert {} == failures(findings)
        assert "2 in group" in of(findings, "workers")[0][1]
    app.drained()
    assert assigned == app.admin.assigned(app.settings.group)
    recovered = [line for line in app.log("supervisor-s")[len(log) :].splitlines() if "recovered" in line]
    assert [] == recovered, "each assignment is one; there must be no new one"
    report = verify(app.settings)
    assert 0 == report.exit_code, "\n".join(report.lines())
    assert {"SCORED": 8_050} == dict(app.kinds())


def test_a_right_that_is_missing_is_named_with_what_to_grant(app: Application) -> None:
    """Write on results, denied by an ACL: of each topic it is known by itself."""
    deny(app, ResourceType.TOPIC, app.settings.results, AclOperation.WRITE)
    findings = examined(app)
    assert {"writing": SetupError.code} == failures(findings)
    (found,) = of(findings, "writing")
    assert f"{app.settings.results}[0]: the broker denies it" in found[1]
    assert f"Grant Write on topic {app.settings.results}." in found[1]
    assert "ok" == of(findings, "clock")[0][0], "the other topics were written to"
    assert SetupError.code == exit_code(findings)


def test_rights_on_request_topic_group_and_transactional_id_are_tried(app: Application) -> None:
    """Each is named where it is missing."""
    deny(app, ResourceType.TOPIC, app.lanes[0], AclOperation.READ)
    deny(app, ResourceType.GROUP, app.settings.group, AclOperation.READ)
    deny(app, ResourceType.TRANSACTIONAL_ID, f"{app.settings.group}.doctor", AclOperation.WRITE)
    findings = examined(app)
    assert dict.fromkeys(("reading", "writing", "offsets"), SetupError.code) == failures(findings)
    assert f"Grant Read on topic {app.lanes[0]}." in of(findings, "reading")[0][1]
    assert f"Grant Write and Describe on transactional id {app.settings.group}.doctor" in of(findings, "writing")[0][1]
    assert f"denies this user group {app.settings.group}. Grant Read" in of(findings, "offsets")[0][1]
    assert {"clock"} == skipped(findings)


@pytest.mark.parametrize("rekey", [0, 3], ids=["keyed alike", "keyed anew"])
def test_what_the_monitor_needs_is_tried_too(stack: Stack, unique: str, tmp_path: Path, rekey: int) -> None:
    """A scorer says what models see, so that topic is the scorer's matter; the rest is the monitor's."""
    app = Monitored(stack, unique, tmp_path, rekey=rekey)
    settings = app.settings
    assert {} == failures(examined(app))
    deny(app, ResourceType.TOPIC, settings.features, AclOperation.WRITE)
    deny(app, ResourceType.TOPIC, settings.parts, AclOperation.WRITE)
    deny(app, ResourceType.TOPIC, settings.monitor_changelog, AclOperation.READ)
    deny(app, ResourceType.TOPIC, settings.labels_read, AclOperation.READ)
    deny(app, ResourceType.GROUP, settings.monitor_group, AclOperation.READ)
    findings = examined(app)
    assert {"writing": SetupError.code, "monitor": SetupError.code} == failures(findings)
    assert {"labels"} == skipped(findings)
    assert f"Grant Write on topic {settings.features}." in of(findings, "writing")[0][1]
    said = " ".join(text for grade, text in of(findings, "monitor") if grade == "FAIL")
    for missing in (
        f"Grant Read on topic {settings.labels_read}.",
        f"Grant Write on topic {settings.parts}.",
        f"Grant Read on topic {settings.monitor_changelog}.",
        f"denies this user group {settings.monitor_group}. Grant Read",
    ):
        assert missing in said


def test_settings_that_only_a_worker_s_clients_refuse_are_found(app: Application) -> None:
    """A transaction's deadlines are a producer's matter, and what it fetches a consumer's: nobody else would mind."""
    findings = examined(app, ["kafka.socket.timeout.ms=60000", "kafka.fetch.max.bytes=1"])
    assert dict.fromkeys(("reading", "writing", "offsets"), ConfigError.code) == failures(findings)
    assert "socket.timeout.ms" in of(findings, "writing")[0][1]
    assert "fetch.max.bytes" in of(findings, "reading")[0][1]
    assert {} == failures(examined(app, ["kafka.socket.timeout.ms=9000"]))


def test_what_was_not_set_up_is_said_with_the_command_that_does_it(app: Application) -> None:
    """Another application id: no schemas, no topics, and so nothing to try on them."""
    findings = examined(app, ["app.id=somebody.else"])
    assert {"registry": SetupError.code, "topics": SetupError.code} == failures(findings)
    assert {"reading", "writing", "clock", "offsets"} == skipped(findings)
    assert "streams schemas register" in of(findings, "registry")[0][1]
    assert "streams topics plan" in of(findings, "topics")[0][1]


def test_a_group_without_offsets_and_one_beyond_the_end(app: Application) -> None:
    """`topics apply` sets the first ones; what is beyond the end a person must judge."""
    found = app.admin.topics([app.lanes[0]])
    client = AdminClient({"bootstrap.servers": app.stack.bootstrap})
    client.delete_consumer_groups([app.settings.group])[app.settings.group].result(10)
    findings = examined(app)
    assert {"offsets": SetupError.code} == failures(findings)
    assert "streams topics apply" in of(findings, "offsets")[0][1]

    move(app, {TP(app.lanes[0], number): 99 for number in range(found[app.lanes[0]].partitions)})
    findings = examined(app)
    assert {"offsets": OffsetsError.code} == failures(findings)
    assert "99 committed" in of(findings, "offsets")[0][1]


def test_what_cannot_be_reached_or_read(app: Application, tmp_path: Path) -> None:
    """The broker is away, the registry too, the model is none, the disk refuses: all is said at once."""
    (tmp_path / "file").write_text("in the way")
    flags = [
        "kafka.bootstrap.servers=127.0.0.1:9",
        "schema_registry.url=http://127.0.0.1:9",
        "model.version=2",
        "app.state_dir=file/state",
    ]
    findings = examined(app, flags)
    expected = {
        "disk": StateError.code,
        "model": ConfigError.code,
        "registry": Unreachable.code,
        "broker": Unreachable.code,
    }
    assert expected == failures(findings)
    assert {"topics", "reading", "writing", "clock", "offsets", "workers"} == skipped(findings)
    assert StateError.code == exit_code(findings), "the first"


def test_a_configuration_that_is_wrong_ends_it(app: Application) -> None:
    """Nothing else can be tried."""
    findings = examined(app, ["batch.recrods=5"])
    assert {"configuration": ConfigError.code} == failures(findings)
    assert skipped(findings) == WHOLE - {"configuration"}


def deny(app: Application, kind: ResourceType, name: str, operation: AclOperation) -> None:
    """Allow everybody everything on a thing, but for one operation."""
    rules = [(AclOperation.ALL, AclPermissionType.ALLOW), (operation, AclPermissionType.DENY)]
    bindings = [AclBinding(kind, name, ResourcePatternType.LITERAL, "User:*", "*", *rule) for rule in rules]
    client = AdminClient({"bootstrap.servers": app.stack.bootstrap})
    for future in client.create_acls(bindings).values():
        future.result(10)


def move(app: Application, offsets: dict[TP, int]) -> None:
    """Commit offsets by hand, as an operator's tool does."""
    consumer = Consumer({"bootstrap.servers": app.stack.bootstrap, "group.id": app.settings.group})
    consumer.commit(offsets=[TopicPartition(*tp, offset) for tp, offset in offsets.items()], asynchronous=False)
    consumer.close()
