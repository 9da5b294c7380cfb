"""Columns to the matrix, against a reading of one value at a time."""

import json
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from streams.avro import schema
from streams.avro.decode import decode
from streams.avro.encode import encode_one
from streams.contracts import Contract
from streams.errors import ConfigError
from streams.models import rows
from streams.models.features import SHOWN, Features
from streams.models.manifest import Feature
from streams.reasons import Reason
from streams.records import Detail, Floats

ENUM = {"type": "enum", "name": "Cabin", "symbols": ["UNKNOWN", "ECONOMY", "FIRST"]}
FIXED = {"type": "fixed", "name": "Fare", "size": 9, "logicalType": "decimal", "precision": 20, "scale": 4}


def contract(*fields: tuple[str, Any], nullable: bool = False, **properties: Any) -> Contract:
    """Return a contract with these fields beside a request id."""
    typed = [{"name": name, "type": ["null", t] if nullable else t, **properties} for name, t in fields]
    identity = {"name": "request_id", "type": "string", "role": "request_id"}
    return schema.parse(json.dumps({"type": "record", "name": "Ask", "fields": [identity, *typed]}))


def logical(kind: str, name: str, **more: int) -> dict[str, Any]:
    return {"type": kind, "logicalType": name, **more}


def number(name: str, **more: Any) -> Feature:
    return Feature.model_validate({"name": name, "kind": "number", **more})


def category(name: str, *categories: str, **more: Any) -> Feature:
    return Feature.model_validate({"name": name, "kind": "category", "categories": categories, **more})


def matrix(
    contract: Contract, features: Sequence[Feature], requests: Sequence[Mapping[str, Any]], pick: Sequence[int] = ()
) -> tuple[Floats, Mapping[int, tuple[Reason, Detail]]]:
    """Return the matrix and the refusals of some requests, or of all."""
    decoded = rows.decoded(contract, [{"request_id": "r", **request} for request in requests])
    picked = np.array(pick or range(len(requests)), np.int64)
    cells, refusals = Features(features, [contract]).matrix(decoded, contract, picked)
    return cells, refusals.rows


def test_every_cell_is_what_a_plain_reading_says() -> None:
    """For any rows, in any order, each cell is the number, or the category's place in the list, or nan.

    The same columns come from plain values and from Avro datums: golden rows stand for requests.
    """
    rng = random.Random(11)
    words = [
        "",
        "A",
        "A\0",
        "AB",
        "B",
        "née",
        "12345678",
        "123456789",
        "12345678X",
        "1234567\0",
        "a longer one",
        "1234567",
    ]
    for trial in range(60):
        lists = {name: tuple(rng.sample(words, rng.randint(1, len(words)))) for name in ("short", "long")}
        kinds: dict[str, Any] = {
            "short": "string", "long": "string", "cabin": ENUM, "flag": "boolean", "n": "int", "big": "long",
            "real": "double", "small": "float", "day": logical("int", "date"), "at": logical("long", "timestamp-micros"),
            "fare": logical("bytes", "decimal", precision=30, scale=3), "fixed": FIXED,
        }  # fmt: skip
        nullable = trial % 2 == 1
        asked = contract(*kinds.items(), nullable=nullable)
        made: dict[str, Callable[[], Any]] = {
            "short": lambda: rng.choice(words), "long": lambda: rng.choice(words),
            "cabin": lambda: rng.choice(ENUM["symbols"]), "flag": lambda: rng.random() < 0.5,
            "n": lambda: rng.randint(-(2**31), 2**31 - 1), "big": lambda: rng.randint(-(2**63), 2**63 - 1),
            "real": lambda: rng.uniform(-1e9, 1e9), "small": lambda: rng.uniform(-1e9, 1e9),
            "day": lambda: rng.randint(-10**5, 10**5), "at": lambda: rng.randint(0, 2**47),
            "fare": lambda: str(Decimal(rng.randint(-(10 ** rng.randint(1, 30)) + 1, 10**10)).scaleb(-3)),
            "fixed": lambda: str(Decimal(rng.randint(-(10**20) + 1, 10**20 - 1)).scaleb(-4)),
        }  # fmt: skip
        features = [
            category(name, *lists[name], unseen="missing", missing="nan") if name in lists
            else category(name, "FIRST", "ECONOMY", unseen="missing", missing="nan") if name == "cabin"
            else number(name, missing="nan")
            for name in kinds
        ]  # fmt: skip
        requests = [
            {name: None if nullable and rng.random() < 0.2 else make() for name, make in made.items()}
            for _ in range(rng.randint(1, 40))
        ]
        pick = [rng.randrange(len(requests)) for _ in range(rng.randint(1, 60))]
        cells, refused = matrix(asked, features, requests, pick)
        assert {} == refused
        assert cells.tobytes() == travelled(asked, features, requests, pick).tobytes()
        for at, row in enumerate(pick):
            for j, feature in enumerate(features):
                expected = plainly(feature, requests[row][feature.name])
                assert_same(expected, float(cells[at, j]), f"seed 11, trial {trial}, {feature.name}, {requests[row]}")


