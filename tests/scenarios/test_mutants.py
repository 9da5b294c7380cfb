"""The tests of the tests: known defects, built in one at a time, must be seen, under the name that they have.

Each passes a hundred records without a fault, as such defects do, and is caught by its attack. Defects that need the
real broker are caught in `tests/faults`.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest

from streams import loop as loop_room
from streams import recovery, scoring
from streams.contracts import Contract, Decoded, Reading
from streams.dedupe import recall
from streams.errors import Stop
from streams.loop import Loop
from streams.pipeline import planning, reading, settling
from streams.pipeline.planning import Plan
from streams.reasons import Reason
from streams.records import Batch, Checkpoint, Ended, Outcome, Step
from streams.scoring import Scoring
from streams.state.memory import MemoryStore
from tests.pipeline.test_law_of_cuts import SNAPSHOT
from tests.pipeline.world import CONTRACT, LANE, Sent, loan, numbered, run, sent
from tests.scenarios.judged import broken
from tests.scenarios.twin import TPS, Log, TwinChangelog, TwinContracts, live

Patch = pytest.MonkeyPatch


class Mutant(NamedTuple):
    """A defect, the attack that must see it, and under which name."""

    patch: Callable[[Patch], None]
    name: str
    requests: Sequence[Sent]
    script: Sequence[str] = ()
    lose_state: bool = False
    moved: int = 0
    """So far are the committed offsets put back once everything is answered; then a worker starts anew."""
    records: int = 4
    ahead: bool = False
    contracts: Callable[[], TwinContracts] = lambda: TwinContracts(SNAPSHOT)


def product(room: Any, name: str) -> Any:
    """Return what a room has imported under a name."""
    return getattr(room, name)


def state_before_commit(patch: Patch) -> None:
    """The local state runs ahead of the log."""
    finish = Loop._finish

    def early(self: Loop, batch: Batch, step: Step, **more: Any) -> None:
        for partition, puts in step.puts.items():
            (_, end) = self._edges.changelog.bounds([partition])[partition]
            self._edges.store.apply(partition, puts, Checkpoint(self._fold.app.changelog_id, end - 1))
        finish(self, batch, step, **more)

    patch.setattr(Loop, "_finish", early)


def unknown_is_aborted(patch: Patch) -> None:
    """What may be committed is done again."""

    def finish(self: Loop, batch: Batch, step: Step, **_: Any) -> None:
        ended = self._edges.sink.transact(step)
        if ended.outcome is Outcome.COMMITTED:
            self._apply(step, ended)
        else:
            self._rewind(batch, ended)

    patch.setattr(Loop, "_finish", finish)


def aborted_is_dropped(patch: Patch) -> None:
    """An aborted batch is not read again."""
    patch.setattr(Loop, "_rewind", lambda *_: None)


def hold_survives_a_rewind(patch: Patch) -> None:
    """A partition that is read again from before its hold goes on from the hold."""
    rewind = Loop._rewind

    def forgetful(self: Loop, batch: Batch, ended: Ended) -> None:
        held = dict(self._held)
        rewind(self, batch, ended)
        self._held |= held

    patch.setattr(Loop, "_rewind", forgetful)


def no_restore(patch: Patch) -> None:
    """Local state is trusted, however far behind the log it is."""
    patch.setattr(recovery, "_restore", lambda partition, _bounds, edges, *_: edges.store.open(partition) or True)
    patch.setattr(recovery, "_frame", lambda *_: None)
    patch.setattr(recovery, "_forgotten", lambda *_: AssertionError)
    patch.setattr(recovery, "_agreed", lambda _tp, committed, *_: committed)


def restore_stops_early(patch: Patch) -> None:
    """A restore ends before the last records that were committed: at the last stable offset, say."""
    bounds = TwinChangelog.bounds

    def stable(self: TwinChangelog, partitions: Sequence[int]) -> Any:
        return {partition: (start, max(1, end - 3)) for partition, (start, end) in bounds(self, partitions).items()}

    patch.setattr(TwinChangelog, "bounds", stable)
    patch.setattr(recovery, "_agreed", lambda _tp, committed, *_: committed)


def frames_not_compared(patch: Patch) -> None:
    """The committed offset is believed, whatever the changelog says."""
    patch.setattr(recovery, "_agreed", lambda _tp, committed, *_: committed)
    recalled = planning._recalled

    def trusting(*args: Any) -> Any:
        try:
            return recalled(*args)
        except Stop:
            batch, row, value, _ = args
            return recall(value, batch.tps[batch.tp[row]].partition)

    patch.setattr(planning, "_recalled", trusting)


def refusal_without_a_record(patch: Patch) -> None:
    """A refused request is only counted."""
    sorted_ = settling._sorted

    def silent(*args: Any) -> tuple[Plan, list[int], list[int]]:
        plan, refused, letters = sorted_(*args)
        return plan, [row for row in refused if plan.reason[row] is not Reason.OUT_OF_CONTRACT], letters

    patch.setattr(settling, "_sorted", silent)


def letter_without_a_record(patch: Patch) -> None:
    """What cannot be read is logged, and passed over."""
    patch.setattr(settling, "dead_letters", lambda *_: [])


def fingerprint_of_raw_bytes(patch: Patch) -> None:
    """Two encodings of one value are two requests."""

    def raw(decoded: Decoded, _fields: Sequence[int]) -> list[bytes]:
        return [decoded.data[a:b] for a, b in zip(decoded.start.tolist(), decoded.end.tolist(), strict=True)]

    patch.setattr(reading, "canonical", raw)


def fingerprint_of_everything(patch: Patch) -> None:
    """A retry with a fresh deadline or trace is another request."""
    canonical = product(reading, "canonical")
    patch.setattr(reading, "canonical", lambda decoded, _: canonical(decoded, range(len(decoded.contract.fields))))


def trailing_bytes_accepted(patch: Patch) -> None:
    """One strictness check of the decoder is off."""
    decode = product(reading, "decode")

    def lenient(contract: Contract, values: Sequence[bytes]) -> Any:
        decoded: Decoded = decode(contract, values)
        over = decoded.bad & (decoded.bad_field == len(contract.fields))
        if not over.any():
            return decoded
        cut = [value[: 5 + int(decoded.bad_at[row])] if over[row] else value for row, value in enumerate(values)]
        return decode(contract, cut)

    patch.setattr(reading, "decode", lenient)


def wrong_partition_accepted(patch: Patch) -> None:
    """A record is answered wherever it lies."""
    read = product(loop_room, "read")

    def anywhere(batch: Batch, snapshot: Any, app: Any) -> Any:
        lie = {key: batch.tps[tp].partition for key, tp in zip(batch.keys, batch.tp.tolist(), strict=True)}
        partitions_of = lambda keys, _: np.array([lie.get(key, 0) for key in keys])  # noqa: E731
        return read(batch, snapshot, replace(app, partitions_of=partitions_of))

    patch.setattr(loop_room, "read", anywhere)


def repeats_in_a_batch_missed(patch: Patch) -> None:
    """Only the store is asked for repeats; of two in one batch both are scored."""
    fold = product(planning, "fold")

    def forgetful(asks: Any, known: Any, window_ms: int) -> Any:
        return [verdict for ask in asks for verdict in fold([ask], known, window_ms)]

    patch.setattr(planning, "fold", forgetful)


def outage_refuses(patch: Patch) -> None:
    """Whatever goes wrong is the record's fault."""
    rewind = Loop._rewind
    patch.setattr(Loop, "_rewind", lambda self, batch, ended: rewind(self, batch, ended._replace(blames_record=True)))


