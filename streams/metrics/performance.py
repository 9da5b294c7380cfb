"""What is told of predictions, as Prometheus reads it: the newest window of each model, and the newest that is mature."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from streams.metrics.drift import DriftSample, families
from streams.metrics.gauges import Gauge, gauge

Which = Literal["newest", "mature"]
LABELS = ("model", "version", "arm", "window")


class PerformanceMetric(Gauge):
    """A gauge's name, and what it says. The label `window` is `newest` or `mature`."""

    FIGURE = (
        "answeronce_performance_figure",
        "A figure of the window: accuracy, auc, log_loss and so on; absent where it is undefined.",
        *LABELS,
        "figure",
    )
    PREDICTIONS = ("answeronce_performance_predictions", "Predictions whose events lie in the window.", *LABELS)
    LABELLED = ("answeronce_performance_labelled", "Those of them whose label is known.", *LABELS)
    MATURE = (
        "answeronce_performance_mature_ratio",
        "The share of them by whose time every label must be known; figures but the AUC can be far off before it is 1.",
        *LABELS,
    )
    DISTINCT = (
        "answeronce_performance_distinct_scores",
        "How many different scores the window has, of a model of two classes; an AUC over a few is a coarse one.",
        *LABELS,
    )
    LABEL_LAG = (
        "answeronce_performance_label_lag_seconds",
        "How far the newest window in which anything has a label lies before the newest of any model, in the predictions' event "
        "time; absent where nothing has one. The label `window` is `newest`.",
        *LABELS,
    )
    END = (
        "answeronce_performance_window_end_timestamp_seconds",
        "Where the window ends, in the predictions' event time.",
        *LABELS,
    )


class Sample(NamedTuple):
    """One window of one model."""

    model: str
    version: str
    arm: str | None
    window: Which
    predictions: int
    labelled: int
    mature: float | None
    end_ms: int
    figures: Mapping[str, float]
    distinct: int | None = None
    label_lag_s: float | None = None


def text(
    samples: Sequence[Sample], drifts: Sequence[DriftSample] = (), tickets: Iterable[tuple[str, str, str]] = ()
) -> bytes:
    """Return the page that Prometheus reads."""

    class Page(Collector):
        def collect(self) -> Iterator[GaugeMetricFamily]:
            yield from _families(samples)
            yield from families(drifts, tickets)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Page())
    return generate_latest(registry)


def _families(samples: Sequence[Sample]) -> Iterator[GaugeMetricFamily]:
    names = [(one.model, one.version, one.arm or "", one.window) for one in samples]
    figures = [
        ((*name, figure), value)
        for name, one in zip(names, samples, strict=True)
        for figure, value in one.figures.items()
    ]
    yield gauge(PerformanceMetric.FIGURE, figures)
    yield gauge(PerformanceMetric.PREDICTIONS, zip(names, (one.predictions for one in samples), strict=True))
    yield gauge(PerformanceMetric.LABELLED, zip(names, (one.labelled for one in samples), strict=True))
    yield gauge(PerformanceMetric.MATURE, zip(names, (one.mature for one in samples), strict=True))
    yield gauge(PerformanceMetric.DISTINCT, zip(names, (one.distinct for one in samples), strict=True))
    yield gauge(PerformanceMetric.LABEL_LAG, zip(names, (one.label_lag_s for one in samples), strict=True))
    yield gauge(PerformanceMetric.END, zip(names, (one.end_ms / 1000 for one in samples), strict=True))
