"""Disks that rot, fill up, or go; changelogs with a transaction that hangs; workers killed while they restore."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from streams.dev import Stack
from streams.dev.ports import free_ports
from streams.errors import StateError
from tests.faults.attack import arm, sizes, taken
from tests.faults.oracle import judge
from tests.integration.application import QUICK, Application, until

KEYS = 5_000_000


@sizes("flips", 4, 200, 1_800)
def test_bits_flip_on_the_disk(application: Application, flips: int, seed: int, result: Callable[..., None]) -> None:
    """After each kill -9 a file of the state is damaged at random: no request that was seen is ever taken for a new one."""
    app, chance = application, random.Random(seed)
    app.start(mutant="marks")
    fresh, repeats = 0, 0
    for _ in range(flips):
        ids = [f"r{fresh + number}" for number in range(200)]
        fresh += len(ids)
        again = [f"r{chance.randrange(fresh)}" for _ in range(200)]
        repeats += len(again)
        app.ask([*ids, *again])
        answered(app)
        worker = app.workers[-1]
        worker.send_signal(signal.SIGSTOP)
        damage(app, chance)
        worker.kill()
        worker.wait()
        app.start(mutant="marks")
    app.ask(f"r{number}" for number in range(fresh))
    answered(app)
    aside = app.log().count("set aside")
    verdict = judge(app, seed)
    verdict.right()
    assert {"SCORED": fresh, "DUPLICATE": repeats + fresh} == dict(app.kinds())
    result(
        "the local state rots",
        f"{fresh:,} requests and {repeats + fresh:,} repeats, 1 worker, 4 partitions",
        f"{flips} files of the state damaged (a bit flipped, bytes cut off, emptied, overwritten), each beside a kill -9",
        f"0 violations, no repeat taken for a new request; {aside} times the state was set aside and restored",
    )


def answered(app: Application) -> None:
    """Wait until everything is answered; a worker that stopped for its state is started again, as a supervisor does, at once."""

    def done() -> bool:
        code = app.workers[-1].poll()
        if code is not None:
            assert code == StateError.code
            app.start(mutant="marks")
        return app.is_drained()

    until(done, 60, what="all answers")


def damage(app: Application, chance: random.Random) -> None:
    """Damage one file of the state: flip a bit, cut bytes off, empty it, or overwrite a block."""
    folder = app.settings.app.state_dir / "t-00" / "store"
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith("LO")]
    path = chance.choice([path for path in files if path.stat().st_size] or files)
    data = bytearray(path.read_bytes())
    match chance.randrange(4):
        case 0:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        case 1:
            del data[chance.randrange(len(data)) :]
        case 2:
            data.clear()
        case 3:
            at = chance.randrange(len(data))
            data[at : at + 512] = chance.randbytes(min(512, len(data) - at))
    path.write_bytes(data)


def test_kills_while_it_restores(application: Application, seed: int) -> None:
    """With an empty disk, killed after each chunk of the restore, again and again: it comes through, with the same state."""
    app = application
    app.supervise(1, mutant="marks,points,slow-restore")
    app.ask(f"r{number}" for number in range(1_000))
    app.drained()
    for number in range(2):
        pid = app.pid("s-00")
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        if number == 0:
            shutil.rmtree(app.settings.app.state_dir / "s-00" / "store")
        arm(app, "restoring")
        os.kill(pid, signal.SIGKILL)
        until(lambda: taken(app, "restoring"), 30, what="a death in the restore")
        until(lambda gone=pid: app.pid("s-00") not in (None, gone), 30, what="the next worker")  # type: ignore[misc]
    app.ask(f"r{number}" for number in range(1_000))
    app.drained()
    judge(app, seed).right()
    assert {"SCORED": 1_000, "DUPLICATE": 1_000} == dict(app.kinds())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MB, where applications of this test have their state."""
    disk = tmp_path / "state"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", "-l", disk], check=False)


