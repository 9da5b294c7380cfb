"""Schema ids on disk: what a registry once said of an id is true for ever, also while the registry is down.

One file an id, in a folder of its own for each registry: the same id means another schema elsewhere. Several processes
may share the folder; they write the same facts, and each file whole or not at all.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import structlog

FORMAT = 1
_log = structlog.get_logger(__name__)


class Remembered(NamedTuple):
    """A schema of the registry, and the subjects under which it is known to be registered."""

    text: str
    kind: str
    """`AVRO`, `JSON` or `PROTOBUF`."""
    references: bool
    subjects: frozenset[str]


class IdCache:
    """The remembered ids of one registry, which its URLs identify (no credentials: they are no part of who it is)."""

    def __init__(self, directory: Path, servers: tuple[str, ...]) -> None:
        name = hashlib.sha256("\n".join(servers).encode()).hexdigest()[:16]
        self._folder = directory / f"registry-{name}"

    def load(self) -> Iterator[tuple[int, Remembered]]:
        """Yield every id that can be read. A damaged file is as good as none: the registry will be asked again."""
        for path in sorted(self._folder.glob("*.json")):
            try:
                schema_id = int(path.stem)
                yield schema_id, _parse(path.read_bytes(), schema_id)
            except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
                _log.warning("schema_cache_ignored", file=str(path), error=repr(error)[:200])

    def store(self, schema_id: int, entry: Remembered) -> None:
        """Write one id: the file is whole, or the old one stays. A full disk costs only the memory of a restart."""
        body = {
            "format": FORMAT,
            "id": schema_id,
            "kind": entry.kind,
            "references": entry.references,
            "subjects": sorted(entry.subjects),
            "sha256": _digest(entry.text),
            "schema": entry.text,
        }
        path = self._folder / f"{schema_id}.json"
        half = self._folder / f".{schema_id}.{os.getpid()}.half"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with half.open("w", encoding="utf-8") as file:
                json.dump(body, file)
                file.flush()
                os.fsync(file.fileno())
            half.replace(path)
        except OSError as error:
            _log.warning("schema_cache_not_written", file=str(path), error=str(error))

    def forget(self, schema_id: int) -> None:
        """Delete an id that the registry contradicts."""
        (self._folder / f"{schema_id}.json").unlink(missing_ok=True)


def _parse(body: bytes, schema_id: int) -> Remembered:
    """Raises: ValueError, KeyError, TypeError for anything but a file that `store` wrote for this id."""
    tree = json.loads(body)
    entry = Remembered(tree["schema"], tree["kind"], tree["references"], frozenset(tree["subjects"]))
    if tree["format"] != FORMAT or tree["id"] != schema_id or tree["sha256"] != _digest(entry.text):
        raise ValueError("damaged, of another format, or of another id")
    return entry


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
