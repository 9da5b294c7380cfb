"""Golden rows: inputs with their expected scores, answered before a model answers anybody else.

A swapped category, a column in the wrong place, another library's rounding: all of these score without complaint, and
only known answers show them. One JSON object a line:

    {"request": {"carrier": "UA", "distance": 1400.0, …}, "score": 0.0731, "contract": "request.v1.avsc"}

The request holds the contract's field values (see `rows.py`), so the way from value to code is tested, too. `contract`
is the accepted contract's file; the default is the first of `[[accepts]]`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np
from pydantic import ValidationError

from streams.avro.rules import check as broken_rules
from streams.complaints import complaints
from streams.config import Section
from streams.contracts import Contract
from streams.errors import ConfigError
from streams.models import rows
from streams.models.features import Features
from streams.models.manifest import Number
from streams.records import Floats

LEAST = 20
"""Fewer rows would leave most categories untested."""


class Row(Section):
    """One line of the file."""

    request: dict[str, Any]
    score: Number
    contract: str = ""


class Differs(NamedTuple):
    """One golden row whose score is not the expected one."""

    line: int
    expected: float
    actual: float


def parse(content: bytes, contracts: Sequence[str], where: str) -> list[Row]:
    """Return the rows of a file's content; at least LEAST, and at least one for each accepted contract's file.

    Raises: ConfigError that names the file and the line.
    """
    golden = []
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            row = Row.model_validate(json.loads(line, parse_constant=_no_constant))
        except ValidationError as error:
            raise ConfigError(f"{where}, line {number}: {'; '.join(complaints(error, Row))}") from None
        except ValueError as error:
            raise ConfigError(f"{where}, line {number}: {error}") from None
        golden.append(row if row.contract else row.model_copy(update={"contract": contracts[0]}))
    if len(golden) < LEAST:
        raise ConfigError(f"{where} has {len(golden)} rows; at least {LEAST} are needed to catch a wrong encoding")
    named = {row.contract for row in golden}
    if named != set(contracts):
        raise ConfigError(
            f"{where} has rows for {', '.join(sorted(named))}; the manifest accepts {', '.join(contracts)}, "
            "and each of them needs a row"
        )
    return golden


def check(
    golden: Sequence[Row],
    contracts: Mapping[str, Contract],
    features: Features,
    score: Callable[[Floats], Floats],
    tolerance: float,
    where: str,
) -> None:
    """Score all rows and compare. Raises: ConfigError that names the first line that differs, and how many do."""
    differ: list[Differs] = []
    for name, contract in contracts.items():
        lines = [at for at, row in enumerate(golden) if row.contract == name]
        try:
            decoded = rows.decoded(contract, [golden[at].request for at in lines])
        except ValueError as error:
            raise ConfigError(f"{where}, rows for {name}: {error}") from None
        for at, detail in broken_rules(contract, decoded).items():
            raise ConfigError(
                f"{where}, line {lines[at] + 1}: field {detail.field} is {detail.value}, but the contract allows {detail.rule}; "
                "a golden row must be a request that is scored"
            )
        matrix, refusals = features.matrix(decoded, contract, np.arange(len(lines)))
        for at, (reason, detail) in refusals.rows.items():
            raise ConfigError(
                f"{where}, line {lines[at] + 1}: the model refuses it ({reason.name}, field {detail.field}, "
                f"{detail.value}), but a golden row must be scored"
            )
        expected = np.array([golden[at].score for at in lines])
        actual = score(matrix)
        # `not <=` and not `>`: a score that is nan differs from everything.
        wrong = np.flatnonzero(~(np.abs(actual - expected) <= tolerance)).tolist()
        differ += [Differs(lines[at] + 1, float(expected[at]), float(actual[at])) for at in wrong]
    if differ:
        worst = min(differ)
        raise ConfigError(
            f"{where}, line {worst.line}: expected {worst.expected!r}, got {worst.actual!r} (tolerance {tolerance}); "
            f"{len(differ)} of {len(golden)} rows differ. Look at the order of categories, at missing values, "
            "and at the library's version"
        )


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
