"""A log in memory that obeys the rules that the loop relies on, and fails on demand.

It is no Kafka: it proves what the loop decides, not what a broker does. Every claim about the broker has its test in
`tests/integration`.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from streams.contracts import Pair, Snapshot
from streams.errors import OutcomeUnknown
from streams.frames import frame_put
from streams.loop import Loop
from streams.pipeline import App
from streams.ports import Assignment, Edges, Observer
from streams.records import TP, Batch, Checkpoint, Ended, Floats, Frame, Lease, Outcome, Put, Step
from streams.scoring import Scoring
from streams.state.memory import MemoryStore
from tests.pipeline.world import LANE, PARTITIONS, SNAPSHOT, AmountModel, Sent, app, batch, decode_step

CHANGELOG_ID = b"L" * 16
TPS = frozenset(TP(LANE, partition) for partition in range(PARTITIONS))


class Died(Exception):
    """The process was killed here."""


class Log:
    """Requests, committed offsets, changelog and terminal records: what outlives every process."""

    def __init__(self, requests: Sequence[tuple[int, Sent]], application: App | None = None) -> None:
        self.requests = list(requests)
        self.app = application or app()
        self.committed: dict[TP, int | None] = dict.fromkeys(TPS, 0)
        self.changelog: dict[int, list[Put]] = {partition: [] for partition in range(PARTITIONS)}
        self.starts: dict[TP, int] = dict.fromkeys(TPS, 0)
        self.topic_ids = dict(self.app.topic_ids)
        self.changelog_id = CHANGELOG_ID
        self.terminals: list[tuple[tuple[int, int], dict[str, Any]]] = []
        self.steps: list[Step] = []
        for tp in TPS:
            self.changelog[tp.partition].append(frame_put(LANE, Frame(self.topic_ids[LANE], 0, CHANGELOG_ID)))

    def commit(self, step: Step) -> dict[int, int]:
        """Make a step visible, whole."""
        self.committed |= step.next
        for partition, puts in step.puts.items():
            self.changelog[partition] += puts
        self.terminals += decode_step(step, self.app)
        self.steps.append(step)
        return {partition: len(self.changelog[partition]) - 1 for partition in step.puts}

    def ends(self) -> dict[TP, int]:
        """Where each partition's requests end."""
        ends = dict.fromkeys(TPS, 0)
        for offset, one in self.requests:
            ends[TP(LANE, one.partition)] = max(ends[TP(LANE, one.partition)], offset + 1)
        return ends

    def kinds(self) -> dict[tuple[int, int], str]:
        """Return each origin's terminal kind. Asserts that no origin has two."""
        assert len({origin for origin, _ in self.terminals}) == len(self.terminals), (
            "an origin has two terminal records"
        )
        return {origin: record["kind"] for origin, record in self.terminals}


class TwinSource:
    """Reads the log; `moves` says after how many polls the assignment is taken away and given back.

    A restore polls, too, so the assignment may move in the middle of one.
    """

    def __init__(self, log: Log, moves: Sequence[int] = ()) -> None:
        self.log, self.moves, self.polls, self.epoch, self.told = log, set(moves), 0, 1, 0
        self.positions: dict[TP, int] = {}
        self.closed = False

    def poll(self, limit: int, age_ms: int) -> Batch | Assignment:
        self.polls += 1
        if self.polls in self.moves:
            self.epoch += 1
        if self.told != self.epoch:
            self.told, self.positions = self.epoch, {}
            return Assignment(self.epoch, TPS)
        due = [
            (offset, one)
            for offset, one in self.log.requests
            if offset >= self.positions.get(TP(LANE, one.partition), 1 << 62)
        ][:limit]
        for offset, one in due:
            self.positions[TP(LANE, one.partition)] = offset + 1
        return batch(due)._replace(lease=Lease(self.epoch, None))

    def committed(self, tps: frozenset[TP]) -> Mapping[TP, int | None]:
        return dict(self.log.committed)

    def bounds(self, tps: frozenset[TP]) -> Mapping[TP, tuple[int, int]]:
        ends = self.log.ends()
        return {tp: (self.log.starts[tp], max(ends[tp], self.log.starts[tp])) for tp in tps}

    def lease(self) -> Lease:
        return Lease(self.epoch, None)

    def topic_ids(self) -> Mapping[str, bytes]:
        return self.log.topic_ids

    def start(self, positions: Mapping[TP, int]) -> None:
        self.positions = dict(positions)

    def resume(self, positions: Mapping[TP, int]) -> None:
        self.positions |= positions

    def pause(self, tps: frozenset[TP]) -> None:
        for tp in tps:
            self.positions.pop(tp, None)

    def keep_alive(self) -> bool:
        self.polls += 1
        if self.polls in self.moves:
            self.epoch += 1
            return False
        return True

    def progress(self) -> Mapping[TP, tuple[int, int]]:
        ends = self.log.ends()
        return {tp: (position, ends[tp]) for tp, position in self.positions.items()}

    def close(self) -> None:
        self.closed = True


