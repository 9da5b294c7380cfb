"""March's traffic, through the real decoder, the real model and the pure pipeline: every answer is foreseen."""

import time
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streams.avro.encode import encode_one
from streams.avro.schema import parse
from streams.contracts import Reading
from streams.dedupe import salt
from streams.demo.traffic import AGAIN, BROKEN, BROKEN_KINDS, CONFLICTS, CRC32, SECOND, Planned, Traffic
from streams.demo.traffic import march as plan_march
from streams.kafka.partitioner import partition_of
from streams.models.packages import Loaded
from streams.pipeline import Refused, plan, read, settle
from streams.reasons import SCORED, Reason
from streams.records import TP, Batch, Checkpoint, Lease
from streams.state.memory import MemoryStore
from tests.pipeline import world

LANE, PARTITIONS, ID = "flights.requests.live", 4, 9
UNSEEN = 28
"""Flights of March to airports that the model never saw, counted in the table."""


@pytest.fixture(scope="module")
def traffic(march: list[dict[str, Any]], model: Loaded, contract_file: Path) -> Traffic:
    schema = parse(contract_file.read_text()).schema
    framing = b"\0" + ID.to_bytes(4, "big")
    return plan_march(
        march, model.manifest.features, lambda r: framing + encode_one(schema, r), partition_of, PARTITIONS
    )


APP = world.app(
    results="flights.results",
    outcomes="flights.outcomes",
    dlq={LANE: f"{LANE}.dlq"},
    dlq_bytes={f"{LANE}.dlq": 1_048_588},
    topic_ids={LANE: b"T" * 16},
    partitions=PARTITIONS,
    salt=salt("flights"),
    window_ms=3_600_000,
    key_bytes=512,
)


def answered(log: Sequence[Planned], model: Loaded) -> Counter[str]:
    """Return how many records of each kind the pipeline answers a log with, in batches of 2,000."""
    store, counts = MemoryStore(), Counter[str]()
    ends = [0] * PARTITIONS
    tps = tuple(TP(LANE, partition) for partition in range(PARTITIONS))
    snapshot = {(LANE, ID): Reading(model.accepts[0], model.accepts[0])}
    for partition in range(PARTITIONS):
        store.open(partition)
    for begin in range(0, len(log), 2_000):
        part = log[begin : begin + 2_000]
        partitions, offsets = [], []
        for one in part:
            crc32 = one.sender == "crc32"
            partitions.append(zlib.crc32(one.key) % PARTITIONS if crc32 else partition_of(one.key, PARTITIONS))
            offsets.append(ends[partitions[-1]])
            ends[partitions[-1]] += 1
        columns = (np.array(partitions), np.array(offsets), np.full(len(part), 1_000))
        keys, values = [one.key for one in part], [one.value for one in part]
        batch = Batch(Lease(1, None), tps, *columns, list(keys), values, [None] * len(part))
        rows = read(batch, snapshot, APP)
        asked = {row: store.get(partitions[row], [key])[0] for row, key in enumerate(rows.identity) if key}
        seen = {row: value for row, value in asked.items() if value is not None}
        planned = plan(rows, seen, model, APP, Refused())
        step = settle(planned, model.score(planned.matrix), model, APP)
        counts.update(step.counts)
        for partition, puts in step.puts.items():
            store.apply(partition, puts, Checkpoint(b"L" * 16, 0))
    return counts


def test_is_what_the_demo_promises(traffic: Traffic) -> None:
    """Every flight once by main; each kind of trouble in its number; nothing is expected that is not sent."""
    expected = traffic.expected()
    assert 28_834 - UNSEEN == expected[SCORED]
    assert UNSEEN == expected[Reason.UNSEEN_CATEGORY.name]
    assert CONFLICTS == expected[Reason.CONFLICT.name]
    assert SECOND + AGAIN + CRC32 == expected[Reason.DUPLICATE.name] + expected[Reason.MISPARTITIONED.name]
    assert CRC32 / 2 < expected[Reason.MISPARTITIONED.name] < CRC32
    assert 2 * BROKEN == expected[Reason.MALFORMED.name] == expected[Reason.OUT_OF_CONTRACT.name]
    for reason in (Reason.NOT_FRAMED, Reason.GLUE_FRAMED, Reason.EMPTY, Reason.TOMBSTONE, Reason.KEY_MISMATCH):
        assert BROKEN == expected[reason.name]
    assert len(traffic.stream) + AGAIN == expected.total()
    assert 28_834 + CONFLICTS + BROKEN * len(BROKEN_KINDS) == Counter(one.sender for one in traffic.stream)["main"]


def test_flights_stay_in_order_and_trouble_is_spread(traffic: Traffic, march: list[dict[str, Any]]) -> None:
    """Main sends the month in its order; every tenth of the stream holds duplicates and conflicts."""
    keys = [request["request_id"].encode() for request in march]
    sent = [one.key for one in traffic.stream if one.expected in (SCORED, Reason.UNSEEN_CATEGORY.name)]
    assert keys == sent
    scored = set()
    for one in traffic.stream:
        scored |= {one.key} if one.expected == SCORED else set()
        assert one.expected != Reason.CONFLICT.name or one.key in scored, "a conflict runs ahead of its original"
    tenth = len(traffic.stream) // 10
    for at in range(0, 10 * tenth, tenth):
        kinds = {(one.sender, one.expected) for one in traffic.stream[at : at + tenth]}
        assert {("second", "DUPLICATE"), ("crc32", "MISPARTITIONED"), ("main", "CONFLICT")} <= kinds


@pytest.mark.parametrize("killed_at", [0.0, 0.5, 1.0])
def test_every_answer_is_foreseen_whenever_the_worker_is_killed(
    traffic: Traffic, model: Loaded, killed_at: float
) -> None:
    """The counts are those of `expected`, wherever the resends of `again` fall into the stream."""
    cut = int(killed_at * len(traffic.stream))
    log = [*traffic.stream[:cut], *traffic.again, *traffic.stream[cut:]]
    began = time.perf_counter()
    counts = answered(log, model)
    print(f"{len(log)} records through the pipeline: {(time.perf_counter() - began) / len(log) * 1e6:.1f} µs a record")
    assert dict(traffic.expected()) == dict(counts)


def test_every_record_is_answered_as_planned_when_nobody_overtakes(traffic: Traffic, model: Loaded) -> None:
    """With main ahead of everybody else, each sender's own records get exactly the planned answers."""
    first = [one for one in traffic.stream if one.sender == "main"]
    for sender in ("second", "crc32"):
        rest = [one for one in traffic.stream if one.sender == sender]
        before, after = answered(first, model), answered([*first, *rest], model)
        assert Counter(one.expected for one in rest) == after - before


def test_one_seed_is_one_traffic(
    traffic: Traffic, march: list[dict[str, Any]], model: Loaded, contract_file: Path
) -> None:
    """The same seed plans the same records in the same order; another seed does not."""

    def planned(seed: int) -> list[tuple[str, bytes]]:
        found = plan_march(march, model.manifest.features, lambda _: b"\0" * 40, partition_of, PARTITIONS, seed)
        return [(one.sender, one.key) for one in (*found.stream, *found.again)]

    assert [(one.sender, one.key) for one in (*traffic.stream, *traffic.again)] == planned(3)
    assert planned(3) != planned(4)
