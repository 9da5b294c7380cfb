"""What it takes to count what models see, and to decide about tickets. See `monitoring.py`, which runs it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from streams import schemas_dir, topics
from streams.config import load
from streams.dev import Stack
from streams.models import manifest
from streams.models.binning import Binning
from streams.models.reference import Hashed, measure
from streams.monitor.drift.episodes import Memo
from streams.monitor.state import Subject
from streams.monitor.summary import Losses, Published, Seen, Summary
from streams.monitor.tasks import Binary
from streams.monitor.verdicts import Asked, Package, due, verdicts
from streams.monitor.windows import Rules
from streams.registering import register
from streams.verify import verify
from tests.bench import open_loop
from tests.bench.job import distinct_of, job
from tests.bench.systems import Ours
from tests.integration.application import until

DAY_MS, SEED, FEATURES = 86_400_000, 7, (10, 200)
BATCHES, TIMES = (100, 500, 10_000), 7
RATE, SECONDS = 1_000.0, 20.0
DAYS, BLOCKS, ROWS = 365, 52, 2_000
"""Windows, blocks of the training set, and the records of each window."""


def binning(stack: Stack, home: Path, records: int) -> dict[str, Any]:
    """Time `Binning.count` alone, of numbers with eleven edges: CPU of the best of some repetitions, for each record."""
    del stack, home, records
    chance, found = np.random.default_rng(SEED), dict[str, Any]()
    for features in FEATURES:
        edges = tuple(np.quantile(chance.normal(size=10_000), np.linspace(0, 1, 11)).tolist())
        cells = Binning([0] * features, [edges] * features)
        for rows in BATCHES:
            matrix, window = chance.normal(size=(rows, features)), np.zeros(rows, np.int64)
            runs = max(1, 50_000 // rows // features)

            def count(runs: int = runs, cells: Binning = cells, matrix: Any = matrix, window: Any = window) -> None:
                for _ in range(runs):
                    cells.count(matrix, window, 1)

            found[f"us_{features}_{rows}"] = round(_best(count) / runs / rows * 1e6, 2)
    return found


def _best(call: Callable[[], object]) -> float:
    """Return the CPU seconds of the fastest of some calls."""
    seconds = []
    for _ in range(TIMES):
        begun = time.process_time()
        call()
        seconds.append(time.process_time() - begun)
    return min(seconds)


class Watched(Ours):
    """The common job, with labels, so that what the model sees is counted."""

    def __init__(self, stack: Stack, home: Path, name: str) -> None:
        super().__init__(stack, home, name, f"{name}.requests.live")
        label = schemas_dir() / "flights" / "label.v1.avsc"
        sections = (
            f'[labels]\ntopic = "{name}.labels"\ncontract = "{label}"\n[monitor]\nplausible_past_hours = 1000000\n'
        )
        self.config.write_text(self.config.read_text() + sections)
        self.settings = load(self.config)
        register(self.settings)
        topics.apply(self.settings)

    def produced(self) -> dict[str, int]:
        """Return the bytes of keys and values that lie in each topic that the scorer writes."""
        written = self.settings.results, self.settings.outcomes, self.settings.changelog, self.settings.features
        return {
            topic: sum(len(one.key() or b"") + len(one.value() or b"") for one in self.read([topic]))
            for topic in written
        }

    def on_disk(self, stack: Stack) -> dict[str, int]:
        """Return the bytes of the same topics' segments, as the producer has compressed them."""
        data = stack._folder("broker") / "data"
        return {topic: sum(log.stat().st_size for log in data.glob(f"{topic}-*/*.log")) for topic in self.produced()}


def counted(stack: Stack, home: Path, records: int) -> dict[str, Any]:
    """The share of the scorer's bytes that says what the model saw: of a backlog, and at so many requests a second."""
    found: dict[str, Any] = {"rate": round(RATE)}
    for name in ("full", "paced"):
        app = Watched(stack, home / name, f"bench-{name}")
        if name == "full":
            app.send(job(app.schema, app.schema_id, records))
            app.begin()
        else:
            app.begin()
            client = open_loop.spawn(stack.bootstrap, app.requests, app.schema_id, RATE, SECONDS, 0)
            until(lambda client=client: client.poll() is not None, SECONDS + 60, what="the client's end")  # type: ignore[misc]
        app.drained(300)
        app.end()
        assert verify(app.settings).exit_code == 0
        answers = distinct_of(records) if name == "full" else round(RATE * SECONDS)
        raw, disk = app.produced(), app.on_disk(stack)
        features, ours = app.settings.features, app.read([app.settings.features])
        found |= {
            f"{name}_requests": answers,
            f"{name}_percent": round(100 * raw[features] / sum(raw.values()), 2),
            f"{name}_percent_compressed": round(100 * disk[features] / sum(disk.values()), 2),
            f"{name}_bytes_a_request": round(sum(raw.values()) / answers),
            f"{name}_bytes_a_record": round(raw[features] / len(ours)),
            f"{name}_requests_a_record": round(answers / len(ours)),
        }
    return found


