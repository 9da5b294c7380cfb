"""The supervisor restarts what dies, leaves down what cannot be cured, and ends its children with itself."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.errors import Fenced, OutcomeUnknown, SlotTaken, Unreachable
from streams.records import TP
from streams.slots import RESTARTS, Slot, last_progress, restarts
from streams.supervisor import ALONE_MAX, CONDEMNED_MAX, DEATHS_MAX, TRIAL_AFTER, Supervisor
from streams.suspects import SUSPECTS, Suspects, alone, heard, ranges, told

CHILD = "import os, sys; n = int(open(sys.argv[1]).read() or 0) + 1; open(sys.argv[1], 'w').write(str(n)); "


def until(done: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + seconds
    wait = threading.Event()
    while not done():
        assert time.monotonic() < deadline, "deadline"
        wait.wait(0.02)


def child(tmp_path: Path, body: str) -> tuple[list[str], Path]:
    """A worker that counts its starts in a file and then does `body` with the count in `n`."""
    count = tmp_path / "count"
    count.write_text("")
    return [sys.executable, "-c", CHILD + body, str(count)], count


def test_a_worker_that_dies_is_started_again_at_once(tmp_path: Path) -> None:
    """Killed once, it runs again, and a clean end is the end."""
    command, count = child(tmp_path, "n < 2 and os.kill(os.getpid(), 9)")
    begun = time.monotonic()
    assert 0 == Supervisor({"a-00": command}, tmp_path).run()
    assert "2" == count.read_text()
    assert time.monotonic() - begun < 5


def test_a_reason_that_a_restart_cannot_cure_stays_down(tmp_path: Path) -> None:
    """A taken slot is not fought for."""
    command, count = child(tmp_path, f"sys.exit({SlotTaken.code})")
    assert SlotTaken.code == Supervisor({"a-00": command}, tmp_path).run()
    assert "1" == count.read_text()


def test_a_worker_that_dies_over_the_same_batch_again_and_again_stays_down(tmp_path: Path) -> None:
    """The slot stops with the batch's coordinates; a slot beside it goes on to its own end."""
    (tmp_path / "a-00").mkdir()
    trace = "f'requests[0] 7..{n}' + (f', requests[1] {n}..{2 * n}' if n % 2 else '')"  # what else is in a batch varies
    body = f"open({str(tmp_path / 'a-00' / 'progress')!r}, 'w').write({trace}); os.kill(os.getpid(), 11)"
    command, count = child(tmp_path, body)
    other = [sys.executable, "-c", "pass"]
    assert 128 + signal.SIGSEGV == Supervisor({"a-00": command, "a-01": other}, tmp_path).run()
    assert str(DEATHS_MAX) == count.read_text()


POISON = """
import json, os, re
said = json.loads(os.environ["STREAMS_SUSPECTS"])
trial, condemned = said["trial"], said["condemned"]
def note(trace): open(progress, "w").write(trace)
def die(trace): note(trace); os.kill(os.getpid(), 11)
left = [at for at in poison if f"requests[0] {at}..{at}" not in condemned]
if left:
    first = max(begin, min(left) - 40)
    die(f"requests[0] {left[0]}..{left[0]}" if trial else f"requests[0] {first}..{first + 99}, requests[1] {n}..{n}")
note("")
"""


def poisoned(tmp_path: Path, *poison: int) -> tuple[list[str], Path]:
    """A worker that dies over some records; it looks at each alone when it is told to."""
    progress = tmp_path / "a-00" / "progress"
    progress.parent.mkdir()
    return child(tmp_path, f"begin, poison, progress = 7, {list(poison)}, {str(progress)!r}\n{POISON}")


def test_the_record_that_workers_die_over_is_found_and_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two deaths over a batch, three over a record alone; then the next worker goes on."""
    monkeypatch.setattr("streams.supervisor.BACKOFF_S", (0.0,))
    command, count = poisoned(tmp_path, 25)
    assert 0 == Supervisor({"a-00": command}, tmp_path).run()
    assert str(TRIAL_AFTER + ALONE_MAX + 1) == count.read_text()


def test_too_many_such_records_are_not_the_records_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three are refused, and the fourth stops the slot: it is the model that kills its workers."""
    monkeypatch.setattr("streams.supervisor.BACKOFF_S", (0.0,))
    command, count = poisoned(tmp_path, 25, 26, 40, 60)
    assert 128 + signal.SIGSEGV == Supervisor({"a-00": command}, tmp_path).run()
    assert str(TRIAL_AFTER + (CONDEMNED_MAX + 1) * ALONE_MAX) == count.read_text()


