"""A small, complete model package in memory, for tests that change one thing in it."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np

from streams.avro import schema
from streams.models import manifest, reference, rows
from streams.models.features import Features
from streams.records import Floats
from tests.models import small_graphs

CONTRACT = json.dumps(
    {
        "type": "record",
        "name": "Ask",
        "fields": [
            {"name": "request_id", "type": "string", "role": "request_id"},
            {"name": "carrier", "type": "string"},
            {"name": "delay", "type": ["null", "double"], "default": None},
        ],
    }
)
CARRIERS = ("UA", "B6", "AA", "DL")
MANIFEST = """
name = "late"
version = "1"
task = "binary"
flavor = "lightgbm"
artifact = "model.txt"

[[accepts]]
contract = "ask.avsc"

[[features]]
name = "carrier"
kind = "category"
categories = ["UA", "B6", "AA", "DL"]

[[features]]
name = "delay"
kind = "number"
missing = "nan"

[output]
classes = ["on_time", "late"]
positive = "late"

[label]
field = "late"
horizon_hours = 48

[reference]
file = "reference.json"

[golden]
file = "golden.jsonl"
"""


def asked(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return that many requests; one in eight has no delay."""
    rng = np.random.default_rng(seed)
    return [
        {
            "request_id": f"r-{at}",
            "carrier": CARRIERS[int(rng.integers(4))],
            "delay": None if rng.random() < 0.125 else float(np.round(rng.normal(10, 20))),
        }
        for at in range(count)
    ]


def matrix(requests: list[dict[str, Any]]) -> Floats:
    """Return the feature matrix of requests."""
    contract = schema.parse(CONTRACT)
    features = Features(manifest.parse(MANIFEST.encode()).features, [contract])
    return features.matrix(rows.decoded(contract, requests), contract, np.arange(len(requests)))[0]


def trained() -> tuple[str, Floats]:
    """Return a LightGBM text model in which carrier and delay both matter, and its training matrix."""
    data = matrix(asked(800))
    rng = np.random.default_rng(1)
    late = np.nan_to_num(data[:, 1]) + 15 * (data[:, 0] % 2) + rng.normal(0, 5, len(data)) > 20
    dataset = lightgbm.Dataset(data, late, feature_name=["carrier", "delay"], categorical_feature=[0])
    settings = {"objective": "binary", "num_leaves": 7, "min_data_in_leaf": 5, "num_threads": 1, "verbose": -1}
    return lightgbm.train(settings, dataset, 20).model_to_string(), data


@cache
def files() -> dict[str, bytes]:
    """Return a package that passes every check; trained once, so copy it before changing it."""
    text, data = trained()
    scores = lightgbm.Booster(model_str=text).predict(matrix(GOLDEN), num_threads=1)
    event_ms = np.arange(len(data), dtype=np.int64) * 1_000
    about = manifest.parse(MANIFEST.encode())
    measured = reference.measure(about.features, data, event_ms, block_ms=200_000).model_dump_json()
    return packed(MANIFEST, "score", scores, text.encode()) | {"reference.json": measured.encode()}


GOLDEN = asked(40, seed=2)


def packed(toml: str, key: str, scores: Any, artifact: bytes) -> dict[str, bytes]:
    """Return a package with these expected scores of GOLDEN, named as in the result."""
    lines = [
        json.dumps({"request": row, key: score}) for row, score in zip(GOLDEN, np.asarray(scores).tolist(), strict=True)
    ]
    return {
        "manifest.toml": toml.encode(),
        "ask.avsc": CONTRACT.encode(),
        manifest.parse(toml.encode()).artifact: artifact,
        "golden.jsonl": "\n".join(lines).encode(),
    }


CLASSES = ("early", "on_time", "late")
_OUTPUT = '[output]\nclasses = ["on_time", "late"]\npositive = "late"\n'
_LABEL = '[label]\nfield = "late"\nhorizon_hours = 48\n'
_REFERENCE = '[reference]\nfile = "reference.json"\n'
REGRESSION = (
    MANIFEST.replace('"binary"', '"regression"').replace(_OUTPUT, "").replace(_LABEL, "").replace(_REFERENCE, "")
)
MULTICLASS = REGRESSION.replace('"regression"', '"multiclass"') + f"[output]\nclasses = {json.dumps(CLASSES)}\n"
ONNX = (
    MANIFEST.replace('"lightgbm"', '"onnx"').replace("model.txt", "model.onnx").replace(_REFERENCE, "")
    + "tolerance = 1e-6\n"
)


@cache
def boosted(objective: str) -> str:
    """Return a LightGBM text model of an objective: of three classes, or of the delay and the carrier as a number."""
    data = matrix(asked(800))
    delay = np.nan_to_num(data[:, 1]) + 5 * data[:, 0]
    many = objective in ("multiclass", "multiclassova")
    truth = np.digitize(delay, [5, 25]) if many else np.maximum(delay, 0.1)
    dataset = lightgbm.Dataset(data, truth, feature_name=["carrier", "delay"], categorical_feature=[0])
    settings = {"objective": objective, "num_leaves": 5, "min_data_in_leaf": 5, "num_threads": 1, "verbose": -1}
    return lightgbm.train(settings | ({"num_class": 3} if many else {}), dataset, 10).model_to_string()


def multiclass_files(objective: str = "multiclass") -> dict[str, bytes]:
    """Return a LightGBM package of three classes."""
    text = boosted(objective)
    return packed(MULTICLASS, "scores", lightgbm.Booster(model_str=text).predict(matrix(GOLDEN)), text.encode())


def regression_files(objective: str = "regression") -> dict[str, bytes]:
    """Return a LightGBM package that predicts a number."""
    text = boosted(objective)
    return packed(REGRESSION, "value", lightgbm.Booster(model_str=text).predict(matrix(GOLDEN)), text.encode())


def onnx_files() -> dict[str, bytes]:
    """Return an ONNX package of a logistic regression; expected is what float64 makes of the same weights."""
    scores = 1 / (1 + np.exp(-small_graphs.logits(matrix(GOLDEN))[:, 0]))
    return packed(ONNX, "score", scores, small_graphs.linear())


def write(files: Mapping[str, bytes], folder: Path) -> Path:
    """Write a package to a folder."""
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder
