"""Where answering begins: the first offsets of a group, set once, together with the records that say so.

An offset alone would be no beginning: `verify` must know from where conservation is claimed (START), and a worker must
be able to tell an application that never ran from one whose offsets were lost (the frame).
"""

import json
from collections.abc import Mapping
from typing import NamedTuple

from streams import schemas_dir
from streams.avro.encode import encode_one
from streams.avro.registry import framed
from streams.config import Settings
from streams.errors import OffsetsError, SetupError
from streams.frames import frame_put, is_frame
from streams.kafka.admin import Admin, Found
from streams.kafka.initial import Beginning, begin
from streams.kafka.scan import scan_changes
from streams.reasons import Reason, sentence
from streams.records import TP, Block, Frame
from streams.registering import product_ids


class Reads(NamedTuple):
    """A group of workers: what it reads, where it says so, and what else it writes to."""

    group: str
    topics: tuple[str, ...]
    changelog: str
    writes: tuple[str, ...]
    starts: str | None = None
    """The topic of START records, where there are any."""


def scorer(settings: Settings) -> Reads:
    """Return what the scorer reads."""
    lanes = tuple(lane.topic for lane in settings.requests)
    counted = () if settings.labels is None else (settings.features,)
    writes = settings.results, settings.outcomes, *map(settings.dlq, lanes), *counted
    return Reads(settings.group, lanes, settings.changelog, writes, settings.outcomes)


def monitor(settings: Settings) -> list[Reads]:
    """Return what the monitor reads, and those that copy labels for it; nothing where there are no labels."""
    if settings.labels is None:
        return []
    found = [
        Reads(
            settings.monitor_group,
            (settings.results, settings.features, settings.labels_read),
            settings.monitor_changelog,
            (settings.parts, settings.tickets, settings.dlq(settings.labels_read)),
        )
    ]
    if settings.labels.rekey:
        theirs, writes = settings.labels.topic, (settings.labels_keyed, settings.dlq(settings.labels.topic))
        found.append(Reads(settings.rekey_group, (theirs,), settings.rekey_changelog, writes))
    return found


def unbegun(reads: Reads, admin: Admin, found: Mapping[str, Found]) -> list[TP]:
    """Return the source partitions that exist and have no committed offset."""
    tps = [TP(topic, number) for topic in reads.topics if topic in found for number in range(found[topic].partitions)]
    return [tp for tp, offset in admin.committed(reads.group, tps).items() if offset is None]


def begin_where_nothing_began(
    settings: Settings, reads: Reads, admin: Admin, found: Mapping[str, Found], *, from_end: bool
) -> dict[TP, int]:
    """Set the first offset of each source partition that has neither a committed one nor a frame; return what was set.

    One transaction for the whole group: offsets, frames, START records.
    Raises: SetupError: workers are running, or the outcome contract is not registered. OffsetsError: the changelog says
    that a partition was consumed, and its offset is gone. OutcomeUnknown.
    """
    if not unbegun(reads, admin, found):
        return {}
    outcome_id = product_ids(settings)["outcome"]

    def look() -> Beginning | None:
        missing = unbegun(reads, admin, found)
        if not missing:
            return None
        if not admin.group_is_empty(reads.group):
            raise SetupError(
                f"{len(missing)} partitions have no committed offset ({missing[0]}, …), and group {reads.group} has "
                "members. Stop the workers, then run `streams topics apply` again."
            )
        _refuse_lost_offsets(settings, reads, admin, missing)
        first = admin.offsets(missing, "latest" if from_end else "earliest")
        ids = {tp.topic: found[tp.topic].topic_id for tp in missing}
        frames = [
            (
                TP(reads.changelog, tp.partition),
                frame_put(tp.topic, Frame(ids[tp.topic], offset, found[reads.changelog].topic_id)),
            )
            for tp, offset in first.items()
        ]
        starts = [] if reads.starts is None else [_starts(reads.starts, outcome_id, first, ids)]
        return Beginning(first, frames, starts)

    begun = begin(settings.kafka, reads.group, f"{settings.app.id}.topics", look)
    return {} if begun is None else dict(begun.offsets)


def _refuse_lost_offsets(settings: Settings, reads: Reads, admin: Admin, missing: list[TP]) -> None:
    """Raises: OffsetsError if the changelog has a frame of a partition whose committed offset is missing."""
    logs = [TP(reads.changelog, partition) for partition in sorted({tp.partition for tp in missing})]
    starts, ends = admin.offsets(logs, "earliest"), admin.offsets(logs, "latest")
    for log, puts in scan_changes(settings.kafka, {log: (starts[log], ends[log]) for log in logs}):
        for key, _ in puts:
            tp = TP(key[1:].decode("utf-8", "replace"), log.partition)
            if is_frame(key) and tp in missing:
                raise OffsetsError(
                    f"{tp} has no committed offset in group {reads.group}, but {log} says that it was consumed. "
                    "The group's offsets were deleted or have expired. Nothing was changed: beginning anew here would "
                    "answer requests a second time. Restore the offsets, or begin a new application id."
                )


def _starts(topic: str, outcome_id: int, first: Mapping[TP, int], ids: Mapping[str, bytes]) -> Block:
    """Return one START record for each source partition, in the outcome partition of the same number."""
    schema = json.loads((schemas_dir() / "outcome.avsc").read_text("utf-8"))
    values = [
        framed(
            outcome_id,
            encode_one(
                schema,
                {
                    "kind": Reason.START.name,
                    "sentence": sentence(Reason.START),
                    "request_topic": tp.topic,
                    "request_topic_id": ids[tp.topic],
                    "request_partition": tp.partition,
                    "request_offset": offset,
                },
            ),
        )
        for tp, offset in first.items()
    ]
    return Block(topic, [tp.partition for tp in first], [None] * len(values), values)
