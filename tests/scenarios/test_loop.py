"""Scripts of what can go wrong around a transaction, and what must be true afterwards whatever happened."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from streams import suspects as suspects_room
from streams.contracts import Reading
from streams.errors import Fenced, OffsetsError, SetupError, SlotTaken, Stop, Unreachable
from streams.frames import frame_put
from streams.loop import HOLD_ALARM_S, Loop
from streams.ports import Assignment, Edges
from streams.reasons import Reason
from streams.records import TP, Batch, Detail, Ended, Floats, Frame, Outcome, Put, Step
from streams.recovery import recover
from streams.scoring import Scoring
from streams.state.memory import MemoryStore
from tests.pipeline.test_law_of_cuts import SNAPSHOT, anything
from tests.pipeline.world import CONTRACT, LANE, PARTITIONS, AmountModel, Sent, loan, numbered, run, sent
from tests.scenarios import twin
from tests.scenarios.twin import (
    TPS,
    Died,
    Log,
    TwinChangelog,
    TwinContracts,
    TwinSink,
    TwinSource,
    checkpoint,
    folded,
    live,
    looped,
    scoring,
    state,
)

FATES = ["COMMIT", "ABORT", "UNKNOWN_LOST", "UNKNOWN_DONE", "DIE_BEFORE", "DIE_AFTER"]


def requests(seed: int, count: int = 40) -> list[tuple[int, Sent]]:
    """A log of everything."""
    chance = random.Random(seed)
    return numbered(anything(chance) for _ in range(count))


def check(log: Log, store: MemoryStore) -> None:
    """Every request has one terminal record, the one that a run without faults gives it; the state is the changelog's fold."""
    expected = {at: record["kind"] for at, record in run(log.requests, snapshot=SNAPSHOT, application=log.app).items()}
    assert expected == log.kinds()
    assert folded(log) == state(store)


@given(
    st.integers(0, 2**32),
    st.lists(st.sampled_from(FATES), max_size=10),
    st.lists(st.integers(1, 20), max_size=3),
    st.booleans(),
    st.booleans(),
)
def test_whatever_happens_every_request_is_answered_once(
    seed: int, script: list[str], moves: list[int], lose_state: bool, ahead: bool
) -> None:
    """Aborts, unknown outcomes, deaths before and after the commit, rebalances, lost disks: the same answers as without."""
    log = Log(requests(seed))
    store = live(log, script, moves=moves, lose_state=lose_state, contracts=TwinContracts(SNAPSHOT), ahead=ahead)
    check(log, store)


@pytest.mark.parametrize("ahead", [False, True])
def test_a_batch_of_another_epoch_is_never_committed(ahead: bool) -> None:
    """An Assignment comes instead of records; the loop recovers and reads from the committed offset."""
    log = Log(requests(1))
    live(log, moves=[2, 3, 5], contracts=TwinContracts(SNAPSHOT), ahead=ahead)
    assert set(log.kinds()) == {(one.partition, offset) for offset, one in log.requests}


@pytest.mark.parametrize("ahead", [False, True])
def test_a_hold_waits_for_its_schema_and_the_other_partition_goes_on(ahead: bool) -> None:
    """Nothing behind the held record is answered before it is, and then all of it is."""
    good = [sent(f"r{number}") for number in range(8)]
    name = next(name for name in map(str, range(99)) if sent(name).partition == 0)
    late = loan(name)
    held = Sent(late[:4] + b"\x63" + late[5:], name.encode())
    log = Log(numbered([*good[:4], held, *good[4:]]))
    contracts = TwinContracts(later={(LANE, 99): Reading(CONTRACT, CONTRACT)}, after=6)
    live(log, contracts=contracts, ahead=ahead)
    order = [at for at, _ in log.terminals]
    in_lane = [offset for partition, offset in order if partition == 0]
    assert sorted(in_lane) == in_lane
    held_at = next((one.partition, offset) for offset, one in log.requests if one is held)
    others = [at for at in order if at[0] == 1]
    assert all(order.index(at) < order.index(held_at) for at in others)


