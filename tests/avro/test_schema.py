"""What schemas are read, what is refused and why, and what a fingerprint pins."""

import copy
import json
import random
import time
from collections.abc import Iterator
from typing import Any

import fastavro
import pytest

from streams.avro import json_values
from streams.avro.properties import check_contract
from streams.avro.schema import SchemaRefused, extra_fields, parse
from streams.contracts import Contract, Rules
from tests.avro import made

ID = {"name": "id", "type": "string", "role": "request_id", "doc": "d"}
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}


def field(kind: Any, **properties: Any) -> dict[str, Any]:
    return made.record() | {"fields": [{"name": "x", "type": kind, **properties}]}


def fixed(size: Any, **more: Any) -> dict[str, Any]:
    return {"type": "fixed", "name": "F", "size": size, **more}


def enum(*symbols: Any, **more: Any) -> dict[str, Any]:
    return {"type": "enum", "name": "E", "symbols": list(symbols), **more}


def test_the_flights_request_is_read_as_it_is_meant() -> None:
    """Names, types, roles, rules, the key: all of the demo's contract."""
    contract = parse(json.dumps(made.FLIGHTS))
    assert contract == parse(made.FLIGHTS)
    assert ("flights.v1.FlightRequest", ("request_id",)) == (contract.name, contract.key)
    assert [raw["name"] for raw in made.FLIGHTS["fields"]] == [each.name for each in contract.fields]
    roles = {role: contract.role(role) for role in ("request_id", "tenant", "event_time", "deadline")}
    assert ["request_id", "tenant", "event_time", None] == [each and each.name for each in roles.values()]
    hour, trace, origin = (contract.field(name) for name in ("hour", "trace", "origin"))
    assert hour is not None
    assert trace is not None
    assert origin is not None
    assert (Rules(0, 23), Rules(categories=("EWR", "JFK", "LGA"))) == (hour.rules, origin.rules)
    assert (0, True, False, True) == (trace.null_branch, trace.meta, trace.is_input, origin.is_input)
    assert check_contract(contract) == []


def test_every_type_that_is_read_is_avro_to_fastavro_too(seed: int) -> None:
    """fastavro is the witness: whatever is accepted here it can parse; and a reading says kind, logical type, sizes."""
    rng = random.Random(seed)
    for world in (made.EVERY_TYPE, made.NULL_FIRST, made.NULL_SECOND, *(made.random_schema(rng) for _ in range(200))):
        contract = parse(world)
        parsed: Any = fastavro.parse_schema(copy.deepcopy(world))
        assert [each["name"] for each in parsed["fields"]] == [each.name for each in contract.fields]
    kinds = [(each.kind, each.logical, each.precision, each.scale, each.size) for each in parse(made.EVERY_TYPE).fields]
    assert ("bytes", "decimal", 9, 2, 0) == kinds[9]
    assert ("fixed", "decimal", 6, 6, 3) == kinds[11]
    assert ("string", "uuid", 0, 0, 0) == kinds[20]
    assert ("long", None, 0, 0, 0) == kinds[22], "a logical type that nobody knows is ignored"
    assert {None} == {each.null_branch for each in parse(made.EVERY_TYPE).fields}
    assert {0} == {each.null_branch for each in parse(made.NULL_FIRST).fields}
    assert {1} == {each.null_branch for each in parse(made.NULL_SECOND).fields}


def doubled(times: int) -> dict[str, Any]:
    """Return records of which each holds the one before twice: few lines, 2 ** times fields."""
    return made.record(
        made.inner("R0", "int"), *(made.inner(f"R{at}", f"R{at - 1}", f"R{at - 1}") for at in range(1, times))
    )


