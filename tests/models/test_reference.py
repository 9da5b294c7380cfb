"""The training set's histograms: counted right, and refused where they do not add up."""

import json
from typing import Any

import numpy as np
import pytest

from streams.errors import ConfigError
from streams.models import manifest, reference
from streams.records import Ints
from tests.models.small_packages import MANIFEST

FEATURES = manifest.parse(MANIFEST.encode()).features
NAN = float("nan")


def days(*days: float) -> Ints:
    return np.array([day * 86_400_000 for day in days], np.int64)


def week(cells: list[list[float]], event_ms: Ints) -> reference.Reference:
    return reference.measure(FEATURES, np.array(cells), event_ms, block_ms=7 * 86_400_000, cells_max=2)


def test_counts_each_row_once_in_its_block_and_cell() -> None:
    """Missing is the first cell; a number on an edge belongs to the cell above; blocks without rows are left out."""
    cells = [[0, 0.0], [3, 10.0], [NAN, NAN], [1, 5.0], [1, 6.0]]
    found = week(cells, days(1, 2, 7.9, 8, 30))
    assert [(1, 3), (8, 1), (29, 1)] == [(block.start_ms // 86_400_000, block.rows) for block in found.blocks]
    carrier, delay = found.features
    assert ((1, 1, 0, 0, 1), (0, 0, 1, 0, 0), (0, 0, 1, 0, 0)) == carrier.counts
    assert (0.0, 5.5, 10.0) == delay.edges
    assert ((1, 0, 1, 0, 1), (0, 0, 1, 0, 0), (0, 0, 0, 1, 0)) == delay.counts


def test_equal_quantiles_are_one_edge() -> None:
    """A number that is mostly zero, or never known, still has ascending edges."""
    assert (0.0,) == week([[0, 0.0]] * 9, days(*range(9))).features[1].edges
    assert (0.0,) == week([[0, NAN]], days(1)).features[1].edges


def test_an_infinite_value_of_the_training_set_is_no_edge() -> None:
    """It lies below or above all edges, which are of the values that are numbers."""
    found = week([[0, value] for value in (-np.inf, 1.0, 2.0, 3.0, np.inf)], days(*range(5))).features[1]
    assert (1.0, 2.0, 3.0) == found.edges
    assert (0, 1, 1, 1, 2) == found.counts[0]
    assert (0.0,) == week([[0, np.inf]] * 3, days(*range(3))).features[1].edges


def test_what_was_measured_can_be_read_again() -> None:
    """A reference written as JSON is the same reference."""
    rng = np.random.default_rng(3)
    data = np.column_stack([rng.integers(0, 4, 500), np.where(rng.random(500) < 0.1, np.nan, rng.normal(size=500))])
    measured = reference.measure(FEATURES, data, days(*rng.uniform(0, 40, 500)), block_ms=7 * 86_400_000)
    assert measured == reference.parse(measured.model_dump_json().encode(), FEATURES, "reference.json")


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (("features", 0, "name"), "dest", "describes the features dest, delay; the manifest's are carrier, delay"),
        (("features", 1, "edges"), None, "`delay` is a number"),
        (("features", 0, "edges"), [1.0], "`carrier` is a category"),
        (("features", 1, "edges"), [0.0, 0.0], "edges of `delay` are not ascending"),
        (("features", 1, "edges"), [0.0], "every block of `delay` needs 3 cells"),
        (("features", 0, "counts", 0), [2, 0, 0, 0], "every block of `carrier` needs 5 cells"),
        (("features", 0, "counts", 0, 0), 7, "`carrier` counts 9 rows"),
        (("features", 0, "counts", 0, 0), -1, "features.0.counts.0.0"),
        (("features", 0, "counts"), [], "has 0 blocks, not 2"),
        (("blocks", 1, "start_ms"), 0, "begins before"),
        (("blocks",), [], "blocks"),
        (("more",), 1, "more"),
    ],
)
def test_a_reference_that_does_not_add_up_is_refused(path: tuple[Any, ...], value: Any, problem: str) -> None:
    """The error names the file, the feature and what is wrong."""
    tree: Any = week([[0, 0.0], [3, 10.0], [1, 5.0]], days(1, 2, 8)).model_dump()
    written = json.loads(json.dumps(tree))
    at = written
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = value
    with pytest.raises(ConfigError) as raised:
        reference.parse(json.dumps(written).encode(), FEATURES, "reference.json")
    assert "reference.json" in str(raised.value)
    assert problem in str(raised.value)