def test_a_hold_that_lasts_becomes_an_alarm() -> None:
    """For a minute it is a warning with coordinates; then it is an error, and still nothing is refused."""
    late = loan("late")
    log = Log(numbered([Sent(late[:4] + b"\x63" + late[5:], b"late", partition=0)]))
    contracts = TwinContracts(later={(LANE, 99): Reading(CONTRACT, CONTRACT)}, after=90)
    with capture_logs() as said:
        live(log, contracts=contracts, tick_s=1.0)
    waited = [(line["log_level"], line["seconds"], line["at"]) for line in said if line["event"] == "held"]
    assert {f"{LANE}[0] 0"} == {at for _, _, at in waited}
    assert all((level == "error") == (seconds > HOLD_ALARM_S) for level, seconds, _ in waited)
    assert {"warning", "error"} == {level for level, _, _ in waited}


@pytest.mark.parametrize("ahead", [False, True])
def test_an_abort_before_a_hold_loses_nothing(ahead: bool) -> None:
    """The prefix before a hold is aborted: it is read again from its start, not from the held record."""
    late = loan("late")
    held = Sent(late[:4] + b"\x63" + late[5:], b"late", partition=0)
    firsts = [sent(f"r{number}") for number in range(6)]
    log = Log(numbered([*firsts, held, sent("z")]))
    contracts = TwinContracts(later={(LANE, 99): Reading(CONTRACT, CONTRACT)}, after=4)
    live(log, ["ABORT", "ABORT"], contracts=contracts, records=20, ahead=ahead)
    assert {(one.partition, offset) for offset, one in log.requests} == set(log.kinds())


@pytest.mark.parametrize("ahead", [False, True])
def test_only_the_record_that_the_broker_blames_is_refused(ahead: bool) -> None:
    """The batch is halved down to it; its neighbours are answered as ever."""
    log = Log(numbered(sent(f"r{number}") for number in range(16)))
    offset, one = log.requests[9]
    live(log, blamed=frozenset({(one.partition, offset)}), records=16, ahead=ahead)
    kinds = log.kinds()
    assert "UNPRODUCIBLE" == kinds.pop((one.partition, offset))
    assert {"SCORED"} == set(kinds.values())
    assert 15 == len(kinds)


def test_suspects_are_looked_at_one_by_one_and_then_answered_as_ever() -> None:
    """The trace names each alone before it names the batch; what comes of the trial is thrown away."""
    log, notes = Log(numbered(sent(f"r{number}") for number in range(16))), list[str]()
    note = lambda coordinates, _: notes.append(coordinates)  # noqa: E731
    partition = log.requests[0][1].partition
    suspects = [offset for offset, one in log.requests if one.partition == partition][1:3]
    tp = TP(LANE, partition)
    trial = {tp: range(suspects[0], suspects[-1] + 1)}
    live(log, records=100, loop_class=partial(Loop, trial=trial, note=note), ahead=True)
    assert {"SCORED"} == set(log.kinds().values())
    assert 16 == len(log.kinds())
    alone = [f"{tp} {offset}..{offset}" for offset in range(suspects[0], suspects[-1] + 1)]
    assert alone == notes[: len(alone)]
    assert ".." in notes[len(alone)]
    assert notes[len(alone)] not in alone


