"""What has happened, in words. Room: pure."""

from collections.abc import Sequence
from datetime import UTC, datetime

from streams.durations import DAY_MS, HOUR_MS, MINUTE_MS
from streams.monitor.drift.episodes import CLOSE_AFTER, Episode
from streams.monitor.drift.judging import Bin, Judged, Part
from streams.monitor.drift.watch import MISSING, UNSEEN
from streams.monitor.state import Subject
from streams.monitor.ticket import Kind, Ticket

WEEK_MS = 7 * DAY_MS
_LENGTHS = ((WEEK_MS, "week"), (DAY_MS, "day"), (HOUR_MS, "hour"), (MINUTE_MS, "minute"), (1_000, "second"), (1, "ms"))
ERROR_RATE = "error_rate"
"""The name of the risk that is the share of wrong picks."""


def drift_sentence(metric: str, episode: Episode, window_ms: int) -> str:
    """Return what an episode of a feature is, by its newest judged window."""
    newest = episode.newest
    judged, when = newest.judged, span(newest.window * window_ms, window_ms)
    leading = judged.leading if judged else None
    if judged is None or leading is None:
        return f"{metric} cannot be judged {when}"
    if not judged.calm:
        return _moved(metric, judged, leading, when)
    numbers = f"PSI {brief(leading.psi)}, and up to {brief(leading.usual)} is usual there"
    since = span(episode.opened * window_ms, window_ms, "since")
    if episode.closed is not None:
        return f"{metric} is as it was in training again {when}: {numbers}; it was not {since}"
    return (
        f"{metric} is not as it was in training {since}, but it is {when}: {numbers}; "
        f"with {CLOSE_AFTER} such windows in a row it is over"
    )


def _moved(metric: str, judged: Judged, leading: Part, when: str) -> str:
    if leading.name == MISSING:
        return (
            f"{metric} is missing in {percent(judged.missing)} of requests {when}, "
            f"and in {percent(judged.missing_reference)} in training"
        )
    if leading.name == UNSEEN:
        return (
            f"{metric} has a category that the model does not know in {percent(judged.unseen or 0.0)} of requests {when}, "
            f"and in {percent(judged.unseen_reference or 0.0)} in training"
        )
    return (
        f"{metric} is not as it was in training: PSI {brief(leading.psi)} {when}, "
        f"and up to {brief(leading.usual)} is usual there. {bins(judged.bins)}"
    )


def risk_sentence(subject: Subject, metric: str, episode: Episode, window_ms: int) -> str:
    """Return what an episode of a labelled risk is, by its newest window."""
    newest = episode.newest
    when, loss, allowed = span(newest.window * window_ms, window_ms), newest.statistic or 0.0, newest.tolerance or 0.0
    model = f"the model {subject.model} {subject.version}{f' {subject.arm}' if subject.arm else ''}"
    if metric == ERROR_RATE:
        told = f"{model} is wrong in {percent(loss)} of its predictions {when}, and up to {percent(allowed)} is allowed"
    else:
        told = f"{model} has a {metric} of {brief(loss)} {when}, and up to {brief(allowed)} is allowed"
    if newest.calm:
        over = "it is over" if episode.closed is not None else f"with {CLOSE_AFTER} such windows in a row it is over"
        told = f"{told}; it was more {span(episode.opened * window_ms, window_ms, 'since')}, and {over}"
    return told


def of_statistic(ticket: Ticket) -> str:
    """Return a ticket's newest window and statistic, for a note."""
    return statistic(ticket.kind, ticket.metric, ticket.statistic, ticket.newest, ticket.window_ms)


def statistic(kind: Kind, metric: str, value: float | None, begin_ms: int, window_ms: int) -> str:
    """Return a window's statistic, for a note."""
    when = span(begin_ms, window_ms)
    if value is None:
        return when
    return f"{'PSI' if kind is Kind.DRIFT else metric} {brief(value)} {when}"


def bins(told: Sequence[Bin]) -> str:
    """Return the bins that moved most: what their share was, and what it is."""
    return "; ".join(f"{one.label}: {percent(one.reference)} in training, {percent(one.share)} now" for one in told)


def span(begin_ms: int, window_ms: int, word: str = "in") -> str:
    """Return which window is meant: in the week from 2013-04-04."""
    size, name = next((size, name) for size, name in _LENGTHS if window_ms % size == 0)
    many = window_ms // size
    told = moment(begin_ms, with_time=begin_ms % DAY_MS != 0)
    return f"{word} the {name if many == 1 else f'{many} {name}s'} from {told}"


def moment(ms: int, *, with_time: bool = True) -> str:
    """Return when it was, in UTC; of a year that a calendar does not have, the milliseconds since 1970."""
    try:
        found = datetime.fromtimestamp(ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{ms} ms"
    return f"{found:%Y-%m-%d %H:%M}" if with_time else f"{found:%Y-%m-%d}"


def iso(ms: int) -> str:
    """Return when it was, in UTC, for programs: as ISO 8601, if a calendar has that year."""
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return moment(ms)


def percent(share: float) -> str:
    """Return a share with one digit after the point below 10 %, without above; a little is told as less than 0.1 %."""
    if 0.0 < share < 0.0005:
        return "< 0.1 %"
    return f"{100 * share:.1f} %" if share < 0.0995 else f"{100 * share:.0f} %"


def brief(value: float) -> str:
    """Return a number with three digits, or as a whole one."""
    if 1_000 <= abs(value) < 1e7:
        return f"{value:.0f}"
    return f"{value:.2f}" if 1 <= abs(value) < 1_000 else f"{value:.3g}"
