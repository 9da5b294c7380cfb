"""Recovery: the only way into the loop, at start and on every assignment.

Committed offsets, the changelog and the local state each tell how far this partition came. They agree, or can be made
to agree by reading the changelog; or a person must decide, and nothing is read.
"""

from collections.abc import Callable, Mapping

import structlog

from streams.errors import OffsetsError, OutcomeUnknown, SetupError, Unreachable
from streams.frames import FRAME, parse_frame
from streams.headers import topic_id_text
from streams.pipeline import Fold, Reads
from streams.ports import Edges, Store
from streams.records import TP, Checkpoint, Frame, Outcome

log = structlog.get_logger()

STILL_CHUNKS = 250
"""So many empty chunks in a row, a tenth of a second each: no transaction of ours can be open that long."""


def recover(tps: frozenset[TP], edges: Edges, fold: Fold, goes_on: Callable[[], bool]) -> dict[TP, int] | None:
    """Return where to go on in each partition that was just assigned.

    Committed offsets are read first, and that waits for pending transactions; then the changelog's end, open
    transactions included; then the state is restored up to there; then the changelog's frames must agree with the
    committed offsets; where they do not because those have moved on meanwhile, it is all done again. Requests that
    retention deleted before they were read become one GAP record.

    Args:
        tps: the assignment.
        edges: the ports.
        fold: what is made of what is read.
        goes_on: asked between two steps; False if ownership changed, or the worker is asked to stop.
    Returns: None if it does not go on.
    Raises: OffsetsError where a person must decide; SetupError where the group assigns lanes apart.
    """
    app = fold.app
    _together(tps, app)
    _same_topics(edges.source.topic_ids(), app)
    if edges.changelog.topic_id() != app.changelog_id:
        raise _forgotten("it was deleted and created again while this worker ran")
    partitions = sorted({tp.partition for tp in tps})
    while True:
        committed = edges.source.committed(tps)
        logs = edges.changelog.bounds(partitions)
        for partition, bounds in logs.items():
            if not _restore(partition, bounds, edges, app.changelog_id, goes_on):
                return None
        try:
            positions = {
                tp: _agreed(tp, committed[tp], _frame(edges.store, tp), logs[tp.partition][0], app)
                for tp in sorted(tps)
            }
            break
        except OffsetsError:
            # a worker that was frozen here may have been replaced, and its successor has gone on: no reason to stop
            if not goes_on():
                return None
            if edges.source.committed(tps) == committed:
                raise
    for tp, (start, end) in edges.source.bounds(tps).items():
        if positions[tp] > end:
            raise OffsetsError(
                f"OFFSETS_WENT_FORWARD: {tp} is committed at {positions[tp]}, but the log ends at {end}. Requests were lost "
                "with the log's tail, or the group's offsets were moved by hand. Nothing was read. `streams verify` says what is "
                "answered; restore the offsets, or begin a new application id"
            )
        if positions[tp] < start:
            if not goes_on():
                return None
            _record_gap(tp, positions[tp], start, edges, fold)
            positions[tp] = start
    return positions


def _together(tps: frozenset[TP], app: Reads) -> None:
    """Partition i of every lane shares one store, so one worker must own them all; and there is a store for each."""
    added = sorted(tp for tp in tps if tp.partition >= app.partitions)
    if added:
        raise SetupError(
            f"{added[0]} was assigned, but the application has {app.partitions} partitions: somebody added some. Producers send "
            "keys elsewhere since then, and state does not move with them; what they sent to another partition is refused. "
            "Partition counts are frozen: begin a new app.id with new request topics"
        )
    for partition in {tp.partition for tp in tps}:
        missing = sorted(set(app.topic_ids) - {tp.topic for tp in tps if tp.partition == partition})
        if missing:
            raise SetupError(
                f"partition {partition} of {', '.join(missing)} was assigned to another worker than the other lanes'. Do all "
                "workers have the same [[requests]], and all request topics the same number of partitions?"
            )


def _same_topics(found: Mapping[str, bytes], app: Reads) -> None:
    for topic, topic_id in app.topic_ids.items():
        if found[topic] != topic_id:
            raise _recreated(topic, topic_id, found[topic])


def _recreated(topic: str, was: bytes, now: bytes) -> OffsetsError:
    return OffsetsError(
        f"TOPIC_RECREATED: {topic} had the id {topic_id_text(was)} and now has {topic_id_text(now)}: it was deleted and created "
        "again, so the committed offsets mean nothing. Nothing was read. Start over under a new app.id"
    )


