"""Alive and ready, state by state."""

from streams.metrics.health import Health, alive, ready
from streams.metrics.meter import Meter
from tests.metrics.clocks import TPS, Clocks, assigned


def said(meter: Meter) -> Health:
    return ready(meter.moment().figures)


def test_ready_is_assigned_and_restored() -> None:
    """Every step on the way says what is waited for; a rebalance begins anew."""
    meter = Clocks().meter()
    assert Health(False, "waiting for an assignment") == said(meter)
    meter.assigned(assigned(*TPS))
    assert Health(False, "restoring 2 of 2 partitions") == said(meter)
    meter.restoring(0, 3, 10)
    assert Health(False, "restoring 2 of 2 partitions") == said(meter)
    meter.restoring(0, 10, 10)
    assert Health(False, "restoring 1 of 2 partitions") == said(meter)
    meter.restoring(1, 10, 10)
    assert Health(False, "restored 2 partitions; comparing offsets") == said(meter)
    meter.started()
    assert Health(True, "ready; partitions: 2") == said(meter)
    meter.assigned(assigned(settled=False))
    assert Health(False, "waiting for an assignment") == said(meter)
    meter.assigned(assigned(TPS[0]))
    assert Health(False, "restoring 1 of 1 partitions") == said(meter)


def test_a_worker_that_is_given_nothing_is_ready() -> None:
    """More workers than partitions: a rollout that waited for this one would wait for ever."""
    meter = Clocks().meter()
    meter.assigned(assigned())
    assert Health(True, "ready; partitions: 0, the other workers own them all") == said(meter)


def test_alive_is_progress_within_the_limit() -> None:
    """From the process's start on, so that a start that hangs is seen, too."""
    clocks = Clocks()
    meter = clocks.meter()
    clocks.seconds = 25.0
    assert Health(True, "alive: last progress 25.0 s ago") == alive(meter.moment(), 25.0)
    clocks.seconds = 25.1
    assert Health(False, "no progress for 25.1 s; the limit is 25 s") == alive(meter.moment(), 25.0)
    meter.progressed()
    assert Health(True, "alive: last progress 0.0 s ago") == alive(meter.moment(), 25.0)
