"""Partitions on the move: workers that come, go, freeze, and rebalances at bad moments."""

import contextlib
import signal
import subprocess
import time

import pytest

from tests.faults.attack import Feeder, right
from tests.integration.application import Application, until


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
