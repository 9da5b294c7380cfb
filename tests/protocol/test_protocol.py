"""The protocol under every interleaving: nothing goes wrong with all defences, something does without any one of them."""

from collections.abc import Set

import pytest

from streams.errors import Stop
from streams.state.memory import MemoryStore
from tests.pipeline.world import numbered, run
from tests.protocol.explore import explore
from tests.protocol.model import DEFENCES, Defence, Faults, Protocol
from tests.scenarios.judged import broken
from tests.scenarios.test_mutants import GOOD, TWICE, state_before_commit, unknown_is_aborted
from tests.scenarios.twin import Log, live

SMALL = [
    Faults(crashes=1, delays=2),
    Faults(crashes=2, delays=1),
    Faults(timeouts=1, delays=1),
    Faults(replacements=1, delays=1),
    Faults(rebalances=1, delays=1),
    Faults(rebalances=1, crashes=1),
    Faults(rebalances=1, timeouts=1),
]
"""What may happen, within three transactions of two workers; each is all of its interleavings."""
LARGE = [
    Faults(rebalances=1, replacements=1),
    Faults(rebalances=1, crashes=1, delays=1),
    Faults(replacements=1, delays=2),
    Faults(crashes=2, delays=2),
]
NAMES: dict[Defence, Set[str]] = {
    "RENEW": {"TORN", "DOUBLED"},
    "APPLY_AFTER": {"OFFSETS_WENT_BACK"},
    "EXIT": {"DOUBLED"},
    "LEASE": {"DOUBLED", "STATE_DIVERGED"},
    "GENERATION": {"DOUBLED", "STATE_DIVERGED"},
    "END": {"OFFSETS_WENT_FORWARD"},
    "COMMITTED": {"OFFSETS_WENT_BACK"},
    "STABLE": {"OFFSETS_WENT_BACK"},
    "LOOK_AGAIN": {"FALSE_ALARM"},
}
"""What the search must find without each. Frames are the second line: what they stop shows once they are gone, too."""
BEHIND_FRAMES: dict[Defence, Set[str]] = {
    "APPLY_AFTER": {"STATE_DIVERGED"},
    "END": {"TWICE_SCORED"},
    "COMMITTED": {"ABORTED_READ"},
    "STABLE": {"DOUBLED"},
}


@pytest.mark.parametrize(
    "faults", [*SMALL, *(pytest.param(faults, marks=pytest.mark.long) for faults in LARGE)], ids=str
)
@pytest.mark.timeout(900)
def test_every_interleaving_is_right(faults: Faults) -> None:
    """No violation, and no state in which everybody waits."""
    found = explore(Protocol(), faults)
    assert found.ends > 0
    assert not found.traces, "\n".join(map(str, next(iter(found.traces.values()))))


def shortest(without: Set[Defence], wanted: Set[str]) -> None:
    """Find the wanted violations, in the first of the small worlds that has them all; print the ways to them."""
    met: Set[str] = set()
    for faults in SMALL:
        found = explore(Protocol(without), faults, wanted)
        met |= found.traces.keys()
        for name in wanted & found.traces.keys():
            print(f"without {', '.join(sorted(without))}: {name}", *found.traces[name], sep="\n    ")
        if wanted <= met:
            return
    pytest.fail(f"without {without}, {wanted} was not found, but {met}")


@pytest.mark.parametrize("defence", sorted(DEFENCES.keys() - {"FRAMES"}))
def test_without_a_defence_something_goes_wrong(defence: Defence) -> None:
    """Each is needed, even where all the others are there."""
    shortest({defence}, NAMES[defence])


@pytest.mark.parametrize("defence", BEHIND_FRAMES)
def test_what_the_frames_stop(defence: Defence) -> None:
    """A worker that finds frame and offset apart stops; without that it would do what is named here."""
    shortest({defence, "FRAMES"}, BEHIND_FRAMES[defence])


@pytest.mark.parametrize(
    ("defence", "patch", "requests", "script", "name"),
    [
        ("EXIT", unknown_is_aborted, GOOD, ["UNKNOWN_DONE"], "DOUBLED"),
        ("APPLY_AFTER", state_before_commit, TWICE, ["COMMIT", "DIE_BEFORE"], "OFFSETS_WENT_BACK"),
    ],
)
def test_a_counter_example_happens_to_the_real_loop(
    defence: Defence, patch: object, requests: object, script: list[str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the model does without a defence, the real loop does without it, too, and not with it.

    The other counter-examples need a broker: RENEW is `test_endtxn`, GENERATION `test_mutants` (never-joined), COMMITTED the
    same (restore-reads-uncommitted), END `test_state` (restore-ends-at-lso), and LOOK_AGAIN, in the
    twins, `test_offsets_that_move_while_it_recovers_are_looked_up_again`.
    """
    assert name in NAMES[defence]
    expected = run(numbered(requests))  # type: ignore[arg-type]

    def outcome() -> set[str]:
        log, store = Log(numbered(requests)), MemoryStore()  # type: ignore[arg-type]
        try:
            store = live(log, script)
        except Stop as stop:
            return {str(stop).split(":")[0]}
        return broken(log, store, expected)

    assert outcome() == set()
    patch(monkeypatch)  # type: ignore[operator]
    assert name in outcome()
