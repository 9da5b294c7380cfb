"""Columns to the model's matrix: numbers as they are, categories as codes, and what is refused on the way. Pure.

Nothing is coerced: which kinds of field a feature can be made of is decided when the features are bound to a
contract, and every row that a feature cannot stand for is refused with its field and value.

A number is the nearest float64 to the field's value: date, time and timestamp fields in the unit of their schema,
decimals with their scale applied, booleans as 0 and 1. A category's code is its position in the manifest's list.
"""

import json
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from streams.contracts import Column, Contract, Decoded, Field, Numbers, Spans, Vectors
from streams.errors import ConfigError
from streams.models.manifest import Feature
from streams.ports import Refusals
from streams.reasons import Reason
from streams.records import Bools, Bytes8, Detail, Floats, Ints

UNSEEN = -1.0
"""Stands for a category outside the list, until the feature's `unseen` rule is applied."""
_UNSEEN_BITS = np.uint64(0x7FF8_0000_0000_07A2)
"""The nan that stands for it from then on, as R's NA is a nan: to a model both are missing, and who counts can tell them apart."""
NAN_UNSEEN = float(_UNSEEN_BITS.view(np.float64))
SHOWN = 80
"""Characters of a refused value that its detail shows at most, all of them printable."""

Read: TypeAlias = Callable[[Decoded, Column, Ints], Floats]
"""(decoded, column, rows) to one float64 a row, or `length` of them; rows that are null may hold anything."""

Refused: TypeAlias = dict[int, tuple[Reason, Detail]]

_WORD = 8
_MASKS = np.array([(1 << 8 * length) - 1 for length in range(_WORD + 1)], np.uint64)
_EXACT = 1 << 53
"""Integers up to here are float64 values; dividing two of them rounds once."""


class Bound(NamedTuple):
    """One feature, bound to a field of one contract."""

    feature: Feature
    field: Field
    read: Read


class Features:
    """A model's features, bound to every contract that the model accepts."""

    def __init__(self, features: Sequence[Feature], accepts: Sequence[Contract]) -> None:
        """Bind the features to the contracts. Raises: ConfigError naming the feature, the field and the contract."""
        self.names = tuple(feature.name for feature in features)
        self._bound = {c.fingerprint: tuple(bind(feature, c) for feature in features) for c in accepts}

    def matrix(self, decoded: Decoded, accepted: Contract, rows: Ints) -> tuple[Floats, Refusals]:
        """Return the float64 matrix of shape (len(rows), columns), and the refused ones among `rows`.

        `rows` are indices into `decoded`, none of them a bad row. The keys of the refusals are positions in `rows`,
        that is, rows of the matrix; the first feature that refuses a row gives the reason, and the refused cell is
        nan. Raises: KeyError for a contract that was not bound.
        """
        bound = self._bound[accepted.fingerprint]
        matrix = np.empty((len(rows), sum(feature.length or 1 for feature, _, _ in bound)), np.float64)
        refused: Refused = {}
        at = 0
        never = np.zeros(len(rows), np.bool_)
        for feature, field, read in bound:
            column = decoded.columns[field.name]
            null = never if column.null is None else column.null[rows]
            cells = read(decoded, column, rows)
            if feature.kind == "category":
                unseen = (cells == UNSEEN) & ~null
                cells[unseen] = NAN_UNSEEN
                if feature.unseen == "refuse":
                    for row in _first(unseen, refused):
                        shown = _shown(field, decoded, column, int(rows[row]))
                        refused[row] = (Reason.UNSEEN_CATEGORY, Detail(field.name, shown))
            if null is not never:
                cells[null] = np.nan if isinstance(feature.missing, str) else feature.missing
                if feature.missing == "refuse":
                    for row in _first(null, refused):
                        refused[row] = (Reason.MISSING_VALUE, Detail(field.name, "null"))
            if feature.length is None:
                matrix[:, at] = cells
            else:
                matrix[:, at : at + feature.length] = cells
            at += feature.length or 1
        return matrix, Refusals(refused)


def is_unseen(cells: Floats) -> Bools:
    """Return which cells of a matrix are nan because their category is not in the list."""
    return np.asarray(np.ascontiguousarray(cells).view(np.uint64) == _UNSEEN_BITS)


def bind(feature: Feature, contract: Contract) -> Bound:
    """Return the feature bound to its field. Raises: ConfigError where the field cannot stand for it."""
    where = f"feature `{feature.name}` of contract {contract.name}"
    field = contract.field(feature.source)
    if field is None:
        known = ", ".join(each.name for each in contract.fields)
        raise ConfigError(f"{where}: there is no field `{feature.source}`. Its fields are {known}; set `from`")
    if feature.unit is not None and feature.unit != field.unit:
        stated = "no unit" if field.unit is None else f"the unit {field.unit}"
        raise ConfigError(
            f"{where}: the model was trained in {feature.unit}, and field `{field.name}` states {stated}. "
            "Send what the model was trained in, or convert before training"
        )
    if feature.kind == "category":
        return Bound(feature, field, _category(feature, field, where))
    if field.kind in ("float", "double", "vector") and not field.rules.finite and feature.missing != "nan":
        raise ConfigError(
            f"{where}: field `{field.name}` allows NaN (`finite`: false), which a model reads as missing, "
            f'but `missing` is {feature.missing}. Set missing = "nan", or let the contract refuse NaN'
        )
    if feature.kind == "vector":
        return Bound(feature, field, _vector(feature, field, where))
    return Bound(feature, field, _number(field, where))


