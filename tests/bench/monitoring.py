"""Measure the monitor on this machine, broker included.

python -m tests.bench.monitoring [PART ...] [--records N] >> runs.jsonl
python -m tests.bench.monitoring --page runs.jsonl > tests/bench/MONITOR.md

joined      a backlog of so many predictions and as many labels, one worker: records a second, CPU, memory
pending     a backlog of predictions without labels: what waiting for them costs on disk and in memory
visible     2,000 labels a second: from a label's append until what is published counts it
dirty       labels that change 750 windows at once: what is published then, second by second
binning     counting what the model sees: µs a record, without Kafka
counted     which share of the scorer's bytes says what the model saw: of a backlog, and at 1,000 requests a second
deciding    what the desk computes of a year of daily windows, without Kafka
"""

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Consumer, TopicPartition

from streams import schemas_dir
from streams.avro.encode import Constant, Doubles, Encoder, Longs, Slices, Values
from streams.avro.read import Reader
from streams.config import load
from streams.dev import Stack
from streams.monitor.state import TALLY, unchunked
from streams.monitored import Subject
from streams.performance import read
from streams.records import Ints
from streams.verify.monitoring import verify_labels
from tests.bench import seeing
from tests.bench.__main__ import environment
from tests.bench.measuring import cpu_s, peak_mb, percentiles
from tests.integration.application import produce_all, until
from tests.integration.monitored import _ELSE, LABEL, RESULT, Monitored, Predicted

HOUR_MS, CHUNK, SEED = 3_600_000, 10_000, 7
RATE, SECONDS = 2_000, 20
WINDOWS = 750


def main() -> None:
    """Run the parts that were asked for, and print each as JSON."""
    parts: dict[str, Callable[[Stack, Path, int], dict[str, Any]]] = {
        "joined": joined,
        "pending": pending,
        "visible": visible,
        "dirty": dirty,
        "binning": seeing.binning,
        "counted": seeing.counted,
        "deciding": seeing.deciding,
    }
    parser = argparse.ArgumentParser(prog="python -m tests.bench.monitoring", description=__doc__)
    parser.add_argument("part", nargs="*", choices=[*parts, []], help="default: all of them")
    parser.add_argument(
        "--records", type=int, default=1_000_000, help="predictions of joined and pending, requests of counted"
    )
    parser.add_argument("--page", type=Path, help="print what was measured, for people, and measure nothing")
    options = parser.parse_args()
    if options.page:
        print(page([json.loads(line) for line in options.page.read_text().splitlines()]))
        return
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder) / "stack") as stack:
        for name in options.part or parts:
            home = Path(folder) / name
            home.mkdir()
            found = parts[name](stack, home, options.records)
            print(json.dumps({"part": name, **found, "environment": environment()}), flush=True)


SAID = {
    "joined": "A backlog of {records:,} predictions and labels, four partitions, one worker: {records_per_s:,} a second, "
    "{cpu_us_steady} µs of CPU each, {peak_mb} MB of memory at most, {disk_mb} MB on disk.",
    "pending": "{records:,} predictions that wait for their labels: {disk_mb} MB on disk, {peak_mb} MB of memory at most; "
    "{records_per_s:,} a second, {cpu_us_steady} µs of CPU each.",
    "visible": "{labels:,} labels at {rate:,} a second: from a label's append until what is published counts it {p50_ms} ms (median), "
    "{p99_ms} ms (p99), {max_ms} ms (longest).",
    "dirty": "Labels that change {windows:,} windows at once, twice, ten seconds apart, in four partitions: {parts:,} parts in "
    "{seconds} s, {parts_in_a_second_at_most:,} in one second at most.",
    **seeing.SAID,
}


def page(runs: list[dict[str, Any]]) -> str:
    """Return what was measured, for people."""
    last = {run["part"]: run for run in runs}
    lines = [f"- **{name}**: {SAID[name].format(**run)}" for name, run in last.items()]
    about = [f"- {key}: {value}" for key, value in next(iter(last.values()))["environment"].items()]
    head = "# What the monitor takes\n\nMade by `python -m tests.bench.monitoring --page`; never by hand."
    return "\n".join([head, "", *about, "", *lines])


