"""The port of real workers on the real broker: its figures against the topics, and its probes against what happens."""

import os
import re
import signal
import socket
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from prometheus_client.parser import text_string_to_metric_families

from streams.dev import Stack
from streams.errors import ConfigError
from streams.metrics.catalogue import Metric
from streams.verify import verify
from tests.integration.application import QUICK, Application, until

WORKERS = 3


def free_ports() -> int:
    """Return a port that is free, and so are the next ones."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            first = int(probe.getsockname()[1])
        try:
            taken = [socket.create_server(("127.0.0.1", first + number)) for number in range(WORKERS)]
        except OSError:
            continue
        for each in taken:
            each.close()
        return first


@pytest.fixture
def application(stack: Stack, unique: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Application]:
    """A fresh application whose workers serve their figures; its processes end with the test. Its parameter is [limits]."""
    more = getattr(request, "param", QUICK) + f"turn_ms = 2000\nmax_poll_ms = 10000\n[metrics]\nport = {free_ports()}\n"
    app = Application(stack, unique, tmp_path, more=more)
    yield app
    app.stop()


def ask(app: Application, path: str, worker: int = 0) -> tuple[int, str]:
    """Return what a worker answers, (0, "") if it does not."""
    assert app.settings.metrics.port is not None
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{app.settings.metrics.port + worker}{path}", timeout=5
        ) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


class Scrape(dict[tuple[str, frozenset[str]], float]):
    """Every sample of one scrape, by its name and its labels' values."""

    def __init__(self, app: Application, worker: int = 0) -> None:
        status, page = ask(app, "/metrics", worker)
        assert 200 == status
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                self[sample.name, frozenset(sample.labels.values())] = sample.value

    def value(self, metric: Metric | str, *labels: str) -> float | None:
        """Return the sample with these label values."""
        return self.get((metric, frozenset(labels)))

    def by(self, metric: Metric) -> Counter[str]:
        """Return what is above 0, by the metric's one label."""
        found = {next(iter(labels)): value for (name, labels), value in self.items() if name == metric}
        return +Counter({label: int(value) for label, value in found.items()})


def lags(app: Application, worker: int = 0) -> dict[int, tuple[float | None, float | None]]:
    """Return (records, seconds) of each partition of the first lane."""
    scrape = Scrape(app, worker)
    return {
        partition: (
            scrape.value(Metric.LAG, app.lanes[0], str(partition)),
            scrape.value(Metric.LAG_TIME, app.lanes[0], str(partition)),
        )
        for partition in range(app.settings.partitions)
    }


def transact(app: Application, ids: list[str], *, commit: bool = True) -> None:
    """Produce requests in one transaction, and end it."""
    producer = Producer(
        {
            "bootstrap.servers": app.stack.bootstrap,
            "transactional.id": f"{app.name}-{ids[0]}",
            "partitioner": "murmur2_random",
        }
    )
    producer.init_transactions(20)
    producer.begin_transaction()
    for name in ids:
        producer.produce(app.lanes[0], app.value(name), name.encode())
    producer.flush(20)
    (producer.commit_transaction if commit else producer.abort_transaction)(20)


def test_figures_agree_with_the_topics_and_markers_are_no_lag(application: Application) -> None:
    """Requests by plain and by transactional producers, committed and taken back, good and bad and repeated."""
    app = application
    app.ask(f"r{number}" for number in range(300))
    app.ask(["r1", "r2", "r3"])
    app.ask(["unseen"], carrier="ZZ")
    app.send([(b"k1", None), (b"k2", b"{}"), (b"k3", b"{}"), (b"k4", app.value("good")[:-1])])
    transact(app, [f"t{number}" for number in range(40)])
    transact(app, [f"n{number}" for number in range(40)], commit=False)
    assert (0, "") == ask(app, "/readyz")
    app.start()
    until(lambda: ask(app, "/readyz")[0] != 0, what="the port")
    assert (503, "waiting for an assignment\n") == ask(app, "/readyz")
    until(lambda: ask(app, "/readyz") == (200, "ready; partitions: 2\n"), what="ready")
    until(lambda: set(lags(app).values()) == {(0.0, 0.0)}, what="a lag of 0")
    assert app.lag() > 0  # the markers at the end are never committed
    scrape, report, kinds = Scrape(app), verify(app.settings), app.kinds()
    assert 0 == report.exit_code, "\n".join(report.lines())
    letters = Counter(record["kind"] for record in app.terminals() if record["topic"] == "dlq")
    assert Counter(TOMBSTONE=1, NOT_FRAMED=2, MALFORMED=1) == letters == scrape.by(Metric.DEAD_LETTERS)
    assert Counter(DUPLICATE=3, UNSEEN_CATEGORY=1) == scrape.by(Metric.OUTCOMES)
    assert kinds == scrape.by(Metric.OUTCOMES) + letters + Counter(SCORED=int(scrape.value(Metric.RESULTS) or 0))
    assert 348 == kinds.total() == scrape.value(f"{Metric.BATCH}_sum") == scrape.value(f"{Metric.LATENCY}_count")
    assert scrape.by(Metric.TRANSACTIONS)["committed"] == scrape.value(f"{Metric.BATCH}_count")
    assert (1.0, 2.0) == (scrape.value(Metric.READY), scrape.value(Metric.ASSIGNED))
    assert {0: 0.0, 1: 0.0} == {partition: scrape.value(Metric.REMAINING, str(partition)) for partition in (0, 1)}
    assert 1.0 == scrape.value(Metric.MODEL, "late", "1", _digest(scrape))