def window_never_ends(patch: Patch) -> None:
    """A repeat is a repeat for ever."""
    plan = product(scoring, "plan")
    patch.setattr(
        scoring,
        "plan",
        lambda rows, seen, model, app, refused: plan(rows, seen, model, replace(app, window_ms=1 << 60), refused),
    )


def step_on_its_way_ignored(patch: Patch) -> None:
    """A batch is begun with what the state knows, which is not yet what the step before it changes."""
    seen = product(Scoring, "_seen")
    patch.setattr(Scoring, "_seen", lambda self, rows, _: seen(self, rows, None))


def begun_survives_an_abort(patch: Patch) -> None:
    """What was taken ahead is worked on although the batch before it was aborted."""
    rewind = Loop._rewind

    def stubborn(self: Loop, batch: Batch, ended: Ended) -> None:
        ahead = self._ahead
        rewind(self, batch, ended)
        self._ahead = ahead

    patch.setattr(Loop, "_rewind", stubborn)


def abort_forgets_what_was_ahead(patch: Patch) -> None:
    """After an abort only the batch itself is read again."""
    patch.setattr(Loop, "_polled_ahead", lambda _: [])


GOOD = [sent(f"g{number}") for number in range(12)]
TWICE = [*GOOD, *GOOD]
FIRST = sent("again")
LONG_WAY = Sent(FIRST.value and FIRST.value.replace(b"\x0aagain", b"\x8a\x00again"), b"again")
"""The same request, its first length in two bytes where one would do."""
assert LONG_WAY.value != FIRST.value
LATE = loan("late")
HELD = Sent(LATE[:4] + b"\x63" + LATE[5:], b"late", partition=0)
LATER = {(LANE, 99): Reading(CONTRACT, CONTRACT)}

