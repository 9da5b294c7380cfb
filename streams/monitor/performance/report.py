"""What is told of a span of time: how many predictions, how far their labels have come, and every figure. Room: pure.

A span is some windows of one grain, which are its blocks: a week is a sum of hours. Nothing is rounded, and nothing is told
without the number that it rests on.
"""

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from streams.monitor.fixed_point import SCALE
from streams.monitor.multiset import Multiset, added, counted
from streams.monitor.performance.auc import auc
from streams.monitor.performance.confusion import Classes, classes, confusion
from streams.monitor.performance.figure import UNLABELLED as NO_LABEL
from streams.monitor.performance.figure import Figure, undefined
from streams.monitor.performance.intervals import between_blocks
from streams.monitor.performance.probability import Bin, brier, calibration, log_loss
from streams.monitor.performance.regression import Sums, mae, r2, rmse
from streams.monitor.tasks import UNLABELLED, Binary, Multiclass, Regression, Row
from streams.monitor.windows import DELAY, DELAY_EDGES_MS, MISFIT, Rules
from streams.records import Bools, Ints


class Block(NamedTuple):
    """One window: its number, and its rows by the key within it."""

    number: int
    rows: Mapping[bytes, Row]


class Report(NamedTuple):
    """What is told of a span."""

    predictions: int
    labelled: int
    pending: int
    """Without a label that fits, and one may still come in time."""
    expired: int
    """Without a label that fits, and none can come in time any more."""
    misfits: int
    """Of pending and expired: they have a label, but it cannot be a truth of this model."""
    mature: float | None
    """The share of predictions whose horizon has passed; None without predictions. Below 1 all figures but the AUC can be
    far off, because labels that come soon are not like those that come late: 0.69 where the truth is 0.80, in `test_report`."""
    figures: Mapping[str, Figure]
    bins: tuple[Bin, ...]
    """The reliability diagram, of a model of two classes."""
    delays: tuple[int, ...]
    """How many labels have each delay, by `windows.DELAY_EDGES_MS`."""
    distinct: int | None = None
    """How many different scores there are, of a model of two classes: what a window must keep, and whether an AUC rests on
    more than a few steps."""


def report(blocks: Sequence[Block], rules: Rules, as_of_ms: int, absence: bytes | None = None) -> Report:
    """Return what is told of some windows of one subject.

    Args:
        blocks: the windows, in order.
        rules: how they were counted.
        as_of_ms: up to when events and labels were seen, in event time: decides what is pending and what has expired.
        absence: the class that no label within the horizon stands for; None: it stands for nothing. Of more than two classes
            only what is counted by class knows of it: a loss needs the label's own probability.
    """
    ripe = np.array([(one.number + 1) * rules.grain_ms + rules.horizon_ms <= as_of_ms for one in blocks], dtype=bool)
    tell = _TELLERS[type(rules.task)]
    counts, figures, bins = tell(blocks, ripe, rules.task, absence)
    predictions, labelled = int(counts.sum()), int(counts[:, 1].sum())
    mature, unlabelled = int(counts[ripe].sum()), counts[:, 0]
    return Report(
        predictions,
        labelled,
        int(unlabelled[~ripe].sum()),
        int(unlabelled[ripe].sum()),
        sum(block.rows.get(MISFIT, (0,))[0] for block in blocks),
        mature / predictions if predictions else None,
        figures,
        bins,
        _delays(blocks),
        _distinct(blocks) if isinstance(rules.task, Binary) else None,
    )


Told = tuple[Ints, Mapping[str, Figure], tuple[Bin, ...]]
"""Of each block (without a label, with one), shape (blocks, 2), as labels came; the figures; the reliability diagram."""


def _binary(blocks: Sequence[Block], ripe: Bools, task: Binary, absence: bytes | None) -> Told:
    parts = [multiset_of(block.rows) for block in blocks]
    counts = _pairs((int(part.unlabelled.sum()), part.labelled) for part in parts)
    if absence is not None:
        parts = [believed(part, task, absence) if old else part for part, old in zip(parts, ripe, strict=True)]
    whole = added(parts)
    told, diagram = _classes([confusion(part) for part in parts], 2), calibration(whole)
    of_positive = {"precision": told.precision[1], "recall": told.recall[1], "f1": told.f1[1]}
    figures = {"accuracy": told.accuracy, **of_positive, "auc": auc(whole)}
    figures |= {"log_loss": log_loss(whole), "brier": brier(whole)}
    figures |= {"ece": diagram.ece, "ece_squared_debiased": diagram.ece_squared_debiased}
    return counts, figures, diagram.bins


