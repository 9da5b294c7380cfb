"""The value rules of the accepted contract, applied to whole columns.

Room: avro, pure. A rule costs a few nanoseconds a value while nothing breaks it; only rows that do are looked at alone.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import cast

import numpy as np

from streams.avro import bits, checks
from streams.avro.decode import show, slices
from streams.contracts import Column, Contract, Decoded, Field, Numbers, Spans, Vectors
from streams.records import Bools, Detail, Floats, Ints

_WORD = 8
SHOWN = 10
"""So many categories are named."""


def check(accepted: Contract, decoded: Decoded) -> dict[int, Detail]:
    """Return the good rows that break a rule of `accepted`, each with the first field that does and its value.

    Fields are matched by name; what the writer has beyond the accepted contract is not looked at. NaN and infinities
    break the rules unless the field says `finite: false`; NaN is then inside every range. Bounds of a `float` are
    rounded to the nearest float, as the sender's values were. Nulls break no rule.
    """
    found: dict[int, Detail] = {}
    for field in accepted.fields:
        column = decoded.columns[field.name]
        for wrong in _broken(field, column, decoded):
            if not wrong.any():
                continue
            wrong &= ~decoded.bad
            if column.null is not None:
                wrong &= ~column.null
            for row in np.flatnonzero(wrong).tolist():
                found.setdefault(row, Detail(field.name, show(decoded, field.name, row), rule=stated(field)))
    return found


def stated(field: Field) -> str:
    """Return in words what the rules of a field allow."""
    rules, parts = field.rules, []
    if rules.minimum is not None and rules.maximum is not None:
        parts.append(f"{rules.minimum} to {rules.maximum}")
    elif rules.minimum is not None:
        parts.append(f"at least {rules.minimum}")
    elif rules.maximum is not None:
        parts.append(f"at most {rules.maximum}")
    if rules.categories is not None:
        shown = ", ".join(rules.categories[:SHOWN])
        parts.append(f"{shown} and {len(rules.categories) - SHOWN} more" if len(rules.categories) > SHOWN else shown)
    if field.kind in ("float", "double", "vector") and rules.finite:
        parts.append("finite numbers")
    return ", ".join(parts)


def _broken(field: Field, column: Column, decoded: Decoded) -> Sequence[Bools]:
    """Return, for each rule of the field, which rows break it; nulls and bad rows may be among them."""
    rules = field.rules
    has_bounds = rules.minimum is not None or rules.maximum is not None
    broken: list[Bools] = []
    if isinstance(column, Vectors):
        if rules.finite:
            broken.append(_any_of(~np.isfinite(column.values)))
        if has_bounds:
            broken.append(_any_of(_out_of_range(field, column.values)))
    elif isinstance(column, Spans):
        if has_bounds:
            least, largest = _whole_bounds(field, 10**field.precision)
            broken.append(checks.outside(decoded.data, decoded.buffer, column.start, column.length, least, largest))
        if rules.categories is not None:
            broken.append(_not_among(decoded, field, column, rules.categories))
    elif field.kind in ("float", "double"):
        if rules.finite:
            broken.append(~np.isfinite(column.values))
        if has_bounds:
            broken.append(_out_of_range(field, cast(Floats, column.values)))
    else:
        if has_bounds:
            broken.append(checks.beyond(cast(Ints, column.values), *_whole_bounds(field, 2**63)))
        if rules.categories is not None:
            broken.append(_symbols_not_among(decoded, column, field.name, rules.categories))
    return broken


def _any_of(wrong: Bools) -> Bools:
    """Return the rows of which any number is wrong."""
    return cast(Bools, wrong.any(axis=1))


def _whole_bounds(field: Field, beyond: int) -> tuple[int, int]:
    """Return the bounds as whole numbers of the field's unit (a decimal's last digit): inclusive, exact."""
    unit = 10**field.scale if field.logical == "decimal" else 1
    minimum, maximum = field.rules.minimum, field.rules.maximum
    return (
        -beyond if minimum is None else math.ceil(Fraction(repr(minimum)) * unit),
        beyond if maximum is None else math.floor(Fraction(repr(maximum)) * unit),
    )


def _out_of_range(field: Field, values: Floats) -> Bools:
    least = -math.inf if field.rules.minimum is None else float(field.rules.minimum)
    largest = math.inf if field.rules.maximum is None else float(field.rules.maximum)
    if "float" in (field.kind, field.items):
        least, largest = float(np.float32(least)), float(np.float32(largest))
    wrong: Bools = (values < least) | (values > largest)
    return wrong


def _symbols_not_among(decoded: Decoded, column: Numbers, name: str, categories: Sequence[str]) -> Bools:
    writer = decoded.contract.field(name)
    symbols = writer.symbols if writer is not None else ()
    refused = np.array([symbol not in categories for symbol in symbols], np.bool_)
    return refused[column.values]


def _not_among(decoded: Decoded, field: Field, column: Spans, categories: Sequence[str]) -> Bools:
    encoded = sorted((category.encode() for category in categories), key=lambda one: int.from_bytes(one, "little"))
    if any(len(one) > _WORD or one.endswith(b"\0") for one in encoded):
        known = {*encoded, None}
        return np.array([value not in known for value in slices(decoded, field.name)], np.bool_)
    keys = np.array([int.from_bytes(one, "little") for one in encoded], np.uint64)
    lengths = np.array([len(one) for one in encoded], np.int64)
    word = bits.head(bits.words(decoded.buffer)[column.start], column.length)
    at = np.minimum(np.searchsorted(keys, word), len(keys) - 1)
    # Zero bytes at the end of a value do not change its word; the length tells "A" from "A\0", and "LONGWORDS" from
    # the eight bytes that it begins with.
    wrong: Bools = (keys[at] != word) | (lengths[at] != column.length)
    return wrong