MUTANTS = [
    Mutant(state_before_commit, "OFFSETS_WENT_BACK", GOOD, ["COMMIT", "DIE_BEFORE"]),
    Mutant(unknown_is_aborted, "DOUBLED", GOOD, ["UNKNOWN_DONE"]),
    Mutant(aborted_is_dropped, "LOST", GOOD, ["ABORT"]),
    Mutant(
        hold_survives_a_rewind,
        "LOST",
        [*GOOD[:6], HELD, sent("z")],
        ["ABORT", "ABORT"],
        records=20,
        contracts=lambda: TwinContracts(later=LATER, after=4),
    ),
    Mutant(no_restore, "TWICE_SCORED", TWICE, ["COMMIT", "DIE_AFTER"]),
    Mutant(restore_stops_early, "TWICE_SCORED", TWICE, ["COMMIT", "COMMIT", "DIE_AFTER"], lose_state=True),
    Mutant(frames_not_compared, "DOUBLED", GOOD, moved=2),
    Mutant(refusal_without_a_record, "LOST", [*GOOD, sent("bad", -1.0)]),
    Mutant(letter_without_a_record, "LOST", [*GOOD, Sent(None, b"gone")]),
    Mutant(fingerprint_of_raw_bytes, "ANSWER_DIFFERS", [FIRST, LONG_WAY]),
    Mutant(fingerprint_of_everything, "ANSWER_DIFFERS", [FIRST, sent("again", trace="t2")]),
    Mutant(trailing_bytes_accepted, "ANSWER_DIFFERS", [*GOOD, Sent(loan("long") + b"\0", b"long")]),
    Mutant(
        wrong_partition_accepted, "TWICE_SCORED", [sent("astray", partition=0), sent("astray", partition=1)], records=1
    ),
    Mutant(repeats_in_a_batch_missed, "TWICE_SCORED", [FIRST, FIRST, FIRST], records=100),
    Mutant(step_on_its_way_ignored, "TWICE_SCORED", [*GOOD[:4], *GOOD[:4], *GOOD[:4]], ahead=True),
    Mutant(begun_survives_an_abort, "LOST", GOOD, ["ABORT"], ahead=True),
    Mutant(
        abort_forgets_what_was_ahead,
        "LOST",
        [sent(f"p{number}", partition=number // 4 % 2) for number in range(16)],
        ["ABORT"],
        ahead=True,
    ),
    Mutant(outage_refuses, "ANSWER_DIFFERS", GOOD, ["ABORT"] * 3),
    Mutant(window_never_ends, "ANSWER_DIFFERS", [sent("old", append_ms=1_000), sent("old", append_ms=12_000)]),
]


def violations(mutant: Mutant, expected: Any, requests: Sequence[Sent], *, attack: bool) -> set[str]:
    """Run the requests with the fault of a mutant's attack, or without one; return what is wrong afterwards."""
    log, store = Log(numbered(requests)), MemoryStore()
    try:
        store = live(
            log,
            mutant.script if attack else (),
            lose_state=mutant.lose_state and attack,
            records=mutant.records if attack else 100,
            ahead=mutant.ahead and attack,
            contracts=mutant.contracts() if attack else TwinContracts(SNAPSHOT),
        )
        if attack and mutant.moved:
            log.committed = {tp: max(0, (log.committed[tp] or 0) - mutant.moved) for tp in TPS}
            store = live(log)
    except Stop as stop:  # its own name comes first in its words; who stopped has neither state nor answers to show
        return broken(log, store, expected) - {"STATE_DIVERGED", "UNANSWERED"} | {str(stop).split(":")[0]}
    return broken(log, store, expected)


def smoke(seed: int) -> list[Sent]:
    """A hundred good requests in random order, each of its own identity."""
    return random.Random(seed).sample([sent(f"s{number}", float(number)) for number in range(100)], 100)


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.patch.__name__ for mutant in MUTANTS])
def test_a_mutant_dies(mutant: Mutant, seed: int, monkeypatch: Patch) -> None:
    """The product survives the attack; the mutant survives a smoke test, and not the attack."""
    snapshot = {**SNAPSHOT, **LATER} if any(one is HELD for one in mutant.requests) else SNAPSHOT
    hundred, attacked = (run(numbered(requests), snapshot=snapshot) for requests in (smoke(seed), mutant.requests))
    sound = violations(mutant, attacked, mutant.requests, attack=True)
    assert sound == ({"OFFSETS_WENT_BACK"} if mutant.moved else set()), "the product itself does not survive the attack"
    mutant.patch(monkeypatch)
    assert set() == violations(mutant, hundred, smoke(seed), attack=False), "a smoke test would see it"
    found = violations(mutant, attacked, mutant.requests, attack=True)
    assert mutant.name in found, f"it survives: {found}"
