"""A small, complete model package in memory, for tests that change one thing in it."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np

from streams.avro import schema
from streams.models import manifest, reference, rows
from streams.models.features import Features
from streams.records import Floats

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
    golden = asked(40, seed=2)
    scores = lightgbm.Booster(model_str=text).predict(matrix(golden), num_threads=1)
    lines = [json.dumps({"request": r, "score": float(s)}) for r, s in zip(golden, scores, strict=True)]
    event_ms = np.arange(len(data), dtype=np.int64) * 1_000
    about = manifest.parse(MANIFEST.encode())
    return {
        "manifest.toml": MANIFEST.encode(),
        "ask.avsc": CONTRACT.encode(),
        "model.txt": text.encode(),
        "golden.jsonl": "\n".join(lines).encode(),
        "reference.json": reference.measure(about.features, data, event_ms, block_ms=200_000)
        .model_dump_json()
        .encode(),
    }


def write(files: dict[str, bytes], folder: Path) -> Path:
    """Write a package to a folder."""
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder
