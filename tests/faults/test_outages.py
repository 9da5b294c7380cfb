"""What does not answer: a model, a transaction, a registry, a broker, a topic."""

import threading
from pathlib import Path

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported without saying so
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from streams.dev import Stack
from streams.errors import SetupError
from streams.kafka.admin import Admin
from tests.faults.attack import right
from tests.faults.mutants import DEADLY
from tests.faults.registries import between
from tests.integration.application import QUICK, Application, until


def test_a_score_that_never_returns_ends_the_worker(stack: Stack, unique: str, tmp_path: Path) -> None:
    """The watchdog ends the process even while C code holds the GIL; the supervisor starts it again, and all is answered."""
    limits = "[limits]\nturn_ms = 4000\nmax_poll_ms = 20000\nsession_ms = 3000\n"
    app = Application(stack, unique, tmp_path, more=limits)
    try:
        app.ask(f"r{number}" for number in range(100))
        app.supervise(1, mutant="stuck-score")
        app.drained()
        assert "Timeout" in app.log("supervisor-s")
        assert dict(app.kinds()) == {"SCORED": 100}
        right(app)
    finally:
        app.stop()


@pytest.mark.parametrize("many", [100, 8_000])
def test_a_record_that_kills_its_worker_is_set_aside(stack: Stack, unique: str, tmp_path: Path, many: int) -> None:
    """A model whose native code dies over one request, in the middle of others, or of a backlog, where another thread is in the
    model and batches are taken ahead: it is refused, all others are answered, and no slot stays down. A refusal is no answer:
    asked again in other words, it is scored.
    """
    deadly = many * 2 // 5
    app = Application(stack, unique, tmp_path, partitions=4, more=QUICK)
    try:
        supervisor = app.supervise(2, mutant="deadly-number")
        app.ask(f"r{number}" for number in range(100))
        app.drained()
        app.send(
            (f"s{number}".encode(), app.value(f"s{number}", delay=DEADLY if number == deadly else 5.0))
            for number in range(many)
        )
        app.drained(120)
        (told,) = [answer for answer in app.terminals() if answer["kind"] == "POISON_PILL"]
        assert (f"s{deadly}", "Worker after worker died") == (told["request_id"], told["sentence"][:24])
        app.send([(f"s{deadly}".encode(), app.value(f"s{deadly}", delay=5.0))])
        app.drained()
        assert dict(app.kinds()) == {"SCORED": 100 + many, "POISON_PILL": 1}
        assert "a record is refused" in app.log("supervisor-s")
        assert supervisor.poll() is None
        assert "stays down" not in app.log("supervisor-s")
        right(app)
    finally:
        app.stop()


def test_a_transaction_that_never_ends_ends_the_worker(stack: Stack, unique: str, tmp_path: Path) -> None:
    """Two seconds after its time-out, long before the watchdog of the whole turn, and it is not held against the batch."""
    limits = "[limits]\ntransaction_ms = 2000\nturn_ms = 25000\nsession_ms = 3000\n"
    app = Application(stack, unique, tmp_path, more=limits)
    try:
        app.supervise(1, mutant="stuck-commit")
        for number in range(6):
            app.ask(f"r{number}-{more}" for more in range(20))
            until(lambda: app.lag() == 0 or (app.home / "stuck").exists(), 30)
        took = app.drained(20)
        assert "Timeout" in app.log("supervisor-s")
        assert took < 15
        assert dict(app.kinds()) == {"SCORED": 120}
        right(app)
    finally:
        app.stop()


def test_a_registry_that_is_down_holds_only_what_is_new(stack: Stack, unique: str, tmp_path: Path) -> None:
    """Known ids go on; a new id waits in its partition until the registry is back; nothing is refused."""
    app = Application(stack, unique, tmp_path)
    try:
        app.ask(["warm-up"])
        app.start()
        app.drained()
        new_id = app.evolve()
        stack.stop_registry()
        held = app.value("held")
        key = b"held"
        app.send([(key, held[:1] + new_id.to_bytes(4, "big") + held[5:] + b"\0")])
        app.ask(f"r{number}" for number in range(50))
        here = next(tp for tp in app.tps() if tp.partition == app.partition(key))
        until(lambda: "held" in app.log(), 20, what="the hold")
        until(lambda: app.lag_of([tp for tp in app.tps() if tp != here]) == 0, 20, what="the other partition")
        assert app.lag_of([here]) > 0
        stack.start_registry()
        app.drained()
        assert app.kinds()["SCORED"] == 51
        assert app.kinds()["NOT_ACCEPTED"] == 1
        right(app)
    finally:
        stack.start_missing()
        app.stop()


