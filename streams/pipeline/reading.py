"""`read`: bytes to columns, identities and fingerprints, or to refusals. Room: pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from operator import itemgetter
from typing import NamedTuple, TypeAlias, cast

import numpy as np
from xxhash import xxh3_128_digest

from streams.avro.canonical import canonical
from streams.avro.decode import WHY, decode, known, slices
from streams.avro.rules import check
from streams.contracts import Contract, Decoded, Pair, Reading, Snapshot, Spans, Unreadable
from streams.dedupe import identities
from streams.pipeline.app import Reads
from streams.reasons import Reason
from streams.records import NO_APPEND_TIME, TP, Batch, Detail, Hold, Ints

Kind: TypeAlias = tuple[str, bytes | None]
"""Topic and first five bytes of a value; None for a tombstone."""
Reasons: TypeAlias = dict[int, Reason]
"""Why some rows of a batch will get no new prediction; those that are not named may still get one."""
_head = itemgetter(slice(5))
SCHEMA_ID_MAX = 2**31 - 1
"""Registries count in signed 32-bit integers."""


class Group(NamedTuple):
    """The rows of a batch that share a topic and a schema id, decoded together; only well-formed ones are named."""

    schema_id: int
    reading: Reading
    rows: Ints
    """Row of the batch of each decoded row."""
    decoded: Decoded
    request_ids: list[bytes]
    tenants: list[bytes | None] | None

    def longest(self) -> int:
        """Return how many bytes the longest request id or tenant has."""
        roles = (self.reading.writer.role("request_id"), self.reading.writer.role("tenant"))
        spans = [cast(Spans, self.decoded.columns[role.name]) for role in roles if role is not None]
        return max(int(span.length.max()) for span in spans)


class Rows(NamedTuple):
    """What was read of a batch."""

    batch: Batch
    reason: Reasons
    detail: dict[int, Detail]
    identity: list[bytes]
    """Store key of each row; b"" where it could not be read, and where key, partition or timestamp are wrong: its state
    may live elsewhere, or its age is not known, so no store is asked."""
    fingerprint: list[bytes]
    groups: tuple[Group, ...]
    held: Mapping[TP, Hold]
    """Topic-partitions whose tail waits for a schema; their held rows are not part of `batch`."""
    unknown: frozenset[Pair] = frozenset()
    """Every schema that is not known yet, of the held rows and of those behind them: they can be asked for together."""


def read(batch: Batch, snapshot: Snapshot, app: Reads) -> Rows:
    """Turn bytes into columns, identities and fingerprints, or into refusals.

    A schema id that the snapshot does not know yet holds its topic-partition from that row on: the rows before it are
    read, the others are left for later.
    """
    kinds = _by_head(batch)
    unknown = _unknown(kinds, snapshot)
    if unknown:
        held = _held(batch, kinds, unknown)
        return read(_before(batch, held), snapshot, app)._replace(held=held, unknown=frozenset(unknown.values()))
    n = batch.size
    rows = Rows(batch, {}, {}, [b""] * n, [b""] * n, (), {})
    groups = []
    for (topic, head), members in kinds.items():
        reading = _framing(topic, head, snapshot)
        assert reading is not None, "rows of unknown schemas were held"
        if isinstance(reading, Unreadable):
            for row in members:
                rows.reason[row] = reading.reason
                rows.detail[row] = Detail(reading.field, reading.value)
            continue
        group = _decoded(int.from_bytes((head or b"")[1:5], "big"), reading, members, rows)
        if group is not None:
            _identify(group, rows, app)
            groups.append(group)
    return rows._replace(groups=tuple(groups))


def _by_head(batch: Batch) -> dict[Kind, Sequence[int]]:
    """Return the rows of each kind; a range where they are all of one."""
    values, topics = batch.values, [tp.topic for tp in batch.tps]
    if len(set(topics)) == 1 and None not in values:
        found: set[bytes] = set(map(_head, cast("list[bytes]", values)))
        if len(found) == 1:
            return {(topics[0], found.pop()): range(len(values))}
    heads = [None if value is None else value[:5] for value in values]
    kinds: dict[Kind, list[int]] = {}
    for row, (tp, head) in enumerate(zip(batch.tp.tolist(), heads, strict=True)):
        kinds.setdefault((topics[tp], head), []).append(row)
    return dict(kinds)


def _framing(topic: str, head: bytes | None, snapshot: Snapshot) -> Reading | Unreadable | None:
    """Return how to read the values that begin with `head`; None where the snapshot does not know the id yet."""
    if head is None:
        return Unreadable(Reason.TOMBSTONE)
    if head == b"":
        return Unreadable(Reason.EMPTY)
    if head[0] == 3:
        return Unreadable(Reason.GLUE_FRAMED)
    if head[0] != 0 or len(head) < 5:
        return Unreadable(Reason.NOT_FRAMED)
    schema_id = int.from_bytes(head[1:5], "big")
    if schema_id > SCHEMA_ID_MAX:  # no registry can have it, and some answer such a question as if it were none at all
        return Unreadable(Reason.UNKNOWN_SCHEMA, None, str(schema_id))
    return snapshot.get((topic, schema_id))


def _unknown(kinds: Iterable[Kind], snapshot: Snapshot) -> dict[Kind, Pair]:
    """Return which kinds have a schema that the snapshot does not know yet, and which it is."""
    return {
        (topic, head): (topic, int.from_bytes((head or b"")[1:5], "big"))
        for topic, head in kinds
        if _framing(topic, head, snapshot) is None
    }


def _held(batch: Batch, kinds: Mapping[Kind, Sequence[int]], unknown: Mapping[Kind, Pair]) -> dict[TP, Hold]:
    """Return the first row of each topic-partition that must wait."""
    held: dict[TP, Hold] = {}
    for kind, (_, schema_id) in unknown.items():
        for row in kinds[kind]:
            tp, offset = batch.tps[batch.tp[row]], int(batch.offset[row])
            if tp not in held or offset < held[tp].offset:
                held[tp] = Hold(offset, "schema id not known yet", schema_id)
    return held


def _before(batch: Batch, held: Mapping[TP, Hold]) -> Batch:
    """Return the batch without the held tails."""
    end = np.array([held[tp].offset if tp in held else np.iinfo(np.int64).max for tp in batch.tps])
    return select(batch, np.flatnonzero(batch.offset < end[batch.tp]))


def select(batch: Batch, rows: Ints) -> Batch:
    """Return the named rows of a batch, in their order."""
    picked = rows.tolist()
    return batch._replace(
        tp=batch.tp[rows],
        offset=batch.offset[rows],
        append_ms=batch.append_ms[rows],
        keys=[batch.keys[row] for row in picked],
        values=[batch.values[row] for row in picked],
        headers=[batch.headers[row] for row in picked],
    )


def by_partition(batch: Batch) -> Iterator[tuple[int, list[int]]]:
    """Yield each partition and its rows, in their order: partition i of every lane is one, and has one state."""
    partitions = np.array([tp.partition for tp in batch.tps])[batch.tp]
    for partition in np.unique(partitions).tolist():
        yield partition, np.flatnonzero(partitions == partition).tolist()


def _decoded(schema_id: int, reading: Reading, members: Sequence[int], rows: Rows) -> Group | None:
    """Decode the members; refuse the malformed ones, and keep the others if their identity can be read."""
    values = rows.batch.values if isinstance(members, range) else [rows.batch.values[row] for row in members]
    decoded = decode(reading.writer, cast("Sequence[bytes]", values))  # only values have a schema id
    for bad in np.flatnonzero(decoded.bad).tolist():
        field = int(decoded.bad_field[bad])
        name = reading.writer.fields[field].name if field < len(reading.writer.fields) else "(after the last)"
        rows.reason[members[bad]] = Reason.MALFORMED
        rows.detail[members[bad]] = Detail(name, WHY[decoded.bad_why[bad]], int(decoded.bad_at[bad]))
    role = reading.writer.role("request_id")
    if role is None:
        why = "it does not say which field is the request id"
        for row, bad in zip(members, decoded.bad.tolist(), strict=True):
            if not bad:
                rows.reason[row], rows.detail[row] = Reason.NOT_ACCEPTED, Detail(None, why)
        return None
    tenant = reading.writer.role("tenant")
    return Group(
        schema_id,
        reading,
        np.asarray(members, dtype=np.int64),
        decoded,
        known(decoded, role.name),
        slices(decoded, tenant.name) if tenant else None,
    )


def _identify(group: Group, rows: Rows, app: Reads) -> None:
    """Fill in identity and fingerprint of the group's good rows, or the reason why they are refused."""
    good = _placed(group, rows, app)
    if len(good) == 0:
        return
    writer, accepted = group.reading.writer, group.reading.accepted
    judged = accepted or writer
    inputs = [i for i, field in enumerate(writer.fields) if field.is_input and judged.field(field.name) is not None]
    seed = int.from_bytes(judged.fingerprint[:8], "big")
    tenants, request_ids, chunks = group.tenants, group.request_ids, canonical(group.decoded, inputs)
    if len(good) < len(group.rows):
        index = good.tolist()
        tenants = None if tenants is None else [tenants[i] for i in index]
        request_ids, chunks = [request_ids[i] for i in index], [chunks[i] for i in index]
    keys = identities(app.salt, tenants, request_ids)
    fingerprints = map(xxh3_128_digest, chunks, repeat(seed))
    members = group.rows[good].tolist()
    if len(members) == rows.batch.size:
        rows.identity[:], rows.fingerprint[:] = keys, fingerprints
    else:
        for row, key, fingerprint in zip(members, keys, fingerprints, strict=True):
            rows.identity[row], rows.fingerprint[row] = key, fingerprint
    _judge(group, accepted, members, rows)


