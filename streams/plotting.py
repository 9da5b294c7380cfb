"""`streams performance plot`: how right the predictions were over time, as a picture for a report, and how far what the model saw
was from training.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from streams.errors import ConfigError, SetupError
from streams.monitor.drift.episodes import Step
from streams.monitor.drift.telling import Line
from streams.monitor.drift.watch import VALUES
from streams.monitor.performance.figure import Figure
from streams.monitor.state import Subject
from streams.monitor.telling import Told

FORMATS = (".svg", ".png", ".pdf")
FIGURES = {"auc": "AUC", "accuracy": "accuracy", "macro_f1": "macro F1", "mae": "MAE", "rmse": "RMSE"}
"""The figures that are drawn, one above the other, where the task has them."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""Okabe and Ito's, which people with any kind of colour vision can tell apart."""
Z95 = 1.96
"""Standard errors to either side of an AUC that are drawn: 95 % of a normal distribution."""
DOWN, UP, UNSIGNED = "#0072b2", "#d55e00", "#009e73"
"""A window's cell, by where its values have moved; and of what has no direction: categories, missing and unseen."""
CALM, GREY = "#f0f0f0", "#767676"
"""A cell of a window that is as usual; and the name of a feature that is not tested."""
SEAM = 0.3
"""Cells overlap by so much, or viewers show the ground between them."""
STEPS = (2.0, 4.0, 8.0)
"""So many times what is usual, as the legend shows them; a cell of the last, or of more, has its full colour."""
ROW = 0.19
"""The height of a row, in inches."""
ROWS_MAX, NAME_MAX = 30, 24
"""Features of a model that are drawn: those that moved most; and letters of a name."""

EARLIEST_MS, LATEST_MS = -30_610_224_000_000, 221_845_392_000_000
"""The years 1000 and 9000: an axis has margins, and a calendar has years from 1 to 9999 only."""