def travelled(
    asked: Contract, features: Sequence[Feature], requests: Sequence[Mapping[str, Any]], pick: Sequence[int]
) -> Floats:
    """Return the matrix of requests that were written by fastavro and read by the real decoder."""
    exact = {"fare", "fixed"}
    typed = [{k: Decimal(v) if k in exact and v is not None else v for k, v in request.items()} for request in requests]
    datums = [encode_one(asked.schema, {"request_id": "r", **request}) for request in typed]
    decoded = decode(asked, datums, 0)
    assert not decoded.bad.any()
    return Features(features, [asked]).matrix(decoded, asked, np.array(pick))[0]


def plainly(feature: Feature, value: Any) -> float:
    """The specification, one value at a time; decimals through fractions, so that they are rounded once."""
    if value is None:
        return math.nan
    if feature.kind == "category":
        return float(feature.categories.index(value)) if value in feature.categories else math.nan
    if feature.name == "small":
        return float(np.float32(value))
    exact = Fraction(value) if isinstance(value, str) else value
    return float(exact)


def assert_same(expected: float, actual: float, where: str) -> None:
    assert expected == actual or (math.isnan(expected) and math.isnan(actual)), f"{where}: {expected} != {actual}"


def test_the_last_value_of_the_buffer_is_read_whole() -> None:
    """A value at the very end has too few bytes behind it for a word, unless the buffer is padded."""
    cells, refused = matrix(contract(("dest", "string")), [category("dest", "ABCDEFGH", "I")], [{"dest": "I"}])
    assert ([[1.0]], {}) == (cells.tolist(), refused)


@pytest.mark.parametrize(("kind", "shown"), [("string", '"UNKNOWN"'), (ENUM, "UNKNOWN")])
def test_an_unseen_category_is_refused_with_field_and_value(kind: Any, shown: str) -> None:
    """The refusal's key is the position among the rows asked for, and its neighbours are scored."""
    requests = [{"cabin": value} for value in ("FIRST", "UNKNOWN", "ECONOMY")]
    cells, refused = matrix(contract(("cabin", kind)), [category("cabin", "ECONOMY", "FIRST")], requests, [2, 0, 1])
    assert {2: (Reason.UNSEEN_CATEGORY, Detail("cabin", shown))} == refused
    assert [0.0, 1.0] == cells[:2, 0].tolist()
    assert np.isnan(cells[2, 0])


@pytest.mark.parametrize(
    ("shape", "kind", "value"),
    [
        (category("f", "a"), "string", "a"),
        (category("f", "a b c d e f g"), "string", "a b c d e f g"),
        (category("f", "FIRST"), ENUM, "FIRST"),
        (number("f"), "double", 1.5),
        (number("f"), "boolean", True),
    ],
)
def test_a_missing_value_is_refused_unless_the_manifest_says_what_it_means(
    shape: Feature, kind: Any, value: Any
) -> None:
    """Null is refused by default; with `nan` it is nan, and never the code of some category."""
    asked = contract(("f", kind), nullable=True)
    requests = [{"f": None}, {"f": value}, {}]
    _, refused = matrix(asked, [shape], requests)
    detail = (Reason.MISSING_VALUE, Detail("f", "null"))
    assert {0: detail, 2: detail} == refused
    cells, refused = matrix(asked, [shape.model_copy(update={"missing": "nan"})], requests)
    assert ({}, [True, False, True]) == (refused, np.isnan(cells[:, 0]).tolist())


