"""Results and labels as events: what was read of a batch becomes predictions and labels of identities. Room: pure.

Both come through the pipeline's own `read`: a result is a record of a contract like any other, made of the product's schema
by `result_contract`.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np

from streams.avro.decode import slices
from streams.avro.encode import Constant
from streams.avro.schema import parse
from streams.contracts import Contract, Decoded, Numbers, Role, Vectors
from streams.dedupe import identities
from streams.headers import label_origin
from streams.monitor.app import App
from streams.monitor.labels import VALUE_BYTES_MAX, Label, Prediction, label, tombstone, withdrawal
from streams.monitor.score_keys import to_keys
from streams.monitor.state import Subject
from streams.monitor.tasks import Binary, Multiclass, Regression, Task
from streams.pipeline import Group, Reasons, Rows
from streams.pipeline.columns import event_ms
from streams.reasons import Reason
from streams.records import NO_APPEND_TIME, Batch, Detail, Ints

RESULT_ROLES: Mapping[str, Role] = {"request_id": "request_id", "tenant": "tenant", "event_time": "event_time"}
SUBJECTS = 4_096
"""So many names are remembered."""
_NUMBER = struct.Struct(">d")


class Event(NamedTuple):
    """One record, read."""

    row: int
    """Of the batch."""
    identity: bytes
    said: Prediction | Label
    subject: Subject | None = None
    """Whose prediction it is."""


class Events(NamedTuple):
    """What was read of a batch: each row has an event, or a reason why it has none."""

    events: list[Event]
    reason: Reasons
    detail: dict[int, Detail]


def result_contract(schema: Mapping[str, Any], task: Task, key: tuple[Role, ...]) -> Contract:
    """Return how results of a task are read.

    Args:
        schema: `result.avsc`.
        task: the model's; scores are read as vectors of as many numbers as there are classes.
        key: the roles whose values make a request's key.
    """
    size = len(task.classes) if isinstance(task, Multiclass) else 1
    vector = ["null", {"type": "array", "items": "double", "length": size}]
    fields = []
    for field in schema["fields"]:
        role = RESULT_ROLES.get(field["name"])
        field = {**field, "meta": True} if role is None else {**field, "role": role}
        fields.append({**field, "type": vector} if field["name"] == "scores" else field)
    contract = parse(json.dumps({**schema, "fields": fields}))
    names = {role: name for name, role in RESULT_ROLES.items()}
    return contract._replace(key=tuple(names[role] for role in key))


def key_roles(contract: Contract) -> tuple[Role, ...]:
    """Return the roles whose values make the key of a contract's records."""
    fields = (contract.field(name) for name in contract.key)
    roles = tuple(field.role for field in fields if field is not None and field.role is not None)
    return roles or ("request_id",)


def unmet(labels: Contract, requests: Contract, *, rekey: bool) -> str:
    """Return why labels of this contract could not meet predictions of these requests; empty if they can.

    `rekey`: labels may be keyed otherwise, as they are copied.
    """
    if labels.role("request_id") is None:
        return "it does not say which field is the request id. Write its `role` into the contract"
    ours, theirs = (contract.role("tenant") is not None for contract in (labels, requests))
    if ours != theirs:
        return (
            f"it has {'a' if ours else 'no'} tenant, and requests have {'one' if theirs else 'none'}: a label is of the request that "
            "has the same tenant and request id, so it would meet none"
        )
    key, wanted = key_roles(labels), key_roles(requests)
    if key != wanted and not rekey:
        return (
            f"it is keyed by {', '.join(key)}, and requests by {', '.join(wanted)}, so labels would lie in other partitions than "
            'their predictions. Write the same `"key"` into it and key the records so, or set [labels] rekey = true'
        )
    return ""


def events(rows: Rows, app: App) -> Events:
    """Return what each row says, in the rows' order; counts of what models saw are `features.seen`'s."""
    read = Events([], dict(rows.reason), dict(rows.detail))
    for group in rows.groups:
        index = [i for i, row in enumerate(group.rows.tolist()) if row not in rows.reason]
        if not index:
            continue
        topic = rows.batch.tps[int(rows.batch.tp[group.rows[0]])].topic
        if topic == app.features:
            continue
        one = _predictions if topic == app.results else _labels
        read.events.extend(one(rows, group, np.array(index, dtype=np.int64), app, read))
    read.events.extend(_tombstones(rows, app, read))
    read.events.sort()
    return read


