"""Gauges that are told from what is published, one page at a time: a name, what it says, and its labels."""

from collections.abc import Iterable
from enum import StrEnum

from prometheus_client.core import GaugeMetricFamily


class Gauge(StrEnum):
    """A gauge's name, and what it says."""

    meaning: str
    labels: tuple[str, ...]

    def __new__(cls, name: str, meaning: str, *labels: str) -> "Gauge":
        """Return the name, with its properties."""
        metric = str.__new__(cls, name)
        metric._value_ = name
        metric.meaning, metric.labels = meaning, labels
        return metric


def gauge(metric: Gauge, values: Iterable[tuple[tuple[str, ...], float | None]]) -> GaugeMetricFamily:
    """Return the samples by their labels' values; what is None has none."""
    family = GaugeMetricFamily(metric, metric.meaning, labels=metric.labels)
    for labels, value in values:
        if value is not None:
            family.add_metric(labels, value)
    return family
