"""Cells: every value in the one that its edges say, by plain Python; positions as the definition has them."""

import math
from bisect import bisect_right

import numpy as np
import pytest

from streams.models.binning import FARTHEST, PARTS, Binning
from streams.models.features import NAN_UNSEEN, is_unseen
from streams.packed import pack, unpack
from streams.reasons import Reason

NAN, INF = math.nan, math.inf
EDGES = (0.0, 1.0, 2.5, 10.0)
SEVERAL = Binning([0, 3, 0], [EDGES, None, (7.0,)], ["delay", "carrier", "delay"])
BEGINS = [0, 6, 11, 14]


def one_by_one(value: float) -> tuple[int, int]:
    """Return a number's cell and position, as the definition has them."""
    if math.isnan(value):
        return 0, 0
    rank = bisect_right(EDGES, value)
    if rank == 0:
        along = (EDGES[0] - value) / 10.0
    elif rank == len(EDGES):
        along = (value - EDGES[-1]) / 10.0
    else:
        along = (value - EDGES[rank - 1]) / (EDGES[rank] - EDGES[rank - 1])
    return rank + 1, round(min(along, FARTHEST) * PARTS)


@pytest.mark.parametrize("rows", [1, 40, 30_000])
def test_each_value_is_where_its_edges_say(rows: int, seed: int) -> None:
    """Many at once or one alone, over several windows, in the order of the rows or not."""
    chance = np.random.default_rng(seed)
    values = chance.choice([*EDGES, NAN, INF, -INF, 0.5, -3.0, 9.999, 11.0, 1e300], rows)
    codes = chance.choice([0.0, 1.0, 2.0, NAN, NAN_UNSEEN], rows)
    window = chance.integers(0, 3, rows)
    found = SEVERAL.count(np.column_stack([values, codes, values]), window, 3)
    counts = np.zeros((2, 3, BEGINS[-1]), np.int64)
    counts[0, found.window, found.cell], counts[1, found.window, found.cell] = found.n, found.total
    expected = np.zeros_like(counts)
    unseen = is_unseen(codes)
    for at in range(rows):
        cell, position = one_by_one(float(values[at]))
        expected[0, window[at], cell] += 1
        expected[1, window[at], cell] += position
        category = 4 if unseen[at] else 0 if math.isnan(codes[at]) else int(codes[at]) + 1
        expected[0, window[at], BEGINS[1] + category] += 1
        one = 0 if math.isnan(values[at]) else 1 + (values[at] >= 7)
        expected[0, window[at], BEGINS[2] + one] += 1
    assert expected[0].tolist() == counts[0].tolist()
    assert expected[1, :, :11].tolist() == counts[1, :, :11].tolist()


def test_few_rows_in_many_windows_cost_no_table_of_all() -> None:
    """A thousand windows of ten thousand categories, a row each."""
    wide = Binning([10_000], [None])
    found = wide.count(np.arange(1_000.0)[:, None], np.arange(1_000), 1_000)
    assert [*range(1_000)] == found.window.tolist()
    assert [*range(1, 1_001)] == found.cell.tolist()
    assert [1] * 1_000 == found.n.tolist()


def test_the_cells_of_what_was_refused() -> None:
    """Of every feature that is made of the field."""
    assert [0, 11] == SEVERAL.refused("delay", Reason.MISSING_VALUE).tolist()
    assert [10] == SEVERAL.refused("carrier", Reason.UNSEEN_CATEGORY).tolist()
    assert [] == SEVERAL.refused("other", Reason.UNSEEN_CATEGORY).tolist()


def test_columns_come_back_in_as_few_bytes_as_they_need(seed: int) -> None:
    """Of every size, negative ones too; what is cut short or too long is none."""
    chance = np.random.default_rng(seed)
    columns = [chance.integers(-(2**bits), 2**bits, 50) for bits in (6, 14, 30, 61)] + [np.zeros(50, np.int64)]
    data = pack(*columns)
    assert 4 + 5 + 50 * (1 + 2 + 4 + 8 + 1) == len(data)
    assert [column.tolist() for column in columns] == [column.tolist() for column in unpack(data, 5)]
    assert [[]] == [column.tolist() for column in unpack(pack(np.empty(0, np.int64)), 1)]
    ends = np.array([-(2**63) + 1, 2**63 - 1])
    assert ends.tolist() == unpack(pack(ends), 1)[0].tolist()
    for bad in (data[:-1], data + b"\0", b"", b"\1\0\0\0\3\0\0\0", b"\xff\xff\xff\xff\1"):
        with pytest.raises(ValueError, match="bytes"):
            unpack(bad, 5)
