"""The laws of a `Store`, on the memory twin and on RocksDB."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.errors import StateError
from streams.ports import Store
from streams.records import Checkpoint
from streams.state.memory import MemoryStore
from streams.state.rocks import RocksStore
from tests.integration.application import until

LOG = b"L" * 16
Make = Callable[[], Store]


@pytest.fixture(params=["memory", "rocks"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """One of the twins, empty."""
    return MemoryStore() if request.param == "memory" else RocksStore(tmp_path)


def test_a_new_partition_is_empty(store: Store) -> None:
    """There is no checkpoint and nothing is known."""
    assert store.open(3) is None
    assert [None, None] == store.get(3, [b"da", b"db"])


def test_changes_and_checkpoint_are_seen_together(store: Store) -> None:
    """What was applied is read back, the later put of a key wins, and partitions do not mix."""
    store.open(0), store.open(1)
    store.apply(0, [(b"da", b"1"), (b"db", b"2"), (b"da", b"3")], Checkpoint(LOG, 7))
    assert [b"3", b"2", None] == store.get(0, [b"da", b"db", b"dc"])
    assert [None] == store.get(1, [b"da"])
    assert Checkpoint(LOG, 7) == store.open(0)


def test_a_closed_partition_returns_warm(store: Store) -> None:
    """A revoke deletes nothing."""
    store.open(0)
    store.apply(0, [(b"da", b"1")], Checkpoint(LOG, 1))
    store.close(0)
    assert Checkpoint(LOG, 1) == store.open(0)
    assert [b"1"] == store.get(0, [b"da"])


def test_a_forgotten_partition_is_empty(store: Store) -> None:
    """Forgetting takes state and checkpoint, and leaves the other partitions alone."""
    store.open(0), store.open(1)
    for partition in (0, 1):
        store.apply(partition, [(b"da", b"1")], Checkpoint(LOG, 1))
    store.forget(0)
    assert [None] == store.get(0, [b"da"])
    assert store.open(0) is None
    assert Checkpoint(LOG, 1) == store.open(1)


def test_a_killed_process_loses_nothing_that_it_applied(tmp_path: Path) -> None:
    """RocksDB after kill -9: everything applied is there, state and checkpoint as one."""
    child = (
        "import os, sys; from pathlib import Path; from streams.records import *; from streams.state.rocks import RocksStore\n"
        "s = RocksStore(Path(sys.argv[1])); s.open(0)\n"
        "for i in range(50): s.apply(0, [(b'd%d' % i, b'%d' % i)], Checkpoint(b'L' * 16, i))\n"
        "os.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", child, str(tmp_path)], check=False, env=dict(os.environ))
    assert -signal.SIGKILL == ended.returncode
    store = RocksStore(tmp_path)
    assert Checkpoint(LOG, 49) == store.open(0)
    assert [b"%d" % i for i in range(50)] == store.get(0, [b"d%d" % i for i in range(50)])


@pytest.mark.parametrize("share", [0.0, 0.3], ids=["seen at the checkpoint", "seen at a read"])
def test_flipped_bytes_are_never_read_as_not_seen(tmp_path: Path, share: float) -> None:
    """Whether the checkpoint's block or another one is hit: set aside, and empty for a restore; nothing is answered."""
    keys = [b"d%06d" % i for i in range(10_000)]
    store = RocksStore(tmp_path)
    store.open(0)
    store.apply(0, [(key, key * 9) for key in keys], Checkpoint(LOG, 1))
    store.close(0)
    (file,) = (tmp_path / "p00000").glob("*.sst")
    data = bytearray(file.read_bytes())
    begin = int(share * len(data))
    for at in range(begin, begin + 100):
        data[at] ^= 0xFF
    file.write_bytes(data)
    store = RocksStore(tmp_path)
    if share:
        assert store.open(0) is not None
        with pytest.raises(StateError, match="Corruption"):
            store.get(0, keys)
        assert (tmp_path / "p00000.broken").is_dir()
    assert store.open(0) is None
    assert [None] == store.get(0, keys[:1])
    assert (tmp_path / "p00000.broken").is_dir()


def test_what_a_compaction_finds_rotten_is_set_aside(tmp_path: Path) -> None:
    """Then the database can neither write nor be closed in order; it is let go of, set aside, and empty for a restore."""
    store = RocksStore(tmp_path)

    def is_found(number: int) -> bool:
        try:
            store.apply(0, [(b"d%06d" % i, b"%d" % number) for i in range(2_000)], Checkpoint(LOG, number))
        except StateError:
            return True
        return False

    for number in range(8):  # one file each: so many are compacted, in the background
        store.open(0)
        if is_found(number):
            break
        store.close(0)
        if number == 1:
            file = min((tmp_path / "p00000").glob("*.sst"))
            data = bytearray(file.read_bytes())
            data[len(data) // 2] ^= 1
            file.write_bytes(data)
    else:
        store.open(0)
        until(lambda: is_found(8), 60, what="the compaction that finds it")
    assert (tmp_path / "p00000.broken").is_dir()
    assert store.open(0) is None


def test_a_directory_that_cannot_be_opened_is_set_aside(tmp_path: Path) -> None:
    """Corruption stays in one partition and never answers «not seen»: the partition begins empty, without a checkpoint."""
    store = RocksStore(tmp_path)
    store.open(0), store.open(1)
    for partition in (0, 1):
        store.apply(partition, [(b"da", b"1")], Checkpoint(LOG, 1))
        store.close(partition)
    (tmp_path / "p00000" / "CURRENT").write_bytes(b"")
    again = RocksStore(tmp_path)
    assert again.open(0) is None
    assert (tmp_path / "p00000.broken").is_dir()
    assert Checkpoint(LOG, 1) == again.open(1)


def test_tables_in_memory_stay_within_their_budget(tmp_path: Path) -> None:
    """However many partitions share it, all of them written to; while some are being written as files, as many again may fill."""
    partitions, budget = 8, 4 << 20
    store = RocksStore(tmp_path, partitions=partitions, write_bytes=budget)
    most = 0
    for partition in range(partitions):
        store.open(partition)
    for number in range(120):
        puts = [(b"d%d %d" % (number, key), bytes(100)) for key in range(100)]
        for partition in range(partitions):
            store.apply(partition, puts, Checkpoint(LOG, number))
        tables = (database.property_int_value("rocksdb.cur-size-all-mem-tables") for database in store._open.values())
        most = max(most, sum(size or 0 for size in tables))
    assert budget / 2 < most < 2 * budget
