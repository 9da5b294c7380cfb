"""The join of a batch: predictions and labels of some identities, what was known of them, and what changes. Room: pure."""

from collections.abc import Iterable, Mapping
from enum import Enum, StrEnum
from typing import NamedTuple

from streams.durations import DAY_MS
from streams.monitor.labels import NOTHING, Fate, Known, Label, Prediction, labelled, predicted
from streams.monitor.tasks import Row
from streams.monitor.windows import Rules, changes


class Seen(StrEnum):
    """What became of a prediction."""

    PREDICTED = "predicted"
    REPEATED = "repeated"
    """There was one of its identity."""
    SEALED = "sealed"
    """Its window was sealed before it came."""
    FUTURE = "future"
    """It says that it is of a time long after it was appended: an event that has not been yet."""


class When(Enum):
    """How the time of an event lies to when it was appended."""

    NOW = 0
    OLD = 1
    """The window of that time is sealed."""
    FUTURE = 2
    """It lies more than FUTURE_MS ahead."""


FUTURE_MS = DAY_MS


def when(event: Prediction | Label, append_ms: int, clock_ms: int, rules: Rules) -> When:
    """Return how the time of an event lies to when it was appended.

    The partition's clock may be far ahead of the record, because the other topic was read first: what it has freed by
    then is sealed, too.
    """
    time_ms = event.event_ms if isinstance(event, Prediction) else event.time_ms
    if isinstance(event, Prediction) and time_ms > append_ms + FUTURE_MS:
        return When.FUTURE
    return When.OLD if rules.is_sealed(time_ms, max(append_ms, clock_ms - SLACK_MS)) else When.NOW


SLACK_MS = DAY_MS
"""State is freed so long after it is sealed, by the clock of its partition: one topic may be read before the other."""


class Joined(NamedTuple):
    """What a batch changes."""

    known: Mapping[bytes, Known]
    """What is known now of each identity that changed."""
    rows: Mapping[bytes, Row]
    """By how much rows of windows change."""
    fates: list[Fate | Seen]
    """What became of each event."""


def join(
    events: Iterable[tuple[bytes, Prediction | Label, When]], known: Mapping[bytes, Known], rules: Rules
) -> Joined:
    """Return what some events change, in their order; nothing of it depends on the order but the fates.

    Args:
        events: each with its identity, and how its time lies.
        known: what is known of each of these identities so far; what is missing is not known.
        rules: how predictions are counted.
    """
    now: dict[bytes, Known] = {}
    fates: list[Fate | Seen] = []
    horizon_ms = rules.horizon_ms
    for identity, event, time in events:
        before = now.get(identity) or known.get(identity, NOTHING)
        if isinstance(event, Prediction) and time is not When.NOW:
            fates.append(Seen.SEALED if time is When.OLD else Seen.FUTURE)
        elif time is When.OLD and before == NOTHING:
            fates.append(Fate.TOO_LATE)  # whatever it is a label of has been freed
        elif isinstance(event, Prediction):
            now[identity] = predicted(before, event, horizon_ms)
            fates.append(Seen.REPEATED if before.prediction else Seen.PREDICTED)
        else:
            now[identity], fate = labelled(before, event, horizon_ms)
            fates.append(fate)
    changed = {identity: after for identity, after in now.items() if after != known.get(identity, NOTHING)}
    steps = ((known.get(identity, NOTHING), after) for identity, after in changed.items())
    return Joined(changed, changes(steps, rules), fates)
