"""How far a step comes in each topic-partition, for the group and for the changelog. Room: pure."""

from streams.frames import frame_put
from streams.pipeline.app import Reads
from streams.records import TP, Batch, Frame, Put


def frame_of(tp: TP, next_offset: int, app: Reads) -> Put:
    """Return the change that says that a topic-partition was consumed up to `next_offset`."""
    return frame_put(tp.topic, Frame(app.topic_ids[tp.topic], next_offset, app.changelog_id))


def ends_of(batch: Batch) -> dict[TP, int]:
    """Return the next offset to read of each topic-partition that the batch has rows of."""
    return {tp: offsets.stop for tp, offsets in offsets_of(batch).items()}


def offsets_of(batch: Batch) -> dict[TP, range]:
    """Return from where to where each topic-partition goes that the batch has rows of."""
    found = {}
    for i, tp in enumerate(batch.tps):
        offsets = batch.offset[batch.tp == i]
        if len(offsets):
            found[tp] = range(int(offsets.min()), int(offsets.max()) + 1)
    return found
