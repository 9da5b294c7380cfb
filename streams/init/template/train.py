"""Train the model: writes package/model.txt, package/golden.jsonl and package/reference.json.

    python train.py

Needs numpy and lightgbm. Replace `applications` by your own data: requests as the contract has them, in the order of
time, and the truth. Which fields the model sees, in which order and how, is read from package/manifest.toml.
"""

import json
import math
import tomllib
from pathlib import Path

import lightgbm
import numpy as np

PACKAGE = Path(__file__).parent / "package"
MANIFEST = tomllib.loads((PACKAGE / "manifest.toml").read_text("utf-8"))
FEATURES, THRESHOLD = MANIFEST["features"], MANIFEST["output"]["threshold"]
ROWS, HELD_OUT, TREES, GOLDEN = 4000, 1000, 12, 24
CELLS = 10  # that a number's values are cut into, alike many in each
BLOCK_MS = 86_400_000  # so long are the windows that are compared with training; there must be 4 blocks, 15 are better
SETTINGS = {
    "objective": "binary",
    "num_leaves": 5,
    "learning_rate": 0.3,
    "seed": 1,
    "deterministic": True,  # with one thread: the same data give the same model
    "force_row_wise": True,
    "num_threads": 1,
    "verbose": -1,
}


def applications(count):
    """Return made-up applications for loans, and whether each borrower defaulted."""
    rng = np.random.default_rng(1)
    purposes = ["car", "debts", "education", "home", "other"]
    risks = {"car": 0.0, "debts": 1.0, "education": -0.3, "home": -0.5, "other": 0.4}
    requests, defaulted = [], []
    for number in range(count):
        income = round(float(rng.lognormal(10.4, 0.5)), 2)
        request = {
            "request_id": f"application-{number}",
            "tenant": "training",
            "event_time": 1_735_689_600_000 + number * 600_000,
            "amount": round(float(rng.lognormal(9.2, 0.8)), 2),
            "months": int(rng.integers(1, 11)) * 12,
            "purpose": purposes[rng.integers(len(purposes))],
            "income": income if rng.random() > 0.1 else None,
            "rate": round(float(rng.uniform(2, 15)), 2),
        }
        burden = request["amount"] * (1 + request["rate"] / 100) / request["months"] / (income / 12)
        risk = -3 + 4 * min(burden, 1.5) + 0.15 * request["rate"] + risks[request["purpose"]]
        requests.append(request)
        defaulted.append(rng.random() < 1 / (1 + math.exp(-risk)))
    return requests, defaulted


def cell(feature, request):
    """Return what the model sees of a request: a number, a category's position in its list, nan for null."""
    value = request[feature.get("from", feature["name"])]
    if value is None:
        return math.nan
    return feature["categories"].index(value) if feature["kind"] == "category" else value


def reference(matrix, times):
    """Return what the training set looked like: how many values of each feature lie in each cell, block after block.

    A number's cells: missing, below the first edge, from each edge to the next, from the last edge on. A category's:
    missing, and one for each. Where answeronce is installed, `streams.models.reference.measure` does it, and more.
    """
    block = (times - times[0]) // BLOCK_MS
    present, features = np.unique(block).tolist(), []
    for feature, values in zip(FEATURES, matrix.T, strict=True):
        if feature["kind"] == "category":
            edges, places, many = None, values, len(feature["categories"])
        else:
            edges = np.unique(np.quantile(values[np.isfinite(values)], np.linspace(0, 1, CELLS + 1))).tolist()
            places, many = np.searchsorted(edges, values, side="right"), len(edges) + 1
        cells = np.where(np.isnan(values), 0, places + 1).astype(int)
        counts = [np.bincount(cells[block == each], minlength=many + 1).tolist() for each in present]
        features.append({"name": feature["name"], "edges": edges, "counts": counts})
    begins = [int(times[0]) + each * BLOCK_MS for each in present]
    rows = [int((block == each).sum()) for each in present]
    blocks = [
        {"start_ms": begin, "end_ms": begin + BLOCK_MS, "rows": count}
        for begin, count in zip(begins, rows, strict=True)
    ]
    return {"blocks": blocks, "features": features}


def main():
    """Train, and write what the package needs."""
    requests, defaulted = applications(ROWS + HELD_OUT)
    matrix = np.array([[cell(feature, request) for feature in FEATURES] for request in requests])
    dataset = lightgbm.Dataset(
        matrix[:ROWS],
        defaulted[:ROWS],
        feature_name=[feature["name"] for feature in FEATURES],
        categorical_feature=[at for at, feature in enumerate(FEATURES) if feature["kind"] == "category"],
    )
    model = lightgbm.train(SETTINGS, dataset, TREES)
    model.save_model(PACKAGE / "model.txt")
    golden = zip(requests[:GOLDEN], model.predict(matrix[:GOLDEN]), strict=True)
    lines = [json.dumps({"request": request, "score": float(score)}) for request, score in golden]
    (PACKAGE / "golden.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    times = np.array([request["event_time"] for request in requests[:ROWS]])
    (PACKAGE / "reference.json").write_text(json.dumps(reference(matrix[:ROWS], times)) + "\n", "utf-8")
    wrong = np.mean((model.predict(matrix[ROWS:]) >= THRESHOLD) != np.array(defaulted[ROWS:]))
    print(f"{ROWS} applications, {sum(defaulted[:ROWS])} defaults; wrong about {wrong:.1%} of {HELD_OUT} later ones")


if __name__ == "__main__":
    main()
