"""`streams performance plot`: how right the predictions were over time, as a picture for a report."""

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from streams.errors import ConfigError, SetupError
from streams.monitor.performance.figure import Figure
from streams.monitor.telling import Told

FORMATS = (".svg", ".png", ".pdf")
FIGURES = {"auc": "AUC", "accuracy": "accuracy", "macro_f1": "macro F1", "mae": "MAE", "rmse": "RMSE"}
"""The figures that are drawn, one above the other, where the task has them."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""Okabe and Ito's, which people with any kind of colour vision can tell apart."""
Z95 = 1.96
"""Standard errors to either side of an AUC that are drawn: 95 % of a normal distribution."""


def plot(lines: Sequence[Told], path: Path, title: str) -> None:
    """Draw the figures of some spans, and how many predictions and labels each has.

    A version's first span is marked: that is when it was deployed. Spans that are not mature are hollow: their figures may
    still change, and those but the AUC can be far off. Raises: ConfigError for a format that is not known; SetupError without
    matplotlib, or where the file cannot be written.
    """
    usable(path)
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Canvas

    names = [name for name in FIGURES if any(name in line.report.figures for line in lines)]
    with rc_context(
        {"svg.hashsalt": "answeronce", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    ):
        canvas = Canvas(figsize=(9.0, 2.0 + 2.2 * len(names)), layout="constrained")
        axes = canvas.subplots(len(names) + 1, 1, sharex=True, height_ratios=[*[2.2] * len(names), 1.2], squeeze=False)[
            :, 0
        ]
        subjects = list(dict.fromkeys(line.subject for line in lines))
        for subject, colour in zip(subjects, COLOURS * (1 + len(subjects) // len(COLOURS)), strict=False):
            mine = [line for line in lines if line.subject == subject]
            label = f"{subject.model} {subject.version}{f' {subject.arm}' if subject.arm else ''}"
            for axis, name in zip(axes, names, strict=False):
                _figure(axis, mine, name, colour, label)
                axis.axvline(_moment(mine[0].begin_ms), color=colour, linewidth=0.8, linestyle=":")
            _counts(axes[-1], mine, colour)
        for axis, name in zip(axes, names, strict=False):
            axis.set_ylabel(FIGURES[name])
            axis.grid(alpha=0.25)
        axes[-1].set_ylabel("predictions")
        axes[-1].xaxis.set_major_formatter(_dates())
        if len(names):
            axes[0].legend(loc="best", frameon=False)
        axes[0].set_title(title, loc="left")
        try:
            canvas.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
        except OSError as error:
            raise SetupError(f"{path}: {error.strerror}") from None


def usable(path: Path) -> None:
    """Raises: ConfigError for a format that is not known; SetupError without matplotlib, or without the folder."""
    if path.suffix not in FORMATS:
        raise ConfigError(f"{path}: a picture is one of {', '.join(FORMATS)}")
    if not path.absolute().parent.is_dir():
        raise SetupError(f"{path}: there is no folder {path.absolute().parent}")
    if find_spec("matplotlib") is None:
        raise SetupError("drawing needs matplotlib: pip install 'answeronce[plot]'")


def _figure(axis: Any, lines: Sequence[Told], name: str, colour: str, label: str) -> None:
    """Draw one figure of one subject with its intervals; what is not mature is hollow."""
    points = [
        (line, figure) for line in lines if (figure := line.report.figures.get(name)) and figure.value is not None
    ]
    times = [_moment((line.begin_ms + line.end_ms) // 2) for line, _ in points]
    axis.plot(times, [figure.value for _, figure in points], color=colour, linewidth=1.2, label=label)
    for time, (line, figure) in zip(times, points, strict=True):
        low, high = _interval(figure)
        axis.plot([time, time], [low, high], color=colour, linewidth=1.0, alpha=0.5)
        face = colour if line.report.mature == 1.0 else "white"
        axis.plot([time], [figure.value], marker="o", markersize=4, color=colour, markerfacecolor=face)


def _interval(figure: Figure) -> tuple[float, float]:
    value = figure.value or 0.0
    if figure.standard_error is not None:
        half = Z95 * figure.standard_error
        return max(0.0, value - half), min(1.0, value + half)
    interval = figure.blocks or figure.sampling
    return (value, value) if interval is None else (interval.low, interval.high)


def _counts(axis: Any, lines: Sequence[Told], colour: str) -> None:
    """Draw predictions as outlines, and the labelled of them filled."""
    for line in lines:
        begin, end = _moment(line.begin_ms), _moment(line.end_ms)
        axis.fill_between([begin, end], line.report.labelled, color=colour, alpha=0.35, linewidth=0)
        axis.plot([begin, end], [line.report.predictions] * 2, color=colour, linewidth=1.0)


def _dates() -> Any:
    """Return a formatter that says a day once, and not at every hour of it."""
    from matplotlib import dates

    untyped: Any = dates
    return untyped.ConciseDateFormatter(untyped.AutoDateLocator())


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