def _placed(group: Group, rows: Rows, app: Reads) -> Ints:
    """Return the good rows whose key, partition and timestamp are right; refuse the others."""
    batch, members = rows.batch, group.rows.tolist()
    good = ~group.decoded.bad
    expected = record_keys(group)
    keys = batch.keys if len(members) == batch.size else [batch.keys[row] for row in members]
    longest = group.longest() if expected is group.request_ids else max(group.longest(), max(map(len, expected)))
    wrong, same = np.zeros(len(members), dtype=bool), keys == expected
    if not same or b"" in expected or longest > app.key_bytes:
        for i in np.flatnonzero(good).tolist():
            why = _wrong_key(group, i, expected[i], keys[i], app.key_bytes)
            if why:
                wrong[i] = True
                rows.reason[members[i]], rows.detail[members[i]] = Reason.KEY_MISMATCH, Detail(None, why)
    partition = np.array([tp.partition for tp in batch.tps])[batch.tp[group.rows]]
    owner = app.partitions_of(expected if same else [key or b"" for key in keys], app.partitions)
    elsewhere = good & ~wrong & (owner != partition)
    for i in np.flatnonzero(elsewhere).tolist():
        rows.reason[members[i]], rows.detail[members[i]] = Reason.MISPARTITIONED, Detail(None, str(owner[i]))
    ageless = good & ~wrong & ~elsewhere & (batch.append_ms[group.rows] == NO_APPEND_TIME)
    for i in np.flatnonzero(ageless).tolist():
        rows.reason[members[i]] = Reason.NO_APPEND_TIME
    return np.flatnonzero(good & ~wrong & ~elsewhere & ~ageless)


