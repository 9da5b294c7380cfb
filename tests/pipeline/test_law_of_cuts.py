"""The law of cuts: outcomes do not depend on where batches are cut."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.avro.schema import parse
from streams.contracts import Reading, Snapshot, Unreadable
from streams.ports import Model
from streams.reasons import Reason
from tests.pipeline.world import (
    AGELESS,
    CONTRACT,
    ID,
    LANE,
    SCHEMA,
    PriceModel,
    Sent,
    SizeModel,
    loan,
    numbered,
    reasons,
    run,
    sent,
)

OTHER = {
    **SCHEMA,
    "fields": [{**field, "type": "float"} if field["name"] == "amount" else field for field in SCHEMA["fields"]],
}
KEYED = {**SCHEMA, "key": ["tenant"]}
SNAPSHOT: Snapshot = {
    (LANE, ID): Reading(CONTRACT, CONTRACT),
    (LANE, 6): Reading(parse(KEYED), None),
    (LANE, 8): Reading(parse(OTHER), None),
    (LANE, 9): Unreadable(Reason.UNKNOWN_SCHEMA, None, "9"),
}


def other(request_id: str) -> Sent:
    """A good request under a contract that the model does not accept."""
    value = loan(request_id, schema=OTHER)
    return Sent(value[:4] + b"\x08" + value[5:], request_id.encode())


def keyed_otherwise(request_id: str) -> Sent:
    """A good request under a contract that the model does not accept: its key, and so its partition, is the tenant's."""
    value = loan(request_id, schema=KEYED)
    return Sent(value[:4] + b"\x06" + value[5:], b"acme")


def anything(chance: random.Random) -> Sent:
    """One of everything that a log may hold; few ids, so that repeats are common; times go forth and back."""
    rid = f"r{chance.randrange(6)}"
    ms = chance.choice([1_000, 4_000, 9_000, 12_000, 25_000])
    kinds: list[Callable[[], Sent]] = [
        lambda: sent(rid, append_ms=ms),
        lambda: sent(rid, append_ms=ms),
        lambda: sent(rid, append_ms=ms, trace=f"t{chance.random()}", event_time=chance.randrange(99)),
        lambda: sent(rid, 11.0, append_ms=ms),
        lambda: sent(rid, -1.0, append_ms=ms),
        lambda: sent(rid, 1e6, append_ms=ms),
        lambda: sent(rid, purpose="gambling", append_ms=ms),
        lambda: sent(rid, tenant="zeta", append_ms=ms),
        lambda: sent(rid, append_ms=AGELESS),
        lambda: sent(rid, key=b"wrong", append_ms=ms),
        lambda: sent(rid, partition=chance.randrange(2), append_ms=ms),
        lambda: other(rid),
        lambda: keyed_otherwise(rid),
        lambda: Sent(b"\0\0\0\0\x09xyz", rid.encode()),
        lambda: Sent(None, rid.encode()),
        lambda: Sent(loan(rid)[:-1], rid.encode()),
    ]
    return chance.choice(kinds)()


@given(st.integers(0, 2**32), st.lists(st.integers(0, 60), max_size=12))
def test_outcomes_do_not_depend_on_the_cuts(seed: int, cuts: list[int]) -> None:
    """One batch, many batches, batches of one: every origin gets the same terminal record, byte for byte."""
    chance = random.Random(seed)
    log = numbered(anything(chance) for _ in range(60))
    whole = run(log, snapshot=SNAPSHOT)
    assert whole == run(log, cuts, snapshot=SNAPSHOT)
    assert whole == run(log, range(1, 60), snapshot=SNAPSHOT)


@pytest.mark.parametrize("model", [SizeModel(), PriceModel()], ids=["multiclass", "regression"])
def test_the_law_holds_for_every_kind_of_answer(model: Model) -> None:
    """Scores as arrays, or a value alone: cut anywhere, the same records; each in the fields of its task only."""
    chance = random.Random(9)
    log = numbered(anything(chance) for _ in range(200))
    whole = run(log, snapshot=SNAPSHOT, model=model)
    assert whole == run(log, [7, 8, 60, 133], snapshot=SNAPSHOT, model=model)
    assert whole == run(log, range(1, 200), snapshot=SNAPSHOT, model=model)
    answers = [record for record in whole.values() if record["kind"] == "SCORED"]
    given = {name for record in answers for name in ("score", "scores", "label", "value") if record[name] is not None}
    assert given == ({"scores", "label"} if isinstance(model, SizeModel) else {"value"})
    assert {"inf" if isinstance(model, SizeModel) else "nan"} == {
        record["found"] for record in whole.values() if record["kind"] == "SCORE_NOT_FINITE"
    }


def test_the_cuts_meet_every_kind_of_outcome() -> None:
    """The law above would be empty if its logs held nothing interesting."""
    chance = random.Random(5)
    log = numbered(anything(chance) for _ in range(600))
    met = set(reasons(run(log, [300], snapshot=SNAPSHOT), log))
    expected = {
        "SCORED", "DUPLICATE", "CONFLICT", "OUT_OF_CONTRACT", "SCORE_NOT_FINITE", "UNSEEN_CATEGORY", "NO_APPEND_TIME",
        "KEY_MISMATCH", "MISPARTITIONED", "NOT_ACCEPTED", "UNKNOWN_SCHEMA", "TOMBSTONE", "MALFORMED",
    }  # fmt: skip
    assert expected == met


def test_the_state_is_a_fold_of_what_was_scored() -> None:
    """Changelog records: one entry for each SCORED and one frame for each topic-partition, last."""
    steps: list[Any] = []
    log = numbered([sent("a"), sent("a"), sent("b"), Sent(None, b"c")])
    run(log, [2], each=steps.append)
    entries = [key[:1] for step in steps for puts in step.puts.values() for key, _ in puts]
    assert b"d" == entries[0]
    assert 2 == entries.count(b"d")
    assert all(puts[-1][0] == b"f" + LANE.encode() for step in steps for puts in step.puts.values())
