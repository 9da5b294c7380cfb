"""What the monitor has published, read once."""

from collections.abc import Mapping
from typing import Any

from streams import schemas_dir
from streams.avro.read import Reader
from streams.config import Settings
from streams.errors import SetupError
from streams.kafka.admin import Admin
from streams.kafka.scan import scan
from streams.records import TP

Parts = Mapping[bytes, Mapping[str, Any]]
"""Of each key the last part, as `performance_part.avsc` has it."""


def read_parts(settings: Settings, admin: Admin) -> Parts:
    """Return everything that is published now. Raises: SetupError, Unreachable."""
    if settings.parts not in admin.topics([settings.parts]):
        raise SetupError(
            f"topic {settings.parts} does not exist. `streams topics apply` creates it, where there are [labels]"
        )
    reader = Reader((schemas_dir() / "performance_part.avsc").read_text("utf-8"))
    tps = [TP(settings.parts, partition) for partition in range(settings.partitions)]
    starts, ends = admin.offsets(tps, "earliest"), admin.offsets(tps, "stable")
    parts: dict[bytes, Mapping[str, Any]] = {}
    for part in scan(settings.kafka, {tp: (starts[tp], ends[tp]) for tp in tps}):
        for key, value, offset in zip(part.keys, part.values, part.offset, strict=True):
            if key is None:
                continue
            parts.pop(key, None)
            if value is not None:
                try:
                    parts[key] = reader.read(value, skip=5)
                except ValueError as error:
                    raise SetupError(f"{part.tp}@{offset}: {error}. Was it written by a newer version?") from None
    return parts
