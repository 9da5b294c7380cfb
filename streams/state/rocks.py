"""The state of partitions in RocksDB: one directory a partition, one cache and one write budget for all.

A directory a partition means that forgetting is deleting a directory, that corruption stays in one partition, and that
a partition that returns is still warm. State and checkpoint change in one atomic write, after the Kafka transaction
that they repeat was committed; so the local state is never ahead of the log, and a crash never needs a wipe. The
write-ahead log is on but not synced: a killed process loses nothing, a power cut loses what the changelog repeats.
"""

import shutil
import struct
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import starmap
from operator import itemgetter
from pathlib import Path
from typing import cast

import structlog
from rocksdict import (
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    Options,
    Rdict,
    WriteBatch,
    WriteBufferManager,
)

from streams.errors import StateError
from streams.records import Checkpoint, Put

log = structlog.get_logger()

CHECKPOINT = b"c"
"""Key of the checkpoint; it is never in the changelog."""
_CHECKPOINT = struct.Struct(">B16sIq")
"""Format, topic id, partition (a directory may have been moved), offset."""
FORMAT = 1
MERGED = 8
"""So many tables in memory are written as one file."""
TABLE_BYTES = (64 << 10, 2 << 20)
"""How small and how large such a table may be."""
CORRUPT, FULL = "Corruption", "No space left"
"""RocksDB's own words in the errors that decide what happens next."""


