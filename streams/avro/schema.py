"""Vet a writer's schema, read its roles and rules, and pin it by a fingerprint.

Room: avro, pure. A writer's schema is untrusted: whoever may register one could otherwise make a worker allocate
2^40 bytes, or recurse until it dies. What is read here is what `decode.py` can read in columns: a record of
primitives, strings, bytes, fixed, enums, the usual logical types, vectors, unions of null and one of these, and records
of the same. A record adds no bytes of its own, so its fields are simply fields, named by their paths; one that may be null as a whole
would, and is refused.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from streams.avro import json_values
from streams.avro.json_values import Json
from streams.avro.json_values import SchemaRefused as SchemaRefused
from streams.avro.properties import OURS, qualified, read_key, read_meta, read_properties
from streams.contracts import Contract, Field, Items, Kind

FIXED_MAX = 64 * 1024
"""Bytes of a `fixed`. One of 2^40 killed a process."""
PRECISION_MAX = 38
"""Digits of a decimal: 16 bytes."""

LENGTH_MAX = 4096
"""Numbers of all vectors of a schema together: room for them is made for every row of a batch."""

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
NAME_MAX = 255
"""Letters of a name, and parts of a full one. Names come from strangers, and go into sentences."""
PRIMITIVES: Final = ("boolean", "int", "long", "float", "double", "string", "bytes")
LOGICAL: Final[dict[str, tuple[Kind, ...]]] = {
    "decimal": ("bytes", "fixed"),
    "uuid": ("string", "fixed"),
    "date": ("int",),
    "time-millis": ("int",),
    "time-micros": ("long",),
    "timestamp-millis": ("long",),
    "timestamp-micros": ("long",),
    "local-timestamp-millis": ("long",),
    "local-timestamp-micros": ("long",),
}
"""The logical types that are read, and what they may stand on. Others are ignored, as the specification says."""


class Type(NamedTuple):
    """What a field's value is, apart from whether it may be null."""

    kind: Kind
    logical: str | None = None
    precision: int = 0
    scale: int = 0
    size: int = 0
    symbols: tuple[str, ...] = ()
    items: Items | None = None


def parse(schema: Mapping[str, Any] | str, *, nodes_max: int = 1000) -> Contract:
    """Return the contract that a schema states, vetted.

    `schema` is JSON text or JSON values; `nodes_max` bounds how many fields and types it may hold together.
    A schema without roles is legal: `check_contract` says what a request contract needs beyond this.
    Raises SchemaRefused, and nothing else, for whatever else the argument holds.
    """
    tree = json_values.load(schema)
    if not isinstance(tree, dict) or tree.get("type") != "record":
        raise SchemaRefused("The schema is not a record.")
    reader = _Reader(nodes_max)
    fields, resolved = reader.record(tree)
    return Contract(
        name=reader.record_name,
        schema=tree,
        fingerprint=hashlib.sha256(json_values.write(resolved)).digest(),
        fields=fields,
        key=read_key(tree.get("key"), fields),
    )


def extra_fields(writer: Contract, accepted: Contract) -> tuple[str, ...] | None:
    """Return the names of the writer's fields that `accepted` lacks, if the two are alike in everything else.

    Alike means: without these fields the writer's schema has the fingerprint of `accepted`; the same name, fields,
    types, defaults, properties and order. Otherwise None. An empty tuple: the two are the same contract.
    A field with a role is never extra: it would change whose request this is, or when it was made. Neither is a new field
    inside a record that both have.
    """
    known = {_outermost(field.name) for field in accepted.fields}
    extra = tuple(field.name for field in writer.fields if _outermost(field.name) not in known)
    if any(field.role for field in writer.fields if field.name in extra):
        return None
    fields = [raw for raw in writer.schema["fields"] if raw["name"] in known]
    try:
        rest = parse({**writer.schema, "fields": fields}, nodes_max=json_values.VALUES_MAX)  # vetted before
    except SchemaRefused:  # an extra field defined a named type that another one uses
        return None
    return extra if rest.fingerprint == accepted.fingerprint else None


def _outermost(name: str) -> str:
    return name.partition(".")[0]


