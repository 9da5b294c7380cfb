"""Dead letters: requests whose identity could not be read, set aside untouched. Room: pure."""

from collections.abc import Mapping, Sequence

from streams.headers import dead_letter_headers
from streams.pipeline.app import Reads
from streams.pipeline.outcomes import said
from streams.reasons import Reason
from streams.records import Batch, Block, Detail, Origin

OVERHEAD_BYTES = 512
"""What a record costs beside its key, value and headers: the framing of record and batch, with room to spare."""


def fits(batch: Batch, row: int, app: Reads) -> bool:
    """Return whether the request can be set aside in full, with its headers and ours."""
    dlq = app.dlq[batch.tps[batch.tp[row]].topic]
    carried = sum(len(name) + len(value or b"") + 16 for name, value in batch.headers[row] or ())
    ours = 4 * OVERHEAD_BYTES  # our headers hold names, numbers and one sentence
    size = len(batch.keys[row] or b"") + len(batch.values[row] or b"") + carried + ours + OVERHEAD_BYTES
    return size <= app.dlq_bytes[dlq]


def dead_letters(
    batch: Batch, rows: Sequence[int], reason: Mapping[int, Reason], detail: Mapping[int, Detail], app: Reads
) -> list[Block]:
    """Return the original records, untouched, with headers that say where they lay and what is wrong.

    Args:
        batch: what was read.
        rows: those to be set aside.
        reason: of each of them.
        detail: of those that have one.
        app: the application.
    """
    blocks = []
    for topic in sorted({batch.tps[batch.tp[row]].topic for row in rows}):
        mine = [row for row in rows if batch.tps[batch.tp[row]].topic == topic]
        headers = []
        for row in mine:
            tp = batch.tps[batch.tp[row]]
            origin = Origin(topic, app.topic_ids[topic], tp.partition, int(batch.offset[row]))
            words = said(reason[row], detail.get(row, Detail())).decode()
            headers.append(list(batch.headers[row] or []) + dead_letter_headers(origin, reason[row], words))
        partitions = [batch.tps[batch.tp[row]].partition for row in mine]
        keys, values = [batch.keys[row] for row in mine], [batch.values[row] for row in mine]
        blocks.append(Block(app.dlq[topic], partitions, keys, values, headers))
    return blocks
