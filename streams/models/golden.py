"""Golden rows: inputs with what the model says of them, answered before a model answers anybody else.

A swapped category, a column in the wrong place, another library's rounding: all of these score without complaint, and
only known answers show them. One JSON object a line:

    {"request": {"carrier": "UA", "distance": 1400.0, …}, "score": 0.0731, "contract": "request.v1.avsc"}

A multiclass model's rows have `"scores": [0.2, 0.7, 0.1]`, one a class in the manifest's order; a regression model's
have `"value": 12.5`. The request holds the contract's field values (see `rows.py`), so the way from value to code is
tested, too. `contract` is the accepted contract's file; the default is the first of `[[accepts]]`.

All rows are scored twice, as one batch and one by one: a model that is right for some sizes of a batch only is wrong.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn, TypeAlias

import numpy as np
from pydantic import Field, ValidationError

from streams.avro.rules import check as broken_rules
from streams.complaints import complaints
from streams.config import Section
from streams.contracts import Contract, Decoded
from streams.errors import ConfigError
from streams.models import rows
from streams.models.manifest import Manifest, Number
from streams.models.scorer import Scorer, Unscorable
from streams.ports import Refusals
from streams.records import Floats, Ints

LEAST = 20
"""Fewer rows would leave most categories untested."""


ROUNDING = 1e-6
"""How far a probability may lie outside 0 to 1: what float32 makes of a sum of rounded terms."""

FeaturesOf: TypeAlias = Callable[[Decoded, Contract, Ints], tuple[Floats, Refusals]]
"""See `ports.Model.features`."""


class Row(Section):
    """One line of the file."""

    request: dict[str, Any]
    contract: str = ""
    expected: Any
    """In the file it is named as in the result, which depends on the task."""


class _Binary(Row):
    expected: Number = Field(alias="score")


class _Multiclass(Row):
    expected: tuple[Number, ...] = Field(alias="scores")


class _Regression(Row):
    expected: Number = Field(alias="value")


_ROWS: dict[str, type[Row]] = {"binary": _Binary, "multiclass": _Multiclass, "regression": _Regression}


class Differs(NamedTuple):
    """One golden row of which the model does not say what is expected."""

    line: int
    expected: float | list[float]
    actual: float | list[float]
    scored: str
    """In which company."""


def parse(content: bytes, about: Manifest) -> list[Row]:
    """Return the rows of the file's content; at least LEAST, and at least one for each accepted contract's file.

    Raises: ConfigError that names the file and the line.
    """
    where, kind, golden = about.golden.file, _ROWS[about.task], []
    contracts = [each.contract for each in about.accepts]
    for number, line in enumerate(content.rstrip().splitlines(), start=1):
        try:
            row = kind.model_validate(json.loads(line, parse_constant=_no_constant))
        except ValidationError as error:
            raise ConfigError(f"{where}, line {number}: {'; '.join(complaints(error, kind, 'the line'))}") from None
        except ValueError as error:
            raise ConfigError(f"{where}, line {number}: {error}. Each line is one JSON object") from None
        if isinstance(row, _Multiclass) and len(row.expected) != len(about.output.classes):
            raise ConfigError(
                f"{where}, line {number}: `scores` has {len(row.expected)} numbers, "
                f"and the manifest {len(about.output.classes)} classes: one number a class, in that order"
            )
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
    golden: Sequence[Row], contracts: Mapping[str, Contract], features: FeaturesOf, scorer: Scorer, about: Manifest
) -> None:
    """Score all rows, as one batch and one by one, and compare.

    Raises: ConfigError that names the first line that differs, and how many do; or the first that is no probability.
    """
    where, differ = about.golden.file, list[Differs]()
    for name, contract in contracts.items():
        lines = [at for at, row in enumerate(golden) if row.contract == name]
        matrix = _matrix(golden, lines, contract, features, where)
        expected = np.array([golden[at].expected for at in lines])
        try:
            together = scorer.score(matrix)
            alone = np.concatenate([scorer.score(matrix[at : at + 1]) for at in range(len(matrix))])
        except Unscorable as error:
            raise ConfigError(f"{about.artifact} does not score the rows of {where}: {error}") from None
        for scored, actual in (("in one batch", together), ("alone", alone)):
            if about.task != "regression":
                _check_probabilities(actual, lines, about)
            # `not <=` and not `>`: a score that is nan differs from everything.
            near = np.abs(actual - expected) <= about.golden.tolerance
            for at in np.flatnonzero(~near.reshape(len(lines), -1).all(axis=1)).tolist():
                differ.append(Differs(lines[at] + 1, expected[at].tolist(), actual[at].tolist(), scored))
    if differ:
        worst, tolerance = min(differ, key=lambda each: each.line), about.golden.tolerance
        bits = tolerance == 0 and not scorer.row_deterministic
        raise ConfigError(
            f"{where}, line {worst.line}: expected {worst.expected!r}, got {worst.actual!r} when scored {worst.scored} "
            f"(tolerance {tolerance}); {len({each.line for each in differ})} of {len(golden)} rows differ. "
            + (
                f'Flavor "{about.flavor}" does not promise equal bits: set [golden] tolerance, say 1e-6. '
                if bits
                else ""
            )
            + "Look at the order of categories, at missing values, and at the library's version"
        )


def _matrix(
    golden: Sequence[Row], lines: Sequence[int], contract: Contract, features: FeaturesOf, where: str
) -> Floats:
    """Return the matrix of the rows of one contract, each of which must be one that is scored."""
    try:
        decoded = rows.decoded(contract, [golden[at].request for at in lines])
    except ValueError as error:
        raise ConfigError(f"{where}, rows for {golden[lines[0]].contract}: {error}") from None
    for at, detail in broken_rules(contract, decoded).items():
        raise ConfigError(
            f"{where}, line {lines[at] + 1}: field {detail.field} is {detail.value}, but the contract allows {detail.rule}; "
            "a golden row must be a request that is scored"
        )
    matrix, refusals = features(decoded, contract, np.arange(len(lines)))
    for at, (reason, detail) in refusals.rows.items():
        raise ConfigError(
            f"{where}, line {lines[at] + 1}: the model refuses it ({reason.name}, field {detail.field}, "
            f"{detail.value}), but a golden row must be scored"
        )
    return matrix


def _check_probabilities(scores: Floats, lines: Sequence[int], about: Manifest) -> None:
    beyond = ((scores < -ROUNDING) | (scores > 1 + ROUNDING)).reshape(len(scores), -1).any(axis=1)
    if beyond.any():
        at = int(beyond.argmax())
        last = "a sigmoid" if about.task == "binary" else "a softmax"
        raise ConfigError(
            f"{about.golden.file}, line {lines[at] + 1}: the model says {scores[at].tolist()!r}, and a probability lies in 0 to 1. "
            f'Does {about.artifact} put out logits? Let it end with {last}, or make it task "regression"'
        )


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