def test_a_missing_number_may_be_a_value() -> None:
    """`missing = -1` puts that number where the field is null, and nowhere else."""
    cells, refused = matrix(contract(("f", "int"), nullable=True), [number("f", missing=-1)], [{}, {"f": 0}])
    assert ([[-1.0], [0.0]], {}) == (cells.tolist(), refused)


def test_the_first_feature_that_refuses_gives_the_reason() -> None:
    """A row refused twice has one reason: the first in the manifest's order."""
    features = [number("b"), category("a", "x")]
    asked = contract(("a", "string"), ("b", "int"), nullable=True)
    _, refused = matrix(asked, features, [{"a": "y", "b": None}, {"a": "y", "b": 1}])
    assert [Reason.MISSING_VALUE, Reason.UNSEEN_CATEGORY] == [reason for reason, _ in refused.values()]


def test_a_refused_value_is_shown_shortened_and_printable() -> None:
    """A megabyte, or a line break, in a category's place must not travel on in the refusal."""
    requests = [{"a": "y" * 1_000_000}, {"a": "y" * (SHOWN - 2)}, {"a": "1\n\x1b[2Jé"}]
    _, refused = matrix(contract(("a", "string")), [category("a", "x")], requests)
    expected = ['"' + "y" * (SHOWN - 2) + "…", '"' + "y" * (SHOWN - 2) + '"', r'"1\n\u001b[2J\u00e9"']
    assert expected == [detail.value for _, detail in refused.values()]


@pytest.mark.parametrize(
    ("feature", "kind", "properties", "problem"),
    [
        (number("f"), "string", {}, "field `f` is a string, which is not a number"),
        (number("f"), "bytes", {}, "field `f` is a bytes, which is not a number"),
        (number("f"), ENUM, {}, "field `f` is a enum, which is not a number"),
        (category("f", "1"), "int", {}, "a category is made of a string or an enum"),
        (category("f", "1"), "boolean", {}, "a category is made of a string or an enum"),
        (number("g"), "int", {}, "there is no field `g`"),
        (number("f"), "double", {"finite": False}, "allows NaN"),
        (number("f", missing=0), "float", {"finite": False}, "allows NaN"),
    ],
)
def test_a_field_that_cannot_stand_for_a_feature_is_refused_before_any_row(
    feature: Feature, kind: Any, properties: dict[str, Any], problem: str
) -> None:
    """Nothing is coerced: the error names the feature, the contract and the field."""
    with pytest.raises(ConfigError) as raised:
        Features([feature], [contract(("f", kind), **properties)])
    assert f"feature `{feature.name}` of contract Ask" in str(raised.value)
    assert problem in str(raised.value)


def test_each_contract_has_its_own_binding() -> None:
    """Fields may lie elsewhere, or be of another kind, in another accepted contract."""
    one, two = contract(("a", "string")), contract(("b", "int"), ("a", ENUM))
    features = Features([category("a", "FIRST", "ECONOMY")], [one, two])
    for asked, request in ((one, {"a": "ECONOMY"}), (two, {"b": 1, "a": "ECONOMY"})):
        decoded = rows.decoded(asked, [{"request_id": "r", **request}])
        assert [[1.0]] == features.matrix(decoded, asked, np.arange(1))[0].tolist()
    with pytest.raises(KeyError):
        features.matrix(decoded, contract(("a", "bytes")), np.arange(1))


