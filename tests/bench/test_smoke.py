"""The benchmark does not rot: its arithmetic on known numbers, a small run of its parts, the page made of it."""

import doctest
import json
from collections import Counter
from pathlib import Path

import numpy as np

from streams.dev import Stack
from tests.bench import measuring, monitoring, report, throughput
from tests.bench.job import distinct_of, job
from tests.bench.measuring import longest_silence, percentiles, steady_rate
from tests.bench.systems import CONTRACT, Ours

REQUESTS = 3_000


def test_the_arithmetic() -> None:
    """A steady rate leaves out how it began and ended; a silence is a gap that ends after the moment."""
    assert 0 == doctest.testmod(measuring).failed
    stamps = np.concatenate(([0.0], np.arange(10_000.0, 10_800.0), [60_000.0]))
    assert 1_000.0 == steady_rate(stamps)
    assert 0.0 == longest_silence(np.array([1.0, 9.0]), 9.0)
    assert {"p50_ms": 2.0, "p90_ms": 2.8, "p99_ms": 3.0, "p99.9_ms": 3.0, "max_ms": 3.0} == percentiles(
        np.array([1.0, 2.0, 3.0])
    )


def test_the_job_repeats_what_it_should() -> None:
    """As many distinct requests as the job says, repeats byte for byte, the same every time."""
    schema = json.loads(CONTRACT.read_text())
    pairs = list(job(schema, 7, 20_000))
    assert 20_000 == len(pairs)
    assert distinct_of(20_000) == len(Counter(pairs)) == len(Counter(key for key, _ in pairs))
    assert pairs == list(job(schema, 7, 20_000))


def test_a_small_run(stack: Stack, unique: str, tmp_path: Path) -> None:
    """Throughput is measured only if every answer is right; the page shows what was measured."""
    ours = Ours(stack, tmp_path / "home", unique, f"{unique}.requests.live")
    distinct = distinct_of(REQUESTS)
    ours.send(job(ours.schema, ours.schema_id, REQUESTS))
    found = throughput.measure(ours, stack, distinct)
    assert distinct == found["results"]
    assert min(found["results_per_s"], found["cpu_us"], found["peak_mb"]) > 0
    assert {key for key, _ in report.THROUGHPUT} <= found.keys()
    run = {"part": "throughput", "system": "answeronce", "workers": 1, "about": ours.about(), **found}
    other = {**run, "system": "another", "results_per_s": 2 * found["results_per_s"]}
    page = report.page([{"environment": {"date": "today"}, "requests": REQUESTS, "runs": [run, other, run, other]}])
    assert f"| answeronce | 1 | 2 | {found['results_per_s']:,} (" in page
    assert "- with 1 worker, answeronce is 0.5 (0.5 to 0.5) times as fast as another" in page


def test_a_small_run_of_the_monitor(stack: Stack, tmp_path: Path) -> None:
    """It is measured only if every label is counted; the page shows what was measured."""
    found = {"part": "joined", **monitoring.joined(stack, tmp_path, 3_000), "environment": {"date": "today"}}
    assert found["records"] == 6_000
    assert min(found["records_per_s"], found["cpu_us_steady"], found["peak_mb"]) > 0
    page = monitoring.page([found])
    assert "- date: today" in page
    assert f"6,000 predictions and labels, four partitions, one worker: {found['records_per_s']:,} a second" in page