class _Reader:
    """Reads one schema from outside in; knows which names are defined so far and how many nodes there were."""

    def __init__(self, nodes_max: int) -> None:
        self.nodes_max = nodes_max
        self.nodes = 0
        self.numbers = 0
        self.record_name = ""
        self.namespace = ""
        self.types: dict[str, Type] = {}
        self.records: dict[str, tuple[Field, ...] | None] = {}
        """Fields of each record that is defined, named from there; None while its definition is read."""

    def record(self, tree: dict[str, Json]) -> tuple[tuple[Field, ...], Json]:
        """Return the record's fields, and the record with all names resolved and all `doc` left out."""
        self.record_name = self.full_name(tree, "The record")
        fields, resolved = self.fields(tree, self.record_name, "The record")
        _no_twice([field.role for field in fields if field.role], "The record has two fields with the role")
        return fields, resolved

    def fields(self, tree: dict[str, Json], full: str, where: str) -> tuple[tuple[Field, ...], Json]:
        """Return the fields of a record, and the record resolved; names in it begin in its own namespace."""
        outer, self.namespace = self.namespace, full.rpartition(".")[0]
        self.records[full] = None
        raw_fields = tree.get("fields")
        if not isinstance(raw_fields, list):
            raise SchemaRefused(f"{where} has no list of fields.")
        fields: list[Field] = []
        names: list[str] = []
        resolved: list[Json] = []
        for raw in raw_fields:
            name, found, as_resolved = self.field(raw, where)
            fields += found
            names.append(name)
            resolved.append(as_resolved)
        _no_twice(names, f"{where} has two fields named")
        self.records[full], self.namespace = tuple(fields), outer
        return tuple(fields), {**self.named(tree, full), "fields": resolved}

    def field(self, raw: Json, owner: str) -> tuple[str, Sequence[Field], Json]:
        """Return a field's name, the fields that it comes to (of a record: all in it), and the field resolved."""
        self.count()
        if not isinstance(raw, dict):
            raise SchemaRefused(f"{owner} has a field that is not an object.")
        name = raw.get("name")
        if not isinstance(name, str) or not _is_name(name):
            raise SchemaRefused(f"{owner} has a field with the name {name!r:.80}, which is not an Avro name.")
        where = f"Field {name}" if owner == "The record" else f"{owner}.{name}"
        kept = {key: value for key, value in raw.items() if key != "doc"}
        inside = self.inside(raw.get("type"), where)
        if inside is not None:
            fields, resolved = inside
            meta = _only_meta(raw, where)
            return (
                name,
                [field._replace(name=f"{name}.{field.name}", meta=field.meta or meta) for field in fields],
                {**kept, "type": resolved},
            )
        null_branch, kind, resolved = self.union(raw.get("type"), where)
        role, meta, rules, unit = read_properties(
            raw, kind.kind, kind.logical, kind.symbols, null_branch is not None, where
        )
        if role and owner != "The record":
            raise SchemaRefused(
                f"{where} is the {role}, which is a field of the request itself, not of a record in it."
            )
        if role in ("event_time", "deadline") and kind.logical is None:
            # the role says what the number means, and so what it may be
            kind = kind._replace(logical="timestamp-millis")
        field = Field(name, kind.kind, null_branch, *kind[1:-1], role, meta, rules, unit, kind.items)
        return name, [field], {**kept, "type": resolved}

    def inside(self, raw: Json, where: str) -> tuple[tuple[Field, ...], Json] | None:
        """Return the fields of a record that is a field's type, named from there, and the type resolved; else None."""
        if isinstance(raw, dict) and raw.get("type") == "record":
            self.count()
            full = self.full_name(raw, f"{where}: its record")
            if full in self.types or full in self.records:
                raise SchemaRefused(f"{where} defines the name {full} a second time.")
            fields, resolved = self.fields(raw, full, where)
        elif isinstance(raw, str) and (full := self.resolved(raw)) in self.records:
            self.count()
            known = self.records[full]
            if known is None:
                raise _contains_itself(full, where)
            for field in known:  # a schema of a few lines can stand for millions of fields
                self.count()
                self.count_numbers(field.size if field.kind == "vector" else 0)
            fields, resolved = known, full
        else:
            return None
        if not fields:
            raise SchemaRefused(f"{where} is a record without fields.")
        return fields, resolved

    def resolved(self, name: str) -> str:
        """Return the full name that a name refers to."""
        return qualified(name, self.namespace)

    def union(self, raw: Json, where: str) -> tuple[int | None, Type, Json]:
        """Return the index of the null branch or None, the other branch's type, and the whole resolved."""
        if not isinstance(raw, list):
            return None, *self.type(raw, where)
        self.count()
        nulls = [index for index, branch in enumerate(raw) if branch in ("null", {"type": "null"})]
        if len(raw) != 2 or len(nulls) != 1:
            raise SchemaRefused(f"{where} is a union of {len(raw)} types; only null and one other type are read.")
        self.count()
        null = nulls[0]
        kind, resolved = self.type(raw[1 - null], where)
        return null, kind, ["null", resolved] if null == 0 else [resolved, "null"]

    def type(self, raw: Json, where: str) -> tuple[Type, Json]:
        """Return the type that one node states, and the node resolved."""
        self.count()
        if isinstance(raw, str):
            return self.named_or_primitive(raw, where)
        if not isinstance(raw, dict):
            raise SchemaRefused(f"{where} has no type.")
        match raw.get("type"):
            case "enum":
                return self.define(raw, self.enum(raw, where), where)
            case "fixed":
                return self.define(raw, self.fixed(raw, where), where)
            case "array":
                return self.vector(raw, where), {key: value for key, value in raw.items() if key != "doc"}
            case "record":
                raise _nullable_record(where)
            case str(name) if name in PRIMITIVES:
                kind = _logical(raw, Type(cast(Kind, name)), where)
                kept = {key: value for key, value in raw.items() if key != "doc"}
                return kind, name if len(kept) == 1 else cast(Json, kept)
            case other:
                raise _not_read(other, where)

    def named_or_primitive(self, name: str, where: str) -> tuple[Type, Json]:
        """Return a primitive, or the enum or fixed that was defined under this name before."""
        if name in PRIMITIVES:
            return Type(cast(Kind, name)), name
        full = self.resolved(name)
        if full in self.records:
            raise _contains_itself(full, where) if self.records[full] is None else _nullable_record(where)
        if full in self.types:
            return self.types[full], full
        raise _not_read(name, where)

    def define(self, raw: dict[str, Json], kind: Type, where: str) -> tuple[Type, Json]:
        """Remember a named type under its full name."""
        full = self.full_name(raw, f"{where}: its {kind.kind}")
        if full in self.types or full in self.records:
            raise SchemaRefused(f"{where} defines the name {full} a second time.")
        self.types[full] = kind
        return kind, self.named(raw, full)

    def enum(self, raw: dict[str, Json], where: str) -> Type:
        """Return the enum that a node states."""
        symbols = raw.get("symbols")
        if not isinstance(symbols, list) or not symbols:
            raise SchemaRefused(f"{where} is an enum without symbols.")
        for symbol in symbols:
            if not isinstance(symbol, str) or not _is_name(symbol):
                raise SchemaRefused(f"{where} is an enum with the symbol {symbol!r:.80}, which is not an Avro name.")
        _no_twice(symbols, f"{where} is an enum with two symbols")
        if "default" in raw and raw["default"] not in symbols:
            raise SchemaRefused(f"{where} is an enum whose default is not one of its symbols.")
        return Type("enum", symbols=tuple(cast(list[str], symbols)))

    def fixed(self, raw: dict[str, Json], where: str) -> Type:
        """Return the fixed that a node states."""
        size = _whole(raw.get("size"))
        if size is None or not 1 <= size <= FIXED_MAX:
            raise SchemaRefused(f"{where} is a fixed of {raw.get('size')!r:.40} bytes; 1 to {FIXED_MAX} are read.")
        return _logical(raw, Type("fixed", size=size), where)

    def vector(self, raw: dict[str, Json], where: str) -> Type:
        """Return the vector that an array states: of so many floats or doubles, none of them null."""
        items, length = raw.get("items"), _whole(raw.get("length"))
        if items not in ("float", "double"):
            raise SchemaRefused(f"{where} is an array of {items!r:.40}; only arrays of float or double are read.")
        if length is None or not 1 <= length <= LENGTH_MAX:
            raise SchemaRefused(
                f"{where} is an array of the length {raw.get('length')!r:.40}; its type must say `length`, 1 to {LENGTH_MAX}: "
                "how many numbers every request has there."
            )
        self.count_numbers(length)
        return Type("vector", size=length, items=cast(Items, items))

    def named(self, raw: dict[str, Json], full: str) -> dict[str, Json]:
        """Return a named node without `doc` and `namespace`, its name and aliases as full names."""
        kept = {key: value for key, value in raw.items() if key not in ("doc", "namespace")}
        aliases = raw.get("aliases")
        if isinstance(aliases, list):
            space = full.rpartition(".")[0]
            kept["aliases"] = [
                f"{space}.{alias}" if isinstance(alias, str) and "." not in alias and space else alias
                for alias in aliases
            ]
        return {**kept, "name": full}

    def full_name(self, raw: dict[str, Json], where: str) -> str:
        """Return a named node's full name: its name if dotted, else its own or the record's namespace before it."""
        name, namespace = raw.get("name"), raw.get("namespace", self.namespace)
        if not isinstance(name, str) or not isinstance(namespace, str):
            raise SchemaRefused(f"{where} has no name.")
        full = qualified(name, namespace)
        if not all(_is_name(part) for part in full.split(".", NAME_MAX)) or full in (*PRIMITIVES, "null"):
            raise SchemaRefused(f"{where} has the name {full!r:.80}, which is not an Avro name.")
        return full

    def count_numbers(self, numbers: int) -> None:
        """Count the numbers of a vector."""
        self.numbers += numbers
        if self.numbers > LENGTH_MAX:
            raise SchemaRefused(f"The schema's vectors have more than {LENGTH_MAX} numbers together.")

    def count(self) -> None:
        """Count one node."""
        self.nodes += 1
        if self.nodes > self.nodes_max:
            raise SchemaRefused(f"The schema has more than {self.nodes_max} fields and types.")


