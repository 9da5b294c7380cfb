"""`streams performance`: what the monitor has published, read once and told."""

import math
from typing import Any

from streams import schemas_dir
from streams.avro.read import Reader
from streams.config import Settings
from streams.errors import ConfigError, SetupError
from streams.kafka.admin import Admin
from streams.kafka.scan import scan
from streams.monitor.merging import Merged, latest, merged
from streams.monitor.telling import Told, newest_ms, told
from streams.monitor_assembly import Subject
from streams.records import TP
from streams.topics import HOUR_MS


def read(settings: Settings) -> Merged:
    """Return everything that is published now. Raises: SetupError, Unreachable."""
    admin = Admin(settings.kafka)
    if settings.parts not in admin.topics([settings.parts]):
        raise SetupError(
            f"topic {settings.parts} does not exist. `streams topics apply` creates it, where there are [labels]"
        )
    reader = Reader((schemas_dir() / "performance_part.avsc").read_text("utf-8"))
    tps = [TP(settings.parts, partition) for partition in range(settings.partitions)]
    starts, ends = admin.offsets(tps, "earliest"), admin.offsets(tps, "stable")
    records: list[tuple[bytes | None, dict[str, Any] | None]] = []
    for part in scan(settings.kafka, {tp: (starts[tp], ends[tp]) for tp in tps}):
        for key, value in zip(part.keys, part.values, strict=True):
            records.append((key, None if value is None else _part(reader, value)))
    return merged(latest(records))


def _part(reader: Reader, value: bytes) -> dict[str, Any]:
    try:
        return reader.read(value, skip=5)
    except ValueError as error:
        raise SetupError(f"a part of a window cannot be read: {error}. Was it written by a newer version?") from None


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