def _forgotten(why: str) -> OffsetsError:
    return OffsetsError(
        f"CHANGELOG_RECREATED: the changelog is not the one that the state is a fold of: {why}. What was answered before is not "
        "known any more: going on would score repeats a second time. Nothing was read. Stop all workers, and start over under a "
        "new app.id"
    )


def _restore(
    partition: int, bounds: tuple[int, int], edges: Edges, changelog_id: bytes, goes_on: Callable[[], bool]
) -> bool:
    """Bring the local state up to the changelog's end; False if it does not go on."""
    start, end = bounds
    checkpoint = edges.store.open(partition)
    if checkpoint and checkpoint.topic_id == changelog_id and start <= checkpoint.offset + 1 <= end:
        begin = checkpoint.offset + 1
    else:
        if checkpoint:
            log.warning("local state does not belong to this changelog; restoring in full", partition=partition)
        edges.store.forget(partition)
        begin = start
    edges.observer.restoring(partition, begin, end)
    still, reached = 0, begin
    for puts, position in edges.changelog.read(partition, begin, end):
        still, reached = (0, position) if position > reached else (still + 1, reached)
        if still > STILL_CHUNKS:
            raise Unreachable(
                f"the restore of partition {partition} stands still at {position} of {end}: a transaction hangs in the "
                "changelog. It is tried again; `kafka-transactions.sh find-hanging` names it"
            )
        edges.store.apply(partition, puts, Checkpoint(changelog_id, position - 1))
        edges.observer.restoring(partition, position, end)
        if not goes_on():
            return False
    return True


def _record_gap(tp: TP, committed: int, log_start: int, edges: Edges, fold: Fold) -> None:
    """Answer, with one record, what retention deleted before it was read."""
    step = fold.gap(tp, committed, log_start, edges.source.lease())
    ended = edges.sink.transact(step)
    edges.observer.transacted(step, ended.outcome)
    if ended.outcome is not Outcome.COMMITTED:
        raise OutcomeUnknown(f"the GAP record of {tp} was not committed ({ended.error}); restart and recover")
    log.error("offsets deleted before they were read", at=str(tp), first=committed, until=log_start)
    for partition, puts in step.puts.items():
        edges.store.apply(partition, puts, Checkpoint(fold.app.changelog_id, ended.checkpoints[partition]))


def _frame(store: Store, tp: TP) -> Frame | None:
    key = FRAME + tp.topic.encode()
    (value,) = store.get(tp.partition, [key])
    return None if value is None else parse_frame((key, value))[1]


def _agreed(tp: TP, committed: int | None, frame: Frame | None, log_start: int, app: Reads) -> int:
    """Return the position on which the group's committed offset and the changelog's frame agree.

    A frame may be gone because retention took it; a log that still has its beginning, and no frame, is another log.
    """
    if frame is not None and frame.log_id != app.changelog_id:
        raise _forgotten("a worker that was there before has gone on writing to it")
    if frame is not None and frame.topic_id != app.topic_ids[tp.topic]:
        raise _recreated(tp.topic, frame.topic_id, app.topic_ids[tp.topic])
    if committed is None:
        raise OffsetsError(
            f"NO_COMMITTED_OFFSET: the group has no offset for {tp}. Run `streams topics apply` once before the first worker; "
            "if this application has run before, its offsets expired: decide with `streams verify` where to go on"
        )
    if frame is None and log_start == 0:
        raise _forgotten(f"the group committed {committed} for {tp}, and it has no frame, although it begins at 0")
    if frame is None:
        return committed
    if frame.next_offset != committed:
        moved = "BACK" if committed < frame.next_offset else "FORWARD"
        raise OffsetsError(
            f"OFFSETS_WENT_{moved}: the group committed {committed} for {tp}, but the last transaction ended at "
            f"{frame.next_offset}. Somebody moved the offsets: going on would {'repeat' if moved == 'BACK' else 'skip'} requests. "
            "Nothing was read. Stop all workers, and put them back with Kafka's own tool: kafka-consumer-groups.sh "
            f"--bootstrap-server ADDRESS --group {app.group} --topic {tp.topic}:{tp.partition} --reset-offsets --to-offset "
            f"{frame.next_offset} --execute"
        )
    return committed
