"""The loop tells its observer the truth, whatever happens around a transaction."""

from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.contracts import Reading
from streams.metrics.health import ready
from streams.metrics.meter import Meter
from streams.ports import Assignment, Stage
from streams.reasons import SCORED
from streams.records import NO_APPEND_TIME, TP, Batch, Hold, Outcome, Step
from tests.pipeline.test_law_of_cuts import SNAPSHOT
from tests.pipeline.world import CONTRACT, LANE, Sent, loan, numbered, sent
from tests.scenarios.test_loop import FATES, requests
from tests.scenarios.twin import Log, TwinContracts, live

CLEAN = [fate for fate in FATES if fate in ("COMMIT", "ABORT", "UNKNOWN_LOST")]
"""Fates after which what is counted is what is in the log: nobody counts what is committed behind a worker's back."""


class Told(Meter):
    """Remembers, beside the figures, in which order it was told what."""

    def __init__(self) -> None:
        super().__init__()
        self.stages: list[Stage] = []
        self.ready: list[str] = []
        self.held: list[set[TP]] = []
        self.limits: list[int] = []

    def passed(self, stage: Stage) -> None:
        super().passed(stage)
        self.stages.append(stage)

    def assigned(self, assignment: Assignment) -> None:
        super().assigned(assignment)
        self._note()

    def restoring(self, partition: int, position: int, end: int) -> None:
        super().restoring(partition, position, end)
        self._note()

    def started(self) -> None:
        super().started()
        self._note()

    def turned(self, limit: int, held: Mapping[TP, Hold]) -> None:
        super().turned(limit, held)
        self.held.append(set(held))
        self.limits.append(limit)

    def _note(self) -> None:
        why = ready(self.moment().figures).why
        if self.ready[-1:] != [why]:
            self.ready.append(why)


def agrees(meter: Meter, log: Log) -> None:
    """What was counted is what a reader of the topics finds."""
    figures = meter.moment().figures
    in_dlq = Counter(record["kind"] for _, record in log.terminals if record["topic"] == "dlq")
    kinds = Counter(log.kinds().values())
    assert kinds[SCORED] == figures.results
    assert in_dlq == +figures.dead_letters
    assert kinds - in_dlq - Counter({SCORED: kinds[SCORED]}) == +figures.outcomes
    assert len(log.requests) == figures.batches.sum
    timed = [one for _, one in log.requests if one.append_ms != NO_APPEND_TIME]
    assert len(timed) == sum(figures.latency.counts)


@given(
    st.integers(0, 2**32),
    st.lists(st.sampled_from(CLEAN), max_size=10),
    st.lists(st.integers(1, 20), max_size=3),
)
def test_what_is_counted_is_what_is_in_the_topics(seed: int, script: list[str], moves: list[int]) -> None:
    """Results, outcomes by kind, dead letters by reason, transactions by outcome: aborts and rebalances count nothing twice."""
    log, meter = Log(requests(seed)), Told()
    live(log, script, moves=moves, contracts=TwinContracts(SNAPSHOT), observer=meter)
    agrees(meter, log)
    transactions = meter.moment().figures.transactions
    assert len(log.steps) == transactions[Outcome.COMMITTED]
    done = Counter(script[: sum(transactions.values())])
    assert (done["ABORT"], done["UNKNOWN_LOST"]) == (transactions[Outcome.ABORTED], transactions[Outcome.UNKNOWN])


def test_a_turn_s_stages_are_told_in_their_order() -> None:
    """An abort goes back and the same way again."""
    log, meter = Log(numbered([sent("a"), sent("b")])), Told()
    live(log, ["ABORT"], observer=meter)
    way = [Stage.READ, Stage.LOOKUP, Stage.PLAN, Stage.SCORE, Stage.SETTLE, Stage.PRODUCE, Stage.COMMIT]
    assert [
        *(Stage.POLL, Stage.RECOVER),
        *(Stage.POLL, *way, Stage.REWIND),
        *(Stage.POLL, *way, Stage.APPLY),
    ] == meter.stages


def test_ready_follows_the_restore() -> None:
    """The second worker restores both partitions from the log, and says how many are left."""
    log, meter = Log(requests(3)), Told()
    live(log, ["COMMIT", "DIE_AFTER"], lose_state=True, contracts=TwinContracts(SNAPSHOT), observer=meter)
    once = ["restoring 2 of 2 partitions", "restoring 1 of 2 partitions", "restored 2 partitions; comparing offsets"]
    assert [*once, "ready; partitions: 2"] * 2 == meter.ready
    assert {0: 0, 1: 0} == meter.moment().figures.remaining


def test_held_partitions_are_told_while_they_are_held() -> None:
    """And no longer: the schema came."""
    late = loan("late")
    held = Sent(late[:4] + b"\x63" + late[5:], b"late", partition=0)
    log, meter = Log(numbered([sent("a"), held, sent("z")])), Told()
    live(log, contracts=TwinContracts(later={(LANE, 99): Reading(CONTRACT, CONTRACT)}, after=6), observer=meter)
    assert {TP(LANE, 0)} in meter.held
    assert set() == meter.held[-1]
    assert Stage.RESOLVE in meter.stages
    agrees(meter, log)


def test_a_gap_is_an_outcome_that_answers_no_request() -> None:
    """It is committed in a transaction of its own, without a batch."""
    log, meter = Log([(offset, sent("a", 10.0 + offset)) for offset in range(3, 6)]), Told()
    log.starts[TP(LANE, log.requests[0][1].partition)] = 3
    live(log, observer=meter)
    figures = meter.moment().figures
    assert 1 == figures.outcomes["GAP"]
    assert 3 == figures.batches.sum
    assert len(log.terminals) == figures.results + figures.outcomes.total()


def test_the_limit_of_the_next_batch_is_told() -> None:
    """The broker blames a record, the batch is halved down to it, and grows again."""
    log, meter = Log(numbered(sent(f"r{number}") for number in range(16))), Told()
    offset, one = log.requests[9]
    live(log, blamed=frozenset({(one.partition, offset)}), records=16, observer=meter)
    assert 1 in meter.limits
    assert 16 == meter.limits[0]
    agrees(meter, log)


class CountsAborted(Told):
    """A mutant: takes every transaction for a committed one."""

    def transacted(self, step: Step, outcome: Outcome, batch: Batch | None = None) -> None:
        super().transacted(step, Outcome.COMMITTED, batch)


class CountsLettersTwice(Told):
    """A mutant: a dead letter is an outcome, too."""

    def transacted(self, step: Step, outcome: Outcome, batch: Batch | None = None) -> None:
        super().transacted(step._replace(letters={}), outcome, batch)


@pytest.mark.parametrize("mutant", [CountsAborted, CountsLettersTwice])
def test_a_mutant_goes_red(mutant: type[Told]) -> None:
    """The comparison sees what it is there for."""
    log, meter = Log(requests(2)), mutant()
    live(log, ["ABORT"], contracts=TwinContracts(SNAPSHOT), observer=meter)
    with pytest.raises(AssertionError):
        agrees(meter, log)
