"""Attacks on running workers, against the real broker, with `verify` and a reader that watches all along as oracles."""

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
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
from streams.errors import OffsetsError, SetupError
from streams.kafka.admin import Admin
from streams.verify import verify
from tests.integration.application import QUICK, Application, until

MEMORY_MIB = 1_024
"""What the README states of one worker, whatever is sent to it."""


class Reader:
    """A read_committed reader that runs while things break: what it has seen cannot be taken back."""

    def __init__(self, app: Application) -> None:
        self.app, self.seen = app, Counter[tuple[str, int, int]]()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        consumer = Consumer(
            {
                "bootstrap.servers": self.app.stack.bootstrap,
                "group.id": f"{self.app.name}.watcher",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
            }
        )
        topics = (self.app.settings.results, self.app.settings.outcomes)
        consumer.assign([TopicPartition(t, p, 0) for t in topics for p in range(self.app.settings.partitions)])
        while not self._stop.is_set():
            for message in consumer.consume(5_000, 0.1):
                if not message.error():
                    self.seen[message.topic() or "", message.partition() or 0, message.offset() or 0] += 1
        consumer.close()

    def finish(self) -> None:
        """Stop, and compare with a reader that comes after everything: the same records, each once."""
        after = Counter(
            (m.topic(), m.partition(), m.offset())
            for m in self.app.read([self.app.settings.results, self.app.settings.outcomes])
        )
        until(lambda: sum(self.seen.values()) >= sum(after.values()), 20, what="the watcher's end")
        self._stop.set()
        self._thread.join(10)
        assert after == self.seen


