"""What the demo says of a run, good or bad: pure values in, sentences and JSON out."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from streams.config import load
from streams.demo.live import wants_colour
from streams.demo.play import Kill, Played
from streams.demo.report import Found, Silence
from streams.demo.watch import Answered, Watch, longest_gap
from streams.reasons import SCORED, Reason
from streams.records import TP
from streams.verify.report import Report, Row

LANE = "flights.requests.live"
TPS = tuple(TP(LANE, partition) for partition in range(2))
KILL = Kill(
    slot="demo-01",
    pid=7,
    at_ms=10_000,
    sent=52,
    to_come=40,
    answered=50,
    ends={TPS[1]: 30},
    in_hand={TPS[1]: range(25, 28)},
)
VERIFIED = Report(
    rows=(Row(TPS[0], 0, 0, 60, 60, 60, 0), Row(TPS[1], 0, 0, 40, 40, 40, 0)),
    kinds={SCORED: 90, Reason.DUPLICATE.name: 10, Reason.START.name: 2},
    violations={},
    examples=(),
    unchecked={},
)
FOUND = Found(
    seed=7,
    seconds=40.0,
    expected={SCORED: 90, Reason.DUPLICATE.name: 10},
    played=Played(total=100, sent=100, sending_s=0.1, lag=0, kill=KILL, restarted_ms=400),
    silence=Silence(uncommitted=5, in_hand=3, silent_ms={TPS[0]: 40, TPS[1]: 1_200}, answering_ms=1_190),
    sentences={Reason.DUPLICATE.name: "It was answered before."},
    verified=VERIFIED,
    versions={},
)


def said(found: Found) -> str:
    return "\n".join(line for _, lines in found.sections() for line in lines) + "\n".join(found.verdict())


def test_a_good_run_holds() -> None:
    """Nothing is wrong, the START records do not count, and the JSON has what scripts look for."""
    assert [] == FOUND.failures()
    content = json.loads(json.dumps(FOUND.as_json()))
    expected = {
        "holds": True,
        "requests": 100,
        "answered": 100,
        "lost": 0,
        "doubled": 0,
        "answered_at_kill": 50,
        "silent_ms": {"0": 40, "1": 1_200},
        "outcomes": {SCORED: 90, "DUPLICATE": 10},
        "uncommitted_at_kill": 5,
        "killed_partitions": [1],
    }
    assert expected == {name: content[name] for name in expected}
    assert "It was answered before." in said(FOUND)
    assert "It holds: 100 requests, 100 answers, 0 lost, 0 doubled" in said(FOUND)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (FOUND._replace(verified=VERIFIED._replace(violations={"DOUBLED": 1})), "`streams verify` ends with 1"),
        (FOUND._replace(verified=VERIFIED._replace(unchecked={"records": 1})), "`streams verify` ends with 3"),
        (FOUND._replace(expected={SCORED: 89, "DUPLICATE": 10}), "SCORED: 90 answers, and 89 were foreseen"),
        (FOUND._replace(expected={SCORED: 90, "DUPLICATE": 10, "CONFLICT": 1}), "CONFLICT: 0 answers, and 1 were"),
        (FOUND._replace(played=FOUND.played._replace(sent=101)), "101 requests were sent, and 100 of them"),
        (FOUND._replace(played=FOUND.played._replace(lag=3)), "3 requests were not answered in time"),
        (FOUND._replace(played=FOUND.played._replace(kill=None), silence=None), "No worker was killed"),
        (FOUND._replace(played=FOUND.played._replace(kill=KILL._replace(answered=39))), "when 39% were answered"),
        (FOUND._replace(played=FOUND.played._replace(kill=KILL._replace(answered=61))), "when 61% were answered"),
        (FOUND._replace(played=FOUND.played._replace(kill=KILL._replace(to_come=0))), "No request was to come"),
        (FOUND._replace(played=FOUND.played._replace(restarted_ms=None)), "Nobody started worker demo-01 again"),
    ],
)
def test_whatever_does_not_hold_is_said(found: Found, words: str) -> None:
    """Each condition of the demo alone makes it fail, with a sentence, also in the JSON."""
    (failure,) = found.failures()
    assert words in failure
    assert f"  {failure}" in said(found)
    assert (False, [failure]) == (found.as_json()["holds"], found.as_json()["failures"])


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([], 0),
        ([150], 0),
        ([100, 105, 109], 5),
        ([109, 100, 105], 5),  # answers lie in three topics, and come in any order
        ([0, 99, 130, 140, 300], 160),  # a gap that leaves the window counts whole
        ([0, 90, 110, 111, 112], 20),
        ([0, 100, 110, 111, 200, 900], 89),  # a gap outside does not count
    ],
)
def test_a_silence_is_the_longest_gap_that_touches_the_window(times: list[int], expected: int) -> None:
    """By hand; the window is 100 to 200."""
    assert expected == longest_gap(times, 100, 200)


def test_what_was_uncommitted_is_what_was_there_and_answered_later(tmp_path: Path) -> None:
    """Partition 1 ended at 30: offsets 24 to 29 were answered after the kill, 25 to 27 of them from the dead worker's hands."""
    watch = Watch(_settings(tmp_path))
    watch.answered = {
        TPS[0]: [Answered(offset, 9_000 + 40 * offset) for offset in range(60)],
        TPS[1]: [Answered(offset, 9_000 + 41 * offset if offset < 24 else 11_200) for offset in range(40)],
    }
    felt = Silence.around(KILL, watch)
    assert (6, 3) == (felt.uncommitted, felt.in_hand)
    assert {TPS[0]: 40, TPS[1]: 11_200 - (9_000 + 41 * 23)} == felt.silent_ms
    assert 1_200 == felt.answering_ms
    watch.answered[TPS[1]] = watch.answered[TPS[1]][:24]
    assert Silence.around(KILL, watch).answering_ms is None


def _settings(folder: Path) -> Any:
    (folder / "some.toml").write_text(
        '[app]\nid = "flights"\nstate_dir = "state"\n[kafka]\n"bootstrap.servers" = "127.0.0.1:1"\n'
        f'[schema_registry]\nurl = "http://127.0.0.1:1"\n[[requests]]\ntopic = "{LANE}"\ncontract = "a.avsc"\n'
        '[model]\nstore = "file:models"\nname = "late"\nversion = "1"\n'
    )
    return load(folder / "some.toml")


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal gets colours, unless NO_COLOR is set; a file or a pipe never."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert wants_colour(Terminal())
    assert not wants_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_colour(Terminal())