def _logical(raw: dict[str, Json], kind: Type, where: str) -> Type:
    """Return the type with its logical type, if that is one of LOGICAL."""
    name = raw.get("logicalType")
    if not isinstance(name, str) or name not in LOGICAL:
        return kind
    if kind.kind not in LOGICAL[name]:
        raise SchemaRefused(f"{where} is a {name} on {kind.kind}; it stands on {' or '.join(LOGICAL[name])}.")
    if name == "uuid" and kind.kind == "fixed" and kind.size != 16:
        raise SchemaRefused(f"{where} is a uuid on {kind.size} bytes; it has 16.")
    if name != "decimal":
        return kind._replace(logical=name)
    precision, scale = _whole(raw.get("precision")), _whole(raw.get("scale", 0))
    # 8n - 1 bits hold every number below 2^(8n-1), hence every number of one digit fewer than that bound has.
    most = PRECISION_MAX if kind.kind == "bytes" else min(PRECISION_MAX, len(str(2 ** min(8 * kind.size - 1, 200))) - 1)
    if precision is None or not 1 <= precision <= most:
        raise SchemaRefused(f"{where} is a decimal of {raw.get('precision')!r:.40} digits; 1 to {most} are read.")
    if scale is None or not 0 <= scale <= precision:
        raise SchemaRefused(f"{where} is a decimal of scale {raw.get('scale')!r:.40}; 0 to {precision} are read.")
    return kind._replace(logical=name, precision=precision, scale=scale)


