"""What a scored request is answered, and what the state remembers of it. Room: pure."""

from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np

from streams.avro.encode import Constant, Longs, Slices, Values
from streams.dedupe import First, heads
from streams.pipeline.app import App
from streams.pipeline.columns import constants, doubles, event_ms, text
from streams.pipeline.planning import Plan
from streams.pipeline.reading import Group
from streams.ports import Model
from streams.records import LIVE, Batch, Floats, Ints, Origin


class Answers(NamedTuple):
    """What some rows of one partition are answered, in row order: an identity may be answered twice in one batch."""

    rows: list[int]
    values: list[bytes]
    """Encoded results."""
    states: list[bytes]
    """What the state remembers of each."""

    def at(self, order: list[int]) -> "Answers":
        """Return some of them, in this order."""
        rows, values, states = self
        return Answers([rows[i] for i in order], [values[i] for i in order], [states[i] for i in order])

    def part(self, begin: int, end: int) -> "Answers":
        """Return those from one place to another."""
        return Answers(self.rows[begin:end], self.values[begin:end], self.states[begin:end])


def results(plan: Plan, scores: Floats, model: Model, app: App) -> dict[int, Answers]:
    """Return the answers of all scored rows, by partition."""
    batch, begin = plan.rows.batch, 0
    partitions = np.array([tp.partition for tp in batch.tps])[batch.tp]
    blocks: dict[int, list[Answers]] = {}
    for group, index in zip(plan.rows.groups, plan.to_score, strict=True):
        mine = scores[begin : begin + len(index)]
        begin += len(index)
        if len(index):
            owners = partitions[group.rows[index]]
            order = np.argsort(owners, kind="stable")
            rows, owners = group.rows[index[order]], owners[order]
            values = _result(group, index[order], mine[order], model) | _origin(batch, rows, owners, app)
            whole = _answers(plan, rows, values, app)
            found, begins = np.unique(owners, return_index=True)
            for partition, (first, behind) in zip(found.tolist(), pairwise([*begins.tolist(), len(rows)]), strict=True):
                blocks.setdefault(partition, []).append(whole.part(first, behind))
    return {partition: _joined(parts) for partition, parts in blocks.items()}


def _answers(plan: Plan, rows: Ints, values: dict[str, Values], app: App) -> Answers:
    """Return the answers of some rows of one topic."""
    batch, picked, topic = plan.rows.batch, rows.tolist(), _topic(plan.rows.batch, rows)
    fingerprints = [plan.rows.fingerprint[row] for row in picked]
    begins = heads(fingerprints, batch.append_ms[rows], batch.offset[rows], topic, app.topic_ids[topic])
    encoded, states = app.result.encode_twice(begins, app.result_prefix, values)
    if max(map(len, encoded)) > app.answer_bytes:
        size = begins.itemsize
        sizes = map(len, encoded)
        states = [state if n <= app.answer_bytes else state[:size] for state, n in zip(states, sizes, strict=True)]
    return Answers(picked, encoded, states)


def _joined(blocks: list[Answers]) -> Answers:
    if len(blocks) == 1:
        return blocks[0]
    rows, values, states = (chain.from_iterable(columns) for columns in zip(*blocks, strict=True))
    whole = Answers(list(rows), list(values), list(states))
    return whole.at(sorted(range(len(whole.rows)), key=whole.rows.__getitem__))


def _result(group: Group, index: Ints, scores: Floats, model: Model) -> dict[str, Values]:
    writer, accepted = group.reading.writer, group.reading.accepted
    assert accepted is not None, "only rows of an accepted contract are scored"
    answer = model.answer(scores)
    return constants(("route_revision", "arm")) | {
        "request_id": text(group.decoded, writer.role("request_id"), index),
        "tenant": text(group.decoded, writer.role("tenant"), index),
        "run_id": Constant(LIVE),
        "score": doubles(answer.score),
        "scores": doubles(answer.scores),
        "label": Constant(None) if answer.label is None else Slices(answer.label),
        "value": doubles(answer.value),
        "model_name": Constant(model.name),
        "model_version": Constant(model.version),
        "model_digest": Constant(model.digest),
        "contract_fingerprint": Constant(accepted.fingerprint),
        "schema_id": Constant(group.schema_id),
        "event_time": event_ms(group.decoded, writer, index),
    }


def _origin(batch: Batch, rows: Ints, partitions: Ints, app: App) -> dict[str, Values]:
    topic = _topic(batch, rows)
    return {
        "request_topic": Constant(topic),
        "request_topic_id": Constant(app.topic_ids[topic]),
        "request_partition": Longs(partitions, None),
        "request_offset": Longs(batch.offset[rows], None),
        "append_time": Longs(batch.append_ms[rows], None),
    }


def _topic(batch: Batch, rows: Ints) -> str:
    """Return the topic of the rows of a group, which have only one."""
    return batch.tps[int(batch.tp[rows[0]])].topic


def as_first(plan: Plan, row: int, answer: bytes | None, app: App) -> First:
    """Return what the state will know of a row of this batch that is answered first."""
    batch = plan.rows.batch
    tp = batch.tps[batch.tp[row]]
    origin = Origin(tp.topic, app.topic_ids[tp.topic], tp.partition, int(batch.offset[row]))
    return First(plan.rows.fingerprint[row], int(batch.append_ms[row]), origin, answer)
