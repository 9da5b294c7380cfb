"""Run one part of the long tier and keep what it found in `RESULTS.md`: `python -m tests.faults PART [--seed N] [--time S]`."""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from streams import __version__
from streams.dev.artifacts import KAFKA_VERSION
from streams.kafka import client_version
from tests.faults.results import KEPT_IN, Result

HERE = Path(__file__).parent
RESULTS = HERE / "RESULTS.md"
PARTS = (
    "kills",
    "brokers",
    "zombies",
    "endtxn",
    "churn",
    "clocks",
    "state",
    "markers",
    "monitor",
    "tickets",
    "fuzz",
    "soak",
)
HEAD = """# What the attacks found

`make chaos PART=...` runs one part of the long tier and writes its section here; `make test` runs a small edition of each
part every time. "0 violations" is the verdict of one judge (`oracle.py`): `streams verify --at-rest`, every attempt whole
or not at all, a reader during the faults against one afterwards, every disk and the changelog against a fold of the
requests, every answer byte for byte. A part with another seed: `make chaos PART=kills SEED=1`.
"""
COLUMNS = ("claim", "test", "load", "faults", "result", "seed")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a part; return pytest's exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--seed", type=int, help="seed of all that is random; default: a new one")
    parser.add_argument("--time", type=float, help="seconds of the soak; default 1200")
    asked = parser.parse_args(arguments)
    where = "tests/fuzz" if asked.part == "fuzz" else f"tests/faults/test_{asked.part}.py"
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "results"
        kept.touch()
        environ = os.environ | {KEPT_IN: str(kept)}
        environ |= {"ANSWERONCE_SEED": str(asked.seed)} if asked.seed is not None else {}
        environ |= {"ANSWERONCE_TIME": str(asked.time)} if asked.time is not None else {}
        code = subprocess.run(
            [sys.executable, "-m", "pytest", "-m", "long", where], env=environ, check=False
        ).returncode
        rows = [Result(**json.loads(line)) for line in kept.read_text().splitlines()]
    if rows:
        text = RESULTS.read_text() if RESULTS.exists() else HEAD
        RESULTS.write_text(merged(text, asked.part, section(asked.part, rows, failed=code != 0)))
        print(f"wrote {RESULTS.relative_to(Path.cwd())}")
    return code


def section(part: str, rows: Sequence[Result], *, failed: bool) -> str:
    """Return the section of a part."""
    context = (
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit()}, answeronce {__version__}, "
        f"Apache Kafka {KAFKA_VERSION}, {client_version()}, Python {platform.python_version()}, {os.cpu_count()} cores"
    )
    lines = [f"## {part}", "", context + (" · **a test of this run failed**" if failed else ""), ""]
    lines += [f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
    lines += [f"| {' | '.join(str(getattr(row, name)).replace('|', '/') for name in COLUMNS)} |" for row in rows]
    return "\n".join([*lines, ""])


def commit() -> str:
    """Return the commit that runs, `-dirty` if anything but the page itself differs from it."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False).stdout.strip()

    name = git("rev-parse", "--short", "HEAD") or "unknown"
    return name + ("-dirty" if git("status", "--porcelain", "--", ".", f":!{RESULTS.relative_to(Path.cwd())}") else "")


def merged(text: str, part: str, new: str) -> str:
    """Return the page with one section replaced, or added; sections are in the order of PARTS."""
    head, *found = re.split(r"(?m)^(?=## )", text)
    sections = {one.split()[1]: one.rstrip() + "\n" for one in found} | {part: new}
    return "\n".join([head.rstrip() + "\n", *(sections[name] for name in PARTS if name in sections)])


if __name__ == "__main__":
    sys.exit(main())