HOSTILE: list[tuple[str, Any, str]] = [
    ("100,000 opening brackets", "[" * 100_000, "nested deeper than"),
    ("100,000 opening braces", '{"type":' * 100_000, "nested deeper than"),
    ("100 nested arrays, well formed", "[" * 100 + "]" * 100, "nested deeper than"),
    ("nested in a default", field("int", default=json.loads("[" * 30 + "]" * 30)), "nested deeper than"),
    ("2 MB of text", " " * (1 << 21), "characters"),
    ("no JSON", "record", "not JSON"),
    ("nothing", "", "not JSON"),
    ("NaN", '{"type": NaN}', "not JSON"),
    ("a number beyond a double", '{"type": 1e999}', "beyond a double"),
    ("a number of 400 digits", '{"type": ' + "9" * 400 + "}", "beyond a double"),
    ("a number of 100,000 digits", '{"type": ' + "9" * 100_000 + "}", "not JSON"),
    ("half a surrogate pair", '{"type": "record", "x": "\\ud800"}', "surrogate"),
    ("a key that is there twice", '{"type": "record", "type": "record"}', "'type' twice"),
    ("200,000 values", json.dumps([0] * 200_000), "more than 100000 values"),
    ("10,000 fields", made.record(*["int"] * 10_000), "more than 1000 fields and types"),
    ("600 nullable fields", made.record(*[["null", "int"]] * 600), "more than 1000 fields and types"),
    ("no record", '"string"', "not a record"),
    ("a union", json.dumps([made.record()]), "not a record"),
    ("an error type", made.record() | {"type": "error"}, "not a record"),
    ("no fields", {"type": "record", "name": "R"}, "no list of fields"),
    ("no name", {"type": "record", "fields": []}, "no name"),
    ("a bad name", made.record() | {"name": "a-b"}, "not an Avro name"),
    ("a bad namespace", made.record() | {"namespace": "a..b"}, "not an Avro name"),
    ("a primitive's name", {"type": "record", "name": "int", "fields": []}, "not an Avro name"),
    ("a field that is no object", made.record() | {"fields": ["int"]}, "not an object"),
    ("a field with a bad name", made.record() | {"fields": [{"name": "ä", "type": "int"}]}, "not an Avro name"),
    ("a field with a line break in its name", made.record() | {"fields": [{"name": "a\n", "type": "int"}]}, "not an Avro name"),
    ("a field with no type", made.record() | {"fields": [{"name": "x"}]}, "Field x has no type"),
    ("two fields of one name", made.record() | {"fields": [{"name": "x", "type": "int"}] * 2}, "two fields named x"),
    ("contains itself", field("Made"), "contains itself"),
    ("contains itself by its full name", field(["null", "made.v1.Made"]), "contains itself"),
    ("an array", field({"type": "array", "items": "int"}), "is an array"),
    ("an array of null", field({"type": "array", "items": "null"}), "is an array"),
    ("an array without a length", field({"type": "array", "items": "double"}), "its type must say `length`"),
    ("an array of no length", field({"type": "array", "items": "double", "length": 0}), "its type must say `length`"),
    ("an array of 4,097", field({"type": "array", "items": "float", "length": 4097}), "1 to 4096"),
    ("an array of true", field({"type": "array", "items": "float", "length": True}), "its type must say `length`"),
    ("an array of nullable numbers", field({"type": "array", "items": ["null", "float"], "length": 3}), "only arrays of float or double"),
    ("an array of arrays", field({"type": "array", "items": {"type": "array", "items": "float"}, "length": 3}), "only arrays of float or double"),
    ("two vectors of too many", made.record(*[{"type": "array", "items": "float", "length": 2049}] * 2), "4096 numbers together"),
    ("one vector many times", made.record(made.inner("V", {"type": "array", "items": "float", "length": 99}), *["V"] * 41), "4096 numbers together"),
    ("a map", field(["null", {"type": "map", "values": "int"}]), "is a map"),
    ("a record without fields", field(made.inner("Inner")), "is a record without fields"),
    ("a record that may be null", field(["null", made.inner("Inner", "int")]), "is a record that may be null"),
    ("a known record that may be null", made.record(made.inner("Inner", "int"), ["null", "Inner"]), "Field f1 is a record that may be null"),
    ("contains itself at a distance", field(made.inner("A", made.inner("B", "A"))), "Field x.f0.f0 is of the type made.v1.A, which it lies in"),
    ("a role inside a record", field({**made.inner("Inner"), "fields": [ID]}), "Field x.id is the request_id, which is a field of the request"),
    ("a rule on a record", field(made.inner("Inner", "int"), minimum=0), "Field x is a record and has minimum"),
    ("a senseless meta on a record", field(made.inner("Inner", "int"), meta="yes"), "neither true nor false"),
    ("two fields of one name in a record", field({**made.inner("Inner"), "fields": [{"name": "y", "type": "int"}] * 2}), "Field x has two fields named y"),
    ("a million fields in twenty lines", doubled(20), "more than 1000 fields and types"),
    ("a unit of a text", field("string", unit="minutes"), "has a unit, but is not a number"),
    ("a unit that is no text", field("int", unit=60), "a unit is a text"),
    ("always null", field("null"), "always null"),
    ("an unknown type", field("varchar"), "'varchar', which is not defined"),
    ("a type in a type", field({"type": {"type": "int"}}), "not defined"),
    ("a name before its definition", made.record("F", fixed(3)), "'F', which is not defined"),
    ("a name defined twice", made.record(fixed(3), fixed(3)), "a second time"),
    ("the record's name again", field(fixed(3) | {"name": "Made"}), "a second time"),
    ("a union of one", field(["int"]), "union of 1"),
    ("a union without null", field(["int", "string"]), "union of 2"),
    ("a union of three", field(["null", "int", "string"]), "union of 3"),
    ("a union of nulls", field(["null", "null"]), "union of 2"),
    ("an empty union", field([]), "union of 0"),
    ("a union in a union", field(["null", ["null", "int"]]), "no type"),
    ("fixed of 2**40", field(fixed(2**40)), "65536 are read"),
    ("fixed of 65,537", field(fixed(65_537)), "65536 are read"),
    ("fixed of 0", field(fixed(0)), "65536 are read"),
    ("fixed of -1", field(fixed(-1)), "65536 are read"),
    ("fixed of true", field(fixed(True)), "65536 are read"),
    ("fixed of no size", field({"type": "fixed", "name": "F"}), "None bytes"),
    ("a field's name of 256 letters", made.record() | {"fields": [{"name": "x" * 256, "type": "int"}]}, "not an Avro name"),
    ("a record's name of 256 letters", made.record() | {"name": "x" * 256}, "not an Avro name"),
    ("a symbol of 256 letters", field(enum("x" * 256)), "not an Avro name"),
    ("an enum of nothing", field(enum()), "without symbols"),
    ("an enum of numbers", field(enum(1)), "not an Avro name"),
    ("an enum with a symbol twice", field(enum("A", "B", "A")), "two symbols A"),
    ("an enum with a foreign default", field(enum("A", default="B")), "default"),
    ("precision 50", field(DECIMAL | {"precision": 50}), "1 to 38"),
    ("precision 0", field(DECIMAL | {"precision": 0}), "1 to 38"),
    ("no precision", field({"type": "bytes", "logicalType": "decimal"}), "None digits"),
    ("precision beyond the fixed", field(fixed(2, logicalType="decimal", precision=5)), "1 to 4"),
    ("scale above precision", field(DECIMAL | {"scale": 5}), "0 to 4"),
    ("scale below 0", field(DECIMAL | {"scale": -1}), "0 to 4"),
    ("decimal on string", field({"type": "string", "logicalType": "decimal", "precision": 4}), "stands on bytes or fixed"),
    ("date on long", field({"type": "long", "logicalType": "date"}), "stands on int"),
    ("timestamp on int", field({"type": "int", "logicalType": "timestamp-millis"}), "stands on long"),
    ("uuid on 15 bytes", field(fixed(15, logicalType="uuid")), "it has 16"),
    ("an unknown role", field("string", role="customer"), "roles are request_id"),
    ("a role that is a list", field("string", role=["tenant"]), "roles are request_id"),
    ("two tenants", made.record() | {"fields": [{"name": n, "type": "string", "role": "tenant"} for n in "ab"]}, "role tenant"),
    ("a request id that is a number", field("long", role="request_id"), "which is a string"),
    ("a request id that may be null", field(["null", "string"], role="request_id"), "cannot be null"),
    ("a tenant that is a number", field("int", role="tenant"), "which is a string"),
    ("an event time that is text", field("string", role="event_time"), "long of timestamp"),
    ("a local deadline", field({"type": "long", "logicalType": "local-timestamp-millis"}, role="deadline"), "long of timestamp"),
    ("meta that is a word", field("int", meta="yes"), "neither true nor false"),
    ("a minimum of a string", field("string", minimum=0), "not a number"),
    ("a minimum of a boolean", field("boolean", minimum=0), "not a number"),
    ("a minimum of bytes", field("bytes", minimum=0), "not a number"),
    ("a maximum that is a word", field("int", maximum="5"), "'5', which is not a number"),
    ("a maximum that is true", field("int", maximum=True), "True, which is not a number"),
    ("a minimum above the maximum", field("int", minimum=2, maximum=1), "above its maximum"),
    ("categories of a number", field("int", categories=["1"]), "neither a plain string nor an enum"),
    ("no categories", field("string", categories=[]), "not a list of strings"),
    ("categories that are numbers", field("string", categories=[1]), "not a list of strings"),
    ("categories twice", field("string", categories=["a", "a"]), "a category twice"),
    ("a category that is no symbol", field(enum("A"), categories=["B"]), "not one of the enum's symbols"),
    ("finite of a number that always is", field("int", finite=False), "neither a float nor a double"),
    ("finite that is a word", field("double", finite="no"), "neither true nor false"),
    ("a key that is no list", field("string") | {"key": "x"}, "not a list"),
    ("an empty key", field("string") | {"key": []}, "not a list"),
    ("a key that names nothing", field("string") | {"key": ["y"]}, "'y', which is not a field"),
    ("a key that may be null", field(["null", "string"]) | {"key": ["x"]}, "made of strings"),
    ("a key that is a double", field("double") | {"key": ["x"]}, "made of strings"),
    ("a key beside the identity", field("string", role="request_id") | {
        "fields": [{"name": "x", "type": "string", "role": "request_id"}, {"name": "y", "type": "string"}], "key": ["x", "y"]
    }, "request id and tenant alone"),
]  # fmt: skip


