"""Train the demo's model and write it as a package that `streams models register` takes.

Trained on January and the first half of February, judged on the rest of February, asked about March. The features are
made by the code that serves them, so training and serving cannot differ.
"""

import datetime
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import polars as pl

from streams.avro import schema
from streams.contracts import Contract
from streams.demo import data
from streams.durations import DAY_MS
from streams.models import lightgbm, manifest, reference, rows
from streams.models.features import Features
from streams.models.manifest import Feature
from streams.records import Bools, Floats

NAME, VERSION = "flights-late", "1"
HELD_OUT = datetime.date(2013, 2, 15)
"""The first day that the model is judged on; what it learns from ends the day before."""
CATEGORIES = ("carrier", "origin", "dest")
TREES = 100
THRESHOLD, ALLOWED = 0.5, 1.25
"""From which score on a flight is called late; and how much more often than on held-out flights the model may be wrong."""
SETTINGS: dict[str, Any] = {
    "objective": "binary",
    "num_leaves": 31,
    "learning_rate": 0.1,
    "seed": 2013,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbose": -1,
}
WEEK_MS = 7 * DAY_MS


class Trained(NamedTuple):
    """What was trained, and how good it is."""

    folder: Path
    rows: int
    """Flights that the model learned from."""
    held_out: int
    """Later flights that it was judged on: those that arrived, to airports that it knows."""
    auc: float
    """Area under the ROC curve on these."""


def train(contract_file: Path, folder: Path) -> Trained:
    """Train the model and write its package to a folder, which is made; what it holds already is overwritten.

    The same data, library and machine give the same bytes. Takes one to three seconds.
    Raises: SetupError where the data or LightGBM are missing.
    """
    library = lightgbm.require()
    contract = schema.parse(contract_file.read_text("utf-8"))
    winter = data.flights(1, 2)
    known = winter.filter(pl.col("late").is_not_null(), pl.col("day") < HELD_OUT)
    later = winter.filter(pl.col("day") >= HELD_OUT)
    toml = _manifest(contract_file.name, contract, {name: known[name].unique().sort() for name in CATEGORIES})
    about = manifest.parse(toml.encode())
    matrix, scorable = _matrix(contract, about.features, known)
    assert scorable.all(), "a category of the training set is not in its own list"
    dataset = library.Dataset(
        matrix,
        known["late"].to_numpy(),
        feature_name=[feature.name for feature in about.features],
        categorical_feature=[at for at, feature in enumerate(about.features) if feature.kind == "category"],
    )
    text = cast(str, library.train(SETTINGS, dataset, TREES).model_to_string())
    matrix_later, scorable = _matrix(contract, about.features, later)
    scores = lightgbm.LightGbm(text.encode(), about).score(matrix_later)
    judged = later.with_columns(score=scores).filter(scorable)
    wrong = judged.filter(pl.col("late").is_not_null()).select(
        ((pl.col("score") >= THRESHOLD) != pl.col("late")).mean()
    )
    toml += _risk(float(wrong.item()))
    weeks = reference.measure(about.features, matrix, known["event_time"].to_numpy(), block_ms=WEEK_MS)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in {
        manifest.FILE: toml,
        contract_file.name: contract_file.read_text("utf-8"),
        "model.txt": text,
        "reference.json": weeks.model_dump_json(indent=1),
        "golden.jsonl": _golden(judged),
    }.items():
        (folder / name).write_bytes(content.encode())
    judged = judged.filter(pl.col("late").is_not_null())
    return Trained(folder, len(known), len(judged), auc(judged["score"].to_numpy(), judged["late"].to_numpy()))


def auc(scores: Floats, positive: Bools) -> float:
    """Return the chance that a positive row scores above a negative one, ties counting half (Mann and Whitney's U).

    Both kinds of row must be there.
    """
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(count) - (count - 1) / 2
    positives, negatives = int(positive.sum()), int((~positive).sum())
    above = mean_rank[place][positive].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def _matrix(contract: Contract, features: Sequence[Feature], flights: pl.DataFrame) -> tuple[Floats, Bools]:
    """Return the matrix of some flights, and which of them the features do not refuse."""
    decoded = rows.decoded(contract, data.requests(flights))
    matrix, refusals = Features(features, [contract]).matrix(decoded, contract, np.arange(len(flights)))
    scorable = np.ones(len(flights), np.bool_)
    scorable[list(refusals.rows)] = False
    return matrix, scorable


def _golden(judged: pl.DataFrame) -> str:
    """Return the first flight to every airport, of every carrier from every origin, and some that never departed."""
    chosen = pl.concat(
        [
            judged.unique("dest", keep="first", maintain_order=True),
            judged.unique(["carrier", "origin"], keep="first", maintain_order=True),
            judged.filter(pl.col("dep_delay").is_null()).head(8),
        ]
    ).unique("request_id", keep="first", maintain_order=True)
    lines = zip(data.requests(chosen), chosen["score"].to_list(), strict=True)
    return "".join(json.dumps({"request": request, "score": score}) + "\n" for request, score in lines)


def _risk(held_out: float) -> str:
    """Return what the manifest says of how wrong the model may be."""
    return f"""
[risk]  # on held-out flights it was wrong in {held_out:.3f}
metric = "error_rate"
allowed = {ALLOWED * held_out:.3f}
"""


def _manifest(file: str, contract: Contract, categories: Mapping[str, Iterable[str]]) -> str:
    """Return the manifest's TOML. JSON's strings and lists of strings are TOML's, too."""
    features = []
    for name in data.INPUTS:
        field = contract.field(name)
        features += ["[[features]]", f'name = "{name}"']
        if name in categories:
            features += ['kind = "category"', f"categories = {json.dumps(list(categories[name]))}", 'unseen = "refuse"']
        else:
            features += ['kind = "number"']
        features += ['missing = "nan"', ""] if field and field.null_branch is not None else [""]
    lines = "\n".join(features)
    return f"""\
# Will a flight out of New York arrive more than {data.LATE_MINUTES} minutes late?
name = "{NAME}"
version = "{VERSION}"
task = "binary"
flavor = "lightgbm"
artifact = "model.txt"
extra_fields = "refuse"

[[accepts]]
contract = "{file}"

{lines}
[output]
classes = ["on_time", "late"]
positive = "late"
threshold = {THRESHOLD}

[label]
field = "late"
horizon_hours = 48
absence_means = "unknown"

[reference]
file = "reference.json"

[golden]
file = "golden.jsonl"
tolerance = 0.0
"""