class RocksStore:
    """A `Store` in `directory`, one sub-directory for each partition; `partitions` of them at most will be open at once.

    Nothing is ever dropped here: what the changelog has forgotten goes when the partition is restored in full. RocksDB's
    own time-to-live must not be used: its compaction filter dropped live entries after a kill, and a store that answers
    «not seen» for what it has seen makes a request scored twice.
    """

    def __init__(
        self, directory: Path, *, partitions: int = 4, cache_bytes: int = 64 << 20, write_bytes: int = 64 << 20
    ) -> None:
        self._directory = directory
        self._cache = Cache(cache_bytes)
        self._table_bytes = min(max(write_bytes // (MERGED * partitions), TABLE_BYTES[0]), TABLE_BYTES[1])
        self._budget = WriteBufferManager(write_bytes, False)
        self._open: dict[int, Rdict] = {}
        directory.mkdir(parents=True, exist_ok=True)

    def open(self, partition: int) -> Checkpoint | None:
        """Open (or create) a partition's state; return how far it reflects the changelog.

        What RocksDB cannot open is set aside, and the partition begins empty: the changelog has it all.
        Raises: StateError if there is no room on the disk.
        """
        try:
            raw = self._opened(partition).get(CHECKPOINT)
        except Exception as error:  # noqa: BLE001 - rocksdict raises bare Exception for everything
            if FULL in str(error):
                raise self._failed(partition, error) from None
            self._set_aside(partition, error)
            raw = self._opened(partition).get(CHECKPOINT)
        if raw is None or len(raw) != _CHECKPOINT.size or raw[0] != FORMAT:
            return None
        _, topic_id, owner, offset = _CHECKPOINT.unpack(raw)
        return Checkpoint(topic_id, offset) if owner == partition else None

    def get(self, partition: int, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return each key's value, or None. Raises: StateError."""
        with self._guarded(partition):
            return cast(list[bytes | None], self._open[partition].get(list(keys)))

    def scan(self, partition: int, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield every key that begins with the prefix, in order, and its value. Raises: StateError."""
        with self._guarded(partition):
            pairs = cast(Iterator[tuple[bytes, bytes]], self._open[partition].items(from_key=prefix))
            for key, value in pairs:
                if not key.startswith(prefix):
                    break
                yield key, value

    def apply(self, partition: int, puts: Sequence[Put], checkpoint: Checkpoint) -> None:
        """Apply changes and the checkpoint in one atomic write; an empty value takes the key away. Raises: StateError."""
        batch = WriteBatch(raw_mode=True)
        if b"" in map(itemgetter(1), puts):
            for key, value in puts:
                if value:
                    batch.put(key, value)
                else:
                    batch.delete(key)
        else:  # without bytecode between two
            deque(starmap(batch.put, puts), maxlen=0)
        batch.put(CHECKPOINT, _CHECKPOINT.pack(FORMAT, checkpoint.topic_id, partition, checkpoint.offset))
        with self._guarded(partition):
            self._open[partition].write(batch)

    def forget(self, partition: int) -> None:
        """Delete a partition's state; it stays open, and empty, if it was open."""
        was_open = partition in self._open
        self.close(partition)
        if self._path(partition).exists():
            # renamed first: what a kill leaves of a half-deleted directory must not be opened as a state
            doomed = self._path(partition).with_suffix(".forgotten")
            shutil.rmtree(doomed, ignore_errors=True)
            self._path(partition).rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)
        if was_open:
            self._opened(partition)

    def close(self, partition: int) -> None:
        """Let go of a partition, keeping its state for when it returns.

        One that cannot be closed in order is let go of all the same: what it could not flush is in its write-ahead log,
        and what is corrupt is found when it is opened or written again.
        """
        database = self._open.pop(partition, None)
        if database is not None:
            try:
                database.close()
            except Exception as error:  # noqa: BLE001 - rocksdict raises bare Exception for everything
                log.warning("state not closed in order", partition=partition, error=str(error))

    def items(self, partition: int) -> dict[bytes, bytes]:
        """Return everything that a partition's state holds, but the checkpoint; for tests and inspection."""
        pairs = cast(Iterator[tuple[bytes, bytes]], self._open[partition].items())
        return {key: value for key, value in pairs if key != CHECKPOINT}

    @contextmanager
    def _guarded(self, partition: int) -> Iterator[None]:
        """Stop for whatever the database says; what is corrupt is set aside, so that the next start restores it.

        RocksDB checks every block that it reads, so corruption can be late, but never answers «not seen».
        """
        try:
            yield
        except Exception as error:  # noqa: BLE001 - rocksdict raises bare Exception for everything
            if CORRUPT in str(error):
                self._set_aside(partition, error)
            raise self._failed(partition, error) from None

    def _set_aside(self, partition: int, error: Exception) -> None:
        self.close(partition)
        aside = self._path(partition).with_suffix(".broken")
        shutil.rmtree(aside, ignore_errors=True)
        self._path(partition).rename(aside)
        log.warning("state set aside", partition=partition, kept=str(aside), error=str(error))

    def _failed(self, partition: int, error: Exception) -> StateError:
        return StateError(
            f"the local state of partition {partition} in {self._directory} failed: {error}. Nothing is lost: what is missing "
            "is restored from the changelog at the next start. Is the disk full, or failing?"
        )

    def _opened(self, partition: int) -> Rdict:
        if partition not in self._open:
            self._open[partition] = Rdict(str(self._path(partition)), self._options())
        return self._open[partition]

    def _path(self, partition: int) -> Path:
        return self._directory / f"p{partition:05d}"

    def _options(self) -> Options:
        """Return options for a store of mostly absent 17-byte keys, asked for in lists."""
        table = BlockBasedOptions()
        table.set_block_cache(self._cache)
        table.set_bloom_filter(10, False)
        table.set_cache_index_and_filter_blocks(True)
        table.set_pin_l0_filter_and_index_blocks_in_cache(True)
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_block_based_table_factory(table)
        options.set_write_buffer_manager(self._budget)
        # each change looks for its place in a table in memory: small ones, many of which become one file. Those that wait for
        # that are no part of the budget, so their size is a matter of how many partitions there are
        options.set_write_buffer_size(self._table_bytes)
        options.set_min_write_buffer_number_to_merge(MERGED)
        options.set_max_write_buffer_number(2 * MERGED)
        options.set_allow_concurrent_memtable_write(False)
        # without a filter on the memtable a miss searches it: 2.6 µs instead of 0.7
        options.set_memtable_prefix_bloom_ratio(0.1)
        options.set_memtable_whole_key_filtering(True)
        # the upper two levels are small and soon written again: packing them is work for nothing
        plain, packed = DBCompressionType.none(), DBCompressionType.lz4()
        options.set_compression_per_level([plain, plain, *[packed] * 5])
        options.set_max_background_jobs(2)
        options.set_max_open_files(256)
        options.set_keep_log_file_num(2)
        return options
