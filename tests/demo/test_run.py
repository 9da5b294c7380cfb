"""`streams demo` itself: a small month on a stack of its own, what it leaves behind, and what it says of a bad run."""

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from streams import demo, dev
from streams.cli import main
from streams.config import load
from streams.demo.run import KEPT
from streams.demo.run import run as run_demo
from streams.demo.workers import NAME
from streams.dev import state
from streams.dev.processes import Child, start_mark
from streams.errors import ConfigError, SetupError
from streams.kafka.produce import RequestProducer
from streams.slots import holder
from tests.talker import Talker

FLIGHTS = 3_000
PROGRAM = """
import sys
from pathlib import Path
from streams.cli import _guarded
from streams.demo.run import run
from streams.kafka.produce import RequestProducer
from streams.errors import Stop
keep, flights = sys.argv[1] == "keep", int(sys.argv[2])
say = lambda line: print(line, flush=True)
sys.exit(_guarded(lambda: run(json_file=Path("demo.json"), keep=keep, seed=7, say=say, picture=Path("weeks.svg"), flights=flights)))
"""
"""`streams demo` with a smaller month."""


def a_demo(folder: Path, how: str = "passing") -> Talker:
    return Talker([sys.executable, "-c", PROGRAM, how, str(FLIGHTS)], folder, TMPDIR=str(folder))


class Processes(NamedTuple):
    """Everything that a demo started, as its folder names it."""

    children: dict[str, Child]

    @classmethod
    def of(cls, home: Path) -> "Processes":
        found = {name: child.child() for name, child in state.read(home).items()}
        for slot in ("demo-00", "demo-01"):
            pid = holder(home / "state", slot)
            if pid is not None:
                found[slot] = Child(pid, start_mark(pid) or "")
        return cls(found)

    def alive(self) -> list[str]:
        return sorted(name for name, child in self.children.items() if child.alive())

    def gone_within(self, seconds: float) -> bool:
        deadline, wait = time.monotonic() + seconds, threading.Event()
        while self.alive() and time.monotonic() < deadline:
            wait.wait(0.05)
        return not self.alive()


PLAYING = ["broker", "demo-00", "demo-01", "registry", NAME]
ALL = sorted([*PLAYING, "monitor"])


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Path]:
    """Where `--keep` keeps everything when run from a folder; ended with the test."""
    yield tmp_path / KEPT
    dev.down(tmp_path / KEPT)