def _is_name(text: str) -> bool:
    return len(text) <= NAME_MAX and NAME.fullmatch(text) is not None


def _only_meta(raw: dict[str, Json], where: str) -> bool:
    """Return whether a field that is a record is `meta`; nothing else of ours can be said of it."""
    wrong = sorted(set(raw) & (OURS - {"meta"}))
    if wrong:
        raise SchemaRefused(f"{where} is a record and has {wrong[0]}, which belongs on a field in it.")
    return read_meta(raw, where)


def _contains_itself(full: str, where: str) -> SchemaRefused:
    return SchemaRefused(f"{where} is of the type {full}, which it lies in; a record that contains itself is not read.")


def _nullable_record(where: str) -> SchemaRefused:
    return SchemaRefused(
        f"{where} is a record that may be null; only records that are always there are read. Let the fields in it be null."
    )


def _not_read(name: object, where: str) -> SchemaRefused:
    """Say why a type is not read."""
    known = {"map": "a map", "error": "an error", "null": "always null"}
    if isinstance(name, str) and name in known:
        return SchemaRefused(f"{where} is {known[name]}; only single values, and records of them, are read.")
    return SchemaRefused(f"{where} has the type {name!r:.80}, which is not defined.")


def _whole(value: Json) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _no_twice(names: list[Any], complaint: str) -> None:
    seen: set[Any] = set()
    for name in names:
        if name in seen:
            raise SchemaRefused(f"{complaint} {name}.")
        seen.add(name)
