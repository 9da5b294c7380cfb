"""What is told of drift and of tickets, as Prometheus reads it: of each feature its newest judged window."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from prometheus_client.core import GaugeMetricFamily

from streams.metrics.gauges import Gauge, gauge

LABELS = ("model", "version", "arm", "metric")


class DriftMetric(Gauge):
    """A gauge's name, and what it says. The label `metric` is a feature, or a labelled risk."""

    STATISTIC = (
        "answeronce_drift_statistic",
        "The PSI against training of the newest window that was judged, of values, missing or unseen ones, whichever says most; of "
        "a risk the mean loss.",
        *LABELS,
    )
    USUAL = (
        "answeronce_drift_usual",
        "What the statistic may be: what blocks of the training set differ, and what so few records differ by chance.",
        *LABELS,
    )
    EVIDENCE = ("answeronce_drift_evidence", "The evidence that this is no chance.", *LABELS)
    THRESHOLD = ("answeronce_drift_threshold", "From which evidence on a ticket is opened.", *LABELS)
    MISSING = ("answeronce_drift_missing_ratio", "The share of the window's requests without the feature.", *LABELS)
    UNSEEN = (
        "answeronce_drift_unseen_ratio",
        "The share of the window's requests with a category that the model does not know.",
        *LABELS,
    )
    OPEN = ("answeronce_drift_open", "1 while there is an open episode, else 0.", *LABELS)
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
    names = [(one.model, one.version, one.arm or "", one.metric) for one in samples]
    for metric, values in columns.items():
        yield gauge(metric, zip(names, values, strict=True))
    yield gauge(DriftMetric.TICKETS, sorted(Counter(tickets).items()))