@pytest.mark.parametrize(("world", "why"), [row[1:] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
def test_a_schema_that_cannot_be_read_is_refused_with_a_sentence(world: Any, why: str) -> None:
    """As text and as values; quickly; and with nothing but SchemaRefused, in a sentence short enough for a record."""
    for source in (world,) if isinstance(world, str) else (json.dumps(world), world):
        began = time.monotonic()
        with pytest.raises(SchemaRefused) as refused:
            parse(source)
        assert why in str(refused.value)
        assert len(str(refused.value)) < 250
        assert "\n" not in str(refused.value)
        assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("world", "why"),
    [
        ({"type": "record", "x": object()}, "holds a Python object"),
        ({1: 2}, "the key 1"),
        ({"x": {(1, 2): 3}}, r"the key \(1, 2\)"),
    ],
)
def test_values_that_were_never_json_are_refused(world: Any, why: str) -> None:
    """A registry client may hand over what it likes."""
    with pytest.raises(SchemaRefused, match=why):
        parse(world)


def test_a_value_that_holds_itself_is_refused() -> None:
    """Values that were never JSON may be cyclic."""
    world = field("int")
    world["fields"][0]["default"] = world
    with pytest.raises(SchemaRefused, match="nested deeper"):
        parse(world)


def test_random_damage_is_read_or_refused_and_nothing_else(seed: int) -> None:
    """Whatever is at whatever place of a schema: a contract or SchemaRefused."""
    rng = random.Random(seed)
    junk: list[Any] = [None, True, -1, 0, 0.5, "", "x", "null", "int", [], {}, ["null"], ["null", "int"], {"type": "int"}, [[]], {"type": []}, {"name": 1}, "\ud800"]  # fmt: skip
    worlds = [made.FLIGHTS, made.EVERY_TYPE, made.NULL_FIRST]
    read = refused = 0
    for _ in range(4_000):
        world = copy.deepcopy(rng.choice(worlds))
        places = list(_places(world))
        for holder, key in rng.sample(places, rng.choice([1, 1, 2])):
            if rng.random() < 0.3 and isinstance(holder, dict):
                holder.pop(key, None)
            elif isinstance(holder, dict) or key < len(holder):
                holder[key] = copy.deepcopy(rng.choice(junk))
        try:
            assert isinstance(parse(world), Contract)
            read += 1
        except SchemaRefused:
            refused += 1
    assert min(read, refused) > 200


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every (container, key or index) of JSON values."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        yield node, key
        if isinstance(value, dict | list):
            yield from _places(value)


def test_a_schema_without_roles_is_legal_and_no_contract() -> None:
    """Other teams' schemas are read; `check_contract` says what a request contract needs beyond."""
    contract = parse(field("int"))
    assert (None, ()) == (contract.role("request_id"), contract.key)
    complaints = check_contract(contract)
    assert ["role request_id", "The record has no doc", "Field x has no doc"] == [
        next(
            words for words in ("role request_id", "The record has no doc", "Field x has no doc") if words in complaint
        )
        for complaint in complaints
    ]


def nested(default: Any) -> dict[str, Any]:
    """A record in a record, with a default; of its fields one has a default of its own."""
    rooms = {"name": "rooms", "type": "int", "doc": "d"}
    home = {"type": "record", "name": "Home", "fields": [rooms]}
    age = {"name": "age", "type": "int", "doc": "d"}
    fields = [age, {"name": "home", "type": home, "doc": "d", "default": {"rooms": 1}}]
    return {"name": "x", "type": {"type": "record", "name": "Who", "fields": fields}, "doc": "d", "default": default}


@pytest.mark.parametrize("named", ["Who", "a.b.Who"])
@pytest.mark.parametrize(
    ("default", "fits"), [({"age": 8}, True), ({"age": 8, "home": {"rooms": "3"}}, False), ({}, False)]
)
def test_a_default_of_a_record_that_is_named_from_a_namespace(named: str, default: Any, fits: bool) -> None:
    """By its name or its full name; a record within it lies in its namespace."""
    again = {"name": "y", "type": named, "doc": "d", "default": default}
    contract = parse(made.record(doc="d") | {"namespace": "a.b", "fields": [ID, nested({"age": 7}), again]})
    assert fits == (check_contract(contract) == [])
    there = nested({"age": 7})
    there["type"]["namespace"] = "else.where"
    contract = parse(
        made.record(doc="d") | {"namespace": "a.b", "fields": [ID, there, again | {"type": "else.where.Who"}]}
    )
    assert fits == (check_contract(contract) == [])


@pytest.mark.parametrize(
    ("fields", "key", "complaint"),
    [
        ([ID | {"meta": True}], None, "Field id is meta and the request_id"),
        ([ID, {"name": "t", "type": "string", "doc": "d", "role": "tenant", "meta": True}], None, "Field t is meta and the tenant"),
        ([ID, {"name": "t", "type": "string", "doc": "d", "role": "tenant"}], ["t", "id"], None),
        ([ID, {"name": "x", "type": "int", "doc": " "}], None, None),
        ([ID, {"name": "x", "type": "int", "doc": ""}], None, "Field x has no doc"),
        ([ID, {"name": "x", "type": "int", "doc": "d", "default": "0"}], None, "Field x has a default"),
        ([ID, {"name": "x", "type": "int", "doc": "d", "default": 2**31}], None, "Field x has a default"),
        ([ID, {"name": "x", "type": "int", "doc": "d", "default": True}], None, "Field x has a default"),
        ([ID, {"name": "x", "type": ["null", "int"], "doc": "d", "default": 0}], None, "Field x has a default"),
        ([ID, {"name": "x", "type": ["int", "null"], "doc": "d", "default": None}], None, "Field x has a default"),
        ([ID, {"name": "x", "type": "bytes", "doc": "d", "default": "Ā"}], None, "Field x has a default"),
        ([ID, {"name": "x", "type": fixed(2), "doc": "d", "default": "a"}], None, "Field x has a default"),
        ([ID, {"name": "x", "type": enum("A"), "doc": "d", "default": "B"}], None, "Field x has a default"),
        ([ID, {"name": "x", "type": "boolean", "doc": "d", "default": 0}], None, "Field x has a default"),
        ([ID, {"name": "x", "type": "double", "doc": "d", "default": "NaN"}], None, "Field x has a default"),
        ([ID, {"name": "x", "type": "string", "doc": "d", "default": None}], None, "Field x has a default"),
        ([ID, nested({"age": "old"})], None, "Field x has a default that is no such record"),
        ([ID, nested({})], None, "Field x has a default that is no such record"),
        ([ID, nested(7)], None, "Field x has a default that is no such record"),
        ([ID, nested({"age": 7, "home": {"rooms": None}})], None, "Field x has a default that is no such record"),
        ([ID, nested({"age": 7}), {"name": "y", "type": "Who", "doc": "d", "default": {"age": 8}}], None, None),
        ([ID, nested({"age": 7}), {"name": "y", "type": "Who", "doc": "d", "default": {}}], None, "Field y has a default that is no such"),
        ([ID, nested({"age": 7, "home": {"rooms": 3}})], None, None),
        ([ID, {"name": "x", "type": ["null", "int"], "doc": "d", "default": None}], None, None),
        ([ID, {"name": "x", "type": ["int", "null"], "doc": "d", "default": 7}], None, None),
        ([ID, {"name": "x", "type": "double", "doc": "d", "default": 7}], None, None),
        ([ID, {"name": "x", "type": fixed(2), "doc": "d", "default": "\u00ff\u0000"}], None, None),
        ([ID, {"name": "x", "type": "bytes", "doc": "d", "default": "ÿ"}], None, None),
        ([ID, {"name": "x", "type": "boolean", "doc": "d", "default": False}], None, None),
        ([ID, {"name": "x", "type": "string", "doc": "d", "default": ""}], None, None),
        ([ID, {"name": "x", "type": enum("A"), "doc": "d", "default": "A"}], None, None),
    ],
)  # fmt: skip
def test_a_request_contract_is_checked_beyond_avro(fields: Any, key: Any, complaint: str | None) -> None:
    """One complaint, or none."""
    world = made.record(doc="d") | {"fields": fields} | ({"key": key} if key else {})
    complaints = check_contract(parse(world))
    assert ([complaint] if complaint else []) == [each[: len(complaint or "")] for each in complaints]


PINNED = made.record(
    "int",
    ["null", "string"],
    DECIMAL,
    enum("A", "B", default="A", aliases=["Old", "elsewhere.Old"]),
    ["E", "null"],
    fixed(16, logicalType="uuid"),
    {"type": "long", "logicalType": "timestamp-parsecs"},
    key=["f0"],
    aliases=["Earlier"],
    owner={"team": "pricing", "doc": "kept: not a schema's doc"},
)
PINNED["fields"][0] |= {"minimum": 0.5, "maximum": 9, "default": 3, "aliases": ["g0"], "order": "descending"}
PINNED["fields"][1] |= {"role": "tenant", "categories": ["a", "b"], "default": None}
PINNED["fields"][2] |= {"meta": True}


def fingerprint(world: Any) -> bytes | None:
    try:
        return parse(world).fingerprint
    except SchemaRefused:
        return None


def test_doc_key_order_and_the_spelling_of_names_and_numbers_do_not_matter(seed: int) -> None:
    """A registry gives a schema back JSON-equal, not byte-equal; some spell names in full."""
    rng, pinned = random.Random(seed), fingerprint(PINNED)
    assert pinned is not None

    def respelled(node: Any, is_schema: bool = True) -> Any:
        match node:
            case dict():
                pairs = [(key, respelled(value, key in ("type", "fields"))) for key, value in node.items()]
                if is_schema and rng.random() < 0.5:
                    pairs.append(("doc", rng.choice(["", "Ω", None, {"a": [1]}])))
                rng.shuffle(pairs)
                return dict(pairs)
            case list():
                return [respelled(item, is_schema) for item in node]
            case int() if not isinstance(node, bool):
                return rng.choice([node, float(node)])
            case "int" | "string" if is_schema:
                return rng.choice([node, {"type": node}])
            case "E":
                return "made.v1.E" if is_schema else node
        return node

    for _ in range(50):
        world = respelled(PINNED)
        assert pinned == fingerprint(world), json.dumps(world)
        assert pinned == fingerprint(json.dumps(world, ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, 2])))
    full = copy.deepcopy(PINNED) | {"name": "made.v1.Made", "aliases": ["made.v1.Earlier"]}
    assert pinned == fingerprint(full)
    assert pinned == fingerprint(full | {"namespace": "ignored"})
    full["fields"][3]["type"] |= {"name": "made.v1.E", "aliases": ["made.v1.Old", "elsewhere.Old"]}
    full["fields"][5]["type"] |= {"namespace": "made.v1"}
    del full["namespace"]
    assert pinned == fingerprint(full)


