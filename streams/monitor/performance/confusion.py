"""Figures of classes: accuracy, precision, recall, F1, and their means over classes. Room: pure."""

from typing import NamedTuple

import numpy as np

from streams.monitor.multiset import Multiset
from streams.monitor.performance.figure import UNLABELLED, Figure, undefined
from streams.monitor.performance.intervals import share
from streams.records import Ints


class Classes(NamedTuple):
    """Figures of a confusion matrix."""

    accuracy: Figure
    precision: tuple[Figure, ...]
    """One a class, in the matrix's order."""
    recall: tuple[Figure, ...]
    f1: tuple[Figure, ...]
    macro_precision: Figure
    macro_recall: Figure
    macro_f1: Figure


def confusion(counts: Multiset) -> Ints:
    """Return the matrix (picked, true) of two classes, shape (2, 2), negative first."""
    picked = counts.picked
    return np.array(
        [
            [counts.negative[~picked].sum(), counts.positive[~picked].sum()],
            [counts.negative[picked].sum(), counts.positive[picked].sum()],
        ],
        dtype=np.int64,
    )


def classes(matrix: Ints) -> Classes:
    """Return the figures of a matrix (picked, true), shape (classes, classes)."""
    hits = np.diagonal(matrix)
    picked, true = matrix.sum(axis=1), matrix.sum(axis=0)
    rows = range(len(matrix))
    precision = tuple(share(int(hits[i]), int(picked[i]), "never picked") for i in rows)
    recall = tuple(share(int(hits[i]), int(true[i]), "no such label yet") for i in rows)
    f1 = tuple(
        Figure(2 * int(hits[i]) / both) if (both := int(picked[i] + true[i])) else undefined("neither picked nor true")
        for i in rows
    )
    return Classes(
        share(int(hits.sum()), int(matrix.sum()), UNLABELLED),
        precision,
        recall,
        f1,
        *map(_mean, (precision, recall, f1)),
    )


def _mean(figures: tuple[Figure, ...]) -> Figure:
    """Return the mean over classes; undefined where one of them is: to leave it out, or to call it 0, would flatter or blame."""
    values = [figure.value for figure in figures if figure.value is not None]
    missing = len(figures) - len(values)
    return (
        undefined(f"undefined for {missing} of {len(figures)} classes")
        if missing
        else Figure(sum(values) / len(values))
    )