def test_what_is_read_ahead_is_traced_beside_what_is_worked_on() -> None:
    """Each batch is named while it is read ahead, and as worked on once it is begun; behind an abort, until the next one is."""
    log, places = Log(numbered(sent(f"r{number}", partition=0) for number in range(12))), {False: "", True: ""}
    seen: list[tuple[str, str]] = []

    def note(coordinates: str, ahead: bool) -> None:
        places[ahead] = coordinates
        seen.append((places[False], places[True]))

    live(log, ["COMMIT", "ABORT"], loop_class=partial(Loop, note=note), ahead=True)
    first, second, third = (f"{LANE}[0] {begin}..{begin + 3}" for begin in (0, 4, 8))
    changes = [one for one, before in zip(seen, [("", ""), *seen], strict=False) if one != before]
    begun = [(first, ""), ("", ""), ("", second), ("", ""), (second, ""), (second, third), (second, ""), ("", "")]
    again = [(third, ""), (second, ""), ("", ""), ("", third), ("", ""), (third, ""), ("", "")]
    assert begun + again == changes
    assert 12 == len(log.kinds())


@pytest.mark.parametrize("move", range(2, 9))
@pytest.mark.parametrize("fate", ["COMMIT", "ABORT", "UNKNOWN_DONE", "DIE_AFTER"])
def test_partitions_that_change_hands_while_a_batch_is_worked_on(fate: str, move: int) -> None:
    """The poll beside it meets the rebalance: the transaction ends as it ends, and recovery says where to go on."""
    log = Log(numbered(sent(f"r{number}") for number in range(40)))
    store = live(log, [fate] * 2, moves=[move, move + 1], ahead=True)
    check(log, store)


def test_a_hold_is_tried_again_in_the_middle_of_a_backlog() -> None:
    """Batch after batch is read ahead, and never without asking whether the schema is known by now."""
    late = loan("late")
    held = Sent(late[:4] + b"\x63" + late[5:], b"late", partition=0)
    log = Log(numbered([held, *(sent(f"r{number}", partition=1) for number in range(200))]))
    contracts = TwinContracts(later={(LANE, 99): Reading(CONTRACT, CONTRACT)}, after=6)
    live(log, contracts=contracts, ahead=True)
    order = [at for at, _ in log.terminals]
    assert 201 == len(order)
    assert 20 < order.index((0, log.requests[0][0])) < 180


def test_only_a_full_batch_is_followed_by_reading_ahead() -> None:
    """Where less came than was asked for, nothing lies there: the next poll waits for what comes meanwhile, as ever."""
    log, sizes = Log(numbered(sent(f"r{number}", partition=0) for number in range(6))), list[int]()

    class Watched(TwinSource):
        def poll(self, limit: int, age_ms: int) -> Any:
            got = super().poll(limit, age_ms)
            sizes.append(got.size if isinstance(got, Batch) else -1)
            return got

    edges = Edges(Watched(log), TwinSink(log, iter(())), MemoryStore(), TwinChangelog(log), TwinContracts())
    loop = looped(log, edges, ahead=True)
    polled = []
    for _ in range(4):
        loop.turn()
        polled.append(list(sizes))
    assert [[-1], [-1, 4, 2], [-1, 4, 2], [-1, 4, 2, 0]] == polled


@pytest.mark.parametrize("suspects", [range(3), range(3, 6), range(6), range(38, 99)], ids=str)
def test_what_is_left_of_a_trial_is_looked_at_when_it_comes_and_no_longer(suspects: range) -> None:
    """Suspects that were answered before, or that others lie in the place of, never come; then batches are taken ahead again."""
    log, polls, alone = (
        Log([(4 + 2 * number, sent(f"r{number}", partition=0)) for number in range(40)]),
        [0],
        list[str](),
    )
    log.changelog[0].append(frame_put(LANE, Frame(log.topic_ids[LANE], 4, log.changelog_id)))
    log.committed[TP(LANE, 0)] = 4

    class Counted(TwinSource):
        def poll(self, limit: int, age_ms: int) -> Any:
            polls[0] += 1
            return super().poll(limit, age_ms)

    def note(coordinates: str, _: bool) -> None:
        if suspects_room.alone(coordinates):
            alone.append(coordinates)

    edges = Edges(Counted(log), TwinSink(log, iter(())), MemoryStore(), TwinChangelog(log), TwinContracts())
    loop = looped(log, edges, ahead=True, trial={TP(LANE, 0): suspects, TP(LANE, 7): range(5)}, note=note)
    ahead = []
    while log.committed != log.ends():
        before = polls[0]
        loop.turn()
        ahead.append(polls[0] - before > 1 or polls[0] == before)
    assert any(ahead) == (suspects.stop < 99)
    assert [f"{LANE}[0] {offset}..{offset}" for offset, _ in log.requests if offset in suspects] == alone