def test_a_registry_that_is_slow_keeps_nobody_waiting(stack: Stack, unique: str, tmp_path: Path) -> None:
    """Three seconds for an answer: who brings a new id waits for it; the other partitions are answered meanwhile, as fast."""
    with between(stack) as (registry, where):
        app = Application(where, unique, tmp_path, partitions=4)
        try:
            app.ask(["warm-up"])
            app.start()
            app.drained()
            new_id, key = app.evolve(), b"held"
            registry.slow_s = 3.0
            held = app.value("held")
            app.send([(key, held[:1] + new_id.to_bytes(4, "big") + held[5:] + b"\0")])
            others = [tp for tp in app.tps() if tp.partition != app.partition(key)]
            longest, rounds = 0.0, 0
            while app.lag_of([*{*app.tps()} - {*others}]) > 0:
                app.ask(
                    name
                    for number in range(40)
                    if app.partition((name := f"r{rounds}-{number}").encode()) != app.partition(key)
                )
                longest = max(longest, until(lambda: app.lag_of(others) == 0, 20, what="the other partitions"))
                rounds += 1
            assert rounds > 3, "it took long"
            assert longest < 2.0, "and nobody else waited for it"
            assert app.kinds()["NOT_ACCEPTED"] == 1
            right(app)
        finally:
            registry.slow_s = 0.0
            app.stop()


def test_a_hold_is_found_again_by_the_next_worker(stack: Stack, unique: str, tmp_path: Path) -> None:
    """Two ids that no registry knows yet, one behind the other, and a worker that is killed while it waits for them."""
    app = Application(stack, unique, tmp_path)
    try:
        app.ask(["warm-up"])
        worker = app.start()
        app.drained()
        stack.stop_registry()
        key = b"held"
        held = app.value("held")
        app.send((key, held[:1] + unknown.to_bytes(4, "big") + held[5:]) for unknown in (900_001, 900_002))
        app.send([(key, held)])
        until(lambda: "held" in app.log(), 20, what="the hold")
        worker.kill()
        worker.wait()
        app.start("t-00")
        until(
            lambda: app.log().count("recovered") == 2 and "held" in app.log().split("recovered")[2], 30, what="the hold"
        )
        assert app.kinds()["SCORED"] == 1
        stack.start_registry()
        took = app.drained()
        assert took < 20, "the two were asked for one after the other"
        answers = [
            answer["kind"] for answer in sorted(app.terminals(), key=lambda it: it["at"]) if answer["key"] == key
        ]
        assert ["UNKNOWN_SCHEMA", "UNKNOWN_SCHEMA", "SCORED"] == answers
        right(app)
    finally:
        stack.start_missing()
        app.stop()


def test_a_broker_that_is_down_refuses_nothing(application: Application, stack: Stack) -> None:
    """Twenty seconds without a broker, in the middle of the work: afterwards every request has its answer."""
    app = application
    app.supervise(1)
    app.ask(f"r{number}" for number in range(2_000))
    app.drained()
    app.ask(f"s{number}" for number in range(3_000))
    stack.stop_broker()
    down = threading.Event()
    down.wait(20.0)  # the outage itself, not a wait for a condition
    stack.start_broker()
    app.admin = Admin(app.settings.kafka)
    app.drained(90)
    assert dict(app.kinds()) == {"SCORED": 5_000}
    right(app)


def test_a_broker_that_is_killed_under_load(
    application: Application, stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    """SIGKILL in the middle of two workers' transactions: what was acknowledged stands, what was not is done again."""
    app = application
    app.supervise(2)
    app.ask(f"r{number}" for number in range(2_000))
    app.drained()
    app.ask(f"s{number}" for number in range(6_000))
    until(lambda: app.lag() < 5_000, 30)
    stack.kill_broker()
    stack.start_broker()
    app.admin = Admin(app.settings.kafka, pending_s=60.0)
    took = app.drained(90)
    with capsys.disabled():
        print(f"[a broker killed under load: drained {took:.1f} s after it served again]")
    assert dict(app.kinds()) == {"SCORED": 8_000}
    right(app)


@pytest.mark.parametrize("how", ["gone", "denied"])
def test_a_topic_that_may_no_longer_be_read_stops_the_worker(
    stack: Stack, unique: str, tmp_path: Path, how: str, request: pytest.FixtureRequest
) -> None:
    """Deleted, or forbidden by an ACL, while it runs: it says which and what to do, and a restart is not tried."""
    app = Application(stack, unique, tmp_path, client='"topic.metadata.refresh.interval.ms" = 1000\n')
    request.addfinalizer(app.stop)
    app.supervise(1)
    app.ask(["a"])
    app.drained()
    admin = AdminClient({"bootstrap.servers": app.stack.bootstrap})
    if how == "gone":
        admin.delete_topics([app.lanes[0]])[app.lanes[0]].result(10)
    else:
        rules = [
            AclBinding(
                ResourceType.TOPIC, app.lanes[0], ResourcePatternType.LITERAL, "User:*", "*", operation, permission
            )
            for operation, permission in (
                (AclOperation.ALL, AclPermissionType.ALLOW),
                (AclOperation.READ, AclPermissionType.DENY),
            )
        ]
        for future in admin.create_acls(rules).values():
            future.result(10)
        app.ask(["b"])
    supervisor = app.workers[0]
    assert SetupError.code == supervisor.wait(60)
    said = app.log("supervisor-s")
    assert ("topics apply" if how == "gone" else "Grant Read") in said
    assert app.lanes[0] in said
