"""The monitor: the fold that joins labels with predictions, and counts."""

from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from streams.errors import SetupError
from streams.frames import FRAME, parse_frame
from streams.monitor.app import App
from streams.monitor.desk import HOME, Desk
from streams.monitor.features import Seen, seen
from streams.monitor.joining import join, when
from streams.monitor.labels import decode, encode
from streams.monitor.publishing import STEP_BYTES, Timetable, parts, sizes
from streams.monitor.reading import Event, Events, events, subject_key
from streams.monitor.state import (
    CHANGED,
    CLOCK,
    PUBLISHED,
    ROW,
    RULES,
    SEEN_MORE,
    SUBJECT,
    TALLY,
    TICKET,
    WATERMARK,
    decode_clock,
    decode_published,
    decode_row,
    decode_subject,
    decode_watermark,
    encode_clock,
    encode_published,
    encode_row,
    encode_rules,
    encode_subject,
    encode_watermark,
    free_key,
    is_tally,
    other_rules,
    tally,
    watermark_key,
)
from streams.monitor.sweeping import Changes, Sweep, free_ms, with_changes
from streams.monitor.tasks import Row
from streams.monitor.ticket import Ticket, of_record
from streams.monitor.windows import WINDOW_BYTES, added, parse_window
from streams.pipeline import Refused, Rows
from streams.pipeline.letters import dead_letters, fits
from streams.pipeline.progress import ends_of, frame_of
from streams.ports import Observer, Stage, Store
from streams.reasons import Reason
from streams.records import TP, Block, Detail, Lease, Step

REST_S = 5.0
"""When nothing was read for so long, everything that has changed is published."""
FREED = 100
"""So many identities more than twice those of the batch are freed in one step, so that what is due does not pile up."""


class Told(NamedTuple):
    """What every part says of its partition."""

    watermarks: Mapping[bytes, bytes]
    """As the state has them once the changes are made."""
    behind: set[bytes]
    """The windows of which more was seen than was published before this step."""