def test_a_refusal_that_does_not_help_stops_the_slot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that die over a record before anything can be refused."""
    monkeypatch.setattr("streams.supervisor.BACKOFF_S", (0.0,))
    monkeypatch.setattr(sys.modules[__name__], "POISON", POISON.replace(" not in condemned]", "]"))
    command, count = poisoned(tmp_path, 25)
    assert 128 + signal.SIGSEGV == Supervisor({"a-00": command}, tmp_path).run()
    assert str(TRIAL_AFTER + 2 * ALONE_MAX) == count.read_text()


def test_what_was_refused_is_told_to_every_slot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is given the partition next must not find it out anew."""
    monkeypatch.setattr("streams.supervisor.BACKOFF_S", (0.0,))
    command, _ = poisoned(tmp_path, 25)
    told = tmp_path / "told"
    other = f"open({str(told)!r}, 'a').write(os.environ[{SUSPECTS!r}] + '\\n')\nn == 1 and os.kill(os.getpid(), 9)"
    folder = tmp_path / "other"
    folder.mkdir()
    beside, _ = child(folder, other)
    supervisor = Supervisor({"a-00": command, "a-01": beside}, tmp_path)
    supervisor._refused = {"requests[0] 25..25": time.monotonic()}
    assert 0 == supervisor.run()
    assert [((TP("requests", 0), 25),)] * 2 == [
        heard({SUSPECTS: line}).condemned for line in told.read_text().splitlines()
    ]


def test_a_death_before_the_next_batch_is_not_the_last_one_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed once over a record, and then unable to start for a while: nothing is held against the record."""
    monkeypatch.setattr("streams.supervisor.BACKOFF_S", (0.0,))
    progress = tmp_path / "a-00" / "progress"
    progress.parent.mkdir()
    body = f"n == 1 and open({str(progress)!r}, 'w').write('requests[0] 7..7')\nsys.exit(1 if n < 12 else 0)"
    command, count = child(tmp_path, body)
    assert 0 == Supervisor({"a-00": command}, tmp_path).run()
    assert "12" == count.read_text()


def test_what_is_told_of_suspects_is_heard() -> None:
    """Topics may have dots and dashes; a trace that was cut off says as much as it still does."""
    trace = "a.b-c[3] 7..9, d[0] 5..5, e[1] 12"
    assert Suspects({TP("a.b-c", 3): range(7, 10), TP("d", 0): range(5, 6)}, ((TP("f", 2), 8),)) == heard(
        {SUSPECTS: told(trace, ["f[2] 8..8"])}
    )
    assert Suspects() == heard({})
    both = "d[0] 5..9, e[1] 0..3, d[0] 12..14"
    assert {TP("d", 0): range(5, 15), TP("e", 1): range(4)} == ranges(both), "what was read ahead is behind the batch"
    assert [False, True, False, False] == [alone(one) for one in ("", "d[0] 5..5", "d[0] 5..6", "d[0] 5..5, e[0] 1..1")]


def test_children_end_with_their_supervisor(tmp_path: Path) -> None:
    """A supervisor killed with -9 leaves no worker behind: a worker's standard input is the supervisor's pipe."""
    pids = tmp_path / "pid"
    worker = (
        "import os, sys, threading; from streams.worker import _follow_supervisor\n"
        f"open({str(pids)!r}, 'w').write(str(os.getpid())); _follow_supervisor()"
    )
    code = (
        "import sys; from pathlib import Path; from streams.supervisor import Supervisor\n"
        f"Supervisor({{'a-00': [sys.executable, '-c', {worker!r}]}}, Path({str(tmp_path)!r})).run()"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as supervisor:
        until(lambda: pids.exists() and pids.read_text() != "")
        supervisor.kill()
    until(lambda: not _alive(int(pids.read_text())))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat")
        return not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except ProcessLookupError:
        return False


def test_a_worker_is_told_how_those_before_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By exit code, a signal's number with a minus: the one way to count what ended a process, from inside the next."""
    monkeypatch.setattr("streams.supervisor.BACKOFF_S", (0.0,))
    monkeypatch.setenv(RESTARTS, '{"1": 99}')  # a supervisor that is itself a child of one
    told = tmp_path / "told"
    body = (
        f"open({str(told)!r}, 'a').write(os.environ[{RESTARTS!r}] + '\\n')\n"
        f"n == 1 and os.kill(os.getpid(), 9)\nsys.exit({OutcomeUnknown.code} if n < 4 else 0)"
    )
    command, _ = child(tmp_path, body)
    assert 0 == Supervisor({"a-00": command}, tmp_path).run()
    counts = [restarts({RESTARTS: line}) for line in told.read_text().splitlines()]
    assert [{}, {"-9": 1}, {"-9": 1, "7": 1}, {"-9": 1, "7": 2}] == counts
    assert {} == restarts({})


