"""The rekeyer: the fold that copies labels to a topic that is keyed and partitioned like requests."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from streams.headers import label_headers
from streams.pipeline import Reads, Reasons, Refused, Rows, record_keys, unaccepted
from streams.pipeline.letters import dead_letters, fits
from streams.pipeline.progress import ends_of, frame_of
from streams.reasons import Reason
from streams.records import TP, Batch, Block, Detail, Headers, Lease, Origin, Step


@dataclass(frozen=True, kw_only=True)
class App(Reads):
    """What the fold must know: it reads labels as their senders key them."""

    keyed: str
    """The topic that they are copied to."""
    keyed_partitions: int


class Rekeying:
    """A `Fold` without state: each label that says whose it is goes to its request's partition; the others are set aside.

    The contracts that it reads with say what a request's key is made of (`Contract.key`); the key and the partition that a
    label came with do not matter.
    """

    def __init__(self, app: App) -> None:
        self.app = app
        self._refused = Refused()

    def begin(self, rows: Rows, after: Step | None) -> Callable[[], Step]:  # noqa: ARG002 - it is decided when it is there
        """Begin nothing: nobody else would work on it meanwhile."""
        return partial(self.decide, rows)

    def decide(self, rows: Rows) -> Step:
        """Copy what can be copied, and set aside the rest."""
        batch, app = rows.batch, self.app
        keys, reason, detail = _keys(rows, app)
        for row in range(batch.size) if self._refused else ():
            if why := self._refused.why(*_at(batch, row), Reason.NONE if row in keys else reason[row]):
                reason[row], detail[row] = why
                keys.pop(row, None)
        letters = [row for row in range(batch.size) if row not in keys]
        blocks = self._letters(batch, letters, reason, detail)
        if keys:
            blocks.append(self._copies(rows, keys))
        counts = Counter(reason[row].name for row in letters)
        fates = {f"labels.{name}": count for name, count in counts.items()}
        if keys:
            fates["labels.keyed"] = len(keys)
        ends = ends_of(batch)
        puts = {tp.partition: [frame_of(tp, offset, app)] for tp, offset in ends.items()}
        return Step(batch.lease, blocks, puts, ends, {}, counts, fates)

    def refuse(self, at: TP, offset: int, reason: Reason, detail: Detail) -> bool:
        """Set this label aside from now on; False if it was refused before."""
        return self._refused.add(at, offset, reason, detail)

    def committed(self, step: Step) -> None:
        """Forget the refusals that are committed."""
        self._refused.committed(step)

    def gap(self, tp: TP, committed: int, log_start: int, lease: Lease) -> Step:
        """Return the transaction that goes on behind what retention deleted before it was read."""
        puts = {tp.partition: [frame_of(tp, log_start, self.app)]}
        return Step(lease, [], puts, {tp: log_start}, {}, fates={f"labels.{Reason.GAP.name}": log_start - committed})

    def due(self, lease: Callable[[], Lease]) -> Step | None:
        """Return nothing: a copy has a label."""

    def assigned(self, partitions: frozenset[int]) -> None:
        """Do nothing: what was refused is refused whoever reads it."""

    def _letters(
        self, batch: Batch, rows: Sequence[int], reason: Mapping[int, Reason], detail: Mapping[int, Detail]
    ) -> list[Block]:
        """Return the dead letters; one that cannot be set aside in full leaves its coordinates."""
        keys, values, headers = list(batch.keys), list(batch.values), list(batch.headers)
        for row in rows:
            whole = fits(batch, row, self.app)
            keys[row], values[row] = (keys[row], values[row]) if whole else (None, None)
            headers[row] = [*((headers[row] or ()) if whole else ()), *self._origin(batch, row)]
        return dead_letters(batch._replace(keys=keys, values=values, headers=headers), rows, reason, detail, self.app)

    def _origin(self, batch: Batch, row: int) -> Headers:
        tp, offset = _at(batch, row)
        origin = Origin(tp.topic, self.app.topic_ids[tp.topic], tp.partition, offset)
        return label_headers(origin, int(batch.append_ms[row]))

    def _copies(self, rows: Rows, keys: Mapping[int, bytes]) -> Block:
        batch, app = rows.batch, self.app
        headers = [[*(batch.headers[row] or ()), *self._origin(batch, row)] for row in keys]
        partitions = app.partitions_of([*keys.values()], app.keyed_partitions).tolist()
        return Block(app.keyed, partitions, list(keys.values()), [batch.values[row] for row in keys], headers)


def _keys(rows: Rows, app: App) -> tuple[dict[int, bytes], Reasons, dict[int, Detail]]:
    """Return the request's key of each row that says it, in the rows' order; and why the others do not."""
    found, reason, detail = dict[int, bytes](), dict(rows.reason), dict(rows.detail)
    for group in rows.groups:
        for row, key, bad in zip(group.rows.tolist(), record_keys(group), group.decoded.bad.tolist(), strict=True):
            if bad:
                continue
            if group.reading.accepted is None:
                reason[row], detail[row] = Reason.NOT_ACCEPTED, unaccepted(group)
            elif 0 < len(key) <= app.key_bytes:
                found[row] = key
            else:
                why = f"the request's key has {len(key)} bytes, of 1 to {app.key_bytes}"
                reason[row], detail[row] = Reason.KEY_MISMATCH, Detail(None, why)
    return dict(sorted(found.items())), reason, detail


def _at(batch: Batch, row: int) -> tuple[TP, int]:
    return batch.tps[batch.tp[row]], int(batch.offset[row])
