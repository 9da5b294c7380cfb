"""What a scored request is answered, and what the state remembers of it. Room: pure."""

from itertools import chain
from typing import NamedTuple

import numpy as np

from streams.avro.encode import Constant, Doubles, Longs, Slices, Values
from streams.dedupe import First, heads
from streams.pipeline.app import App
from streams.pipeline.columns import constants, event_ms, text
from streams.pipeline.planning import Plan
from streams.pipeline.reading import Group
from streams.ports import Model
from streams.records import LIVE, TP, Batch, Floats, Ints, Origin


class Answers(NamedTuple):
    """What some rows of one partition are answered, in row order: an identity may be answered twice in one batch."""

    rows: list[int]
    values: list[bytes]
    """Encoded results."""
    states: list[bytes]
    """What the state remembers of each."""


def results(plan: Plan, scores: Floats, model: Model, app: App) -> dict[int, Answers]:
    """Return the answers of all scored rows, by partition."""
    batch, begin = plan.rows.batch, 0
    blocks: dict[int, list[Answers]] = {}
    for group, index in zip(plan.rows.groups, plan.to_score, strict=True):
        rows, mine = group.rows[index], scores[begin : begin + len(index)]
        begin += len(index)
        for i, tp in enumerate(batch.tps):
            here = np.flatnonzero(batch.tp[rows] == i)
            if len(here):
                values = _result(group, index[here], mine[here], model) | _origin(batch, rows[here], tp, app)
                blocks.setdefault(tp.partition, []).append(_answers(plan, rows[here], tp, values, app))
    return {partition: _joined(parts) for partition, parts in blocks.items()}


def _answers(plan: Plan, rows: Ints, tp: TP, values: dict[str, Values], app: App) -> Answers:
    batch, picked = plan.rows.batch, rows.tolist()
    fingerprints = [plan.rows.fingerprint[row] for row in picked]
    begins = heads(fingerprints, batch.append_ms[rows], batch.offset[rows], tp.topic, app.topic_ids[tp.topic])
    encoded, states = app.result.encode_twice(begins, app.result_prefix, values)
    if max(map(len, encoded)) > app.answer_bytes:
        size = begins.itemsize
        sizes = map(len, encoded)
        states = [state if n <= app.answer_bytes else state[:size] for state, n in zip(states, sizes, strict=True)]
    return Answers(picked, encoded, states)


def _joined(blocks: list[Answers]) -> Answers:
    if len(blocks) == 1:
        return blocks[0]
    rows, values, states = (list(chain.from_iterable(columns)) for columns in zip(*blocks, strict=True))
    order = sorted(range(len(rows)), key=rows.__getitem__)
    return Answers([rows[i] for i in order], [values[i] for i in order], [states[i] for i in order])


def _result(group: Group, index: Ints, scores: Floats, model: Model) -> dict[str, Values]:
    writer, accepted = group.reading.writer, group.reading.accepted
    assert accepted is not None, "only rows of an accepted contract are scored"
    return constants(("scores", "value", "route_revision", "arm")) | {
        "request_id": text(group.decoded, writer.role("request_id"), index),
        "tenant": text(group.decoded, writer.role("tenant"), index),
        "run_id": Constant(LIVE),
        "score": Doubles(scores, None),
        "label": Slices(model.labels(scores)),
        "model_name": Constant(model.name),
        "model_version": Constant(model.version),
        "model_digest": Constant(model.digest),
        "contract_fingerprint": Constant(accepted.fingerprint),
        "schema_id": Constant(group.schema_id),
        "event_time": event_ms(group.decoded, writer, index),
    }


def _origin(batch: Batch, rows: Ints, tp: TP, app: App) -> dict[str, Values]:
    return {
        "request_topic": Constant(tp.topic),
        "request_topic_id": Constant(app.topic_ids[tp.topic]),
        "request_partition": Constant(tp.partition),
        "request_offset": Longs(batch.offset[rows], None),
        "append_time": Longs(batch.append_ms[rows], None),
    }


def as_first(plan: Plan, row: int, answer: bytes | None, app: App) -> First:
    """Return what the state will know of a row of this batch that is answered first."""
    batch = plan.rows.batch
    tp = batch.tps[batch.tp[row]]
    origin = Origin(tp.topic, app.topic_ids[tp.topic], tp.partition, int(batch.offset[row]))
    return First(plan.rows.fingerprint[row], int(batch.append_ms[row]), origin, answer)
