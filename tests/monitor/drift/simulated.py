"""Worlds with and without drift, and what people do about it elsewhere, on the same data."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import chi2_contingency, ks_2samp

from streams.avro import schema
from streams.demo import data, train
from streams.models import manifest, rows
from streams.models.binning import Binning
from streams.models.features import Features
from streams.models.reference import Reference, measure, parse
from streams.monitor.drift.episodes import Chain, Window, chains
from streams.monitor.drift.watch import Watch, watches
from streams.records import Floats, Ints
from tests.monitor.drift.known import NUMBER, category

MEAN_WINDOWS = 1_000.0
"""The stated rate: so many windows, in the mean, until any feature of a model has a false ticket."""
FEATURES = 10
"""A model of one simulated feature is given the threshold of a model with so many."""
BLOCKS, BLOCK_ROWS = 20, 5_000
DAY_MS, WEEK_DAYS = 86_400_000, 7
EPS = 1e-4
CONTRACT = Path(__file__).parents[3] / "schemas" / "flights" / "request.v1.avsc"


class Flights(NamedTuple):
    """The demo's training set: its reference of weeks, and what was counted on each of its days."""

    watched: tuple[Watch, ...]
    counts: Ints
    """Shape (days, cells)."""
    sums: Ints

    def window(self, number: int, days: Sequence[int] | Ints) -> Window:
        return Window(number, self.counts[days].sum(axis=0), self.sums[days].sum(axis=0))


def flights(folder: Path) -> Flights:
    """Train the demo's model, and count its training set by days. Takes some seconds."""
    train.train(CONTRACT, folder)
    about = manifest.parse((folder / manifest.FILE).read_bytes())
    reference = parse((folder / "reference.json").read_bytes(), about.columns, "reference.json")
    winter = data.flights(1, 2)
    known = winter.filter(winter["late"].is_not_null() & (winter["day"] < train.HELD_OUT))
    contract = schema.parse(CONTRACT.read_text())
    requests = rows.decoded(contract, data.requests(known))
    matrix, refusals = Features(about.features, [contract]).matrix(requests, contract, np.arange(len(known)))
    assert not refusals.rows
    day = known["day"].to_numpy().astype("datetime64[D]").astype(np.int64)
    day -= day.min()
    cells = Binning([len(each.categories) for each in about.columns], [each.edges for each in reference.features])
    found, days = cells.count(matrix, day, int(day.max()) + 1), int(day.max()) + 1
    told = np.zeros((2, days, int(cells.begins[-1])), np.int64)
    told[0, found.window, found.cell], told[1, found.window, found.cell] = found.n, found.total
    return Flights(watches(about.columns, reference), told[0], told[1])