def _judge(group: Group, accepted: Contract | None, members: list[int], rows: Rows) -> None:
    """Refuse the placed rows that the model does not accept or whose values break the contract's rules."""
    if accepted is None:
        for row in members:
            rows.reason[row], rows.detail[row] = Reason.NOT_ACCEPTED, unaccepted(group)
        return
    for i, detail in check(accepted, group.decoded).items():
        row = int(group.rows[i])
        if rows.identity[row]:
            rows.reason[row], rows.detail[row] = Reason.OUT_OF_CONTRACT, detail


def unaccepted(group: Group) -> Detail:
    """Return which contract it is that is not accepted."""
    return Detail(None, f"{group.reading.writer.name}, schema id {group.schema_id}")


def record_keys(group: Group) -> list[bytes]:
    """Return the record key that the writer's contract makes of each decoded row."""
    writer = group.reading.writer
    role = writer.role("request_id")
    if role is not None and writer.key in ((), (role.name,)):
        return group.request_ids
    parts = [known(group.decoded, name) for name in writer.key]
    return [b":".join(values) for values in zip(*parts, strict=True)]


def _wrong_key(group: Group, i: int, expected: bytes, key: bytes | None, limit: int) -> str:
    """Return what is wrong with a row's key, or nothing."""
    if not key:
        return "it is missing" if expected else "the request id is empty"
    tenant = (group.tenants[i] if group.tenants is not None else None) or b""
    for what, found in (("the request id", group.request_ids[i]), ("the tenant", tenant), ("it", key)):
        if len(found) > limit:
            return f"{what} has {len(found)} bytes, and {limit} are allowed"
    return "" if key == expected else f"expected {_short(expected)}, found {_short(key)}"


def _short(value: bytes, limit: int = 60) -> str:
    text = value.decode("utf-8", "backslashreplace")
    return text if len(text) <= limit else text[:limit] + "…"