def test_a_suspect_is_looked_at_although_its_partition_comes_later() -> None:
    """Under the consumer protocol partitions come one by one: what is owned first ends no other's trial, and has batches ahead."""
    log = Log(numbered(sent(f"r{number}", partition=number % 2) for number in range(40)))
    alone, sizes = list[str](), list[int]()

    class Slow(TwinSource):
        def poll(self, limit: int, age_ms: int) -> Any:
            got = super().poll(limit, age_ms)
            if isinstance(got, Assignment):
                return got._replace(tps=frozenset(TPS if self.epoch > 1 else {TP(LANE, 0)}))
            sizes.append(got.size)
            return got

    def note(coordinates: str, _: bool) -> None:
        if suspects_room.alone(coordinates):
            alone.append(coordinates)

    edges = Edges(Slow(log, [9]), TwinSink(log, iter(())), MemoryStore(), TwinChangelog(log), TwinContracts())
    loop = looped(log, edges, ahead=True, trial={TP(LANE, 1): range(3, 6)}, note=note)
    loop.turn()
    while log.committed != log.ends():
        loop.turn()
    suspects = [offset for offset, one in log.requests if one.partition == 1 and 3 <= offset < 6]
    assert [f"{LANE}[1] {offset}..{offset}" for offset in suspects] == alone
    assert suspects


def test_while_the_broker_is_waited_for_only_what_is_in_the_model_is_traced() -> None:
    """What was read ahead is in nobody's hands: a transaction that never ends is not held against it."""
    log, places = Log(numbered(sent(f"r{number}", partition=0) for number in range(12))), {False: "", True: ""}

    class Stuck(TwinSink):
        def transact(
            self, step: Step, handed_over: Callable[[], None] = lambda: None, *, beside: bool = False
        ) -> Ended:
            handed_over()
            raise Died

    edges = Edges(TwinSource(log), Stuck(log, iter(())), MemoryStore(), TwinChangelog(log), TwinContracts())
    loop = looped(log, edges, ahead=True, note=lambda coordinates, ahead: places.update({ahead: coordinates}))
    loop.turn()
    with pytest.raises(Died):
        loop.turn()
    assert (12, 12) == edges.source.progress()[TP(LANE, 0)], "two were taken ahead"
    assert {False: f"{LANE}[0] 4..7", True: ""} == places


@pytest.mark.parametrize("turn_s", [1.0, 25.0])
def test_the_wait_behind_an_abort_is_shorter_than_the_watchdog_s(turn_s: float) -> None:
    """However often it happens in a row; the time of the transaction before it is not its own."""
    log, armed, waited = Log(numbered([sent("a")])), [0.0], list[tuple[float, float]]()

    def wait(seconds: float) -> bool:
        waited.append((seconds, armed[-1]))
        return False

    edges = Edges(
        TwinSource(log), TwinSink(log, iter(["ABORT"] * 12)), MemoryStore(), TwinChangelog(log), TwinContracts()
    )
    loop = looped(log, edges, turn_s=turn_s, transact_s=0.5, watch=armed.append, wait=wait)
    while log.committed != log.ends():
        loop.turn()
    backoffs = [one for one in waited if one[0]]
    assert 12 == len(backoffs)
    assert max(seconds for seconds, _ in backoffs) == min(turn_s / 2, 5.0)
    assert all(seconds <= within / 2 for seconds, within in backoffs)


