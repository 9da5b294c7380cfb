"""What the scorer says that models saw, as rows of windows. Room: pure.

A window's rows of this begin with:

    f + 4 bytes of the reference + cell (uint32)    how many values lie in the cell, and the sum of their positions (`models.binning`)
    n + 4 bytes of the reference                    how many scored requests were counted

So counts of one model's versions, and of a version whose package was changed behind our back, never mix. They add up like all
others: late ones, and those of several partitions and workers.
"""

import json
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from streams.avro.decode import slices
from streams.avro.schema import parse
from streams.contracts import Contract, Numbers
from streams.monitor.app import App
from streams.monitor.reading import Events, subject_key, subject_of
from streams.monitor.state import Subject, is_tally
from streams.monitor.tasks import Row
from streams.monitor.windows import WINDOW_BYTES, Rules, Window, added, window_key
from streams.packed import unpack
from streams.pipeline import Group, Rows
from streams.reasons import Reason
from streams.records import Detail

CELL, REQUESTS = b"f", b"n"
HASH_BYTES = 4
_CELL = struct.Struct(">I")


class Seen(NamedTuple):
    """What one record says."""

    row: int
    """Of the batch."""
    subject: Subject
    rows: Mapping[bytes, Row]
    fates: Mapping[str, int]
    """What became of the record, and of how many requests."""
    latest: Mapping[int, int]
    """Of partitions of requests, the latest plausible event time in milliseconds."""


def counts_contract(schema: Mapping[str, Any]) -> Contract:
    """Return how `feature_counts.avsc` is read."""
    fields = [
        {**field, "role": "request_id"} if field["name"] == "first_key" else {**field, "meta": True}
        for field in schema["fields"]
    ]
    return parse(json.dumps({**schema, "fields": fields}))


def seen(rows: Rows, read: Events, app: App, now_ms: Mapping[int, int]) -> Iterator[Seen]:
    """Yield what the records of counts say, but for those that are refused; a reason for one that cannot be read is left in `read`.

    `now_ms`: of each partition the clock; what belongs to a window that is sealed is counted as too late.
    """
    for group in rows.groups:
        tp = rows.batch.tps[int(rows.batch.tp[group.rows[0]])]
        if tp.topic != app.features:
            continue
        columns = {name: slices(group.decoded, name) for name in _TEXTS}
        for i, row in enumerate(group.rows.tolist()):
            if row in read.reason:
                continue
            partition = rows.batch.tps[int(rows.batch.tp[row])].partition
            fields = {name: column[i] for name, column in columns.items()}
            try:
                yield _one(row, fields, _numbers(group, i), app.rules, now_ms.get(partition, 0))
            except ValueError as error:
                read.reason[row], read.detail[row] = Reason.MALFORMED, Detail("counts", str(error))


_TEXTS = ("model_name", "model_version", "arm", "reference", "latest", "windows", "counts")


def _numbers(group: Group, i: int) -> tuple[int, int]:
    found = []
    for name in ("grain_ms", "implausible"):
        column = group.decoded.columns[name]
        assert isinstance(column, Numbers), f"{name} is a number"
        found.append(int(column.values[i]))
    return found[0], found[1]


def _one(row: int, fields: Mapping[str, bytes | None], numbers: tuple[int, int], rules: Rules, now_ms: int) -> Seen:
    """Raises: ValueError where the packed columns are none."""
    grain_ms, implausible = numbers
    reference = (fields["reference"] or b"")[:HASH_BYTES]
    windows, many = unpack(fields["windows"] or b"", 2)
    index, steps, n, total = unpack(fields["counts"] or b"", 4)
    cells = np.cumsum(steps)
    partitions, latest = unpack(fields["latest"] or b"", 2)
    if len(index) and not (index.min() >= 0 and index.max() < len(windows) and 0 <= cells.min() < 1 << 32):
        raise ValueError("a count is of a window or a cell that is none")
    subject = subject_of(fields["model_name"] or b"", fields["model_version"] or b"", fields["arm"])
    events = windows * grain_ms
    good = np.array([not rules.is_sealed(event, now_ms) for event in events.tolist()], np.bool_)
    begins = [window_key(Window(subject_key(subject), event // rules.grain_ms)) for event in events.tolist()]
    found: list[dict[bytes, Row]] = [
        {begins[at] + REQUESTS + reference: (int(many[at]),)} for at in np.flatnonzero(good).tolist()
    ]
    kept = good[index] if len(index) else np.zeros(0, np.bool_)
    for at, cell, count, sums in zip(*(column[kept].tolist() for column in (index, cells, n, total)), strict=True):
        found.append({begins[at] + CELL + reference + _CELL.pack(cell): (count, sums)})
    fates = Counter(
        {
            "features.counted": 1,
            "seen.counted": int(many[good].sum()),
            "seen.TOO_LATE": int(many[~good].sum()),
            "seen.implausible": implausible,
        }
    )
    return Seen(row, subject, added(found), +fates, dict(zip(partitions.tolist(), latest.tolist(), strict=True)))


def is_seen(key: bytes) -> bool:
    """Return whether a window's row, by its whole key, is of what models saw; names of the tally may begin alike."""
    return key[WINDOW_BYTES : WINDOW_BYTES + 1] in (CELL, REQUESTS) and not is_tally(key)


def cell_of(key: bytes) -> int:
    """Return the cell of a row, by its key within the window, which begins with CELL."""
    return int(_CELL.unpack_from(key, len(CELL) + HASH_BYTES)[0])