def resampled(chance: np.random.Generator, of: Flights, stretch: int, many: int) -> list[Window]:
    """Return windows of a week whose days are drawn, with replacement, in stretches of so many that follow each other."""
    found = []
    for number in range(many):
        begins = chance.integers(0, len(of.counts) - stretch + 1, -(-WEEK_DAYS // stretch))
        found.append(of.window(number, (begins[:, None] + np.arange(stretch)).ravel()[:WEEK_DAYS]))
    return found


def independent(chance: np.random.Generator, of: Flights, n: int, many: int) -> list[Window]:
    """Return windows of n records, each feature of each drawn from the whole training set's histogram."""
    zero = np.zeros(of.counts.shape[1], np.int64)
    drawn = []
    for each in of.watched:
        whole = of.counts[:, each.cells].sum(axis=0)
        drawn.append(chance.multinomial(n, whole / whole.sum(), size=many))
    return [Window(number, counts, zero) for number, counts in enumerate(np.concatenate(drawn, axis=1))]


class Rules(NamedTuple):
    """How often something alarms in clean windows, elsewhere: any feature, by window."""

    psi: float
    """PSI above 0.1."""
    p: float
    """Chi-square with p below 0.05."""


def elsewhere(of: Sequence[Watch], windows: Sequence[Window]) -> Rules:
    """Return what the usual rules do with the cells of all features, missing ones left out."""
    psi, p = [], []
    for window in windows:
        told = [_usual(each, window.counts[each.cells]) for each in of]
        psi.append(any(one > 0.1 for one, _ in told))
        p.append(any(one < 0.05 for _, one in told))
    return Rules(float(np.mean(psi)), float(np.mean(p)))


def _usual(watch: Watch, counts: Ints) -> tuple[float, float]:
    """Return the PSI with shares of at least EPS, and the chi-square test's p-value, of all but the missing."""
    before, after = watch.counts.sum(axis=0)[1:], counts[1:]
    kept = (before + after) > 0
    if kept.sum() < 2 or not after.sum():
        return 0.0, 1.0
    p, q = (np.maximum(each / each.sum(), EPS) for each in (before[kept], after[kept]))
    return float(((p - q) * np.log(p / q)).sum()), float(
        chi2_contingency([before[kept], after[kept]], correction=False).pvalue
    )


Draw = Callable[[np.random.Generator, int, int], Floats]
"""Values of n records, of a window that is so many after the drift began; 0 and before: clean."""


def _normal(chance: np.random.Generator, n: int, after: int) -> Floats:
    return chance.normal(chance.normal(0, 0.05), 1.0, n)


def shift(size: float) -> Draw:
    return lambda chance, n, after: _normal(chance, n, after) + size * (after > 0)


def scale(size: float) -> Draw:
    return lambda chance, n, after: _normal(chance, n, after) * (size if after > 0 else 1.0)


def creep(size: float) -> Draw:
    return lambda chance, n, after: _normal(chance, n, after) + size * max(after, 0)


def some(share: float, value: float) -> Draw:
    """Return what makes some values another one: nan is missing."""

    def draw(chance: np.random.Generator, n: int, after: int) -> Floats:
        return np.where((chance.random(n) < share) & (after > 0), value, _normal(chance, n, after))

    return draw


def unseen(share: float) -> Draw:
    """Return codes of ten categories, some of which become one that the model does not know."""
    law = 1.0 / np.arange(1, 11)

    def draw(chance: np.random.Generator, n: int, after: int) -> Floats:
        codes = chance.choice(10, n, p=law / law.sum()).astype(np.float64)
        return np.where((chance.random(n) < share) & (after > 0), 10.0, codes)

    return draw


DRIFTS: dict[str, Draw] = {
    "shift by 0.25 sd": shift(0.25),
    "shift by 0.5 sd": shift(0.5),
    "scale × 1.5": scale(1.5),
    "tail: 3 % at 5 sd": some(0.03, 5.0),
    "new category: 3 %": unseen(0.03),
    "missing: 5 %, was 0": some(0.05, np.nan),
    "creep: 0.02 sd a window": creep(0.02),
}


class Delay(NamedTuple):
    """When something was noticed first, in windows from the first with drift (1: in it); None: never, and how often it was false."""

    ours: int | None
    false: int
    """Tickets before the drift."""
    psi: int | None
    psi_clean: float
    """Share of clean windows with a PSI above 0.1."""
    p: int | None
    p_clean: float
    """Share of clean windows with p below 0.05: Kolmogorov and Smirnov's of numbers, chi-square of categories."""


def delay(chance: np.random.Generator, draw: Draw, n: int, clean: int = 20, after: int = 40) -> Delay:
    """Return when one drift is noticed, with so many clean windows before it."""
    of_categories = draw(chance, 1_000, 1).max() == 10.0
    feature = category(10) if of_categories else NUMBER
    blocks = [draw(chance, BLOCK_ROWS, 0) for _ in range(BLOCKS)]
    training = np.concatenate(blocks)
    stamps = np.repeat(np.arange(BLOCKS), BLOCK_ROWS) * DAY_MS
    reference = measure([feature], training[:, None], stamps, block_ms=DAY_MS)
    values = [draw(chance, n, at - clean + 1) for at in range(clean + after)]
    counts = [_counted(reference, each, of_categories) for each in values]
    watched = watches([feature], reference)
    windows = [Window(at, each, np.zeros_like(each)) for at, each in enumerate(counts)]
    (chain,) = chains(watched, windows, MEAN_WINDOWS * FEATURES)
    usual = [_usual(watched[0], each) for each in counts]
    p_values = [p for _, p in usual] if of_categories else [_ks(training, each) for each in values]
    psi, p = [one > 0.1 for one, _ in usual], [one < 0.05 for one in p_values]
    return Delay(
        _first([any(each.opened == at for each in chain.episodes) for at in range(len(values))], clean),
        sum(each.opened < clean for each in chain.episodes),
        _first(psi, clean),
        float(np.mean(psi[:clean])),
        _first(p, clean),
        float(np.mean(p[:clean])),
    )


def _ks(training: Floats, values: Floats) -> float:
    return float(ks_2samp(training, values[~np.isnan(values)], method="asymp").pvalue)


def _first(found: Sequence[bool], clean: int) -> int | None:
    return next((at - clean + 1 for at in range(clean, len(found)) if found[at]), None)


def _counted(reference: Reference, values: Floats, of_categories: bool) -> Ints:
    if of_categories:
        return np.bincount(values.astype(np.int64) + 1, minlength=12)
    edges = reference.features[0].edges
    assert edges is not None
    known = values[~np.isnan(values)]
    counts = np.bincount(np.searchsorted(edges, known, side="right") + 1, minlength=len(edges) + 2)
    counts[0] = len(values) - len(known)
    return counts


def tickets(found: Sequence[Chain]) -> int:
    """Return how many tickets a model has."""
    return sum(len(each.episodes) for each in found)