def believed(part: Multiset, task: Binary, absence: bytes) -> Multiset:
    """Return a window in which those that have no label are of one class."""
    none = np.zeros_like(part.unlabelled)
    if absence == task.negative:
        return part._replace(unlabelled=none, negative=part.negative + part.unlabelled)
    return part._replace(unlabelled=none, positive=part.positive + part.unlabelled)


def multiset_of(rows: Mapping[bytes, Row]) -> Multiset:
    """Return the scores of a window."""
    found = [(int.from_bytes(key[1:], "big"), *row) for key, row in rows.items() if key[:1] == b"s"]
    return counted(*np.array(found, dtype=np.int64).reshape(-1, 4).T)


def _multiclass(blocks: Sequence[Block], ripe: Bools, task: Multiclass, absence: bytes | None) -> Told:
    size, matrices, pairs = len(task.classes), [], []
    losses = [0, 0, 0]
    for block, old in zip(blocks, ripe, strict=True):
        matrix, unlabelled = matrix_of(block.rows, size)
        losses = [old_sum + new for old_sum, new in zip(losses, block.rows.get(b"p", (0, 0, 0)), strict=True)]
        pairs.append((int(unlabelled.sum()), int(matrix.sum())))
        if old and absence is not None:
            matrix[:, task.classes.index(absence)] += unlabelled
        matrices.append(matrix)
    told, (n, loss, squares) = _classes(matrices, size), losses
    figures = {"accuracy": told.accuracy, "macro_precision": told.macro_precision}
    figures |= {"macro_recall": told.macro_recall, "macro_f1": told.macro_f1}
    for name, total in (("log_loss", loss), ("brier", squares)):
        figures[name] = Figure(total / (SCALE * n)) if n else undefined(NO_LABEL)
    return _pairs(pairs), figures, ()


def matrix_of(rows: Mapping[bytes, Row], classes: int) -> tuple[Ints, Ints]:
    """Return the confusion matrix (picked, true) of a window, and how many picks of each class have no label."""
    matrix, unlabelled = np.zeros((classes, classes), dtype=np.int64), np.zeros(classes, dtype=np.int64)
    for key, (count, *_) in rows.items():
        if key[:1] == b"c":
            picked, true = struct.unpack(">HH", key[1:])
            if true == UNLABELLED:
                unlabelled[picked] += count
            else:
                matrix[picked, true] += count
    return matrix, unlabelled


def _regression(blocks: Sequence[Block], _ripe: Bools, _task: Regression, _absence: bytes | None) -> Told:
    rows = [block.rows.get(b"r", (0, 0, 0, 0, 0, 0)) for block in blocks]
    sums = Sums(*(sum(column) for column in zip(*(row[1:] for row in rows), strict=True)))
    return _pairs((row[0], row[1]) for row in rows), {"mae": mae(sums), "rmse": rmse(sums), "r2": r2(sums)}, ()


_TELLERS: Mapping[type, Callable[..., Told]] = {Binary: _binary, Multiclass: _multiclass, Regression: _regression}


def _classes(matrices: Sequence[Ints], size: int) -> Classes:
    """Return the figures of all blocks, the accuracy with an interval from how they differ."""
    told = classes(sum(matrices, np.zeros((size, size), dtype=np.int64)))
    hits = np.array([np.trace(matrix) for matrix in matrices], dtype=np.int64)
    spread = between_blocks(hits, np.array([matrix.sum() for matrix in matrices], dtype=np.int64))
    return told._replace(accuracy=told.accuracy._replace(blocks=spread))


def _pairs(counts: Iterable[tuple[int, int]]) -> Ints:
    return np.array([*counts], dtype=np.int64).reshape(-1, 2)


def _distinct(blocks: Sequence[Block]) -> int:
    """Return how many different scores there are, whichever class was picked."""
    return len({int.from_bytes(key[1:], "big") >> 1 for block in blocks for key in block.rows if key[:1] == b"s"})


def _delays(blocks: Sequence[Block]) -> tuple[int, ...]:
    delays = [0] * (len(DELAY_EDGES_MS) + 1)
    for block in blocks:
        for key, row in block.rows.items():
            if key[:1] == DELAY:
                delays[key[1]] += row[0]
    return tuple(delays)
