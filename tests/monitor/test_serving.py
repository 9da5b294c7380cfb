"""What Prometheus is told: of each model the newest window, and the newest that is mature."""

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from streams.metrics.drift import DriftMetric
from streams.metrics.performance import PerformanceMetric, text
from streams.monitor.drift.episodes import Loss, chains, losses
from streams.monitor.drift.telling import Line
from streams.monitor.state import Subject
from streams.monitor.windows import parse_window
from streams.performance_serving import Published, drift_sample
from tests.monitor.drift.known import category, watch, windows
from tests.monitor.stream import HOUR_MS, RESULTS, RULES, Monitor, label, result, run

RECORDS = [
    record
    for number in range(60)
    for record in (
        result(f"r{number}", number % 10 / 10, number * HOUR_MS // 2, model_version=str(number % 2)),
        label(f"r{number}", "lost" if number % 3 else "kept", number * HOUR_MS // 2 + HOUR_MS),
    )
]


def published(monitor: Monitor) -> Published:
    """Return what a follower of the topic knows."""
    found = Published(RULES)
    for key, part in monitor.decoded().items():
        found.take(key, part)
    return found


def test_the_newest_window_and_the_newest_that_is_mature() -> None:
    """Thirty hours, two versions, a horizon of a day: the sixth hour is the last whose labels must all be there."""
    samples = published(run(RECORDS)).samples(None)
    found = {(one.version, one.window): one for one in samples}
    assert {("0", "newest"), ("0", "mature"), ("1", "newest"), ("1", "mature")} == set(found)
    assert [30 * HOUR_MS, 6 * HOUR_MS] == [found["0", which].end_ms for which in ("newest", "mature")]
    assert (1, 1, 0.0) == found["1", "newest"][4:7]
    assert (1, 1, 1.0) == found["1", "mature"][4:7]
    assert [1, 1] == [found["0", which].distinct for which in ("newest", "mature")]
    assert "auc" not in found["0", "newest"].figures, "it is undefined for one class"


def test_what_can_be_told_of_no_more_is_forgotten() -> None:
    """Windows before the newest mature one, those that come again, too; what is told is the same as if all came at once."""
    monitor = run(RECORDS)
    whole, followed = published(monitor), Published(RULES)
    for key, part in sorted(monitor.decoded().items(), key=lambda item: item[1]["window_start"]):
        followed.take(key, part)
        followed.samples(None)
    assert whole.samples(None) == followed.samples(None) == whole.samples(None)
    for key, part in monitor.decoded().items():
        followed.take(key, part)
    assert whole.samples(None) == followed.samples(None)
    for one in (whole, followed):
        following = one._following
        kept = {
            parse_window(at)[0].number for at, _ in following.windows() if any(r.packed for r in following.kept(at))
        }
        assert {*range(5, 30)} == kept


def test_how_far_labels_are_behind() -> None:
    """In the predictions' event time; a withdrawal takes the newest one back, and without any label nothing is said."""
    silent = [one for one in RECORDS if one.topic == RESULTS]
    assert {None} == {one.label_lag_s for one in published(run(silent)).samples(None)}
    some = [*silent, label("r10", "lost", 5 * HOUR_MS + 1), label("r40", "lost", 20 * HOUR_MS + 1)]
    lags = {(one.version, one.window): one.label_lag_s for one in published(run(some)).samples(None)}
    assert 9 * 3_600 == lags["0", "newest"]
    assert lags["1", "newest"] is None
    gone = [*some, label("r40", None, 21 * HOUR_MS, withdrawn=True, version=2)]
    lags = {(one.version, one.window): one.label_lag_s for one in published(run(gone)).samples(None)}
    assert 24 * 3_600 == lags["0", "newest"]


def test_what_is_exposed_is_what_is_listed() -> None:
    """Neither more nor less, with the labels that are listed."""
    told = [("drift", "ticket", "open")] * 2
    page = text(published(run(RECORDS)).samples(None), [drift_sample(line) for line in drifted()], told).decode()
    families = {family.name: family for family in text_string_to_metric_families(page)}
    assert set(map(str, (*PerformanceMetric, *DriftMetric))) == set(families)
    for metric in (*PerformanceMetric, *DriftMetric):
        assert families[metric].type == "gauge"
        assert families[metric].samples
        for sample in families[metric].samples:
            assert set(metric.labels) == set(sample.labels)


def drifted() -> list[Line]:
    """Return what is to be said of a category that has moved, and of a risk."""
    feature = category(3)
    calm, moved = [[0, 500, 300, 200, 0]] * 6, [[40, 100, 200, 600, 60]] * 6
    found = watch(np.array(calm, np.int64), None, feature)
    (chain,) = chains([found], windows(np.array(moved, np.int64)), 100)
    risk = losses("error_rate", [Loss(at, 200, 0.1) for at in range(3)], 0.2, 100)
    subject = Subject("m", "1", None)
    return [Line(subject, HOUR_MS, risk, None), Line(subject, HOUR_MS, chain, found)]


def test_drift_is_told_of_the_newest_judged_window() -> None:
    """Of a feature and of a risk, which has no missing ones; and tickets by kind."""
    told = [("drift", "ticket", "open"), ("drift", "ticket", "open"), ("pipeline", "page", "closed")]
    page = text([], [drift_sample(line) for line in drifted()], told).decode()
    families = {family.name: family for family in text_string_to_metric_families(page)}
    found = {
        (name, sample.labels.get("metric") or tuple(sample.labels.values())): sample.value
        for name, family in families.items()
        for sample in family.samples
    }
    assert {0.04, 0.06, 1.0, 0.0} == {
        found["answeronce_drift_missing_ratio", "x"],
        found["answeronce_drift_unseen_ratio", "x"],
        found["answeronce_drift_open", "x"],
        found["answeronce_drift_open", "error_rate"],
    }
    assert ("answeronce_drift_missing_ratio", "error_rate") not in found
    assert 100.0 == found["answeronce_drift_threshold", "x"]
    assert found["answeronce_drift_evidence", "x"] > 100.0
    assert found["answeronce_drift_statistic", "x"] > found["answeronce_drift_usual", "x"]
    assert (0.1, 0.2) == (
        found["answeronce_drift_statistic", "error_rate"],
        found["answeronce_drift_usual", "error_rate"],
    )
    assert 2.0 == found["answeronce_tickets", ("drift", "ticket", "open")]
    assert 1.0 == found["answeronce_tickets", ("pipeline", "page", "closed")]


def test_a_window_that_was_taken_back_is_not_told() -> None:
    """Its parts are tombstones; so is the tally left out, which is no window."""
    monitor = run(RECORDS)
    found = published(monitor)
    for key in monitor.parts:
        found.take(key, None)
    assert [] == found.samples(None)
    assert b"answeronce_performance_figure{" not in text([])