class Feeder:
    """Sends requests at a bounded rate in the background: `count` of them, one in five a repeat."""

    def __init__(self, app: Application, count: int, rate: int, seed: int) -> None:
        self.app, self.count, self.rate = app, count, rate
        chance = random.Random(seed)
        fresh = 0
        self.ids: list[str] = []
        for _ in range(count):
            again = fresh > 10 and chance.random() < 0.2
            self.ids.append(f"r{chance.randrange(max(0, fresh - 4_000), fresh)}" if again else f"r{fresh}")
            fresh += not again
        self.fresh = fresh
        self.sent = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        step, pace = max(1, self.rate // 10), threading.Event()
        begun = time.monotonic()
        for at in range(0, self.count, step):
            self.app.ask(self.ids[at : at + step])
            self.sent = min(at + step, self.count)
            pace.wait(max(0.0, begun + self.sent / self.rate - time.monotonic()))

    def done(self) -> None:
        """Wait until everything is sent."""
        self._thread.join(120)
        assert self.count == self.sent


@pytest.fixture
def application(stack: Stack, unique: str, tmp_path: Path) -> Iterator[Application]:
    """A fresh application of four partitions and small batches; its processes end with the test."""
    app = Application(stack, unique, tmp_path, partitions=4, more=f"{QUICK}[batch]\nrecords = 500\n")
    yield app
    app.stop()


def right(app: Application, feeder: Feeder | None = None) -> None:
    """Everything checked and right, and as many SCORED as there were distinct requests."""
    report = verify(app.settings)
    assert report.exit_code == 0, "\n".join(report.lines())
    if feeder is not None:
        assert {"SCORED": feeder.fresh, "DUPLICATE": feeder.count - feeder.fresh} == dict(app.kinds())


def kill_some(
    app: Application, feeder: Feeder, slots: list[str], kills: int, chance: random.Random, *, patience_s: float = 60.0
) -> None:
    """Kill a random live worker with -9 each time that some more requests are answered."""
    for number in range(kills):
        goal = feeder.count * (number + 1) // (kills + 2)
        until(lambda goal=goal: feeder.sent - app.lag() >= goal, patience_s, what="progress")  # type: ignore[misc]
        alive = [pid for pid in map(app.pid, slots) if pid]
        if alive:
            os.kill(chance.choice(alive), signal.SIGKILL)


def test_kill_9_ten_times_under_a_live_reader(application: Application, capsys: pytest.CaptureFixture[str]) -> None:
    """50,000 requests, two workers, ten kills: nothing lost, nothing doubled, nothing seen that is not there afterwards."""
    app, seed = application, random.SystemRandom().randrange(2**32)
    reader, feeder = Reader(app), Feeder(app, 50_000, 5_000, seed)
    app.supervise(2)
    kill_some(app, feeder, app.slots(2), 10, random.Random(seed))
    early = sum(reader.seen.values())
    feeder.done()
    took = app.drained()
    reader.finish()
    with capsys.disabled():
        print(
            f"[10 kills, seed {seed}: drained {took:.1f} s after the last request, {early} answers seen before the last kill]"
        )
    assert early > feeder.count / 2
    right(app, feeder)


def test_the_mutant_state_before_commit_goes_red_under_kills(application: Application) -> None:
    """Its disk remembers answers that nobody ever saw, and frames that nobody committed: the worker sees it, and stops."""
    app = application
    feeder = Feeder(app, 15_000, 5_000, 7)
    app.supervise(1, mutant="state-before-commit")
    until(lambda: feeder.sent - app.lag() >= 1_000, 30, what="progress")
    for _ in range(4):
        pid = app.pid("s-00")
        if pid and not stopped(app):
            os.kill(pid, signal.SIGKILL)
            recovered = app.log("supervisor-s").count("recovered")
            until(lambda n=recovered: stopped(app) or app.log("supervisor-s").count("recovered") > n, 20)  # type: ignore[misc]
    feeder.done()
    until(lambda: stopped(app), 30, what="the mutant's end")
    assert f"worker stopped                 code={OffsetsError.code}" in app.log("supervisor-s")
    assert app.lag() > 0


def test_the_mutant_unknown_is_aborted_goes_red(application: Application) -> None:
    """What was committed is done again: `verify` names it DOUBLED, with coordinates."""
    app = application
    feeder = Feeder(app, 10_000, 5_000, 7)
    app.supervise(1, mutant="unknown-is-aborted")
    feeder.done()
    app.drained()
    report = verify(app.settings)
    assert 1 == report.exit_code
    assert report.violations["DOUBLED"] > 0


def stopped(app: Application) -> bool:
    """Whether a supervised worker stopped for a reason that a restart cannot cure."""
    return "worker stopped" in app.log("supervisor-s")


def test_kills_between_commit_and_local_write(application: Application) -> None:
    """The moment in which the log is ahead of the disk, held open for 0.2 s a batch: the restart repeats it from the log."""
    app = application
    feeder = Feeder(app, 15_000, 5_000, 7)
    app.supervise(2, mutant="slow-apply")
    kill_some(app, feeder, app.slots(2), 6, random.Random(7))
    feeder.done()
    app.drained(90)
    right(app, feeder)


def test_lost_commit_answers_are_recovered_from_the_log(application: Application) -> None:
    """Every fifth commit's answer is lost: the outcome is unknown, the worker restarts and looks; nothing doubled or lost."""
    app = application
    feeder = Feeder(app, 10_000, 5_000, 3)
    app.supervise(1, mutant="lost-answers")
    feeder.done()
    app.drained(90)
    assert "outcome is unknown" in app.log("supervisor-s")
    right(app, feeder)


def come_and_go(app: Application, mutant: str = "", *, patience_s: float = 60.0) -> Feeder:
    """1 → 3 → 2 → 3 → 1 workers under load."""
    feeder = Feeder(app, 30_000, 3_000, 11)
    first = app.start("t-00", mutant)
    with contextlib.suppress(AssertionError):
        until(lambda: feeder.sent - app.lag() > 3_000, min(patience_s, 30), what="the first answers")
    second, third = app.start("t-01", mutant), app.start("t-02", mutant)
    until(lambda: feeder.sent > 15_000, 30)
    first.terminate()
    first.wait(15)
    until(lambda: feeder.sent > 20_000, 30)
    app.start("t-03", mutant)
    until(lambda: feeder.sent > 26_000, 30)
    second.terminate()
    third.terminate()
    feeder.done()
    with contextlib.suppress(AssertionError):
        app.drained(patience_s)
    return feeder


@pytest.fixture
def waiting(stack: Stack, unique: str, tmp_path: Path) -> Iterator[Application]:
    """An application whose polls last long, so that rebalances happen inside them."""
    app = Application(stack, unique, tmp_path, partitions=4, more=f"{QUICK}[batch]\nage_ms = 150\n")
    yield app
    app.stop()


def test_workers_come_and_go(waiting: Application) -> None:
    """Partitions move with their state, and the answers stay exact, whatever a watching reader sees."""
    reader = Reader(waiting)
    feeder = come_and_go(waiting)
    reader.finish()
    assert waiting.lag() == 0
    right(waiting, feeder)


def test_the_mutant_that_reads_the_epoch_after_consume_goes_red(waiting: Application) -> None:
    """It answers records of the old assignment under the new one's lease: the same attack finds that."""
    feeder = come_and_go(waiting, "epoch-after-consume", patience_s=3)
    kinds = dict(waiting.kinds())
    died = [number for number, worker in enumerate(waiting.workers) if worker.poll() not in (None, 0)]
    wrong = kinds != {"SCORED": feeder.fresh, "DUPLICATE": feeder.count - feeder.fresh}
    assert died or wrong


def test_a_rebalance_during_a_slow_score(application: Application, capsys: pytest.CaptureFixture[str]) -> None:
    """A worker joins while another scores for three seconds: it waits that long, no more, and nothing is wrong after."""
    app = application
    app.start("t-00", mutant="slow-score")
    app.ask(f"r{number}" for number in range(400))
    until(lambda: app.lag() < 400, 30, what="the first slow batch")
    app.ask(f"s{number}" for number in range(400))
    begun = time.monotonic()
    app.start("t-01")
    until(lambda: "recovered" in app.log("t-01"), 30, what="the newcomer's assignment")
    stall = time.monotonic() - begun
    with capsys.disabled():
        print(f"[a newcomer beside a 3 s score had its partitions after {stall:.1f} s]")
    assert stall < 3.0 + 5.0
    app.drained(90)
    assert dict(app.kinds()) == {"SCORED": 800}
    right(app)


def test_a_rebalance_during_a_restore(application: Application) -> None:
    """A worker joins while another restores from nothing: the restore is dropped, and each finds its own way in.

    And one that is asked to stop does not restore to the end before it does.
    """
    app = application
    app.ask(f"r{number}" for number in range(6_000))
    first = app.start("t-08")
    app.drained()
    first.terminate()
    first.wait(15)

    def restoring(slot: str) -> subprocess.Popen[bytes]:
        worker = app.start(slot, mutant="slow-restore")
        until(lambda: len(app.admin.assigned(app.settings.group).get(slot, ())) == 4, 30, what="the assignment")
        return worker

    stopped = restoring("t-09")
    stopped.terminate()
    assert 0 == stopped.wait(5)
    assert "recovered" not in app.log("t-09")
    restoring("t-00")
    app.start("t-01", mutant="slow-restore")
    app.ask(f"r{number}" for number in range(6_000))
    app.drained()
    sizes = sorted(len(tps) for tps in app.admin.assigned(app.settings.group).values())
    assert [2, 2] == sizes
    assert "[0, 1, 2, 3]" not in app.log("t-00"), "the restore of all four was not dropped"
    assert dict(app.kinds()) == {"SCORED": 6_000, "DUPLICATE": 6_000}
    right(app)


def test_a_second_signal_ends_a_worker_at_once(application: Application) -> None:
    """The first lets it finish its batch, which takes three seconds here; who asks twice means now. What it had in hand is answered by the next one."""
    app = application
    app.ask(f"r{number}" for number in range(400))
    worker = app.start("t-00", mutant="slow-score")
    trace = app.settings.app.state_dir / "t-00" / "progress"
    until(lambda: trace.exists() and trace.read_bytes().strip(b"\0 ") != b"", 30, what="a batch in hand")
    for number in (signal.SIGTERM, signal.SIGINT):  # two of one kind could be delivered as one
        worker.send_signal(number)
    assert worker.wait(1.5) in (128 + signal.SIGTERM, 128 + signal.SIGINT)
    app.start("t-01")
    app.drained()
    assert dict(app.kinds()) == {"SCORED": 400}
    right(app)


def test_a_zombie_does_no_harm(application: Application) -> None:
    """Stopped for longer than session and transaction, replaced, then woken: it commits nothing and comes back by itself."""
    app = application
    feeder = Feeder(app, 24_000, 2_000, 17)
    app.supervise(1, instance="z")
    until(lambda: feeder.sent - app.lag() > 2_000, 30)
    zombie = app.pid("z-00")
    assert zombie is not None
    os.kill(zombie, signal.SIGSTOP)
    app.start("t-00")
    until(lambda: feeder.sent - app.lag() > 16_000, 60, what="the takeover")
    os.kill(zombie, signal.SIGCONT)
    feeder.done()
    app.drained()
    right(app, feeder)


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


def test_a_killed_worker_has_its_partitions_back_long_before_its_session_ends(
    stack: Stack, unique: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Static membership: the restarted one is taken for the same member. A dynamic one would wait for the time-out."""
    app = Application(stack, unique, tmp_path, more="[limits]\nsession_ms = 20000\n")
    try:
        app.supervise(1)
        app.ask(["a"])
        app.drained()
        pid = app.pid("s-00")
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        app.ask(["b", "c", "d"])
        took = app.drained()
        with capsys.disabled():
            print(f"[answering again {took:.1f} s after kill -9, with a session of 20 s]")
        assert took < 10
        assert dict(app.kinds()) == {"SCORED": 4}
    finally:
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


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of another process is read from /proc")
def test_a_flood_of_bombs_stays_within_the_stated_memory(
    application: Application, capsys: pytest.CaptureFixture[str]
) -> None:
    """Records of 1 MB that are no requests, and of 50 MB that a broker took because they compress well, among good ones.

    Each gets its refusal, the good ones their answers, and the worker never has more memory than the README says.
    """
    app = application
    app.ask(["before"])
    noise = os.urandom(1_000_000)
    app.send(((b"n%d" % number, b"{" + noise) for number in range(700)), settings={"message.max.bytes": 2_000_000})
    bomb = app.value("bomb", carrier="U" * 50_000_000)
    roomy = {"message.max.bytes": 100_000_000, "compression.type": "gzip", "linger.ms": 0}
    for value in (bomb, b"\0" * 50_000_000, bomb[:-1]):
        app.send([(b"bomb", value)], settings=roomy)
    app.ask(f"r{number}" for number in range(1_000))
    app.start()  # all of it lies there already: nothing but the worker itself bounds what it takes at once
    app.drained(120)
    peak = int(re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{app.pid('t-00')}/status").read_text())[0]) / 1024
    with capsys.disabled():
        print(f"[850 MB of hostile records: the worker's peak was {peak:.0f} MiB]")
    kinds = dict(app.kinds())
    assert {"SCORED": 1_001, "NOT_FRAMED": 700, "UNSEEN_CATEGORY": 1, "UNPRODUCIBLE": 2} == kinds
    assert peak < MEMORY_MIB
    right(app)


def test_a_record_that_no_dead_letter_can_carry(application: Application) -> None:
    """1,048,000 bytes of no Avro, and a dead-letter topic that takes less: UNPRODUCIBLE, without payload; neighbours answered."""
    app = application
    app.admin.alter(app.settings.dlq(app.lanes[0]), {"max.message.bytes": "1000000"})
    app.ask(["before"])
    app.send([(b"big", b"{" + b"x" * 1_047_000)], settings={"message.max.bytes": 2_000_000})
    app.ask(["after"])
    app.start()
    app.drained()
    assert dict(app.kinds()) == {"SCORED": 2, "UNPRODUCIBLE": 1}
    (big,) = [answer for answer in app.terminals() if answer["kind"] == "UNPRODUCIBLE"]
    assert big["size"] == 1_047_001
    right(app)