@pytest.mark.parametrize(
    "ended", [Fenced("fenced"), Ended(Outcome.UNKNOWN, {}, "timed out")], ids=["fenced", "unknown"]
)
def test_a_slot_that_was_taken_is_told_although_the_transaction_failed_for_it(ended: Fenced | Ended) -> None:
    """Restarted, this worker would take it back; the group says so once only, and it may be a poll ahead that hears it."""
    log = Log(numbered(sent(f"r{number}", partition=0) for number in range(12)))

    class Taken(TwinSource):
        def poll(self, limit: int, age_ms: int) -> Any:
            if self.positions.get(TP(LANE, 0), 0) == 4:
                raise SlotTaken("another process has it")
            return super().poll(limit, age_ms)

    class Failing(TwinSink):
        def transact(
            self, step: Step, handed_over: Callable[[], None] = lambda: None, *, beside: bool = False
        ) -> Ended:
            handed_over()
            if isinstance(ended, Fenced):
                raise ended
            return ended

    edges = Edges(Taken(log), Failing(log, iter(())), MemoryStore(), TwinChangelog(log), TwinContracts())
    loop = looped(log, edges, ahead=True)
    loop.turn()
    with pytest.raises(SlotTaken):
        loop.turn()


def test_progress_does_not_count_what_was_read_ahead() -> None:
    """What nobody has worked on yet is still to come, and an error that waits for its turn is nobody else's."""
    log = Log(numbered(sent(f"r{number}", partition=0) for number in range(12)))
    edges = Edges(TwinSource(log), TwinSink(log, iter(())), MemoryStore(), TwinChangelog(log), TwinContracts())
    loop = looped(log, edges, ahead=True)
    loop.turn()
    loop.turn()
    assert (4, 12) == loop.progress()[TP(LANE, 0)]
    assert (12, 12) == edges.source.progress()[TP(LANE, 0)]
    edges.source.poll = _denied  # type: ignore[method-assign]
    for position in (8, 12):
        loop.turn()
        assert {position} == {position for position, _ in loop.progress().values()} - {0}
    with pytest.raises(SetupError, match="denied"):
        loop.turn()


def _denied(limit: int, age_ms: int) -> Any:
    raise SetupError(f"denied: {limit} records within {age_ms} ms")


def test_a_condemned_record_is_refused_and_one_that_is_bad_anyway_keeps_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is wrong with it says more."""
    log = Log(numbered([sent("a"), Sent(b"{}", b"bad", partition=0), sent("b")]))
    good, bad = ((one.partition, offset) for offset, one in log.requests[:2])
    make = twin.scoring

    def condemning(log: Log, edges: Edges) -> Scoring:
        fold = make(log, edges)
        for partition, offset in (good, bad):
            assert fold.refuse(TP(LANE, partition), offset, Reason.POISON_PILL, Detail())
        return fold

    monkeypatch.setattr(twin, "scoring", condemning)
    live(log)
    kinds = log.kinds()
    assert ["POISON_PILL", "NOT_FRAMED"] == [kinds.pop(good), kinds.pop(bad)]
    assert {"SCORED"} == set(kinds.values())


def test_an_outage_never_refuses() -> None:
    """However often a transaction is aborted without blaming a record, every request is answered in the end."""
    log = Log(numbered(sent(f"r{number}") for number in range(10)))
    live(log, ["ABORT"] * 50)
    assert {"SCORED"} == set(log.kinds().values())


def test_requests_deleted_before_they_were_read_are_one_gap_record() -> None:
    """Committed below the log's start: GAP, frame and offset in one transaction, then on."""
    log = Log([(offset, sent("a", 10.0 + offset)) for offset in range(3, 6)])
    tp = TP(LANE, log.requests[0][1].partition)
    log.starts[tp] = 3
    live(log)
    gaps = [record for _, record in log.terminals if record["kind"] == "GAP"]
    assert [(0, 3)] == [(gap["request_offset"], gap["until_offset"]) for gap in gaps]
    assert 4 == len(log.terminals)


