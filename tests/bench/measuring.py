"""What processes use, and what a list of times says. Numbers in, numbers out."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.float64]


class Usage(NamedTuple):
    """CPU seconds of a process, all threads, at a moment."""

    cpu_s: float
    results: int
    """Results that lay in the topic at that moment, markers of transactions included."""


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mb(pid: int) -> float:
    """Return the peak resident memory of a process, in MB."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1_000


def steady_rate(stamps_ms: Times) -> float:
    """Return the results a second between the 10 % and the 90 % point of their append times.

    >>> steady_rate(np.arange(0.0, 1_000.0))
    1000.0
    """
    stamps = np.sort(stamps_ms)
    low, high = int(len(stamps) * 0.1), int(len(stamps) * 0.9)
    return float((high - low) * 1_000 / max(stamps[high] - stamps[low], 1.0))


def percentiles(latencies_ms: Times) -> dict[str, float]:
    """Return median, tails and maximum, in milliseconds.

    >>> percentiles(np.arange(1.0, 1_001.0))["p50_ms"]
    500.5
    """
    points = (("p50_ms", 50), ("p90_ms", 90), ("p99_ms", 99), ("p99.9_ms", 99.9), ("max_ms", 100))
    return {name: round(float(np.percentile(latencies_ms, point)), 1) for name, point in points}


def longest_silence(times_s: Times, around_s: float) -> float:
    """Return the longest time without an arrival among the gaps that end after a moment, in seconds.

    >>> longest_silence(np.array([1.0, 2.0, 2.5, 4.5, 5.0]), 2.2)
    2.0
    """
    arrived = np.sort(times_s)
    gaps, ends = np.diff(arrived), arrived[1:]
    return float(gaps[ends > around_s].max(initial=0.0))
