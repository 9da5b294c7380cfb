"""The state of partitions in memory: the twin for tests and for pure runs; nothing survives the process."""

from collections.abc import Iterator, Sequence

from streams.records import Checkpoint, Put


class MemoryStore:
    """A `Store` of dictionaries. `forget` and `close` differ as they do on disk: a closed partition returns warm."""

    def __init__(self) -> None:
        self._data: dict[int, dict[bytes, bytes]] = {}
        self._checkpoints: dict[int, Checkpoint] = {}
        self._open: set[int] = set()

    def open(self, partition: int) -> Checkpoint | None:
        """Open (or create) a partition's state; return how far it reflects the changelog."""
        self._data.setdefault(partition, {})
        self._open.add(partition)
        return self._checkpoints.get(partition)

    def get(self, partition: int, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return each key's value, or None."""
        assert partition in self._open, f"partition {partition} is not open"
        data = self._data[partition]
        return [data.get(key) for key in keys]

    def scan(self, partition: int, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield every key that begins with the prefix, in order, and its value."""
        assert partition in self._open, f"partition {partition} is not open"
        yield from sorted((key, value) for key, value in self._data[partition].items() if key.startswith(prefix))

    def apply(self, partition: int, puts: Sequence[Put], checkpoint: Checkpoint) -> None:
        """Apply changes and the checkpoint together."""
        assert partition in self._open, f"partition {partition} is not open"
        data = self._data[partition]
        data.update(puts)
        for key, value in puts:
            if not value and not data.get(key, b"?"):
                del data[key]
        self._checkpoints[partition] = checkpoint

    def forget(self, partition: int) -> None:
        """Delete a partition's state; it stays open, and empty, if it was open."""
        self._data[partition] = {}
        self._checkpoints.pop(partition, None)

    def close(self, partition: int) -> None:
        """Let go of a partition, keeping its state."""
        self._open.discard(partition)

    def items(self, partition: int) -> dict[bytes, bytes]:
        """Return everything that a partition's state holds."""
        return dict(self._data.get(partition, {}))