@pytest.mark.parametrize(
    ("word", "damage"),
    [
        ("OFFSETS_WENT_BACK", lambda log, tp: log.committed.update({tp: 1})),
        ("OFFSETS_WENT_FORWARD", lambda log, tp: log.committed.update({tp: 3})),
        ("NO_COMMITTED_OFFSET", lambda log, tp: log.committed.update({tp: None})),
        ("TOPIC_RECREATED", lambda log, tp: log.topic_ids.update({LANE: b"N" * 16})),
    ],
)
def test_offsets_that_lie_stop_the_worker(word: str, damage: object) -> None:
    """It says what happened and reads nothing."""
    log = Log(numbered([sent("a"), sent("a"), sent("a"), sent("b")]))
    tp = TP(LANE, sent("a").partition)
    log.requests = log.requests[:2]
    live(log)
    log.requests = numbered([sent("a"), sent("a"), sent("a"), sent("a"), sent("b")])
    before = len(log.steps)
    assert callable(damage)
    damage(log, tp)
    with pytest.raises(OffsetsError, match=word):
        live(log)
    assert before == len(log.steps)


@pytest.mark.parametrize("foreign", [b"F" * 16, b"L" * 16])
def test_local_state_that_does_not_belong_to_the_log_is_forgotten(foreign: bytes) -> None:
    """Another changelog's state, or one newer than the log: restored in full, and nothing foreign stays."""
    log = Log(requests(3))
    live(log, contracts=TwinContracts(SNAPSHOT))
    log.requests += [(100, sent("new", partition=0, key=b"new"))]
    source, store = TwinSource(log), MemoryStore()
    for partition in range(PARTITIONS):
        store.open(partition)
        store.apply(partition, [(b"dalien", b"x")], checkpoint(10**6)._replace(topic_id=foreign))
    edges = Edges(source, TwinSink(log, iter(())), store, TwinChangelog(log), TwinContracts(SNAPSHOT))
    recover(TPS, edges, scoring(log, edges), lambda: True)
    assert folded(log) == state(store)


def test_lanes_assigned_apart_stop_the_worker() -> None:
    """Partition i of every lane shares one store: one worker must own them all."""
    log = Log(requests(1))
    log.app = replace(log.app, topic_ids={**log.app.topic_ids, "loans.requests.bulk": b"B" * 16})
    log.topic_ids = dict(log.app.topic_ids)
    with pytest.raises(Stop, match=r"loans\.requests\.bulk"):
        live(log)


def test_a_topic_that_was_recreated_is_named_although_its_offsets_went_with_it() -> None:
    """The group forgets the offsets of a topic that is deleted; what happened is not that they expired."""
    log = Log(numbered([sent("a")]))
    live(log)
    log.topic_ids[LANE] = b"N" * 16
    log.app = replace(log.app, topic_ids=dict(log.topic_ids))
    log.committed = dict.fromkeys(log.committed)
    with pytest.raises(OffsetsError, match="TOPIC_RECREATED"):
        live(log)


def test_a_changelog_that_was_recreated_is_not_trusted() -> None:
    """No frame, although the log still has its beginning: what was answered is not known any more, so nothing is read."""
    log = Log(numbered([sent("a"), sent("b")]))
    live(log)
    log.requests = numbered([sent("a"), sent("b"), sent("a"), sent("b")])
    log.changelog = {partition: [] for partition in range(PARTITIONS)}
    with pytest.raises(OffsetsError, match="CHANGELOG_RECREATED"):
        live(log)
    assert 2 == len(log.terminals)