def test_a_disk_that_is_full(stack: Stack, unique: str, tmp_path: Path, small_disk: Path, seed: int) -> None:
    """The worker stops and says so, is tried again, and goes on by itself once there is room; nothing is lost or doubled."""
    app = Application(stack, unique, tmp_path, partitions=4, more=f"{QUICK}[batch]\nrecords = 500\n")
    assert app.settings.app.state_dir == small_disk
    try:
        app.supervise(1, mutant="marks")
        app.ask(f"r{number}" for number in range(2_000))
        app.drained()
        fill(small_disk / "ballast")
        app.ask(f"s{number}" for number in range(6_000))
        until(lambda: f"code={StateError.code}" in app.log("supervisor-s"), 60, what="the worker's complaint")
        (small_disk / "ballast").unlink()
        app.drained(90)
        app.ask(f"{letter}{number}" for letter in "rs" for number in range(2_000))
        app.drained()
        judge(app, seed).right()
    finally:
        app.stop()
    assert {"SCORED": 8_000, "DUPLICATE": 4_000} == dict(app.kinds())


def fill(ballast: Path) -> None:
    """Write until there is no room left on the disk."""
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 12))


@pytest.mark.parametrize("mutant", ["", "restore-ends-at-lso"], ids=["product", "mutant"])
def test_a_transaction_that_hangs_in_the_changelog(stack: Stack, unique: str, tmp_path: Path, mutant: str) -> None:
    """What it hides may be the answer to the next request: no worker is ready before it has ended, and it says why.

    The mutant restores up to where readers can see, and is ready at once.
    """
    (port,) = free_ports(1, but_not=frozenset())
    app = Application(stack, unique, tmp_path, more=f"{QUICK}[metrics]\nport = {port}\n")
    try:
        app.ask(["before"])
        first = app.start()
        app.drained()
        first.terminate()
        first.wait(15)
        hanging = Producer({"bootstrap.servers": stack.bootstrap, "transactional.id": f"{unique}.hanging"})
        hanging.init_transactions(20)
        hanging.begin_transaction()
        hanging.produce(app.settings.changelog, b"", partition=0)
        hanging.flush(10)
        shutil.rmtree(app.settings.app.state_dir / "t-00" / "store")
        app.start(mutant=mutant)
        told = [""]

        def page() -> str:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
                    told[0] = f"200 {answer.read().decode()}"
            except urllib.error.HTTPError as error:
                told[0] = f"{error.code} {error.read().decode()}"
            except OSError as error:
                told[0] = str(error)
            return told[0]

        if mutant:
            until(lambda: page().startswith("200"), 20, what="a worker that is ready too soon")
            return
        until(lambda: page().startswith("503") and "restor" in told[0], 20, what="the reason")
        app.ask(["after"])
        assert "recovered" not in app.log()[app.log().index("stopping") :]
        hanging.abort_transaction(20)
        until(lambda: page().startswith("200"), 30, what="readiness")
        app.drained()
        assert dict(app.kinds()) == {"SCORED": 2}
    finally:
        app.stop()


@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_a_large_state_comes_back(stack: Stack, unique: str, tmp_path: Path, result: Callable[..., None]) -> None:
    """Five million requests are remembered: ready soon where the disk is intact, restored from the changelog where it is lost."""
    app = Application(stack, unique, tmp_path, partitions=4)
    store = app.settings.app.state_dir / "t-00" / "store"
    try:
        app.start()
        for first in range(0, KEYS, 50_000):
            app.ask(f"r{number}" for number in range(first, first + 50_000))
        app.drained(900)
        intact = back_after(app)
        size = sum(path.stat().st_size for path in store.rglob("*"))
        lost = back_after(app, store)
        app.ask(f"r{number}" for number in range(0, KEYS, KEYS // 1_000))
        app.drained()
        after = Counter(app._decoded(message)["kind"] for message in app.read([app.settings.outcomes]))
        assert {"START": 4, "DUPLICATE": 1_000} == dict(after)
    finally:
        app.stop()
    result(
        "a large state comes back",
        f"{KEYS:,} keys, 4 partitions, 1 worker, {size / 2**20:,.0f} MiB on disk",
        "the worker is restarted with its disk, and without",
        f"reads again {intact:.1f} s after the start of its process with an intact disk, {lost:.1f} s with none: "
        f"{KEYS / (lost - intact):,.0f} keys a second; of 1,000 repeats none was taken for a new request",
    )


def back_after(app: Application, lost: Path | None = None) -> float:
    """Stop the worker, and return how long the next one takes until it has recovered."""
    app.workers[-1].terminate()
    app.workers[-1].wait(30)
    if lost is not None:
        shutil.rmtree(lost)
    said = app.log().count("recovered")
    app.start()
    return until(lambda: app.log().count("recovered") > said, 300, what="the recovery")
