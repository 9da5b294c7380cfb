"""What the training set looked like: one histogram a feature and block of time, as integer counts. Pure.

Drift is judged against these. Blocks of time are kept apart because windows of the real world are not independent: how
much the training set's own blocks differ from each other is what a feature may differ without being drift.

A number's cells are: missing, below the first edge, one between each edge and the next (the lower edge belongs to the
cell), from the last edge on. A category's cells are: missing or unseen, then one a category in the manifest's order.
"""

from collections.abc import Sequence
from typing import Annotated, Self

import numpy as np
from pydantic import Field, ValidationError, model_validator

from streams.complaints import complaints
from streams.config import Section
from streams.errors import ConfigError
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
        cells = len(feature.categories) + 1 if histogram.edges is None else len(histogram.edges) + 2
        if any(len(counts) != cells for counts in histogram.counts):
            raise ConfigError(f"{where}: every block of `{feature.name}` needs {cells} cells")
    return reference


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
    histograms = []
    for feature, values in zip(features, matrix.T, strict=True):
        edges = None if feature.kind == "category" else _quantiles(values, cells_max)
        cells = len(feature.categories) + 1 if edges is None else len(edges) + 2
        cell = _cells(values, edges)
        counts = tuple(tuple(np.bincount(cell[block == each], minlength=cells).tolist()) for each in present)
        histograms.append(Histogram(name=feature.name, edges=edges, counts=counts))
    return Reference(blocks=blocks, features=tuple(histograms))


def _quantiles(values: Floats, cells_max: int) -> tuple[float, ...]:
    known = values[np.isfinite(values)]
    if len(known) == 0:
        return (0.0,)
    return tuple(np.unique(np.quantile(known, np.linspace(0, 1, cells_max + 1))).tolist())


def _cells(values: Floats, edges: tuple[float, ...] | None) -> Ints:
    """Return the cell of each value; 0 is missing."""
    missing = np.isnan(values)
    codes = np.where(missing, -1.0, values) if edges is None else np.searchsorted(edges, values, side="right")
    return np.where(missing, 0, codes.astype(np.int64) + 1)
