"""Results for people: a line for each measurement, and RESULTS.md from the files of real runs.

python -m tests.bench.report RUNS.json [MORE.json ...] > tests/bench/RESULTS.md
"""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

Result = dict[str, Any]
Column = tuple[str, str]
"""Key of a result, and the column's head."""

THROUGHPUT: Sequence[Column] = (
    ("results_per_s", "results/s"),
    ("cpu_us_steady", "CPU µs a result, steady"),
    ("cpu_us", "whole run, start included"),
    ("broker_cpu_us", "broker's CPU µs a result"),
    ("peak_mb", "peak MB"),
)
LATENCY: Sequence[Column] = (
    ("p50_ms", "p50"),
    ("p99_ms", "p99"),
    ("p99.9_ms", "p99.9"),
    ("max_ms", "max ms"),
    ("cpu_share", "CPU of the system, cores"),
    ("late_ms_max", "client late by, ms at worst"),
)


def text(part: str, result: Result) -> str:
    """Return a measurement as one line."""
    shown = {key: value for key, value in result.items() if key not in ("about", "system")}
    return f"{part:11}{result['system']:15}" + "  ".join(f"{key} {_number(value)}" for key, value in shown.items())


def page(files: Iterable[Result]) -> str:
    """Return RESULTS.md: medians, and in brackets the least and the most."""
    files = list(files)
    runs = [run for file in files for run in file["runs"]]
    lines = [
        "# What was measured",
        "",
        "Made by `python -m tests.bench.report` from the files of real runs; never by hand.",
    ]
    lines += ["How it is measured, and what voids a run: [README.md](README.md).", ""]
    for name, value in files[-1]["environment"].items():
        lines.append(f"- {name}: {value}")
    lines += ["", f"## A backlog of {files[-1]['requests']:,} requests", ""]
    lines += ["Kafka Streams has as many stream threads as ours has workers.", ""]
    lines += _table(_part(runs, "throughput"), ["system", "workers"], THROUGHPUT)
    lines += _ratios(_part(runs, "throughput"))
    lines += [
        "",
        "## Latency, open loop",
        "",
        "From the request's append until a read_committed consumer has the answer.",
        "",
    ]
    lines += _table(_part(runs, "latency"), ["system", "rate_per_s"], LATENCY)
    lines += ["", "## Coming back", ""]
    for run in _part(runs, "restore"):
        lines.append(
            f"- {run['keys']:,} keys restored from the changelog in {run['seconds']:.1f} s: {run['keys_per_s']:,} keys/s"
        )
    for run in _part(runs, "restart"):
        lines.append(
            f"- killed with -9 at {run['rate_per_s']:,.0f} requests/s and started again at once: a reader met a silence "
            f"of {run['silence_s']:.2f} s"
        )
    lines += ["", "## Settings", ""]
    for label, about in {run["system"]: run["about"] for run in runs if "about" in run}.items():
        lines.append(f"- {label}: " + "; ".join(f"{key} {value}" for key, value in about.items()))
    return "\n".join(lines) + "\n"


def _part(runs: Sequence[Result], part: str) -> list[Result]:
    return [run for run in runs if run["part"] == part]


def _table(runs: Sequence[Result], keys: Sequence[str], columns: Sequence[Column]) -> list[str]:
    groups: dict[tuple[Any, ...], list[Result]] = {}
    for run in runs:
        groups.setdefault(tuple(run[key] for key in keys), []).append(run)
    heads = [*(key.replace("rate_per_s", "requests/s") for key in keys), "runs", *(head for _, head in columns)]
    lines = [f"| {' | '.join(heads)} |", "| " + " | ".join("---" for _ in heads) + " |"]
    for group, members in groups.items():
        cells = [_number(value) for value in group] + [str(len(members))]
        cells += [_spread([member[key] for member in members]) for key, _ in columns]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _ratios(runs: Sequence[Result]) -> list[str]:
    """Return how much faster ours is than each other system with as many workers, in pairs of neighbouring runs."""
    found: dict[tuple[int, str], list[float]] = {}
    for run in runs:
        found.setdefault((run["workers"], run["system"]), []).append(run["results_per_s"])
    ours, lines = runs[0]["system"], [""]
    for (workers, other), its in found.items():
        if other != ours:
            ratios = [round(mine / one, 2) for mine, one in zip(found[workers, ours], its, strict=True)]
            lines.append(
                f"- with {workers} worker{'s' * (workers > 1)}, {ours} is {_spread(ratios)} times as fast as {other}, in pairs of neighbouring runs"
            )
    return lines if lines[1:] else []


def _spread(values: Sequence[float]) -> str:
    middle = _number(round(median(values), 2))
    return middle if len(values) == 1 else f"{middle} ({_number(min(values))} to {_number(max(values))})"


def _number(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"{value:,}" if isinstance(value, int | float) else str(value)


if __name__ == "__main__":
    sys.stdout.write(page(json.loads(Path(name).read_text()) for name in sys.argv[1:]))
