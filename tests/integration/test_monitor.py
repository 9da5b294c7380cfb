"""The monitor on the real broker: labels meet predictions, and what is published is what a batch computation says."""

import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import mannwhitneyu

from streams.avro.encode import encode_one
from streams.cli import main
from streams.dev import Stack
from streams.performance import performance, read
from streams.records import TP
from tests.integration.application import Application, produce_all, until

LABEL: dict[str, Any] = {
    "type": "record",
    "name": "Late",
    "doc": "Whether it was late.",
    "fields": [
        {"name": "request_id", "type": "string", "role": "request_id", "doc": "Of the question."},
        {"name": "known_at", "type": "long", "role": "event_time", "doc": "When it was known."},
        {
            "name": "version",
            "type": ["null", "long"],
            "role": "version",
            "doc": "The higher is believed.",
            "default": None,
        },
        {"name": "late", "type": "boolean", "doc": "What came true."},
    ],
}
SECTIONS = '[labels]\ntopic = "{name}.labels"\ncontract = "label.avsc"\n[monitor]\ngrain_hours = 0.25\n[limits]\nsession_ms = 3000\n'


class Monitored(Application):
    """An application with labels."""

    def __init__(self, stack: Stack, name: str, home: Path, *, partitions: int = 2, more: str = "") -> None:
        (home / "label.avsc").write_text(json.dumps(LABEL))
        super().__init__(stack, name, home, partitions=partitions, more=SECTIONS.format(name=name) + more)
        self.labels = f"{name}.labels"

    def label(self, labels: Iterable[tuple[str, bool, int, int | None]]) -> int:
        """Send (request id, late, known at, version)s."""
        prefix = b"\0" + self.registered[f"{self.labels}-value"].to_bytes(4, "big")
        fields = ("request_id", "late", "known_at", "version")
        records = ((one[0].encode(), prefix + encode_one(LABEL, dict(zip(fields, one, strict=True)))) for one in labels)
        return produce_all(self.producer(), self.labels, records)

    def monitor_lag(self) -> int:
        """Return how many results and labels are not counted yet; markers count."""
        topics = (self.settings.results, self.labels)
        tps = [TP(topic, number) for topic in topics for number in range(self.settings.partitions)]
        ends, committed = self.admin.offsets(tps, "latest"), self.admin.committed(self.settings.monitor_group, tps)
        return sum(ends[tp] - (committed[tp] or 0) for tp in tps)


@pytest.fixture
def monitored(stack: Stack, unique: str, tmp_path: Path) -> Iterator[Monitored]:
    """Return an application with labels; its processes end with the test."""
    app = Monitored(stack, unique, tmp_path)
    yield app
    app.stop()


def test_labels_meet_predictions(monitored: Monitored, capsys: pytest.CaptureFixture[str], seed: int) -> None:
    """Doubled, corrected and of nobody; the table says what counting by hand says."""
    app, chance = monitored, random.Random(seed)
    app.supervise(1)
    app.monitor(1)
    delays = {f"r{number}": float(chance.randrange(-20, 60)) for number in range(400)}
    app.send((name.encode(), app.value(name, delay=delay)) for name, delay in delays.items())
    app.drained()
    results = {one["request_id"]: one for one in app.terminals()}
    truth = {name: delay + chance.gauss(0, 15) > 20 for name, delay in delays.items() if chance.random() < 0.8}
    known = {name: results[name]["append_time"] for name in truth}
    labels = [
        (name, not late if name == "r7" else late, int(known[name].timestamp() * 1000) + 5, None)
        for name, late in truth.items()
    ]
    app.label([*labels, *labels[:50], *[("r7", truth["r7"], 0, 1)] * ("r7" in truth), ("nobody", True, 0, None)])
    until(lambda: sum(line.report.labelled for line in performance(app.settings)) == len(truth), 60, what="every label")
    until(lambda: read(app.settings).tally.get("labels.early") == 1, 20, what="the tally")
    tally = read(app.settings).tally
    assert tally["results.predicted"] == 400
    assert tally["labels.applied"] == len(truth)
    assert tally["labels.duplicate"] == 50
    assert sum(count for name, count in tally.items() if name.startswith("labels.")) == len(labels) + 51 + (
        "r7" in truth
    )
    lines = performance(app.settings, 24 * 365)
    right = sum((results[name]["label"] == "late") == late for name, late in truth.items())
    positives, negatives = (
        [results[name]["score"] for name, late in truth.items() if late is way] for way in (True, False)
    )
    area = mannwhitneyu(positives, negatives).statistic / (len(positives) * len(negatives))
    (line,) = lines
    assert line.report.figures["accuracy"].value == pytest.approx(right / len(truth), abs=1e-12)
    assert line.report.figures["auc"].value == pytest.approx(area, abs=1e-6), "scores are counted as float32"
    assert main(["performance", "show", "-c", str(app.config), "--span", "8760"]) == 0
    assert f" {len(truth)} " in capsys.readouterr().out