def _predictions(rows: Rows, group: Group, index: Ints, app: App, read: Events) -> Iterator[Event]:
    decoded, members = group.decoded, group.rows[index].tolist()
    names = [
        [column[i] for i in index.tolist()]
        for column in (slices(decoded, name) for name in ("model_name", "model_version", "arm"))
    ]
    times = _times(group, index, rows.batch, "append_time")
    said = _said(decoded, index, app)
    for row, name, version, arm, time, what in zip(members, *names, times, said, strict=True):
        if what is None:
            read.reason[row] = Reason.OUT_OF_CONTRACT
            continue
        subject = subject_of(name or b"", version or b"", arm)
        yield Event(row, rows.identity[row], Prediction(time, subject_key(subject), what), subject)


def _said(decoded: Decoded, index: Ints, app: App) -> list[bytes | None]:
    """Return each prediction as the task has it; None where it is not one of this task."""
    task = app.rules.task
    if isinstance(task, Regression):
        return [None if not _is_number(value) else task.said(value) for value in _numbers(decoded, "value", index)]
    picks = slices(decoded, "label")
    labels = [picks[i] for i in index.tolist()]
    if isinstance(task, Multiclass):
        places = {name: at for at, name in enumerate(task.classes)}
        scores = decoded.columns["scores"]
        assert isinstance(scores, Vectors)
        null = np.zeros(len(index), dtype=bool) if scores.null is None else scores.null[index]
        numbers = scores.values[index]
        fit = ~null & np.isfinite(numbers).all(axis=1)
        return [
            task.said(places[name], row) if ok and name in places else None
            for name, ok, row in zip(labels, fit.tolist(), numbers.tolist(), strict=True)
        ]
    assert isinstance(task, Binary)
    numbers = np.array(_numbers(decoded, "score", index), dtype=np.float64)
    fit = np.isfinite(numbers) & np.array([name is None or name in task for name in labels], dtype=bool)
    picked = np.array(
        [
            score >= app.threshold if name is None else name == task.positive
            for name, score in zip(labels, numbers.tolist(), strict=True)
        ],
        dtype=bool,
    )
    keys = to_keys(np.where(fit, numbers, 0.0), picked)
    return [task.said(key) if ok else None for key, ok in zip(keys.tolist(), fit.tolist(), strict=True)]


def _labels(rows: Rows, group: Group, index: Ints, app: App, read: Events) -> Iterator[Event]:
    writer, members = group.reading.writer, group.rows[index].tolist()
    truths = _truths(group, index, app)
    times = _times(group, index, rows.batch, None)
    versions = _optional(group, "version", index)
    withdrawn = _optional(group, "withdrawn", index)
    for row, truth, time, version, gone in zip(members, truths, times, versions, withdrawn, strict=True):
        if gone:
            yield Event(row, rows.identity[row], withdrawal(time, version))
        elif isinstance(truth, bytes):
            yield Event(row, rows.identity[row], label(truth, time, version))
        else:
            name = app.truth if writer.field(app.truth) is not None else None
            read.reason[row], read.detail[row] = Reason.OUT_OF_CONTRACT, Detail(name, truth, rule="a truth")


def _truths(group: Group, index: Ints, app: App) -> list[bytes | str]:
    """Return each label's truth as the task has it; or, as text, why there is none."""
    field, task = group.reading.writer.field(app.truth), app.rules.task
    if field is None:
        return [f"the label has no field {app.truth}"] * len(index)
    if field.kind in ("string", "bytes"):
        texts = slices(group.decoded, field.name)
        return [_text(texts[i]) for i in index.tolist()]
    if field.kind not in ("boolean", "int", "long", "float", "double", "enum"):
        return [f"a {field.kind} is no truth"] * len(index)
    found: list[bytes | str] = []
    for value in _numbers(group.decoded, field.name, index):
        if value is None:
            found.append("null")
        elif field.kind == "enum":
            found.append(_text(field.symbols[int(value)].encode()))
        elif isinstance(task, Regression):
            found.append(_NUMBER.pack(value + 0.0) if _is_number(value) else str(value))
        else:
            found.append(_class(value, task))
    return found


