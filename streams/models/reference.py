"""What the training set looked like: one histogram a feature and block of time, as integer counts. Pure.

Drift is judged against these. Blocks of time are kept apart because windows of the real world are not independent: how
much the training set's own blocks differ from each other is what a feature may differ without being drift.

Cells are those of `binning`; a category's last, unseen, is left out where there is nothing unseen.
"""

from collections.abc import Sequence
from typing import Annotated, NamedTuple, Self

import numpy as np
from pydantic import Field, ValidationError, model_validator

from streams.complaints import complaints
from streams.config import Section
from streams.errors import ConfigError
from streams.models.binning import Binning, Edges
from streams.models.manifest import Feature
from streams.records import Floats, Ints

Count = Annotated[int, Field(ge=0, strict=True)]
Edge = Annotated[float, Field(allow_inf_nan=False)]


class Block(Section):
    """A stretch of event time, and how many rows of the training set lie in it."""

    start_ms: int
    """Inclusive, in milliseconds since 1970."""
    end_ms: int
    """Exclusive."""
    rows: Count


class Histogram(Section):
    """One feature's counts: one list a block, one number a cell."""

    name: str
    edges: tuple[Edge, ...] | None = None
    """Ascending; None for a category."""
    counts: tuple[tuple[Count, ...], ...]
    sums: tuple[tuple[Count, ...], ...] | None = None
    """Of a number, one list a block: the sum of positions in each cell (see `binning`); without them there is no distance in
    the feature's own unit."""


class Reference(Section):
    """The whole file."""

    blocks: Annotated[tuple[Block, ...], Field(min_length=1)]
    features: tuple[Histogram, ...]

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        """Refuse blocks that overlap, edges out of order, and counts that are not the block's rows."""
        for before, after in zip(self.blocks, self.blocks[1:], strict=False):
            if after.start_ms < before.end_ms:
                raise ValueError(f"the block from {after.start_ms} begins before the one ahead of it ends")
        for histogram in self.features:
            edges = histogram.edges
            if edges is not None and (not edges or list(edges) != sorted(set(edges))):
                raise ValueError(f"the edges of `{histogram.name}` are not ascending")
            if len(histogram.counts) != len(self.blocks):
                raise ValueError(f"`{histogram.name}` has {len(histogram.counts)} blocks, not {len(self.blocks)}")
            shape = [len(counts) for counts in histogram.counts]
            if histogram.sums is not None and shape != [len(sums) for sums in histogram.sums]:
                raise ValueError(f"the sums of `{histogram.name}` are not one for each of its counts")
            for block, counts in zip(self.blocks, histogram.counts, strict=True):
                if sum(counts) != block.rows:
                    raise ValueError(
                        f"`{histogram.name}` counts {sum(counts)} rows in the block from {block.start_ms}, "
                        f"which has {block.rows}"
                    )
        return self


def parse(content: bytes, features: Sequence[Feature], where: str) -> Reference:
    """Return the reference of a file's content, for these features.

    Raises: ConfigError that names the file and the feature.
    """
    try:
        reference = Reference.model_validate_json(content)
    except ValidationError as error:
        lines = "".join(f"\n  {complaint}" for complaint in complaints(error, Reference, where))
        raise ConfigError(f"{where} is not a valid reference:{lines}") from None
    names, wanted = [h.name for h in reference.features], [f.name for f in features]
    if names != wanted:
        raise ConfigError(f"{where} describes the features {', '.join(names)}; the manifest's are {', '.join(wanted)}")
    for feature, histogram in zip(features, reference.features, strict=True):
        if (histogram.edges is None) != (feature.kind == "category"):
            raise ConfigError(f"{where}: `{feature.name}` is a {feature.kind}; only numbers have edges")
        if histogram.edges is None:
            cells, fit = (
                f"{len(feature.categories) + 1} cells, or {len(feature.categories) + 2} with the unseen",
                {1, 2},
            )
            wrong = any(len(counts) - len(feature.categories) not in fit for counts in histogram.counts)
        else:
            cells = f"{len(histogram.edges) + 2} cells"
            wrong = any(len(counts) != len(histogram.edges) + 2 for counts in histogram.counts)
        if wrong:
            raise ConfigError(f"{where}: every block of `{feature.name}` needs {cells}")
    return reference


class Hashed(NamedTuple):
    """A reference, and the SHA-256 of its file's content."""

    reference: Reference
    digest: bytes

    def cells(self, features: Sequence[Feature]) -> Binning:
        """Return its cells, for these features."""
        return _binning(features, [histogram.edges for histogram in self.reference.features], self.digest)


def _binning(features: Sequence[Feature], edges: Sequence[Edges], digest: bytes = b"") -> Binning:
    many = [len(feature.categories) for feature in features]
    return Binning(many, edges, [feature.source for feature in features], digest)


def measure(
    features: Sequence[Feature], matrix: Floats, event_ms: Ints, *, block_ms: int, cells_max: int = 10
) -> Reference:
    """Return the reference of a training matrix (rows, features) with one event time a row.

    Blocks are `block_ms` long and begin with the earliest event; blocks without rows are left out. Numbers are cut at
    quantiles of the whole set; equal quantiles become one edge. There must be a row.
    """
    first = int(event_ms.min())
    block = (event_ms - first) // block_ms
    present = np.unique(block)
    blocks = tuple(
        Block(
            start_ms=first + int(each) * block_ms,
            end_ms=first + (int(each) + 1) * block_ms,
            rows=int((block == each).sum()),
        )
        for each in present
    )
    edges = [
        None if feature.kind == "category" else _quantiles(values, cells_max)
        for feature, values in zip(features, matrix.T, strict=True)
    ]
    cells = _binning(features, edges)
    found = cells.count(matrix, np.searchsorted(present, block), len(present))
    counts = np.zeros((2, len(present), int(cells.begins[-1])), np.int64)
    counts[0, found.window, found.cell], counts[1, found.window, found.cell] = found.n, found.total
    histograms = []
    for feature, cut, begin, end in zip(features, edges, cells.begins, cells.begins[1:], strict=False):
        mine = counts[:, :, begin:end]
        if cut is None and not mine[0, :, -1].any():
            mine = mine[:, :, :-1]
        many, sums = (tuple(map(tuple, each.tolist())) for each in mine)
        histograms.append(Histogram(name=feature.name, edges=cut, counts=many, sums=None if cut is None else sums))
    return Reference(blocks=blocks, features=tuple(histograms))


def _quantiles(values: Floats, cells_max: int) -> tuple[float, ...]:
    known = values[np.isfinite(values)]
    if len(known) == 0:
        return (0.0,)
    return tuple(np.unique(np.quantile(known, np.linspace(0, 1, cells_max + 1))).tolist())
