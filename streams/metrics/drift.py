"""What is told of drift and of tickets, as Prometheus reads it: of each feature its newest judged window."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

from prometheus_client.core import GaugeMetricFamily

LABELS = ("model", "version", "arm", "metric")


class DriftMetric(StrEnum):
    """A gauge's name, and what it says. The label `metric` is a feature, or a labelled risk."""

    meaning: str
    labels: tuple[str, ...]

    def __new__(cls, name: str, meaning: str, *labels: str) -> "DriftMetric":
        """Return the name, with its properties."""
        metric = str.__new__(cls, name)
        metric._value_ = name
        metric.meaning, metric.labels = meaning, labels or LABELS
        return metric

    STATISTIC = (
        "answeronce_drift_statistic",
        "The PSI against training of the newest window that was judged, of values, missing or unseen ones, whichever says most; of "
        "a risk the mean loss.",
    )
    USUAL = (
        "answeronce_drift_usual",
        "What the statistic may be: what blocks of the training set differ, and what so few records differ by chance.",
    )
    EVIDENCE = ("answeronce_drift_evidence", "The evidence that this is no chance.")
    THRESHOLD = ("answeronce_drift_threshold", "From which evidence on a ticket is opened.")
    MISSING = ("answeronce_drift_missing_ratio", "The share of the window's requests without the feature.")
    UNSEEN = (
        "answeronce_drift_unseen_ratio",
        "The share of the window's requests with a category that the model does not know.",
    )
    OPEN = ("answeronce_drift_open", "1 while there is an open episode, else 0.")
    TICKETS = (
        "answeronce_tickets",
        "How many tickets there are, by what they are of, who should look, and whether they are open.",
        "kind",
        "severity",
        "state",
    )


class DriftSample(NamedTuple):
    """One feature, or one risk, of one model."""

    model: str
    version: str
    arm: str | None
    metric: str
    statistic: float | None
    usual: float | None
    evidence: float | None
    threshold: float
    missing: float | None
    unseen: float | None
    is_open: bool


def families(samples: Sequence[DriftSample], tickets: Iterable[tuple[str, str, str]]) -> Iterator[GaugeMetricFamily]:
    """Yield every gauge; what is None has no sample. `tickets`: of each ticket its kind, severity and state, in lower case."""
    columns: dict[DriftMetric, Sequence[float | None]] = {
        DriftMetric.STATISTIC: [one.statistic for one in samples],
        DriftMetric.USUAL: [one.usual for one in samples],
        DriftMetric.EVIDENCE: [one.evidence for one in samples],
        DriftMetric.THRESHOLD: [one.threshold for one in samples],
        DriftMetric.MISSING: [one.missing for one in samples],
        DriftMetric.UNSEEN: [one.unseen for one in samples],
        DriftMetric.OPEN: [float(one.is_open) for one in samples],
    }
    for metric, values in columns.items():
        family = GaugeMetricFamily(metric, metric.meaning, labels=metric.labels)
        for one, value in zip(samples, values, strict=True):
            if value is not None:
                family.add_metric((one.model, one.version, one.arm or "", one.metric), value)
        yield family
    family = GaugeMetricFamily(DriftMetric.TICKETS, DriftMetric.TICKETS.meaning, labels=DriftMetric.TICKETS.labels)
    for which, many in sorted(Counter(tickets).items()):
        family.add_metric(which, many)
    yield family
