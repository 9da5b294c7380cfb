"""The loop: the only place, with `recovery`, that repeats, waits, or decides what an outcome means.

A turn takes a batch, begins it, decides, commits and applies it. While the broker is at work on the transaction of a batch that was
full, others are taken ahead: the next one is polled, read and begun, on the assumption that this transaction commits, and if it is
full, too, the one after it is polled and read. If the transaction does not commit, all that was taken ahead is thrown away and
read again. If partitions change hands in such a poll, the transaction on its way carries an older lease: the group's coordinator
refuses it, or whoever has the partitions now waits for its end (KIP-447); what was taken ahead is thrown away.

Whatever ends otherwise than `committed` or `aborted` ends the process: crash-only, so that every kill tests the same path.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import structlog

from streams.contracts import Pair
from streams.errors import Fenced, OutcomeUnknown, SetupError, Stop
from streams.pipeline import Fold, Rows, read, select
from streams.pipeline.progress import ends_of, offsets_of
from streams.ports import Assignment, Edges, Stage
from streams.reasons import Reason
from streams.records import TP, Batch, Checkpoint, Detail, Ended, Hold, Outcome, Step
from streams.recovery import recover

log = structlog.get_logger()

FIRST_RECORDS = 100
"""A worker begins with small batches and doubles them: a model that is slow is met before the watchdog is."""
SLOW_S = 1.0
"""The batch shrinks until deciding what becomes of it takes less."""
HOLD_RETRY_S = 1.0
HOLD_ALARM_S = 60.0
BACKOFF_S = (0.05, 5.0)
"""First and longest wait after an aborted transaction."""


class Held(NamedTuple):
    """A topic-partition that waits, since when, and when it was last tried."""

    hold: Hold
    since: float


class Fetched(NamedTuple):
    """What a poll brought, and how far it has come."""

    polled: Batch
    at: str
    """Its coordinates."""
    full: bool
    """As many records came as were asked for: more lie there."""
    rows: Rows | None = None
    """What was read of it; None: not yet, or there was nothing."""
    decide: Callable[[], Step] | None = None
    """Decides what becomes of the rows; None: not begun yet, or there are none."""
    seconds: float = 0.0
    """How long it took to begin them."""


class Loop:
    """One worker's loop.

    Args:
        edges: the ports.
        fold: what is made of a batch.
        records: the most records of a batch.
        age_ms: how long a batch waits to fill.
        turn_s: the longest that a turn, or a step of a restore, may take.
        transact_s: the longest that a transaction may take; the broker would abort an older one anyway.
        watch: re-arms the watchdog with so many seconds.
        wait: sleeps for some seconds, or less if the worker is asked to stop; says whether it is.
        note: told the coordinates of a batch, and whether it is read ahead, before anything is made of its bytes; and "" when
            that is done.
        trial: offsets that workers died over: each record is noted, read and decided alone before anything is made of the batch.
        ahead: whether batches are taken ahead.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        edges: Edges,
        fold: Fold,
        *,
        records: int,
        age_ms: int,
        turn_s: float,
        transact_s: float,
        watch: Callable[[float], None],
        wait: Callable[[float], bool],
        note: Callable[[str, bool], None] = lambda _, __: None,
        trial: Mapping[TP, range] = MappingProxyType({}),
        ahead: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._edges, self._observer = edges, edges.observer
        self._fold = fold
        self._records, self._limit, self._slow = records, min(records, FIRST_RECORDS), False
        self._age_ms, self._turn_s, self._transact_s = age_ms, turn_s, transact_s
        self._watch, self._wait, self._note, self._clock = watch, wait, note, clock
        self._takes_ahead = ahead
        self._ahead: deque[Fetched | Assignment | Stop] = deque()
        """What was taken ahead, in its order: at most a batch that is begun and one that is read, or what was met instead."""
        self._trial = {tp: {*offsets} for tp, offsets in trial.items()}
        self._owned: frozenset[TP] = frozenset()
        self._started = False
        """Whether what is owned is restored: only then may anything be committed."""
        self._held: dict[TP, Held] = {}
        self._wanted: frozenset[Pair] = frozenset()
        """What the held partitions wait for, and what lies behind that: asked for together."""
        self._tried = -HOLD_RETRY_S
        self._aborts = 0

    def turn(self) -> None:
        """Take one batch from what was read to what is committed. Raises: Stop."""
        self._watch(self._turn_s)
        got = self._next()
        if isinstance(got, Assignment):
            self._recover(got)
            self._observer.passed(Stage.RECOVER)
        elif got.rows is not None:
            self._hold(got.rows)
            step = self._decide(got)
            self._note("", False)  # what can still go wrong is the world's doing, not the batch's
            if step is not None:
                self._finish(got.rows.batch, step, more=got.full)
        elif self._started and (step := self._fold.due(self._edges.source.lease)) is not None:
            self._finish(got.polled, step)
        self._observer.turned(self._limit, {tp: held.hold for tp, held in self._held.items()})

    def progress(self) -> Mapping[TP, tuple[int, int]]:
        """Return (next offset to work on, end) of each partition that is read, as `Source.progress` does."""
        progress = dict(self._edges.source.progress())
        firsts = _firsts(self._polled_ahead())
        return progress | {tp: (first, progress[tp][1]) for tp, first in firsts.items() if tp in progress}

    def _next(self) -> Assignment | Fetched:
        """Return what is to be worked on, and begun."""
        if not self._ahead:
            self._retry_holds()
            self._ahead.append(self._poll())
        got = self._ahead.popleft()
        if isinstance(got, Stop):
            raise got
        if isinstance(got, Assignment) or not got.polled.size:
            return got
        if self._suspects():
            self._try(got.polled)
        self._note(got.at, False)
        return got if got.decide is not None else self._begun(got._replace(rows=self._read(got.polled)))

    def _poll(self) -> Assignment | Fetched:
        got = self._edges.source.poll(self._limit, self._age_ms)
        self._observer.passed(Stage.POLL)
        return got if isinstance(got, Assignment) else Fetched(got, _coordinates(got), got.size >= self._limit)

    def _begun(self, got: Fetched, after: Step | None = None) -> Fetched:
        if got.rows is None or not got.rows.batch.size:
            return got
        begun = self._clock()
        return got._replace(decide=self._fold.begin(got.rows, after), seconds=self._clock() - begun)

    def _take_ahead(self, after: Step) -> None:
        """Begin the batch behind the step that is on its way, and read the next one.

        One that needs to ask the registry is read again at its turn: nobody is to wait for that here. One that cannot be begun
        is begun again at its turn, which says so: the step on its way may be why.
        """
        if not self._ahead:
            self._read_ahead()
        first = self._ahead[0]
        if isinstance(first, Fetched) and first.rows is not None and not first.rows.unknown:
            self._note(first.at, False)  # from now on another thread may be in the model with it
            with suppress(Stop):
                self._ahead[0] = self._begun(first, after)
            if first.full:
                self._read_ahead()

    def _read_ahead(self) -> None:
        """Poll and read one batch; what is met instead of it waits for its turn."""
        try:
            self._retry_holds()
            got = self._poll()
            if isinstance(got, Assignment):
                self._drop_ahead()  # its lease is old; recovery says where to go on
            elif got.polled.size:
                self._note(got.at, True)
                got = got._replace(rows=self._read(got.polled, ask=False))
                self._note("", True)
            self._ahead.append(got)
        except Stop as stop:
            self._ahead.append(stop)

    def _drop_ahead(self) -> None:
        """Throw away the batches that were taken ahead; what was met instead keeps its turn.

        The trace of one that was begun stays until the next one's: another thread may still be in the model with it.
        """
        self._ahead = deque(one for one in self._ahead if not isinstance(one, Fetched))

    def _polled_ahead(self) -> list[Batch]:
        return [one.polled for one in self._ahead if isinstance(one, Fetched)]

    def _try(self, batch: Batch) -> None:
        """Look at each suspect alone, once, and do nothing with what comes of it: if it ends this process, its trace names it.

        Those that this batch has passed without them will never come.
        """
        for row, (tp, offset) in enumerate(zip(batch.tp.tolist(), batch.offset.tolist(), strict=True)):
            if offset in self._trial.get(batch.tps[tp], ()):
                self._watch(self._turn_s)
                one = select(batch, np.array([row]))
                self._note(_coordinates(one), False)
                rows = self._read(one)
                if rows.batch.size:
                    self._fold.begin(rows, None)()
        self._suspect_from(ends_of(batch))

    def _suspects(self) -> bool:
        """Return whether any suspect may come yet."""
        return not self._owned.isdisjoint(self._trial)

    def _suspect_from(self, offsets: Mapping[TP, int]) -> None:
        """Leave of the suspects of each topic-partition those from its offset on."""
        left = {tp: {one for one in suspects if one >= offsets.get(tp, 0)} for tp, suspects in self._trial.items()}
        self._trial = {tp: suspects for tp, suspects in left.items() if suspects}

    def _read(self, batch: Batch, *, ask: bool = True) -> Rows:
        """Read a batch; what is new is asked for once before anything is held, which costs a fetch or two."""
        contracts, app = self._edges.contracts, self._fold.app
        rows = read(batch, contracts.snapshot(), app)
        if ask and rows.unknown and contracts.resolve(rows.unknown):
            rows = read(batch, contracts.snapshot(), app)
        if batch.size:
            self._observer.passed(Stage.READ)
        return rows

    def _decide(self, got: Fetched) -> Step | None:
        if got.decide is None:
            return None
        begun = self._clock()
        step = got.decide()
        self._pace(got.seconds + self._clock() - begun)
        return step

    def _finish(self, batch: Batch, step: Step, *, more: bool = False) -> None:
        self._watch(self._transact_s)
        beside = more and self._takes_ahead and not self._suspects()
        try:
            ended = self._edges.sink.transact(step, partial(self._handed_over, step, beside), beside=beside)
        except Fenced:
            self._say_what_was_met()
            raise
        self._observer.transacted(step, ended.outcome, batch if batch.size else None)
        self._observer.passed(Stage.COMMIT)
        if ended.outcome is Outcome.COMMITTED:
            self._apply(step, ended)
            self._observer.passed(Stage.APPLY)
        elif ended.outcome is Outcome.ABORTED:
            self._rewind(batch, ended)
            self._observer.passed(Stage.REWIND)
        else:
            self._say_what_was_met()
            raise OutcomeUnknown(
                f"a transaction's outcome is unknown ({ended.error}); restart and recover from the log"
            )

    def _say_what_was_met(self) -> None:
        """Where what was met instead of a batch is final, a restart would do harm: it says more than how the transaction ended.

        Raises: Stop.
        """
        for met in self._ahead:
            if isinstance(met, Stop) and not met.restart:
                raise met

    def _handed_over(self, step: Step, beside: bool) -> None:
        """Use the time until the transaction has ended, in which the broker is at work."""
        self._observer.passed(Stage.PRODUCE)
        if beside:
            self._take_ahead(step)

    def _apply(self, step: Step, ended: Ended) -> None:
        """Repeat the committed transaction locally; only a restart can tell how far a failed one came."""
        for partition, puts in step.puts.items():
            self._edges.store.apply(
                partition, puts, Checkpoint(self._fold.app.changelog_id, ended.checkpoints[partition])
            )
        self._fold.committed(step)
        self._aborts = 0
        if not self._slow:
            self._limit = min(self._limit * 2, self._records)
        self._slow = False

    def _rewind(self, batch: Batch, ended: Ended) -> None:
        """Nothing was written: read the same records again, in smaller batches if the broker blames one of them.

        Only an error that names a record may ever refuse one; an outage is waited out.
        """
        if ended.blames_record and batch.size == 1:
            size = len(batch.values[0] or b"")
            at, offset = batch.tps[batch.tp[0]], int(batch.offset[0])
            detail = Detail(None, f"{size} bytes; the broker said: {ended.error}")
            if not self._fold.refuse(at, offset, Reason.UNPRODUCIBLE, detail):
                raise SetupError(
                    f"the broker refuses every answer to {at} offset {offset} ({ended.error}), even one without payload. "
                    "Raise max.message.bytes of the application's topics; `streams topics plan` shows what they should be"
                )
        elif ended.blames_record and batch.size:
            self._limit = max(1, batch.size // 2)
        else:
            log.warning("transaction aborted", error=ended.error, records=batch.size, aborts=self._aborts + 1)
            self._watch(self._turn_s)
            self._wait(min(BACKOFF_S[0] * 2 ** min(self._aborts, 7), BACKOFF_S[1], self._turn_s / 2))
            self._aborts += 1
        for tp in _firsts([batch]):
            # its hold began behind this batch; the records between are unanswered now, and it will be found again
            self._held.pop(tp, None)
        firsts = _firsts([batch, *self._polled_ahead()])
        self._drop_ahead()
        if not self._ahead:  # else recovery says where to go on, or nobody goes on
            self._edges.source.resume(firsts)

    def _pace(self, seconds: float) -> None:
        if seconds > SLOW_S:
            self._limit, self._slow = max(1, self._limit // 2), True
            log.warning("a batch was slow; the next ones are smaller", seconds=round(seconds, 2), records=self._limit)

    def _hold(self, rows: Rows) -> None:
        """Pause what waits for a schema; the other topic-partitions go on."""
        if rows.held:
            self._edges.source.pause(frozenset(rows.held))
            self._held |= {tp: Held(hold, self._clock()) for tp, hold in rows.held.items()}
            self._wanted |= rows.unknown

    def _retry_holds(self) -> None:
        now = self._clock()
        if not self._held or now - self._tried < HOLD_RETRY_S:
            return
        contracts = self._edges.contracts
        self._wanted |= {(tp.topic, held.hold.schema_id) for tp, held in self._held.items()}
        known = contracts.resolve(self._wanted)
        free = {tp: held.hold.offset for tp, held in self._held.items() if (tp.topic, held.hold.schema_id) in known}
        self._edges.source.resume(free)
        for tp in free:
            del self._held[tp]
        self._wanted = self._wanted - known if self._held else frozenset()
        # a hold that was just resolved may uncover the next one: that one is tried at once
        self._tried = now if self._held else -HOLD_RETRY_S
        for tp, held in self._held.items():
            alarm = log.error if now - held.since > HOLD_ALARM_S else log.warning
            at, schema_id = f"{tp} {held.hold.offset}", held.hold.schema_id
            alarm("held", at=at, schema_id=schema_id, seconds=round(now - held.since), why=contracts.trouble)
        self._observer.passed(Stage.RESOLVE)

    def _recover(self, assignment: Assignment) -> None:
        self._held, self._wanted, self._started = {}, frozenset(), False
        self._observer.assigned(assignment)
        self._fold.assigned(frozenset(tp.partition for tp in assignment.tps))
        for partition in {tp.partition for tp in self._owned} - {tp.partition for tp in assignment.tps}:
            self._edges.store.close(partition)
        self._owned = assignment.tps
        if not assignment.tps:
            return
        begun = self._clock()
        positions = recover(assignment.tps, self._edges, self._fold, self._goes_on)
        if positions is not None:
            self._suspect_from(positions)
            self._edges.source.start(positions)
            self._started = True
            self._observer.started()
            partitions = sorted({tp.partition for tp in positions})
            log.info("recovered", partitions=partitions, seconds=round(self._clock() - begun, 3))

    def _goes_on(self) -> bool:
        """Between two steps of a restore, which may take minutes: re-arm the watchdog, and say whether to take the next."""
        self._watch(self._turn_s)
        return not self._wait(0.0) and self._edges.source.keep_alive()


def _coordinates(batch: Batch) -> str:
    return ", ".join(f"{tp} {offsets[0]}..{offsets[-1]}" for tp, offsets in offsets_of(batch).items())


def _firsts(batches: Sequence[Batch]) -> dict[TP, int]:
    """Return the first offset of each topic-partition that some batches, in their order, have rows of."""
    return {tp: offsets.start for batch in reversed(batches) for tp, offsets in offsets_of(batch).items()}