def test_deaths_of_the_world_are_not_the_batch_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that is away for long is no reason to give a slot up, whatever batch was in hand when it went."""
    monkeypatch.setattr("streams.supervisor.BACKOFF_S", (0.0,))
    (tmp_path / "a-00").mkdir()
    (tmp_path / "a-00" / "progress").write_text("requests[0] 7..9")
    limit = DEATHS_MAX + 1
    command, count = child(tmp_path, f"sys.exit({Unreachable.code} if n <= {limit} else 0)")
    assert 0 == Supervisor({"a-00": command}, tmp_path).run()
    assert str(limit + 1) == count.read_text()


def test_a_slot_that_another_host_fights_for_stays_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fenced once, it comes back: the broker may have done it. Again and again is somebody else."""
    monkeypatch.setattr("streams.supervisor.BACKOFF_S", (0.0,))
    monkeypatch.setattr("streams.supervisor.FENCES_MAX", 4)
    command, count = child(tmp_path, f"sys.exit({Fenced.code} if n < 4 else 0)")
    assert 0 == Supervisor({"a-00": command}, tmp_path).run()
    assert "4" == count.read_text()
    command, count = child(tmp_path, f"sys.exit({Fenced.code})")
    assert Fenced.code == Supervisor({"a-00": command}, tmp_path).run()
    assert "4" == count.read_text()


def test_a_new_owner_of_a_slot_clears_its_trace(tmp_path: Path) -> None:
    """A death before any batch is not counted against the last one."""
    first = Slot(tmp_path, "a-00")
    first.note("requests[0] 7..9")
    first.note("requests[0] 10..12", True)
    assert "requests[0] 7..9, requests[0] 10..12" == last_progress(tmp_path, "a-00")
    first._lock.close()
    Slot(tmp_path, "a-00")
    assert "" == last_progress(tmp_path, "a-00")


def test_one_signal_stops_every_worker_and_a_second_ends_them(tmp_path: Path) -> None:
    """SIGTERM reaches workers however young; one that does not listen is ended by the second signal."""
    body = (
        "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"open({str(tmp_path)!r} + f'/up-{{os.getpid()}}', 'w').close(); time.sleep(60)"
    )
    code = (
        "import sys; from pathlib import Path; from streams.supervisor import Supervisor\n"
        f"c = [sys.executable, '-c', {body!r}]\n"
        f"sys.exit(Supervisor({{'a-00': c, 'a-01': c}}, Path({str(tmp_path)!r})).run())"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as supervisor:
        until(lambda: len(list(tmp_path.glob("up-*"))) == 2)
        supervisor.send_signal(signal.SIGTERM)
        gone = threading.Event()
        assert not gone.wait(0.5)  # both ignore it
        assert supervisor.poll() is None
        supervisor.send_signal(signal.SIGTERM)
        assert 130 == supervisor.wait(10)


def test_a_helper_ends_when_nobody_is_left_to_help(tmp_path: Path) -> None:
    """All others stay down: whoever looks at the process must see it, and why."""
    wrong, _ = child(tmp_path, f"sys.exit({SlotTaken.code})")
    ended = tmp_path / "ended"
    waits = (
        "import signal, sys, threading; signal.signal(15, lambda *_: sys.exit(open(sys.argv[1], 'w').write('') or 0)); "
    )
    helper = [sys.executable, "-c", f"{waits}print(flush=True); threading.Event().wait(60)", str(ended)]
    begun = time.monotonic()
    commands = {"a-00": [sys.executable, "-c", "import time; time.sleep(1)"], "a-01": wrong, "a-helper-02": helper}
    assert SlotTaken.code == Supervisor(commands, tmp_path, helpers={"a-helper-02"}).run()
    assert time.monotonic() - begun < 20
    assert ended.exists(), "it was told"