def _number(field: Field, where: str) -> Read:
    if field.kind in ("boolean", "int", "long", "float", "double"):
        return lambda _decoded, column, rows: cast(Numbers, column).values[rows].astype(np.float64)
    if field.kind in ("bytes", "fixed") and field.logical == "decimal":
        return _decimals(field.scale)
    raise ConfigError(
        f"{where}: field `{field.name}` is a {field.kind}, which is not a number, and nothing is coerced. "
        "Make the field a number in the contract, or the feature a category"
    )


def _vector(feature: Feature, field: Field, where: str) -> Read:
    if field.kind != "vector" or field.size != feature.length:
        found = f"{field.size} numbers" if field.kind == "vector" else f"a {field.kind}"
        raise ConfigError(f"{where}: the model takes {feature.length} numbers, and field `{field.name}` is {found}")
    return lambda _decoded, column, rows: cast(Vectors, column).values[rows]


def _category(feature: Feature, field: Field, where: str) -> Read:
    if field.kind == "string":
        return _strings(feature.categories)
    if field.kind == "enum":
        position = {value: code for code, value in enumerate(feature.categories)}
        codes = np.array([position.get(symbol, UNSEEN) for symbol in field.symbols], np.float64)
        return lambda _decoded, column, rows: codes[cast(Numbers, column).values[rows].astype(np.intp)]
    raise ConfigError(
        f"{where}: field `{field.name}` is a {field.kind}; a category is made of a string or an enum, "
        "and nothing is coerced. Make the feature a number, or the field a string"
    )


def _strings(categories: Sequence[str]) -> Read:
    """Return the reader of codes of a string column: one gather and one search where eight bytes tell all apart."""
    encoded = [value.encode() for value in categories]
    words = [int.from_bytes(value[:_WORD], "little") for value in encoded]
    if any(len(value) > _WORD for value in encoded) or len(set(words)) < len(words):
        return _long_strings(encoded)
    order = np.argsort(np.array(words, np.uint64))
    keys = np.array(words, np.uint64)[order]
    lengths = np.array([len(value) for value in encoded], np.int64)[order]
    codes = order.astype(np.float64)

    def read(decoded: Decoded, column: Column, rows: Ints) -> Floats:
        spans = cast(Spans, column)
        length = spans.length[rows]
        word = _words(decoded.buffer, spans.start[rows], "<u8") & _MASKS[np.minimum(length, _WORD)]
        at = np.minimum(np.searchsorted(keys, word), len(keys) - 1)
        # Zero bytes at the end of a value do not change its word: only the length tells "A" from "A\0".
        return np.where((keys[at] == word) & (lengths[at] == length), codes[at], UNSEEN)

    return read


def _long_strings(encoded: Sequence[bytes]) -> Read:
    position = {value: float(code) for code, value in enumerate(encoded)}

    def read(decoded: Decoded, column: Column, rows: Ints) -> Floats:
        spans = cast(Spans, column)
        begin = spans.start[rows]
        end = begin + spans.length[rows]
        data, code = decoded.data, position.get
        found = [code(data[a:b], UNSEEN) for a, b in zip(begin.tolist(), end.tolist(), strict=True)]
        return np.array(found, np.float64)

    return read


def _decimals(scale: int) -> Read:
    """Return the reader of decimals, each rounded once: in columns where 53 bits hold the digits, else one by one."""
    unit = 10**scale

    def read(decoded: Decoded, column: Column, rows: Ints) -> Floats:
        spans = cast(Spans, column)
        start, length = spans.start[rows], spans.length[rows]
        shift = np.clip(8 * (_WORD - length), 0, 63)
        unscaled = _words(decoded.buffer, start, ">u8").astype(np.uint64).view(np.int64) >> shift
        wide = (length > _WORD) | (unscaled > _EXACT) | (unscaled < -_EXACT) | (unit > _EXACT)
        cells = unscaled / float(unit)
        for row in np.flatnonzero(wide).tolist():
            digits = decoded.data[start[row] : start[row] + length[row]]
            cells[row] = int.from_bytes(digits, "big", signed=True) / unit
        return cells

    return read


def _words(buffer: Bytes8, start: Ints, order: str) -> npt.NDArray[np.uint64]:
    """Return the eight bytes at each position as one integer; the buffer's padding keeps the last ones inside.

    The view is not aligned: `take` would be seven times slower than indexing.
    """
    window: npt.NDArray[np.uint64] = np.ndarray((len(buffer) - _WORD + 1,), order, buffer, strides=(1,))
    return window[start]


def _first(mask: Bools, refused: Refused) -> list[int]:
    """Return the rows of the mask that no earlier feature refused."""
    return [row for row in np.flatnonzero(mask).tolist() if row not in refused]


def _shown(field: Field, decoded: Decoded, column: Column, row: int) -> str:
    if isinstance(column, Numbers):
        return field.symbols[int(column.values[row])]
    assert isinstance(column, Spans), "a category is an enum or a string"
    begin = int(column.start[row])
    # A character is at most four bytes: no more is turned into text than will be shown.
    text = decoded.data[begin : begin + min(int(column.length[row]), 4 * SHOWN + 4)].decode("utf-8", "replace")
    shown = json.dumps(text)
    return shown if len(shown) <= SHOWN else shown[: SHOWN - 1] + "…"
