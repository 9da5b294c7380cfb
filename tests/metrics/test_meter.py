"""What the meter makes of what it is told, by hand-moved clocks."""

from typing import cast

import numpy as np
import pytest

from streams.metrics.figures import Histogram
from streams.metrics.meter import Meter
from streams.ports import Sink, Source, Stage
from streams.records import TP, Hold, Outcome
from tests.metrics.clocks import APPENDED_MS, TPS, Clocks, Edge, assigned, batch, step


def sample(meter: Meter, edge: Edge) -> None:
    meter.sample(cast(Source, edge), cast(Sink, edge))


@pytest.mark.parametrize("seed", range(5))
def test_a_column_is_counted_like_its_values_one_by_one(seed: int) -> None:
    """On, between, below and above the edges."""
    values = np.random.default_rng(seed).integers(0, 40, 200)
    whole, single = Histogram((1, 10, 30)), Histogram((1, 10, 30))
    whole.add_all(values)
    for value in values.tolist():
        single.add(value)
    assert (single.counts, single.sum) == (whole.counts, whole.sum)
    expected = [(values <= 1).sum(), (values <= 10).sum(), (values <= 30).sum(), len(values)]
    assert expected == np.cumsum(whole.counts).tolist()


def test_stages_leave_no_gap() -> None:
    """Whatever happens between two calls belongs to the stage that is named next."""
    clocks = Clocks()
    meter = clocks.meter()
    for stage, seconds in ((Stage.POLL, 0.02), (Stage.READ, 0.5), (Stage.POLL, 0.03)):
        clocks.seconds += seconds
        meter.passed(stage)
    stages = meter.moment().figures.stages
    assert (50_000_000, 500_000_000) == (stages[Stage.POLL].sum, stages[Stage.READ].sum)
    assert clocks.seconds * 1e9 == sum(histogram.sum for histogram in stages.values())
    assert 2 == sum(stages[Stage.POLL].counts)


def test_latency_is_from_append_to_commit_and_never_negative() -> None:
    """A broker ahead of us counts as 0; a request without a broker's time is answered, and not timed."""
    clocks = Clocks()
    meter = clocks.meter()
    clocks.seconds = 10.0
    meter.transacted(step({"SCORED": 4}), Outcome.COMMITTED, batch(9.9, 8.0, 12.0, None))
    figures = meter.moment().figures
    assert 100 + 2_000 + 0 == figures.latency.sum
    assert 3 == sum(figures.latency.counts)
    assert 4 == figures.batches.sum == figures.results


def test_only_what_is_committed_is_counted() -> None:
    """An aborted batch will be answered again; an unknown one may or may not have been."""
    meter = Clocks().meter()
    asked = step({"SCORED": 1, "MALFORMED": 2, "NOT_ACCEPTED": 3}, {"MALFORMED": 2, "NOT_ACCEPTED": 1})
    for outcome in (Outcome.ABORTED, Outcome.UNKNOWN):
        meter.transacted(asked, outcome, batch(0.0))
    figures = meter.moment().figures
    assert (0, 0, 0, 0, None) == (
        figures.results,
        figures.outcomes.total(),
        figures.dead_letters.total(),
        figures.batches.sum,
        figures.committed_ms,
    )
    meter.transacted(asked, Outcome.COMMITTED, batch(0.0))
    figures = meter.moment().figures
    assert dict.fromkeys(Outcome, 1) == figures.transactions
    assert (1, {"NOT_ACCEPTED": 2}) == (figures.results, dict(+figures.outcomes))
    assert {"MALFORMED": 2, "NOT_ACCEPTED": 1} == dict(+figures.dead_letters)
    assert APPENDED_MS == figures.committed_ms


def test_what_will_never_happen_is_shown_as_0() -> None:
    """A rate needs a 0 to begin from; a reason that has no dead letters has no row there."""
    figures = Clocks().meter().moment().figures
    assert 0 == figures.outcomes["DUPLICATE"] == figures.outcomes["GAP"] == figures.dead_letters["MALFORMED"]
    assert "DUPLICATE" not in figures.dead_letters
    assert "MALFORMED" not in figures.outcomes
    assert "START" not in figures.outcomes
    assert "NONE" not in figures.outcomes