def _class(value: float, task: Task) -> bytes:
    """Return the class that a number or a truth value stands for: its place in the model's order."""
    assert isinstance(task, Binary | Multiclass)
    classes = tuple(task) if isinstance(task, Binary) else task.classes
    whole = float(value).is_integer() and 0 <= value < len(classes)
    return classes[int(value)] if whole else str(value).encode()


def _text(value: bytes | None) -> bytes | str:
    if value is None:
        return "null"
    return value if len(value) <= VALUE_BYTES_MAX else f"{len(value)} bytes"


def _tombstones(rows: Rows, app: App, read: Events) -> Iterator[Event]:
    """Yield the labels without a value whose key is the identity; the others stay dead letters."""
    if not app.tombstones:
        return
    batch = rows.batch
    for row, reason in sorted(rows.reason.items()):
        key, tp, append_ms = batch.keys[row], batch.tps[batch.tp[row]], int(batch.append_ms[row])
        if reason is not Reason.TOMBSTONE or tp.topic != app.labels or not key:
            continue
        (owner,) = app.partitions_of([key], app.partitions).tolist()
        if owner != tp.partition:
            read.reason[row], read.detail[row] = Reason.MISPARTITIONED, Detail(None, str(owner))
        elif append_ms == NO_APPEND_TIME:
            read.reason[row] = Reason.NO_APPEND_TIME
        else:
            del read.reason[row]
            (identity,) = identities(app.salt, None, [key])
            yield Event(row, identity, tombstone(append_ms))


def _times(group: Group, index: Ints, batch: Batch, second: str | None) -> list[int]:
    """Return the event times in milliseconds; where there is none, another field's, or when the record was appended."""
    if second is None:
        appended = _appended(batch, group.rows[index])
    else:
        appended = _filled(_numbers(group.decoded, second, index), batch.append_ms[group.rows[index]])
    times = event_ms(group.decoded, group.reading.writer, index)
    if isinstance(times, Constant):
        return [int(time) for time in appended]
    null = np.zeros(len(index), dtype=bool) if times.null is None else times.null
    return [int(time) for time in np.where(null, appended, times.values)]


def _appended(batch: Batch, rows: Ints) -> Ints:
    """Return when each record was appended first: a label that was copied says when it was where it came from."""
    if not any(batch.headers[row] for row in rows.tolist()):
        return batch.append_ms[rows]
    origins = [label_origin(batch.headers[row]) for row in rows.tolist()]
    copied = [None if origin is None else origin.append_ms for origin in origins]
    return _filled(copied, batch.append_ms[rows])


def _filled(values: list[Any], instead: Ints) -> Ints:
    return np.array(
        [other if value is None else value for value, other in zip(values, instead.tolist(), strict=True)],
        dtype=np.int64,
    )


def _optional(group: Group, role: Role, index: Ints) -> list[Any]:
    field = group.reading.writer.role(role)
    return [None] * len(index) if field is None else _numbers(group.decoded, field.name, index)


def _numbers(decoded: Decoded, name: str, index: Ints) -> list[Any]:
    """Return a column's numbers; None is null."""
    column = decoded.columns[name]
    assert isinstance(column, Numbers), f"{name} is a number"
    values: list[Any] = column.values[index].tolist()
    if column.null is None:
        return values
    return [None if absent else value for absent, value in zip(column.null[index].tolist(), values, strict=True)]


def _is_number(value: float | None) -> bool:
    return value is not None and Regression().fits(_NUMBER.pack(value))


@lru_cache(SUBJECTS)
def subject_of(name: bytes, version: bytes, arm: bytes | None) -> Subject:
    """Return the names as text."""
    return Subject(
        name.decode("utf-8", "replace"),
        version.decode("utf-8", "replace"),
        None if arm is None else arm.decode("utf-8", "replace"),
    )


@lru_cache(SUBJECTS)
def subject_key(subject: Subject) -> bytes:
    """Return the 8 bytes that a subject is kept under."""
    names = json.dumps(subject).encode()
    return blake2b(names, digest_size=8, person=b"answeronce-subj1").digest()