def plot(lines: Sequence[Told], path: Path, title: str, drift: Sequence[Line] = ()) -> None:
    """Draw the figures of some spans, how many predictions and labels each has, and beneath them how each feature has moved.

    A version's first span is marked: that is when it was deployed. Spans that are not mature are hollow: their figures may
    still change, and those but the AUC can be far off. A feature has a row, and a window that was judged a cell, whose colour is
    stronger the more its PSI is beyond what is usual. Tickets are outlined; those of a risk lie on the top axis.

    Args:
        lines: the spans.
        path: what to write.
        title: over it all.
        drift: what is told of each feature and risk; none, where nothing is watched.
    Raises: ConfigError for a format that is not known; SetupError without matplotlib, or where the file cannot be written.
    """
    usable(path)
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Canvas

    names = [name for name in FIGURES if any(name in line.report.figures for line in lines)]
    rows = _rows(drift)
    heights = [*[2.2] * len(names), 1.2, *(ROW * len(mine) + 0.1 for mine in rows.values())]
    with rc_context(
        {"svg.hashsalt": "answeronce", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    ):
        canvas = Canvas(figsize=(9.0, 0.8 + sum(heights) + 0.7 * bool(rows)), layout="constrained")
        axes = canvas.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
        counts, beneath = axes[len(names)], axes[len(names) + 1 :]
        subjects = list(dict.fromkeys(line.subject for line in lines))
        for subject, colour in zip(subjects, COLOURS * (1 + len(subjects) // len(COLOURS)), strict=False):
            mine = [line for line in lines if line.subject == subject]
            for axis, name in zip(axes, names, strict=False):
                _figure(axis, mine, name, colour, _model(subject))
                axis.axvline(_moment(mine[0].begin_ms), color=colour, linewidth=0.8, linestyle=":")
            _counts(counts, mine, colour)
        for axis, name in zip(axes, names, strict=False):
            axis.set_ylabel(FIGURES[name])
            axis.grid(alpha=0.25)
        counts.set_ylabel("predictions")
        for axis, (subject, features) in zip(beneath, rows.items(), strict=True):
            many = sum(line.subject == subject and line.watch is not None for line in drift)
            _drift(axis, features, _model(subject), many)
        if rows:
            _keys(canvas)
        _risks(axes[0], [line for line in drift if line.watch is None])
        axes[-1].xaxis.set_major_formatter(_dates())
        if axes[0].get_legend_handles_labels()[0]:
            axes[0].legend(loc="best", frameon=False)
        axes[0].set_title(title, loc="left")
        try:
            canvas.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
        except OSError as error:
            raise SetupError(f"{path} cannot be written: {error.strerror}. Name another place") from None


def usable(path: Path) -> None:
    """Raises: ConfigError for a format that is not known; SetupError without matplotlib, or without the folder."""
    if path.suffix not in FORMATS:
        raise ConfigError(f"{path}: a picture is one of {', '.join(FORMATS)}")
    if not path.absolute().parent.is_dir():
        raise SetupError(f"{path}: there is no folder {path.absolute().parent}. Make it, or name another place")
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


def _rows(drift: Sequence[Line]) -> Mapping[Subject, Sequence[Line]]:
    """Return the features to draw of each model, in their own order: of too many, those with tickets and those that moved most."""
    found: dict[Subject, list[Line]] = {}
    for line in drift:
        if line.watch is not None:
            found.setdefault(line.subject, []).append(line)
    return {
        subject: [mine[at] for at in sorted(sorted(range(len(mine)), key=lambda at: _calm(mine[at]))[:ROWS_MAX])]
        for subject, mine in found.items()
    }


def _calm(line: Line) -> tuple[bool, float]:
    """Return what sorts features that moved before others."""
    return not line.chain.episodes, -max(map(_times, line.chain.steps), default=0.0)


def _times(step: Step) -> float:
    """Return how many times what is usual a window's statistic is; 0 of one that was not judged."""
    return step.statistic / step.tolerance if step.statistic is not None and step.tolerance else 0.0


def _drift(axis: Any, lines: Sequence[Line], model: str, many: int) -> None:
    """Draw a row a feature, the first one on top, with a cell a judged window."""
    for row, line in enumerate(lines):
        judged = [step for step in line.chain.steps if step.statistic is not None and step.tolerance]
        spans = [_span(step.window, step.window + 1, line.window_ms) for step in judged]
        colours = [_tint(_sign(step), _times(step)) for step in judged]
        axis.broken_barh(spans, (row - 0.4, 0.8), facecolors=colours, edgecolors="face", linewidth=SEAM)
        newest = line.chain.steps[-1].window if line.chain.steps else 0
        tickets = [
            _span(one.opened, newest + 1 if one.closed is None else one.closed, line.window_ms)
            for one in line.chain.episodes
        ]
        axis.broken_barh(tickets, (row - 0.4, 0.8), facecolors="none", edgecolors="black", linewidth=1.2, zorder=3)
    axis.set_ylim(len(lines) - 0.5, -0.5)
    axis.set_yticks(range(len(lines)), [_short(line.chain.metric) for line in lines], fontsize=8)
    for label, line in zip(axis.get_yticklabels(), lines, strict=True):
        label.set_color(GREY if line.watch is not None and line.watch.why is not None else "black")
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    some = "" if many == len(lines) else f": the {len(lines)} of {many} features that moved most"
    axis.set_title(f"{model}, how far what it saw is from training{some}", loc="left", fontsize=9)


def _short(name: str) -> str:
    return name if len(name) <= NAME_MAX else f"{name[: NAME_MAX - 1]}…"


def _span(begin: int, end: int, window_ms: int) -> tuple[datetime, timedelta]:
    return _moment(begin * window_ms), timedelta(milliseconds=(end - begin) * window_ms)


def _sign(step: Step) -> str:
    """Return the colour of a window, by where its values have moved, if it is they that say most."""
    judged = step.judged
    if judged is None or judged.direction is None or judged.leading is None or judged.leading.name != VALUES:
        return UNSIGNED
    return DOWN if judged.direction < 0 else UP


def _tint(colour: str, times: float) -> str:
    """Return a colour as strong as something is so many times what is usual: by its logarithm."""
    from matplotlib.colors import to_hex, to_rgb

    share = min(max(math.log(max(times, 1.0)) / math.log(STEPS[-1]), 0.0), 1.0)
    (r, g, b), (red, green, blue) = to_rgb(CALM), to_rgb(colour)
    return to_hex((r + share * (red - r), g + share * (green - g), b + share * (blue - b)))


def _keys(canvas: Any) -> None:
    """Draw what the colours of the rows mean."""
    from matplotlib.legend_handler import HandlerTuple
    from matplotlib.patches import Patch

    words = {DOWN: "lower values", UP: "higher values", UNSIGNED: "categories, missing, unseen"}
    keys: dict[str, Any] = {"as usual": Patch(facecolor=CALM)}
    keys |= {said: tuple(Patch(facecolor=_tint(colour, step)) for step in STEPS) for colour, said in words.items()}
    keys["ticket open"] = Patch(facecolor="none", edgecolor="black", linewidth=1.2)
    canvas.legend(
        [*keys.values()],
        [*keys],
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0)},
        loc="outside lower left",
        ncols=len(keys),
        frameon=False,
        fontsize=8,
        title=f"PSI {', '.join(f'{step:g}' for step in STEPS)} times what is usual, or more; blank: not judged; a grey name: not tested",
        title_fontsize=8,
        alignment="left",
    )


def _risks(axis: Any, lines: Sequence[Line]) -> None:
    """Mark on the top axis when a ticket of a risk was open."""
    for line in lines:
        newest = line.chain.steps[-1].window if line.chain.steps else 0
        said: str | None = f"{_model(line.subject)}: ticket, {line.chain.metric}"
        for one in line.chain.episodes:
            begin, width = _span(one.opened, newest + 1 if one.closed is None else one.closed, line.window_ms)
            ends = [begin, begin + width]
            axis.plot(
                ends,
                [1.0, 1.0],
                color="black",
                linewidth=4,
                transform=axis.get_xaxis_transform(),
                clip_on=False,
                label=said,
            )
            said = None


def _model(subject: Subject) -> str:
    return f"{subject.model} {subject.version}{f' {subject.arm}' if subject.arm else ''}"


def _dates() -> Any:
    """Return a formatter that says a day once, and not at every hour of it."""
    from matplotlib import dates

    untyped: Any = dates
    return untyped.ConciseDateFormatter(untyped.AutoDateLocator())


def _moment(ms: int) -> datetime:
    """Return when it was; what no calendar has is drawn at the end of time."""
    return datetime.fromtimestamp(min(max(ms, EARLIEST_MS), LATEST_MS) / 1000, UTC)
