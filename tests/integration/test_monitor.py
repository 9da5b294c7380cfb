"""The monitor on the real broker: labels meet predictions, and what is published is what a batch computation says."""

import json
import random
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from scipy.stats import mannwhitneyu

from streams.avro.encode import encode_one
from streams.cli import main
from streams.config import load
from streams.dev import Stack
from streams.errors import SetupError
from streams.kafka.admin import Admin
from streams.monitored import Subject
from streams.performance import performance, read
from streams.verify.monitoring import verify_labels
from tests.integration.application import produce_all, until
from tests.integration.monitored import LABEL, Monitored, Predicted, Said, served


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
        Said(name, late if name != "r7" else not late, int(known[name].timestamp() * 1000) + 5)
        for name, late in truth.items()
    ]
    corrected = [Said("r7", truth["r7"], 0, version=1)] if "r7" in truth else []
    app.label([*labels, *labels[:50], *corrected, Said("nobody", True, 0)])
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
    app.stop()
    assert main(["verify", "-c", str(app.config)]) == 0
    assert "Right: each label and result is counted once" in capsys.readouterr().out
    assert "answeronce_performance_figure" in served(app, 'window="newest"')
    assert main(["performance", "show", "-c", str(app.config), "--as-of", "soon"]) == 2
    late = ["performance", "show", "-c", str(app.config), "--as-of", "2099-01-01", "--output", "json"]
    capsys.readouterr()
    assert main(late) == 0
    assert {1.0} == {one["mature"] for one in json.loads(capsys.readouterr().out)}
    assert main(["performance", "show", "-c", str(app.config), "--span", "8760"]) == 0
    assert f" {len(truth)} " in capsys.readouterr().out


def test_doctor_sees_labels_that_lie_elsewhere(monitored: Monitored, capsys: pytest.CaptureFixture[str]) -> None:
    """Sent with librdkafka's own partitioner, as somebody will."""
    app = monitored
    assert main(["doctor", "-c", str(app.config)]) == 0
    assert re.search(r"ok +labels +.*what came true is `late`, known within 48 h", capsys.readouterr().out)
    app.label((Said(f"r{number}", True, 0) for number in range(64)), partitioner="consistent")
    assert main(["doctor", "-c", str(app.config)]) == 0
    assert re.search(
        r"warn +labels +[1-9][0-9]* of the last 64 labels lie in another partition", capsys.readouterr().out
    )
    app.monitor(1)
    # what the doctor wrote into the results, and aborted, lies behind every offset that can be committed there
    until(lambda: app.monitor_lag(app.labels) == 0, 30, what="the labels")
    until(lambda: sum(read(app.settings).tally.values()) == 64, 20, what="the tally")
    tally = read(app.settings).tally
    assert set(tally) == {"labels.early", "labels.MISPARTITIONED"}
    assert tally["labels.MISPARTITIONED"] > 0
    assert len(app.read([app.settings.dlq(app.labels)])) == tally["labels.MISPARTITIONED"]


def test_labels_of_another_tenant_are_refused(monitored: Monitored, capsys: pytest.CaptureFixture[str]) -> None:
    """The monitor does not start where labels could meet nothing."""
    tenant = {"name": "of", "type": "string", "role": "tenant", "doc": "Whose."}
    (monitored.home / "label.avsc").write_text(json.dumps({**LABEL, "fields": [*LABEL["fields"], tenant]}))
    assert main(["monitor", "run", "-c", str(monitored.config)]) == 2
    assert "it has a tenant, and requests have none" in capsys.readouterr().err


def test_a_label_topic_that_is_cut_otherwise_is_refused(stack: Stack, unique: str, tmp_path: Path) -> None:
    """Unless its labels are keyed anew: `topics apply` says so, and changes nothing."""
    Admin({"bootstrap.servers": stack.bootstrap}).create(f"{unique}.labels", 3, 1, {})
    with pytest.raises(
        SetupError, match=rf"{unique}.labels: it has 3 partitions, the configuration says 2.*rekey = true"
    ):
        Monitored(stack, unique, tmp_path)


