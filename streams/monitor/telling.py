"""What is published, told: one line a subject and span, for people and for programs. Room: pure."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from streams.monitor.merging import Merged
from streams.monitor.performance.figure import Figure, Interval
from streams.monitor.performance.report import Report, report
from streams.monitor.sentences import iso, moment
from streams.monitor.state import Subject
from streams.monitor.windows import Rules


class Told(NamedTuple):
    """What is told of one subject in one span."""

    subject: Subject
    begin_ms: int
    end_ms: int
    report: Report


def newest_ms(merged: Merged, rules: Rules) -> int | None:
    """Return the end of the newest window that there is of anybody, in event time; None where there is none."""
    numbers = [blocks[-1].number for blocks in merged.subjects.values()]
    return (max(numbers) + 1) * rules.grain_ms if numbers else None


def told(merged: Merged, rules: Rules, span: int, as_of_ms: int, absence: bytes | None) -> list[Told]:
    """Return what is told of each subject.

    Args:
        merged: everything that is published.
        rules: how it was counted.
        span: how many windows are taken together; spans begin at multiples of it, from 1970 on.
        as_of_ms: see `report`.
        absence: see `report`.
    """
    lines = []
    for subject, blocks in merged.subjects.items():
        for number, mine in groupby(blocks, lambda block: block.number // span):
            found = report(list(mine), rules, as_of_ms, absence)
            begin_ms = number * span * rules.grain_ms
            lines.append(Told(subject, begin_ms, begin_ms + span * rules.grain_ms, found))
    return lines


def table(lines: Sequence[Told]) -> list[str]:
    """Return the lines for people, with a head."""
    names = list(dict.fromkeys(name for line in lines for name in _shown(line.report.figures)))
    head = ["model", "from", "to", "n", "labelled", "pending", "expired", "mature", *names]
    rows = [head, *(_row(line, names) for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


SHOWN = ("accuracy", "auc", "log_loss", "ece", "macro_f1", "mae", "rmse", "r2")
"""The figures that people are shown, where the task has them; programs get all."""


def _shown(figures: Mapping[str, Figure]) -> list[str]:
    return [name for name in SHOWN if name in figures]


def _row(line: Told, names: Sequence[str]) -> list[str]:
    subject, found = line.subject, line.report
    model = f"{subject.model} {subject.version}{f' {subject.arm}' if subject.arm else ''}"
    mature = "-" if found.mature is None else f"{found.mature:.0%}"
    counts = map(str, (found.predictions, found.labelled, found.pending, found.expired))
    return [
        model,
        moment(line.begin_ms),
        moment(line.end_ms),
        *counts,
        mature,
        *(_figure(found.figures.get(name)) for name in names),
    ]


def _figure(figure: Figure | None) -> str:
    if figure is None or figure.value is None:
        return "-"
    if figure.standard_error is not None:
        return f"{figure.value:.4f} ± {figure.standard_error:.4f}"
    interval = figure.blocks or figure.sampling
    return (
        f"{figure.value:.4f}" if interval is None else f"{figure.value:.4f} [{interval.low:.4f}, {interval.high:.4f}]"
    )


def as_json(line: Told) -> dict[str, Any]:
    """Return a line for programs."""
    found = line.report
    return {
        "model": line.subject.model,
        "version": line.subject.version,
        "arm": line.subject.arm,
        "from": iso(line.begin_ms),
        "to": iso(line.end_ms),
        "predictions": found.predictions,
        "labelled": found.labelled,
        "pending": found.pending,
        "expired": found.expired,
        "misfits": found.misfits,
        "distinct_scores": found.distinct,
        "mature": found.mature,
        "figures": {name: _json(figure) for name, figure in found.figures.items()},
        "calibration": [one._asdict() for one in found.bins],
        "delays": list(found.delays),
    }


def _json(figure: Figure) -> dict[str, Any]:
    def pair(interval: Interval | None) -> list[float] | None:
        return None if interval is None else [interval.low, interval.high]

    return {
        "value": figure.value,
        "why": figure.why,
        "sampling": pair(figure.sampling),
        "between_blocks": pair(figure.blocks),
        "standard_error": figure.standard_error,
    }