class Monitoring:
    """A `Fold`: joins, counts and publishes.

    Args:
        app: what the pure functions must know.
        store: the state; it is only asked.
        observer: told which stage has ended.
        clock: monotonic seconds; decides only how often a window is published, never what is counted.
        desk: decides about tickets.
    """

    def __init__(self, app: App, store: Store, observer: Observer, clock: Callable[[], float], desk: Desk) -> None:
        self.app, self._store, self._observer, self._clock, self._desk = app, store, observer, clock, desk
        self._partitions: frozenset[int] = frozenset()
        self._known: set[int] = set()
        """The partitions whose changed windows were asked for."""
        self._timetable = Timetable()
        self._published: list[tuple[int, bytes]] = []
        """What the last step publishes; it is published when the step is committed."""
        self._changed: dict[int, dict[bytes, int]] = {}
        self._behind: dict[int, set[bytes]] = {}
        """Of each partition, the windows of which more was counted of what models saw than is published."""
        self._refused = Refused()
        self._read_at = clock()
        """When anything was read."""
        self._sweep = Sweep(store, app.rules)

    def begin(self, rows: Rows, after: Step | None) -> Callable[[], Step]:  # noqa: ARG002 - it is decided when it is there
        """Begin nothing: nobody else would work on it meanwhile."""
        return partial(self.decide, rows)

    def decide(self, rows: Rows) -> Step:
        """Join what was read with what is known, and count."""
        self._ask()
        self._read_at = self._clock()
        batch, read = rows.batch, self._refuse(events(rows, self.app), rows)
        partitions = [tp.partition for tp in batch.tps]
        mine: dict[int, list[Event]] = defaultdict(list)
        for event in read.events:
            if event.row not in read.reason:
                mine[partitions[batch.tp[event.row]]].append(event)
        fates: dict[int, Counter[str]] = defaultdict(Counter)
        changes: dict[int, Changes] = defaultdict(dict)
        self._see(rows, read, fates, changes)
        letters = []
        for row, reason in sorted(read.reason.items()):
            tp = batch.tps[batch.tp[row]]
            fates[tp.partition][f"{self._what(tp.topic)}.{reason.name}"] += 1
            if tp.topic == self.app.labels and reason is not Reason.UNPRODUCIBLE and fits(batch, row, self.app):
                letters.append(row)
        appended = batch.append_ms.tolist()
        for partition, found in mine.items():
            self._join(partition, found, appended, fates[partition], changes[partition])
        for partition, counts in fates.items():
            self._count(partition, tally(counts), changes[partition])
        blocks = dead_letters(batch, letters, read.reason, read.detail, self.app)
        became = sum(fates.values(), Counter[str]())
        letter_counts = Counter(read.reason[row].name for row in letters)
        return self._step(batch.lease, blocks, changes, ends_of(batch), became, letter_counts, self._tickets())

    def refuse(self, at: TP, offset: int, reason: Reason, detail: Detail) -> bool:
        """Count this record as one that cannot be set aside; False if it was refused before."""
        return self._refused.add(at, offset, reason, detail)

    def committed(self, step: Step) -> None:
        """Note what was published, and what has changed."""
        now = self._clock()
        for at in self._published:
            self._timetable.published(at, now)
            self._behind.get(at[0], set()).discard(at[1])
        for partition, windows in self._changed.items():
            self._timetable.changed(partition, windows)
            self._behind.setdefault(partition, set()).update(at for at, kind in windows.items() if kind == SEEN_MORE)
        self._refused.committed(step)
        self._observer.waiting(len(self._timetable))

    def gap(self, tp: TP, committed: int, log_start: int, lease: Lease) -> Step:
        """Return the transaction that counts what retention deleted before it was read."""
        self._check(tp.partition)
        what = self._what(tp.topic)
        changes: dict[int, Changes] = {tp.partition: {}}
        fates = {f"{what}.{Reason.GAP.name}": log_start - committed}
        self._count(tp.partition, tally(fates), changes[tp.partition])
        changes[tp.partition][RULES] = encode_rules(self.app.rules)
        puts = [*changes[tp.partition].items()]
        puts.append(frame_of(tp, log_start, self.app))
        return Step(lease, [], {tp.partition: puts}, {tp: log_start}, {}, fates=fates)

    def due(self, lease: Callable[[], Lease]) -> Step | None:
        """Return the transaction that publishes what is due."""
        self._ask()
        tickets = self._tickets()
        if self._clock() - self._read_at >= REST_S:
            self._timetable.rest()
        if not tickets and not self._timetable.due(self._clock()):
            return None
        return self._step(lease(), [], {}, {}, {}, {}, tickets)

    def assigned(self, partitions: frozenset[int]) -> None:
        """Forget which windows have changed: the state says it."""
        self._partitions, self._known, self._timetable, self._behind = partitions, set(), Timetable(), {}
        self._sweep.assigned()
        self._observer.waiting(0)
        if HOME in partitions:
            self._desk.open()
        else:
            self._desk.close()

    def _tickets(self) -> list[Ticket]:
        """Return the tickets that are due; only who owns their partition decides about any."""
        if HOME not in self._partitions or not self._desk.ready():
            return []
        known = [of_record(self.app.ticket_reader.read(value, skip=5)) for _, value in self._store.scan(HOME, TICKET)]
        return self._desk.due({ticket.id: ticket for ticket in known})

    def _written(self, tickets: Sequence[Ticket], changes: Changes) -> Block:
        """Return the records of some tickets, and remember them."""
        values = [self.app.ticket.write(ticket.as_record()) for ticket in tickets]
        changes |= {TICKET + ticket.id.encode(): value for ticket, value in zip(tickets, values, strict=True)}
        return Block(self.app.tickets, [0] * len(values), [ticket.id.encode() for ticket in tickets], values)

    def _refuse(self, read: Events, rows: Rows) -> Events:
        batch = rows.batch
        for row in range(batch.size) if self._refused else ():
            if why := self._refused.why(
                batch.tps[batch.tp[row]], int(batch.offset[row]), read.reason.get(row, Reason.NONE)
            ):
                read.reason[row], read.detail[row] = why
        return read

    def _what(self, topic: str) -> str:
        """Return what the tally calls the records of a topic."""
        return {self.app.labels: "labels", self.app.features: "features"}.get(topic, "results")

    def _see(self, rows: Rows, read: Events, fates: dict[int, Counter[str]], changes: dict[int, Changes]) -> None:
        """Count what models saw."""
        tps = rows.batch.tps
        partitions = {tp.partition for tp in tps if tp.topic == self.app.features}
        clocks = {partition: decode_clock(self._store.get(partition, [CLOCK])[0]) for partition in partitions}
        found: dict[int, list[Seen]] = defaultdict(list)
        for one in seen(rows, read, self.app, clocks):
            found[tps[rows.batch.tp[one.row]].partition].append(one)
        for partition, mine in found.items():
            for one in mine:
                fates[partition].update(one.fates)
                changes[partition][SUBJECT + subject_key(one.subject)] = encode_subject(one.subject)
            in_time = self._in_time(partition, mine)
            self._count(partition, added(one.rows for one in mine), changes[partition], in_time)
            self._watermarks(partition, mine, changes[partition])

    def _in_time(self, partition: int, found: Sequence[Seen]) -> set[bytes]:
        """Return the windows that event time had not passed where their requests come from: they are published before anybody is
        told that it has. What is late is published when it is due, and revises; it must not hold up those after it.
        """
        marks, grain_ms, windows = dict(self._store.scan(partition, WATERMARK)), self.app.rules.grain_ms, set[bytes]()
        for one in found:
            before = [decode_watermark(marks.get(watermark_key(source))) for source in one.latest]
            passed_ms = min((at for at in before if at is not None), default=None) if None not in before else None
            every = {key[:WINDOW_BYTES] for key in one.rows}
            windows |= {
                at for at in every if passed_ms is None or (parse_window(at)[0].number + 1) * grain_ms > passed_ms
            }
        return windows

    def _watermarks(self, partition: int, found: Sequence[Seen], changes: Changes) -> None:
        latest: dict[int, int] = {}
        for one in found:
            for source, event_ms in one.latest.items():
                latest[source] = max(event_ms, latest.get(source, event_ms))
        keys = [watermark_key(source) for source in latest]
        for key, event_ms, value in zip(keys, latest.values(), self._store.get(partition, keys), strict=True):
            was = decode_watermark(value)
            if was is None or event_ms > was:
                changes[key] = encode_watermark(event_ms)

    def _join(
        self,
        partition: int,
        found: Sequence[Event],
        append_ms: Sequence[int],
        fates: Counter[str],
        changes: Changes,
    ) -> None:
        """Add what a partition's events change of its state; count their fates."""
        identities, rules = list({event.identity for event in found}), self.app.rules
        clock, *values = self._store.get(partition, [CLOCK, *identities])
        was_ms, now_ms = decode_clock(clock), max(append_ms[event.row] for event in found)
        known = {key: decode(value) for key, value in zip(identities, values, strict=True) if value is not None}
        self._observer.passed(Stage.LOOKUP)
        times = [when(event.said, append_ms[event.row], was_ms, rules) for event in found]
        joined = join(
            [(event.identity, event.said, time) for event, time in zip(found, times, strict=True)], known, rules
        )
        for event, fate in zip(found, joined.fates, strict=True):
            fates[f"{'labels' if event.subject is None else 'results'}.{fate}"] += 1
        changes |= {identity: encode(after) for identity, after in joined.known.items()}
        for subject in {event.subject for event in found if event.subject is not None}:
            changes[SUBJECT + subject_key(subject)] = encode_subject(subject)
        self._count(partition, joined.rows, changes)
        if rules.retention_ms is not None:
            for identity, after in joined.known.items():
                before = known.get(identity)
                if before is None or before.prediction != after.prediction:
                    changes[free_key(free_ms(after, now_ms, rules), identity)] = b"\1"
            if encode_clock(now_ms) > encode_clock(was_ms):
                changes[CLOCK] = encode_clock(now_ms)
            clock_ms = decode_clock(encode_clock(max(now_ms, was_ms)))
            self._sweep.free(partition, clock_ms, 2 * len(found) + FREED, changes, fates)
        self._observer.passed(Stage.PLAN)

    def _count(
        self, partition: int, rows: Mapping[bytes, Row], changes: Changes, in_time: Container[bytes] = ()
    ) -> None:
        """Add to rows of the state, and mark their windows as changed; or as SEEN_MORE, where rows are what was seen in time."""
        keys = [ROW + key for key in rows]
        for key, row, value in zip(
            keys, rows.values(), with_changes(self._store, partition, keys, changes), strict=True
        ):
            changes[key] = encode_row(row if value is None else tuple(map(int.__add__, decode_row(value), row)))
        kinds: dict[bytes, int] = {}
        for key in rows:
            window = key[:WINDOW_BYTES]
            mark, kind = PUBLISHED + window, SEEN_MORE if window in in_time else CHANGED
            kinds[mark] = max(kind, kinds.get(mark, kind))
        for (key, kind), value in zip(
            kinds.items(), with_changes(self._store, partition, [*kinds], changes), strict=True
        ):
            published = decode_published(value)
            if published.dirty < kind:
                changes[key] = encode_published(published._replace(dirty=kind))

    def _step(
        self,
        lease: Lease,
        blocks: list[Block],
        changes: dict[int, Changes],
        ends: Mapping[TP, int],
        fates: Mapping[str, int],
        letters: Mapping[str, int],
        tickets: Sequence[Ticket],
    ) -> Step:
        """Return the transaction of some changes, with the windows and tickets that are due."""
        if tickets:
            blocks.append(self._written(tickets, changes.setdefault(HOME, {})))
        self._published, published = [], 0
        told: dict[int, Told] = {}
        for partition, window in self._timetable.due(self._clock()):
            if published > STEP_BYTES:
                break
            mine = changes.setdefault(partition, {})
            if partition not in told:
                told[partition] = self._told(partition, mine)
            block = self._publish(partition, window, mine, told[partition])
            blocks.append(block)
            published += sizes(block)
            self._published.append((partition, window))
        for mine in changes.values():  # every time: a changelog with a retention forgets what is written once
            mine[RULES] = encode_rules(self.app.rules)
        self._changed = {partition: _dirty(mine.items()) for partition, mine in changes.items()}
        read = {tp.partition for tp in ends}
        ends = {**self._stood([partition for partition in changes if partition not in read]), **ends}
        puts = {partition: [*mine.items()] for partition, mine in changes.items()}
        for tp, offset in ends.items():
            puts[tp.partition].append(frame_of(tp, offset, self.app))
        self._observer.passed(Stage.SETTLE)
        return Step(lease, blocks, puts, ends, {}, letters, fates)

    def _told(self, partition: int, changes: Changes) -> Told:
        """Return what every part of this step says of its partition."""
        marks = dict(self._store.scan(partition, WATERMARK))
        marks |= {key: value for key, value in changes.items() if key[:1] == WATERMARK}
        more = {at for at, kind in _dirty(changes.items()).items() if kind == SEEN_MORE}
        return Told(marks, self._behind.get(partition, set()) | more)

    def _publish(self, partition: int, window: bytes, changes: Changes, told: Told) -> Block:
        """Return a window's parts, as it is once the changes are made, and mark it as published."""
        begin = ROW + window
        rows = dict(self._store.scan(partition, begin))
        rows |= {key: value for key, value in changes.items() if key.startswith(begin)}
        mark, name = PUBLISHED + window, SUBJECT + window[: len(TALLY)]
        before, subject = with_changes(self._store, partition, [mark, name], changes)
        within = sorted((key[len(begin) :], value) for key, value in rows.items())
        names = None if is_tally(window) or subject is None else decode_subject(subject)
        behind = told.behind - {at for where, at in self._published if where == partition} - {window}
        oldest = min((parse_window(at)[0].number for at in behind), default=None)  # the last part has the last word
        block, now = parts(
            window, partition, within, names, decode_published(before), told.watermarks, oldest, self.app
        )
        changes[mark] = encode_published(now)
        return block

    def _stood(self, partitions: Sequence[int]) -> dict[TP, int]:
        """Return how far the topics of partitions of which nothing was read now were read before; a transaction of a worker
        that was replaced fails by the offsets that it has.
        """
        stood = {}
        for partition in partitions:
            topics = sorted(self.app.topic_ids)
            values = self._store.get(partition, [FRAME + topic.encode() for topic in topics])
            for topic, value in zip(topics, values, strict=True):
                if value is not None:
                    stood[TP(topic, partition)] = parse_frame((FRAME + topic.encode(), value))[1].next_offset
        return stood

    def _check(self, partition: int) -> None:
        (value,) = self._store.get(partition, [RULES])
        if why := other_rules(value, self.app.rules):
            app = self.app
            raise SetupError(
                f"what is in {app.changelog}[{partition}] was counted by other rules: {why}. Set it back, on all hosts; or have "
                f"all that the topics still hold counted anew: stop every monitor, delete the topics {app.changelog} and "
                f"{app.parts} and the group {app.group}, and run `streams topics apply`"
            )

    def _ask(self) -> None:
        """Ask the state of partitions that were just restored which windows have changed since they were published.

        Raises: SetupError if it was counted by other rules.
        """
        for partition in self._partitions - self._known:
            self._check(partition)
            found = _dirty(self._store.scan(partition, PUBLISHED))
            self._timetable.changed(partition, found)
            self._behind[partition] = {window for window, kind in found.items() if kind == SEEN_MORE}
            self._known.add(partition)
            self._observer.waiting(len(self._timetable))


def _dirty(state: Iterable[tuple[bytes, bytes]]) -> dict[bytes, int]:
    """Return the windows that have changed since they were published, and how."""
    stands = ((key[1:], decode_published(value).dirty) for key, value in state if key[:1] == PUBLISHED)
    return {window: dirty for window, dirty in stands if dirty}