def test_labels_with_keys_of_their_own(
    stack: Stack, unique: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are copied to where their predictions are; what cannot be read is set aside, and `verify` knows of it."""
    app = Monitored(stack, unique, tmp_path, rekey=3)
    try:
        assert main(["doctor", "-c", str(app.config)]) == 0
        assert re.search(rf"ok +labels +{app.settings.labels_keyed}: what came true is `late`", capsys.readouterr().out)
        app.monitor(1)
        app.predict(Predicted(f"r{number}", 0.7, 0, "late") for number in range(50))
        app.label(Said(f"r{number}", True, 1) for number in range(50))
        produce_all(app.producer(), app.labels, [(b"r1", b"\0nonsense"), (b"r1", None)])
        until(lambda: sum(line.report.labelled for line in performance(app.settings)) == 50, 60, what="every label")
        until(lambda: len(app.read([app.settings.dlq(app.labels)])) == 2, 20, what="two dead letters")
        rules = Subject(app.settings).rules
        assert verify_labels(app.settings, rules).exit_code == 0
        (copy, *_) = app.read([app.settings.labels_keyed])
        producer = app.producer()
        producer.produce(app.settings.labels_keyed, copy.value(), copy.key(), headers=copy.headers())
        producer.flush(10)
        (violation,) = verify_labels(app.settings, rules).violations
        assert violation.startswith(f"DOUBLED 1 labels were copied more than once: {app.labels}[")
    finally:
        app.stop()


def test_labels_that_are_keyed_anew_later(stack: Stack, unique: str, tmp_path: Path) -> None:
    """First they were keyed as they should be, but for one that the monitor had to set aside; then `rekey` is switched on: all are
    copied, the old ones count once, and `verify` finds nothing wrong.
    """
    app = Monitored(stack, unique, tmp_path)
    try:
        app.predict(Predicted(f"r{number}", 0.7, 0, "late") for number in range(40))
        worker = app.monitor(1)
        app.label(Said(f"r{number}", True, 1) for number in range(20))
        stray = next(name for at in range(99) if app.partition((name := f"s{at}").encode()) != 0)
        prefix = b"\0" + app.registered[f"{app.labels}-value"].to_bytes(4, "big")
        misplaced = [(stray.encode(), prefix + encode_one(LABEL, Said(stray, True, 1)._asdict()))]
        produce_all(app.producer(), app.labels, misplaced, partition=0)
        until(lambda: sum(read(app.settings).tally.values()) == 61, 60, what="all that was sent")
        worker.terminate()
        worker.wait(20)
        app.config.write_text(app.config.read_text().replace("[monitor]", "rekey = true\n[monitor]"))
        app.settings = load(app.config)
        assert main(["verify", "-c", str(app.config)]) == 4, "there is no topic of copies yet"
        assert main(["topics", "apply", "-c", str(app.config)]) == 0
        app.monitor(1, instance="next")
        app.label(Said(f"r{number}", True, 1) for number in range(20, 40))
        until(lambda: sum(line.report.labelled for line in performance(app.settings)) == 40, 60, what="every label")
        until(lambda: sum(read(app.settings).tally.values()) == 61 + 41, 60, what="all copies")
        report = verify_labels(app.settings, Subject(app.settings).rules)
        assert report.exit_code == 0, "\n".join(report.lines())
        assert report.tally["labels.applied"] + report.tally["labels.early"] == 41, "the one that lay elsewhere, too"
        assert report.tally["labels.duplicate"] == 20
    finally:
        app.stop()


def test_a_label_topic_that_is_compacted_is_refused(monitored: Monitored, capsys: pytest.CaptureFixture[str]) -> None:
    """The monitor does not start, and says which setting of which topic is wrong."""
    app = monitored
    app.admin.alter(app.labels, {"cleanup.policy": "compact"})
    assert main(["monitor", "run", "-c", str(app.config)]) == 4
    assert f"{app.labels}: cleanup.policy is compact and must be delete" in capsys.readouterr().err


def test_labels_of_any_version_of_the_contract_count(monitored: Monitored) -> None:
    """One that is older than the configuration's, one that is newer, and one that does not say what came true."""
    app = monitored
    app.predict(Predicted(f"r{number}", 0.7, 0, "late") for number in range(4))
    older = {**LABEL, "fields": LABEL["fields"][:2] + LABEL["fields"][-1:]}
    newer = {
        **LABEL,
        "fields": [*LABEL["fields"], {"name": "by", "type": "string", "default": "us", "doc": "Who says so."}],
    }
    silent = {**LABEL, "fields": LABEL["fields"][:2]}
    app.monitor(1)
    app.label([Said("r0", True, 1)])
    for number, schema in enumerate((older, newer, silent), 1):
        app.label([Said(f"r{number}", True, 1)], schema)
    until(lambda: app.monitor_lag() == 0, 30, what="the labels")
    until(lambda: sum(read(app.settings).tally.values()) == 8, 20, what="the tally")
    tally = read(app.settings).tally
    assert tally["results.predicted"] == 4
    assert tally["labels.NOT_ACCEPTED"] == 1
    assert tally.get("labels.applied", 0) + tally.get("labels.early", 0) == 3


def test_under_other_rules_everything_is_counted_anew(monitored: Monitored) -> None:
    """A horizon that was changed stops the monitor, which says what to do; and that works."""
    app = monitored
    app.predict(Predicted(f"r{number}", 0.7, 0, "late") for number in range(9))
    app.label(Said(f"r{number}", True, 3_600_000 * number) for number in range(9))
    app.monitor(1)
    until(lambda: sum(read(app.settings).tally.values()) == 18, 30, what="the tally")
    app.stop()
    text = app.config.read_text()
    app.config.write_text(text.replace("[labels]\n", "[labels]\nhorizon_hours = 3.5\n"))
    settings = load(app.config)
    assert app.monitor(1).wait(30) == SetupError.code
    log = (app.home / "supervisor-m.log").read_text()
    assert re.search(r"counted by other rules: horizon_hours was [\d.]+ and is 3.5\. Set it back", log), log
    report = verify_labels(settings, Subject(settings).rules)
    assert (3, 2) == (report.exit_code, len(report.unchecked)), report.lines()
    admin = AdminClient({"bootstrap.servers": app.stack.bootstrap})

    def gone() -> bool:
        """The worker that stopped is a member until its session ends."""
        with suppress(KafkaException):
            admin.delete_consumer_groups([settings.monitor_group])[settings.monitor_group].result(20)
            return True
        return False

    until(gone, 20, what="the end of its session")
    for future in admin.delete_topics([settings.monitor_changelog, settings.parts]).values():
        future.result(20)
    assert main(["topics", "apply", "-c", str(app.config)]) == 0
    app.monitor(1)
    until(lambda: sum(read(settings).tally.values()) == 18, 30, what="the tally")
    (line,) = performance(settings)
    assert (9, 4) == (line.report.predictions, line.report.labelled), "labels of the first three and a half hours"
    app.stop()
    report = verify_labels(settings, Subject(settings).rules)
    assert report.exit_code == 0, report.lines()
