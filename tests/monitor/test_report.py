"""What is told of a span: against the records themselves, young and ripe, for every kind of model."""

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pytest

from streams.monitor.labels import Known, Prediction, label
from streams.monitor.performance.report import Block, Report, report
from streams.monitor.score_keys import to_keys
from streams.monitor.tasks import Binary, Multiclass, Regression, Row
from streams.monitor.windows import Rules, added, contribution, parse_window
from tests.monitor.worlds import normals

DAY_MS = 86_400_000
SUBJECT = b"model-v1"
BINARY = Binary(b"no", b"yes")
MULTICLASS = Multiclass((b"a", b"b", b"c"))
REGRESSION = Regression()


def blocks(known: Sequence[Known], rules: Rules) -> list[Block]:
    """The windows that some identities make."""
    windows: dict[int, dict[bytes, Row]] = defaultdict(dict)
    for key, row in added(contribution(one, rules) for one in known).items():
        window, rest = parse_window(key)
        windows[window.number][rest] = row
    return [Block(number, rows) for number, rows in sorted(windows.items())]


def value(told: Report, name: str) -> float:
    found = told.figures[name].value
    assert found is not None, told.figures[name]
    return found


def test_labels_that_come_soon_are_not_like_those_that_come_late() -> None:
    """Positives known after 8 days on average, negatives after 30, predictions of the last 40 days: what had arrived says
    0.69 where the truth is 0.80; those that are ripe tell the truth, and the AUC can be read at once.
    """
    rng, days, size = np.random.default_rng(4), 40, 24_000
    scores, labels = normals(rng, size, 1.1, 0.2)
    chances = 1 / (1 + np.exp(-(1.1 * scores - 0.605 + math.log(0.25))))
    picked, now = chances >= 0.35, days * DAY_MS
    event = rng.integers(0, now, size)
    delay = np.where(labels, rng.exponential(8 * DAY_MS, size), 29.99 * DAY_MS)
    keys = to_keys(chances, picked)
    arrived = (event + delay <= now) & (delay <= 30 * DAY_MS)
    rules = Rules(BINARY, DAY_MS, 30 * DAY_MS)
    known = [
        Known(
            Prediction(int(event[i]), SUBJECT, BINARY.said(int(keys[i]))),
            (label(b"yes" if labels[i] else b"no", int(event[i] + delay[i]), 1),) if arrived[i] else (),
        )
        for i in range(size)
    ]
    windows = blocks(known, rules)
    young = report(windows, rules, now)
    truth = float((picked == labels).mean())
    assert size == young.predictions
    assert int(arrived.sum()) == young.labelled
    assert size == young.labelled + young.pending + young.expired
    assert 0.22 < (young.mature or 0) < 0.28
    assert [0.80, 0.69] == pytest.approx([truth, value(young, "accuracy")], abs=0.005)
    ripe = report([one for one in windows if (one.number + 31) * DAY_MS <= now], rules, now, b"no")
    assert (0, 1.0) == (ripe.pending, ripe.mature)
    assert truth == pytest.approx(value(ripe, "accuracy"), abs=0.02)
    exact = report(blocks([one for one in known if one.labels], rules), rules, now).figures["auc"]
    whole = report(windows, rules, now).figures["auc"]
    assert exact == whole
    assert whole.value == pytest.approx(value(ripe, "auc"), abs=0.025)


def test_absence_stands_for_a_class_only_where_nothing_can_come_any_more() -> None:
    rules = Rules(BINARY, DAY_MS, 2 * DAY_MS)
    said = BINARY.said(int(to_keys(np.array([0.9]), np.array([True]))[0]))
    windows = blocks([Known(Prediction(day * DAY_MS, SUBJECT, said)) for day in range(5)], rules)
    told = report(windows, rules, 5 * DAY_MS, b"no")
    assert (5, 0, 2, 3) == (told.predictions, told.labelled, told.pending, told.expired)
    assert 0.0 == value(told, "accuracy")
    assert 1.0 == value(report(windows, rules, 5 * DAY_MS, b"yes"), "accuracy")
    assert "no label yet" == report(windows, rules, 5 * DAY_MS).figures["accuracy"].why


def test_a_span_of_nothing() -> None:
    for task in (BINARY, MULTICLASS, REGRESSION):
        told = report([], Rules(task, DAY_MS, DAY_MS), 0)
        assert (0, 0, 0, 0, 0, None) == told[:6]
        assert all(figure.value is None and figure.why for figure in told.figures.values())


def test_more_than_two_classes_by_the_record() -> None:
    rng, rules = np.random.default_rng(6), Rules(MULTICLASS, DAY_MS, DAY_MS)
    probabilities = rng.dirichlet([1.0, 1.0, 1.0], 400).astype(np.float32)
    picked = probabilities.argmax(axis=1)
    true = np.array([rng.choice(3, p=row / row.sum()) for row in probabilities.astype(np.float64)])
    known = [
        Known(
            Prediction(i * DAY_MS // 50, SUBJECT, MULTICLASS.said(int(picked[i]), probabilities[i].tolist())),
            (label(MULTICLASS.classes[true[i]], i * DAY_MS // 50, 1),) if i % 5 else (),
        )
        for i in range(400)
    ]
    told = report(blocks(known, rules), rules, 0)
    some = np.arange(400) % 5 != 0
    assert (400, 320, 80, 0) == told[:4]
    assert (picked == true)[some].mean() == value(told, "accuracy")
    assert told.figures["accuracy"].blocks is not None
    said = probabilities.astype(np.float64)[some, true[some]]
    assert -np.log(said).mean() == pytest.approx(value(told, "log_loss"))
    onehot = np.eye(3)[true]
    assert ((probabilities - onehot) ** 2).sum(axis=1)[some].mean() == pytest.approx(value(told, "brier"))
    recalls = [(picked == true)[some & (true == one)].mean() for one in range(3)]
    assert np.mean(recalls) == pytest.approx(value(told, "macro_recall"))
    believed = report(blocks(known, rules), rules, 100 * DAY_MS, b"b")
    hits = (picked == np.where(some, true, 1)).mean()
    assert hits == pytest.approx(value(believed, "accuracy"))
    assert (320, 0, 80) == believed[1:4]


def test_numbers_by_the_record() -> None:
    rng, rules = np.random.default_rng(8), Rules(REGRESSION, DAY_MS, DAY_MS)
    said, true = rng.normal(size=(2, 90))
    known = [
        Known(
            Prediction(i, SUBJECT, REGRESSION.said(float(said[i]))),
            (label(REGRESSION.said(float(true[i])), i, 1),) if i % 3 else (label(b"none", i, 1),),
        )
        for i in range(90)
    ]
    told = report(blocks(known, rules), rules, 0)
    some = np.arange(90) % 3 != 0
    assert (90, 60, 30, 0, 30) == told[:5]
    assert np.abs(said - true)[some].mean() == pytest.approx(value(told, "mae"))
    assert math.sqrt(((said - true)[some] ** 2).mean()) == pytest.approx(value(told, "rmse"))
    assert 60 == sum(told.delays) == told.delays[0]