@pytest.mark.kafka
def test_the_demo_holds_and_what_it_keeps_can_be_used_by_hand(
    tmp_path: Path, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything is answered as foreseen around a real kill -9; then a plain producer asks and a plain consumer hears."""
    talker = a_demo(tmp_path, "keep")
    assert talker.end(150) == 0, talker.text
    found = json.loads((tmp_path / "demo.json").read_text())
    _is_right(found, talker.text)
    assert "<svg" in (tmp_path / "weeks.svg").read_text()
    with capsys.disabled():
        about = {name: found[name] for name in ("seconds", "in_hand_at_kill", "restarted_ms", "silent_ms")}
        print(f"\n[the demo with {found['requests']:,} requests: {about}]")

    processes = Processes.of(kept)
    assert ALL == processes.alive()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        with pytest.raises(SetupError, match="streams dev down --dir"):
            run_demo(json_file=None, keep=True, seed=7, say=print)
    assert ALL == processes.alive()

    _asks_by_hand(kept)
    (command,) = [line for line in talker.said if " dev down " in line]
    assert 0 == subprocess.run(command.split(), cwd=tmp_path, check=False, capture_output=True, timeout=60).returncode
    assert [] == processes.alive()


@pytest.mark.parametrize("months", ["2", "3-13", "5-4", "march"])
def test_months_that_cannot_be_asked_about_are_refused(months: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that the model has seen, and those that are no months."""
    assert main(["demo", "--months", months]) == 2
    assert f"--months {months}: a month from 3 to 12" in capsys.readouterr().err


def test_a_picture_that_cannot_be_drawn_is_refused_before_anything_is_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A format that is not known, and a folder that does not exist."""
    assert main(["demo", "--plot", str(tmp_path / "year.gif")]) == 2
    assert main(["demo", "--plot", str(tmp_path / "nowhere" / "year.svg")]) == 4
    assert "there is no folder" in capsys.readouterr().err


def _is_right(found: dict[str, Any], text: str) -> None:
    assert found["holds"], text
    assert [] == found["failures"]
    assert (0, 0) == (found["lost"], found["doubled"])
    assert found["requests"] == found["answered"] == sum(found["outcomes"].values()) > FLIGHTS
    assert found["expected"] == found["outcomes"]
    assert 0.4 <= found["answered_at_kill"] / found["requests"] <= 0.6
    assert found["answered_at_kill"] <= found["sent_at_kill"] < 0.7 * found["requests"]
    assert 0 < found["in_hand_at_kill"] <= found["uncommitted_at_kill"]
    assert {"0", "1", "2", "3"} == set(found["silent_ms"])
    assert len(found["killed_partitions"]) == 2
    for partition in found["killed_partitions"]:
        # silent from some moment before the kill until the first answer after it
        assert found["restarted_ms"] < found["silent_ms"][str(partition)] < 30_000
    truth = found["truth"]
    assert truth["verify"]["exit_code"] == 0
    assert sum(week["predictions"] for week in truth["weeks"]) == found["outcomes"]["SCORED"]
    assert sum(week["labelled"] for week in truth["weeks"]) > 0.9 * found["outcomes"]["SCORED"]
    assert all(0.8 < week["figures"]["auc"]["value"] < 1 for week in truth["weeks"])
    assert [] == truth["tickets"], "no week is over"
    fates = {name for name, count in truth["verify"]["tally"].items() if count}
    assert fates >= {f"labels.{fate}" for fate in ("applied", "corrected", "withdrawn", "duplicate", "early")}
    assert "\x1b" not in text
    assert "KILLED worker" in text
    assert "is back as process" in text
    assert "are answered again" in text
    assert "It holds: " in text
    for kind in found["outcomes"]:
        assert f"\n  {kind} " in text, f"no sentence for {kind}"


def _asks_by_hand(home: Path) -> None:
    """Run the two scripts as a person would, who starts them again if they stop.

    The first question may be asked before the consumer has its position; and the local registry now and then leaves a
    request without an answer, which ends a script (the client repeats refusals, not time-outs).
    """
    for number in range(3):
        with contextlib.suppress(AssertionError, subprocess.CalledProcessError):
            _converses(home, f"mine-{number}")
            break
    else:
        raise AssertionError("three conversations, and none was whole")
    for script in (home / "produce.py", home / "consume.py"):
        assert len(script.read_text().splitlines()) < 20


def _converses(home: Path, request_id: str) -> None:
    consumer = Talker([sys.executable, str(home / "consume.py")], home)
    settings = load(home / "flights.toml")
    garbage = RequestProducer(settings.kafka, settings.requests[0].topic)
    try:
        consumer.until("Waiting for answers.", 30)
        for _ in range(5):
            _ask(home)
            with contextlib.suppress(AssertionError):
                consumer.until("SCORED by-hand-", 5)
                break
        _ask(home, request_id, "25")
        consumer.until(f"SCORED {request_id}", 10)
        _ask(home, request_id, "25")
        consumer.until(f"DUPLICATE {request_id}", 10)
        _ask(home, request_id, "26")
        consumer.until(f"CONFLICT {request_id}", 10)
        garbage.send(b"garbage", b"no avro")
        consumer.until("DEAD LETTER b'garbage'", 10)
    finally:
        garbage.close()
        consumer.process.kill()
        consumer.end(10)


def _ask(home: Path, *arguments: str) -> None:
    asked = subprocess.run(
        [sys.executable, str(home / "produce.py"), *arguments], check=True, timeout=30, capture_output=True, text=True
    )
    assert asked.stdout.startswith("asked: ")


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("number", "words", "code"),
    [(signal.SIGINT, "from now on", 130), (signal.SIGTERM, "Starting Apache Kafka", 143)],
)
def test_an_interrupted_demo_leaves_nothing(tmp_path: Path, number: int, words: str, code: int) -> None:
    """Ctrl-C while requests are on their way, SIGTERM while the stack starts: no process and no folder stays."""
    talker = a_demo(tmp_path)
    try:
        talker.until(words, 90)
        (home,) = tmp_path.glob("answeronce-demo-*")
        processes = Processes.of(home)
        assert number == signal.SIGTERM or PLAYING == processes.alive()
        talker.process.send_signal(number)
        assert code == talker.end(60), talker.text
        assert processes.gone_within(1), processes.alive()
        assert not home.exists()
    finally:
        talker.process.kill()


@pytest.mark.kafka
@pytest.mark.long
def test_a_demo_that_was_killed_leaves_no_process(tmp_path: Path) -> None:
    """No handler runs after a SIGKILL; the stack's guard ends the workers, too, because they are recorded."""
    talker = a_demo(tmp_path)
    talker.until("from now on", 90)
    (home,) = tmp_path.glob("answeronce-demo-*")
    processes = Processes.of(home)
    assert ALL == processes.alive()
    talker.process.kill()
    assert processes.gone_within(60), processes.alive()


# what it asks for


@pytest.mark.parametrize("name", demo.NEEDED)
def test_what_is_missing_is_told_with_the_extra_that_brings_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is started, and in one sentence."""
    demo.require()
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SetupError, match=rf"needs {name}: pip install 'answeronce\[demo\]'"):
        demo.require()


def test_a_json_file_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    """Not after a minute."""
    lines: list[str] = []
    with pytest.raises(ConfigError, match="there is no folder"):
        run_demo(json_file=tmp_path / "no" / "demo.json", keep=False, seed=7, say=lines.append)
    assert [] == lines