def test_is_fast() -> None:
    """Ten features with three categories cost well under a microsecond a row; the bound leaves room for busy machines."""
    rng = random.Random(5)
    lists = {"carrier": 16, "origin": 3, "dest": 94}
    lists_of = {name: [f"{at:02x}" for at in range(count)] for name, count in lists.items()}
    reals = [f"x{at}" for at in range(7)]
    asked = contract(*[(name, "string") for name in lists], *[(name, "double") for name in reals])
    features = [category(name, *values) for name, values in lists_of.items()] + [number(name) for name in reals]
    requests = [
        {**{name: rng.choice(values) for name, values in lists_of.items()}, **dict.fromkeys(reals, 1.0)}
        for _ in range(10_000)
    ]
    decoded = rows.decoded(asked, [{"request_id": "r", **request} for request in requests])
    bound, every = Features(features, [asked]), np.arange(10_000)
    best = math.inf
    for _ in range(10):
        began = time.perf_counter()
        bound.matrix(decoded, asked, every)
        best = min(best, time.perf_counter() - began)
    print(f"features: {best * 100:.2f} µs a row")
    assert best * 100 < 2


def test_a_field_of_a_record_is_named_by_its_path() -> None:
    """Golden rows give objects, features a dotted `from`; a record that is missing is a field that is missing."""
    address = {
        "type": "record",
        "name": "Address",
        "fields": [{"name": "zip", "type": "string"}, {"name": "km", "type": ["null", "double"]}],
    }
    ask = contract(("home", address), ("work", "Address"))
    features = [
        number("km", **{"from": "work.km", "missing": "nan"}),
        category("zip", "10115", "80331", **{"from": "home.zip"}),
    ]
    request = {"home": {"zip": "80331"}, "work": {"zip": "10115", "km": 3.5}}
    cells, refused = matrix(ask, features, [request, {**request, "work": {"zip": "?"}}])
    assert {} == refused
    np.testing.assert_array_equal([[3.5, 1.0], [math.nan, 1.0]], cells)
    with pytest.raises(ValueError, match=r"field `home\.zip` is missing"):
        matrix(ask, features, [{"work": request["work"]}])
    with pytest.raises(ValueError, match=r"has no field home\.street"):
        matrix(ask, features, [{**request, "home": {"zip": "80331", "street": "x"}}])


@pytest.mark.parametrize(("stated", "words"), [({}, "states no unit"), ({"unit": "hours"}, "states the unit hours")])
def test_another_unit_is_refused(stated: dict[str, Any], words: str) -> None:
    """What was trained in minutes is not asked in hours, nor in something that nobody states."""
    late = number("late", unit="minutes")
    assert Features([late], [contract(("late", "double"), unit="minutes")])
    with pytest.raises(ConfigError, match=f"trained in minutes, and field `late` {words}"):
        Features([late], [contract(("late", "double"), **stated)])


def vector(length: int, **more: Any) -> Feature:
    return Feature.model_validate({"name": "v", "kind": "vector", "length": length, **more})


def test_a_vector_is_as_many_columns_as_it_has_numbers() -> None:
    """Between other features, null as nan or refused; columns are named by place."""
    ask = contract(("v", {"type": "array", "items": "float", "length": 3}), ("late", "double"), nullable=True)
    features = [
        number("late", missing="nan"),
        vector(3, missing="nan"),
        number("again", **{"from": "late", "missing": 0}),
    ]
    requests: list[dict[str, Any]] = [{"v": [0.5, 0.1, -2], "late": 4.0}, {"v": None, "late": None}]
    cells, refused = matrix(ask, features, requests)
    assert {} == refused
    np.testing.assert_array_equal([[4.0, 0.5, np.float32(0.1), -2.0, 4.0], [*[math.nan] * 4, 0.0]], cells)
    assert {1: (Reason.MISSING_VALUE, Detail("v", "null"))} == matrix(ask, [vector(3)], requests)[1]
    assert ["v_0", "v_1", "v_2"] == [column.name for column in features[1].columns]
    with pytest.raises(ValueError, match="no list of 3 numbers"):
        matrix(ask, features, [{"v": [1.0, 2.0]}])


@pytest.mark.parametrize(
    ("kind", "words"),
    [({"type": "array", "items": "double", "length": 4}, "is 4 numbers"), ("double", "is a double")],
)
def test_a_vector_of_another_length_is_refused(kind: Any, words: str) -> None:
    """The model takes three numbers, and nothing else stands for them."""
    with pytest.raises(ConfigError, match=words):
        Features([vector(3)], [contract(("v", kind))])
