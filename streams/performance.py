"""`streams performance`: what the monitor has published, read once and told."""

import math

from streams.config import Settings
from streams.durations import HOUR_MS
from streams.errors import ConfigError
from streams.kafka.admin import Admin
from streams.monitor.merging import Merged, merged
from streams.monitor.telling import Told, newest_ms, told
from streams.monitored import Subject
from streams.parts import read_parts


def read(settings: Settings) -> Merged:
    """Return everything that is published now. Raises: ConfigError, SetupError, Unreachable."""
    return merged(read_parts(settings, Admin(settings.kafka)), Subject(settings).rules)


def performance(settings: Settings, span_hours: float | None = None, as_of_ms: int | None = None) -> list[Told]:
    """Return what is told of each model's predictions, span by span.

    Args:
        settings: the application's.
        span_hours: how long a span is, a multiple of the grain; default: the grain.
        as_of_ms: up to when events and labels were seen; default: the end of the newest window.
    Raises: ConfigError, SetupError, Unreachable.
    """
    subject = Subject(settings)
    span = span_hours or settings.monitor.grain_hours
    times = span * HOUR_MS / subject.rules.grain_ms
    if times < 1 or not math.isclose(times, round(times), abs_tol=1e-9):
        raise ConfigError(
            f"a span of {span:g} h is no multiple of [monitor] grain_hours ({settings.monitor.grain_hours:g})"
        )
    found = read(settings)
    newest = newest_ms(found, subject.rules)
    if newest is None:
        return []
    return told(found, subject.rules, round(times), newest if as_of_ms is None else as_of_ms, subject.absence)