def test_lag_is_what_waits_and_a_held_partition_waits_from_its_hold_on() -> None:
    """The client has read on behind the held request, but nobody has answered that."""
    clocks, edge = Clocks(), Edge()
    meter = clocks.meter()
    meter.assigned(assigned(*TPS))
    edge.read = {TPS[0]: (100, 100), TPS[1]: (90, 100)}
    meter.turned(100, {TPS[1]: Hold(70, "UNKNOWN_SCHEMA", 99)})
    sample(meter, edge)
    assert {TPS[0]: 0, TPS[1]: 30} == meter.moment().figures.lag
    meter.turned(100, {})
    clocks.seconds += 1.0
    sample(meter, edge)
    assert {TPS[0]: 0, TPS[1]: 10} == meter.moment().figures.lag


def test_a_hold_lasts_from_when_it_was_met_and_another_one_is_another() -> None:
    """The next held request of the same partition begins anew."""
    clocks = Clocks()
    meter = clocks.meter()
    begun = []
    for offset in (7, 7, 8):
        meter.turned(100, {TPS[0]: Hold(offset, "UNKNOWN_SCHEMA", 99)})
        begun.append((meter.moment().figures.held[TPS[0]][1] - 5 * 10**9) / 1e9)
        clocks.seconds += 1.0
    assert [0.0, 0.0, 2.0] == begun


def test_nothing_that_waits_is_older_than_the_last_answer_or_the_last_time_nothing_waited() -> None:
    """An idle partition that gets one request has not waited since its last one."""
    clocks, edge = Clocks(), Edge()
    meter = clocks.meter()
    meter.assigned(assigned(*TPS))
    edge.read = {TPS[0]: (0, 10), TPS[1]: (0, 10)}
    sample(meter, edge)
    assert {} == meter.moment().figures.fresh_ms  # nobody knows how old they are
    clocks.seconds = 60.0
    meter.transacted(step({"SCORED": 2}), Outcome.COMMITTED, batch(1.0, 2.0))
    assert {TPS[0]: APPENDED_MS + 1_000, TPS[1]: APPENDED_MS + 2_000} == meter.moment().figures.fresh_ms
    edge.read = {TPS[0]: (10, 10), TPS[1]: (1, 10)}
    sample(meter, edge)
    assert {TPS[0]: APPENDED_MS + 60_000, TPS[1]: APPENDED_MS + 2_000} == meter.moment().figures.fresh_ms


def test_source_and_sink_are_asked_once_a_second() -> None:
    """However many turns there are in it."""
    clocks, edge = Clocks(), Edge()
    meter = clocks.meter()
    for _ in range(100):
        sample(meter, edge)
        clocks.seconds += 0.03
    assert 3 == edge.asked
    edge.renewals = 2
    clocks.seconds += 1.0
    sample(meter, edge)
    assert 2 == meter.moment().figures.renewals


def test_a_new_assignment_forgets_what_was_known_of_partitions() -> None:
    """Nothing is told of a partition that another worker has."""
    meter, edge = Clocks().meter(), Edge()
    meter.assigned(assigned(*TPS))
    edge.read = dict.fromkeys(TPS, (1, 2))
    meter.restoring(0, 5, 5)
    meter.turned(100, {TPS[0]: Hold(0, "UNKNOWN_SCHEMA", 99)})
    meter.transacted(step({"SCORED": 2}), Outcome.COMMITTED, batch(0.0, 0.0))
    sample(meter, edge)
    meter.assigned(assigned(TP("asks", 1)))
    figures = meter.moment().figures
    assert ({}, {}, {}, {}) == (figures.lag, figures.fresh_ms, figures.held, figures.remaining)
    assert 2 == figures.rebalances
