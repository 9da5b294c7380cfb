"""The list and what is exposed are the same, and names follow the conventions."""

from typing import cast

import pytest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.parser import text_string_to_metric_families

from streams.metrics.catalogue import Metric
from streams.metrics.exposition import text
from streams.metrics.figures import Facts
from streams.ports import Model, Sink, Source, Stage
from streams.reasons import Reason
from streams.records import Hold, Outcome
from tests.metrics.clocks import TPS, Clocks, Edge, assigned, batch, step

FACTS = Facts("flights", "rack7-00", "1.2.3", "3.11", "confluent-kafka 2", {"7": 2, "-9": 1})
SUFFIX = {"counter": "_total", "info": "_info"}


class Loaded:
    """A model's name."""

    name, version, digest = "late", "1", b"\xab" * 32


def page() -> str:
    """Return the page of a worker that has met everything that is counted."""
    clocks, edge = Clocks(), Edge()
    meter = clocks.meter()
    meter.loaded(cast(Model, Loaded()))
    meter.assigned(assigned(*TPS))
    meter.restoring(0, 3, 10)
    edge.read = {TPS[0]: (5, 9), TPS[1]: (9, 9)}
    clocks.seconds = 4.0
    meter.passed(Stage.POLL)
    meter.transacted(step({"SCORED": 2, "MALFORMED": 1}, {"MALFORMED": 1}), Outcome.COMMITTED, batch(1.0, 3.9, None))
    meter.transacted(step({}, {})._replace(fates={"labels.applied": 3, "labels.early": -1}), Outcome.COMMITTED)
    meter.waiting(7)
    meter.turned(100, {TPS[0]: Hold(4, "UNKNOWN_SCHEMA", 99)})
    meter.sample(cast(Source, edge), cast(Sink, edge))
    clocks.seconds = 6.0
    return text(meter.moment(), FACTS).decode()


def exposed() -> dict[str, Family]:
    """Return the families of that page by the name that the catalogue has, without the process's own."""
    families = {}
    for family in text_string_to_metric_families(page()):
        if not family.name.startswith("process_"):
            families[family.name + ("_total" if family.type == "counter" else "")] = family
    return families


def test_what_is_exposed_is_what_is_listed() -> None:
    """Neither more nor less: kind, meaning and labels, too."""
    families = exposed()
    assert set(map(str, Metric)) == set(families)
    for metric in Metric:
        family = families[metric]
        assert metric.meaning == family.documentation
        assert ("gauge" if metric.kind == "info" else metric.kind) == family.type
        assert family.samples, f"{metric} has no sample on this page"
        for sample in family.samples:
            assert set(metric.labels) == set(sample.labels) - {"le"}


@pytest.mark.parametrize("metric", Metric)
def test_names_follow_the_conventions(metric: Metric) -> None:
    """prometheus.io/docs/practices/naming, and what a label may never be."""
    assert metric.startswith("answeronce_")
    assert metric == metric.lower()
    for kind, suffix in SUFFIX.items():
        assert (metric.kind == kind) == metric.endswith(suffix)
    if metric.kind in ("gauge", "histogram") and metric.unit != "0 or 1":
        assert metric.endswith(f"_{metric.unit}")
    assert metric.meaning.endswith(".")
    assert not set(metric.labels) & {"key", "request_id", "tenant", "error", "offset", "schema_id"}


def test_label_values_are_bounded() -> None:
    """Reasons, stages and outcomes are enumerations, and the whole of them is shown from the beginning."""
    families = exposed()

    def values(metric: Metric, label: str) -> set[str]:
        return {sample.labels[label] for sample in families[metric].samples}

    kinds = values(Metric.OUTCOMES, "kind") | values(Metric.DEAD_LETTERS, "reason")
    assert {reason.name for reason in Reason} - {"NONE", "START"} == kinds
    assert set(Stage) == values(Metric.STAGE, "stage")
    assert {outcome.value for outcome in Outcome} == values(Metric.TRANSACTIONS, "outcome")


def test_values_are_in_base_units() -> None:
    """Milliseconds and nanoseconds inside, seconds outside."""
    families = exposed()

    def value(metric: Metric, suffix: str = "", **labels: str) -> float:
        (found,) = [
            sample.value
            for sample in families[metric].samples
            if sample.name == metric + suffix and labels.items() <= sample.labels.items()
        ]
        return found

    assert 3.1 == value(Metric.LATENCY, "_sum")
    assert 1.0 == value(Metric.LATENCY, "_bucket", le="0.1")
    assert 2.0 == value(Metric.LATENCY, "_bucket", le="+Inf") == value(Metric.LATENCY, "_count")
    assert 4.0 == value(Metric.STAGE, "_sum", stage="poll")
    assert 2.0 == value(Metric.HELD, partition="0")
    assert 0.0 == value(Metric.HELD, partition="1")
    assert 5.0 == value(Metric.LAG, partition="0")
    assert 5.0 == value(Metric.LAG_TIME, partition="0")
    assert 0.0 == value(Metric.LAG_TIME, partition="1")
    assert 7.0 == value(Metric.REMAINING, partition="0")
    assert 1.0 == value(Metric.RESTARTS, code="-9")
    assert 6.0 == value(Metric.PROGRESS_AGE)
