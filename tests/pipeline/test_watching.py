"""What the model saw, counted: whatever the cuts, in the windows of event time, and nothing that it did not see."""

import json
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from streams import schemas_dir
from streams.avro.encode import Encoder
from streams.avro.read import Reader
from streams.contracts import Contract, Decoded
from streams.kafka.partitioner import partition_of
from streams.models.binning import Binning
from streams.packed import unpack
from streams.pipeline import Watching, watching
from streams.ports import Cells, Counts, Refusals
from streams.reasons import Reason
from streams.records import Detail, Floats, Ints, Step
from tests.pipeline.world import PARTITIONS, AmountModel, Sent, app, numbered, run, sent

SCHEMA = json.loads((schemas_dir() / "feature_counts.avsc").read_text("utf-8"))
READER = Reader(SCHEMA)
GRAIN_MS = 100
EDGES = (5.0, 50.0, 500.0)
WATCHING = Watching(
    topic="loans.features",
    grain_ms=GRAIN_MS,
    past_ms=2_000,
    future_ms=50,
    counts=Encoder(SCHEMA),
    prefix=b"\0\0\0\0\3",
)


class Amounts(Binning):
    """Cells of the amount, and of the purpose: that is no feature of the matrix, and counted where it is refused."""

    def count(self, matrix: Floats, window: Ints, windows: int) -> Counts:
        return super().count(np.column_stack([matrix, np.zeros(len(matrix))]), window, windows)


class Watched(AmountModel):
    """A model with a reference; it does not answer for nothing."""

    cells: Cells | None = Amounts([0, 1], [EDGES, None], ["amount", "purpose"], b"R" * 32)

    def features(self, decoded: Decoded, accepted: Contract, rows: Ints) -> tuple[Floats, Refusals]:
        matrix, refused = super().features(decoded, accepted, rows)
        nothing = dict.fromkeys(
            np.flatnonzero(matrix[:, 0] == 0.0).tolist(), (Reason.MISSING_VALUE, Detail("amount", "null"))
        )
        return matrix, Refusals({**refused.rows, **nothing})


def seen(log: Sequence[tuple[int, Sent]], cuts: Sequence[int] = ()) -> tuple[Counter[tuple[int, int]], Counter[str]]:
    """Return how many values lie in each (window, cell), and what else is said, over all records."""
    cells: Counter[tuple[int, int]] = Counter()
    rest: Counter[str] = Counter()

    def look(step: Step) -> None:
        for block in step.emits:
            if block.topic != WATCHING.topic:
                continue
            for key, partition, value in zip(block.keys, block.partitions, block.values, strict=True):
                one = READER.read(value or b"", 5)
                assert key == one["first_key"].encode()
                assert partition_of(key or b"", PARTITIONS) == partition
                numbers, many = unpack(one["windows"], 2)
                columns = unpack(one["counts"], 4)
                assert len(columns[0]) <= watching.CELLS_MAX
                columns = (columns[0], columns[1].cumsum(), *columns[2:])
                for at, cell, n, _ in zip(*map(np.ndarray.tolist, columns), strict=True):
                    cells[int(numbers[at]), cell] += n
                rest.update({"implausible": one["implausible"], "scored": int(many.sum()), "records": 1})
                latest = [*zip(*map(np.ndarray.tolist, unpack(one["latest"], 2)), strict=True)]
                assert not latest or value is block.values[-1], "times are told with the last"
                for source, event_ms in latest:
                    rest[f"latest {source}"] = max(event_ms, rest[f"latest {source}"])
            rest["transactions"] += 1

    run(log, cuts, application=app(watching=WATCHING), model=Watched(), each=look)
    return cells, rest


def loans(seed: int, many: int = 200) -> list[tuple[int, Sent]]:
    """Return loans of all sizes, at all times, some twice, some refused."""
    chance = np.random.default_rng(seed)
    asked = []
    for at in range(many):
        amount = float(chance.choice([1.0, 5.0, 30.0, 499.0, 700.0, 1e6]))
        purpose = str(chance.choice(["car", "gambling"], p=[0.9, 0.1]))
        event = int(chance.choice([900, 1_000, 1_049, 1_200, -1_200, 400]))
        asked.append(sent(f"r{chance.integers(0, many)}", amount, purpose=purpose, event_time=event, trace=f"{at}"))
    return numbered(asked)


def test_counts_do_not_depend_on_the_cuts(seed: int) -> None:
    """One batch, one request a batch, and anything between."""
    log, chance = loans(seed), np.random.default_rng(seed + 1)
    whole, rest = seen(log)
    for cuts in ([*range(1, len(log))], sorted(chance.choice(range(1, len(log)), 9, replace=False).tolist())):
        cells, others = seen(log, cuts)
        assert whole == cells
        assert others.pop("records") == others.pop("transactions"), "one record a transaction"
        assert {name: n for name, n in rest.items() if name not in ("records", "transactions")} == others


def test_very_many_cells_are_told_in_several_records(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No record is larger than a broker takes, and nothing is told twice."""
    log = loans(seed)
    whole, rest = seen(log)
    monkeypatch.setattr(watching, "CELLS_MAX", 3)
    cells, others = seen(log)
    assert whole == cells
    assert others.pop("records") == -(-len(whole) // 3) > 1
    assert {name: n for name, n in rest.items() if name != "records"} == others


def test_each_is_counted_once_in_its_window() -> None:
    """Six ways to be seen, and three not to be."""
    log = numbered(
        [
            sent("a", 10.0, event_time=1_020),
            sent("b", 700.0, event_time=1_020),
            sent("c", 1.0, event_time=120),
            sent("a", 10.0, event_time=1_020),  # a repeat
            sent("d", 10.0, event_time=1_060),  # 60 ms after it was appended
            sent("e", 10.0, event_time=-1_001),  # and 2,001 before
            sent("f", 1e6, event_time=1_020),  # no score
            sent("g", 10.0, event_time=1_020, purpose="gambling"),  # the model does not know it
            sent("h", 0.0, event_time=1_020),  # and does not answer without an amount
        ]
    )
    cells, rest = seen(log)
    amounts = {(10, 0): 1, (10, 2): 1, (10, 4): 1, (1, 1): 1}
    purposes = {(10, 6): 2, (1, 6): 1, (10, 7): 1}
    assert amounts | purposes == cells
    assert 2 == rest["implausible"]
    assert 3 == rest["scored"]
    latest = {name: value for name, value in rest.items() if name.startswith("latest")}
    expected: dict[str, int] = {}
    for _, one in log:
        if (one.key or b"") in b"abc":
            at = f"latest {one.partition}"
            expected[at] = max(expected.get(at, 0), 120 if one.key == b"c" else 1_020)
    assert expected == latest


def test_what_only_refuses_is_counted_too() -> None:
    """A batch without a single score."""
    cells, rest = seen(numbered([sent("g", 10.0, event_time=1_020, purpose="gambling")]))
    assert {(10, 7): 1} == cells
    assert 0 == rest["scored"]


@pytest.mark.parametrize("how", [None, WATCHING])
def test_nothing_is_said_where_nobody_counts(how: Watching | None) -> None:
    """No monitor, or a model without a reference."""
    topics: set[str] = set()
    model = Watched() if how is None else AmountModel()
    run(
        numbered([sent("a")]),
        application=app(watching=how),
        model=model,
        each=lambda step: topics.update(block.topic for block in step.emits),
    )
    assert WATCHING.topic not in topics