def deciding(stack: Stack, home: Path, records: int) -> dict[str, Any]:
    """Time (CPU) what the desk computes (`verdicts` and `due`) of a year of daily windows, in which every tenth feature has drifted
    since the autumn: the first time, and when one window was revised.
    """
    del stack, home, records
    found: dict[str, Any] = {"days": DAYS}
    for features in FEATURES:
        package, windows = _year(features)
        memory: dict[Subject, Memo] = {}
        subject, asked = Subject("m", "1", None), Asked(Rules(Binary(b"no", b"yes"), DAY_MS, 30 * DAY_MS), 4, 1_000)
        seconds = []
        for revised in (None, 100, 200, 300):
            if revised is not None:
                summary = windows[revised]
                ((which, seen),) = summary.seen.items()
                windows[revised] = summary._replace(revision=2, seen={which: seen._replace(n=seen.n + 1)})
            published = Published({subject: windows}, {}, dict.fromkeys(range(4), (DAYS + 2) * DAY_MS))
            begun = time.process_time()
            written = due(verdicts(published, {subject: package}, asked, memory), published, {}, asked, quiet=True)
            seconds.append(time.process_time() - begun)
            assert len({ticket.metric for ticket in written}) >= features // 10, "what has drifted has a ticket"
        found |= {f"first_s_{features}": round(seconds[0], 2), f"again_s_{features}": round(min(seconds[1:]), 2)}
    return found


def _year(features: int) -> tuple[Package, list[Summary]]:
    """Return a package whose training set was a year of weeks, and a year of days; every tenth feature moves in the autumn."""
    chance = np.random.default_rng(SEED)
    columns = "".join(f'[[features]]\nname = "x{at}"\nkind = "number"\n' for at in range(features))
    about = manifest.parse(
        (
            'name = "m"\nversion = "1"\ntask = "binary"\nflavor = "lightgbm"\nartifact = "model.txt"\n'
            f'[[accepts]]\ncontract = "c.avsc"\n{columns}[output]\nclasses = ["no", "yes"]\npositive = "yes"\n'
            '[reference]\nfile = "reference.json"\n[golden]\nfile = "golden.jsonl"\n'
        ).encode()
    )
    weeks = np.arange(BLOCKS * ROWS, dtype=np.int64) * (DAY_MS // ROWS)
    reference = Hashed(
        measure(about.features, chance.normal(size=(len(weeks), features)), weeks, block_ms=DAY_MS), b"R" * 32
    )
    cells, windows = reference.cells(about.features), list[Summary]()
    for day in range(DAYS):
        matrix = chance.normal(size=(ROWS, features))
        matrix[:, ::10] += 1.0 if day >= 270 else 0.0
        one = cells.count(matrix, np.zeros(ROWS, np.int64), 1)
        windows.append(Summary(day, 1, {b"RRRR": Seen(one.cell, one.n, one.total)}, Losses(ROWS)))
    return Package(about, reference), windows


SAID = {
    "binning": "What the model sees is placed and counted in {us_10_500} µs of CPU a record with 10 features and {us_200_500} µs with 200, "
    "in batches of 500 ({us_10_10000} and {us_200_10000} of 10,000, {us_10_100} and {us_200_100} of 100).",
    "counted": "Counts of what the model saw are {full_percent} % of the bytes that the scorer writes (keys and values; compressed "
    "{full_percent_compressed} %) in a backlog of {full_requests:,} requests, {full_requests_a_record:,} a transaction, which says it in "
    "{full_bytes_a_record:,} bytes; at {rate:,} a second, {paced_requests_a_record:,} a transaction, in {paced_bytes_a_record:,} bytes, "
    "{paced_percent} % (compressed {paced_percent_compressed} %).",
    "deciding": "A decision over {days} daily windows takes {first_s_10} s of CPU with 10 features and {first_s_200} s with 200; when one "
    "window was revised, {again_s_10} s and {again_s_200} s.",
}