def test_everything_else_matters() -> None:
    """Any value changed, left out, added or moved, anywhere but in doc, is another fingerprint, or is refused."""
    seen = {fingerprint(PINNED)}
    read = 0
    for world in _changed(PINNED):
        found = fingerprint(world)
        assert found not in seen, json.dumps(world)
        read += found is not None
        seen = {*seen, found} - {None}
    assert read > 50


def _changed(world: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield copies, each changed in one place; no two of them alike."""
    for place in range(sum(1 for _ in _places(world))):
        for change in range(4):
            changed = copy.deepcopy(world)
            holder, key = list(_places(changed))[place]
            value = holder[key]
            if change == 0:
                if not isinstance(holder, dict) or value is None:
                    continue
                del holder[key]
            elif change == 1:
                other = _other(value)
                if other is None:
                    continue
                holder[key] = other
            elif change == 2:
                if not isinstance(value, dict):
                    continue
                value["unknown"] = 1
            elif isinstance(value, list) and len(value) > 1:
                value[0], value[1] = value[1], value[0]
            else:
                continue
            yield changed
    yield world | {"unknown": 1}


def _other(value: Any) -> Any:
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case "int":
            return "long"
        case "string":
            return "bytes"
        case str():
            return value + "x"
    return None


def test_a_changed_meaning_is_another_contract() -> None:
    """What Avro's Parsing Canonical Form drops is what changes numbers by a factor of a thousand."""
    millis, micros = ({"type": "long", "logicalType": f"timestamp-{unit}"} for unit in ("millis", "micros"))
    worlds = [
        field("long"), field(millis), field(micros), field("int"), field("double"), field(["null", "long"]),
        field(["long", "null"]), field("long", default=0), field("long", default=1), field("long", aliases=["y"]),
        field("long", role="event_time"), field("long", role="deadline"), field("long", meta=True),
        field("long", minimum=0), field("long", maximum=0), field("long", minimum=0.5), field(DECIMAL),
        field(DECIMAL | {"scale": 3}), field(DECIMAL | {"precision": 5}), field("long") | {"key": ["x"]},
        field("long") | {"name": "Other"}, field("long") | {"namespace": "other"}, made.record("long"),
        made.record("int", "long"), made.record("long", "int"), field("long", default=True), field("long", default=""),
    ]  # fmt: skip
    prints = [fingerprint(world) for world in worlds]
    assert None not in prints
    assert len(worlds) == len(set(prints))
    assert {32} == {len(each) for each in prints if each}


def test_a_fingerprint_stays_what_it_is() -> None:
    """Models pin contracts by it: taking it in another way would refuse every model that exists."""
    assert "534603b6fc332dba7c4f4bdc035cc716f266981e0f15ec0352aabd4c31d9c2a9" == parse(PINNED).fingerprint.hex()


def test_extra_fields_are_new_fields_and_nothing_else() -> None:
    """`extra_fields = "drop"` accepts a writer that is alike field for field; any other difference is another contract."""
    accepted = parse(made.record("int", enum("A"), key=["f0"]))
    more = {"name": "new", "type": "double", "doc": "d"}

    def writer(change: Any) -> Contract:
        world = copy.deepcopy(made.record("int", enum("A"), key=["f0"]))
        change(world)
        return parse(world)

    assert extra_fields(accepted, accepted) == ()
    for at in range(3):
        assert ("new",) == extra_fields(writer(lambda world, at=at: world["fields"].insert(at, more)), accepted)
    refused: list[Any] = [
        lambda world: world["fields"].pop(),
        lambda world: world["fields"].reverse(),
        lambda world: world["fields"][0].update(type="long"),
        lambda world: world["fields"][0].update(default=0),
        lambda world: world["fields"][0].update(name="renamed", aliases=["f0"]) or world.update(key=["renamed"]),
        lambda world: world.update(name="Other"),
        lambda world: world.update(key=["f0", "f0"]),
        lambda world: world["fields"].append(more) or world["fields"][0].update(minimum=0),
        lambda world: world["fields"].insert(0, more | {"type": enum("A")}) or world["fields"][2].update(type="E"),
        lambda world: world["fields"].append(more | {"type": "string"}) or world.update(key=["new"]),
        lambda world: world["fields"].append(more | {"type": "string", "role": "tenant"}),
    ]
    for change in refused:
        assert extra_fields(writer(change), accepted) is None


def test_a_limit_of_nodes_is_a_setting() -> None:
    """A wide contract is read where the operator says so; the default holds 250 nullable fields."""
    assert 250 == len(parse(made.record(*[["null", "int"]] * 250)).fields)
    with pytest.raises(SchemaRefused, match="more than 1000"):
        parse(made.record(*[["null", "int"]] * 251))
    assert 5_000 == len(parse(made.record(*["int"] * 5_000), nodes_max=10_000).fields)


def test_values_are_copied_and_numbers_normalised() -> None:
    """A contract does not change when its source does, and 1.0 is 1."""
    world = field("int", minimum=1.0)
    contract = parse(world)
    world["fields"][0]["minimum"] = 2
    assert '{"minimum":1,"name":"x","type":"int"}' == json_values.write(contract.schema["fields"][0]).decode()


def test_a_record_in_a_record_is_its_fields() -> None:
    """Dotted names, wherever the type was defined; `meta` of a record is that of all in it; units and rules are read."""
    place = made.inner("Place") | {"fields": [{"name": "km", "type": "double", "unit": "km", "minimum": 0, "doc": "d"}]}
    person = made.inner("Person") | {
        "fields": [{"name": "age", "type": ["null", "int"], "doc": "d"}, {"name": "at", "type": place, "doc": "d"}]
    }
    fields = [
        ID,
        {"name": "one", "type": person, "doc": "d"},
        {"name": "other", "type": "Person", "meta": True, "doc": "d"},
    ]
    contract = parse(made.record() | {"fields": fields, "doc": "d"})
    assert ["id", "one.age", "one.at.km", "other.age", "other.at.km"] == [each.name for each in contract.fields]
    assert [False, False, False, True, True] == [each.meta for each in contract.fields]
    km = contract.field("one.at.km")
    assert km is not None
    assert ("km", Rules(minimum=0)) == (km.unit, km.rules)
    assert check_contract(contract) == []
    del place["fields"][0]["doc"]
    assert ["Field one.at.km has no doc."] == check_contract(parse(made.record() | {"fields": fields, "doc": "d"}))


def test_names_in_a_record_begin_in_its_namespace() -> None:
    """A type that is defined in a record of another namespace has that namespace; behind it the old one counts again."""
    far = made.inner("Far", enum("A", "B")) | {"namespace": "far.v2"}
    contract = parse(made.record(far, "far.v2.E", fixed(3), "F"))
    assert ["enum", "enum", "fixed", "fixed"] == [each.kind for each in contract.fields]
    with pytest.raises(SchemaRefused, match="'E', which is not defined"):
        parse(made.record(far, "E"))


def test_only_new_fields_of_the_request_itself_are_extra() -> None:
    """A whole new record may be dropped; a new field inside a record that both have may not."""
    accepted = parse(made.record("int", made.inner("Inner", "int")))
    more = parse(made.record("int", made.inner("Inner", "int"), made.inner("New", "int", "string")))
    assert ("f2.f0", "f2.f1") == extra_fields(more, accepted)
    assert extra_fields(parse(made.record("int", made.inner("Inner", "int", "int"))), accepted) is None


def test_a_vector_is_an_array_that_says_its_length() -> None:
    """Its rules hold for every number; the length is part of what the contract is."""
    kind = {"type": "array", "items": "float", "length": 3, "doc": "d"}
    contract = parse(field(["null", kind], minimum=-1, unit="m"))
    (vector,) = contract.fields
    assert ("vector", 3, "float", 0, -1, "m") == (
        vector.kind, vector.size, vector.items, vector.null_branch, vector.rules.minimum, vector.unit,
    )  # fmt: skip
    assert parse(field(kind)).fingerprint != parse(field(kind | {"length": 4})).fingerprint