def application(stack: Stack, home: Path, name: str, *, partitions: int = 4) -> Monitored:
    """Return an application whose windows are a day long."""
    app = Monitored(stack, f"bench-{name}", home, partitions=partitions)
    text = (
        app.config.read_text()
        .replace("grain_hours = 0.25", "grain_hours = 24")
        .replace("records = 500", "records = 10000")
    )
    app.config.write_text(text)
    app.settings = load(app.config)
    return app


def names(numbers: Ints) -> list[bytes]:
    """Return request ids."""
    return [b"r%011d" % number for number in numbers.tolist()]


def predictions(app: Monitored, count: int, event_ms: Callable[[Ints], Ints]) -> Iterator[tuple[bytes, bytes]]:
    """Yield results, of random scores."""
    chance, encoder = np.random.default_rng(SEED), Encoder(RESULT)
    prefix = b"\0" + app.registered[f"{app.settings.results}-value"].to_bytes(4, "big")
    usual = {field["name"]: field.get("default") for field in RESULT["fields"]}
    same: dict[str, Values] = {
        name: Constant(value) for name, value in (usual | Predicted("", 0, 0, "")._asdict() | _ELSE).items()
    }
    for begin in range(0, count, CHUNK):
        numbers = np.arange(begin, min(begin + CHUNK, count))
        keys, scores = names(numbers), chance.random(len(numbers))
        columns: dict[str, Values] = {
            "request_id": Slices(keys),
            "score": Doubles(scores),
            "label": Slices([b"late" if score >= 0.5 else b"on_time" for score in scores.tolist()]),
            "event_time": Longs(event_ms(numbers)),
        }
        yield from zip(keys, encoder.encode(prefix, len(keys), same | columns), strict=True)


