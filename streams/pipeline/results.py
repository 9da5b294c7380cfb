"""What a scored request is answered, and what the state remembers of it. Room: pure."""

import numpy as np

from streams.avro.encode import Constant, Doubles, Longs, Slices, Values
from streams.dedupe import First, remember
from streams.pipeline.app import App
from streams.pipeline.columns import constants, event_ms, text
from streams.pipeline.planning import Plan
from streams.pipeline.reading import Group
from streams.ports import Model
from streams.records import LIVE, TP, Batch, Floats, Ints, Origin, Put


def results(plan: Plan, scores: Floats, model: Model, app: App) -> dict[int, bytes]:
    """Return the encoded result of each scored row, in row order: rows of one key may have different schemas."""
    batch, begin = plan.rows.batch, 0
    answers: dict[int, bytes] = {}
    for group, index in zip(plan.rows.groups, plan.to_score, strict=True):
        rows, mine = group.rows[index], scores[begin : begin + len(index)]
        begin += len(index)
        for i, tp in enumerate(batch.tps):
            here = np.flatnonzero(batch.tp[rows] == i)
            if len(here):
                values = _result(group, index[here], mine[here], model) | _origin(batch, rows[here], tp, app)
                encoded = app.result.encode(app.result_prefix, len(here), values)
                answers.update(zip(rows[here].tolist(), encoded, strict=True))
    return dict(sorted(answers.items()))


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


def as_first(plan: Plan, row: int, answer: bytes, app: App) -> First:
    """Return what the state will know of a row of this batch that is answered first."""
    batch = plan.rows.batch
    tp = batch.tps[batch.tp[row]]
    origin = Origin(tp.topic, app.topic_ids[tp.topic], tp.partition, int(batch.offset[row]))
    return First(plan.rows.fingerprint[row], int(batch.append_ms[row]), origin, answer)


def puts(plan: Plan, answers: dict[int, bytes], app: App) -> dict[int, list[Put]]:
    """Return what the state remembers of each answered row, by partition."""
    batch = plan.rows.batch
    puts: dict[int, list[Put]] = {}
    partitions = [tp.partition for tp in batch.tps]
    tps = batch.tp.tolist()
    for row, answer in answers.items():
        value = remember(as_first(plan, row, answer, app), app.answer_bytes)
        puts.setdefault(partitions[tps[row]], []).append(Put(plan.rows.identity[row], value))
    return puts
