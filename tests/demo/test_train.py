"""The demo's model: good enough to be worth serving, and a package like any other."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from streams.demo.train import Trained, auc, train
from streams.models import reference
from streams.models.packages import Loaded


def test_is_better_than_chance_on_flights_it_never_saw(trained: Trained) -> None:
    """Judged on the last two weeks of February, all 12,488 flights that arrived."""
    assert (37_521, 12_488) == (trained.rows, trained.held_out)
    assert 0.88 < trained.auc < 0.95


def test_registers_and_loads(model: Loaded) -> None:
    """The package passes every check; register and load are what users run."""
    assert ("flights-late", "1") == (model.name, model.version)
    assert model.row_deterministic


def test_knows_only_what_was_flown_in_the_training_weeks(model: Loaded, march: list[dict[str, Any]]) -> None:
    """Lists come from the training set: two airports of March are new, no carrier and no origin is."""
    lists = {feature.source: set(feature.categories) for feature in model.manifest.features if feature.categories}
    new = {field: {request[field] for request in march} - known for field, known in lists.items()}
    assert {"carrier": set(), "origin": set(), "dest": {"BGR", "CHO"}} == new


def test_golden_rows_cover_every_category_and_missing_values(trained: Trained, model: Loaded) -> None:
    """A swapped carrier or a wrong default for a missing delay must show, so each must occur."""
    lines = [json.loads(line) for line in (trained.folder / "golden.jsonl").read_text().splitlines()]
    rows = [line["request"] for line in lines]
    assert {"EWR", "JFK", "LGA"} == {row["origin"] for row in rows}
    for feature in model.manifest.features:
        if feature.kind == "category":
            assert len({row[feature.source] for row in rows}) > 0.9 * len(feature.categories), feature.name
    assert any(row["dep_delay"] is None for row in rows)


def test_the_reference_covers_the_training_weeks(trained: Trained, model: Loaded) -> None:
    """Six weeks and three days in blocks of a week; every feature counts every row once."""
    content = (trained.folder / "reference.json").read_bytes()
    found = reference.parse(content, model.manifest.features, "reference.json")
    assert (7, 37_521) == (len(found.blocks), sum(block.rows for block in found.blocks))


def test_training_again_gives_the_same_bytes(trained: Trained, contract_file: Path, tmp_path: Path) -> None:
    """Seeds are fixed and one thread trains: the package's digest is the same."""
    again = train(contract_file, tmp_path / "again")
    files = sorted(path.name for path in trained.folder.iterdir())
    assert files == sorted(path.name for path in again.folder.iterdir())
    for name in files:
        assert (trained.folder / name).read_bytes() == (again.folder / name).read_bytes(), name


def test_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    """Counted pair by pair, ties for half."""
    rng = np.random.default_rng(4)
    for _ in range(20):
        scores, positive = rng.integers(0, 6, 30) / 6, rng.random(30) < 0.4
        positive[:2] = [True, False]
        pairs = scores[positive][:, None] - scores[~positive][None, :]
        assert abs(((pairs > 0) + 0.5 * (pairs == 0)).mean() - auc(scores, positive)) < 1e-12