def labels(
    app: Monitored, numbers: Ints, event_ms: Callable[[Ints], Ints], version: int = 0
) -> Iterator[tuple[bytes, bytes]]:
    """Yield labels of requests, known an hour after the event."""
    chance, encoder = np.random.default_rng([SEED, version]), Encoder(LABEL)
    prefix = b"\0" + app.registered[f"{app.labels}-value"].to_bytes(4, "big")
    for mine in np.array_split(numbers, max(1, len(numbers) // CHUNK)):
        keys = names(mine)
        columns: dict[str, Values] = {
            "request_id": Slices(keys),
            "known_at": Longs(event_ms(mine) + HOUR_MS),
            "version": Constant(version),
            "withdrawn": Constant(False),
            "late": Longs(chance.integers(2, size=len(mine))),
        }
        yield from zip(keys, encoder.encode(prefix, len(keys), columns), strict=True)


def steadily(numbers: Ints) -> Ints:
    """Return event times of ten requests a second."""
    return 1_357_000_000_000 + 100 * numbers


def bulk(app: Monitored, topic: str, records: Iterator[tuple[bytes, bytes]]) -> None:
    """Send as fast as it goes."""
    produce_all(app.producer(**{"linger.ms": 50, "queue.buffering.max.messages": 1_000_000}), topic, records)


def followed(app: Monitored, total: int) -> dict[str, Any]:
    """Start one worker, and say what it took until it stood at the end of both topics."""
    worker, worker_begun = app.start("m-00", kind="monitor"), time.monotonic()
    seen: list[tuple[float, int, float]] = []

    def done() -> bool:
        lag = app.monitor_lag()
        seen.append((time.monotonic(), total - lag, cpu_s(worker.pid)))
        return lag == 0

    until(done, 1_800, what="the end of the topics")
    low = next(one for one in seen if one[1] >= 0.1 * total)
    high = next((one for one in reversed(seen) if one[1] <= 0.9 * total), low)
    if high[1] <= low[1]:  # too few to have been seen on their way
        low, high = (worker_begun, 0, 0.0), seen[-1]
    peak = round(peak_mb(worker.pid))
    app.stop()
    store = sum(file.stat().st_size for file in (app.settings.app.state_dir / "monitor").rglob("*") if file.is_file())
    return {
        "records": total,
        "records_per_s": round((high[1] - low[1]) / (high[0] - low[0])),
        "cpu_us_steady": round((high[2] - low[2]) / (high[1] - low[1]) * 1e6, 1),
        "peak_mb": peak,
        "disk_mb": round(store / 1e6),
    }


def joined(stack: Stack, home: Path, records: int) -> dict[str, Any]:
    """Predictions first, then their labels: each label meets a prediction that is known."""
    app = application(stack, home, "joined")
    bulk(app, app.settings.results, predictions(app, records, steadily))
    bulk(app, app.labels, labels(app, np.arange(records), steadily))
    found = followed(app, 2 * records)
    report = verify_labels(app.settings, Subject(app.settings).rules)
    assert report.exit_code == 0, "\n".join(report.lines())
    return found


def pending(stack: Stack, home: Path, records: int) -> dict[str, Any]:
    """Predictions alone."""
    app = application(stack, home, "pending")
    bulk(app, app.settings.results, predictions(app, records, steadily))
    return followed(app, records)


def visible(stack: Stack, home: Path, records: int) -> dict[str, Any]:
    """One partition, so that what is published says which labels it counts: the first so many."""
    del records
    app = application(stack, home, "visible", partitions=1)
    count = RATE * SECONDS
    bulk(app, app.settings.results, predictions(app, count, steadily))
    app.start("m-00", kind="monitor")
    until(lambda: app.monitor_lag() == 0, 60, what="the predictions")
    heard, over = list[tuple[float, int]](), threading.Event()
    listener = threading.Thread(target=_listen, args=(app, heard, over))
    listener.start()
    begun, producer = time.monotonic(), app.producer()
    for at, (key, value) in enumerate(labels(app, np.arange(count), steadily)):
        producer.produce(app.labels, value, key)
        if at % 20 == 0:
            producer.poll(0)
            time.sleep(max(0.0, begun + at / RATE - time.monotonic()))
    producer.flush(10)
    until(lambda: bool(heard) and heard[-1][1] == count, 120, what="all labels")
    over.set()
    listener.join()
    app.stop()
    stamps = _appended(app, count)
    delays = np.concatenate(
        [now * 1_000 - stamps[was:counted] for (_, was), (now, counted) in pairwise([(0.0, 0), *heard])]
    )
    return {"labels": count, "rate": RATE, **percentiles(delays)}


def _listen(app: Monitored, heard: list[tuple[float, int]], over: threading.Event) -> None:
    """Note when which number of labels is told: the part of the tally says how many were applied."""
    reader = Reader((schemas_dir() / "performance_part.avsc").read_text())
    settings = {"bootstrap.servers": app.stack.bootstrap, "group.id": "bench", "isolation.level": "read_committed"}
    consumer = Consumer(settings | {"fetch.wait.max.ms": 10})
    consumer.assign([TopicPartition(app.settings.parts, 0, 0)])
    while not over.is_set():
        for message in consumer.consume(1_000, 0.05):
            if message.error() or (message.key() or b"")[: len(TALLY)] != TALLY:
                continue
            rows = dict(unchunked(reader.read(message.value() or b"", 5)["rows"]))
            told = rows.get(b"labels.applied", (0,))[0]
            if told > (heard[-1][1] if heard else 0):
                heard.append((time.time(), told))
    consumer.close()


def _appended(app: Monitored, count: int) -> np.ndarray[Any, Any]:
    messages = app.read([app.labels])
    assert len(messages) == count
    return np.array([message.timestamp()[1] for message in messages], dtype=np.float64)


def dirty(stack: Stack, home: Path, records: int) -> dict[str, Any]:
    """Labels of each of so many days, twice, ten seconds apart."""
    del records
    app = application(stack, home, "dirty")

    def daily(numbers: Ints) -> Ints:
        return 24 * HOUR_MS * (15_000 + numbers % WINDOWS)

    count = 20 * WINDOWS
    bulk(app, app.settings.results, predictions(app, count, daily))
    app.start("m-00", kind="monitor")
    until(lambda: app.monitor_lag() == 0, 60, what="the predictions")
    begun_ms = time.time() * 1_000
    for version in (1, 2):
        bulk(app, app.labels, labels(app, np.arange(count), daily, version))
        time.sleep(10)
    until(lambda: read(app.settings).tally.get("labels.corrected", 0) > 0, 90, what="the corrections")
    rules = Subject(app.settings).rules
    until(lambda: verify_labels(app.settings, rules).waiting == 0, 150, what="the last part")
    app.stop()
    stamps = np.array([(one.timestamp()[1] - begun_ms) / 1_000 for one in app.read([app.settings.parts])])
    stamps = stamps[stamps > 0]
    a_second = np.bincount(stamps.astype(np.int64))
    return {
        "windows": WINDOWS,
        "parts": len(stamps),
        "parts_in_a_second_at_most": int(a_second.max()),
        "seconds": len(a_second),
    }


if __name__ == "__main__":
    main()
