"""In which cell of the reference each value of a model's matrix lies: in training as in service, by the same code. Room: pure.

A number's cells are: missing, below the first edge, one between each edge and the next (the lower edge belongs to the cell), from
the last edge on. A category's are: missing, one a category in the manifest's order, and unseen. All cells of all features are
counted through: feature after feature, in the manifest's order.

Of each cell the positions of its values are summed up, in parts of the cell's width, so that means are known; below the first edge
and from the last edge on, in parts of the distance between both. They are integers, so sums do not depend on their order.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from streams.models.features import is_unseen
from streams.ports import Counts
from streams.reasons import Reason
from streams.records import Floats, Ints

Edges = tuple[float, ...] | None
"""Ascending; None: the feature is a category."""
PARTS = 256
"""Parts of a cell's width that a position is rounded to."""
FARTHEST = 1 << 20
"""So many times the distance from the first edge to the last: what is farther away counts as if it were there."""
DENSE = 4
"""Counted in an array of all windows and cells, if that is at most so many times as large as what is counted."""
AT_ONCE = 16_384
"""Values that are placed at once."""
MISSING, UNSEEN = 0, -1
"""A feature's first cell, and a category's last."""


class Binning:
    """The cells of a model's features.

    Args:
        categories: of each column of the matrix how many categories there are; 0 of a number.
        edges: of each column its edges.
        fields: of each column the contract's field that it is made of.
        reference: whose edges these are.
    """

    def __init__(
        self,
        categories: Sequence[int],
        edges: Sequence[Edges],
        fields: Sequence[str] = (),
        reference: bytes = b"",
    ) -> None:
        self.reference, self._fields = reference, fields
        self.sizes = [many + 2 if cut is None else len(cut) + 2 for many, cut in zip(categories, edges, strict=True)]
        """How many cells each feature has."""
        self.begins: Ints = np.concatenate(([0], np.cumsum(self.sizes))).astype(np.int64)
        """The first cell of each feature, and the number of all."""
        self._numbers = np.array([at for at, cut in enumerate(edges) if cut is not None], np.int64)
        self._categories = np.array([at for at, cut in enumerate(edges) if cut is None], np.int64)
        self._last = np.array([many + 1 for many, cut in zip(categories, edges, strict=True) if cut is None], np.int64)
        cuts = [cut for cut in edges if cut is not None]
        longest = max(map(len, cuts), default=0)
        self._edges = np.full((longest, len(cuts)), np.nan)
        """By rank, then by feature; a feature with fewer has nan, which no number reaches."""
        self._from, self._per = np.zeros(self.begins[-1]), np.zeros(self.begins[-1])
        for column, (at, cut) in enumerate(zip(self._numbers.tolist(), cuts, strict=True)):
            self._edges[: len(cut), column] = cut
            begin, whole = int(self.begins[at]), (cut[-1] - cut[0]) or 1.0
            widths = [-whole, *(high - low for low, high in pairwise(cut)), whole]
            self._from[begin + 1 : begin + 1 + len(widths)] = [cut[0], *cut]
            self._per[begin + 1 : begin + 1 + len(widths)] = [1.0 / width for width in widths]

    def count(self, matrix: Floats, window: Ints, windows: int) -> Counts:
        """Count the values of a matrix.

        Args:
            matrix: shape (rows, columns).
            window: of each row which of so many windows it is in, shape (rows,).
            windows: how many there are.
        """
        cells, positions = self._placed(matrix)
        flat = (cells + window[:, None] * self.begins[-1]).ravel()
        weights, size = positions.ravel(), windows * int(self.begins[-1])
        if size <= DENSE * len(flat):
            many = np.bincount(flat, minlength=size)
            found = np.flatnonzero(many)
            counts, totals = many[found], np.bincount(flat, weights, size)[found]
        else:
            found, place, counts = np.unique(flat, return_inverse=True, return_counts=True)
            totals = np.bincount(place.ravel(), weights, len(found))
        where, cell = np.divmod(found, self.begins[-1])
        return Counts(where, cell, counts, totals.astype(np.int64))

    def refused(self, field: str, reason: Reason) -> Ints:
        """Return the cells that a request counts in which was refused because this field is missing, or of no known category."""
        mine = [at for at, name in enumerate(self._fields) if name == field]
        if reason is Reason.UNSEEN_CATEGORY:
            return self.begins[[at + 1 for at in mine]] - 1
        return self.begins[mine] + MISSING

    def _placed(self, matrix: Floats) -> tuple[Ints, Floats]:
        """Return each value's cell and its position in it, both of shape (rows, columns)."""
        cells, positions = np.empty(matrix.shape, np.int64), np.zeros(matrix.shape)
        if len(self._numbers):
            rows = max(1, AT_ONCE // len(self._numbers))
            for begin in range(0, len(matrix), rows):
                part = slice(begin, begin + rows)
                cells[part, self._numbers], positions[part, self._numbers] = self._numeric(matrix[part, self._numbers])
        if len(self._categories):
            codes = matrix[:, self._categories]
            nan = np.isnan(codes)
            code = np.where(nan, -1.0, codes).astype(np.int64) + 1
            if nan.any():
                code[is_unseen(codes)] = UNSEEN
                code = np.where(code == UNSEEN, self._last, code)
            cells[:, self._categories] = self.begins[self._categories] + code
        return cells, positions

    def _numeric(self, values: Floats) -> tuple[Ints, Floats]:
        """Return the cells and positions of numbers: so few that they stay in the cache from one step to the next."""
        rank = np.zeros(values.shape, np.uint8 if len(self._edges) < 255 else np.uint16)
        for edge in self._edges:
            rank += (values >= edge).view(np.uint8)
        known = values == values  # not nan
        cells = self.begins[self._numbers] + (rank + known.view(np.uint8)).astype(np.int64)
        with np.errstate(over="ignore", invalid="ignore"):
            along = (values - self._from[cells]) * self._per[cells]
        return cells, np.rint(np.fmin(np.fmax(along, 0.0), FARTHEST) * PARTS)  # of nan and 0, `fmax` takes 0
