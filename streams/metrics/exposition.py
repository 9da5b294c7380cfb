"""Figures in Prometheus's text format.

The client library's own counters take a lock and a label look-up for each change, and its histograms one value at a time; so
the integers are ours, and the library writes them down.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from streams.metrics.catalogue import Metric
from streams.metrics.figures import Facts, Histogram, Moment
from streams.metrics.health import ready
from streams.records import TP

Values = Iterable[tuple[Sequence[str], float]]
"""Label values, in the catalogue's order, and the value."""


def families(moment: Moment, facts: Facts) -> Iterator[Family]:
    """Yield every metric of the catalogue with its samples."""
    figures, at_ns, unix_ms = moment
    assignment = figures.assignment.tps if figures.assignment else frozenset()
    yield _counter(Metric.RESULTS, [((), figures.results)])
    yield _counter(Metric.OUTCOMES, [((kind,), count) for kind, count in figures.outcomes.items()])
    yield _counter(Metric.MONITORED, [(tuple(name.split(".", 1)), count) for name, count in figures.monitored.items()])
    yield _gauge(Metric.DIRTY_WINDOWS, [((), count) for count in (figures.dirty,) if count is not None])
    yield _counter(Metric.DEAD_LETTERS, [((reason,), count) for reason, count in figures.dead_letters.items()])
    yield _histogram(Metric.LATENCY, [((), figures.latency)])
    yield _histogram(Metric.STAGE, [((stage,), histogram) for stage, histogram in figures.stages.items()])
    yield _histogram(Metric.BATCH, [((), figures.batches)])
    yield _gauge(Metric.BATCH_LIMIT, [((), figures.limit)])
    yield _counter(Metric.TRANSACTIONS, [((outcome.value,), count) for outcome, count in figures.transactions.items()])
    yield _gauge(Metric.LAST_COMMIT, [((), ms / 1000) for ms in (figures.committed_ms,) if ms is not None])
    yield _counter(Metric.RENEWALS, [((), figures.renewals)])
    yield _gauge(Metric.LAG, _by_tp(figures.lag))
    yield _gauge(
        Metric.LAG_TIME,
        _by_tp(
            {
                tp: max(unix_ms - figures.fresh_ms[tp], 0) / 1000 if lag else 0.0
                for tp, lag in figures.lag.items()
                if tp in figures.fresh_ms
            }
        ),
    )
    yield _gauge(
        Metric.HELD,
        _by_tp({tp: (at_ns - figures.held[tp][1]) / 1e9 if tp in figures.held else 0.0 for tp in assignment}),
    )
    yield _gauge(Metric.ASSIGNED, [((), len(assignment))])
    yield _gauge(Metric.REMAINING, [((str(partition),), left) for partition, left in figures.remaining.items()])
    yield _gauge(Metric.READY, [((), ready(figures).well)])
    yield _counter(Metric.REBALANCES, [((), figures.rebalances)])
    yield _gauge(Metric.PROGRESS_AGE, [((), max(at_ns - figures.since, 0) / 1e9)])
    yield _counter(Metric.RESTARTS, [((code,), count) for code, count in facts.restarts.items()])
    yield _info(Metric.WORKER, (facts.application, facts.slot))
    yield _info(Metric.MODEL, figures.model)
    yield _info(Metric.BUILD, (facts.version, facts.python, facts.client))


def text(moment: Moment, facts: Facts) -> bytes:
    """Return the page that Prometheus reads, the process's own standard metrics (`process_…`) included."""

    class Page(Collector):
        def collect(self) -> Iterator[Family]:
            return families(moment, facts)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Page())
    ProcessCollector(registry=registry)
    return generate_latest(registry)


def _counter(metric: Metric, values: Values) -> Family:
    family = CounterMetricFamily(metric, metric.meaning, labels=metric.labels)
    for labels, value in values:
        family.add_metric(labels, value)
    return family


def _gauge(metric: Metric, values: Values) -> Family:
    family = GaugeMetricFamily(metric, metric.meaning, labels=metric.labels)
    for labels, value in values:
        family.add_metric(labels, value)
    return family


def _histogram(metric: Metric, histograms: Iterable[tuple[Sequence[str], Histogram]]) -> Family:
    family = HistogramMetricFamily(metric, metric.meaning, labels=metric.labels)
    for labels, histogram in histograms:
        family.add_metric(labels, _buckets(histogram), histogram.sum / histogram.per)
    return family


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Return (upper bound, values up to it): in the format each bucket holds the ones before it."""
    bounds = [*(str(edge / histogram.per) for edge in histogram.edges), "+Inf"]
    reached, buckets = 0, []
    for bound, count in zip(bounds, histogram.counts, strict=True):
        reached += count
        buckets.append((bound, float(reached)))
    return buckets


def _info(metric: Metric, values: Sequence[str] | None) -> Family:
    family = InfoMetricFamily(metric.removesuffix("_info"), metric.meaning)
    if values is not None:
        family.add_metric([], dict(zip(metric.labels, values, strict=True)))
    return family


def _by_tp(values: Mapping[TP, float]) -> Values:
    return [((tp.topic, str(tp.partition)), values[tp]) for tp in sorted(values)]