class TwinSink:
    """Ends each transaction as its script says: ABORT, UNKNOWN (committed or not), DIE (before or after), BLAME."""

    renewals = 0
    late = True

    def __init__(self, log: Log, script: Iterator[str], blamed: frozenset[tuple[int, int]] = frozenset()) -> None:
        self.log, self.script, self.blamed = log, script, blamed

    def transact(self, step: Step, handed_over: Callable[[], None] = lambda: None, *, beside: bool = False) -> Ended:
        """Every other time, what is done beside it is done when the end is in the log already."""
        self.late = beside and not self.late
        if not self.late:
            handed_over()
        ended = self._ended(step)
        if self.late:
            handed_over()
        return ended

    def _ended(self, step: Step) -> Ended:
        fate = next(self.script, "COMMIT")
        payloads = {origin for origin, record in decode_step(step, self.log.app) if record["kind"] != "UNPRODUCIBLE"}
        if payloads & self.blamed:
            return Ended(Outcome.ABORTED, {}, "Message size too large", blames_record=True)
        match fate:
            case "ABORT":
                return Ended(Outcome.ABORTED, {}, "rebalance")
            case "UNKNOWN_LOST":
                return Ended(Outcome.UNKNOWN, {}, "timed out")
            case "DIE_BEFORE":
                raise Died
        checkpoints = self.log.commit(step)
        match fate:
            case "UNKNOWN_DONE":
                return Ended(Outcome.UNKNOWN, {}, "timed out")
            case "DIE_AFTER":
                raise Died
        return Ended(Outcome.COMMITTED, checkpoints)


class TwinChangelog:
    """Reads the log's changelog."""

    def __init__(self, log: Log) -> None:
        self.log = log

    def topic_id(self) -> bytes:
        return self.log.changelog_id

    def bounds(self, partitions: Sequence[int]) -> Mapping[int, tuple[int, int]]:
        return {partition: (0, len(self.log.changelog[partition])) for partition in partitions}

    def read(self, partition: int, begin: int, end: int) -> Iterator[tuple[Sequence[Put], int]]:
        for position in range(begin, end, 3):
            until = min(position + 3, end)
            yield self.log.changelog[partition][position:until], until


class TwinContracts:
    """Knows its snapshot, and learns one more pair when `resolve` has been asked often enough."""

    def __init__(self, snapshot: Snapshot = SNAPSHOT, later: Snapshot | None = None, after: int = 3) -> None:
        self.known, self.later, self.asked, self.after = dict(snapshot), dict(later or {}), 0, after

    def snapshot(self) -> Snapshot:
        return self.known

    trouble: str | None = "it does not answer"

    def resolve(self, wanted: Collection[Pair]) -> frozenset[Pair]:
        self.asked += 1
        if self.asked >= self.after:
            self.known |= {pair: self.later[pair] for pair in wanted if pair in self.later}
        return frozenset(pair for pair in wanted if pair in self.known)


class AtOnce:
    """A call beside others, made and over before anything else is."""

    def __init__(self, call: Callable[[Floats], Floats], matrix: Floats) -> None:
        self._scores = call(matrix)

    def result(self) -> Floats:
        return self._scores


LoopClass = Callable[..., Loop]


def looped(log: Log, edges: Edges, loop_class: LoopClass = Loop, **more: Any) -> Loop:
    """Return a scorer's loop over some edges, which nobody watches and nobody stops unless `more` says so."""
    usual = {
        "records": 4,
        "age_ms": 1,
        "turn_s": 1.0,
        "transact_s": 1.0,
        "watch": lambda _: None,
        "wait": lambda _: False,
    }
    return loop_class(edges, scoring(log, edges), **{**usual, **more})


def live(
    log: Log,
    script: Sequence[str] = (),
    *,
    moves: Sequence[int] = (),
    records: int = 4,
    lose_state: bool = False,
    blamed: frozenset[tuple[int, int]] = frozenset(),
    contracts: TwinContracts | None = None,
    loop_class: LoopClass = Loop,
    observer: Observer | None = None,
    turns_max: int = 400,
    ahead: bool = False,
    tick_s: float = 0.5,
) -> MemoryStore:
    """Run workers, one after the other, until every request is committed; a death or an unknown outcome starts the next.

    `script` tells how each transaction ends; `lose_state` gives every worker an empty disk; with `ahead` batches are taken ahead;
    whoever looks at the clock finds it `tick_s` later.
    """
    store, fates, turns = MemoryStore(), iter(script), 0
    contracts = contracts or TwinContracts()
    ticks = iter(range(10**6))
    while True:
        source = TwinSource(log, moves)
        sink, changelog = TwinSink(log, fates, blamed), TwinChangelog(log)
        edges = Edges(source, sink, store, changelog, contracts, observer or Observer())
        more = {"ahead": ahead, "clock": lambda: next(ticks) * tick_s}
        loop = looped(log, edges, loop_class, records=records, **more)
        try:
            loop.turn()  # a worker recovers even if the one before it left nothing to do
            while log.committed != log.ends():
                turns += 1
                assert turns < turns_max, f"no end in sight: {log.committed} of {log.ends()}"
                loop.turn()
            return store
        except (Died, OutcomeUnknown):
            if lose_state:
                store = MemoryStore()


def scoring(log: Log, edges: Edges) -> Scoring:
    """Return the scorer's fold over some edges."""
    return Scoring(log.app, AmountModel(), edges.store, edges.observer, AtOnce)


def folded(log: Log) -> dict[int, dict[bytes, bytes]]:
    """What the changelog says the state is."""
    return {partition: dict(puts) for partition, puts in log.changelog.items()}


def state(store: MemoryStore) -> dict[int, dict[bytes, bytes]]:
    """What the local state holds."""
    return {partition: store.items(partition) for partition in range(PARTITIONS)}


def checkpoint(offset: int) -> Checkpoint:
    """A checkpoint of this changelog."""
    return Checkpoint(CHANGELOG_ID, offset)