def _digest(scrape: Scrape) -> str:
    """Return the model's digest that is told: 64 hexadecimal digits."""
    (labels,) = [labels for name, labels in scrape if name == Metric.MODEL]
    return max(labels, key=len)


def test_an_idle_worker_that_starts_again_has_no_lag(application: Application) -> None:
    """Nothing was read yet, so the client knows no position: what counts is where we told it to go on."""
    app = application
    app.ask(["a", "b", "c", "d"])
    app.start()
    app.drained()
    taken_back = [name for name in map(str, range(20)) if app.partition(name.encode()) == 0]
    transact(app, taken_back, commit=False)  # markers in one partition, nothing new in the other
    app.stop()
    app.start()
    until(lambda: ask(app, "/readyz")[0] == 200, what="ready")
    until(lambda: set(lags(app).values()) == {(0.0, 0.0)}, what="a lag of 0")
    assert 0.0 == Scrape(app).value(Metric.RESULTS)


def test_a_loop_that_stands_still_is_not_alive_and_what_came_meanwhile_is_lag(application: Application) -> None:
    """A score takes five seconds, and nobody ends the worker over that: the port tells, and tells when it is over."""
    app = application
    app.start(mutant="unwatched-nap")
    until(lambda: ask(app, "/readyz")[0] == 200, what="ready")
    until(lambda: set(lags(app).values()) == {(0.0, 0.0)}, what="a lag of 0")
    assert 200 == ask(app, "/livez")[0]
    app.ask(f"r{number}" for number in range(300))
    until(lambda: ask(app, "/livez")[0] == 503, what="a dead loop")
    assert re.fullmatch(r"no progress for [2-5]\.\d s; the limit is 2 s\n", ask(app, "/livez")[1])
    assert (Scrape(app).value(Metric.PROGRESS_AGE) or 0) > 2
    until(lambda: ask(app, "/livez")[0] == 200, what="a live loop")
    seen: list[tuple[float, float]] = []

    def waiting() -> bool:
        seen[:] = [(records or 0, seconds or 0) for records, seconds in lags(app).values()]
        return any(records for records, _ in seen)

    until(waiting, 3, what="a lag")  # it is looked at once a second
    assert all(4 < seconds < 60 for records, seconds in seen if records), seen
    until(lambda: set(lags(app).values()) == {(0.0, 0.0)}, what="a lag of 0")
    assert (Scrape(app).value(f"{Metric.STAGE}_sum", "score") or 0) > 5


@pytest.mark.parametrize("application", ["[limits]\nsession_ms = 8000\n"], indirect=True, ids=["patient"])
def test_between_two_assignments_a_worker_is_not_ready(application: Application) -> None:
    """A member that does not answer holds a rebalance up: what was revoked meanwhile is not what nobody needs.

    Its session is longer than a newcomer takes to begin, however slow the machine.
    """
    app = application
    first, frozen = app.start("t-00"), app.start("t-01")
    each = (200, "ready; partitions: 1\n")
    until(lambda: each == ask(app, "/readyz") == ask(app, "/readyz", 1), what="each has its share")
    app.start("t-02")
    until(lambda: ask(app, "/livez", 2)[0] != 0, what="the newcomer's port")
    frozen.send_signal(signal.SIGSTOP)  # not sooner: its session must not end before the newcomer joins

    def revoked() -> bool:
        told, found = ask(app, "/readyz"), Scrape(app)
        return told == (503, "waiting for an assignment\n") and {0.0} == {
            found.value(Metric.ASSIGNED),
            found.value(Metric.READY),
        }

    until(revoked, what="the revocation")
    assert 200 == ask(app, "/livez")[0]
    until(lambda: each == ask(app, "/readyz") == ask(app, "/readyz", 2), what="the two share")
    assert first.poll() is None


def test_each_worker_has_its_port_and_takes_it_again_after_a_kill(application: Application) -> None:
    """Three workers for two partitions: the third owns nothing and is ready; a killed one is back on its port, and says so."""
    app = application
    app.supervise(WORKERS)

    def all_ready() -> bool:
        return all(ask(app, "/readyz", worker)[0] == 200 for worker in range(WORKERS))

    until(all_ready, what="ready")
    # the last to join may still be on its way: what counts is where it ends
    idle = "ready; partitions: 0, the other workers own them all\n"
    until(
        lambda: [ask(app, "/readyz", worker)[1] for worker in range(WORKERS)].count(idle) == 1, what="one idle worker"
    )
    for number, slot in enumerate(app.slots(WORKERS)):
        assert 1.0 == Scrape(app, number).value(Metric.WORKER, app.name, slot)
        assert Counter() == Scrape(app, number).by(Metric.RESTARTS)
    pid = app.pid("s-01")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: app.pid("s-01") not in (None, pid) and ask(app, "/metrics", 1)[0] == 200, what="the next worker")
    assert Counter({"-9": 1}) == Scrape(app, 1).by(Metric.RESTARTS)
    until(all_ready, what="ready again")


def test_a_taken_port_stops_the_worker_before_it_reads(application: Application) -> None:
    """It says which port, and whose it should be."""
    app = application
    assert app.settings.metrics.port is not None
    with socket.create_server(("127.0.0.1", app.settings.metrics.port)):
        assert ConfigError.code == app.start().wait(20)
    assert f"cannot listen on 127.0.0.1 port {app.settings.metrics.port}" in app.log()
