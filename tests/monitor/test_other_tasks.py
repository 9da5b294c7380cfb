"""Models of more than two classes, and of numbers, through the stream: from records to figures."""

import random
from typing import Any

import numpy as np
import pytest

from streams.avro.encode import encode_one
from streams.avro.schema import parse
from streams.contracts import Reading, Snapshot
from streams.monitor.performance.report import Block, Report, report
from streams.monitor.reading import result_contract
from streams.monitor.tasks import Multiclass, Regression, Task
from streams.monitor.windows import WINDOW_BYTES, Rules, parse_window
from streams.reasons import Reason
from tests.monitor.stream import HOUR_MS, LABEL_SCHEMA, LABELS, RESULT_SCHEMA, RESULTS, Monitor, Record, result

CLASSES = (b"bus", b"train", b"walk")
ENUM = {"type": "enum", "name": "Way", "symbols": ["walk", "bus", "train", "fly"]}
TRUTHS: dict[str, Any] = {"name": "string", "place": "int", "symbol": ENUM, "number": "double"}
"""How a label may say what came true."""


def truth_schema(kind: Any) -> dict[str, Any]:
    """Return a contract of labels whose truth has this type."""
    return {**LABEL_SCHEMA, "fields": [*LABEL_SCHEMA["fields"][:-1], {"name": "outcome", "type": kind}]}


def world(task: Task, kind: Any) -> tuple[Monitor, Rules]:
    """Return a monitor of this task, over two partitions."""
    results, labels = result_contract(RESULT_SCHEMA, task, ("request_id",)), parse(truth_schema(kind))
    snapshot: Snapshot = {(RESULTS, 1): Reading(results, results), (LABELS, 2): Reading(labels, labels)}
    rules = Rules(task, HOUR_MS, 24 * HOUR_MS)
    return Monitor(2, snapshot, rules=rules), rules


def label(request_id: str, truth: Any, kind: Any) -> Record:
    """Return a label."""
    values = {"request_id": request_id, "known_at": 5, "version": None, "withdrawn": False, "outcome": truth}
    return Record(LABELS, request_id.encode(), b"\0\0\0\0\2" + encode_one(truth_schema(kind), values), 5)


def told(monitor: Monitor, rules: Rules) -> Report:
    """Return what is told of everything."""
    monitor.rest()
    blocks: dict[int, dict[bytes, Any]] = {}
    for key, row in monitor.windows().items():
        blocks.setdefault(parse_window(key[:WINDOW_BYTES])[0].number, {})[key[WINDOW_BYTES:]] = row
    assert monitor.verdict().exit_code == 0, "\n".join(monitor.verdict().lines())
    return report([Block(number, rows) for number, rows in sorted(blocks.items())], rules, 10 * HOUR_MS)


@pytest.mark.parametrize("said", ["name", "place", "symbol"])
def test_more_than_two_classes(said: str, seed: int) -> None:
    """Whether a label names its class, or says its place in the model's order, or is an enum in an order of its own."""
    chance = random.Random(seed)
    task, kind = Multiclass(CLASSES), TRUTHS[said]
    monitor, rules = world(task, kind)
    picks, truths, scores = [], [], []
    for number in range(300):
        weights = [chance.random() for _ in CLASSES]
        probabilities = [weight / sum(weights) for weight in weights]
        true, name = chance.randrange(3), f"r{number}"
        scores.append(probabilities)
        picks.append(int(np.argmax(probabilities)))
        truths.append(true)
        pick = CLASSES[picks[-1]].decode()
        prediction = result(name, None, number * HOUR_MS // 60, scores=probabilities, label=pick)
        word = CLASSES[true].decode()
        truth: Any = {"name": word, "place": true, "symbol": word}[said]
        both = [prediction, label(name, truth, kind)]
        monitor.feed(both if chance.random() < 0.5 else both[::-1])
    found = told(monitor, rules)
    assert (300, 300, 0) == (found.predictions, found.labelled, found.misfits)
    picked, true_class = np.array(picks), np.array(truths)
    hits = [np.sum((picked == one) & (true_class == one)) for one in range(3)]
    sizes = [np.sum(picked == one) + np.sum(true_class == one) for one in range(3)]
    losses = -np.log(np.array(scores, dtype=np.float32)[np.arange(300), true_class])
    assert found.figures["accuracy"].value == pytest.approx(np.mean(picked == true_class), abs=1e-12)
    assert found.figures["macro_f1"].value == pytest.approx(
        np.mean([2 * hit / size for hit, size in zip(hits, sizes, strict=True)]), abs=1e-12
    )
    assert found.figures["log_loss"].value == pytest.approx(np.mean(losses), abs=1e-6)


def test_a_class_that_the_model_does_not_know_is_counted_as_a_misfit() -> None:
    """It is a label, and no truth: the prediction stays without one."""
    monitor, rules = world(Multiclass(CLASSES), ENUM)
    monitor.feed([result("r1", None, 0, scores=[0.2, 0.5, 0.3], label="train"), label("r1", "fly", ENUM)])
    monitor.feed([result("r2", None, 0, scores=[0.2, 0.5, 0.3], label="train"), label("r2", "train", ENUM)])
    found = told(monitor, rules)
    assert (2, 1, 1) == (found.predictions, found.labelled, found.misfits)


def test_numbers(seed: int) -> None:
    """A model of numbers; a label that is none, or not finite, is a dead letter."""
    chance = random.Random(seed)
    monitor, rules = world(Regression(), "double")
    values, truths = [], []
    for number in range(300):
        truth = chance.gauss(10, 40)
        values.append(truth + chance.gauss(0, 5))
        truths.append(truth)
        one = result(f"r{number}", None, number * HOUR_MS // 60, value=values[-1])
        monitor.feed([one, label(f"r{number}", truth, "double")])
    monitor.feed([label("r1", float("nan"), "double"), label("r2", float("inf"), "double")])
    found = told(monitor, rules)
    assert (300, 300) == (found.predictions, found.labelled)
    errors = np.array(values) - np.array(truths)
    assert found.figures["mae"].value == pytest.approx(np.mean(np.abs(errors)), abs=1e-6)
    assert found.figures["rmse"].value == pytest.approx(np.sqrt(np.mean(errors**2)), abs=1e-6)
    assert found.figures["r2"].value == pytest.approx(1 - np.mean(errors**2) / np.var(truths), abs=1e-6)
    assert 2 == monitor.tally()[f"labels.{Reason.OUT_OF_CONTRACT.name}"] == len(monitor.letters)


@pytest.mark.parametrize(
    ("task", "prediction"),
    [
        (Multiclass(CLASSES), result("r1", 0.7, 0)),
        (Multiclass(CLASSES), result("r1", None, 0, scores=[0.5, 0.5, 0.0], label="fly")),
        (Multiclass(CLASSES), result("r1", None, 0, scores=[0.5, 0.5, float("nan")], label="bus")),
        (Regression(), result("r1", 0.7, 0)),
        (Regression(), result("r1", None, 0, value=float("inf"))),
    ],
)
def test_a_prediction_of_another_kind_is_counted_as_such(task: Task, prediction: Record) -> None:
    """It is not joined, and not passed over without a word."""
    monitor, rules = world(task, "string")
    monitor.feed([prediction])
    assert 0 == told(monitor, rules).predictions
    assert 1 == monitor.tally()[f"results.{Reason.OUT_OF_CONTRACT.name}"]
