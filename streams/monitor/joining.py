"""The join of a batch: predictions and labels of some identities, what was known of them, and what changes. Room: pure."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

from streams.monitor.labels import NOTHING, Fate, Known, Label, Prediction, labelled, predicted
from streams.monitor.tasks import Row
from streams.monitor.windows import Rules, changes


class Seen(StrEnum):
    """What became of a prediction."""

    PREDICTED = "predicted"
    REPEATED = "repeated"
    """There was one of its identity."""


class Joined(NamedTuple):
    """What a batch changes."""

    known: Mapping[bytes, Known]
    """What is known now of each identity that changed."""
    rows: Mapping[bytes, Row]
    """By how much rows of windows change."""
    fates: list[Fate | Seen]
    """What became of each event."""


def join(events: Iterable[tuple[bytes, Prediction | Label]], known: Mapping[bytes, Known], rules: Rules) -> Joined:
    """Return what some events change, in their order; nothing of it depends on the order but the fates.

    Args:
        events: each with its identity.
        known: what is known of each of these identities so far; what is missing is not known.
        rules: how predictions are counted.
    """
    now: dict[bytes, Known] = {}
    fates: list[Fate | Seen] = []
    horizon_ms = rules.horizon_ms
    for identity, event in events:
        before = now.get(identity) or known.get(identity, NOTHING)
        if isinstance(event, Prediction):
            now[identity] = predicted(before, event, horizon_ms)
            fates.append(Seen.REPEATED if before.prediction else Seen.PREDICTED)
        else:
            now[identity], fate = labelled(before, event, horizon_ms)
            fates.append(fate)
    changed = {identity: after for identity, after in now.items() if after != known.get(identity, NOTHING)}
    steps = ((known.get(identity, NOTHING), after) for identity, after in changed.items())
    return Joined(changed, changes(steps, rules), fates)