def test_a_changelog_recreated_under_live_workers_is_noticed_by_the_next_recovery() -> None:
    """Frames of the new log agree with the offsets, but it has forgotten what was answered before: nothing is read.

    The worker that was there sees another topic; the next one sees frames of a worker that knew another topic.
    """
    log = Log(numbered([sent("a"), sent("b")]))
    log.changelog_id = b"N" * 16
    with pytest.raises(OffsetsError, match=r"CHANGELOG_RECREATED.*while this worker ran"):
        live(log)
    log.app = replace(log.app, changelog_id=log.changelog_id)
    with pytest.raises(OffsetsError, match=r"CHANGELOG_RECREATED.*a worker that was there before"):
        live(log)
    assert [] == log.terminals


def test_offsets_that_move_while_it_recovers_are_looked_up_again() -> None:
    """Another worker, its successor after a freeze, commits between its look at the offsets and its look at the changelog."""
    log = Log(numbered(sent(f"r{number}") for number in range(8)))

    class Overtaken(TwinChangelog):
        asked = 0

        def bounds(self, partitions: Sequence[int]) -> Mapping[int, tuple[int, int]]:
            self.asked += 1
            if self.asked == 1:
                live(log)
            return super().bounds(partitions)

    changelog = Overtaken(log)
    source = TwinSource(log)
    edges = Edges(source, TwinSink(log, iter(())), MemoryStore(), changelog, TwinContracts())
    source.poll(1, 1)
    assert log.ends() == recover(TPS, edges, scoring(log, edges), lambda: True)
    assert changelog.asked == 2


def test_a_restore_that_stands_still_says_so() -> None:
    """A transaction that hangs in the changelog is named, and the worker tries again later."""
    log = Log(requests(3))

    class Hanging(TwinChangelog):
        def read(self, partition: int, begin: int, end: int) -> Iterator[tuple[Sequence[Put], int]]:
            while True:
                yield [], begin

    edges = Edges(TwinSource(log), TwinSink(log, iter(())), MemoryStore(), Hanging(log), TwinContracts())
    with pytest.raises(Unreachable, match="stands still"):
        recover(TPS, edges, scoring(log, edges), lambda: True)


def test_batches_begin_small_shrink_when_a_score_is_slow_and_grow_again() -> None:
    """A slow model is met before the watchdog is, and one stall is not remembered for ever."""
    log = Log(numbered(sent(f"r{number}", partition=None) for number in range(1_500)))
    sizes: list[int] = []
    seconds = iter([0.1] * 2 + [3.0] + [0.1] * 1_000)

    class Watched(Loop):
        def _finish(self, batch: Batch, step: Step, *, more: bool = False) -> None:
            sizes.append(batch.size)
            super()._finish(batch, step, more=more)

        def _pace(self, score_s: float) -> None:
            super()._pace(next(seconds))

    live(log, records=400, loop_class=Watched)
    assert [100, 200, 400, 200] == sizes[:4]
    assert 400 in sizes[4:]


def test_a_flood_of_requests_without_a_score_is_scored_twice_not_a_thousand_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Copies, and others under the same id, of a request whose score is no number; the first good one is answered."""
    calls = []

    def score(self: AmountModel, matrix: Floats) -> Floats:
        calls.append(len(matrix))
        return scored(self, matrix)

    scored = AmountModel.score
    monkeypatch.setattr(AmountModel, "score", score)
    hopeless = [sent("mine", 1e6, trace=f"t{at}", event_time=at) for at in range(500)]
    log = Log(numbered([*hopeless, sent("mine", 11.0), sent("mine", 11.0), *hopeless]))
    store = live(log, records=2_000, contracts=TwinContracts(SNAPSHOT))
    check(log, store)
    assert {"SCORED": 1, "DUPLICATE": 1, "CONFLICT": 500, "SCORE_NOT_FINITE": 500} == dict(
        Counter(log.kinds().values())
    )
    # a worker begins with batches of 100 and doubles them: five, each scored at most three times
    assert len(calls) <= 15, calls
